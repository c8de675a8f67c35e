"""Figure 4 of HiTTs: how one task's token becomes many, which mask logits and label pixels.

Maps and tokens are those of the networks that made the arrays, shapes and counts too.
"""

from matplotlib.figure import Figure

from mtpsl.papers.hitts.parts import (
    BELOW,
    FINE,
    GLOBAL,
    LOSSES,
    band,
    cells,
    loss_text,
    numbered,
    parameters,
    percent,
    pseudo_rgb,
    score_rgb,
    shape,
    token,
    words,
)
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import SHARED, SMALL, TASK, TEXT, Box, Canvas, shape_text
from mtpsl.report.maps import map_to_rgb, titles_of
from mtpsl.report.style import QUIET, scalar_to_rgb, styled


@styled
def draw_fig4(arrays: Arrays) -> Figure:
    """One task: its token becomes many, these mask its logits, and sure pixels become labels."""
    task = str(arrays["example"])
    canvas = Canvas(11.0, 4.62)
    left, cards = 0.1, []
    names = (
        "Token and feature projection",
        "Fine-grained token learning",
        "Label discovery",
    )
    for name, letter, wide in zip(names, "abc", (4.75, 3.55, 2.3), strict=True):
        cards.append(Box(left, 0.1, wide, 4.24))
        canvas.card(cards[-1], f"({letter}) {name}")
        left = cards[-1].right + 0.1
    upper, lower = 1.25, 3.1  # the lanes of tokens and of features
    phi = _token_lane(canvas, cards[0], arrays, task, upper)
    projected, fine = _feature_lane(canvas, cards[0], arrays, task, lower)
    refined = _masking(canvas, cards[1], arrays, task, phi, projected, fine)
    _label_lane(canvas, cards[2], arrays, task, refined)
    return canvas.figure


def _token_lane(canvas: Canvas, card: Box, arrays: Arrays, task: str, y: float) -> Box:
    """theta' and an orthogonal basis become phi [Eq. 3]; where phi is."""
    i = numbered(arrays)[task]
    basis = Box(card.left + 0.2, y - 0.3, 0.6, 0.6)
    cells(canvas, basis, scalar_to_rgb(1 - arrays["values/basis"], "gray", 0, 1))
    shape(canvas, basis.x, basis.bottom + BELOW, arrays, f"basis/{task}", "$o$")
    linear = Box(basis.right + 0.22, y - 0.22, 0.56, 0.44)
    canvas.arrow((basis.right, y), (linear.left, y))
    canvas.box(linear, f"$W^o_{i}$", [parameters(arrays, f"embed/{task}")], color=FINE)
    embedded = Box(linear.right + 0.22, y - 0.3, 0.6, 0.6)
    canvas.arrow((linear.right, y), (embedded.left, y), color=FINE)
    token(canvas, embedded, arrays["values/embedded"], frame=FINE)
    shape(canvas, embedded.x, embedded.bottom + BELOW, arrays, f"embedded/{task}")
    plus = embedded.right + 0.26
    mlp = Box(plus + 0.24, y - 0.22, 0.56, 0.44)
    canvas.arrow((embedded.right, y), (plus - 0.08, y), color=FINE)
    canvas.text(plus, y, r"$\oplus$", size=12)
    canvas.arrow((plus + 0.08, y), (mlp.left, y), color=FINE)
    own = Box(embedded.left + 0.1, y + 0.66, 0.6, 0.12)
    token(canvas, own, arrays["values/token"])
    canvas.text(own.left - 0.07, own.y, rf"$\theta'_{i}$", ha="right")
    copies = int(arrays[f"shape/basis/{task}"][0])
    canvas.arrow((own.right, own.y), (plus, own.y), (plus, y + 0.1), color=GLOBAL)
    canvas.text(plus + 0.08, own.y - 0.12, f"{copies} ×", size=SMALL, color=QUIET, ha="left")
    canvas.box(mlp, f"MLP$_{i}$", [parameters(arrays, f"token_mlp/{task}")], color=FINE)
    phi = Box(card.right - 0.16 - 0.66, y - 0.3, 0.66, 0.6)
    canvas.arrow((mlp.right, y), (phi.left, y), color=FINE)
    token(canvas, phi, arrays["values/phi"], frame=FINE)
    shape(canvas, phi.x, phi.bottom + BELOW, arrays, f"phi/{task}", rf"$\varphi_{i}$")
    return phi


def _feature_lane(
    canvas: Canvas, card: Box, arrays: Arrays, task: str, y: float
) -> tuple[Box, Box]:
    """F_s and F' become U and G; where those are."""
    i, wide = numbered(arrays)[task], 0.74
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    left = card.left + 0.16
    ends = []
    for name, key, sign, frame, at in (
        ("feature", f"feature/{task}", f"$F'_{i}$", TASK, y - tall / 2 - 0.02),
        ("shared", "shared", "$F_s$", SHARED, y + tall / 2 + 0.24),
    ):
        box = canvas.picture(left, at - tall / 2, wide, arrays[name], frame=frame)
        shape(canvas, box.x, box.bottom + BELOW, arrays, key, sign)
        ends.append(box)
    middle = (ends[0].y + ends[1].y) / 2
    project = Box(ends[0].right + 0.3, middle - 0.24, 0.66, 0.48)
    for box, color in zip(ends, (TASK, SHARED), strict=True):
        turn, at = project.left - 0.12, middle + (0.1 if box is ends[1] else -0.1)
        points = ((box.right, box.y), (turn, box.y), (turn, at), (project.left, at))
        canvas.arrow(*points, color=color)
    canvas.box(project, "project", [parameters(arrays, f"project/{task}")], color=TASK)
    top = middle - tall / 2
    projected = canvas.picture(project.right + 0.2, top, wide, arrays["projected"], frame=TASK)
    canvas.arrow((project.right, middle), (projected.left, middle), color=TASK)
    shape(canvas, projected.x, projected.bottom + BELOW, arrays, f"projected/{task}", f"$U_{i}$")
    conv = Box(projected.right + 0.2, middle - 0.24, 0.62, 0.48)
    canvas.arrow((projected.right, middle), (conv.left, middle), color=TASK)
    canvas.box(conv, "Conv", ["1 × 1", parameters(arrays, f"fine/{task}")], color=TASK)
    fine = score_rgb(arrays["fine"])
    fine = canvas.picture(card.right - wide - 0.16, top, wide, fine, frame=TASK)
    canvas.arrow((conv.right, middle), (fine.left, middle), color=TASK)
    shape(canvas, fine.x, fine.bottom + BELOW, arrays, f"fine/{task}", f"$G_{i}$")
    return projected, fine


def _masking(
    canvas: Canvas, card: Box, arrays: Arrays, task: str, phi: Box, projected: Box, fine: Box
) -> Box:
    """The tokens' scores mask the logits [Eq. 4]; where G' is."""
    i, wide, y, tall = numbered(arrays)[task], 0.74, fine.y, fine.height
    box = Box(card.left + 0.2, phi.y - 0.24, 0.9, 0.48)
    canvas.arrow((phi.right, phi.y), (box.left, phi.y), color=FINE)
    canvas.box(box, "Softplus", [rf"$\varphi_{i} \times U_{i}$"], color=FINE)
    between = (phi.bottom + projected.top) / 2 + 0.1
    points = ((projected.x, projected.top), (projected.x, between), (box.x, between))
    canvas.arrow(*points, (box.x, box.bottom), color=TASK)
    score = score_rgb(arrays["score"])
    score = canvas.picture(box.right + 0.3, phi.y - tall / 2, wide, score, frame=FINE)
    canvas.arrow((box.right, phi.y), (score.left, phi.y), color=FINE)
    shape(canvas, score.x, score.bottom + BELOW, arrays, f"score/{task}")
    canvas.text(score.x, score.top - 0.12, "score mask", size=SMALL)
    dot = card.left + 0.28
    masked = score_rgb(arrays["masked"])
    masked = canvas.picture(dot + 0.3, y - tall / 2, wide, masked, frame=TASK)
    canvas.arrow((fine.right, y), (dot - 0.08, y), color=TASK)
    canvas.text(dot, y, r"$\odot$", size=12)
    canvas.arrow((dot + 0.08, y), (masked.left, y), color=TASK)
    turn = masked.top - 0.26
    below = score.bottom + 0.24
    canvas.arrow((score.x, below), (score.x, turn), (dot, turn), (dot, y - 0.1), color=FINE)
    conv = Box(masked.right + 0.2, y - 0.24, 0.62, 0.48)
    canvas.arrow((masked.right, y), (conv.left, y), color=TASK)
    canvas.box(conv, "Conv", ["3 × 3", parameters(arrays, f"refine/{task}")], color=TASK)
    refined = score_rgb(arrays["refined"])
    refined = canvas.picture(card.right - wide - 0.14, y - tall / 2, wide, refined, frame=TASK)
    canvas.arrow((conv.right, y), (refined.left, y), color=TASK)
    shape(canvas, refined.x - 0.06, refined.bottom + BELOW, arrays, f"refined/{task}", f"$G'_{i}$")
    line = rf"$G'_{i} = \mathrm{{Conv}}(G_{i} \odot \mathrm{{Softplus}}(\varphi_{i} \times U_{i}))$"
    canvas.text(card.x, card.bottom - 0.38, line)
    note = f"maps: the channel of token {int(arrays['channel']) + 1}"
    canvas.text(card.x, card.bottom - 0.17, note, size=SMALL, color=QUIET)
    return refined


def _label_lane(canvas: Canvas, card: Box, arrays: Arrays, task: str, refined: Box) -> None:
    """How sure the frozen first stage is, what it therefore labels, and the loss."""
    i, wide = numbered(arrays)[task], 0.74
    ground = Box(card.left + 0.12, card.top + 0.4, card.width - 0.24, 1.92)
    band(canvas, ground, FINE)
    canvas.text(ground.x, ground.top + 0.14, "frozen first stage", size=SMALL, color=QUIET)
    sure = score_rgb(arrays["confidence"])
    sure = canvas.picture(ground.left + 0.14, ground.top + 0.44, wide, sure, frame=TASK)
    words(canvas, sure.x, sure.bottom + BELOW, ("Max Softmax",))
    accept = scalar_to_rgb(arrays["accept"].astype(float), "gray", 0, 1)
    accept = canvas.picture(ground.right - wide - 0.14, sure.top, wide, accept, frame=FINE)
    canvas.arrow((sure.right, sure.y), (accept.left, accept.y), color=FINE)
    tau = float(arrays[f"tau/{task}"])
    canvas.text(ground.x, sure.top - 0.12, rf"$> \tau_{i}$ = {tau:.2f}", size=SMALL)
    share = percent(arrays[f"accepted/{task}"])
    canvas.text(accept.x, accept.bottom + BELOW, rf"$M^p_{i}$  {share}", size=SMALL)
    top = accept.bottom + 0.36
    label = pseudo_rgb(arrays, task)
    dashes = (0, (3, 2))
    label = canvas.picture(accept.left, top, wide, label, frame=FINE, linestyle=dashes)
    canvas.arrow((accept.x, accept.bottom + 0.22), (label.x, label.top), color=FINE)
    lines = (rf"$\tilde{{Y}}_{i}$", "Argmax Softmax", f"where $M^p_{i}$ is 1")
    for k, line in enumerate(lines):
        size = SMALL if k else TEXT
        canvas.text(label.left - 0.08, label.top + 0.09 + 0.16 * k, line, size=size, ha="right")
    made = map_to_rgb(arrays, f"{task}/ours", 0)
    made = canvas.picture(label.left, refined.top, wide, made, frame=TASK)
    canvas.arrow((refined.right, made.y), (made.left, made.y), color=TASK)
    line = rf"$\hat{{Y}}_{i}$  {titles_of(arrays)[task]}"
    canvas.text(made.x, made.bottom + BELOW, line, size=SMALL)
    canvas.text(
        made.x,
        made.bottom + 0.28,
        shape_text(arrays[f"shape/prediction/{task}"]),
        size=SMALL,
        color=QUIET,
    )
    canvas.arrow((made.x, made.top), (label.x, label.bottom), both=True, dashed=True)
    canvas.loss(made.x, (made.top + label.bottom) / 2, loss_text("L_p"), LOSSES["L_p"])
