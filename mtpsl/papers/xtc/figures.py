"""The figures of [XTC], the runs each needs and what it says in words."""

from mtpsl.papers.xtc import diagrams, draw, figure_arrays
from mtpsl.report.figure import Figure

_XTC = ("xtc/table2", "one/Ours")

FIGURES: tuple[Figure, ...] = (
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
        arrays=figure_arrays.overview,
        draw=diagrams.draw_fig1,
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
        arrays=figure_arrays.architecture,
        draw=diagrams.draw_fig2,
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
        arrays=figure_arrays.mapped_outputs,
        draw=draw.draw_fig3,
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
        arrays=figure_arrays.compared,
        draw=draw.draw_fig4,
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
        arrays=figure_arrays.consistency,
        draw=draw.draw_consistency,
        runs={
            "with": ("xtc/table6", "one/Ours"),
            "without": ("xtc/table6", "one/Ours (w/o reg)"),
        },
    ),
)
