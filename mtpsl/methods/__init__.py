"""What each paper contributes, one idea a file; ``METHODS`` is the register."""

from collections.abc import Mapping
from typing import Any

from mtpsl.methods.base import Method, Teacher, Terms
from mtpsl.methods.ccr import CCR
from mtpsl.methods.consistency import SemiSupervised
from mtpsl.methods.cross_task import XTC
from mtpsl.methods.hitts import HiTTs
from mtpsl.methods.joint_losses import Contrastive, Discriminator
from mtpsl.methods.mtan import MTAN
from mtpsl.methods.pair_maps import DirectMap, PerceptualMap, XTask
from mtpsl.methods.supervised import Supervised
from mtpsl.models import build_backbone
from mtpsl.registry import look_up, require_known
from mtpsl.tasks import TaskSet

__all__ = ["METHODS", "Method", "Teacher", "Terms", "build_method"]

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "semi_supervised": SemiSupervised,
    "mtan": MTAN,
    "direct_map": DirectMap,
    "perceptual_map": PerceptualMap,
    "x_task": XTask,
    "contrastive": Contrastive,
    "discriminator": Discriminator,
    "xtc": XTC,
    "ccr": CCR,
    "hitts": HiTTs,
}


def build_method(
    name: str,
    tasks: TaskSet,
    backbone: str = "segnet",
    width_factor: float = 1.0,
    method_args: Mapping[str, Any] | None = None,
    backbone_args: Mapping[str, Any] | None = None,
) -> Method:
    """A method on a fresh backbone; random weights come from torch's global generator.

    Args:
        name: A key of ``METHODS``.
        tasks: The tasks it learns.
        backbone: A key of ``models.BACKBONES``.
        width_factor: Scales the backbone's channels.
        method_args: Keyword arguments of the method's constructor.
        backbone_args: Further keyword arguments of the backbone's, such as ``weights``.

    Raises:
        ValueError: If there is no method or backbone of that name, or it does not know an
            argument, suggesting the nearest.
    """
    method = look_up("method", name, METHODS)
    require_known("method_args", method, method_args or {})
    net = build_backbone(backbone, width_factor, **dict(backbone_args or {}))
    return method(tasks, net, **dict(method_args or {}))
