"""RDC, region-aware distribution contrast."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="rdc",
    key="RDC",
    title="Region-aware Distribution Contrast: A Novel Approach to Multi-Task Partially "
    "Supervised Learning",
    citation="Meixuan Li, Tianyu Li, Guoqing Wang, Peng Wang, Yang Yang, Heng Tao Shen. ECCV 2024. "
    "arXiv:2403.10252",
    methods={"rdc": "method.RDC"},
    backbones={"task_expert": "task_expert.TaskExpert"},
)
