"""The arrays that figures show: plain numbers and strings, computed without drawing anything.

They go by names such as ``"depth/ours"`` and are complete enough to draw a figure again from the
file they are saved in: every set names its tasks, their kinds and titles, and classes if any. A
figure of several data sets has one such set a part, as in ``"rooms/depth/ours"`` (``in_parts``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.data import open_dataset
from mtpsl.data.dataset import Dataset
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.losses import IGNORE_INDEX
from mtpsl.methods import Method
from mtpsl.metrics import COLUMNS
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.tokens import Trace
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import Task, TaskSet, depth, normals, semseg

Arrays = dict[str, NDArray[Any]]

EXAMPLES = 3  # test images in a qualitative figure
TOKEN_IMAGES = 64  # test images whose fine-grained tokens Figure 7 collects
DECIMALS, FINE_DECIMALS = 2, 4  # of maps, such as the centimeter; of values without a unit
SCENES = 18  # first ones of the embedded training split that the overview chooses from
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "one_label": {},
    "random_labels": {},
    "few_shot": {"task": "semseg", "shots": 10},
    "ratio": {"ratio": "1:1:8"},
}


@dataclass(frozen=True, kw_only=True)
class Material:
    """What arrays are computed from: trained networks and what they were tested on."""

    methods: Mapping[str, Method] = field(default_factory=dict)  # role -> in evaluation mode
    histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    test: Dataset | None = None  # None for figures that need no run
    train: PartialLabels | None = None  # clean; only for figures of what teachers find there,
    thresholds: Mapping[str, float | str] = field(default_factory=dict)  # at their students' taus
    parts: Mapping[str, "Material"] = field(default_factory=dict)  # if there are several data sets
    device: torch.device | str = "cpu"

    def batches(self, indices: Sequence[int], size: int = 8) -> Iterator[Batch]:
        """The test images at ``indices``, in order, on the device."""
        for start in range(0, len(indices), size):
            yield self.test.load(indices[start : start + size]).to(self.device)


def describe(tasks: TaskSet) -> Arrays:
    """What a drawing must know about the tasks."""
    arrays = {
        "tasks": np.array(tasks.names),
        "titles": np.array([t.title.rstrip(".") for t in tasks]),
        "kinds": np.array([t.kind for t in tasks]),
        "units": np.array([t.unit for t in tasks]),
    }
    return arrays | {f"{t.name}/classes": np.array(t.class_names) for t in tasks if t.class_names}


def in_parts(arrays: Callable[[Material], Arrays]) -> Callable[[Material], Arrays]:
    """For a figure of several data sets: ``arrays`` of every part, keyed ``<part>/...``.

    ``parts`` names them from top to bottom, ``<part>/data`` the data set of each.
    """

    def of_every_part(material: Material) -> Arrays:
        found: Arrays = {"parts": np.array(list(material.parts))}
        for part, inside in material.parts.items():
            values = {"data": np.array(inside.test.name)} | arrays(inside)
            found |= {f"{part}/{key}": value for key, value in values.items()}
        return found

    return of_every_part


def evenly_spaced(images: int, count: int) -> list[int]:
    """Indices from all over a split, so that nobody chose them: at most ``count``."""
    count = min(count, images)
    return [(2 * i + 1) * images // (2 * count) for i in range(count)]


def picture(images: Tensor) -> NDArray[Any]:
    """(B, 3, H, W) in [0, 1] -> (B, H, W, 3) uint8."""
    return (images.movedim(1, -1) * 255).round().byte().cpu().numpy()


def shown(task: Task, maps: Tensor, valid: Tensor | None = None) -> NDArray[Any]:
    """Targets or predictions as they are shown.

    Args:
        task: Whose kind decides.
        maps: (B, C, H, W) as in ``Batch.targets`` or ready for the task's metric.
        valid: (B, 1, H, W) bool, for targets.

    Returns:
        (B, H, W) uint8 class ids, or to ``DECIMALS`` (B, H, W, 3) float16 unit vectors, (B, H, W)
        float16 positive values or probabilities; where not valid, ``Task.missing``.
    """
    if task.kind == "classes" and maps.is_floating_point():
        maps = maps.argmax(1, keepdim=True)
    if task.kind == "binary" and valid is None:
        maps = maps.sigmoid()
    if valid is not None:
        maps = maps.masked_fill(~valid, task.missing)
    maps = maps.movedim(1, -1) if maps.shape[1] > 1 else maps[:, 0]
    if task.kind == "classes":
        return maps.byte().cpu().numpy()
    # A disparity has no unit and spans less than one: what is a centimeter would be a step in it.
    return compact(maps, DECIMALS if task.unit or task.kind != "positive" else FINE_DECIMALS)


def compact(values: Tensor, decimals: int = 3) -> NDArray[Any]:
    """Rounded float16: enough for a picture, small in the repository, the same on any machine."""
    return np.round(values.float().cpu().numpy(), decimals).astype(np.float16)


# ------------------------------------------------------------------ networks


@torch.no_grad()
def qualitative(material: Material, images: int = EXAMPLES) -> Arrays:
    """Figure 5: (N, H, W, ...) maps ``<task>/truth``, and those of every role."""
    indices = evenly_spaced(len(material.test), images)
    (batch,) = material.batches(indices, size=len(indices))
    arrays = describe(material.test.tasks)
    arrays |= {"images": picture(batch.images), "index": np.array(indices)}
    for t in material.test.tasks:
        arrays[f"{t.name}/truth"] = shown(t, batch.targets[t.name], batch.valid[t.name])
    for role, method in material.methods.items():
        predictions = method.predict(batch.images)
        arrays |= {f"{t.name}/{role}": shown(t, predictions[t.name]) for t in method.tasks}
    return arrays


@torch.no_grad()
def tokens(material: Material) -> Arrays:
    """Figures 7 and 13: how alike and how spread a task's fine-grained tokens phi are.

    For ``<task>/without`` and ``<task>/with`` orthogonal embeddings: ``/affinity`` (C_p, C_p),
    mean cosine similarity of tokens of the same image; ``/off_diagonal``, its mean absolute
    value between different tokens; ``/points`` (N, C_p, 3), principal components of the unit
    tokens of N images; ``/explained`` (3,), the components' shares of variance. ``<task>/values``
    (C_p, D) is what each token stands for.
    """
    arrays = describe(material.test.tasks)
    indices = evenly_spaced(len(material.test), TOKEN_IMAGES)
    for role, method in material.methods.items():
        traces = [method.trace(batch.images) for batch in material.batches(indices)]
        for t in method.tasks:
            phi = torch.cat([trace.fine_tokens[t.name] for trace in traces]).double().cpu()
            unit = F.normalize(phi, dim=-1)  # (N, C_p, C)
            affinity = (unit @ unit.transpose(1, 2)).mean(0)
            points, explained = principal_components(unit)
            others = ~torch.eye(len(affinity), dtype=torch.bool)
            name = f"{t.name}/{role}"
            arrays[f"{name}/affinity"] = np.round(affinity.numpy(), 4).astype(np.float32)
            arrays[f"{name}/off_diagonal"] = np.round(affinity[others].abs().mean().numpy(), 4)
            arrays[f"{name}/points"] = np.round(points.numpy(), 4).astype(np.float32)
            arrays[f"{name}/explained"] = np.round(explained.numpy(), 4).astype(np.float32)
            arrays[f"{t.name}/values"] = token_values(method, t).cpu().numpy()
    return arrays


def principal_components(values: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """(..., C) -> coordinates (..., count) and shares of variance (count,).

    A component's sign is arbitrary; here its largest loading is positive.
    """
    flat = values.flatten(0, -2)
    flat = flat - flat.mean(0)
    variance, axes = torch.linalg.eigh(flat.T @ flat)  # ascending
    variance, axes = variance.flip(0)[:count].clamp(min=0), axes.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    coordinates = flat @ (axes * largest.sign())
    shares = variance / (flat**2).sum().clamp(min=1e-12)
    return coordinates.view(*values.shape[:-1], count), shares


@torch.no_grad()
def confidence(material: Material) -> Arrays:
    """Figure 8: (N, H, W) largest class probability ``<task>/before`` (G) and ``/after`` (G').

    The images are the one of median brightness and, as in the paper, a dark one.
    """
    brightness = torch.cat(
        [b.images.mean((1, 2, 3)).cpu() for b in material.batches(range(len(material.test)))]
    )
    order = brightness.argsort(stable=True).tolist()
    indices = [order[len(order) // 2], order[0]]
    batch, trace = _trace(material, indices)
    arrays = describe(material.test.tasks)
    arrays |= {"images": picture(batch.images), "index": np.array(indices)}
    for name in material.test.tasks.names:
        for stage, logits in (("before", trace.fine_features), ("after", trace.refined)):
            arrays[f"{name}/{stage}"] = compact(logits[name].softmax(1).amax(1))
    return arrays


@torch.no_grad()
def scores(material: Material, images: int = EXAMPLES) -> Arrays:
    """Figures 11 and 14: (N, h, w) ``<task>/global``, M^f, and (N, H, W) ``<task>/fine``.

    There is one fine-grained score map a token; shown is that of the token whose map varies
    most over the image, with its number (N,) ``/token`` and in words ``/token_name``. What the
    truth says to it: ``/own`` (N, 3) is the share of labeled pixels that are of the token's class
    or bin, in [0, 1], its mean score there and its mean score elsewhere, NaN where there is none.
    """
    indices = evenly_spaced(len(material.test), images)
    batch, trace = _trace(material, indices)
    (method,) = material.methods.values()
    arrays = describe(material.test.tasks)
    arrays |= {"images": picture(batch.images), "index": np.array(indices)}
    for t in material.test.tasks:
        masks = trace.scores[t.name]  # (N, C_p, H, W)
        chosen = masks.flatten(2).std(2).argmax(1)
        arrays[f"{t.name}/global"] = compact(trace.feature_confidence[t.name][:, 0])
        arrays[f"{t.name}/fine"] = compact(masks[torch.arange(len(masks)), chosen])
        arrays[f"{t.name}/token"] = chosen.cpu().numpy()
        names = token_names(t, token_values(method, t))
        arrays[f"{t.name}/token_name"] = np.array([names[i] for i in chosen.tolist()])
        ids = method.quantizers[t.name].encode(batch.targets[t.name])[:, 0]
        picked = zip(masks, chosen, ids, batch.mask(t.name)[:, 0], strict=True)
        own = [_own(maps[token], of == token, known) for maps, token, of, known in picked]
        arrays[f"{t.name}/own"] = np.round(np.array(own), 4)
    return arrays


def _own(scores: Tensor, own: Tensor, known: Tensor) -> tuple[float, float, float]:
    """Share of the known pixels that are a token's own, its mean score there and elsewhere.

    Without a known pixel, 0 and NaN twice: an image of a real set may lack a label altogether.
    """
    inside, outside = scores[known & own], scores[known & ~own]
    return len(inside) / max(1, int(known.sum())), float(inside.mean()), float(outside.mean())


def token_values(method: HiTTs, task: Task) -> Tensor:
    """What each fine-grained token of a task stands for, as a target: (C_p, D)."""
    ids = torch.arange(method.bins(task), device=next(method.parameters()).device).view(1, 1, 1, -1)
    return method.quantizers[task.name].values(ids)[0, :, 0].T


def token_names(task: Task, values: Tensor) -> list[str]:
    """``token_values`` in a word or two each."""
    match task.kind:
        case "classes":
            return list(task.class_names)
        case "binary":
            return ["no", "yes"]
        case "positive" if task.unit:
            return [f"{value:.1f} {task.unit}" for value in values[:, 0].tolist()]
        case "positive":  # a disparity may be 0.0163
            return [f"{value:.3g}" for value in values[:, 0].tolist()]
        case "direction":  # x right, y down, z forward
            words = ("right", "down", "away", "left", "up", "us")
            return [
                f"facing {words[i]}" for i in torch.cat([values, -values], 1).argmax(1).tolist()
            ]


def _trace(material: Material, indices: Sequence[int]) -> tuple[Batch, Trace]:
    """The one method's trace of a few test images."""
    (method,) = material.methods.values()
    (batch,) = material.batches(indices, size=len(indices))
    return batch, method.trace(batch.images)


# ------------------------------------------------------------------- records


def curves(material: Material) -> Arrays:
    """Figure 9: ``<task>/<split>/<role>`` (E,), the headline metric at ``epochs/<role>`` (E,).

    Roles are ``without`` and ``with`` pseudo supervision, splits ``train`` and ``test``. Values
    are in the units of the tables.
    """
    tasks = material.test.tasks
    arrays = describe(tasks)
    arrays |= {f"{t.name}/label": np.array(COLUMNS[t.headline].label) for t in tasks}
    for role, history in material.histories.items():
        points = [entry for entry in history if "metrics" in entry]
        arrays[f"epochs/{role}"] = np.array([point["epoch"] for point in points])
        for t in tasks:
            metric, scale = f"{t.name}/{t.headline}", COLUMNS[t.headline].scale
            for split in ("train", "test"):
                values = [scale * point["metrics"][split][metric] for point in points]
                arrays[f"{t.name}/{split}/{role}"] = np.round(np.array(values), 4)
    return arrays


# ---------------------------------------------------------------------- data


def overview(material: Material) -> Arrays:
    """Scenes of the embedded data with their dense labels (N, H, W, ...) ``<task>/truth``.

    ``labeled`` (N, T) says which of them the one-label setting leaves a network: each task's
    label in two scenes, those of its first few that show the most classes and the least void.
    """
    dataset = open_dataset("rooms13", "train", height=240, width=320, images=SCENES)
    tasks = dataset.tasks
    labeled = assign("one_label", Experiment().train_images, tasks.names).labeled[:SCENES]
    batch = dataset.load(range(SCENES))
    arrays = describe(tasks)
    for t in tasks:
        arrays[f"{t.name}/truth"] = shown(t, batch.targets[t.name], batch.valid[t.name])
    (classes,) = (arrays[f"{t.name}/truth"] for t in tasks if t.kind == "classes")
    order = sorted(range(SCENES), key=lambda i: -variety(classes[i]))
    best = [[i for i in order if labeled[i, column]][:2] for column in range(len(tasks))]
    chosen = [pair[turn] for turn in range(2) for pair in best]
    arrays |= {"images": picture(batch.images), "labeled": labeled.numpy()}
    for name in ("images", "labeled", *(f"{t.name}/truth" for t in tasks)):
        arrays[name] = arrays[name][chosen]
    return arrays | {"index": np.array(chosen)}


def variety(ids: NDArray[np.uint8]) -> float:
    """How many classes a class map shows, less for void: 1 for a tenth of the pixels."""
    shares = np.bincount(ids.ravel(), minlength=256) / ids.size
    return float((shares[:IGNORE_INDEX] > 0.01).sum() - 10 * shares[IGNORE_INDEX])


def label_settings(material: Material) -> Arrays:
    """Which labels each setting leaves the paper's training images.

    ``settings`` names them; ``<setting>/labeled`` is (N, T), ``<setting>/args`` in words.
    """
    images, tasks = Experiment().train_images, TaskSet((semseg(()), depth(), normals()))
    arrays = describe(tasks) | {"settings": np.array(tuple(SETTINGS))}
    for setting, args in SETTINGS.items():
        labeled = assign(setting, images, tasks.names, **args).labeled
        arrays[f"{setting}/labeled"] = labeled.cpu().numpy()
        arrays[f"{setting}/args"] = np.array(", ".join(f"{k} {v}" for k, v in args.items()))
    return arrays
