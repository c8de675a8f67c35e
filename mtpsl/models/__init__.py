"""Networks: backbones (``Backbone`` says what one is) by name, heads, and what they cost."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mtpsl.models.backbone import Backbone, Encoder, Features, MultiTaskNet
from mtpsl.models.fused import FusedResNet
from mtpsl.models.resnet import ResNet
from mtpsl.models.segnet import SegNet
from mtpsl.models.timm_backbone import HRNet, ViT
from mtpsl.registry import look_up, require_known

__all__ = [
    "BACKBONES", "Backbone", "Encoder", "Features", "FusedResNet", "HRNet", "MultiTaskNet",
    "ResNet", "SegNet", "ViT", "build_backbone",
]  # fmt: skip

BACKBONES: dict[str, Callable[..., Backbone]] = {  # name -> builder(width_factor, **args)
    "segnet": SegNet,
    "resnet18": partial(ResNet, 18),
    "resnet50": partial(ResNet, 50),
    "resnet18_fused": partial(FusedResNet, 18),
    "resnet50_fused": partial(FusedResNet, 50),
    "hrnet_w18": partial(HRNet, "hrnet_w18"),
    "hrnet_w18_small_v2": partial(HRNet, "hrnet_w18_small_v2"),
    "vit_base": partial(ViT, "vit_base_patch16_224"),
    "vit_large": partial(ViT, "vit_large_patch16_224"),
}


def build_backbone(name: str, width_factor: float = 1.0, **args: Any) -> Backbone:
    """Builds a backbone; its random weights come from torch's global generator.

    Args:
        name: A key of ``BACKBONES``.
        width_factor: Scales its channels.
        **args: Further arguments of this backbone, such as ``weights`` of a ResNet.

    Raises:
        ValueError: If the name or an argument is unknown, suggesting the nearest.
        ImportError: If it is one of timm's, and timm is not installed.
    """
    backbone = look_up("backbone", name, BACKBONES)
    require_known("backbone_args", backbone, args)
    return backbone(width_factor, **args)
