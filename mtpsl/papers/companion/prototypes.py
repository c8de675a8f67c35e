"""TPKR taken apart: where its gain comes from, and whether prototypes know how tasks are related.

``retrieval`` takes parts out of TPKR, one at a time, and sets a baseline of its size beside it.
``temperature`` lifts the ceiling of its affinity. ``diffusion`` asks whether it is noise that helps
DiffusionMTL. ``transfer`` trains tasks in pairs: what a task gains by another one is what an
affinity between the two should say, and ``relatedness`` holds the two against each other.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pandas
import torch
from matplotlib.figure import Figure as Drawing

from mtpsl.papers.hitts.tables import mtl, stl
from mtpsl.papers.protocols import DELTA, HEADLINES, Runs, because, make_rows
from mtpsl.papers.tpkr.printed import FEATURE, MTL, OURS, PASCAL, STL
from mtpsl.papers.tpkr.tables import (
    GRID,
    NYUD,
    PROTOCOL,
    WEIGHTS,
    WIDE,
    WIDE_MTL,
    diffusion,
    method,
)
from mtpsl.papers.tpkr.tables import PASCAL as PEOPLE
from mtpsl.report.arrays import Arrays, FigureInputs, describe, evenly_spaced
from mtpsl.report.figure import Figure
from mtpsl.report.plots import chart_row
from mtpsl.report.results import Results, column_of, read_recorded
from mtpsl.report.style import CYCLE, QUIET, styled
from mtpsl.report.tables import Claim, Table

SETTING = "NYUD-v2 on the fused ResNet-18 with one label per image, as in [TPKR, Table 2]."
ALONE, CONSTANT = "transformer alone", "constant keys"
ONE_HOT, EVEN, SLOTS = "one-hot affinity", "uniform affinity", "slots as keys"
NO_CODES, FROZEN = "without codebook", "frozen random prototypes"
IMAGES = 64  # test images that an affinity is a mean of


def _table(name: str, title: str, about: str, runs: Runs, claims: tuple[Claim, ...], *notes: str):
    return Table(
        name=name,
        paper="companion",
        title=title,
        source=f"[beyond TPKR: {about}]",
        columns=(*HEADLINES, DELTA),
        rows=make_rows(runs, columns=len(HEADLINES) + 1),
        reference={"": MTL},
        claims=claims,
        notes=(*notes, PROTOCOL, WEIGHTS),
    )


_BASELINE: Runs = {MTL: (mtl("one_label", NYUD),)}

RETRIEVAL = _table(
    "retrieval",
    "Where the gain of TPKR comes from",
    "its parts",
    {
        **_BASELINE,
        WIDE_MTL: (mtl("one_label", WIDE),),
        ALONE: method("tpkr", NYUD, retrieve="none"),
        CONSTANT: method("tpkr", NYUD, affinity="uniform", weight=0.0),
        EVEN: method("tpkr", NYUD, affinity="uniform"),
        ONE_HOT: method("tpkr", NYUD, affinity="one_hot"),
        SLOTS: method("tpkr", NYUD, retrieve="slots"),
        NO_CODES: method("tpkr", NYUD, codes="none"),
        FROZEN: method("tpkr", NYUD, frozen=True),
        OURS: method("tpkr", NYUD),
    },
    because(
        ("More than size helps", OURS, WIDE_MTL),
        ("The transformer helps without prototypes", ALONE, MTL),
        ("Prototypes add to the transformer", OURS, ALONE),
        ("What is retrieved is more than a constant", OURS, CONSTANT),
        ("Affinities are more than even", OURS, EVEN),
        ("Other tasks' slots help", OURS, ONE_HOT),
        ("Affinity features are better keys than slots", OURS, SLOTS),
        ("The codebook helps", OURS, NO_CODES),
        ("Prototypes must be learned", OURS, FROZEN),
    ),
    f'{SETTING} "{ALONE}" has self-attention and feed-forward networks, the codebook and L_tae, '
    "but nothing to retrieve and no loss of prototypes.",
    f'"{CONSTANT}" retrieves the same learned vector at every position of every task, without '
    f'the losses of prototypes; "{EVEN}" has them, "{ONE_HOT}" retrieves a task\'s own slot.',
    f'"{WIDE_MTL}" has 56.4 M parameters at full width, TPKR 56.8 M.',
)

TEMPERATURES = (0.05, 0.1, 0.3, 1.0)


def _warm(temperature: float) -> str:
    return f"temperature {temperature:g}"


TEMPERATURE = _table(
    "temperature",
    "TPKR with a temperature in the softmax of its affinity",
    "temperature",
    {
        **_BASELINE,
        **{_warm(t): method("tpkr", NYUD, temperature=t) for t in TEMPERATURES[:-1]},
        _warm(1.0): method("tpkr", NYUD),
    },
    because(
        *(("A higher ceiling helps", _warm(t), _warm(1.0)) for t in TEMPERATURES[:-1]),
    ),
    f"{SETTING} At temperature 1, as printed, the affinity of a task with its own slot is at most "
    "0.69; at 0.3 the ceiling is 0.99.",
)

TWO_STEPS, ONE_STEP, FOUR_STEPS, NO_NOISE = FEATURE, "1 step", "4 steps", "no noise"


def _steps(**args: Any) -> tuple:
    return method("diffusion_mtl", NYUD, variant="feature", **args)


DIFFUSION = _table(
    "diffusion",
    "Whether it is diffusion that helps DiffusionMTL",
    "diffusion",
    {
        **_BASELINE,
        NO_NOISE: _steps(noise=0.0),
        ONE_STEP: _steps(steps=1),
        TWO_STEPS: diffusion(NYUD)[FEATURE],
        FOUR_STEPS: _steps(steps=4),
    },
    because(
        ("A refinement without noise helps", NO_NOISE, MTL),
        ("DiffusionMTL helps", TWO_STEPS, MTL),
        ("Noise helps", TWO_STEPS, NO_NOISE),
        ("A second step helps", TWO_STEPS, ONE_STEP),
        ("Four steps are better than two", FOUR_STEPS, TWO_STEPS),
    ),
    f'{SETTING} The released network has two steps, the row "{FEATURE}". "{NO_NOISE}" is one pass '
    "of the same denoiser over features to which nothing was added: a refinement.",
    GRID,
)

# --- pairs of tasks ------------------------------------------------------------------------------


def pair(first: str, second: str) -> str:
    """The row of ``TRANSFER`` that trains two tasks together, in any order."""
    return " + ".join(sorted((first, second), key=PEOPLE.tasks.index))


TRANSFER = Table(
    name="transfer",
    paper="companion",
    title="Tasks trained alone, in pairs and all together",
    source="[beyond TPKR: pairs of tasks]",
    columns=PASCAL,
    rows=make_rows(
        {
            STL: stl("one_label", PEOPLE),
            **{
                pair(*two): (mtl("one_label", PEOPLE).replace(tasks=two),)
                for two in combinations(PEOPLE.tasks, 2)
            },
            MTL: (mtl("one_label", PEOPLE),),
            OURS: method("tpkr", PEOPLE),
        },
        columns=len(PASCAL),
    ),
    notes=(
        "PASCAL-Context with one label per image, as in [TPKR, Table 1], because five tasks make "
        "20 ordered pairs, where three would make six. A pair shares the network of the MTL "
        "baseline.",
        PROTOCOL,
        WEIGHTS,
    ),
)

TABLES = (RETRIEVAL, TEMPERATURE, DIFFUSION, TRANSFER)


def transfer_gains(results: Results | None, names: Sequence[str] = PEOPLE.tasks) -> np.ndarray:
    """What each task gains by a second one, over the task alone, from runs of ``TRANSFER``.

    Args:
        results: Of the table; None: no run.
        names: The tasks in the order that is wanted.

    Returns:
        (T, T, n) in percent of the task's headline, positive where it is better with the second
        task, over n seeds; NaN on the diagonal and where a run is missing.
    """
    columns = {column.partition("/")[0]: column for column in PASCAL}
    seeds = sorted({entry.seed for entry in results.current()}) if results else []
    gains = np.full((len(names), len(names), max(1, len(seeds))), np.nan)
    for (i, task), (j, other) in permutations(enumerate(names), 2):
        for n, seed in enumerate(seeds):
            column = columns[task]
            alone, together = (
                results.values(TRANSFER, row, column).get(seed, np.nan)
                for row in (STL, pair(task, other))
            )
            sign = 1 if column_of(column).higher_is_better else -1
            gains[i, j, n] = 100 * sign * (together - alone) / alone
    return gains


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's, over all ordered pairs of different tasks that both (T, T) know; or NaN."""
    off = ~np.eye(len(one), dtype=bool) & np.isfinite(one) & np.isfinite(other)
    frame = pandas.DataFrame({"one": one[off], "other": other[off]}).rank()
    return float(frame["one"].corr(frame["other"])) if len(frame) > 2 else float("nan")


@torch.no_grad()
def relatedness(inputs: FigureInputs) -> Arrays:
    """What a trained TPKR says of pairs of tasks, and what pairs gain in the recorded runs.

    Returns:
        ``cosine`` (T, T) of slots; ``affinity`` (T, T), the mean of task t with each slot over
        test images; ``gain`` (T, T, n), of ``transfer_gains``; tasks in the order of ``tasks``.
    """
    (part,) = inputs.parts.values()
    (network,), tasks = part.methods.values(), part.test.tasks
    slots = network.prototypes.slots
    means = [
        torch.stack(
            [a.flatten(0, 1).mean(0) for a in network.trace(batch.images).affinity.values()]
        )
        for batch in part.batches(evenly_spaced(len(part.test), IMAGES))
    ]
    known = read_recorded(inputs.records, TRANSFER) if inputs.records else None
    return describe(tasks) | {
        "cosine": network.prototypes.similarity(slots).cpu().numpy().round(4),
        "affinity": torch.stack(means).mean(0).cpu().numpy().round(4),
        "gain": transfer_gains(known, tasks.names).round(3),
    }


SAID: Mapping[str, str] = {
    "cosine": "cosine of the two slots",
    "affinity": "mean affinity with the second slot",
}


@styled
def draw_relatedness(arrays: Arrays) -> Drawing:
    """Measured gain over what prototypes say, a panel each, a dot for each ordered pair."""
    gain = np.array([[np.mean(seeds) for seeds in row] for row in arrays["gain"]])
    sheet, columns = chart_row(list(SAID.values()), 2.4, wide=3.0)
    names = [str(title) for title in arrays["titles"]]
    for (key, words), (axes,) in zip(SAID.items(), columns, strict=True):
        rho = rank_correlation(arrays[key], gain)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        for i, j in product(range(len(names)), repeat=2):
            if i != j and np.isfinite(gain[i, j]):
                axes.plot(arrays[key][i, j], gain[i, j], "o", color=CYCLE[i], markersize=5)
        known = "no pair is recorded" if np.isnan(rho) else f"rank correlation {rho:+.2f}"
        axes.set_title(known, fontsize=9)
        axes.set(xlabel=words, ylabel="gain of a task by the second (%)")
    for i, name in enumerate(names):
        columns[0][0].plot([], [], "o", color=CYCLE[i], label=name)
    sheet.figure.legend(loc="lower center", ncols=len(names), fontsize=7)
    return sheet.figure


RELATEDNESS = Figure(
    name="relatedness",
    paper="companion",
    title="Do prototypes know which tasks help each other?",
    source="[beyond TPKR: pairs of tasks]",
    caption="What a task gains when a second one is trained with it, over the cosine of their two "
    "prototypes and over the mean affinity of its features with the second's slot: a dot for each "
    "ordered pair, in the color of the task that gains.",
    alt="Two scatter plots of gain in percent, over cosine and over affinity, with their rank "
    "correlations.",
    arrays=relatedness,
    draw=draw_relatedness,
    runs={"people/ours": ("companion/transfer", OURS)},
)
