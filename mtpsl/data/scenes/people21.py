"""people21: generated pictures of 20 kinds of things, the stand-in for PASCAL-Context.

It has the tasks, the classes and the counts of the real set, and every table made from it says
that it is a stand-in. Its second edition is easier than the real set, so that a small network can
learn it in minutes: one large subject a picture, class-typical materials, a simple backdrop, and a
person on about half of the pictures (30 % in PASCAL), since parts get labels only there.
"""

from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl import tasks
from mtpsl.data.scenes import Arrays, Rendered, voided
from mtpsl.data.scenes.patterns import noise as smooth
from mtpsl.data.scenes.people21_layout import build
from mtpsl.data.scenes.people21_things import CLASSES, CONTEXTS, SCENERY
from mtpsl.data.scenes.render import Surface, borders, chosen
from mtpsl.data.scenes.stage import Scene
from mtpsl.losses import IGNORE_INDEX

# The real set's normals are predictions of a network for rooms; other regions have none.
WITHOUT_NORMALS = (
    "aeroplane bird boat bus cow horse motorbike pottedplant sheep train "
    "sky grass road soil water tree building fence mountain track rock"
).split()
DOUBTFUL = 0.03  # share of the instances that the annotator marked as void
SMALLEST, LARGEST = 0.004, 0.6  # share of the picture that a salient instance takes
MOST_SALIENT = 3
FAINT = 0.45  # an instance below this share of the best score is not salient

TASKS = tasks.TaskSet(
    (
        tasks.semseg(CLASSES),
        tasks.human_parts(weight=2.0),
        tasks.normals("l1", weight=10.0),
        tasks.saliency(weight=5.0),
        tasks.edges(weight=50.0),
    )
)
"""With the losses and weights of the PASCAL protocol that [XTC] and [HiTTs] follow."""


@final
class People21(Rendered):
    """Generated pictures with segmentation, human parts, normals, saliency and edges.

    A picture takes about 170 kB at 128x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "people21"
    stands_for = "pascal_context"
    counts_steps = True  # as of what it stands for
    version = "2"
    splits = {"train": 4998, "test": 5105}  # as in PASCAL-Context
    kept = {"normals": "int8"}  # the real set's pictures of normals have 8 bits, too
    tasks = TASKS
    compose = staticmethod(build)

    @staticmethod
    def labels(scene: Scene, seen: Surface, image: Tensor, noise: np.random.Generator) -> Arrays:
        context = seen.classes
        classes = torch.where(context < len(CLASSES) - 1, context + 1, 0)
        void = borders(seen.instance, max(1, round(len(context) / 128)), classes > 0)
        void |= chosen(seen.instance, scene.lots[:, 0] < DOUBTFUL) & (classes > 0)
        parts = torch.where((seen.part > 0).any(), seen.part, IGNORE_INDEX)
        without = chosen(context, np.isin(CONTEXTS, WITHOUT_NORMALS))
        scenery = np.isin(CONTEXTS, SCENERY)[scene.classes]
        appeal = np.where(scenery, 0.0, 0.8 + 0.4 * scene.lots[:, 1])
        return {
            "semseg": voided(classes, void),
            "human_parts": parts.to(torch.uint8),
            "normals": torch.where(without, float("nan"), seen.normals),
            "saliency": distilled(salient(image, seen.instance, appeal), scene.seed),
            "edges": thin(changes(context)).to(torch.uint8),
        }

    def carries(self, task: str) -> Tensor:
        """(N,) bool: all images; for the human parts, those that show a person."""
        able = super().carries(task)
        if task == "human_parts":  # marked as void all over where there is nobody
            corner = np.asarray(self._arrays["human_parts"][:, 0, 0])
            able = torch.from_numpy(corner != IGNORE_INDEX)
        return able


def changes(context: Tensor) -> Tensor:
    """(H, W) bool: where the Laplacian of the context ids is not zero, as in the real set."""
    ids = F.pad(context.float()[None, None], (1, 1, 1, 1), mode="reflect")[0, 0]
    middle = ids[1:-1, 1:-1]
    around = ids[:-2, 1:-1] + ids[2:, 1:-1] + ids[1:-1, :-2] + ids[1:-1, 2:]
    return around != 4 * middle


def thin(lines: Tensor) -> Tensor:
    """(H, W) bool: lines of one pixel, by the parallel thinning of Guo and Hall (1989)."""
    kept = lines.clone()
    while True:
        before = kept
        for second in (False, True):
            kept = kept & ~_removable(kept, second)
        if torch.equal(kept, before):
            return kept


def _removable(lines: Tensor, second: bool) -> Tensor:
    p = F.pad(lines[None, None].to(torch.uint8), (1, 1, 1, 1))[0, 0].bool()
    n, s, w, e = p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]
    ne, nw, se, sw = p[:-2, 2:], p[:-2, :-2], p[2:, 2:], p[2:, :-2]
    crossings = sum(
        (~a & (b | c)).to(torch.uint8)
        for a, b, c in ((n, ne, e), (e, se, s), (s, sw, w), (w, nw, n))
    )
    one = sum((a | b).to(torch.uint8) for a, b in ((nw, n), (ne, e), (se, s), (sw, w)))
    other = sum((a | b).to(torch.uint8) for a, b in ((n, ne), (e, se), (s, sw), (w, nw)))
    neighbors = torch.minimum(one, other)
    keeps = (s | sw | ~nw) & w if second else (n | ne | ~se) & e
    return (crossings == 1) & (neighbors >= 2) & (neighbors <= 3) & ~keeps


def salient(image: Tensor, instance: Tensor, appeal: np.ndarray) -> Tensor:
    """What stands out, whatever its class: large, central, and of another color than the rest.

    Args:
        image: (3, H, W) uint8.
        instance: (H, W) int64 in [0, I).
        appeal: (I,) factor of every instance's score; 0 for scenery, which is never salient.

    Returns:
        (H, W) bool: the one to ``MOST_SALIENT`` instances with the best scores.
    """
    height, width = instance.shape
    ids, count = instance.cpu().numpy().ravel(), len(appeal)
    pixels = np.bincount(ids, minlength=count)
    share = pixels / ids.size
    y = ((np.arange(height) + 0.5) / height * 2 - 1) ** 2
    x = ((np.arange(width) + 0.5) / width * 2 - 1) ** 2
    near = (1 / (1 + 1.5 * (y[:, None] + x[None, :]))).ravel()
    center = np.bincount(ids, near, count) / np.maximum(pixels, 1)
    flat = image.cpu().numpy().reshape(3, -1)
    sums = np.stack([np.bincount(ids, channel, count) for channel in flat])
    inside = sums / np.maximum(pixels, 1)
    outside = (sums.sum(axis=1, keepdims=True) - sums) / np.maximum(ids.size - pixels, 1)
    contrast = np.linalg.norm(inside - outside, axis=0) / 255
    score = share**0.4 * center * (0.18 + contrast) * appeal
    score[(share < SMALLEST) | (share > LARGEST)] = 0
    best = np.argsort(-score, kind="stable")[:MOST_SALIENT]
    found = np.zeros(count, dtype=bool)
    found[best] = (score[best] > FAINT * score.max()) & (score[best] > 0)
    return chosen(instance, found)


def distilled(mask: Tensor, seed: int) -> Tensor:
    """A mask (H, W) as a network predicts it: thin pieces lost, corners round, borders a bit off.

    ``seed``: of the errors, the same at every size of the picture. Returns uint8, 0 or 1.
    """
    height, width = mask.shape
    soft = mask.float()
    for _ in range(2):
        for axis, size in enumerate(mask.shape):
            soft = _averaged(soft, max(1, round(size / 64)), axis)
    row = torch.arange(height, device=mask.device).view(-1, 1) / height
    column = torch.arange(width, device=mask.device) / width
    u, v = (row * 0 + column) * 9, (row + column * 0) * 9
    key = torch.full((height, width), seed, device=mask.device)
    return (soft > 0.375 + 0.25 * smooth(u, v, key)).to(torch.uint8)


def _averaged(values: Tensor, reach: int, axis: int) -> Tensor:
    """The mean of 2 * reach + 1 neighbors along an axis, the border's value repeated outside."""
    size = values.shape[axis]
    first = values.narrow(axis, 0, 1).repeat_interleave(reach, axis)
    last = values.narrow(axis, size - 1, 1).repeat_interleave(reach, axis)
    padded = torch.cat([first, values, last], dim=axis)
    return sum(padded.narrow(axis, k, size) for k in range(2 * reach + 1)) / (2 * reach + 1)
