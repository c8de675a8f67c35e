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
    "protocol of Table 5": "not in the paper; TaskPrompter's defaults are the released widths for "
    "NYUD-v2, without reweighting (PASCAL-Context: channels=300, final_channels=350, windows=1, "
    "reweight=True)",
    "windows": "the release cuts the map into 4x4 for the channel path, which 18 rows do not "
    "allow; windows=3 cuts 3x3, and windows that do not divide a map overlap by a row or column",
    "grid": "spatial prompts and positions are learned for 18x24 patches, an image of 288x384 "
    "pixels; for other images they are interpolated",
    "last block": "what it hands back to the prompts is never read, as in the release",
    "drop path": "none, where the releases drop 0.15",
    "images": "normalized as the transformer's weights want it; the releases take ImageNet's "
    "statistics (backbone_args={'mean': ..., 'std': ...})",
    "training": "as the other rows; the releases take 40,000 steps of a few images",
    "B": "'MTL network with a ViT-L backbone', no more is said: ViT-L's last map, a 3x3 "
    "convolution to 512 channels, and the heads of the fused ResNets",
    "width": "a width factor scales the transformer's heads and all channel counts alike",
}
"""What the paper and the releases leave open, or what is done otherwise here."""


@final
class TaskPrompter(Method):
    """A transformer with a prompt for each task, through which the task reads the patches.

    With ViT-L and the arguments for PASCAL-Context, 512x512 pixels, it has 401,104,864 parameters.

    Args:
        tasks: The tasks; prompt i is that of task i.
        backbone: A ``models.ViT``; its grid of positions is changed, its class token removed.
        channels: Of each of the two readings of a task, before they are scaled.
        final_channels: Of the task's features, likewise.
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
        self.grid, self.windows, self.reweight = tuple(grid), windows, reweight
        vit, width, patches = backbone.net, backbone.channels, grid[0] * grid[1]
        token = vit.cls_token.detach()
        del vit.cls_token
        vit.register_buffer("cls_token", token, persistent=False)  # timm adds it, ``read`` drops it
        inside, c = (max(8, round(n * backbone.width_factor)) for n in (channels, final_channels))
        heads = vit.blocks[0].attn.num_heads if reweight else 0
        self.prompts = nn.Parameter(torch.empty(len(tasks), width))
        nn.init.trunc_normal_(self.prompts, mean=1.0, std=1.0)
        self.draw = nn.ModuleList(nn.Linear(width, patches) for _ in vit.blocks)
        self.hand_back = nn.ModuleList(nn.Linear(patches, width) for _ in vit.blocks)
        self.readers = nn.ModuleList(  # by depth, then by task
            nn.ModuleDict({t.name: Reader(width, inside, c, heads) for t in tasks})
            for _ in backbone.depths
        )
        self.heads = nn.ModuleDict({t.name: conv_head(c, t.channels, nn.GELU()) for t in tasks})

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        return supervised_terms(self.tasks, self.predict(batch.images), batch)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        pairs = zip(self.tasks, self.read(images), strict=True)
        return {t.name: t.activate(to_size(self.heads[t.name](x), images)) for t, x in pairs}

    def read(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the features of each task, (B, ``final_channels``, H / 4, W / 4)."""
        vit, count, depths = self.backbone.net, len(self.tasks), self.backbone.depths
        x, size = embed(self.backbone, images)
        x = torch.cat([self.prompts.expand(len(x), -1, -1), x[:, 1:]], dim=1)  # (B, T + n, C)
        found = []
        for i, block in enumerate(vit.blocks):
            enters = block.norm1(x)
            qkv = block.attn.qkv(enters).unflatten(2, (3, block.attn.num_heads, -1))
            q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T + n, C / heads)
            attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            drawn = self.draw[i](enters[:, :count])  # a map a prompt, (B, T, patches of the grid)
            back = F.pad(self.hand_back[i](drawn), (0, 0, 0, x.shape[1] - count))  # to the prompts
            x = x + block.attn.proj(attended) + back
            x = x + block.mlp(block.norm2(x))
            if i in depths:
                scores = q[:, :, :count] @ k.mT  # neither scaled nor normalized
                left = vit.norm(x) if i == depths[-1] else x
                maps, keys = (y[:, count:].mT.unflatten(2, size) for y in (left, enters))
                found.append(self.read_depth(len(found), maps, keys, scores, drawn))
        scale = {"scale_factor": ENLARGED, "mode": "bilinear"}
        return [F.interpolate(sum(features), **scale) for features in zip(*found, strict=True)]

    def read_depth(
        self, depth: int, maps: Tensor, keys: Tensor, scores: Tensor, drawn: Tensor
    ) -> list[Tensor]:
        """The features of each task at one depth, (B, final_channels, h, w).

        Args:
            depth: Its number, from 0.
            maps: The patches that leave the block, (B, C, h, w).
            keys: Those that entered its attention, likewise.
            scores: How the prompts attend to prompts and patches, (B, heads, T, T + h w).
            drawn: Spatial prompts, (B, T, patches of ``grid``).
        """
        size, count, readers = maps.shape[2:], len(self.tasks), self.readers[depth]
        spatial = scores[..., count:].unflatten(3, size)  # (B, heads, T, h, w)
        drawn = F.interpolate(drawn.unflatten(2, self.grid), size, mode="bilinear")
        area = size.numel() / self.windows**2  # of a window, whose mean is to be a sum
        found = []
        for i, reader in enumerate(readers.values()):
            agrees = area * F.adaptive_avg_pool2d(drawn[:, i : i + 1] * keys, self.windows)
            found.append(reader(maps, spatial[:, :, i], agrees))
        if not self.reweight:
            return found
        pairs = enumerate(readers.values())
        weights = [reader.weigh(scores[:, :, [i], :count]) for i, reader in pairs]  # (B, 1, 1, T)
        return [sum(w[..., [j]] * x for j, x in enumerate(found)) for w in weights]


@final
class Reader(nn.Module):
    """What one task reads at one depth.

    Args:
        width: Of the transformer.
        channels: Of each of the two readings.
        leaves: Of the features.
        heads: Of the transformer, where the features of all tasks are to be mixed; else 0.
    """

    def __init__(self, width: int, channels: int, leaves: int, heads: int = 0) -> None:
        super().__init__()
        self.by_position = nn.Conv2d(width, channels, kernel_size=1)
        self.by_channel = nn.Conv2d(width, channels, kernel_size=1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, leaves, kernel_size=1), conv_head(leaves, leaves, nn.GELU())
        )
        self.weigh = None
        if heads:
            self.weigh = nn.Sequential(
                nn.Conv2d(heads, heads, kernel_size=1), nn.GELU(), nn.Conv2d(heads, 1, 1)
            )

    def forward(self, maps: Tensor, spatial: Tensor, agrees: Tensor) -> Tensor:
        """Weighs a map (B, C, h, w) twice -> (B, leaves, h, w).

        Args:
            maps: The map.
            spatial: How the prompt attends to positions, (B, heads, h, w); each head has its own
                channels.
            agrees: How the map that the prompt draws agrees with each channel in each window,
                (B, C, windows, windows).
        """
        spatial = spatial.repeat_interleave(maps.shape[1] // spatial.shape[1], dim=1)
        agrees = F.interpolate(agrees, maps.shape[2:])  # the nearest window
        readings = self.by_position(maps + spatial * maps), self.by_channel(maps + agrees * maps)
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


def conv_head(channels: int, out: int, activation: nn.Module) -> nn.Sequential:
    """A 3x3 convolution with BatchNorm and the activation, then a 1x1 convolution."""
    conv, norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
    return nn.Sequential(conv, norm, activation, nn.Conv2d(channels, out, kernel_size=1))
