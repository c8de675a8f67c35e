"""Networks: backbones by name, heads, and what they cost.

A backbone is a module with the attributes ``channels``, ``bottleneck_channels`` and
``reduction``, whose ``forward`` turns images into ``Features``.
"""

from collections.abc import Callable

from torch import nn

from mtpsl.models.multitask import MultiTaskNet
from mtpsl.models.segnet import SegNet
from mtpsl.registry import look_up
from mtpsl.tasks import TaskSet

BACKBONES: dict[str, Callable[[float], nn.Module]] = {  # name -> builder(width_factor)
    "segnet": SegNet,
}


def build_backbone(name: str, width_factor: float = 1.0) -> nn.Module:
    """A freshly initialized backbone; its weights come from torch's global generator.

    Raises:
        ValueError: If the name is unknown.
    """
    return look_up("backbone", name, BACKBONES)(width_factor)


def build_net(name: str, tasks: TaskSet, width_factor: float = 1.0) -> MultiTaskNet:
    """A backbone with one head a task."""
    return MultiTaskNet(build_backbone(name, width_factor), tasks)
