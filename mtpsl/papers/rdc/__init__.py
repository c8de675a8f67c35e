"""RDC, region-aware distribution contrast."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="rdc",
    key="RDC",
    title="Region-aware Distribution Contrast: A Novel Approach to Multi-Task Partially Supervised "
    "Learning",
    citation="Meixuan Li, Tianyu Li, Guoqing Wang, Peng Wang, Yang Yang, Heng Tao Shen. ECCV 2024. "
    "arXiv:2403.10252",
    methods={"rdc": "method.RDC"},
    backbones={"task_expert": "task_expert.TaskExpert"},
    symbols=(
        ("x<sub>i</sub>", "Batch.images", "B 3 H W", "Sec. 3.1"),
        ("r<sub>i</sub>", "Batch.regions", "B 1 H W", "Eq. 2"),
        ("t", "Link.source", "", "Sec. 3.2"),
        ("s", "Link.target", "", "Sec. 3.2"),
        ("a<sub>θ</sub>", "RegionContrastLoss.mapping", "", "Sec. 3.2"),
        ("f<sub>t</sub>, f<sub>s</sub>", "RegionContrastLoss.embed", "N D h w", "Sec. 3.3"),
        ("μ<sub>i,t</sub>, Σ<sub>i,t</sub>", "gaussians.region_moments", "", "Eq. 2"),
        ("p<sub>i,t</sub>", "RegionContrastLoss.describe", "R n", "Eq. 2"),
        ("L<sup>NCE</sup><sub>i,t</sub>", "RegionContrastLoss.contrast_image", "", "Eq. 3"),
        ("log sim(p, k)", "RegionContrastLoss.similarity", "M M", "Eq. 4"),
        ("τ", "RegionContrastLoss.temperature", "", "Eq. 4"),
        ("W(p, k)", "gaussians.wasserstein", "M M", "Eq. 5"),
        ("L<sub>RC</sub>", "RegionContrastLoss.contrast_regions", "", "Eq. 6"),
        ("L<sub>Sup</sub>", "base.supervised_terms", "", "Eq. 1"),
    ),
    equation_files=(
        "papers/rdc/method.py",
        "papers/rdc/gaussians.py",
        "papers/rdc/loss.py",
    ),
)
