"""TaskPrompter and the plain network beside it, in our own compact reading [TPKR, Table 5].

Hanrong Ye, Dan Xu. TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene
Understanding. ICLR 2023. https://openreview.net/forum?id=-CwPopPJda

Every task has a prompt, a token that goes through the transformer beside the patches. At four
depths a task reads the patches through its prompt, twice: by how the prompt attends to each of
them, and by how a map that the prompt draws agrees with each of their channels.

The blocks are timm's, inside a ``models.ViT``, so all weights that fit one can be loaded.
"""

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone, Features, ViT, build_backbone
from mtpsl.models.backbone import require_multiples, scale_channels, to_size
from mtpsl.models.fused import CHANNELS, residual_decoder
from mtpsl.tasks import TaskSet

ENLARGED = 4  # the map of TaskPrompter's heads / the transformer's, along a side

CHOICES: dict[str, str] = {
    "protocol of Table 5": "not in the paper. TaskPrompter has the released widths for NYUD-v2, "
    "channels=768 and final_channels=768 without reweighting (those for PASCAL-Context are 300, "
    "350, with reweighting)",
    "windows": "the release cuts the map into 4x4 for the channel path, which 18 rows do not "
    "allow; windows=3 cuts 3x3, and windows that do not divide a map overlap by a row or column",
    "grid": "spatial prompts and positions are learned for 18x24 patches, an image of 288x384 "
    "pixels; for other images they are interpolated",
    "class token": "TaskPrompter has none; its position stays in the file, and nothing reads it",
    "last block": "what it hands back from the spatial prompts is never read, as in the release",
    "drop path": "none, where the release drops 0.15",
    "images": "normalized as the transformer's weights want it; the release takes ImageNet's "
    "statistics (backbone_args={'mean': ..., 'std': ...})",
    "training": "as the other rows of the table; the release takes 40,000 steps of two images",
    "B": "'MTL network with a ViT-L backbone' and no more: ViT-L's last map, a 3x3 convolution to "
    "512 channels, and the heads of the fused ResNets",
    "width": "a width factor scales the transformer's heads and all channel counts alike",
}
"""What the paper and the release leave open, or what is done otherwise here."""


@final
class TaskPrompter(Method):
    """A transformer with a prompt a task, which the tasks read its patches through.

    With ViT-L, five tasks of PASCAL-Context and 512x512 pixels, 300 and 350 channels, one window
    and reweighting, it has 401,104,864 parameters.

    Args:
        tasks: The tasks; prompt i is that of task i.
        backbone: A ``models.ViT``; its grid of positions is changed, its class token removed.
        channels: What each of the two readings of a task has, before they are scaled.
        final_channels: Of the task's features.
        windows: The channel path looks at so many windows along each side of the map.
        reweight: Mix the features of all tasks by how their prompts attend to each other.
        grid: Rows and columns of patches that spatial prompts and positions are learned for.

    Raises:
        ValueError: If the backbone is no ``ViT``.
    """

    learns_from_unlabeled = False

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        channels: int = 768,
        final_channels: int = 768,
        windows: int = 3,
        reweight: bool = False,
        grid: tuple[int, int] = (18, 24),
    ) -> None:
        super().__init__()
        self.tasks, self.backbone = tasks, fit(backbone, grid)
        self.grid, self.windows = tuple(grid), windows
        vit, width, patches = self.backbone.net, self.backbone.channels, grid[0] * grid[1]
        token = vit.cls_token.detach()
        del vit.cls_token
        vit.register_buffer("cls_token", token, persistent=False)  # timm puts one before patches
        within, leaves = (
            max(8, round(n * backbone.width_factor)) for n in (channels, final_channels)
        )
        self.prompts = nn.Parameter(torch.empty(len(tasks), width))
        nn.init.trunc_normal_(self.prompts, mean=1.0, std=1.0)
        self.draw = nn.ModuleList(nn.Linear(width, patches) for _ in vit.blocks)
        self.hand_back = nn.ModuleList(nn.Linear(patches, width) for _ in vit.blocks)
        self.readers = nn.ModuleDict(
            {
                t.name: nn.ModuleList(Reader(width, within, leaves) for _ in backbone.depths)
                for t in tasks
            }
        )
        self.mixers = None
        if reweight:
            heads = vit.blocks[0].attn.num_heads
            self.mixers = nn.ModuleDict(
                {t.name: nn.ModuleList(mixer(heads) for _ in backbone.depths) for t in tasks}
            )
        self.heads = nn.ModuleDict({t.name: conv_head(leaves, t.channels) for t in tasks})

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        return supervised_terms(self.tasks, self.predict(batch.images), batch)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return {
            t.name: t.activate(to_size(self.heads[t.name](features), images))
            for t, features in zip(self.tasks, self.read(images), strict=True)
        }

    def read(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the features of each task, (B, ``final_channels``, H / 4, W / 4)."""
        vit, count, depths = self.backbone.net, len(self.tasks), self.backbone.depths
        x, size = embed(self.backbone, images)
        x = torch.cat([self.prompts.expand(len(x), -1, -1), x[:, 1:]], dim=1)  # (B, T + n, C)
        total = [0.0] * count
        for i, block in enumerate(vit.blocks):
            entered = block.norm1(x)
            drawn = self.draw[i](entered[:, :count])  # a map a prompt, (B, T, patches)
            q, k, v = split_heads(block.attn, entered)
            attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            back = F.pad(self.hand_back[i](drawn), (0, 0, 0, x.shape[1] - count))  # to prompts
            x = x + block.attn.proj(attended) + back
            x = x + block.mlp(block.norm2(x))
            if i in depths:
                scores = q[:, :, :count] @ k.mT  # neither scaled nor normalized, (B, H, T, T + n)
                left = vit.norm(x) if i == depths[-1] else x
                maps, keys = (y[:, count:].mT.unflatten(2, size) for y in (left, entered))
                found = self.read_depth(depths.index(i), maps, keys, scores, drawn)
                total = [a + b for a, b in zip(total, found, strict=True)]
        return [
            F.interpolate(y, scale_factor=ENLARGED, mode="bilinear", align_corners=False)
            for y in total
        ]

    def read_depth(
        self, depth: int, maps: Tensor, keys: Tensor, scores: Tensor, drawn: Tensor
    ) -> list[Tensor]:
        """What the tasks read at one depth.

        Args:
            depth: Its number, from 0.
            maps: The patches that leave the block, (B, C, h, w).
            keys: Those that entered its attention, likewise.
            scores: How the prompts attend to prompts and patches, (B, heads, T, T + h w).
            drawn: Spatial prompts, (B, T, patches of ``grid``).

        Returns:
            Features of each task, (B, final_channels, h, w).
        """
        size, count = maps.shape[2:], len(self.tasks)
        spatial = scores[..., count:].unflatten(3, size)  # (B, H, T, h, w)
        drawn = drawn.unflatten(2, self.grid)
        if size != self.grid:
            drawn = F.interpolate(drawn, size, mode="bilinear", align_corners=False)
        area = size.numel() / self.windows**2  # of a window; the mean below is to be a sum
        found = []
        for j, t in enumerate(self.tasks):
            agrees = area * F.adaptive_avg_pool2d(drawn[:, j : j + 1] * keys, self.windows)
            found.append(self.readers[t.name][depth](maps, spatial[:, :, j], agrees))
        if self.mixers is None:
            return found
        weights = [
            self.mixers[t.name][depth](scores[:, :, j : j + 1, :count])
            for j, t in enumerate(self.tasks)
        ]
        return [sum(w[..., [j]] * y for j, y in enumerate(found)) for w in weights]


@final
class Reader(nn.Module):
    """What one task reads at one depth.

    Args:
        width: Of the transformer.
        channels: Of each of the two readings.
        leaves: Of the features.
    """

    def __init__(self, width: int, channels: int, leaves: int) -> None:
        super().__init__()
        self.by_position = nn.Conv2d(width, channels, kernel_size=1)
        self.by_channel = nn.Conv2d(width, channels, kernel_size=1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, leaves, kernel_size=1),
            nn.Conv2d(leaves, leaves, kernel_size=3, padding=1),
            nn.BatchNorm2d(leaves),
            nn.GELU(),
            nn.Conv2d(leaves, leaves, kernel_size=1),
        )

    def forward(self, maps: Tensor, spatial: Tensor, agrees: Tensor) -> Tensor:
        """Weighs a map (B, C, h, w) twice -> (B, leaves, h, w).

        Args:
            maps: The map.
            spatial: How a prompt attends to its positions, (B, heads, h, w); a head weighs its own
                channels.
            agrees: How the map that the prompt draws agrees with each channel in each window,
                (B, C, windows, windows).
        """
        of_channels = spatial.repeat_interleave(maps.shape[1] // spatial.shape[1], dim=1)
        of_positions = F.interpolate(agrees, maps.shape[2:])  # the nearest window
        readings = (
            self.by_position(maps + of_channels * maps),
            self.by_channel(maps + of_positions * maps),
        )
        return self.fuse(torch.cat(readings, dim=1))


@final
class ResidualViT(nn.Module):
    """Baseline B: a transformer's last map, 512 channels wide, with the fused ResNets' heads.

    Args:
        width_factor: Scales the transformer and the heads.
        vit: A transformer of ``models.BACKBONES``.
        **start: Further arguments of the transformer, such as ``weights``.
    """

    reduction = 16
    stride = 16

    def __init__(self, width_factor: float = 1.0, *, vit: str = "vit_large", **start: Any) -> None:
        super().__init__()
        self.vit = build_backbone(vit, width_factor, **start)
        self.width_factor, self.pretrained = width_factor, self.vit.pretrained
        self.stage_channels = self.vit.stage_channels
        self.channels = self.bottleneck_channels = scale_channels(CHANNELS, width_factor)
        self.join = nn.Conv2d(self.vit.channels, self.channels, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Features:
        """(B, 3, H, W) in [0, 1] -> features at 1/16; H and W must be multiples of 16."""
        found = self.vit(images)
        joined = self.join(found.decoder)
        return Features(decoder=joined, bottleneck=joined, stages=found.stages)

    def build_head(self, out: int) -> nn.Sequential:
        """A fresh head: ``Features.decoder`` -> (B, out, H / 16, W / 16), before ``activate``."""
        return nn.Sequential(residual_decoder(self.channels), nn.Conv2d(self.channels, out, 1))


def fit(backbone: Backbone, grid: tuple[int, int]) -> ViT:
    """The same transformer with positions for a grid of patches, rows and columns.

    Raises:
        ValueError: If it is no transformer.
    """
    if not isinstance(backbone, ViT):
        raise ValueError(
            f"backbone: expected a ViT, whose blocks take prompts, got {type(backbone).__name__}; "
            "choose 'vit_base' or 'vit_large'"
        )
    backbone.net.set_input_size(tuple(backbone.reduction * side for side in grid))
    return backbone


def embed(backbone: ViT, images: Tensor) -> tuple[Tensor, torch.Size]:
    """Patches with their positions, behind the class token: (B, 1 + h w, C), and h, w.

    Raises:
        ValueError: If height or width of the images (B, 3, H, W) is no multiple of 16.
    """
    require_multiples(images, backbone.reduction)
    patches = backbone.net.patch_embed((images - backbone.mean) / backbone.std)  # (B, h, w, C)
    return backbone.net._pos_embed(patches), patches.shape[1:3]


def split_heads(attention: nn.Module, x: Tensor) -> Tensor:
    """(B, n, C) -> queries, keys and values of timm's attention, (3, B, heads, n, C / heads)."""
    return attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)


def mixer(heads: int) -> nn.Sequential:
    """(B, heads, 1, T) -> (B, 1, 1, T): one weight for each task's features."""
    return nn.Sequential(nn.Conv2d(heads, heads, 1), nn.GELU(), nn.Conv2d(heads, 1, 1))


def conv_head(channels: int, out: int) -> nn.Sequential:
    """A 3x3 convolution with BatchNorm and GELU, then a 1x1 convolution."""
    conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
    norm = nn.BatchNorm2d(channels)
    return nn.Sequential(conv, norm, nn.GELU(), nn.Conv2d(channels, out, kernel_size=1))
