"""Figure 3 of HiTTs: what a global task token learns from its own and from other tasks.

Maps, tokens and affinities are those of the networks that made the arrays, shapes and counts too.
"""

from matplotlib.figure import Figure

from mtpsl.papers.hitts.parts import (
    BELOW,
    GLOBAL,
    LOSSES,
    affinity,
    band,
    known,
    loss_text,
    numbered,
    parameters,
    score_rgb,
    shape,
    token,
)
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import SHARED, SMALL, TASK, TEXT, Box, Canvas, shape_text
from mtpsl.report.maps import titles_of
from mtpsl.report.style import QUIET, styled

PICTURE = 0.72  # inches across a feature of Figure 3
ABOVE = 0.17  # inches from the top of a feature to the middle of the token over it

Ends = dict[str, tuple[Box, Box]]  # task -> where its token and its feature leave a stage


@styled
def draw_fig3(arrays: Arrays) -> Figure:
    """Query, inter-task and intra-task learning, a row a task; below them the affinity."""
    titles = titles_of(arrays)
    tall = PICTURE * arrays["images"].shape[1] / arrays["images"].shape[2]
    step = tall + 0.68
    high, low = 0.5 + step * len(titles), 0.72 + 0.36 * len(titles)
    canvas = Canvas(11.0, high + low + 0.5)
    left, cards = 0.1, []
    names = ("Query", "Inter-task learning", "Intra-task learning", "Feature supervision discovery")
    for name, letter, wide in zip(names, "abcd", (3.25, 2.05, 2.2, 3.0), strict=True):
        cards.append(Box(left, 0.1, wide, high))
        canvas.card(cards[-1], f"({letter}) {name}")
        left = cards[-1].right + 0.1
    rows = {t: cards[0].top + 0.84 + i * step + tall / 2 for i, t in enumerate(titles)}
    queried = _query(canvas, cards[0], arrays, rows, tall)
    mixed = _inter_task(canvas, cards[1], arrays, rows, queried)
    updated = _intra_task(canvas, cards[2], arrays, rows, mixed)
    _found_features(canvas, cards[3], arrays, rows, updated)
    under = Box(0.1, cards[0].bottom + 0.1, cards[1].right - 0.1, low)
    canvas.card(under, "(e) Affinity from the tokens")
    _affinity(canvas, under, arrays)
    right = Box(under.right + 0.1, under.top, canvas.width - under.right - 0.2, low)
    canvas.card(right, "(f) In equations")
    _equations(canvas, right)
    return canvas.figure


def _query(canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float], tall: float) -> Ends:
    """F_s as cells, how much each answers a task's token, and the task's feature F_i."""
    wide, found = 0.86, {}
    middle = (min(rows.values()) + max(rows.values())) / 2
    flat = Box(card.left + 0.14, middle + 0.2, wide, 0.44)
    shared_tall = wide * arrays["shared"].shape[0] / arrays["shared"].shape[1]
    top = flat.top - 0.48 - shared_tall
    shared = canvas.picture(flat.left, top, wide, arrays["shared"], frame=SHARED)
    shape(canvas, shared.x, shared.top - 0.12, arrays, "shared", "$F_s$")
    block = int(arrays["block"])
    canvas.box(flat, "flatten", [f"{block} × {block} means"], color=SHARED)
    canvas.arrow((shared.x, shared.bottom), (shared.x, flat.top), color=SHARED)
    shape(canvas, flat.x, flat.bottom + 0.12, arrays, "cells")
    trunk = flat.right + 0.12
    canvas.line((flat.right, flat.y), (trunk, flat.y), color=SHARED)
    ends = [*rows.values(), flat.y]
    canvas.line((trunk, min(ends)), (trunk, max(ends)), color=SHARED)
    for task, y in rows.items():
        i, top = numbered(arrays)[task], y - tall / 2
        gate = score_rgb(arrays[f"gate/{task}"])
        gate = canvas.picture(trunk + 0.22, top, PICTURE, gate, frame=GLOBAL)
        own = Box(gate.left, top - ABOVE - 0.06, PICTURE, 0.12)
        token(canvas, own, arrays["values/theta"][i - 1])
        canvas.text(own.x, own.top - 0.11, rf"$\theta_{i}$")
        canvas.arrow((own.x, own.bottom), (own.x, gate.top), color=GLOBAL)
        canvas.arrow((trunk, y), (gate.left, y), color=SHARED)
        canvas.text(gate.x, gate.bottom + BELOW, "gate", size=SMALL, color=QUIET)
        left = card.right - PICTURE - 0.12
        feature = canvas.picture(left, top, PICTURE, arrays[f"queried/{task}"], frame=TASK)
        canvas.arrow((gate.right, y), (feature.left, y), color=TASK)
        canvas.text((gate.right + feature.left) / 2 - 0.02, y - 0.11, r"$\odot$", size=SMALL)
        shape(canvas, feature.x, feature.bottom + BELOW, arrays, f"queried/{task}", f"$F_{i}$")
        found[task] = own, feature
    return found


def _inter_task(
    canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float], before: Ends
) -> Ends:
    """Tokens and features are mixed by A."""
    features, found = [feature for _, feature in before.values()], {}
    top, low = features[0].top - 0.34, features[-1].bottom
    tower = Box(card.left + 0.16, top, 0.62, low - top)
    canvas.box(tower, r"$A\,\times$", [shape_text(arrays["shape/affinity"])], color=GLOBAL, size=12)
    for task, y in rows.items():
        i, (asked, came) = numbered(arrays)[task], before[task]
        at = asked.y
        canvas.arrow((asked.right, at), (tower.left, at), color=GLOBAL)
        canvas.arrow((came.right, y), (tower.left, y), color=TASK)
        left = card.right - PICTURE - 0.14
        mixed = canvas.picture(left, came.top, PICTURE, arrays[f"mixed/{task}"], frame=TASK)
        own = Box(left, at - 0.06, PICTURE, 0.12)
        token(canvas, own, arrays["values/theta_mixed"][i - 1])
        canvas.text(own.x, own.top - 0.11, rf"$\theta'_{i}$")
        canvas.arrow((tower.right, at), (own.left, at), color=GLOBAL)
        canvas.arrow((tower.right, y), (mixed.left, y), color=TASK)
        canvas.text(mixed.x, mixed.bottom + BELOW, f"$F'_{i}$", size=SMALL)
        found[task] = own, mixed
    return found


def _intra_task(
    canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float], before: Ends
) -> Ends:
    """Self-attention over a task's token and cells."""
    found = {}
    for task, y in rows.items():
        i, (mixed, came) = numbered(arrays)[task], before[task]
        at, key = mixed.y, f"attention/{task}"
        lines = [parameters(arrays, key)] if f"parameters/{key}" in arrays else []
        box = Box(card.left + 0.16, at - 0.14, 0.84, came.bottom - at + 0.14)
        canvas.arrow((came.right, at), (box.left, at), color=GLOBAL)
        canvas.arrow((came.right, y), (box.left, y), color=TASK)
        canvas.box(box, "attention" if lines else "none", lines, color=TASK)
        shape(canvas, box.x, box.bottom + BELOW, arrays, f"joint/{task}")
        left = card.right - PICTURE - 0.14
        feature = canvas.picture(left, came.top, PICTURE, arrays[f"feature/{task}"], frame=TASK)
        own = Box(left, at - 0.06, PICTURE, 0.12)
        token(canvas, own, arrays[f"values/token/{task}"])
        canvas.text(own.x, own.top - 0.11, rf"$\theta'_{i}$")
        canvas.arrow((box.right, at), (own.left, at), color=GLOBAL)
        canvas.arrow((box.right, y), (feature.left, y), color=TASK)
        canvas.text(feature.x, feature.bottom + BELOW, f"$F'_{i}$", size=SMALL)
        found[task] = own, feature
    return found


def _found_features(
    canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float], before: Ends
) -> None:
    """The frozen first stage's features, and where a task without a label trusts them."""
    features = [feature for _, feature in before.values()]
    first, low = features[0].top, features[-1].bottom
    ground = Box(card.left + 0.74, first - 0.36, card.width - 0.86, low - first + 0.64)
    band(canvas, ground, GLOBAL)
    canvas.text(ground.x, ground.top + 0.14, "frozen first stage", size=SMALL, color=QUIET)
    for task, y in rows.items():
        i, (_, came) = numbered(arrays)[task], before[task]
        left = ground.left + 0.14
        teacher = canvas.picture(left, came.top, PICTURE, arrays[f"teacher/{task}"], frame=GLOBAL)
        canvas.arrow((came.right, y), (teacher.left, y), both=True, dashed=True)
        canvas.loss((came.right + teacher.left) / 2 + 0.06, y, loss_text("L_f"), LOSSES["L_f"])
        canvas.text(teacher.x, teacher.bottom + BELOW, rf"$\tilde{{F}}_{i}$", size=SMALL)
        place = Box(ground.right - PICTURE - 0.14, came.top, PICTURE, came.height)
        canvas.text((teacher.right + place.left) / 2, y, r"$\odot$", size=TEXT)
        if known(arrays)[task]:
            canvas.missing(place, "1")
            canvas.text(place.x, place.bottom + BELOW, "labeled", size=SMALL, color=QUIET)
        else:
            mask = score_rgb(arrays[f"mask/{task}"])
            canvas.picture(place.left, place.top, PICTURE, mask, frame=GLOBAL)
            span = arrays[f"mask/{task}"].astype(float)
            line = rf"$M^f_{i}$  {span.min():.2f} to {span.max():.2f}"
            canvas.text(place.x, place.bottom + BELOW, line, size=SMALL)


def _affinity(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """From all tokens, by Q and K, to A, and what A makes of the tokens."""
    titles = titles_of(arrays)
    cell = min(0.36, (card.height - 0.72) / len(titles))
    y = card.top + 0.5 + (card.height - 0.66) / 2
    top = y - cell * len(titles) / 2
    strips = Box(card.left + 0.72, y - 0.1 * len(titles), 0.8, 0.2 * len(titles))
    token(canvas, strips, arrays["values/theta"])
    for i, title in enumerate(titles.values()):
        canvas.text(strips.left - 0.06, strips.top + 0.2 * (i + 0.5), title, size=SMALL, ha="right")
    shape(canvas, strips.x, strips.bottom + BELOW, arrays, "theta", r"$\Theta$")
    count = parameters(arrays, "inter")
    matrix_left = card.left + 3.05
    ends = []
    for sign, at in (("Q", y - 0.24), ("K", y + 0.24)):
        box = Box(strips.right + 0.3, at - 0.17, 0.5, 0.34)
        middle = strips.right + 0.15
        points = ((strips.right, y), (middle, y), (middle, at), (box.left, at))
        canvas.arrow(*points, color=GLOBAL)
        canvas.box(box, f"${sign}$", color=GLOBAL, size=9)
        ends.append(box)
    join = ends[0].right + 0.12
    for box in ends:
        canvas.line((box.right, box.y), (join, box.y), (join, y), color=GLOBAL)
    canvas.text(ends[0].x, ends[1].bottom + BELOW, count, size=SMALL, color=QUIET)
    canvas.arrow((join, y), (matrix_left, y), color=GLOBAL)
    canvas.text((join + matrix_left) / 2, y - 0.13, "Softmax", size=SMALL)
    matrix = affinity(canvas, matrix_left, top, cell, arrays["values/affinity"])
    for i in range(len(titles)):
        canvas.text(matrix_left + cell * (i + 0.5), top - 0.11, rf"$\theta_{i + 1}$", size=SMALL)
    canvas.text(matrix.x, matrix.bottom + 0.1, "$A$", size=SMALL)
    mixed = Box(card.right - 0.14 - 0.8, strips.top, 0.8, strips.height)
    canvas.arrow((matrix.right, y), (mixed.left, y), color=GLOBAL)
    canvas.text((matrix.right + mixed.left) / 2, y - 0.13, r"$\times\,\Theta$", size=SMALL)
    token(canvas, mixed, arrays["values/theta_mixed"])
    shape(canvas, mixed.x, mixed.bottom + BELOW, arrays, "theta_mixed", r"$\Theta'$")


def _equations(canvas: Canvas, card: Box) -> None:
    lines = (
        (r"$A = \mathrm{Softmax}(Q \times K^\top)$", "Eq. 1"),
        (r"$\Theta' = A \times \Theta,\quad \mathcal{F}' = A \times \mathcal{F}$", "Eq. 2"),
        (r"$M^f_i = \mathrm{Sigmoid}({\theta'_i}^\top \times F'_i)$", "Sec. 3.3"),
        (
            r"$\mathcal{L}_f = \dfrac{1}{T}\sum_i\,(\alpha_i + (1 - \alpha_i) M^f_i) \odot"
            r" L_\mathrm{mse}(F'_i, \tilde{F}_i)$",
            "Eq. 6",
        ),
    )
    step = (card.height - 0.5) / len(lines)
    for i, (line, source) in enumerate(lines):
        y = card.top + 0.38 + step * (i + 0.5)
        canvas.text(card.left + 0.16, y, line, size=TEXT + 0.5, ha="left")
        canvas.text(card.right - 0.14, y, source, size=SMALL, color=QUIET, ha="right")
