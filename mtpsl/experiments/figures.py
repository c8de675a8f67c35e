"""Which figures exist, the runs each needs and what it says in words; ``plots`` draws them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mtpsl.experiments import figure_arrays as arrays
from mtpsl.experiments import xtc_figure_arrays as xtc
from mtpsl.experiments.figure_arrays import Arrays, Material
from mtpsl.experiments.register import TABLES
from mtpsl.experiments.spec import Experiment

CURVE_POINTS = 20  # of a learning curve, before the profile scales it


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a paper: the runs it compares, what it says in words, where it comes from."""

    name: str
    paper: str  # "hitts"; empty for a picture of this package's own
    title: str
    source: str  # "[HiTTs, Fig. 7]"
    caption: str  # one sentence under the figure
    alt: str  # one sentence instead of the figure
    arrays: Callable[[Material], Arrays]
    runs: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # role -> (table, row)
    curves: bool = False  # the runs evaluate along the way

    @property
    def key(self) -> str:
        """What the register calls it, and its place below the folder of figures."""
        return "/".join(filter(None, (self.paper, self.name)))

    def experiments(
        self, profile: Callable[[Experiment], Experiment], seed: int = 0
    ) -> dict[str, Experiment]:
        """Role -> the run it stands for at a profile; empty where the figure needs none.

        They are rows of tables, so a figure trains nothing where its tables were filled; only
        learning curves are runs of their own.
        """
        found = {}
        for role, (table, row) in self.runs.items():
            (experiment,) = TABLES[table].row(row).experiments
            if self.curves:
                every = max(1, experiment.epochs // CURVE_POINTS)
                experiment = experiment.replace(eval_every=every)
            found[role] = profile(experiment).with_seed(seed)
        return found


_OURS = ("hitts/table1", "one-label/Ours")
_PLAIN = ("hitts/table5", "HiTTs")
_XTC = ("xtc/table2", "one/Ours")

FIGURES: dict[str, Figure] = {
    figure.key: figure
    for figure in (
        Figure(
            name="fig5",
            paper="hitts",
            title="Predictions from one label an image",
            source="[HiTTs, Fig. 5]",
            caption=(
                "Test images from all over the split with the ground truth and the predictions of "
                "the MTL baseline and of HiTTs, both trained with one label an image."
            ),
            alt=(
                "Grid of room images, each followed by its true and two predicted class maps, "
                "depth maps and surface normal maps."
            ),
            arrays=arrays.qualitative,
            runs={"baseline": ("hitts/table1", "one-label/MTL baseline"), "ours": _OURS},
        ),
        Figure(
            name="fig7",
            paper="hitts",
            title="Fine-grained tokens with and without orthogonal embeddings",
            source="[HiTTs, Fig. 7]",
            caption=(
                "Cosine similarity between a task's fine-grained tokens, and the tokens of many "
                "test images on their first two principal components, without and with orthogonal "
                "embeddings (OE)."
            ),
            alt=(
                "For each task two heatmaps of similarities between tokens and two scatter plots "
                "of the tokens, one of each without and one with orthogonal embeddings."
            ),
            arrays=arrays.tokens,
            runs={"without": ("hitts/table5", "w/o Orthogonal Embeddings"), "with": _PLAIN},
        ),
        Figure(
            name="fig8",
            paper="hitts",
            title="Confidence before and after refinement by fine-grained tokens",
            source="[HiTTs, Fig. 8]",
            caption=(
                "Largest class probability of every pixel before (G) and after (G') the "
                "fine-grained tokens refine it, for a test image of median brightness and for the "
                "darkest one."
            ),
            alt=(
                "Two room images, each followed by a pair of heatmaps for each task that show "
                "where the network is confident."
            ),
            arrays=arrays.confidence,
            runs={"plain": _PLAIN},
        ),
        Figure(
            name="fig9",
            paper="hitts",
            title="Learning curves with and without pseudo supervision",
            source="[HiTTs, Fig. 9]",
            caption=(
                "Each task's headline metric over the epochs on the training and the test images, "
                "for HiTTs without and with pseudo supervision (P)."
            ),
            alt=(
                "One line chart for each task with four curves: training and test performance, "
                "with and without pseudo supervision."
            ),
            arrays=arrays.curves,
            runs={"without": _PLAIN, "with": ("hitts/table5", "HiTTs w. L_p + L_f")},
            curves=True,
        ),
        Figure(
            name="fig11",
            paper="hitts",
            title="Score maps of global and of fine-grained tokens",
            source="[HiTTs, Fig. 11]",
            caption=(
                "Where the pixels of test images respond to a task's global token (M^f), and to "
                "the fine-grained token whose scores vary most over the image."
            ),
            alt=(
                "Room images, each followed by a coarse and a detailed heatmap of token scores "
                "for each task."
            ),
            arrays=arrays.scores,
            runs={"plain": _PLAIN},
        ),
        Figure(
            name="fig1",
            paper="xtc",
            title="Multi-task learning from partial labels",
            source="[XTC, Fig. 1]",
            caption=(
                "With every label each decoder learns from each image (a), with partial labels "
                "only from the images that carry its task (b), and XTC compares the prediction of "
                "an unlabeled task s with the label of another task t in a space that they share "
                "(c)."
            ),
            alt=(
                "Three panels: images with all labels above a network, the same images with one "
                "label each, and a predicted class map and a surface normal label that two "
                "mappings send into a joint space."
            ),
            arrays=xtc.overview,
            runs={"ours": _XTC},
        ),
        Figure(
            name="fig2",
            paper="xtc",
            title="Cross-task consistency, with the shapes of a traced forward pass",
            source="[XTC, Fig. 2]",
            caption=(
                "A shared extractor with a decoder a task (a), the joint space of a pair with its "
                "consistency and the regularizer that ties both embeddings to the image's feature "
                "(b), and the one mapping network that a pair's scale and shift condition (c); "
                "every shape and count was read off the network while this image passed."
            ),
            alt=(
                "Diagram of the method from an image over predictions to embeddings and losses, "
                "with tensor shapes at every box."
            ),
            arrays=xtc.architecture,
            runs={"ours": _XTC},
        ),
        Figure(
            name="fig3",
            paper="xtc",
            title="What the mapping makes of predictions and labels",
            source="[XTC, Fig. 3]",
            caption=(
                "Test images with prediction and label of the pair segmentation and normals, and "
                "below them what leaves the first and the second-to-last stage of the mapping, "
                "reduced to the first principal component over the channels of all four maps."
            ),
            alt=(
                "Two room images, each followed by predicted and true class maps and normals, and "
                "below each of these two heatmaps of features, a fine and a coarse one."
            ),
            arrays=xtc.mapped_outputs,
            runs={"ours": _XTC},
        ),
        Figure(
            name="fig4",
            paper="xtc",
            title="Predictions of SL, SSL and XTC from one label an image",
            source="[XTC, Fig. 4]",
            caption=(
                "Test images from all over the split with the truth and the predictions of "
                "supervised learning (SL), semi-supervised learning (SSL) and XTC from one label "
                "an image; each score is of that image alone."
            ),
            alt=(
                "Grid of class maps, depth maps and surface normals, downwards the truth and three "
                "methods, with a score in every predicted map."
            ),
            arrays=xtc.compared,
            runs={
                "sl": ("xtc/table2", "one/Supervised Learning"),
                "ssl": ("xtc/table2", "one/Semi-supervised Learning"),
                "ours": _XTC,
            },
        ),
        Figure(
            name="consistency",
            paper="xtc",
            title="Do mappings collapse without the regularizer?",
            source="[XTC, Table 6]",
            caption=(
                "Consistency and regularizer as cosine distances over the epochs, and after "
                "training the distances between prediction and label of a pair in the joint space, "
                "of the same and of another test image: a mapping that has collapsed to a constant "
                "has neither."
            ),
            alt=(
                "A line chart of cosine distances over epochs with and without the regularizer, "
                "and two dot plots with a line for each pair of tasks."
            ),
            arrays=xtc.consistency,
            runs={
                "with": ("xtc/table6", "one/Ours"),
                "without": ("xtc/table6", "one/Ours (w/o reg)"),
            },
        ),
        Figure(
            name="overview",
            paper="",
            title="Dense labels, and which of them one-label training sees",
            source="embedded data, rooms13",
            caption=(
                "Generated rooms with their three dense labels; under the one-label setting a "
                "network sees the vivid label of each image and never the pale ones."
            ),
            alt=(
                "Six generated room images in a row, below each its class map, depth map and "
                "surface normal map, two of the three faded because they are withheld."
            ),
            arrays=arrays.overview,
        ),
        Figure(
            name="label_settings",
            paper="",
            title="Label settings",
            source="[HiTTs, Sec. 4.1]",
            caption=(
                "Which of 795 training images carry which task's label in each label setting; a "
                "column is an image."
            ),
            alt="For each label setting a strip with a row for each task and a column an image.",
            arrays=arrays.label_settings,
        ),
    )
}
