"""Which figures exist; ``plots`` draws them."""

from mtpsl.experiments import figure_arrays as arrays
from mtpsl.experiments import xtc_figure_arrays as xtc
from mtpsl.experiments.beyond_figures import BEYOND
from mtpsl.experiments.figure_spec import Figure
from mtpsl.experiments.hitts_figures import HITTS

_XTC = ("xtc/table2", "one/Ours")

FIGURES: dict[str, Figure] = {
    figure.key: figure
    for figure in (
        *HITTS,
        *BEYOND,
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
