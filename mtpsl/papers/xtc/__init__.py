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
    symbols=(
        ("x", "Batch.images", "B 3 H W", "Sec. 3.1"),
        ("ŷ<sup>t</sup>(x)", "Output.predictions", "B O H W", "Sec. 3.1"),
        ("y<sup>t</sup>", "Inputs.label", "n O H W", "Sec. 3.1"),
        ("f<sub>φ</sub>(x)", "Output.bottleneck", "B D h w", "Sec. 3.1, Eq. 4"),
        ("t ∈ 𝒯<sub>n</sub>", "Batch.labeled", "B", "Eq. 1"),
        ("L<sup>t</sup>", "Task.loss", "B", "Eq. 1"),
        ("e<sub>r</sub>", "baselines.crop_predictions", "", "Eq. 2"),
        ("L<sub>u</sub>", "SemiSupervised.consistency", "", "Eq. 2"),
        ("s ∈ 𝒰<sub>n</sub>, t ∈ 𝒯<sub>n</sub>", "Link.rows", "", "Eq. 3"),
        ("1 / |𝒰<sub>n</sub>|", "Link.shares", "n", "Eq. 3"),
        (
            "m<sup>s→st</sup>(ŷ<sup>s</sup>), m<sup>t→st</sup>(y<sup>t</sup>)",
            "CrossTaskLoss.embed",
            "n D h w",
            "Eq. 3",
        ),
        ("L<sub>ct</sub>", "loss.cosine_distance", "n", "Eq. 3"),
        ("m̃<sub>ϑ</sub>", "CrossTaskLoss.mapping", "", "Sec. 3.2"),
        ("A", "MappingNet.pairs", "", "Sec. 3.2"),
        ("a<sup>c</sup><sub>i</sub>", "PairNorm.gamma", "P M", "Sec. 3.2"),
        ("a<sup>b</sup><sub>i</sub>", "PairNorm.beta", "P M", "Sec. 3.2"),
        ("R", "CrossTaskLoss.consistency", "", "Eq. 4"),
    ),
    equation_files=(
        "methods/base.py",
        "papers/xtc/loss.py",
        "methods/baselines.py",
    ),
)
