"""HiTTs, hierarchical task tokens."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="hitts",
    key="HiTTs",
    title="Multi-Task Label Discovery via Hierarchical Task Tokens for Partially Annotated Dense "
    "Predictions",
    citation="Jingdong Zhang, Hanrong Ye, Xin Li, Wenping Wang, Dan Xu",
    methods={"hitts": "method.HiTTs", "ccr": "ccr.CCR"},
)
