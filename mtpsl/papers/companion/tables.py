"""What a paper's tables cannot say: whether data and profile can decide anything, and for whom.

``separation`` runs before methods are compared, on supervised MTL alone. The spread over seeds says
how large a difference the tables can see; full labels against one label per image says whether
labels matter. ``label_share`` asks for which share of the labels a method is worth its cost.
``consistency`` takes XTC apart: its second view, its consistency, and when that sets in.
``mixture`` compares HiTTs' mixture loss as printed and as released. ``contrast``, ``regions`` and
``gaussian`` take RDC apart: whether its contrast helps, what a region must be, and what of a region
must be compared. Those of ``prototypes`` take TPKR apart.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mtpsl.papers.companion import prototypes
from mtpsl.papers.hitts.tables import hitts, mtl, second_stage
from mtpsl.papers.protocols import (
    BEATS,
    DELTA,
    HEADLINES,
    NYUD,
    Runs,
    beats,
    because,
    make_rows,
)
from mtpsl.papers.rdc.tables import HRNET, QUICK_MAP, WEIGHTS, rdc
from mtpsl.papers.rdc.tables import mtl as labels_alone
from mtpsl.papers.xtc.printed import OURS as XTC
from mtpsl.papers.xtc.printed import SL, SSL
from mtpsl.papers.xtc.storm import UNCLIPPED
from mtpsl.papers.xtc.tables import AT_QUICK, row_experiment
from mtpsl.report.arrays import Arrays
from mtpsl.report.results import Results, column_of
from mtpsl.report.tables import Claim, Row, Table

WITH_DELTA = (*HEADLINES, DELTA)

# --- whether labels matter -----------------------------------------------------------------------

FULL, ONE = "full labels", "one label per image"

SEPARATION = Table(
    name="separation",
    paper="companion",
    title="Supervised MTL with every label and with one label per image",
    source="[check of data and profile]",
    columns=tuple(HEADLINES),
    rows=make_rows({FULL: (mtl("full"),), ONE: (mtl("one_label"),)}, columns=len(HEADLINES)),
    claims=tuple(beats(FULL, [ONE], HEADLINES, "{better} beat {worse} on {title}")),
    notes=(
        "Three seeds see a difference between two rows of the same spread once it is larger than "
        "about 3.5 standard deviations of one row: Student's 4.3 times the square root of 2/3.",
    ),
)

# --- the share of labels -------------------------------------------------------------------------

SHARES: dict[str, float] = {"1/8": 1 / 8, "1/4": 1 / 4, "1/2": 1 / 2, "full": 1.0}
"""Group of ``LABEL_SHARE`` -> the share of the training images that keep a task's label."""

MTL, HITTS, OURS, OURS_FULL = "MTL baseline", "HiTTs", "Ours", "Ours, L_f alone"


def _share_rows(group: str, share: float) -> Iterator[Row]:
    withheld = share < 1  # every label has a setting already, whose runs other tables share
    setting, args = ("share", {"share": share}) if withheld else ("full", {})
    plain = hitts(setting, label_args=args)
    ours = second_stage(plain, pseudo_labels=withheld, pseudo_features=True)
    runs = {MTL: mtl(setting, **args), HITTS: plain, OURS if withheld else OURS_FULL: ours}
    for label, experiment in runs.items():
        yield Row(
            name=share_row(group, label),
            label=label,
            group=group,
            experiments=(experiment,),
            printed=(math.nan,) * len(WITH_DELTA),
        )


def share_row(group: str, label: str) -> str:
    """The name of a row of ``LABEL_SHARE``; at full labels, "Ours" is the row with L_f alone."""
    return f"{group} {OURS_FULL if (group, label) == ('full', OURS) else label}"


def _share_claims() -> Iterator[Claim]:
    ours, baseline, plain = (
        {group: share_row(group, label) for group in SHARES} for label in (OURS, MTL, HITTS)
    )
    less_and_more = list(zip(SHARES, [*SHARES][1:], strict=False))
    for g in SHARES:
        text = f"{g}: Ours beats {MTL} on {{title}}"
        yield from beats(ours[g], [baseline[g]], HEADLINES, text)
    for g in SHARES:
        yield from beats(ours[g], [plain[g]], text=f"{g}: the second stage adds to HiTTs")
    for less, more in less_and_more:
        text = f"Ours gains more at {less} than at {more}"
        yield from beats(ours[less], [ours[more]], text=text)
    for less, more in less_and_more:
        text = f"Ours at {less} beats {MTL} at {more}, twice the labels, on {{title}}"
        yield from beats(ours[less], [baseline[more]], HEADLINES, text)


LABEL_SHARE = Table(
    name="label_share",
    paper="companion",
    title="What HiTTs gains over the MTL baseline, by the share of labels that are kept",
    source="[beyond HiTTs: share of labels]",
    columns=WITH_DELTA,
    rows=tuple(row for group, share in SHARES.items() for row in _share_rows(group, share)),
    reference={group: share_row(group, MTL) for group in SHARES},
    claims=tuple(_share_claims()),
    notes=(
        "Each task's label is kept on that share of the training images, drawn task by task; a "
        "larger share keeps every label of a smaller one. With full labels nothing is withheld, "
        "so there are no pseudo labels and Ours has L_f alone.",
        "At profile full, thresholds of pseudo labels are those printed for one label per image; "
        "scaled profiles accept the surer half of the withheld pixels.",
        "Every row passes all images, so all trainings take as many steps; Ours is two trainings.",
    ),
)


def share_gains(results: Results) -> Arrays:
    """What ``LABEL_SHARE`` found, to be drawn over the share of labels.

    Returns:
        ``groups`` and ``shares`` (S,), ``methods`` (M,), ``columns`` and ``labels`` (C,) and
        ``values`` (C, M, S, n) in the units of the table, NaN where not measured; n seeds.
    """
    methods = (MTL, HITTS, OURS)
    seeds = sorted({entry.seed for entry in results.current()})
    values = np.full((len(LABEL_SHARE.columns), len(methods), len(SHARES), len(seeds)), np.nan)
    names = [[share_row(group, label) for group in SHARES] for label in methods]
    for c, column in enumerate(LABEL_SHARE.columns):
        for (m, s), name in np.ndenumerate(np.array(names, dtype=object)):
            by_seed = results.values(LABEL_SHARE, name, column)
            values[c, m, s] = [by_seed.get(seed, math.nan) for seed in seeds]
        values[c] *= column_of(column).scale
    return {
        "groups": np.array(tuple(SHARES)),
        "shares": np.array(tuple(SHARES.values())),
        "methods": np.array(methods),
        "columns": np.array(LABEL_SHARE.columns),
        "labels": np.array([column_of(column).label for column in LABEL_SHARE.columns]),
        "values": values,
    }


# --- XTC taken apart -----------------------------------------------------------------------------

TWO_VIEWS, ONE_VIEW = "Two views, labels alone", "Ours, one view"
SL_FREE, RAMPED_FREE, XTC_FREE = "SL, unclipped", "Ours, ramped up, unclipped", "Ours, unclipped"

_SL, _SSL, _OURS = (row_experiment(NYUD, "one", label) for label in (SL, SSL, XTC))
_CONSISTENCY_RUNS: Runs = {
    SL: (_SL,),
    TWO_VIEWS: (_SSL.replace(method_args={"weight": 0.0}),),
    SSL: (_SSL,),
    ONE_VIEW: (_OURS.replace(method_args={"two_views": False}),),
    XTC: (_OURS,),
    SL_FREE: (_SL.replace(clip=UNCLIPPED),),
    RAMPED_FREE: (_OURS.replace(method_args={"ramp_up": 0.5}, clip=UNCLIPPED),),
    XTC_FREE: (_OURS.replace(clip=UNCLIPPED),),
}
_CONSISTENCY_CLAIMS = because(
    ("The second view helps without consistency", TWO_VIEWS, SL),
    ("Consistency helps with two views", XTC, TWO_VIEWS),
    ("Consistency helps with one view", ONE_VIEW, SL),
    ("Clipping helps labels alone", SL, SL_FREE),
    ("Clipping helps XTC", XTC, XTC_FREE),
    ("Labels first helps where nothing is clipped", RAMPED_FREE, XTC_FREE),
)

CONSISTENCY = Table(
    name="consistency",
    paper="companion",
    title="What of XTC's difference to SL is the second view, and what the consistency",
    source="[beyond XTC: its parts]",
    columns=WITH_DELTA,
    rows=make_rows(_CONSISTENCY_RUNS, columns=len(WITH_DELTA)),
    reference={"": SL},
    claims=_CONSISTENCY_CLAIMS,
    notes=(
        "NYUD-v2 with one label per image, as in [XTC, Table 2], whose rows SL, SSL and XTC are.",
        f'"{TWO_VIEWS}" passes a second, zoomed view of each image through the network, where only '
        "BatchNorm takes notice of it: SSL with weight 0.",
        '"XTC, ramped up, unclipped": the weight of the consistency grows over the first half of '
        "the training, an option of the released code that is off by default.",
        AT_QUICK,
    ),
)

# --- the released mixture of HiTTs ---------------------------------------------------------------

AS_PRINTED, AS_RELEASED = "HiTTs, 0.1 L_reg + L_cls", "HiTTs, L_reg + 0.1 L_cls"

MIXTURE = Table(
    name="mixture",
    paper="companion",
    title="The mixture loss of HiTTs as it is printed and as it is in the released code",
    source="[beside HiTTs, Table 5]",
    columns=WITH_DELTA,
    rows=make_rows(
        {
            MTL: (mtl("one_label"),),
            AS_PRINTED: (hitts("one_label"),),
            AS_RELEASED: (hitts("one_label", mixture="released"),),
        },
        columns=len(WITH_DELTA),
    ),
    reference={"": MTL},
    claims=tuple(
        beats(
            AS_RELEASED, [AS_PRINTED], HEADLINES, f"The released mixture helps: {BEATS} {{title}}"
        )
    ),
    notes=(
        "NYUD-v2 with one label per image, as in [HiTTs, Table 5]: its MTL baseline and its HiTTs "
        "are the first two rows. The paper prints 0.1 L_reg + L_cls twice (Eq. 13 and the text "
        "below it); the code its authors released later has it the other way around.",
    ),
)
# --- RDC taken apart -----------------------------------------------------------------------------

LABELS, DETACHED = "Labels alone", "RDC as released"
VECTOR, PIXEL, GAUSSIAN = "RDC with vectors", "RDC with pixels", "RDC with Gaussians"

_ALONE, _RDC = labels_alone(HRNET, "one"), rdc(HRNET, "one")
_SETTING = "NYUD-v2 on HRNet18 with one label per image, as in [RDC, Table 3]."


CONTRAST = Table(
    name="contrast",
    paper="companion",
    title="Whether the contrast of RDC helps once it has a gradient",
    source="[beyond RDC: its parts]",
    columns=WITH_DELTA,
    rows=make_rows(
        {
            LABELS: (_ALONE,),
            TWO_VIEWS: (_ALONE.replace(method="semi_supervised", method_args={"weight": 0.0}),),
            DETACHED: (rdc(HRNET, "one", gradient=False),),
            VECTOR: (rdc(HRNET, "one", contrast="vector"),),
            PIXEL: (rdc(HRNET, "one", contrast="pixel"),),
            GAUSSIAN: (_RDC,),
        },
        columns=len(WITH_DELTA),
    ),
    reference={"": LABELS},
    claims=because(
        ("The second view helps without contrast", TWO_VIEWS, LABELS),
        ("The contrast of vectors helps", VECTOR, TWO_VIEWS),
        ("The contrast of pixels helps", PIXEL, TWO_VIEWS),
        ("The contrast of Gaussians helps", GAUSSIAN, TWO_VIEWS),
        ("Gaussians are better than vectors", GAUSSIAN, VECTOR),
        ("Gaussians are better than pixels", GAUSSIAN, PIXEL),
    ),
    notes=(
        f'{_SETTING} "{DETACHED}" computes the loss and learns nothing from it, as every released '
        f'variant does: it equals "{TWO_VIEWS}" to the last digit.',
        WEIGHTS,
        QUICK_MAP,
    ),
)

PROVIDERS: Mapping[str, tuple[str, dict[str, Any]]] = {  # a row's label -> provider, settings
    "random cells": ("voronoi", {}),
    "squares": ("grid", {}),
    "slic": ("slic", {}),
    "felzenszwalb 400": ("felzenszwalb", {"scale": 400}),
    "felzenszwalb 200": ("felzenszwalb", {"scale": 200}),
    "felzenszwalb 100": ("felzenszwalb", {}),
    "felzenszwalb 50": ("felzenszwalb", {"scale": 50}),
}
RANDOM, COARSEST, DEFAULT, FINEST = (
    "random cells", "felzenszwalb 400", "felzenszwalb 100", "felzenszwalb 50",
)  # fmt: skip
TRUTH = "segments of the labels"


def _region_rows() -> Iterator[Row]:
    for group, names in (("one", tuple(PROVIDERS)), ("full", (RANDOM, DEFAULT))):
        runs = {LABELS: labels_alone(HRNET, group)}
        for name in names:
            provider, settings = PROVIDERS[name]
            runs[name] = rdc(HRNET, group, provider).replace(region_args=settings)
        if group == "full":  # where labels are withheld, these segments would give them away
            runs[TRUTH] = rdc(HRNET, group, "ground_truth")
        for label, experiment in runs.items():
            yield from make_rows({label: (experiment,)}, None, group, columns=len(WITH_DELTA))


REGIONS = Table(
    name="regions",
    paper="companion",
    title="What the contrast of RDC gains, by who divides the images",
    source="[beyond RDC: regions]",
    columns=WITH_DELTA,
    rows=tuple(_region_rows()),
    reference={group: f"{group}/{LABELS}" for group in ("one", "full")},
    claims=because(
        ("Regions matter", f"one/{DEFAULT}", f"one/{RANDOM}"),
        ("Regions matter", f"full/{DEFAULT}", f"full/{RANDOM}"),
        ("Finer regions are better", f"one/{FINEST}", f"one/{COARSEST}"),
        ("True segments are better", f"full/{TRUTH}", f"full/{DEFAULT}"),
    ),
    notes=(
        "`python -m mtpsl data check rooms13 --regions felzenszwalb` says how well these regions "
        "follow the classes. Random cells are the control: as many, and blind to the image.",
        "Segments of the labels are allowed only where no label of semseg is withheld, so they and "
        "two rivals have a block with every label.",
        WEIGHTS,
        QUICK_MAP,
    ),
)

PARTS: Mapping[str, dict[str, Any]] = {  # a row's label -> arguments of RDC
    "means": {"measure": "mean"},
    "variances": {"measure": "diagonal"},
    "symmetric roots": {"measure": "root"},
    "KL divergence": {"measure": "kl"},
    "KL by channel": {"measure": "kl_diagonal"},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 50": {"temperature": 50.0},
    "negatives of both maps": {"negatives": "both"},
    "negatives of a bank": {"negatives": "bank"},
    "8 negatives": {"negatives": 8},
    "no gradient through labels": {"stop_label": True},
    "weight 1 from the start": {"weight": 1.0, "ramp_up": 0.0},
}
_PART_RUNS: Runs = {label: (rdc(HRNET, "one", **args),) for label, args in PARTS.items()}

DISTANCES = Table(
    name="gaussian",
    paper="companion",
    title="What of a region's Gaussian matters, and how it is compared",
    source="[beyond RDC: distances]",
    columns=WITH_DELTA,
    rows=make_rows({LABELS: (_ALONE,), GAUSSIAN: (_RDC,), **_PART_RUNS}, columns=len(WITH_DELTA)),
    reference={"": LABELS},
    claims=because(
        ("Covariances matter", GAUSSIAN, "means"),
        ("More than variances matters", GAUSSIAN, "variances"),
        ("Wasserstein is the better distance", GAUSSIAN, "KL divergence"),
        ("The released weight is better than the printed one", GAUSSIAN, "weight 1 from the start"),
    ),
    notes=(
        f"{_SETTING} Each row changes what is named of RDC with Gaussians.",
        "Symmetric roots are an upper bound of the squared Wasserstein distance that costs as "
        "little as a distance of vectors; variances are a lower one. The temperature of the other "
        "rows is 5.4 for 32 channels, and in proportion for fewer.",
        WEIGHTS,
        QUICK_MAP,
    ),
)

TABLES = {
    table.name: table
    for table in (
        *(SEPARATION, LABEL_SHARE, CONSISTENCY, MIXTURE, CONTRAST, REGIONS, DISTANCES),
        *prototypes.TABLES,
    )
}
