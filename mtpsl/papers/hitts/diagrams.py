"""Figures 1 and 2 of HiTTs: what partial labels are, and how tokens make up for missing ones.

Maps, tokens and losses are those of the networks that made the arrays, shapes and counts too.
"""

from matplotlib.figure import Figure

from mtpsl.papers.hitts.parts import (
    BELOW,
    FINE,
    GLOBAL,
    LOSSES,
    band,
    known,
    label_of,
    loss_text,
    numbered,
    parameters,
    percent,
    score_rgb,
    shape,
    token,
    words,
)
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import SHARED, SMALL, TASK, TEXT, Box, Canvas
from mtpsl.report.maps import map_to_rgb, titles_of
from mtpsl.report.style import INK, QUIET, styled

# ------------------------------------------------------------------ Figure 1


@styled
def draw_fig1(arrays: Arrays) -> Figure:
    """Images with some of their labels; what two hierarchies of tokens discover for the first."""
    canvas = Canvas(11.0, 4.75)
    top, tall, wide = 0.1, 4.37, 3.9
    data = Box(0.1, top, wide, tall)
    tokens = Box(data.right + 0.12, top, canvas.width - data.right - 0.22, tall)
    canvas.card(data, "(a) Partially annotated images")
    canvas.card(tokens, "(b) Tokens discover what is missing")
    _examples(canvas, data, arrays)
    _discovery(canvas, tokens, arrays)
    return canvas.figure


def _examples(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """A row an image: itself, and the labels that it has."""
    titles, images = titles_of(arrays), arrays["examples/images"]
    labeled = arrays["examples/labeled"]
    columns, gap, side, first = 1 + len(titles), 0.1, 0.14, 0.72
    step = (card.height - first - 0.55) / len(images)
    wide = (card.width - 2 * side - (columns - 1) * gap) / columns
    wide = min(wide, (step - gap) * images.shape[2] / images.shape[1])
    tall = wide * images.shape[1] / images.shape[2]
    stride = (card.width - 2 * side - wide) / (columns - 1)
    lefts = [card.left + side + i * stride for i in range(columns)]
    heads = [("Image", "$X$"), *((f"Task {i + 1}", t) for i, t in enumerate(titles.values()))]
    for left, (first_line, second) in zip(lefts, heads, strict=True):
        canvas.text(left + wide / 2, card.top + 0.46, first_line, size=SMALL)
        canvas.text(left + wide / 2, card.top + 0.61, second, size=SMALL, color=QUIET)
    for row in range(len(images)):
        y = card.top + first + row * step
        canvas.picture(lefts[0], y, wide, images[row])
        for left, task, has in zip(lefts[1:], titles, labeled[row], strict=True):
            if has:
                canvas.picture(
                    left, y, wide, map_to_rgb(arrays, f"{task}/examples", row), frame=INK
                )
            else:
                canvas.missing(Box(left, y, wide, tall), "no label")
    low = card.bottom - 0.4
    canvas.text(lefts[0] + wide / 2, low, "labels", size=SMALL, color=QUIET)
    for left, found in zip(lefts[1:], labeled.sum(0).tolist(), strict=True):
        canvas.text(left + wide / 2, low, f"{found} of {len(images)}", size=SMALL, color=QUIET)
    each = labeled.sum(1)
    line = f"every image has {each.min()} to {each.max()} of {len(titles)} labels"
    canvas.text(card.x, low + 0.2, line, size=SMALL, color=QUIET)


def _discovery(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """Global tokens on top, fine-grained tokens below; a column a task."""
    titles = titles_of(arrays)
    inner = Box(card.left + 0.12, card.top + 0.56, card.width - 0.24, card.height - 0.68)
    share = (inner.height - 0.12) / 2
    top = band(canvas, Box(inner.left, inner.top, inner.width, share), GLOBAL)
    low = band(canvas, Box(inner.left, top.bottom + 0.12, inner.width, share), FINE)
    side = 1.12  # of what stands left of the columns
    step = (inner.width - side) / len(titles)
    for ground, head, sign, found in (
        (top, ("global", "task tokens"), r"$\theta_i$", ("feature", "supervision", "discovery")),
        (low, ("fine-grained", "task tokens"), r"$\varphi_i$", ("label", "discovery")),
    ):
        for i, line in enumerate((*head, sign)):
            canvas.text(inner.left + side / 2, ground.top + 0.24 + 0.17 * i, line, weight="bold")
        words(canvas, inner.left + side / 2, ground.top + 1.08, found, color=INK)
    mixing = top.top + 0.73  # the height at which tasks exchange what they know
    for i, (task, title) in enumerate(titles.items()):
        middle = inner.left + side + (i + 0.5) * step
        canvas.text(middle, card.top + 0.43, f"Task {i + 1}: {title}")
        wide = min(0.72, (step - 0.6) / 2)
        left, right = middle - wide / 2 - 0.2, middle + wide / 2 + 0.2
        strip, feature = _feature_discovery(canvas, arrays, task, left, right, top.top, wide)
        phi, made = _label_discovery(canvas, arrays, task, left, right, low.top, wide)
        beside = left - wide / 2 - 0.1
        points = ((strip.left, strip.y), (beside, strip.y), (beside, phi.y), (phi.left, phi.y))
        canvas.arrow(*points, color=FINE)
        down = feature.right - 0.1
        canvas.arrow((down, feature.bottom), (down, made.top), color=TASK)
        if i + 1 < len(titles):
            canvas.line((left, mixing), (left + step, mixing), color=GLOBAL)


def _feature_discovery(
    canvas: Canvas, arrays: Arrays, task: str, left: float, right: float, top: float, wide: float
) -> tuple[Box, Box]:
    """A task's token, its feature and the teacher's; where the first two are."""
    i = numbered(arrays)[task]
    strip = token(
        canvas, Box(left - wide / 2, top + 0.38, wide, 0.13), arrays[f"values/token/{task}"]
    )
    canvas.text(left, strip.top - 0.13, rf"$\theta'_{i}$")
    y = top + 0.94
    feature = canvas.picture(left - wide / 2, y, wide, arrays[f"feature/{task}"], frame=TASK)
    teacher = canvas.picture(right - wide / 2, y, wide, arrays[f"teacher/{task}"], frame=GLOBAL)
    canvas.arrow((left, strip.bottom), (left, feature.top), color=GLOBAL, both=True)
    canvas.arrow((feature.right, feature.y), (teacher.left, feature.y), both=True, dashed=True)
    canvas.loss((left + right) / 2, feature.y, loss_text("L_f"), GLOBAL)
    canvas.text(left - 0.08, feature.bottom + BELOW, rf"$F'_{i}$", size=SMALL)
    canvas.text(right, feature.bottom + BELOW, rf"$\tilde{{F}}_{i}$", size=SMALL)
    return strip, feature


def _label_discovery(
    canvas: Canvas, arrays: Arrays, task: str, left: float, right: float, top: float, wide: float
) -> tuple[Box, Box]:
    """A task's fine-grained tokens, its prediction and what supervises it; the first two."""
    i, has = numbered(arrays)[task], known(arrays)[task]
    phi = Box(left - wide / 2, top + 0.3, wide - 0.2, 0.4)
    token(canvas, phi, arrays[f"values/phi/{task}"], frame=FINE)
    canvas.text(phi.x, phi.top - 0.12, rf"$\varphi_{i}$")
    y, picture = phi.bottom + 0.24, map_to_rgb(arrays, f"{task}/ours", 0)
    made = canvas.picture(left - wide / 2, y, wide, picture, frame=TASK)
    canvas.arrow((phi.x, phi.bottom), (phi.x, made.top), color=FINE)
    label = label_of(canvas, arrays, task, right - wide / 2, y, wide)
    canvas.arrow((made.right, made.y), (label.left, made.y), both=True, dashed=True)
    name = "L_s" if has else "L_p"
    canvas.loss((left + right) / 2, made.y, loss_text(name), LOSSES[name])
    canvas.text(left, made.bottom + BELOW, rf"$\hat{{Y}}_{i}$", size=SMALL)
    sign = rf"$Y_{i}$" if has else rf"$\tilde{{Y}}_{i}$"
    canvas.text(right, label.bottom + BELOW, sign, size=SMALL)
    canvas.text(right, label.bottom + 0.28, "given" if has else "found", size=SMALL, color=QUIET)
    return phi, made


# ------------------------------------------------------------------ Figure 2

TOWER = 0.92  # inches that the box takes in which tokens and features meet


@styled
def draw_fig2(arrays: Arrays) -> Figure:
    """From the image through both hierarchies of tokens to predictions and the three losses."""
    titles = titles_of(arrays)
    aspect = arrays["images"].shape[1] / arrays["images"].shape[2]
    picture = 0.78
    step = 2 * picture * aspect + 1.08  # of a task
    tall = 0.52 + step * len(titles)
    canvas = Canvas(11.0, tall + 0.36)
    lefts, cards = 0.1, []
    names = ("Encoder", "Global token learning", "Fine-grained token learning", "Supervision")
    for name, letter, wide in zip(names, "abcd", (1.3, 3.5, 3.35, 2.35), strict=True):
        cards.append(Box(lefts, 0.1, wide, tall))
        canvas.card(cards[-1], f"({letter}) {name}")
        lefts = cards[-1].right + 0.1
    rows = {
        task: cards[0].top + 0.5 + i * step + 0.36 + picture * aspect / 2
        for i, task in enumerate(titles)
    }
    shared = _encoder(canvas, cards[0], arrays, rows)
    _global_stage(canvas, cards[1], arrays, rows, shared, picture)
    _total(canvas, cards[3], arrays)
    for task, y in rows.items():
        _fine_stage(canvas, cards[2], arrays, task, y, cards[1], picture)
        _supervision(canvas, cards[3], arrays, task, y, cards[2], picture)
    return canvas.figure


def _encoder(canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float]) -> Box:
    """Image, shared encoder and F_s, downwards; where F_s is."""
    wide = 0.96
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    middle = (min(rows.values()) + max(rows.values())) / 2
    box = Box(card.x - wide / 2, middle - 0.3, wide, 0.6)
    image = canvas.picture(box.left, box.top - 0.62 - tall, wide, arrays["images"][0])
    canvas.text(card.x, image.top - 0.13, "image $X$", size=TEXT)
    shape(canvas, card.x, image.bottom + BELOW, arrays, "image")
    canvas.arrow((card.x, image.bottom + 0.25), (card.x, box.top), color=SHARED)
    canvas.box(box, "encoder", [parameters(arrays, "backbone")], color=SHARED)
    shared = canvas.picture(box.left, box.bottom + 0.36, wide, arrays["shared"], frame=SHARED)
    canvas.arrow((card.x, box.bottom), (card.x, shared.top), color=SHARED)
    shape(canvas, card.x, shared.bottom + BELOW, arrays, "shared", "$F_s$")
    return shared


def _global_stage(
    canvas: Canvas, card: Box, arrays: Arrays, rows: dict[str, float], shared: Box, wide: float
) -> None:
    """Draws (b): tokens query F_s, tasks mix, and the teacher's features supervise."""
    numbers, order = numbered(arrays), list(rows)
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    trunk = card.left + 0.1
    tower = Box(card.left + 0.9, rows[order[0]] - tall / 2 - 0.3, TOWER, 0)
    low = rows[order[-1]] + tall / 2
    tower = Box(tower.left, tower.top, tower.width, low - tower.top)
    canvas.box(tower, "", color=GLOBAL)
    canvas.line((shared.right, shared.y), (trunk, shared.y), color=SHARED)
    ends = [*rows.values(), shared.y]
    canvas.line((trunk, min(ends)), (trunk, max(ends)), color=SHARED)
    for i, (title, line) in enumerate(
        (
            ("query", "$F_s$ by each $\\theta_i$"),
            ("inter-task", "mix by $A$"),
            ("intra-task", "self-attention"),
        )
    ):
        y = tower.top + tower.height * (i + 0.5) / 3
        y = y - 0.25 if i == 1 else y
        canvas.text(tower.x, y - 0.09, title, size=TEXT, weight="bold")
        canvas.text(tower.x, y + 0.09, line, size=SMALL, color=QUIET)
    for task, y in rows.items():
        i, at = numbers[task], y - tall / 2 - 0.18
        strip = Box(trunk + 0.1, at - 0.06, 0.52, 0.12)
        token(canvas, strip, arrays["values/theta"][i - 1])
        canvas.text(strip.x, strip.top - 0.11, rf"$\theta_{i}$", size=TEXT)
        canvas.arrow((strip.right, at), (tower.left, at), color=GLOBAL)
        canvas.arrow((trunk, y), (tower.left, y), color=SHARED)
        feature = canvas.picture(
            tower.right + 0.2, y - tall / 2, wide, arrays[f"feature/{task}"], frame=TASK
        )
        canvas.arrow((tower.right, y), (feature.left, y), color=TASK)
        own = Box(feature.left, at - 0.06, wide, 0.12)
        token(canvas, own, arrays[f"values/token/{task}"])
        canvas.arrow((tower.right, at), (own.left, at), color=GLOBAL)
        canvas.text(own.x, own.top - 0.11, rf"$\theta'_{i}$", size=TEXT)
        shape(canvas, feature.x, feature.bottom + BELOW, arrays, f"feature/{task}", f"$F'_{i}$")
        top, small = feature.bottom + 0.5, 0.62
        teacher = canvas.picture(
            feature.x - small / 2, top, small, arrays[f"teacher/{task}"], frame=GLOBAL
        )
        canvas.arrow((feature.x, feature.bottom + 0.23), (feature.x, top), both=True, dashed=True)
        canvas.loss(feature.x + 0.24, top - 0.14, loss_text("L_f"), GLOBAL)
        mask = score_rgb(arrays[f"mask/{task}"])
        mask = canvas.picture(card.right - small - 0.07, top, small, mask, frame=GLOBAL)
        canvas.text(teacher.x, teacher.bottom + BELOW, rf"teacher $\tilde{{F}}_{i}$", size=SMALL)
        canvas.text(mask.x, mask.bottom + BELOW, rf"mask $M^f_{i}$", size=SMALL)


def _fine_stage(
    canvas: Canvas, card: Box, arrays: Arrays, task: str, y: float, before: Box, wide: float
) -> None:
    """A row of (c): projection, fine-grained tokens, score mask, refined logits."""
    i = numbered(arrays)[task]
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    at = y - tall / 2 - 0.18
    from_feature = before.left + 0.9 + TOWER + 0.2 + wide
    count = parameters(arrays, f"project/{task}", f"fine/{task}")
    box = Box(card.left + 0.14, y - 0.24, 0.72, 0.48)
    canvas.arrow((from_feature, y), (box.left, y), color=TASK)
    canvas.box(box, rf"$U_{i},\ G_{i}$", [count], color=TASK)
    phi = Box(card.left + 0.14, at - 0.16, 0.72, 0.24)
    canvas.arrow((from_feature, at), (phi.left, at), color=GLOBAL)
    token(canvas, phi, arrays[f"values/phi/{task}"], frame=FINE)
    shape(canvas, phi.right + 0.42, at - 0.2, arrays, f"phi/{task}", rf"$\varphi_{i}$")
    score = canvas.picture(
        card.left + 1.2, y - tall / 2, wide, score_rgb(arrays[f"score/{task}"]), frame=FINE
    )
    canvas.arrow((phi.right, at), (score.x, at), (score.x, score.top), color=FINE)
    canvas.arrow((box.right, y), (score.left, y), color=TASK)
    words(
        canvas,
        score.x,
        score.bottom + BELOW,
        ("score mask", rf"$\mathrm{{Softplus}}(\varphi_{i} \times U_{i})$"),
        color=INK,
    )
    refined = canvas.picture(
        card.right - wide - 0.14,
        y - tall / 2,
        wide,
        score_rgb(arrays[f"confidence/{task}"]),
        frame=TASK,
    )
    canvas.arrow((score.right, y), (refined.left, y), color=TASK)
    canvas.text((score.right + refined.left) / 2, y - 0.12, rf"$\odot\, G_{i}$", size=SMALL)
    shape(canvas, refined.x - 0.1, refined.bottom + BELOW, arrays, f"refined/{task}", f"$G'_{i}$")
    canvas.text(
        refined.x - 0.1,
        refined.bottom + BELOW + 0.15,
        "largest probability",
        size=SMALL,
        color=QUIET,
    )


def _supervision(
    canvas: Canvas, card: Box, arrays: Arrays, task: str, y: float, before: Box, wide: float
) -> None:
    """A row of (d): the prediction, and the label or the pseudo label that it answers to."""
    i, has = numbered(arrays)[task], known(arrays)[task]
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    made = canvas.picture(
        card.left + 0.16, y - tall / 2, wide, map_to_rgb(arrays, f"{task}/ours", 0), frame=TASK
    )
    canvas.arrow((before.right - 0.14, y), (made.left, y), color=TASK)
    canvas.text(made.x, made.top - 0.12, titles_of(arrays)[task], size=TEXT, weight="bold")
    shape(canvas, made.x, made.bottom + BELOW, arrays, f"prediction/{task}", rf"$\hat{{Y}}_{i}$")
    label = label_of(canvas, arrays, task, card.right - wide - 0.12, y - tall / 2, wide)
    canvas.arrow((made.right, y), (label.left, y), both=True, dashed=True)
    name = "L_s" if has else "L_p"
    canvas.loss((made.right + label.left) / 2, y, loss_text(name), LOSSES[name])
    if has:
        lines = [rf"label $Y_{i}$"]
    else:
        accepted = percent(arrays[f"accepted/{task}"])
        lines = [rf"pseudo $\tilde{{Y}}_{i}$", rf"where $M^p_{i}$: {accepted}"]
    words(canvas, label.x, label.bottom + BELOW, lines, color=INK)


def _total(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """The three losses on this image, and their sum."""
    values = {name: float(arrays[f"loss/{name}"]) for name in LOSSES}
    y = card.bottom - 0.36
    canvas.text(card.x, y, r"$\mathcal{L} = \mathcal{L}_s + \mathcal{L}_p + \mathcal{L}_f$")
    line = " + ".join(f"{value:.3g}" for value in values.values())
    canvas.text(card.x, y + 0.19, f"= {line} of this image", size=SMALL, color=QUIET)
