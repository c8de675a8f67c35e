"""What [HiTTs] trains, as experiments, and how its tables are built from them.

The settings of Sec. 4.1 on NYUD-v2 are the defaults of ``Experiment``; thresholds are Appendix B's.
``profiles`` scales an experiment; nothing here knows about sizes but the paper's own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mtpsl.papers import protocols
from mtpsl.papers.xtc import tables as xtc
from mtpsl.report.audit import Printed
from mtpsl.report.tables import Claim, Row, Table
from mtpsl.runs.experiment import Experiment, LabelSetting

TASKS = ("semseg", "depth", "normals")

NYUD = Experiment(tasks=TASKS)

# Optimizer and schedule as on NYUD-v2; of the batch size the paper says nothing.
CITYSCAPES = protocols.CITYSCAPES.replace(epochs=400, batch_size=8)

PASCAL = protocols.PASCAL.replace(epochs=24)  # 20000 steps of 6 images, to the nearest epoch

# tau_i of M_i^p [HiTTs, App. B]: data set -> setting -> task
ALL_THRESHOLDS: dict[str, dict[LabelSetting, dict[str, float]]] = {
    NYUD.dataset: {
        "one_label": {"semseg": 0.9, "depth": 0.45, "normals": 0.6},
        "random_labels": {"semseg": 0.9, "depth": 0.7, "normals": 0.7},
    },
    CITYSCAPES.dataset: {"one_label": {"semseg": 0.9, "depth": 0.5}},
    PASCAL.dataset: dict.fromkeys(
        ("one_label", "random_labels"),
        {"semseg": 0.9, "human_parts": 0.85, "normals": 0.7, "saliency": 0.7, "edges": 0.9},
    ),
}
THRESHOLDS = ALL_THRESHOLDS[NYUD.dataset]

# How regression becomes classification, and which tokens [HiTTs, App. A]; on NYUD-v2 the defaults.
DATA_ARGS: dict[str, dict[str, Any]] = {
    CITYSCAPES.dataset: {"depth_bins": 100},
    PASCAL.dataset: {
        "normal_centers": 40,
        "normal_centers_from": "uniform",
        "multi_scale": True,
    },
}

SETTINGS: dict[str, LabelSetting] = {"One-Label": "one_label", "Random-Labels": "random_labels"}

WITH_CONFIDENCE = ("semseg",)  # of a supervised network: a regression head has none

OTHERS = {  # rows of earlier work -> method
    "MTAN": "mtan",
    "XTC": "xtc",
    "MTL ssl": "semi_supervised",
    "MTL w. CL": "contrastive",
    "MTL w. DL": "discriminator",
}

XTC_ARGS = {  # (data set, method) -> arguments, as in the tables of that paper
    (dataset, xtc.METHODS[row]): args for (dataset, row), args in xtc.SETTINGS.items()
}

STEPS = (
    "A single-task network leaves out the images without its label, as the released code of XTC "
    "does, and takes fewer steps in as many epochs: with one label an image, one in as many as "
    "there are tasks."
)
"""A note on rows of single-task networks."""


def mtl(setting: LabelSetting, base: Experiment = NYUD, **args: Any) -> Experiment:
    """The MTL baseline: one shared network, labeled pixels only; ``args`` of the setting."""
    return base.replace(label_setting=setting, label_args=args)


def stl(setting: LabelSetting, base: Experiment = NYUD, **args: Any) -> tuple[Experiment, ...]:
    """STL: one network a task, each on the images that carry the task's label."""
    return tuple(mtl(setting, base, **args).replace(tasks=(task,)) for task in base.tasks)


def other(label: str, setting: LabelSetting, base: Experiment = NYUD) -> Experiment:
    """Earlier work in the paper's setup, whatever its own was."""
    method = OTHERS[label]
    args = XTC_ARGS.get((base.dataset, method), {})
    return mtl(setting, base).replace(method=method, method_args=args)


def hitts(
    setting: LabelSetting,
    base: Experiment = NYUD,
    label_args: Mapping[str, Any] | None = None,
    **switches: bool,
) -> Experiment:
    """HiTTs trained with L_s alone; ``switches`` change components."""
    args = DATA_ARGS.get(base.dataset, {}) | switches
    return mtl(setting, base, **(label_args or {})).replace(method="hitts", method_args=args)


def second_stage(plain: Experiment, *, pseudo_labels: bool, pseudo_features: bool) -> Experiment:
    """A plain HiTTs trained again from scratch, with L_p, L_f or both from itself."""
    switches = {"pseudo_labels": pseudo_labels, "pseudo_features": pseudo_features}
    thresholds = {}
    if pseudo_labels:  # thresholds select labels; features are weighted by M^f instead
        settings = ALL_THRESHOLDS[plain.dataset]
        thresholds = settings.get(plain.label_setting, settings["one_label"])
    args = dict(plain.method_args) | switches
    return plain.replace(method_args=args, teacher=plain, thresholds=thresholds)


def ours(setting: LabelSetting, base: Experiment = NYUD) -> Experiment:
    """The paper's full method: L_s + L_p + L_f [HiTTs, Eq. 8]."""
    return second_stage(hitts(setting, base), pseudo_labels=True, pseudo_features=True)


def cityscapes_hitts(**switches: bool) -> Experiment:
    """Plain HiTTs from one label an image of Cityscapes; ``switches`` change components."""
    return hitts("one_label", CITYSCAPES, **switches)


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


# --- rows, claims and tables ---------------------------------------------------------------------

DELTA = "delta_mtl"
SEMSEG, DEPTH, NORMALS = "semseg/miou", "depth/abs_err", "normals/mean_err"
TITLES = protocols.WORDS
HEADLINES = {column: TITLES[column] for column in (SEMSEG, DEPTH, NORMALS)}


def make_rows(cells: Printed, runs: protocols.Runs, group: str = "", **how: Any) -> tuple[Row, ...]:
    """Rows of a printed table; in a block their names start with the block's."""
    names = {label: f"{group.lower()}/{label}" if group else label for label in runs}
    return tuple(
        Row(
            name=names[label],
            label=label,
            group=group,
            experiments=experiments,
            printed=cells.rows[names[label]],
            **how,
        )
        for label, experiments in runs.items()
    )


def make_blocks(cells: Printed, runs: Callable[[LabelSetting], protocols.Runs]) -> tuple[Row, ...]:
    """The same rows for every label setting, a block each."""
    return tuple(row for group, s in SETTINGS.items() for row in make_rows(cells, runs(s), group))


def beats(
    better: str,
    others: Iterable[str],
    columns: Iterable[str] = (DELTA,),
    text: str = "{beats} on {title}",
    group: str = "",
) -> Iterator[Claim]:
    """Claims that one row of a block beats others of it, one for each column.

    Args:
        better: Label of the row.
        others: Labels of the rows that it beats.
        columns: Columns of the table.
        text: In it ``{beats}`` is the comparison, ``{title}`` the column's, ``{key}`` its key.
        group: The block; its name comes first.
    """
    block, begins = (f"{group.lower()}/", f"{group}: ") if group else ("", "")
    for worse in others:
        for column in columns:
            comparison, title = f"{better} beats {worse}", TITLES.get(column)
            yield Claim(
                text=begins + text.format(beats=comparison, title=title, key=column),
                better=block + better,
                worse=block + worse,
                column=column,
            )


def make_table(
    cells: Printed, title: str, rows: tuple[Row, ...], claims: Iterable[Claim], *notes: str
) -> Table:
    """A table that answers a printed one; deltas refer to the row STL of their block."""
    references = {row.group: row.name for row in rows if row.label == "STL"}
    reference = references if DELTA in cells.columns else {}
    return protocols.make_table(cells, title, rows, claims, notes, reference=reference)
