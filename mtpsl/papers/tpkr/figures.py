"""The figures of [TPKR]: what each computes, draws and says, and the runs that it needs."""

from typing import Any

from mtpsl.papers.tpkr import diagrams
from mtpsl.papers.tpkr.codes import CODES
from mtpsl.papers.tpkr.compared import COMPARED
from mtpsl.papers.tpkr.printed import OURS
from mtpsl.report.figure import Figure

_OURS = {"ours": ("tpkr/table1", f"one-label/{OURS}")}


def _figure(number: int, **fields: Any) -> Figure:
    return Figure(name=f"fig{number}", paper="tpkr", source=f"[TPKR, Fig. {number}]", **fields)


FIGURES: tuple[Figure, ...] = (
    _figure(
        1,
        title="From the prototypes of tasks to the refined features of one",
        caption="The features of the first task of a test image (a), their affinity with the "
        "prototype of every task as a map with its mean and its standard deviation over positions "
        "(b), and the prototypes mixed by it, from which the refined features come (c), all of a "
        "trained network.",
        alt="Diagram from an image over a map of features to a strip of numbers and a map of "
        "affinity for each task, which join into two more maps of features and a prediction.",
        arrays=diagrams.scene,
        draw=diagrams.draw_fig1,
        runs=_OURS,
    ),
    _figure(
        2,
        title="Task prototypes and knowledge retrieval, with the shapes of a trained network",
        caption="Features of the backbone and their nearest codes, from which the image is built "
        "again (a), a decoder for each task (b), the prototypes and the transformer that retrieves "
        "from them (c), and predictions (d), where every shape, count and loss is that of a "
        "trained network on test images with one label each.",
        alt="Diagram of the method from an image over a codebook and a row for each task to its "
        "prediction, with tensor shapes and numbers of parameters.",
        arrays=diagrams.scene,
        draw=diagrams.draw_fig2,
        runs=_OURS,
    ),
    _figure(
        3,
        title="How prototypes learn, and how a block asks them",
        caption="Cosines of the features of every task with every slot, their softmax and the "
        "classes that it is trained with, each the number of a task (a), and a block of the "
        "transformer, whose keys and values are the slots mixed by affinity (b), in a trained "
        "network.",
        alt="Two diagrams: maps of features that lead to two square matrices with numbers and to "
        "an identity matrix, and a row of boxes in which a mixture of slots enters from below.",
        arrays=diagrams.scene,
        draw=diagrams.draw_fig3,
        runs=_OURS,
    ),
    _figure(
        4,
        title="What both signs of Eq. 5 teach",
        caption="Features of three tasks that no network stands behind, at the start and after "
        "600 steps down L_tke and L_tc with the sign of the text and with that of the printed "
        "equation, as points with their means over images in two principal components, above the "
        "mean cosines of the means of each task (rows) and the features of each.",
        alt="Three scatter plots of three colors above three matrices: a mixed cloud, three "
        "points far apart, and clouds that lie closer together.",
        arrays=diagrams.both_signs,
        draw=diagrams.draw_fig4,
    ),
    *COMPARED,
    CODES,
)
