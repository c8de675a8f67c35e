"""people21: generated pictures of 20 kinds of things, the stand-in for PASCAL-Context.

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
from mtpsl.data.scenes.people21_layout import build
from mtpsl.data.scenes.people21_render import Rendering, render
from mtpsl.data.scenes.people21_scene import CLASSES, Scene
from mtpsl.data.scenes.rendered import Arrays, Rendered

VERSION = 1
"""Changes with anything that decides a pixel or a label; frozen once results are recorded."""

SPLITS = {"train": 4998, "test": 5105}  # as in PASCAL-Context
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

STEPS = 127  # of a normal's component as it is kept; the real set's pictures have 8 bits too


def scene(split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene at ``index`` of a split, and the source of its sensor noise."""
    name = zlib.crc32(b"people21")
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
class People21(Rendered):
    """Generated pictures with segmentation, human parts, normals, saliency and edges.

    About 170 kB per image at 128x128 in the cache. Arguments are those of ``Rendered``.
    """

    name = "people21"
    stands_for = "pascal_context"
    counts_steps = True  # as of what it stands for
    version = str(VERSION)
    splits = SPLITS
    tasks = TASKS

    @classmethod
    def layout(cls, height: int, width: int) -> Layout:
        flat = ((height, width), "uint8")
        return {
            "images": ((3, height, width), "uint8"),
            "semseg": flat,
            "human_parts": flat,
            "normals": ((3, height, width), "int8"),  # in steps of 1 / STEPS, 0 where none
            "saliency": flat,
            "edges": flat,
        }

    @classmethod
    def draw(
        cls, split: str, index: int, height: int, width: int, device: torch.device | str
    ) -> Arrays:
        picture = render_image(split, index, height, width, device)
        return {
            "images": picture.image,
            "semseg": picture.semseg,
            "human_parts": picture.human_parts,
            "normals": (picture.normals * STEPS).nan_to_num(0).round().to(torch.int8),
            "saliency": picture.saliency,
            "edges": picture.edges,
        }

    def unpack(self, arrays: Arrays) -> tuple[Tensor, Arrays, Arrays]:
        semseg = arrays["semseg"].unsqueeze(1).long()
        parts = arrays["human_parts"].unsqueeze(1).long()
        normals = arrays["normals"].float()
        normals /= normals.square().sum(dim=1, keepdim=True).sqrt()  # 0 / 0 is NaN: none
        saliency = arrays["saliency"].unsqueeze(1).float()
        edges = arrays["edges"].unsqueeze(1).float()
        everywhere = torch.ones_like(semseg, dtype=torch.bool)
        valid = {
            "semseg": semseg != losses.IGNORE_INDEX,
            "human_parts": parts != losses.IGNORE_INDEX,
            "normals": normals[:, :1].isfinite(),
            "saliency": everywhere,
            "edges": everywhere,
        }
        targets = {
            "semseg": semseg,
            "human_parts": parts,
            "normals": normals,
            "saliency": saliency,
            "edges": edges,
        }
        return arrays["images"].float().div_(255), targets, valid

    def carries(self, task: str) -> Tensor:
        """(N,) bool: all images; for the human parts, those that show a person."""
        able = super().carries(task)
        if task == "human_parts":  # marked as void all over where there is nobody
            corner = np.asarray(self._arrays["human_parts"][:, 0, 0])
            able = torch.from_numpy(corner != losses.IGNORE_INDEX)
        return able
