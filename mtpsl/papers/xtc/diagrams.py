"""Figures 1 and 2 of XTC: what partial labels are, and what the method makes of them.

Shapes, counts and distances are those of the network that made the arrays.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mtpsl.report.arrays import Arrays
from mtpsl.report.diagram import (
    MAPPING,
    PAIRWISE,
    SHARED,
    SMALL,
    TASK,
    TEXT,
    Box,
    Canvas,
    count_text,
    shape_text,
)
from mtpsl.report.maps import map_to_rgb, titles_of
from mtpsl.report.style import INK, QUIET, SCORE_MAP, Image, scalar_to_rgb, styled


@styled
def draw_fig1(arrays: Arrays) -> Figure:
    """All labels, some labels, and what ties a prediction to the label of another task."""
    canvas = Canvas(11.0, 4.8)
    top, tall, wide, gap = 0.1, 4.42, 3.3, 0.12
    every = np.ones_like(arrays["labeled"])
    for i, (title, labeled) in enumerate(
        (("(a) Every label", every), ("(b) Partial labels", arrays["labeled"]))
    ):
        box = Box(0.1 + i * (wide + gap), top, wide, tall)
        canvas.card(box, title)
        _training_set(canvas, box, arrays, labeled)
    left = 0.1 + 2 * (wide + gap)
    box = Box(left, top, canvas.width - left - 0.1, tall)
    canvas.card(box, "(c) Joint pairwise task-space")
    _joint_space(canvas, box, arrays)
    return canvas.figure


def _training_set(canvas: Canvas, card: Box, arrays: Arrays, labeled: Image) -> None:
    """Images with the labels they have; below them the network and who teaches which decoder."""
    titles = titles_of(arrays)
    columns, images = 1 + len(titles), len(arrays["images"])
    gap, side = 0.07, 0.14
    wide = (card.width - 2 * side - (columns - 1) * gap) / columns
    lefts = [card.left + side + i * (wide + gap) for i in range(columns)]
    y = card.top + 0.58
    for left, title in zip(lefts, ("Image", *titles.values()), strict=True):
        canvas.text(left + wide / 2, y - 0.11, title, size=SMALL, color=QUIET)
    for i in range(images):
        thumb = canvas.picture(lefts[0], y, wide, arrays["images"][i])
        for column, task in enumerate(titles):
            place = Box(lefts[1 + column], y, wide, thumb.height)
            if labeled[i, column]:
                map_ = map_to_rgb(arrays, f"{task}/truth", i)
                canvas.picture(place.left, y, wide, map_, frame=INK)
            else:
                canvas.missing(place, "no label")
        y = thumb.bottom + gap
    y = y - gap + 0.03
    row, bus = card.bottom - 1.1, card.bottom - 0.57  # of networks; the line that joins them
    shared = Box(lefts[0], row, wide, 0.4)
    canvas.box(shared, r"$f_\phi$", color=SHARED, size=11)
    canvas.arrow((shared.x, y), (shared.x, shared.top), color=SHARED)
    _words(canvas, shared.x, bus + 0.15, ("shared", "extractor"))
    last = lefts[-1] + wide / 2
    canvas.line((shared.x, shared.bottom), (shared.x, bus), (last, bus), color=SHARED)
    for column in range(len(titles)):
        head = Box(lefts[1 + column], row, wide, 0.4)
        canvas.arrow((head.x, bus), (head.x, head.bottom), color=SHARED)
        canvas.box(head, rf"$h_{{\psi^{column + 1}}}$", color=TASK, size=11)
        taught = int(labeled[:, column].sum())
        canvas.arrow((head.x, y), (head.x, head.top), color=TASK, dashed=True)
        canvas.loss(head.x, (y + head.top) / 2, rf"$L^{column + 1}$", TASK)
        _words(canvas, head.x, bus + 0.15, (f"{taught} of {images}", "labels"))


def _joint_space(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """From top to bottom: an image labeled for t alone, its predictions, the joint space."""
    titles = titles_of(arrays)
    source, target = (str(name) for name in arrays["pair"])
    wide = 0.78
    x_s, x_p, x_t = (card.left + x for x in (0.78, 2.1, 3.33))  # y^_s, y^_t and y_t
    image = canvas.picture(x_s - wide / 2, card.top + 0.47, wide, arrays["images"][0])
    shared = Box(x_p - 0.32, image.y - 0.2, 0.64, 0.4)
    canvas.box(shared, r"$f_\phi$", color=SHARED, size=11)
    canvas.arrow((image.right, image.y), (shared.left, shared.y))
    _shape(canvas, image.x, image.top - 0.1, arrays["shape/image"])
    words = (f"s: {titles[source]}, no label", f"t: {titles[target]}, labeled")
    for i, line in enumerate(words):
        canvas.text(shared.right + 0.12, shared.y + (i - 0.5) * 0.17, line, size=SMALL, ha="left")
    heads_top = image.bottom + 0.24
    head_s, head_t = (Box(x - 0.3, heads_top, 0.6, 0.36) for x in (x_s, x_p))
    branch = (image.bottom + heads_top) / 2
    canvas.arrow((x_p, shared.bottom), (x_p, head_t.top), color=SHARED)
    size = shape_text(arrays["shape/decoder"])
    canvas.text(x_p + 0.1, branch, size, size=SMALL, color=QUIET, ha="left")
    canvas.arrow((x_p, branch), (x_s, branch), (x_s, head_s.top), color=SHARED)
    canvas.box(head_s, r"$h_{\psi^s}$", color=TASK, size=11)
    canvas.box(head_t, r"$h_{\psi^t}$", color=TASK, size=11)
    maps_top = head_s.bottom + 0.22
    places = {}
    for name, x, task, role, frame in (
        (r"$\hat{y}^s$", x_s, source, "ours", TASK),
        (r"$\hat{y}^t$", x_p, target, "ours", TASK),
        (r"$y^t$", x_t, target, "truth", INK),
    ):
        picture = map_to_rgb(arrays, f"{task}/{role}", 0)
        places[name] = canvas.picture(x - wide / 2, maps_top, wide, picture, frame=frame)
        words = f"{name}  {shape_text(arrays[f'shape/{task}'])}"
        canvas.text(x, places[name].bottom + 0.13, words, size=SMALL)
    prediction, label = places[r"$\hat{y}^t$"], places[r"$y^t$"]
    for head, x in ((head_s, x_s), (head_t, x_p)):
        canvas.arrow((x, head.bottom), (x, maps_top), color=TASK)
    canvas.arrow((prediction.right, label.y), (label.left, label.y), both=True, dashed=True)
    canvas.loss((prediction.right + label.left) / 2, label.y, r"$L^t$", TASK)
    mappers_top = label.bottom + 0.44
    mapper_s, mapper_t = (Box(x - 0.42, mappers_top, 0.84, 0.36) for x in (x_s, x_t))
    joint = Box(card.left + 0.2, mapper_s.bottom + 0.2, card.width - 0.4, 0)
    joint = Box(joint.left, joint.top, joint.width, card.bottom - 0.12 - joint.top)
    canvas.box(joint, "", color=PAIRWISE)
    ends = []
    for mapper, side, sign in ((mapper_s, "source", "s"), (mapper_t, "target", "t")):
        canvas.arrow((mapper.x, label.bottom + 0.24), (mapper.x, mapper.top), color=MAPPING)
        canvas.box(mapper, rf"$m^{{{sign}\to st}}$", color=MAPPING, size=10)
        picture = _embedding(arrays, side)
        height = joint.height - 0.2
        across = min(0.78, height * picture.shape[1] / picture.shape[0])
        across_top = joint.y - across * picture.shape[0] / picture.shape[1] / 2
        end = canvas.picture(mapper.x - across / 2, across_top, across, picture, frame=MAPPING)
        canvas.arrow((mapper.x, mapper.bottom), (mapper.x, end.top), color=MAPPING)
        ends.append(end)
    first, last = ends
    canvas.arrow((first.right, first.y), (last.left, last.y), both=True, dashed=True)
    canvas.loss(joint.x, joint.y, _distance("L_{ct}", arrays["consistency"][0]), PAIRWISE)
    canvas.text(joint.x, joint.top + 0.15, "joint space of (s, t)", size=SMALL)
    _shape(canvas, joint.x, joint.bottom - 0.15, arrays[f"shape/stage/{_stages(arrays) - 1}"])


@styled
def draw_fig2(arrays: Arrays) -> Figure:
    """The network, the joint space of a pair with its two losses, and the mapping inside."""
    canvas = Canvas(11.0, 6.75)
    tall, wide = 3.62, 5.5
    network = Box(0.1, 0.1, wide, tall)
    space = Box(network.right + 0.12, 0.1, canvas.width - network.right - 0.22, tall)
    inside = Box(0.1, network.bottom + 0.12, canvas.width - 0.2, 6.5 - network.bottom - 0.12)
    canvas.card(network, "(a) Shared extractor, a decoder a task")
    canvas.card(space, "(b) Joint space of the pair (s, t)")
    canvas.card(inside, "(c) One mapping for all pairs, conditioned on the pair")
    shared, prediction, label = _network(canvas, network, arrays)
    _losses(canvas, space, arrays, shared, prediction, label)
    _mapping(canvas, inside, arrays)
    return canvas.figure


def _network(canvas: Canvas, card: Box, arrays: Arrays) -> tuple[Box, Box, Box]:
    """Draws (a); where the extractor, the prediction of s and the label of t are."""
    source, target = (str(name) for name in arrays["pair"])
    signs, titles = _signs(arrays), titles_of(arrays)
    wide, step = 0.86, (card.height - 0.82) / len(signs)
    rows = [card.top + 0.38 + step * (i + 0.5) for i in range(len(signs))]
    middle = (rows[0] + rows[-1]) / 2
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    image = canvas.picture(card.left + 0.16, middle - tall / 2, wide, arrays["images"][0])
    canvas.text(image.x, image.bottom + 0.14, "image x", size=TEXT)
    _shape(canvas, image.x, image.bottom + 0.3, arrays["shape/image"])
    count = count_text(arrays["parameters/backbone"])
    shared = Box(image.right + 0.24, middle - 0.36, 0.74, 0.72)
    canvas.arrow((image.right, middle), (shared.left, middle))
    canvas.box(shared, r"$f_\phi$", [count], color=SHARED, size=12)
    trunk = shared.right + 0.14
    canvas.line((shared.right, middle), (trunk, middle), color=SHARED)
    canvas.line((trunk, rows[0]), (trunk, rows[-1]), color=SHARED)
    for i, line in enumerate(("features", shape_text(arrays["shape/decoder"]))):
        at = rows[0] + 0.06 + 0.15 * i
        canvas.text(trunk - 0.08, at, line, size=SMALL, color=QUIET, ha="right")
    found = {}
    for (task, sign), y in zip(signs.items(), rows, strict=True):
        count = count_text(arrays[f"parameters/{task}"])
        head = Box(trunk + 0.22, y - 0.24, 0.62, 0.48)
        canvas.arrow((trunk, y), (head.left, y), color=SHARED)
        canvas.box(head, rf"$h_{{\psi^{sign}}}$", [count], color=TASK, size=11)
        top = y - tall / 2 - 0.02
        picture = map_to_rgb(arrays, f"{task}/ours", 0)
        prediction = canvas.picture(head.right + 0.22, top, wide, picture, frame=TASK)
        canvas.arrow((head.right, y), (prediction.left, y), color=TASK)
        words = rf"$\hat{{y}}^{sign}$  {shape_text(arrays[f'shape/{task}'])}"
        canvas.text(prediction.x, prediction.bottom + 0.13, words, size=SMALL)
        canvas.text(head.x, head.top - 0.1, titles[task], size=SMALL, color=QUIET)
        place = Box(card.right - wide - 0.14, top, wide, tall)
        found[sign] = prediction
        if task == target:
            picture = map_to_rgb(arrays, f"{task}/truth", 0)
            label = canvas.picture(place.left, top, wide, picture, frame=INK)
            canvas.text(label.x, label.bottom + 0.13, rf"$y^{sign}$  label", size=SMALL)
            canvas.arrow((prediction.right, y), (label.left, y), both=True, dashed=True)
            canvas.loss((prediction.right + label.left) / 2, y, rf"$L^{sign}$", TASK)
        elif task == source:  # the prediction passes by, on its way to the joint space
            canvas.text(place.x, y - 0.11, "no label", size=SMALL, color=QUIET)
        else:
            canvas.missing(place, "no label")
    return shared, found["s"], label


def _losses(
    canvas: Canvas, card: Box, arrays: Arrays, shared: Box, prediction: Box, label: Box
) -> None:
    """Draws (b): consistency between the two embeddings, and what keeps them from a constant."""
    wide, mapper_left, left = 0.84, card.left + 0.28, card.left + 1.55
    ends = []
    for start, side, sign, of in (
        (prediction, "source", "s", r"\hat{y}^s"),
        (label, "target", "t", "y^t"),
    ):
        mapper = Box(mapper_left, start.y - 0.24, 0.95, 0.48)
        canvas.arrow((start.right, start.y), (mapper.left, start.y), color=MAPPING)
        canvas.box(mapper, rf"$m^{{{sign}\to st}}$", color=MAPPING, size=11)
        picture = _embedding(arrays, side)
        tall = wide * picture.shape[0] / picture.shape[1]
        end = canvas.picture(left, start.y - tall / 2, wide, picture, frame=MAPPING)
        canvas.arrow((mapper.right, start.y), (end.left, start.y), color=MAPPING)
        words = (end.top - 0.12) if side == "source" else (end.bottom + 0.13)
        size = shape_text(arrays[f"shape/stage/{_stages(arrays) - 1}"])
        canvas.text(end.x, words, rf"$m^{{{sign}\to st}}({of})$  {size}", size=SMALL)
        ends.append(end)
    first, last = ends
    middle = (first.y + last.y) / 2
    canvas.arrow((first.x, first.bottom), (last.x, last.top), both=True, dashed=True)
    canvas.loss(first.x, middle, _distance("L_{ct}", arrays["consistency"][0]), PAIRWISE)
    picture = _embedding(arrays, "image")
    tall = wide * picture.shape[0] / picture.shape[1]
    feature = canvas.picture(card.right - 1.35, middle - tall / 2, wide, picture, frame=SHARED)
    for end, value in zip(ends, arrays["regularizer"], strict=True):
        corner = feature.top if end is first else feature.bottom
        points = ((end.right, end.y), (feature.x, end.y), (feature.x, corner))
        canvas.arrow(*points, both=True, dashed=True)
        canvas.loss((end.right + feature.x) / 2, end.y, _distance("R", value), SHARED)
    low = card.bottom - 0.17
    turn = feature.right + 0.22
    canvas.arrow(
        (shared.x, shared.bottom), (shared.x, low), (turn, low), (turn, feature.y),
        (feature.right, feature.y), color=SHARED,
    )  # fmt: skip
    words = (r"$f_\phi(x)$", shape_text(arrays["shape/bottleneck"]))
    for i, line in enumerate(words):
        y = feature.y + (i - 0.5) * 0.17
        canvas.text(feature.left - 0.08, y, line, size=TEXT, ha="right")
    weight, share = float(arrays["weight"]), float(arrays["regularizer_weight"])
    total = rf"$L = L^t + {weight:g}\,\sum_{{(s,t)}}(L_{{ct}} + {share:g}\,\sum R)$"
    canvas.text(card.right - 0.14, card.top + 0.19, total, size=TEXT, ha="right")


def _mapping(canvas: Canvas, card: Box, arrays: Arrays) -> None:
    """Draws (c): input layers of their own, shared stages, and a scale and shift for the pair."""
    signs = _signs(arrays)
    order = list(signs)
    source, target = (str(name) for name in arrays["pair"])
    stages = _stages(arrays)
    learned, film = (count_text(arrays[f"parameters/{name}"]) for name in ("mapping", "film"))
    words = f"{learned} parameters, {film} of them γ and β; used in training alone"
    canvas.text(card.right - 0.14, card.top + 0.19, words, size=SMALL, ha="right", color=QUIET)

    cell, line = 0.24, card.top + 0.62  # the line that carries the pair to all stages
    matrix_top = card.bottom - 0.62 - cell * len(order)
    pair = (order.index(source), order.index(target))
    matrix = canvas.matrix(card.left + 0.48, matrix_top, cell, [pair], len(order))
    for i, task in enumerate(order):
        at = cell * (i + 0.5)
        canvas.text(matrix.left - 0.12, matrix.top + at, f"${signs[task]}$")
        canvas.text(matrix.left + at, matrix.top - 0.1, f"${signs[task]}$")
    words = ("A names the pair", f"{len(order)} × {len(order)}")
    _words(canvas, matrix.x, matrix.bottom + 0.17, words)

    y = card.bottom - 0.98
    maps_left, wide = card.left + 1.72, 0.72
    tall = wide * arrays["images"].shape[1] / arrays["images"].shape[2]
    layer_left, first_left = maps_left + wide + 0.3, maps_left + wide + 1.55
    out = 0.84
    step = (card.right - 0.2 - out - first_left) / stages
    for task, role, sign, at in (
        (source, "ours", r"\hat{y}^s", y - 0.42),
        (target, "truth", "y^t", y + 0.42),
    ):
        picture = map_to_rgb(arrays, f"{task}/{role}", 0)
        place = canvas.picture(maps_left, at - tall / 2, wide, picture)
        size = f"${sign}$  {shape_text(arrays[f'shape/input/{task}'])}"
        canvas.text(place.x, place.bottom + 0.13, size, size=SMALL)
        layer = Box(layer_left, at - 0.21, 0.86, 0.42)
        count = count_text(arrays[f"parameters/layer/{task}"])
        canvas.arrow((place.right, at), (layer.left, at), color=MAPPING)
        canvas.box(layer, f"input {signs[task]}", [count], color=TASK)
        join = first_left - 0.2
        canvas.line((layer.right, at), (join, at), (join, y), color=MAPPING)
    _shape(canvas, layer_left + 0.43, y, arrays[f"shape/layer/{target}"])
    left, ends = first_left - 0.2, []
    for i in range(stages):
        shape = arrays[f"shape/stage/{i}"]
        height = 0.42 + 0.5 * np.log2(shape[1] + 1) / np.log2(arrays["shape/image"][1] + 1)
        stage = Box(first_left + i * step, y - height / 2, step - 0.24, height)
        canvas.arrow((left, y), (stage.left, y), color=MAPPING)
        canvas.box(stage, f"stage {i + 1}", color=MAPPING)
        _shape(canvas, stage.x, y + 0.62, shape)
        if f"shape/gamma/{i}" in arrays:
            size = shape_text(arrays[f"shape/gamma/{i}"])
            film_box = Box(stage.left, line + 0.16, stage.width, 0.4)
            canvas.arrow((stage.x, line), (stage.x, film_box.top), color=PAIRWISE)
            canvas.box(film_box, "γ, β", [size], color=PAIRWISE)
            canvas.arrow((stage.x, film_box.bottom), (stage.x, stage.top), color=PAIRWISE)
            ends.append(stage.x)
        left = stage.right
    if ends:
        corner = (matrix.x, line)
        canvas.line((matrix.x, matrix.top - 0.22), corner, (ends[-1], line), color=PAIRWISE)
    picture = _embedding(arrays, "source")
    tall = out * picture.shape[0] / picture.shape[1]
    end = canvas.picture(card.right - out - 0.2, y - tall / 2, out, picture, frame=MAPPING)
    canvas.arrow((left, y), (end.left, y), color=MAPPING)
    canvas.text(end.x, end.bottom + 0.14, r"$m^{s\to st}(\hat{y}^s)$", size=TEXT)


def _embedding(arrays: Arrays, name: str) -> Image:
    """One of the three embeddings on the range of all three."""
    values = [arrays[f"embedding/{key}"] for key in ("source", "target", "image")]
    low, high = float(np.min(values)), float(np.max(values))
    return scalar_to_rgb(arrays[f"embedding/{name}"], SCORE_MAP, low, high)


def _signs(arrays: Arrays) -> dict[str, str]:
    """Task -> its letter: s, t, and from u on for the others; s first and t last."""
    source, target = (str(name) for name in arrays["pair"])
    others = [name for name in titles_of(arrays) if name not in (source, target)]
    return {source: "s"} | dict(zip(others, "uvwxyz", strict=False)) | {target: "t"}


def _stages(arrays: Arrays) -> int:
    """How many stages the mapping network has."""
    return sum(key.startswith("shape/stage/") for key in arrays)


def _distance(name: str, value: float) -> str:
    """A measured cosine distance behind its name, to two digits."""
    return f"${name}$ = {value:.2f}" if value >= 0.1 else f"${name}$ = {value:.2g}"


def _shape(canvas: Canvas, x: float, y: float, shape: Image) -> None:
    canvas.text(x, y, shape_text(shape), size=SMALL, color=QUIET)


def _words(canvas: Canvas, x: float, y: float, lines: Sequence[str]) -> None:
    for i, line in enumerate(lines):
        canvas.text(x, y + i * 0.15, line, size=SMALL, color=QUIET)
