"""TPKR, task prototype-based knowledge retrieval."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="tpkr",
    key="TPKR",
    title="Task Prototype-Based Knowledge Retrieval for Multi-Task Learning from Partially "
    "Annotated Data",
    citation="Youngmin Oh, Hyung-Il Kim, Jung Uk Kim. AAAI 2026. arXiv:2601.07474",
    methods={
        "tpkr": "method.TPKR",
        "diffusion_mtl": "diffusion.DiffusionMTL",
        "task_prompter": "prompts.TaskPrompter",
        "tsp": "tsp.TSP",
    },
    backbones={"residual_vit": "prompts.ResidualViT"},
    symbols=(
        ("I", "Batch.images", "B 3 H W", "Sec. 3.1"),
        ("f<sup>e</sup>", "Traced.encoded", "B c h w", "Eq. 1"),
        ("Z", "Codebook.codes", "K c", "Eq. 1"),
        ("f<sup>q</sup>", "Codebook.look_up", "B c h w", "Eq. 1"),
        ("f<sup>i</sup>", "Traced.latent", "B c h w", "Eq. 1"),
        ("I<sup>r</sup>", "Reconstruction.decoder", "B 3 h w", "Eq. 2"),
        ("L<sub>tae</sub>", "Reconstruction.forward", "", "Eq. 2"),
        ("f<sup>t</sup>", "Traced.decoded", "B c h w", "Sec. 3.3"),
        ("f̂<sup>t</sup>", "Traced.projected", "B n d", "Sec. 3.3"),
        ("V", "TaskPrototypes.slots", "T d", "Eq. 3"),
        ("S", "Traced.similarity", "B n T", "Eq. 3"),
        ("A", "Traced.affinity", "B n T", "Eq. 4"),
        ("L<sub>tke</sub>", "TaskPrototypes.embedding_loss", "", "Eq. 4"),
        ("α", "TaskPrototypes.alpha", "", "Eq. 5"),
        ("L<sub>tc</sub>", "TaskPrototypes.consistency_loss", "", "Eq. 5"),
        ("f<sup>ta</sup>", "TaskPrototypes.affinity_features", "B n d", "Eq. 7"),
        ("f<sup>tr</sup>", "Traced.retrieved", "B C h w", "Eq. 9"),
        ("λ<sub>1</sub>", "TPKR.weight_tae", "", "Eq. 10"),
        ("λ<sub>2</sub>", "TaskPrototypes.weight", "", "Eq. 10"),
    ),
    equation_files=(
        "papers/tpkr/codebook.py",
        "papers/tpkr/loss.py",
        "papers/tpkr/retrieval.py",
        "papers/tpkr/method.py",
    ),
)
