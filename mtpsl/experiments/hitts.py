"""The tables of [HiTTs] that this package runs; their printed cells are in ``hitts_printed``.

A row is what the paper trained: the settings of Sec. 4.1 are the defaults of ``Experiment``, the
thresholds are Appendix B's. ``profiles`` scales a row; nothing here knows about sizes.
"""

from collections.abc import Mapping

from mtpsl.experiments import hitts_printed as printed
from mtpsl.experiments.printed import Printed
from mtpsl.experiments.spec import Claim, Experiment, LabelSetting, Row, Table

TASKS = ("semseg", "depth", "normals")

# tau_i of M_i^p [HiTTs, App. B]
THRESHOLDS: dict[LabelSetting, dict[str, float]] = {
    "one_label": {"semseg": 0.9, "depth": 0.45, "normals": 0.6},
    "random_labels": {"semseg": 0.9, "depth": 0.7, "normals": 0.7},
}

WITH_CONFIDENCE = ("semseg",)  # of a supervised network: a regression head has none

OTHERS = {"MTAN": "mtan", "XTC": "xtc"}  # rows of earlier work -> method

HEADLINES = {
    "semseg/miou": "semseg mIoU",
    "depth/abs_err": "depth AbS",
    "normals/mean_err": "normals mErr",
}


def mtl(setting: LabelSetting) -> Experiment:
    """The MTL baseline: one shared network, labeled pixels only."""
    return Experiment(tasks=TASKS, label_setting=setting)


def stl(setting: LabelSetting) -> tuple[Experiment, ...]:
    """STL: one network a task, each on the images that carry the task's label."""
    return tuple(mtl(setting).replace(tasks=(task,)) for task in TASKS)


def other(label: str, setting: LabelSetting) -> Experiment:
    """Earlier work in the paper's setup, whatever its own was."""
    return mtl(setting).replace(method=OTHERS[label])


def hitts(setting: LabelSetting, **switches: bool) -> Experiment:
    """HiTTs trained with L_s alone; ``switches`` take components away."""
    return mtl(setting).replace(method="hitts", method_args=switches)


def hitts_second_stage(
    setting: LabelSetting, *, pseudo_labels: bool, pseudo_features: bool
) -> Experiment:
    """HiTTs trained again from scratch, with L_p, L_f or both from the plain HiTTs."""
    plain = hitts(setting)
    return plain.replace(
        method_args={"pseudo_labels": pseudo_labels, "pseudo_features": pseudo_features},
        teacher=plain,
        # Thresholds select labels; features are weighted by M^f instead.
        thresholds=THRESHOLDS[setting] if pseudo_labels else {},
    )


def ours(setting: LabelSetting) -> Experiment:
    """The paper's full method: L_s + L_p + L_f [HiTTs, Eq. 8]."""
    return hitts_second_stage(setting, pseudo_labels=True, pseudo_features=True)


def naive_second_stage(teacher: Experiment) -> Experiment:
    """L_p*: the same supervised network again, with its own first stage's pseudo labels.

    Only class probabilities have a confidence, so only the threshold of semseg acts.
    """
    taus = THRESHOLDS[teacher.label_setting]
    return teacher.replace(
        method_args={"pseudo_labels": True},
        teacher=teacher,
        thresholds={task: taus[task] for task in WITH_CONFIDENCE if task in teacher.tasks},
    )


def _row(cells: Printed, name: str, experiments: tuple[Experiment, ...], group: str = "") -> Row:
    label = name.removeprefix(f"{group.lower()}/") if group else name
    return Row(
        name=name,
        label=label,
        group=group,
        experiments=experiments,
        printed=cells.rows[name],
    )


# --- Table 1 -------------------------------------------------------------------------------------

SETTINGS: dict[str, LabelSetting] = {"One-Label": "one_label", "Random-Labels": "random_labels"}


def _table1_rows(group: str, setting: LabelSetting) -> tuple[Row, ...]:
    experiments: Mapping[str, tuple[Experiment, ...]] = {
        "STL": stl(setting),
        "MTL baseline": (mtl(setting),),
        **{label: (other(label, setting),) for label in OTHERS},
        "Ours": (ours(setting),),
    }
    return tuple(
        _row(printed.TABLE1, f"{group.lower()}/{label}", runs, group)
        for label, runs in experiments.items()
    )


def _table1_claims(group: str) -> tuple[Claim, ...]:
    labels = ("STL", "MTL baseline", *OTHERS, "Ours")
    rows = {label: f"{group.lower()}/{label}" for label in labels}

    def claim(better: str, worse: str, column: str, words: str) -> Claim:
        text = f"{group}: {better} beats {worse} on {words}"
        return Claim(text=text, better=rows[better], worse=rows[worse], column=column)

    return (
        claim("Ours", "MTL baseline", "delta_mtl", "Δ_MTL"),
        claim("Ours", "MTAN", "delta_mtl", "Δ_MTL"),
        claim("Ours", "XTC", "delta_mtl", "Δ_MTL"),
        *(claim("Ours", "STL", column, words) for column, words in HEADLINES.items()),
        *(
            claim("Ours", label, column, f'"all the metrics": {column}')
            for label in ("MTL baseline", *OTHERS)
            for column in printed.NYUD_METRICS
        ),
        claim("MTL baseline", "STL", "semseg/miou", HEADLINES["semseg/miou"]),
        claim("MTL baseline", "STL", "depth/abs_err", HEADLINES["depth/abs_err"]),
        claim("STL", "MTL baseline", "normals/mean_err", HEADLINES["normals/mean_err"]),
    )


TABLE1 = Table(
    name="table1",
    paper="hitts",
    title="Comparison on NYUD-v2 under the one-label and random-labels settings",
    source=printed.TABLE1.source,
    columns=printed.TABLE1.columns,
    rows=tuple(row for group, s in SETTINGS.items() for row in _table1_rows(group, s)),
    reference={group: f"{group.lower()}/STL" for group in SETTINGS},
    claims=tuple(claim for group in SETTINGS for claim in _table1_claims(group)),
    notes=(
        'The text says "on all the metrics" of XTC and MTAN; the ledger asks the same of the MTL '
        "baseline, which the printed cells support.",
    ),
)

# --- Table 5 -------------------------------------------------------------------------------------

ABLATIONS = {
    "w/o Orthogonal Embeddings": "orthogonal_embeddings",
    "w/o Inter-Task Learning": "inter_task",
    "w/o Intra-Task Learning": "intra_task",
    "w/o Global Task Tokens": "global_tokens",
    "w/o Fine-grained Task Tokens": "fine_tokens",
}
BOTH, L_P, L_F = "HiTTs w. L_p + L_f", "HiTTs w. L_p", "HiTTs w. L_f"


def _table5_experiments() -> dict[str, tuple[Experiment, ...]]:
    setting: LabelSetting = "one_label"
    return {
        "STL": stl(setting),
        "MTL baseline": (mtl(setting),),
        "HiTTs": (hitts(setting),),
        **{row: (hitts(setting, **{switch: False}),) for row, switch in ABLATIONS.items()},
        "STL w. L_p*": tuple(naive_second_stage(single) for single in stl(setting)),
        "MTL w. L_p*": (naive_second_stage(mtl(setting)),),
        L_F: (hitts_second_stage(setting, pseudo_labels=False, pseudo_features=True),),
        L_P: (hitts_second_stage(setting, pseudo_labels=True, pseudo_features=False),),
        BOTH: (ours(setting),),
    }


def _claim(better: str, worse: str, text: str = "", column: str = "delta_mtl") -> Claim:
    text = text or f"{better} beats {worse} on Δ_MTL"
    return Claim(text=text, better=better, worse=worse, column=column)


TABLE5 = Table(
    name="table5",
    paper="hitts",
    title="Components of HiTTs on NYUD-v2 under the one-label setting",
    source=printed.TABLE5.source,
    columns=printed.TABLE5.columns,
    rows=tuple(_row(printed.TABLE5, n, runs) for n, runs in _table5_experiments().items()),
    reference={"": "STL"},
    claims=(
        _claim("HiTTs", "MTL baseline"),
        *(_claim("HiTTs", row, f"Every component helps: HiTTs beats {row}") for row in ABLATIONS),
        _claim(
            "HiTTs",
            "w/o Orthogonal Embeddings",
            "Without orthogonal embeddings, semseg suffers",
            "semseg/miou",
        ),
        _claim(
            "w/o Intra-Task Learning",
            "w/o Inter-Task Learning",
            "Inter-task learning contributes more than intra-task learning",
        ),
        _claim(L_F, "HiTTs", "L_f helps"),
        _claim(L_P, "HiTTs", "L_p helps"),
        _claim(L_P, L_F, "L_p contributes more than L_f"),
        _claim(BOTH, L_F, "Both together beat L_f alone"),
        _claim(BOTH, L_P, "Both together beat L_p alone"),
        _claim("MTL w. L_p*", "STL w. L_p*"),
        _claim(L_P, "MTL w. L_p*", "Labels found by tokens beat naive ones"),
    ),
    notes=(
        "L_p* has no recipe in the paper: here hard labels of the row's own first stage, semseg "
        "pixels above the printed threshold, every pixel of depth and normals.",
    ),
)

# --- Table 8 -------------------------------------------------------------------------------------


def _cost(text: str, worse: str, column: str, max_ratio: float | None = None) -> Claim:
    return Claim(text=text, better="Ours", worse=worse, column=column, max_ratio=max_ratio)


TABLE8 = Table(
    name="table8",
    paper="hitts",
    title="Computational cost on NYUD-v2, all on the same SegNet",
    source=printed.TABLE8.source,
    columns=printed.TABLE8.columns,
    rows=(
        _row(printed.TABLE8, "MTL baseline", (mtl("one_label"),)),
        *(_row(printed.TABLE8, label, (other(label, "one_label"),)) for label in OTHERS),
        _row(printed.TABLE8, "Ours", (ours("one_label"),)),
    ),
    claims=(
        _cost("1.01 times the baseline's parameters (to 1 %)", "MTL baseline", "cost/params", 1.02),
        _cost("1.21 times the baseline's FLOPs (to 5 %)", "MTL baseline", "cost/flops", 1.27),
        _cost("at most 2.26 times the baseline's memory", "MTL baseline", "cost/memory", 2.265),
        *(
            _cost(f"cheaper than {row}: {column.removeprefix('cost/')}", row, column)
            for row in OTHERS
            for column in printed.COST
        ),
    ),
    notes=(
        "FLOPs in the convention of the printed numbers: one per multiply-accumulate of a "
        "convolution, four per element of a BatchNorm, none for matrix products.",
        "Whatever the profile, parameters and FLOPs are those of the full-size network at "
        "288x384; memory is the peak of a training step, measured on a GPU only.",
        "The row XTC counts its mapping network too, which only training needs: for an image with "
        "one label, four passes through it. The other rows are the same in training and at "
        "inference.",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (TABLE1, TABLE5, TABLE8)}
