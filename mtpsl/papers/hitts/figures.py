"""The figures of [HiTTs], the runs each needs and what it says in words."""

from mtpsl.papers.hitts import (
    diagram_arrays,
    diagrams,
    draw,
    draw_compared,
    draw_labels,
    fine_diagram,
    global_diagram,
    scale_diagram,
)
from mtpsl.papers.hitts import figure_arrays as more
from mtpsl.papers.hitts import scale_arrays as scales
from mtpsl.papers.hitts.beyond_figures import BEYOND
from mtpsl.papers.hitts.rows import cityscapes_hitts
from mtpsl.report import arrays
from mtpsl.report.figure import Figure

_OURS = ("hitts/table1", "one-label/Ours")
_PLAIN = ("hitts/table5", "HiTTs")
_STAGES = {"teacher": _PLAIN, "ours": ("hitts/table5", "HiTTs w. L_p + L_f")}

FIGURES: tuple[Figure, ...] = (
    Figure(
        name="fig1",
        paper="hitts",
        title="Partial labels, and what task tokens discover",
        source="[HiTTs, Fig. 1]",
        caption=(
            "Every image has labels of some tasks only (a); global tokens meet features and "
            "discover feature supervision, and fine-grained tokens, which come from them, meet "
            "predictions and discover labels (b), drawn from networks trained with one label an "
            "image."
        ),
        alt=(
            "Left a grid of room images with some of their label maps missing, right two bands "
            "with global and fine-grained tokens of three tasks, their features, predictions and "
            "what supervises them."
        ),
        arrays=diagram_arrays.setting,
        draw=diagrams.draw_fig1,
        runs=_STAGES,
    ),
    Figure(
        name="fig2",
        paper="hitts",
        title="Overview of HiTTs, with the shapes of a traced forward pass",
        source="[HiTTs, Fig. 2]",
        caption=(
            "A test image on its way through the encoder, global and fine-grained token learning "
            "to predictions, with the three losses on it; features are shown by three principal "
            "components, every score map spans its own range, and pseudo labels are the more "
            "confident half of the pixels of a few test images."
        ),
        alt=(
            "Diagram in four columns from an image to predictions, a row for each task, with "
            "tokens, features, score masks, labels and tensor shapes."
        ),
        arrays=diagram_arrays.overview,
        draw=diagrams.draw_fig2,
        runs=_STAGES,
    ),
    Figure(
        name="fig3",
        paper="hitts",
        title="Global task token learning, step by step",
        source="[HiTTs, Fig. 3]",
        caption=(
            "Each task's token queries the shared feature (a), the affinity of the tokens mixes "
            "tasks (b, e), self-attention joins a token with its feature (c), and the frozen "
            "first stage's features supervise where its mask trusts them (d)."
        ),
        alt=(
            "Diagram with a row for each task of tokens and feature maps after query, inter-task "
            "and intra-task learning, and below it the matrix of affinities with its values."
        ),
        arrays=diagram_arrays.global_tokens,
        draw=global_diagram.draw_fig3,
        runs=_STAGES,
    ),
    Figure(
        name="fig4",
        paper="hitts",
        title="Fine-grained task token learning of one task",
        source="[HiTTs, Fig. 4]",
        caption=(
            "A global token and orthogonal embeddings become fine-grained tokens (a), whose score "
            "mask refines the logits (b), and confident pixels of the frozen first stage become "
            "pseudo labels (c); as in the code, tokens meet U, which has their channels, instead "
            "of G."
        ),
        alt=(
            "Diagram of one task with tokens as matrices above and feature maps below, joined by "
            "a score mask, and at the right a confidence map, its binary mask and a pseudo label."
        ),
        arrays=diagram_arrays.fine_tokens,
        draw=fine_diagram.draw_fig4,
        runs=_STAGES,
    ),
    Figure(
        name="fig5",
        paper="hitts",
        title="Predictions from one label an image",
        source="[HiTTs, Fig. 5]",
        caption=(
            "Test images from all over the split with the truth and the predictions of the MTL "
            "baseline, MTAN, XTC and HiTTs from one label an image; each score is of that image "
            "alone."
        ),
        alt=(
            "Grid of room images, each followed by its true and four predicted class maps, depth "
            "maps and surface normal maps, with a score in every prediction."
        ),
        arrays=more.compared,
        draw=draw_compared.draw_fig5,
        runs={
            "baseline": ("hitts/table1", "one-label/MTL baseline"),
            "mtan": ("hitts/table1", "one-label/MTAN"),
            "xtc": ("hitts/table1", "one-label/XTC"),
            "ours": _OURS,
        },
    ),
    Figure(
        name="fig6",
        paper="hitts",
        title="Predictions on streets, compared with earlier work",
        source="[HiTTs, Fig. 6]",
        caption=(
            "Street images from all over the test split with the truth and the predictions of "
            "MTAN, XTC and HiTTs from one label an image; each score is of that image alone, and "
            "depth is inverse."
        ),
        alt=(
            "Grid of street images, each followed by its true and three predicted class maps and "
            "inverse depth maps, with a score in every prediction."
        ),
        arrays=more.compared,
        draw=draw_compared.draw_fig6,
        runs={
            "mtan": ("hitts/table3", "one-label/MTAN"),
            "xtc": ("hitts/table3", "one-label/XTC"),
            "ours": ("hitts/table3", "one-label/Ours"),
        },
    ),
    Figure(
        name="fig7",
        paper="hitts",
        title="Fine-grained tokens with and without orthogonal embeddings",
        source="[HiTTs, Fig. 7]",
        caption=(
            "Cosine similarity between a task's fine-grained tokens, and the tokens of many test "
            "images on their first two principal components, without and with orthogonal "
            "embeddings (OE)."
        ),
        alt=(
            "For each task two heatmaps of similarities between tokens and two scatter plots of "
            "the tokens, one of each without and one with orthogonal embeddings."
        ),
        arrays=arrays.tokens,
        draw=draw.draw_fig7,
        runs={"without": ("hitts/table5", "w/o Orthogonal Embeddings"), "with": _PLAIN},
    ),
    Figure(
        name="fig8",
        paper="hitts",
        title="Confidence before and after refinement by fine-grained tokens",
        source="[HiTTs, Fig. 8]",
        caption=(
            "Largest class probability of every pixel before (G) and after (G') the fine-grained "
            "tokens refine it, for a test image of median brightness and for the darkest one."
        ),
        alt=(
            "Two room images, each followed by a pair of heatmaps for each task that show where "
            "the network is confident."
        ),
        arrays=arrays.confidence,
        draw=draw.draw_fig8,
        runs={"plain": _PLAIN},
    ),
    Figure(
        name="fig9",
        paper="hitts",
        title="Learning curves with and without pseudo supervision",
        source="[HiTTs, Fig. 9]",
        caption=(
            "Each task's headline metric over the epochs, on the training images where they keep "
            "its label and on the test images, for HiTTs without and with pseudo supervision (P)."
        ),
        alt=(
            "One line chart for each task with four curves: training and test performance, with "
            "and without pseudo supervision."
        ),
        arrays=arrays.curves,
        draw=draw.draw_fig9,
        runs={"without": _PLAIN, "with": ("hitts/table5", "HiTTs w. L_p + L_f")},
        curves=True,
    ),
    Figure(
        name="fig10",
        paper="hitts",
        title="Pseudo labels on streets, and how good they are",
        source="[HiTTs, Fig. 10]",
        caption=(
            "Training images that lack a task's label, the withheld truth, the pseudo label that "
            "fine-grained tokens find and its mask M^p, and what the paper does not have, how many "
            "of the withheld pixels a mask accepts and how good these are as its threshold rises."
        ),
        alt=(
            "For each of two tasks three street images with true label, pseudo label and mask, "
            "above two curves over the threshold: quality and coverage of the accepted pixels."
        ),
        arrays=more.pseudo_labels,
        draw=draw_labels.draw_pseudo_labels,
        runs={"ours": ("hitts/table3", "one-label/Ours")},
        teachers=True,
    ),
    Figure(
        name="fig11",
        paper="hitts",
        title="Score maps of global and of fine-grained tokens",
        source="[HiTTs, Fig. 11]",
        caption=(
            "Where the pixels of test images respond to a task's global token (M^f), and to the "
            "fine-grained token whose scores vary most over the image; in brackets, how many "
            "pixels truly are of that class or bin (the paper's streets are in Figure 14)."
        ),
        alt=(
            "Room images, each followed by a coarse and a detailed heatmap of token scores for "
            "each task."
        ),
        arrays=arrays.scores,
        draw=draw.draw_fig11,
        runs={"plain": _PLAIN},
    ),
    Figure(
        name="fig12",
        paper="hitts",
        title="Single-scale and multi-scale global task token learning",
        source="[HiTTs, Fig. 12]",
        caption=(
            "With one scale the tokens query the last map of the backbone (a), with four each "
            "scale has projected tokens and an affinity of its own before features and tokens are "
            "fused (b); sizes and counts are those of the paper's network on ResNet-18, traced "
            "without weights."
        ),
        alt=(
            "Two flow diagrams with tensor shapes, above with one scale, below with four stages "
            "of a backbone that end in a convolution and a sum."
        ),
        arrays=scales.scales,
        draw=scale_diagram.draw_fig12,
    ),
    Figure(
        name="fig13",
        paper="hitts",
        title="Fine-grained tokens on streets with and without orthogonal embeddings",
        source="[HiTTs, Fig. 13]",
        caption=(
            "Cosine similarity between a task's fine-grained tokens, and the tokens of many street "
            "images on their first two principal components, without and with orthogonal "
            "embeddings (OE)."
        ),
        alt=(
            "For each of two tasks two heatmaps of similarities between tokens and two scatter "
            "plots of the tokens, one of each without and one with orthogonal embeddings."
        ),
        arrays=arrays.tokens,
        draw=draw.draw_fig7,
        own={"without": cityscapes_hitts(orthogonal_embeddings=False), "with": cityscapes_hitts()},
    ),
    Figure(
        name="fig14",
        paper="hitts",
        title="Score maps of global and of fine-grained tokens, in rooms and on streets",
        source="[HiTTs, Fig. 14]",
        caption=(
            "Where the pixels of further test images, rooms above and streets below, respond to a "
            "task's global token (M^f), and to the fine-grained token whose scores vary most over "
            "the image; in brackets, how many pixels truly are of that class or bin."
        ),
        alt=(
            "Room and street images, each followed by a coarse and a detailed heatmap of token "
            "scores for each task."
        ),
        arrays=arrays.in_parts(more.more_scores),
        draw=draw_compared.draw_fig14,
        runs={"rooms/plain": _PLAIN},
        own={"streets/plain": cityscapes_hitts()},
    ),
    Figure(
        name="fig15",
        paper="hitts",
        title="Predictions in rooms and on streets, compared with earlier work",
        source="[HiTTs, Fig. 15]",
        caption=(
            "Further test images, rooms above and streets below, with the truth and the "
            "predictions of the MTL baseline, on streets of MTAN, of XTC and of HiTTs from one "
            "label an image; each score is of that image alone."
        ),
        alt=(
            "Two grids of images, each followed task by task by the truth and the predictions of "
            "three methods in rooms and four on streets, with a score in every prediction."
        ),
        arrays=arrays.in_parts(more.more_compared),
        draw=draw_compared.draw_fig15,
        runs={
            "rooms/baseline": ("hitts/table1", "one-label/MTL baseline"),
            "rooms/xtc": ("hitts/table1", "one-label/XTC"),
            "rooms/ours": _OURS,
            "streets/baseline": ("hitts/table3", "one-label/MTL baseline"),
            "streets/mtan": ("hitts/table3", "one-label/MTAN"),
            "streets/xtc": ("hitts/table3", "one-label/XTC"),
            "streets/ours": ("hitts/table3", "one-label/Ours"),
        },
    ),
    Figure(
        name="fig16",
        paper="hitts",
        title="Pseudo labels in rooms, and how good they are",
        source="[HiTTs, Fig. 16]",
        caption=(
            "Training images that lack a task's label, the withheld truth, the pseudo label and "
            "its mask M^p, and what the paper does not have, how many of the withheld pixels a "
            "mask accepts and how good these are as its threshold rises."
        ),
        alt=(
            "For each of three tasks three room images with true label, pseudo label and mask, "
            "above two curves over the threshold: quality and coverage of the accepted pixels."
        ),
        arrays=more.pseudo_labels,
        draw=draw_labels.draw_pseudo_labels,
        runs={"ours": _OURS},
        teachers=True,
    ),
    *BEYOND,
)
