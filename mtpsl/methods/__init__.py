"""What each paper contributes, one idea a file; ``METHODS`` is the register."""

from collections.abc import Mapping
from typing import Any

from mtpsl.methods.base import Method, Teacher, Terms
from mtpsl.methods.hitts import HiTTs
from mtpsl.methods.supervised import Supervised
from mtpsl.models import build_backbone
from mtpsl.registry import look_up
from mtpsl.tasks import TaskSet

__all__ = ["METHODS", "Method", "Teacher", "Terms", "build_method"]

METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "hitts": HiTTs,
}


def build_method(
    name: str,
    tasks: TaskSet,
    backbone: str = "segnet",
    width_factor: float = 1.0,
    method_args: Mapping[str, Any] | None = None,
) -> Method:
    """A method on a fresh backbone, its weights drawn from torch's global generator.

    Args:
        name: A key of ``METHODS``.
        tasks: The tasks it learns.
        backbone: A key of ``models.BACKBONES``.
        width_factor: Scales the backbone's channels.
        method_args: Keyword arguments of the method's constructor.

    Raises:
        ValueError: If there is no method of that name, suggesting the nearest.
        TypeError: If the method does not know an argument.
    """
    return look_up("method", name, METHODS)(
        tasks, build_backbone(backbone, width_factor), **dict(method_args or {})
    )
