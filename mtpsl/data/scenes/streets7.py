"""streets7: generated streets, the stand-in for Cityscapes.

The same tasks, classes and counts as the real set in its 7-class preprocessing, and statistics
close to its own; every table made from it says so. Scene i of a split is a function of
(name, version, split, i) alone.
"""

import zlib
from typing import final

import numpy as np
import torch
from torch import Tensor

from mtpsl import losses, tasks
from mtpsl.data.cache import Layout
from mtpsl.data.scenes.rendered import Arrays, Rendered
from mtpsl.data.scenes.streets7_layout import build
from mtpsl.data.scenes.streets7_render import Rendering, render
from mtpsl.data.scenes.streets7_scene import CLASSES, Scene

VERSION = 1
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 2975, "test": 500}  # as in Cityscapes, whose validation split is the test
TASKS = tasks.TaskSet((tasks.semseg(CLASSES), tasks.inverse_depth()))


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    name = zlib.crc32(b"streets7")
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

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": ((height, width), "uint8"),
            "depth": ((height, width), "float16"),
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {"images": picture.image, "semseg": picture.semseg, "depth": picture.depth}

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        depth = arrays["depth"].unsqueeze(1).float()
        valid = {"semseg": semseg != losses.IGNORE_INDEX, "depth": depth.isfinite()}
        return arrays["images"].float().div_(255), {"semseg": semseg, "depth": depth}, valid
