"""rooms13: generated rooms, the stand-in for NYUD-v2.

The same tasks, classes and counts as the real set, and statistics close to its own; every table
made from it says so. Scene i of a split is a function of (name, version, split, i) alone.
"""

import zlib
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import losses, tasks
from mtpsl.data.cache import Layout
from mtpsl.data.scenes.rendered import Arrays, Rendered
from mtpsl.data.scenes.rooms13_layout import build
from mtpsl.data.scenes.rooms13_render import Rendering, render
from mtpsl.data.scenes.rooms13_scene import CLASSES, Scene

VERSION = 1
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 795, "test": 654}  # as in NYUD-v2
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.depth(), tasks.normals()))


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    name = zlib.crc32(b"rooms13")
    seed = np.random.SeedSequence([name, VERSION, zlib.crc32(split.encode()), index])
    layout, noise = seed.spawn(2)
    return build(layout), np.random.Generator(np.random.PCG64(noise))


def render_image(
    split: str, index: int, height: int, width: int, device: torch.device | str = "cpu"
) -> Rendering:
    """One image of a split with its labels, straight from the generator."""
    picture, noise = scene(split, index)
    return render(picture, height, width, noise, device)


@final
class Rooms13(Rendered):
    """Generated rooms with 13-class segmentation, depth and surface normals.

    About 150 kB per image at 96x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "rooms13"
    stands_for = "nyud"
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": ((height, width), "uint8"),
            "depth": ((height, width), "float16"),
            "normals": ((3, height, width), "float16"),
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {
            "images": picture.image,
            "semseg": picture.semseg,
            "depth": picture.depth,
            "normals": picture.normals,
        }

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        depth = arrays["depth"].unsqueeze(1).float()
        normals = arrays["normals"].float()
        # Half precision leaves lengths off by up to 1e-3; NaN stays NaN.
        normals /= normals.square().sum(dim=1, keepdim=True).sqrt()
        valid = {
            "semseg": semseg != losses.IGNORE_INDEX,
            "depth": depth.isfinite(),
            "normals": normals[:, :1].isfinite(),
        }
        targets = {"semseg": semseg, "depth": depth, "normals": normals}
        return arrays["images"].float().div_(255), targets, valid
