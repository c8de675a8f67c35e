"""Figures 1 to 4 of TPKR: from prototypes to refined features, and what both signs of Eq. 5 teach.

Shapes are those of a training step, read off while it runs; maps and affinities are those of a
trained network. Figure 4 needs none: its features are free, and follow the losses alone.
"""

from contextlib import ExitStack
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.models.backbone import to_size
from mtpsl.papers.hitts.traces import feature_pictures
from mtpsl.papers.tpkr.free import free_features, free_tasks
from mtpsl.papers.tpkr.method import TPKR, Traced
from mtpsl.report.arrays import (
    SCENES,
    Arrays,
    FigureInputs,
    compact,
    describe,
    most_varied,
    principal_components,
    shown,
    true_maps,
)
from mtpsl.report.arrays import picture as pixels
from mtpsl.report.diagram import Diagram
from mtpsl.report.maps import count_of, map_to_rgb, shape_of, titles_of
from mtpsl.report.plots import chart_row, legend_below
from mtpsl.report.style import (
    AFFINITY_MAP,
    BINARY_MAP,
    CYCLE,
    INK,
    MAPPING,
    MARKERS,
    PAIRWISE,
    SCORE_MAP,
    SHARED,
    SMALL,
    TASK,
    box,
    missing,
    picture,
    remark,
    scalar_to_rgb,
    styled,
    tokens,
)

SIGNS = {"text": "as the text tells", "printed": "as Eq. 5 is printed"}
TASKS = 3  # in Figure 4
PANELS = {"start": "at the start"} | {n: f"sign {words}" for n, words in SIGNS.items()}


# -------------------------------------------------------------------- arrays


@torch.no_grad()
def scene(inputs: FigureInputs) -> Arrays:
    """Figures 1 to 3: a test image in a trained network, with the shapes of what passes through.

    ``images`` (1, H, W, 3), of the first test images the one that shows most classes,
    ``<task>/ours`` and ``<task>/truth`` (1, H, W, ...), and ``labeled`` (T,) under the one-label
    rule. ``affinity`` (T, T, h, w) are its maps, tasks before slots; ``affinity/mean`` and
    ``cosine/mean`` (T, T) are means over all positions of all these images. Pictures of features
    are (h, w, 3): ``latent``, and ``<task>/decoded``, ``/projected``, ``/mixed``, ``/retrieved``,
    whose colors mean the same in all tasks. ``rebuilt`` (1, H, W, 3) is I^r, ``slots`` (T, d).
    ``shape/...`` leaves out the batch; ``parameters/...`` is how many numbers a part learns.
    ``loss/...`` are the terms of a training step with these images, one label each; ``codes`` are
    how many codes they use, and how many there are.
    """
    (method,) = inputs.methods.values()
    tasks, indices = method.tasks, range(min(len(inputs.test), SCENES))
    labels = PartialLabels(inputs.test, assign("one_label", len(inputs.test), tasks.names))
    batch, full = labels.load(indices).to(inputs.device), inputs.load(indices)
    truth = true_maps(tasks, full)
    chosen = most_varied(tasks, truth)[0]
    one = slice(chosen, chosen + 1)
    passed, shapes = trace(method, batch.images)
    size = passed.encoded.shape[2:]
    arrays = describe(tasks) | {"images": pixels(batch.images)[one], "index": np.array([chosen])}
    arrays |= {f"{t.name}/ours": shown(t, passed.predictions[t.name])[one] for t in tasks}
    arrays |= {key: values[one] for key, values in truth.items()}
    arrays["labeled"] = np.array([bool(batch.labeled[name][chosen]) for name in tasks.names])
    affinity, cosines = (
        torch.stack(list(each.values())) for each in (passed.affinity, passed.similarity)
    )
    arrays["affinity"] = compact(affinity[:, chosen].mT.unflatten(2, size), decimals=4)
    for name, values in (("affinity", affinity), ("cosine", cosines)):
        arrays[f"{name}/mean"] = np.round(values.mean(dim=(1, 2)).cpu().numpy(), 4)
    arrays["slots"] = np.round(method.prototypes.slots.cpu().numpy(), 4)
    arrays |= feature_pictures({"latent": passed.latent[one]})
    mix = method.prototypes.affinity_features
    rows = {"projected": passed.projected, "mixed": {t: mix(A) for t, A in passed.affinity.items()}}
    maps = {n: {t: x.mT.unflatten(2, size) for t, x in each.items()} for n, each in rows.items()}
    maps |= {"decoded": passed.decoded, "retrieved": passed.retrieved}
    for name, each in maps.items():
        arrays |= feature_pictures({f"{t}/{name}": x[one] for t, x in each.items()})
    rebuild = method.reconstruction
    rebuilt = to_size(rebuild.decoder(passed.latent[one]), batch.images)
    arrays["rebuilt"] = pixels((rebuilt * rebuild.std + rebuild.mean).clamp(0, 1))
    arrays["codes"] = np.array([len(passed.codes.unique()), len(method.codebook.codes)])
    return arrays | shapes | count(method) | step(method, batch)


def trace(method: TPKR, images: Tensor) -> tuple[Traced, Arrays]:
    """What the network makes of images, and the shapes of it; those inside a block by hooks."""
    seen: dict[str, Tensor] = {}
    block = method.blocks[0]
    inside: dict[str, nn.Module] = {"look": block.look, "ask": block.ask, "think": block.think}
    with ExitStack() as hooks:
        for name, module in inside.items():
            note = lambda *passing, name=name: seen.update({name: passing[-1]})  # noqa: E731
            hooks.enter_context(module.register_forward_hook(note))
        passed = method.trace(images)
    first = method.tasks.names[0]
    seen |= {name: getattr(passed, name) for name in ("encoded", "latent", "codes")}
    names = ("decoded", "projected", "similarity", "affinity", "retrieved")
    seen |= {name: getattr(passed, name)[first] for name in names}
    seen |= {"image": images} | passed.predictions
    seen["mixed"] = method.prototypes.affinity_features(passed.affinity[first])
    shapes = {f"shape/{name}": np.array(values.shape[1:]) for name, values in seen.items()}
    return passed, shapes | {"shape/slots": np.array(method.prototypes.slots.shape)}


def count(method: TPKR) -> Arrays:
    """How many numbers every part learns; of parts that tasks have each, together."""
    parts: dict[str, nn.Module] = {name: part for name, part in method.named_children()}
    learned = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    learned["transformer"] = learned["blocks"] + learned["out"]
    return {f"parameters/{name}": np.array(number) for name, number in learned.items()}


def step(method: TPKR, batch: Batch) -> Arrays:
    """The loss terms of a training step of a copy; ``mtl`` is the sum of those of the tasks."""
    terms = deepcopy(method).train().training_step(batch, progress=1.0)
    values = {name: float(terms[name]) for name in ("tae", "tke", "tc")}
    values["mtl"] = sum(float(terms[name]) for name in method.tasks.names if name in terms)
    return {f"loss/{name}": np.round(value, 4) for name, value in values.items()}


def both_signs(inputs: FigureInputs) -> Arrays:
    """Figure 4: free features at their start, and where each sign of Eq. 5 takes them.

    Of each, ``points`` (T, B, n, 2) in two principal components of features and anchors, whose
    share of the variance is ``explained`` (2,); ``anchors`` (T, n, 2); ``cosines`` (T, T) as of
    ``FreeFeatures``; ``numbers`` (4,) own affinity, right share, L_tke and L_tc.
    """
    arrays = describe(free_tasks(TASKS)) | {"panels": np.array(list(PANELS))}
    for name in PANELS:
        start = name == "start"
        found = free_features("text" if start else name, TASKS, **({"steps": 0} if start else {}))
        points = torch.cat([found.features, found.anchors.unsqueeze(1)], dim=1).double()
        points, explained = principal_components(points, count=2)
        numbers = found.own_affinity, found.right, found.terms["tke"], found.terms["tc"]
        values = {"points": points[:, :-1], "anchors": points[:, -1], "explained": explained}
        values |= {"cosines": found.cosines, "numbers": torch.tensor(numbers)}
        arrays |= {f"{name}/{key}": np.round(v.numpy(), 4) for key, v in values.items()}
    return arrays


# ------------------------------------------------------------------ Figure 1


def draw_fig1(arrays: Arrays) -> Figure:
    """How much one task's features have to do with every prototype, and what becomes of them."""
    diagram, titles, shape = Diagram(picture=1.0), titles_of(arrays), partial(shape_of, arrays)
    task, title = next(iter(titles.items()))
    maps, reach = arrays["affinity"][0].astype(float), float(arrays["affinity"].max())
    heads = f"(a) Features: {title}", f"(b) Prototypes and affinity | black: 0, white: {reach:.2f}"
    grid = diagram.grid(*heads, "(c) Refined features")
    for k, name in enumerate(titles.values()):
        grid.row(f"image decoded | v{k} a{k} | mixed retrieved ours")
        diagram[f"v{k}"] = tokens(arrays["slots"][k], MAPPING, above=f"$v_{k + 1}$: {name}")
        spread = f"{maps[k].mean():.2f} ± {maps[k].std():.3f}"
        drawn = scalar_to_rgb(maps[k], SCORE_MAP, 0, reach)
        diagram[f"a{k}"] = picture(drawn, PAIRWISE, wide=0.72, below=spread)
        diagram.join(f"decoded -|-> v{k}; a{k} -|-> mixed", MAPPING)
        diagram.join(f"v{k} -> a{k}", MAPPING, label="" if k else "softmax of cosines")
    diagram["image"] = picture(arrays["images"][0], below=shape("image", "$I$"))
    words = {"decoded": ["$f^t$"], "mixed": ["$f^{ta} = A V$"], "retrieved": ["$f^{tr}$"]}
    words["retrieved"].append("queries: $f^t$")
    for name, (sign, *more) in words.items():
        color, below = TASK if name == "decoded" else PAIRWISE, (sign, shape(name), *more)
        diagram[name] = picture(arrays[f"{task}/{name}"], color, below=below)
    diagram["ours"] = picture(map_to_rgb(arrays, f"{task}/ours", 0), TASK, below=title)
    diagram.join("image -> decoded; retrieved -> ours", TASK)
    diagram.join("mixed -> retrieved", PAIRWISE)
    return diagram.draw()


# ------------------------------------------------------------------ Figure 2


def draw_fig2(arrays: Arrays) -> Figure:
    """From the image through codebook, task decoders, prototypes and transformer to the tasks."""
    diagram, titles = Diagram(picture=0.68), titles_of(arrays)
    shape, learned = partial(shape_of, arrays), partial(count_of, arrays)
    loss = {name: float(arrays[f"loss/{name}"]) for name in ("tae", "tke", "tc", "mtl")}
    heads = "(a) Shared features", "(b) Task features", "(c) Prototypes, retrieval"
    grid = diagram.grid(*heads, "(d) Predictions")
    for k, (task, title) in enumerate(titles.items()):
        grid.row(f"image backbone codes latent | d{k} f{k} | V block r{k} | y{k} label{k}")
        diagram[f"d{k}"] = box(title, "decoder", color=TASK)
        diagram[f"f{k}"] = picture(arrays[f"{task}/decoded"], TASK)
        diagram[f"r{k}"] = picture(arrays[f"{task}/retrieved"], PAIRWISE)
        drawn = map_to_rgb(arrays, f"{task}/ours", 0)
        diagram[f"y{k}"] = picture(drawn, TASK, below=shape(task))
        label = picture(map_to_rgb(arrays, f"{task}/truth", 0), INK, below="label")
        diagram[f"label{k}"] = label if arrays["labeled"][k] else missing(drawn, "no label")
        diagram.join(f"latent -|-> d{k} -> f{k} -> V -> block", TASK)
        diagram.join(f"block -> r{k} -> y{k}", PAIRWISE)
        if arrays["labeled"][k]:
            diagram.join(f"y{k} <-> label{k}", TASK, loss="$L_{MTL}$")
    grid.row("rebuilt tae tae . | size size | about inside inside | end end")
    diagram["image"] = picture(arrays["images"][0], above=("image $I$", shape("image")))
    above = "$f^e$", shape("encoded")
    diagram["backbone"] = box("backbone", learned("backbone"), color=SHARED, above=above)
    used, there = arrays["codes"].tolist()
    lines = f"{used} of {there:,}", "in use", learned("codebook")
    diagram["codes"] = box("codes", *lines, color=SHARED, above="$f^q$")
    above = "$f^i = f^e + f^q$", shape("latent")
    diagram["latent"] = picture(arrays["latent"], SHARED, above=above)
    diagram["tae"] = box("decoder", learned("reconstruction"), color=SHARED)
    diagram["rebuilt"] = picture(arrays["rebuilt"][0], SHARED, below="$I^r$")
    lines = shape("slots"), "", "$A$: softmax", "of cosines", "of $f^t$ and $V$"
    diagram["V"] = box("$V$", *lines, color=MAPPING, stretch=True)
    lines = (
        "self-attention",
        "of $f^t$,",
        "retrieval",
        "of $A V$,",
        "FFN",
        "",
        learned("transformer"),
    )
    diagram["block"] = box("transformer", *lines, color=PAIRWISE, stretch=True)
    lines = shape("decoded", "$f^t$"), f"decoders: {learned('decoders')}"
    diagram["size"] = remark(*lines, size=SMALL)
    lines = f"$L_{{tke}}$ = {loss['tke']:.2f}", f"$L_{{tc}}$ = {loss['tc']:.2f}"
    diagram["about"] = remark(shape("affinity", "$A$"), *lines, size=SMALL)
    lines = shape("retrieved", "$f^{tr}$"), f"heads: {learned('heads')}"
    diagram["inside"] = remark(*lines, size=SMALL)
    total = r"$L = L_{MTL} + \lambda_1 L_{tae}$", r"$\quad + \lambda_2 (L_{tke} + L_{tc})$"
    diagram["end"] = remark(f"$L_{{MTL}}$ = {loss['mtl']:.2f}", *total, size=SMALL)
    diagram.join("image -> backbone -> codes -> latent; latent |-> tae -> rebuilt", SHARED)
    diagram.join("image <-> rebuilt", SHARED, loss=f"$L_{{tae}}$ = {loss['tae']:.3f}")
    return diagram.draw()


# ------------------------------------------------------------------ Figure 3


def draw_fig3(arrays: Arrays) -> Figure:
    """Every task's features against every slot, and a block that retrieves what slots know."""
    diagram, titles, shape = Diagram(picture=0.8), titles_of(arrays), partial(shape_of, arrays)
    names, T = list(titles.values()), len(titles)
    grid = diagram.grid("(a) Knowledge of tasks is embedded | means over images and positions")
    for k, (task, title) in enumerate(titles.items()):
        grid.row(f"p{k} V S softmax A Y")
        below = title if k < T - 1 else (title, shape("projected", r"$\hat{f}{}^t$"))
        diagram[f"p{k}"] = picture(arrays[f"{task}/projected"], TASK, wide=0.8, below=below)
        diagram.join(f"p{k} -> V", TASK)
    words = shape("slots"), "", "cosines of", "features", "and slots"
    diagram["V"] = box("$V$", *words, color=MAPPING, stretch=True)
    known = {"columns": [f"$v_{k + 1}$" for k in range(T)], "rows": names, "wide": 2.4}
    S, A = (arrays[f"{name}/mean"] for name in ("cosine", "affinity"))
    drawn = scalar_to_rgb(S, AFFINITY_MAP, -1, 1)
    how = known | {"numbers": S, "below": shape("similarity", "$S$")}
    diagram["S"] = picture(drawn, MAPPING, **how)
    diagram["softmax"] = box("softmax", "over slots", color=MAPPING)
    how = known | {"numbers": A, "below": shape("affinity", "$A$")}
    diagram["A"] = picture(scalar_to_rgb(A, BINARY_MAP, 0, 1), MAPPING, **how)
    how = known | {"rows": [""] * T, "below": "$Y$: the task's own number"}
    diagram["Y"] = picture(scalar_to_rgb(np.eye(T), BINARY_MAP, 0, 1), INK, **how)
    diagram.join("V -> S -> softmax -> A", MAPPING)
    loss = f"$L_{{tke}}$ = {float(arrays['loss/tke']):.2f}"
    diagram.join("A <-> Y", MAPPING, loss=loss)
    task, title = next(iter(titles.items()))
    grid = diagram.grid(
        f"(b) A block retrieves it | {title}; what a box makes is added to what enters it"
    )
    grid.row("decoded look . ask think retrieved")
    grid.row("strip strip mixed ask think retrieved")
    maps, reach = arrays["affinity"][0], float(arrays["affinity"].max())
    drawn = np.concatenate([scalar_to_rgb(m, SCORE_MAP, 0, reach) for m in maps], axis=1)
    below = shape("affinity", "$A$"), f"with $v_1$ to $v_{T}$, 0 to {reach:.2f}"
    diagram["strip"] = picture(drawn, MAPPING, wide=0.7 * T, below=below)
    signs = {"decoded": "$f^t$", "mixed": "$f^{ta} = A V$", "retrieved": "$f^{tr}$"}
    for name, sign in signs.items():
        drawn = arrays[f"{task}/{name}"]
        diagram[name] = picture(drawn, PAIRWISE, below=(sign, shape(name)))
    words = {"look": "self-attention", "ask": "cross-attention", "think": "FFN"}
    for name, title in words.items():
        diagram[name] = box(title, shape(name), color=PAIRWISE, stretch=name == "ask")
    diagram.join("decoded -> look; ask -> think -> retrieved", PAIRWISE)
    diagram.join("look -> ask", PAIRWISE, label="queries")
    diagram.join("strip -> mixed", MAPPING, label="$V$")
    diagram.join("mixed -> ask", MAPPING, label="keys, values")
    return diagram.draw()


# ------------------------------------------------------------------ Figure 4


@styled
def draw_fig4(arrays: Arrays) -> Figure:
    """Features in the plane, with the means that L_tc compares them with; cosines below."""
    titles, names = titles_of(arrays), [str(name) for name in arrays["panels"]]
    place = {"wide": 2.9, "gap": 0.55, "left": 0.65, "between": 1.15, "below": 0.55}
    sheet, columns = chart_row([PANELS[name] for name in names], 2.9, 1.3, **place)
    for (plane, matrix), name in zip(columns, names, strict=True):
        for k, title in enumerate(titles.values()):
            how = {"marker": MARKERS[k], "edgecolors": CYCLE[k]}
            points, anchors = (
                arrays[f"{name}/points"][k].reshape(-1, 2),
                arrays[f"{name}/anchors"][k],
            )
            small = {"s": 14, "alpha": 0.4, "linewidths": 0, "facecolors": CYCLE[k]}
            plane.scatter(*points.T, label=rf"$\hat{{x}}$  {title}", **how, **small)
            large = {"s": 64, "linewidths": 1.0, "facecolors": "none"}
            plane.scatter(*anchors.T, label=rf"$\tilde{{x}}$  {title}", **how, **large)
        share = 100 * arrays[f"{name}/explained"].sum()
        plane.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        plane.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        plane.set_xlabel(f"2 principal components: {share:.0f} % of the variance", fontsize=8.5)
        cosines = arrays[f"{name}/cosines"]
        matrix.imshow(cosines, cmap=AFFINITY_MAP, vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(cosines):
            how = {"fontsize": 8, "color": "white" if abs(value) > 0.6 else INK}
            matrix.text(j, i, f"{round(value, 2) + 0:.2f}", ha="center", va="center", **how)
        matrix.set_axis_off()
        own, right, tke, tc = arrays[f"{name}/numbers"]
        lines = rf"own affinity {own:.2f}, $L_{{tke}}$ = {tke:.2f}, $L_{{tc}}$ = {tc:.2f}"
        lines += f"\nown slot nearest at {100 * right:.0f} % of positions"
        matrix.set_title(lines, fontsize=8.5)
    legend_below(sheet)
    return sheet.figure
