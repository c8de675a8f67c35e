"""The paper's symbols in this package's words, in the order of its equations."""

from mtpsl.report.equations import Term

FILES = (
    "papers/hitts/method.py",
    "papers/hitts/tokens.py",
    "papers/hitts/loss.py",
    "papers/hitts/scales.py",
    "papers/hitts/quantize.py",
    "metrics.py",
)
"""The files of the package that its equations are in."""

TERMS: tuple[Term, ...] = (
    Term("X", "Batch.images", "B 3 H W", "Sec. 3.1"),
    Term("F<sub>s</sub>", "Features.decoder", "B C H W", "Sec. 3.1"),
    Term("Θ = [θ<sub>1</sub>; …; θ<sub>T</sub>]", "TaskTokens.theta", "T C", "Sec. 3.1"),
    Term("A", "Trace.affinity", "B T T", "Eq. 1"),
    Term("θ′<sub>i</sub>", "Trace.global_tokens", "B C", "Eq. 2"),
    Term("F′<sub>i</sub>", "Trace.task_features", "B C h w", "Eq. 2"),
    Term("W<sub>i</sub><sup>o</sup>", "TaskTokens.embed", "C C_p", "Eq. 3"),
    Term("φ<sub>i</sub>", "Trace.fine_tokens", "B C_p C", "Eq. 3"),
    Term("G<sub>i</sub>", "Trace.fine_features", "B C_p H W", "Sec. 3.2"),
    Term("Softplus(φ<sub>i</sub> × ·)", "Trace.scores", "B C_p H W", "Eq. 4"),
    Term("G′<sub>i</sub>", "Trace.refined", "B C_p H W", "Eq. 4"),
    Term("α<sub>i</sub>", "Batch.labeled", "B", "Eq. 5"),
    Term("Y<sub>i</sub>", "Batch.targets", "B D H W", "Eq. 5"),
    Term("F̃<sub>i</sub>", "Discovered.features", "B C h w", "Eq. 6"),
    Term("M<sub>i</sub><sup>f</sup>", "Discovered.confidence", "B 1 h w", "Eq. 6"),
    Term("Ỹ<sub>i</sub>", "Discovered.targets", "B D H W", "Eq. 7"),
    Term("M<sub>i</sub><sup>p</sup>", "Discovered.valid", "B 1 H W", "Eq. 7"),
    Term("τ<sub>i</sub>", "Experiment.thresholds", "", "Sec. 3.3"),
    Term("L<sub>s</sub>, L<sub>p</sub>, L<sub>f</sub>", "HiTTs.training_step", "", "Eq. 5 to 8"),
    Term("Δ<sub>MTL</sub>", "metrics.delta_mtl", "", "Eq. 9"),
    Term("c<sub>i</sub>", "Centers.centers", "C_p D", "Eq. 10"),
    Term("Ŷ<sub>i</sub>", "Trace.predictions", "B D H W", "Eq. 10"),
    Term("λ<sub>i</sub>", "MixtureLoss.regression_weight", "", "Eq. 13"),
    Term("F<sub>s</sub><sup>(j)</sup>", "Features.stages", "B C_j H_j W_j", "App. A.2"),
    Term("W<sub>i</sub><sup>s→m(j)</sup>", "MultiScaleTokens.split", "C_j C", "Eq. 14"),
    Term("Θ<sup>(j)</sup>", "MultiScaleTokens.split_tokens", "T C_j", "Eq. 14, 16"),
    Term("ℱ′<sup>(j)</sup>, Θ′<sup>(j)</sup>", "Scale.forward", "", "Eq. 15, 16"),
    Term("Conv<sub>i</sub><sup>1×1</sup>", "MultiScaleTokens.fuse", "", "Eq. 17"),
    Term("W<sub>i</sub><sup>m→s(j)</sup>", "MultiScaleTokens.merge", "C C_j", "Eq. 18"),
)
