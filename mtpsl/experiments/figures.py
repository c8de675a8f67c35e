"""Which figures exist, the runs each needs and what it says in words; ``plots`` draws them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mtpsl.experiments import figure_arrays as arrays
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
