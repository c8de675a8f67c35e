"""Figures that [HiTTs] does not have: how good and how sure discovered labels really are."""

from collections.abc import Mapping

import numpy as np

from mtpsl.data.thresholds import resolve_thresholds
from mtpsl.metrics import COLUMNS
from mtpsl.papers.hitts import draw_beyond
from mtpsl.papers.hitts.figure_arrays import QUALITY
from mtpsl.papers.hitts.pseudo_quality import (
    LIMITS,
    Counts,
    acceptance,
    accepted,
    by_class,
    by_distance,
    calibration,
    count,
)
from mtpsl.report.arrays import Arrays, Material, describe
from mtpsl.report.figure import Figure
from mtpsl.tasks import TaskSet

BATCH = 16  # images; what is counted does not depend on it


def discoveries(material: Material) -> Arrays:
    """What ``pseudo_quality`` measures, for the one teacher of ``material``, as a figure keeps it.

    ``<task>/curve/...`` is ``acceptance``, ``/reliability/...`` ``calibration``, ``/class/...``
    and ``/distance/...`` the groups at threshold 0; ``/used`` (3,) is tau_i with its coverage and
    quality. Quality is in the units of the tables, whose column ``/label`` names, as is ``/floor``
    (), that of the true bins. ``class_names`` and ``limits`` name the groups.
    """
    (teacher,) = material.methods.values()
    where = {"batch_size": BATCH, "device": material.device}
    taus = resolve_thresholds(teacher, material.train, material.thresholds, **where)
    return quality_arrays(count(teacher, material.train, thresholds=taus, **where), taus)


def quality_arrays(found: Mapping[str, Counts], thresholds: Mapping[str, float]) -> Arrays:
    """``discoveries`` of counts.

    Args:
        found: Task -> counts.
        thresholds: Task -> tau_i; a task that is not named accepts every pixel.
    """
    first = next(iter(found.values()))
    tasks = TaskSet(tuple(counts.task for counts in found.values()))
    arrays = describe(tasks) | {
        "class_names": np.array(first.classes),
        "limits": np.array(LIMITS),
    }
    for name, counts in found.items():
        column = COLUMNS[QUALITY[counts.task.kind]]
        tau = thresholds.get(name, 0.0)
        used = accepted(counts, tau)
        floor = accepted(counts, 0.0)["floor"]
        parts = {
            "curve": acceptance(counts),
            "reliability": calibration(counts),
            "class": by_class(counts),
            "distance": by_distance(counts),
        }
        for values in parts.values():
            if "quality" in values:
                values["quality"] = column.scale * values["quality"]
        arrays |= {
            f"{name}/{part}/{key}": np.round(np.asarray(value, dtype=float), 6)
            for part, values in parts.items()
            for key, value in values.items()
        }
        arrays[f"{name}/used"] = np.round(
            np.array([tau, used["coverage"], column.scale * used["quality"]]), 6
        )
        arrays[f"{name}/floor"] = np.round(np.array(column.scale * floor), 6)
        arrays[f"{name}/label"] = np.array(column.label)
    return arrays


BEYOND: tuple[Figure, ...] = (
    Figure(
        name="discovery",
        paper="hitts",
        title="Is a discovered label as good as its confidence says?",
        source="[beyond HiTTs, Sec. 3.3]",
        caption=(
            "Of the withheld training pixels whose discovered label has a confidence, how many are "
            "in the true bin: on the diagonal a teacher is calibrated, below it is too sure."
        ),
        alt=(
            "For each task bars of the share of right discovered labels by confidence, against the "
            "diagonal, above a histogram of the confidence."
        ),
        arrays=discoveries,
        draw=draw_beyond.draw_reliability,
        runs={"ours": ("hitts/table1", "one-label/Ours")},
        teachers=True,
    ),
)
