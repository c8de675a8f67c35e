"""The diagrams of HiTTs, Figures 1 to 4 and 12, drawn from what ``traces`` followed."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mtpsl.losses import IGNORE_INDEX
from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import Diagram
from mtpsl.report.maps import count_of, map_to_rgb, parts_of, shape_of, shape_text, titles_of
from mtpsl.report.style import (
    HOLE_COLOR,
    INK,
    MAPPING,
    PAIRWISE,
    SHARED,
    SMALL,
    TASK,
    Cell,
    Image,
    box,
    missing,
    mix,
    picture,
    remark,
    scalar_to_rgb,
    scores,
    tokens,
)

GLOBAL, FINE = MAPPING, PAIRWISE  # colors of the two hierarchies of tokens, and of their losses
EQUATIONS = (
    (r"$A = \mathrm{Softmax}(Q \times K^\top)$", "Eq. 1"),
    (r"$\Theta' = A \times \Theta,\quad \mathcal{F}' = A \times \mathcal{F}$", "Eq. 2"),
    (r"$M^f_i = \mathrm{Sigmoid}({\theta'_i}^\top \times F'_i)$", "Sec. 3.3"),
    (
        r"$\mathcal{L}_f = \dfrac{1}{T}\sum_i\,(\alpha_i + (1 - \alpha_i) M^f_i) \odot"
        r" L_\mathrm{mse}(F'_i, \tilde{F}_i)$",
        "Eq. 6",
    ),
)


def draw_fig1(arrays: Arrays) -> Figure:
    """Images with some of their labels; what two hierarchies of tokens discover for the first."""
    diagram, tasks, labeled = Diagram(picture=0.72), _tasks(arrays), arrays["examples/labeled"]
    count, each = len(labeled), labeled.sum(1)
    note = f"every image has {each.min()} to {each.max()} of {len(tasks)} labels"
    grid = diagram.grid(f"(a) Partially annotated images | {note}")
    heads = {"image": "Image $X$"} | {task: f"Task {i}: {title}" for i, task, title, _ in tasks}
    keys = list(heads)
    pairs = [range(k, min(k + 2, count)) for k in range(0, count, 2)]  # side by side
    for pair in (["-left", "-right"], *pairs):
        halves = [" ".join(f"{key}{which}" for key in keys) for which in pair]
        grid.row(" . ".join((halves + [" ".join("." for _ in keys)])[:2]))
    for key, head in heads.items():
        diagram[f"{key}-left"] = diagram[f"{key}-right"] = remark(head, size=SMALL)
    for k, image in enumerate(arrays["examples/images"]):
        diagram[f"image{k}"] = picture(image, wide=1.4)
        for task, has in zip(keys[1:], labeled[k], strict=True):
            label = map_to_rgb(arrays, f"{task}/examples", k)
            empty = missing(label, "no label", wide=1.4)
            diagram[f"{task}{k}"] = picture(label, INK, wide=1.4) if has else empty

    grid = diagram.grid("(b) Tokens discover what is missing")
    grid.row(". " + " . ".join(f"title{i} title{i} title{i}" for i, *_ in tasks))
    grid.row("global " + " . ".join(f"token{i} feature{i} teacher{i}" for i, *_ in tasks))
    grid.row("fine " + " . ".join(f"phi{i} predicted{i} label{i}" for i, *_ in tasks))
    grid.band(f"global teacher{len(tasks)}", GLOBAL)
    grid.band(f"fine label{len(tasks)}", FINE)
    discovers = "feature supervision", "discovery"
    diagram["global"] = remark("global", "task tokens", weight="bold", below=discovers)
    diagram["fine"] = remark("fine-grained", "task tokens", weight="bold", below="label discovery")
    for i, task, title, known in tasks:
        share = f"{labeled[:, i - 1].sum()} of {count} images labeled"
        diagram[f"title{i}"] = remark(f"Task {i}: {title}", below=share)
        _supervise(diagram, arrays, i, task, known)
        for name, sign, color in (("token", r"\theta'", GLOBAL), ("phi", r"\varphi", FINE)):
            values = arrays[f"values/{name}/{task}"]
            diagram[f"{name}{i}"] = tokens(values, color, wide=0.7, above=f"${sign}_{i}$")
        _features(diagram, arrays, i, task, feature=f"$F'_{i}$", teacher=rf"$\tilde{{F}}_{i}$")
        diagram.join(f"token{i} <-> feature{i}", GLOBAL)
        diagram.join(f"token{i} -> phi{i} -> predicted{i}", FINE)
        diagram.join(f"feature{i} -> predicted{i}", TASK)
        if i < len(tasks):
            diagram.join(f"token{i} <|^|> token{i + 1}", GLOBAL)
    return diagram.draw()


def draw_fig2(arrays: Arrays) -> Figure:
    """From the image through both hierarchies of tokens to predictions and the three losses."""
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    diagram, tasks = Diagram(picture=0.78), _tasks(arrays)
    middle = "(b) Global token learning", "(c) Fine-grained token learning"
    grid = diagram.grid("(a) Encoder", *middle, "(d) Supervision")
    left = [name for name in ("image", "encoder", "shared") for _ in tasks]
    for i, task, title, known in tasks:
        a, b, c = left[3 * i - 3 : 3 * i]
        note, total = ("note note note", "total total") if i == len(tasks) else (". . .", ". .")
        grid.row(f"{a} | theta{i} meet token{i} . | phi{i} . . | title{i} .")
        here = f"ask{i} meet feature{i} . | G{i} score{i} refined{i} | predicted{i} label{i}"
        grid.row(f"{b} | {here}")
        grid.row(f"{c} | . meet teacher{i} mask{i} | {note} | {total}")
        theta, token = arrays["values/theta"][i - 1], arrays[f"values/token/{task}"]
        diagram[f"theta{i}"] = tokens(theta, GLOBAL, wide=0.7, above=rf"$\theta_{i}$")
        diagram[f"token{i}"] = tokens(token, GLOBAL, wide=1, above=rf"$\theta'_{i}$")
        phi, caption = arrays[f"values/phi/{task}"], shape(f"phi/{task}", rf"$\varphi_{i}$")
        diagram[f"phi{i}"] = tokens(phi, FINE, height=0.32, above=caption)
        diagram[f"G{i}"] = box(f"$G_{i}$", count(f"fine/{task}"), color=TASK)
        feature = shape(f"feature/{task}", f"$F'_{i}$")
        _features(diagram, arrays, i, task, feature=feature, teacher=rf"teacher $\tilde{{F}}_{i}$")
        for name, key, color, caption in (
            ("mask", "mask", GLOBAL, rf"mask $M^f_{i}$"),
            ("score", "score", FINE, rf"$\mathrm{{Softplus}}(\varphi_{i} \times F'_{i})$"),
            ("refined", "confidence", TASK, shape(f"refined/{task}", f"$G'_{i}$")),
        ):
            diagram[f"{name}{i}"] = scores(arrays[f"{key}/{task}"], color, below=caption)
        diagram[f"title{i}"] = remark(title, weight="bold")
        predicted = shape(f"prediction/{task}", rf"$\hat{{Y}}_{i}$")
        _supervise(diagram, arrays, i, task, known, predicted)
        diagram.join(f"theta{i} -> meet -> token{i} -> phi{i}", GLOBAL)
        diagram.join(f"shared -|-> ask{i} -> meet", SHARED)
        diagram.join(f"meet -> feature{i} -> G{i} -> score{i}; refined{i} -> predicted{i}", TASK)
        diagram.join(f"score{i} -> refined{i}", TASK, label=rf"$\odot\, G_{i}$")
        diagram.join(f"phi{i} -|> score{i}", FINE)
    image, shared = arrays["images"][0], shape("shared", "$F_s$")
    diagram["image"] = picture(image, wide=1.15, above="image $X$", below=shape("image"))
    diagram["encoder"] = box("encoder", count("backbone"), color=SHARED, width=0.92, height=0.6)
    diagram["shared"] = picture(arrays["shared"], SHARED, wide=1.15, below=shared)
    space = [""] * 8
    mixing = ["*inter-task", "mix by $A$", *space, "*intra-task", "self-attention"]
    inside = ["query", r"$F_s$ by each $\theta_i$", *space, *mixing]
    diagram["meet"] = box(*inside, color=GLOBAL, stretch=True)
    masks = "score masks: the token whose scores vary most"
    diagram["note"] = remark(masks, "$G'$: a pixel's largest probability", size=SMALL)
    losses = " + ".join(f"{arrays[f'loss/{name}']:.3g}" for name in ("L_s", "L_p", "L_f"))
    total = r"$\mathcal{L} = \mathcal{L}_s + \mathcal{L}_p + \mathcal{L}_f$"
    diagram["total"] = remark(total, below=f"= {losses} of this image")
    diagram.join("image -> encoder -> shared", SHARED)
    return diagram.draw()


def draw_fig3(arrays: Arrays) -> Figure:
    """Query, inter-task and intra-task learning, a row per task; below them the affinity."""
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    diagram, tasks = Diagram(picture=0.76), _tasks(arrays)
    middle = "(b) Inter-task learning", "(c) Intra-task learning"
    grid = diagram.grid("(a) Query", *middle, "(d) Feature supervision discovery")
    mixing = [f"mix/{task}" for _, task, *_ in tasks]
    for i, task, _, known in tasks:
        grid.row(f"shared theta{i} . | meet mix{i} | attend{i} token{i} | . .")
        here = f"meet mixed{i} | attend{i} feature{i} | teacher{i} mask{i}"
        grid.row(f"shared gate{i} F{i} | {here}")
        for name, values, sign in (
            ("theta", arrays["values/theta"][i - 1], r"\theta"),
            ("mix", arrays["values/theta_mixed"][i - 1], r"\theta'"),
            ("token", arrays[f"values/token/{task}"], r"\theta'"),
        ):
            diagram[f"{name}{i}"] = tokens(values, GLOBAL, wide=1, above=f"${sign}_{i}$")
        diagram[f"gate{i}"] = scores(arrays[f"gate/{task}"], GLOBAL, below="gate")
        queried = shape(f"queried/{task}", f"$F_{i}$")
        diagram[f"F{i}"] = picture(arrays[f"queried/{task}"], TASK, below=queried)
        diagram[f"mixed{i}"] = picture(arrays[f"mixed/{task}"], TASK, below=f"$F'_{i}$")
        _features(diagram, arrays, i, task, feature=f"$F'_{i}$", teacher=rf"$\tilde{{F}}_{i}$")
        learns = f"parameters/attention/{task}" in arrays
        cells = f"{arrays['block']} × {arrays['block']} cells"
        inside = ["attention", count(f"attention/{task}"), cells] if learns else ["none"]
        diagram[f"attend{i}"] = box(*inside, shape(f"joint/{task}"), color=TASK, stretch=True)
        mask = arrays[f"mask/{task}"].astype(float)
        span = rf"$M^f_{i}$  {mask.min():.2f} to {mask.max():.2f}"
        empty = missing(arrays["images"][0], "1", below="labeled")
        diagram[f"mask{i}"] = empty if known else scores(mask, GLOBAL, below=span)
        tokenwise = f"theta{i} -> meet -> mix{i} -> attend{i} -> token{i}; theta{i} -> gate{i}"
        diagram.join(tokenwise, GLOBAL)
        diagram.join(f"shared -|-> gate{i}", SHARED)
        diagram.join(f"gate{i} -> F{i}", TASK, label=r"$\odot$")
        diagram.join(f"F{i} -> meet -> mixed{i} -> attend{i} -> feature{i}", TASK)
        diagram.join(f"teacher{i} - mask{i}", GLOBAL, label=r"$\odot$")
    grid.band(f"teacher1 mask{len(tasks)}", GLOBAL, "frozen first stage")
    caption = shape("shared", "$F_s$")
    diagram["shared"] = picture(arrays["shared"], SHARED, wide=1.15, below=caption)
    inside = [r"$A\,\times$", shape("affinity"), "", "3 × 3", count(*mixing)]
    diagram["meet"] = box(*inside, color=GLOBAL, stretch=True)
    _affinity(diagram, arrays)
    grid = diagram.grid("(f) In equations", beside=True)
    for k, (equation, source) in enumerate(EQUATIONS):
        grid.row(f"equation{k} source{k}")
        diagram[f"equation{k}"] = remark(equation, size=8.5)
        diagram[f"source{k}"] = remark(source, size=SMALL)
    return diagram.draw()


def _affinity(diagram: Diagram, arrays: Arrays) -> None:
    """The card of Figure 3 from all tokens, by Q and K, to A, and what A makes of the tokens."""
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    grid = diagram.grid("(e) Affinity from the tokens")
    grid.row("theta Q answers affinity mixed")
    grid.row("theta K answers affinity mixed")
    names, A = list(titles_of(arrays).values()), arrays["values/affinity"]
    theta, mixed = shape("theta", r"$\Theta$"), shape("theta_mixed", r"$\Theta'$")
    diagram["theta"] = tokens(arrays["values/theta"], GLOBAL, wide=1.1, rows=names, below=theta)
    diagram["mixed"] = tokens(arrays["values/theta_mixed"], GLOBAL, wide=1.1, below=mixed)
    diagram["Q"] = box("$Q$", color=GLOBAL)
    diagram["K"] = box("$K$", color=GLOBAL, below=count("inter"))
    signs = [rf"$\theta_{i + 1}$" for i in range(len(A))]
    matrix = picture(scalar_to_rgb(A, "Oranges", 0, 1), GLOBAL, wide=1.5, height=1.3, numbers=A)
    diagram["affinity"] = replace(matrix, columns=signs, below="$A$")
    diagram.join("theta -|-> Q -|- answers; theta -|-> K -|- answers", GLOBAL)
    diagram.join("answers -> affinity", GLOBAL, label="Softmax")
    diagram.join("affinity -> mixed", GLOBAL, label=r"$\times\,\Theta$")


def draw_fig4(arrays: Arrays) -> Figure:
    """One task: its token becomes many, these mask its logits, and sure pixels become labels."""
    shape, count = partial(shape_of, arrays), partial(count_of, arrays)
    task, diagram = str(arrays["example"]), Diagram(picture=0.66)
    ((i, _, task_title, _),) = (entry for entry in _tasks(arrays) if entry[1] == task)
    right = "(b) Fine-grained token learning", "(c) Label discovery"
    grid = diagram.grid("(a) Token and feature projection", *right)
    grid.row(".       .       .         token .    .    | says says   says says    | sure   accept")
    grid.row("basis   linear  embedded  plus  mlp  phi  | .    soft   score .      | argmax pseudo")
    grid.row(". .  projected .     conv fine | dot  masked last refined | .      predicted")
    caption = [f"$F'_{i}$", shape(f"projected/{task}")]
    diagram["projected"] = picture(arrays["projected"], TASK, below=caption)
    for name, color, sign in (
        ("fine", TASK, f"$G_{i}$"),
        ("masked", TASK, ""),
        ("refined", TASK, f"$G'_{i}$"),
        ("score", FINE, "score mask"),
    ):
        caption = [sign, shape(f"{name}/{task}")] if sign else []
        diagram[name] = scores(arrays[name], color, below=caption)
    for name, title, part, color in (
        ("linear", [f"$W^o_{i}$"], "embed", FINE),
        ("mlp", [f"MLP$_{i}$"], "token_mlp", FINE),
        ("conv", ["Conv", "1 × 1"], "fine", TASK),
        ("last", ["Conv", "3 × 3"], "refine", TASK),
    ):
        diagram[name] = box(*title, count(f"{part}/{task}"), color=color)
    for name, sign in (("embedded", ""), ("phi", rf"$\varphi_{i}$")):
        caption = [*filter(None, [sign]), shape(f"{name}/{task}")]
        diagram[name] = tokens(arrays[f"values/{name}"], FINE, height=0.8, below=caption)
    copies = rf"{int(arrays[f'shape/basis/{task}'][0])} × $\theta'_{i}$"
    diagram["token"] = tokens(arrays["values/token"], GLOBAL, wide=0.7, above=copies)
    basis = scalar_to_rgb(1 - arrays["values/basis"], "gray", 0, 1)
    diagram["basis"] = picture(basis, wide=0.8, below=["$o$", shape(f"basis/{task}")])
    diagram["soft"] = box("Softplus", rf"$\varphi_{i} \times F'_{i}$", color=FINE)
    diagram["plus"], diagram["dot"] = remark(r"$\oplus$", size=12), remark(r"$\odot$", size=12)
    mask = rf"\mathrm{{Softplus}}(\varphi_{i} \times F'_{i})"
    channel = f"maps: the channel of token {int(arrays['channel']) + 1}"
    diagram["says"] = remark(rf"$G'_{i} = \mathrm{{Conv}}(G_{i} \odot {mask})$", below=channel)
    diagram["sure"] = scores(arrays["confidence"], TASK, below="Max Softmax")
    accept = scalar_to_rgb(arrays["accept"], "gray", 0, 1)
    share = rf"$M^p_{i}$  {100 * arrays[f'accepted/{task}']:.0f} %"
    diagram["accept"] = picture(accept, FINE, below=share)
    rule = rf"$\tilde{{Y}}_{i}$", "Argmax", "Softmax", f"where $M^p_{i}$ is 1"
    diagram["argmax"] = remark(*rule, size=SMALL)
    diagram["pseudo"] = picture(pseudo_rgb(arrays, task), FINE, dashed=True)
    caption = [rf"$\hat{{Y}}_{i}$  {task_title}", shape(f"prediction/{task}")]
    diagram["predicted"] = picture(map_to_rgb(arrays, f"{task}/ours", 0), TASK, below=caption)
    grid.band("sure pseudo", FINE, "frozen first stage")
    diagram.join("basis -> linear -> embedded -> plus -> mlp -> phi -> soft -> score", FINE)
    diagram.join("token -> plus", GLOBAL)
    diagram.join("projected -> conv -> fine -> dot -> masked -> last -> refined", TASK)
    diagram.join("refined -> predicted; projected |--|> soft", TASK)
    diagram.join("score |--|> dot; accept -> pseudo", FINE)
    diagram.join("sure -> accept", FINE, label=rf"$> \tau_{i}$ = {arrays[f'tau/{task}']:.2f}")
    diagram.join("pseudo <-> predicted", FINE, loss=r"$\mathcal{L}_p$")
    return diagram.draw()


def draw_fig12(arrays: Arrays) -> Figure:
    """Above one scale, below all of them: what is projected, mixed and fused, with its sizes."""
    diagram, titles = Diagram(picture=0.66), titles_of(arrays)
    single, multi = parts_of(arrays | {"parts": np.array(["single", "multi"])})
    scales = sum(key.startswith("shape/stage/") for key in multi)
    largest = np.max([multi[f"shape/stage/{j}"] for j in range(scales)], axis=0)
    tasks = f"{len(titles)} tasks: {', '.join(titles.values())}"
    counts = [f"{count_of(p, 'tokens')} parameters before intra-task" for p in (single, multi)]
    grid = diagram.grid(f"(a) Single-scale global task token learning | {tasks}; {counts[0]}")
    grid.row(".     .   .   theta query A token   attend token'")
    grid.row("image net map .     query . feature attend feature'")
    grid = diagram.grid(f"(b) Multi-scale global task token learning | {tasks}; {counts[1]}")
    ends = ["total attend' token''"] * scales + ["fuse attend' feature''"] * scales
    for j in range(scales):
        theta, image = ("theta'", "image'") if j == 0 else (".", ".")
        grid.row(f".       .        .      {theta} split{j} query{j} A{j} merge{j} {ends[2 * j]}")
        grid.row(f"{image} stage{j} map{j} .       .        query{j} F{j} F{j} {ends[2 * j + 1]}")
        _scale(diagram, multi, j, largest)
        turn = "|->" if j else "->"
        diagram.join(f"theta' {turn} split{j} -> query{j} -> A{j} -> merge{j}", GLOBAL)
        diagram.join(f"merge{j} -|-> total", GLOBAL)
        diagram.join(f"query{j} -> F{j} --|-> fuse", TASK)
        diagram.join(f"{f'stage{j - 1}' if j else image} -> stage{j} -> map{j} -> query{j}", SHARED)
    image, last = [shape_of(single, "image")], single[f"shape/stage/{scales - 1}"]
    diagram["image"] = diagram["image'"] = picture(arrays["images"][0], below=image)
    diagram["net"] = box(str(arrays["backbone"]), "last stage", color=SHARED)
    diagram["map"] = _pile(last, largest, below=shape_of(single, "shared", "$F_s$"))
    theta = [shape_of(single, "theta", r"$\Theta$")]
    diagram["theta"] = _matrix((len(titles), 1), below=theta)
    diagram["theta'"] = _matrix((len(titles), 1), rows=theta)
    diagram["query"] = box("query", "inter-task", color=GLOBAL, stretch=True)
    A = shape_of(single, "affinity", "$A$")
    diagram["A"] = _matrix(single["shape/affinity"], below=A)
    attend = box("head", "attend", "intra-task", color=TASK, stretch=True)
    diagram["attend"] = diagram["attend'"] = attend
    for name, sign in (("token", r"$\theta'_i$"), ("feature", "$F'_i$")):
        for end in ("", "'", "''"):
            diagram[name + end] = remark(shape_of(single, name, sign), size=SMALL)
    diagram["total"] = box("sum", f"{scales} scales", color=GLOBAL)
    fuse, joined = count_of(multi, "fuse"), shape_text(multi["shape/joined"][1:])
    diagram["fuse"] = box("Conv 1 × 1", fuse, color=TASK, below=joined)
    diagram.join("image -> net -> map -> query", SHARED)
    diagram.join("theta -> query -> A -> token -> attend -> token'", GLOBAL)
    diagram.join("query -> feature -> attend -> feature'", TASK)
    diagram.join("total -> attend' -> token''", GLOBAL)
    diagram.join("fuse -> attend' -> feature''", TASK)
    return diagram.draw()


def _scale(diagram: Diagram, multi: Arrays, j: int, largest: Image) -> None:
    """The cells of one scale of Figure 12."""
    own, cell = multi[f"shape/feature/{j}"][1:], multi[f"shape/cell/{j}"][2:]
    size = shape_text(own) + (f" → {shape_text(cell)}" if (own[1:] != cell).any() else "")
    feature = shape_of(multi, f"stage/{j}", rf"$F_s^{{({j})}}$")
    theta = shape_of(multi, f"theta/{j}", rf"$\Theta^{{({j})}}$")
    split, query, merge = (count_of(multi, f"{part}/{j}") for part in ("split", "scale", "merge"))
    diagram[f"stage{j}"] = box(f"stage {j + 1}", color=SHARED)
    diagram[f"map{j}"] = _pile(multi[f"shape/stage/{j}"], largest, below=feature)
    diagram[f"split{j}"] = box(rf"$W^{{s\to m({j})}}$", split, color=GLOBAL, below=theta)
    diagram[f"query{j}"] = box("query", "inter-task", query, color=GLOBAL, stretch=True)
    diagram[f"A{j}"] = _matrix(multi[f"shape/affinity/{j}"], below=rf"$A^{{({j})}}$")
    diagram[f"merge{j}"] = box(rf"$W^{{m\to s({j})}}$", merge, color=GLOBAL)
    diagram[f"F{j}"] = remark(rf"$F_i'^{{({j})}}$  {size}", size=SMALL)


def _matrix(size: tuple[int, int], **how: Any) -> Cell:
    """Tokens or affinities without values."""
    shades = np.array([mix(GLOBAL, 0.8), mix(GLOBAL, 0.3)])
    image = shades[np.indices(size).sum(0) % 2]
    return picture(image, GLOBAL, wide=0.6, height=0.6, **how)


def _pile(shape: Image, largest: Image, **how: Any) -> Cell:
    """A feature (C, H, W) without values: larger for a larger map, more sheets for more of C."""
    high, wide = 0.7 * shape[1:] / max(largest[1:])
    sheets = max(1, round(6 * shape[0] / largest[0]))
    return Cell(width=wide, height=high, sheets=sheets, frame=SHARED, **how)


def _tasks(arrays: Arrays) -> list[tuple[int, str, str, bool]]:
    """The number i of every task, its name, its title, and whether the image carries its label."""
    named = zip(titles_of(arrays).items(), arrays["known"].tolist(), strict=True)
    return [(i, task, title, known) for i, ((task, title), known) in enumerate(named, 1)]


def _features(diagram: Diagram, arrays: Arrays, i: int, task: str, **signs: str) -> None:
    """F'_i and the teacher's F~_i, which L_f compares."""
    for name, color in (("feature", TASK), ("teacher", GLOBAL)):
        image = arrays[f"{name}/{task}"]
        diagram[f"{name}{i}"] = picture(image, color, below=[signs[name]])
    diagram.join(f"feature{i} <-> teacher{i}", GLOBAL, loss=r"$\mathcal{L}_f$")


def _supervise(
    diagram: Diagram, arrays: Arrays, i: int, task: str, known: bool, caption: str = ""
) -> None:
    """A prediction, and the label or the pseudo label that a loss compares it with."""
    caption = caption or rf"prediction $\hat{{Y}}_{i}$"
    diagram[f"predicted{i}"] = picture(map_to_rgb(arrays, f"{task}/ours", 0), TASK, below=caption)
    pseudo = rf"pseudo $\tilde{{Y}}_{i}$: {100 * arrays[f'accepted/{task}']:.0f} %"
    label = picture(pseudo_rgb(arrays, task), FINE, dashed=True, below=pseudo)
    if known:
        label = picture(map_to_rgb(arrays, f"{task}/truth", 0), INK, below=rf"label $Y_{i}$")
    diagram[f"label{i}"] = label
    color, loss = (TASK, "s") if known else (FINE, "p")
    diagram.join(f"predicted{i} <-> label{i}", color, loss=rf"$\mathcal{{L}}_{loss}$")


def pseudo_rgb(arrays: Arrays, task: str) -> Image:
    """A pseudo label -> (H, W, 3) uint8, a hole where M^p is 0, of classes too."""
    image = map_to_rgb(arrays, f"{task}/pseudo", 0)
    if f"{task}/classes" in arrays:
        rejected = arrays[f"{task}/pseudo"][0] == IGNORE_INDEX
        image[rejected] = np.multiply(to_rgb(HOLE_COLOR), 255).round()
    return image
