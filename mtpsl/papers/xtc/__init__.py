"""XTC, cross-task consistency in joint pairwise spaces."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="xtc",
    key="XTC",
    title="Learning Multiple Dense Prediction Tasks from Partially Annotated Data",
    citation="Wei-Hong Li, Xialei Liu, Hakan Bilen. CVPR 2022. arXiv:2111.14893",
    methods={
        "xtc": "method.XTC",
        "direct_map": "pair_maps.DirectMap",
        "perceptual_map": "pair_maps.PerceptualMap",
        "x_task": "pair_maps.XTask",
        "contrastive": "joint_losses.Contrastive",
        "discriminator": "joint_losses.Discriminator",
    },
)
