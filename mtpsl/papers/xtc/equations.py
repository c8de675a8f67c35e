"""The paper's symbols in this package's words, in the order of its equations."""

from mtpsl.report.equations import Term

FILES = (
    "methods/base.py",
    "papers/xtc/links.py",
    "papers/xtc/loss.py",
    "methods/baselines.py",
)
"""The files of the package that its equations are in."""

TERMS: tuple[Term, ...] = (
    Term("x", "Batch.images", "B 3 H W", "Sec. 3.1"),
    Term("ŷ<sup>t</sup>(x)", "Output.predictions", "B O H W", "Sec. 3.1"),
    Term("y<sup>t</sup>", "Inputs.label", "n O H W", "Sec. 3.1"),
    Term("f<sub>φ</sub>(x)", "Output.bottleneck", "B D h w", "Sec. 3.1, Eq. 4"),
    Term("t ∈ 𝒯<sub>n</sub>", "Batch.labeled", "B", "Eq. 1"),
    Term("L<sup>t</sup>", "Task.loss", "B", "Eq. 1"),
    Term("e<sub>r</sub>", "baselines.crop_predictions", "", "Eq. 2"),
    Term("L<sub>u</sub>", "SemiSupervised.consistency", "", "Eq. 2"),
    Term("s ∈ 𝒰<sub>n</sub>, t ∈ 𝒯<sub>n</sub>", "Link.rows", "", "Eq. 3"),
    Term("1 / |𝒰<sub>n</sub>|", "Link.shares", "n", "Eq. 3"),
    Term(
        "m<sup>s→st</sup>(ŷ<sup>s</sup>), m<sup>t→st</sup>(y<sup>t</sup>)",
        "CrossTaskLoss.embed",
        "n D h w",
        "Eq. 3",
    ),
    Term("L<sub>ct</sub>", "loss.cosine_distance", "n", "Eq. 3"),
    Term("m̃<sub>ϑ</sub>", "CrossTaskLoss.mapping", "", "Sec. 3.2"),
    Term("A", "MappingNet.pairs", "", "Sec. 3.2"),
    Term("a<sup>c</sup><sub>i</sub>", "PairNorm.gamma", "P M", "Sec. 3.2"),
    Term("a<sup>b</sup><sub>i</sub>", "PairNorm.beta", "P M", "Sec. 3.2"),
    Term("R", "CrossTaskLoss.consistency", "", "Eq. 4"),
)
