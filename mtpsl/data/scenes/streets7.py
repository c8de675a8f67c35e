"""streets7: generated streets, the stand-in for Cityscapes.

The same tasks, classes and counts as the real set in its 7-class preprocessing; every table made
from it says so. Labels have the real set's gaps: what the annotators left out, the car that carries
the camera, and no inverse depth where stereo matching finds none.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import tasks
from mtpsl.data.scenes import Arrays, Rendered, voided
from mtpsl.data.scenes.patterns import noise as smooth_noise
from mtpsl.data.scenes.render import Surface, chosen
from mtpsl.data.scenes.stage import Scene
from mtpsl.data.scenes.streets7_grammar import CLASSES, VOID, build

BASELINE = 0.209313  # m between the two cameras
FULL_WIDTH = 2048  # pixels that disparities are counted in
SCALE = 256 / 65535  # of a disparity, in the 16-bit files that MTAN's preprocessing divides
REACH = 0.027  # image widths: the left border where the other camera has seen nothing
UNLABELED = {"construction": 0.04, "object": 0.04, "nature": 0.04, VOID: 1.0}  # by the annotators
BLIND = {"vehicle": 0.06, VOID: 1.0}  # share without disparity, such as a glossy car


def disparity(depth: Tensor, focal: float) -> Tensor:
    """Shift in pixels of the full-size image; ``depth`` in m, ``focal`` in image widths."""
    return BASELINE * focal * FULL_WIDTH / depth


def matched(shift: Tensor) -> Tensor:
    """(H, W) bool: pixels that the right camera sees as well.

    A point at column x of the left image lies at x - d of the right one. It is hidden there if
    anything further right in the left image lies there or to the left of it.

    Args:
        shift: (H, W) disparity in columns of this image.
    """
    columns = torch.arange(shift.shape[1], dtype=shift.dtype, device=shift.device)
    there = columns - shift
    nearest = there.flip(1).cummin(dim=1).values.flip(1)
    hidden = torch.zeros_like(there, dtype=torch.bool)
    hidden[:, :-1] = there[:, :-1] >= nearest[:, 1:]
    return ~hidden & (there >= 0)


def _inverse_depth(scene: Scene, seen: Surface, grain: Tensor) -> Tensor:
    """As stereo matching finds it: nothing where one camera is alone, guesses in the sky."""
    width, sky = seen.depth.shape[1], seen.classes == CLASSES.index("sky")
    full = disparity(seen.depth, scene.camera.focal)
    seeds = torch.full_like(seen.classes, scene.seed)
    x, y, _ = seen.view
    guess = smooth_noise(x * 9, y * 14, seeds)
    full = torch.where(sky, guess * 3, full + grain * 0.2)
    lost = ~matched(full * (width / FULL_WIDTH))
    lost |= torch.arange(width, device=full.device) < REACH * width
    lost |= torch.where(sky, guess > 0.56, smooth_noise(x * 40, y * 50, seeds + 1) > 0.97)
    lost |= chosen(seen.instance, _struck(scene, BLIND, 1))
    value = (full * SCALE + 1 / 65535).clamp_min(1 / 65535)
    return torch.where(lost, float("nan"), value)


VERSION = 2
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 2975, "test": 500}  # as in Cityscapes, whose validation split is the test
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.inverse_depth()))


@final
class Streets7(Rendered):
    """Generated streets with 7-class segmentation and inverse depth.

    The target ``depth`` is the disparity of the real set's 16-bit files, divided by 65535: near
    is large, 0.4 about 4.6 m. 128x256 is the size of the usual preprocessing; images take about
    200 kB there in the cache. Arguments are those of ``Rendered``.
    """

    name = "streets7"
    stands_for = "cityscapes"
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    compose = staticmethod(build)

    @staticmethod
    def labels(scene: Scene, seen: Surface, image: Tensor, noise: np.random.Generator) -> Arrays:
        void = chosen(seen.instance, _struck(scene, UNLABELED, 0))
        grain = noise.standard_normal(seen.depth.shape, dtype=np.float32)
        grain = torch.from_numpy(grain).to(image.device)
        return {"semseg": voided(seen.classes, void), "depth": _inverse_depth(scene, seen, grain)}


def _struck(scene: Scene, chances: Mapping[str, float], lot: int) -> np.ndarray:
    """(I,) bool: instances that lose a label, by the chance of their class."""
    table = np.array([chances.get(name, 0.0) for name in (*CLASSES, VOID)])
    return scene.lots[:, lot] < table[scene.classes]
