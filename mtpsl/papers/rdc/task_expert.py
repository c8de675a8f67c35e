"""TaskExpert on a vision transformer, in our own compact reading [RDC, Table 1].

Hanrong Ye, Dan Xu. TaskExpert: Dynamically Assembling Multi-Task Representations with Memorial
Mixture-of-Experts. ICCV 2023. arXiv:2307.15324

Experts split a map of the backbone into several that belong to no task; each task mixes them pixel
by pixel through a gate of its own and remembers the result, at four depths of the transformer. The
memory of a depth is one more expert at the next one, and the last memory is what a task's head
reads. There is no released code, and every number here is our choice (``CHOICES``).

The network is a backbone like any other: experts are its features, and the head that it builds for
a task holds the task's gates and memory. So every method trains on it.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.models import Features, build_backbone
from mtpsl.models.backbone import scale_channels

CHOICES: dict[str, str] = {
    "depths": "four maps of the transformer, evenly spaced, the last one included: of ViT-L those "
    "that leave blocks 6, 12, 18 and 24",
    "experts": "five a depth, each a 1x1 convolution with BatchNorm and GELU to 256 channels",
    "gate": "a 1x1 convolution of the map to 64 channels with GELU, beside their mean over the "
    "image as context, and a 1x1 convolution; softmax over the experts and the memory in every "
    "pixel",
    "memory": "zero before the first depth; a 3x3 convolution of the mixture with BatchNorm and "
    "GELU is added to it at each",
    "head": "reads the memory after the last depth, four times as large (bilinear): a 3x3 "
    "convolution with BatchNorm and GELU, then a 1x1 convolution",
    "width": "a width factor scales the transformer's heads and all channel counts above alike",
}
"""What is decided here, because no code of TaskExpert is public."""

EXPERTS, EXPERT_CHANNELS, GATE_CHANNELS = 5, 256, 64
ENLARGED = 4  # the head's map / the transformer's, along a side


@dataclass(frozen=True)
class Read:
    """What one task does at one depth."""

    gate: Tensor  # (B, experts + 1, h, w), sums to 1 over the experts and the memory, the last one
    memory: Tensor  # (B, C, h, w), after what it writes at this depth


@final
class TaskExpert(nn.Module):
    """A transformer with experts at four depths; its heads hold what a task has of its own.

    The decoder's map holds, for each depth in turn, the transformer's map and those of the experts.

    Args:
        width_factor: Scales the transformer and the experts.
        vit: A transformer of ``models.BACKBONES``.
        **start: Further arguments of the transformer, such as ``weights``.
    """

    reduction = 16
    stride = 16

    def __init__(self, width_factor: float = 1.0, *, vit: str = "vit_large", **start: Any) -> None:
        super().__init__()
        self.vit = build_backbone(vit, width_factor, **start)
        self.width_factor, self.pretrained = width_factor, self.vit.pretrained
        self.bottleneck_channels = self.vit.bottleneck_channels
        self.stage_channels = self.vit.stage_channels
        self.width = scale_channels(EXPERT_CHANNELS, width_factor)  # of an expert's map
        self.experts = nn.ModuleList(
            conv_norm_gelu(c, EXPERTS * self.width, 1) for c in self.stage_channels
        )
        self.channels = sum(c + EXPERTS * self.width for c in self.stage_channels)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features at 1/16; H and W must be multiples of 16."""
        found = self.vit(images)
        pairs = zip(found.stages, self.experts, strict=True)
        maps = [part for x, experts in pairs for part in (x, experts(x))]
        return Features(torch.cat(maps, dim=1), found.bottleneck, found.stages)

    def build_head(self, out: int) -> nn.Module:
        """A fresh ``TaskDecoder``: ``Features.decoder`` -> (B, out, H / 4, W / 4)."""
        gate = scale_channels(GATE_CHANNELS, self.width_factor)
        return TaskDecoder(self.stage_channels, self.width, gate, out)


@final
class TaskDecoder(nn.Module):
    """The gates, the memory and the head of one task.

    Args:
        stage_channels: Channels of the transformer's map, a depth each.
        width: Channels of an expert's map and of the memory.
        gate_channels: Channels of a map that a gate decides by.
        out: Channels of the task.
    """

    def __init__(
        self, stage_channels: tuple[int, ...], width: int, gate_channels: int, out: int
    ) -> None:
        super().__init__()
        self.parts = [part for c in stage_channels for part in (c, EXPERTS * width)]
        self.width = width
        self.looks = nn.ModuleList(nn.Conv2d(c, gate_channels, 1) for c in stage_channels)
        self.gates = nn.ModuleList(
            nn.Conv2d(2 * gate_channels, EXPERTS + 1, 1) for _ in stage_channels
        )
        self.writes = nn.ModuleList(conv_norm_gelu(width, width, 3) for _ in stage_channels)
        self.head = nn.Sequential(conv_norm_gelu(width, width, 3), nn.Conv2d(width, out, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, ``TaskExpert.channels``, h, w) -> (B, out, 4h, 4w), before ``Task.activate``."""
        memory = self.trace(features)[-1].memory
        larger = F.interpolate(memory, scale_factor=ENLARGED, mode="bilinear", align_corners=False)
        return self.head(larger)

    def trace(self, features: Tensor) -> list[Read]:
        """What the task mixes and remembers, depth by depth."""
        parts = features.split(self.parts, dim=1)
        memory = torch.zeros_like(parts[1][:, : self.width])
        reads = []
        layers = zip(self.looks, self.gates, self.writes, strict=True)
        for x, experts, (look, choose, write) in zip(parts[::2], parts[1::2], layers, strict=True):
            seen = F.gelu(look(x))
            context = seen.mean((2, 3), keepdim=True).expand_as(seen)
            gate = choose(torch.cat([seen, context], dim=1)).softmax(dim=1)  # over the experts
            choices = [*experts.split(self.width, dim=1), memory]
            mixed = sum(gate[:, i : i + 1] * choice for i, choice in enumerate(choices))
            memory = memory + write(mixed)
            reads.append(Read(gate, memory))
        return reads


def conv_norm_gelu(enters: int, leaves: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the map's size, BatchNorm and GELU."""
    conv = nn.Conv2d(enters, leaves, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(leaves), nn.GELU())
