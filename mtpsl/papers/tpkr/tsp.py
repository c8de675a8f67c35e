"""TSP-Transformer, in our own compact reading [TPKR, Table 5].

Shuo Wang, Jing Li, Zibo Zhao, Dongze Lian, Binbin Huang, Xiaomei Wang, Zhengxin Li, Shenghua Gao.
TSP-Transformer: Task-Specific Prompts Boosted Transformer for Holistic Scene Understanding. WACV
2024. arXiv:2311.03427

The transformer runs once per task, with prompts of that task in half of its blocks; blocks before
the first prompt run once for all. A decoder like InvPT's [Ye and Xu, ECCV 2022, arXiv:2203.07997]
follows: at three sizes, each twice the one before, the positions of all tasks attend to each other,
and hand their scores to the next size. Maps of all tasks are one tensor, (T, B, h, w, C).
"""

from collections.abc import Callable
from itertools import repeat
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone
from mtpsl.models.backbone import conv_norm_relu, scale_channels
from mtpsl.papers.tpkr.prompts import conv_head, embed, fit
from mtpsl.tasks import TaskSet

Where = Literal["deep", "shallow"]

HEADS = 2  # of the joint attention
CHANNELS = 512  # of what a preliminary prediction is made of
STAGES = (576, 288, 144)  # channels of the decoder's stages
POOLED = (2, 4, 8)  # positions along a side that share a key
MULTIPLE = 4  # of what the sides of a map must be

CHOICES: dict[str, str] = {
    "prompts": "five a task and block, in the second half of the blocks as the release does on "
    "NYUD-v2; where='shallow' is the first half, as on PASCAL-Context",
    "grid": "the release fails where rows or columns of patches are no multiple of 4, as the 18 of "
    "288 pixels; here the last row or column is repeated, and predictions are cropped",
    "number of tasks": "any; the release knows four or five",
    "preliminary predictions": "at 1/32 of the image, with weight 1",
    "sum of stages": "at 1/4 of the image, twice the last stage's size, as in the release",
    "layers that nothing reads": "left out: a 3x3 convolution of the third map, a 1x1 convolution "
    "a task behind the first stage, the first stage's fusion of scores, a LayerNorm",
    "drop path": "none; the release drops 0.15 in the transformer",
}
"""What the paper and the release leave open, or what is done otherwise here."""


@final
class TSP(Method):
    """A transformer that runs once per task, with prompts, and a decoder that all tasks share.

    Args:
        tasks: The tasks.
        backbone: A ``models.ViT``; its grid of positions is changed.
        prompts: How many tokens a task adds in a block.
        where: The half of the blocks that prompts are added in.
        grid: Rows and columns of patches that positions are learned for.

    Raises:
        ValueError: If the backbone is no ``ViT``, or there is no such half.
    """

    learns_from_unlabeled = False

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        prompts: int = 5,
        where: Where = "deep",
        grid: tuple[int, int] = (18, 24),
    ) -> None:
        super().__init__()
        if where not in get_args(Where):
            raise ValueError(f"where: expected one of {get_args(Where)}, got {where!r}")
        self.tasks, self.backbone = tasks, fit(backbone, grid)
        width, half = backbone.channels, len(backbone.net.blocks) // 2
        self.first = half if where == "deep" else 0  # block with prompts
        self.prompts = nn.Parameter(torch.zeros(half, len(tasks), prompts, width))
        c, *sizes = (scale_channels(n, backbone.width_factor) for n in (CHANNELS, *STAGES))
        joint, conv = sizes[0], conv_norm_relu
        self.refine = nn.ModuleList(
            nn.Sequential(conv(width, width, 3), conv(width, c, 3)) for _ in tasks
        )
        self.preliminary = nn.ModuleList(nn.Conv2d(c, t.channels, 1) for t in tasks)
        self.join = nn.ModuleList(nn.Conv2d(c + t.channels, joint, 1) for t in tasks)
        self.stages = nn.ModuleList(
            JointStage(len(tasks), enters, leaves, joint, pooled)
            for enters, leaves, pooled in zip((0, *sizes[:-1]), sizes, POOLED, strict=True)
        )
        self.skips = nn.ModuleList(  # of the stages but the first
            (
                nn.Conv2d(width, sizes[1], kernel_size=3, padding=1),
                nn.ConvTranspose2d(width, sizes[2], 3, stride=2, padding=1, output_padding=1),
            )
        )
        self.heads = nn.ModuleList(conv_head(joint, t.channels, nn.ReLU()) for t in tasks)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        final, preliminary = self.predict_twice(batch.images)
        early = supervised_terms(self.tasks, preliminary, batch)
        terms = supervised_terms(self.tasks, final, batch)
        return terms | {f"{name}_preliminary": term for name, term in early.items()}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.predict_twice(images)[0]

    def predict_twice(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Images (B, 3, H, W) -> task -> (B, C, H, W): by the decoder, and before it."""
        fine, middle, last = (pad(x) for x in self.encode(images))
        grid = last.shape[2:4]
        x = each(self.refine, each(larger(0.5), last)).movedim(4, 2)
        raw = [layer(y) for layer, y in zip(self.preliminary, x, strict=True)]
        joined = zip(self.join, x, raw, strict=True)
        x = torch.stack([mix(torch.cat([y, z], dim=1)) for mix, y, z in joined]).movedim(2, 4)
        # A convolution of the mean over tasks is the mean of the convolutions.
        skips = [each(s, y.mean(0)[None]) for s, y in zip(self.skips, (middle, fine), strict=True)]
        total, scores = 0.0, None
        for i, (stage, skip) in enumerate(zip(self.stages, (None, *skips), strict=True)):
            x, scores, shown = stage(x, skip, scores)
            total = total + each(larger(2.0 ** (len(skips) + 1 - i)), shown)
        final = [head(y.movedim(3, 1)) for head, y in zip(self.heads, total, strict=True)]
        return self.show(final, images, grid), self.show(raw, images, grid)

    def encode(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps (T, B, H / 16, W / 16, C) after a quarter, half and all blocks."""
        vit, count, found = self.backbone.net, len(self.tasks), []
        x, size = embed(self.backbone, images)
        x = x.unsqueeze(0)  # (1, B, 1 + h w, C) as long as all tasks have the same
        for i, block in enumerate(vit.blocks):
            number, length = i - self.first, x.shape[2]
            if 0 <= number < len(self.prompts):
                added = self.prompts[number].unsqueeze(1).expand(-1, len(images), -1, -1)
                x = torch.cat([x.expand(count, -1, -1, -1), added], dim=2)
            x = block(x.flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, :length]
            if i in self.backbone.depths[:2]:
                found.append(x)
        found.append(vit.norm(x))
        return [y[:, :, 1:].unflatten(2, size).expand(count, -1, -1, -1, -1) for y in found]

    def show(self, raw: list[Tensor], images: Tensor, grid: torch.Size) -> dict[str, Tensor]:
        """Raw maps of a padded grid -> task -> a prediction of the size of the images."""
        size = [self.backbone.reduction * side for side in grid]
        resize, (rows, columns) = nn.Upsample(size, mode="bilinear"), images.shape[2:]
        maps = (resize(x.float())[..., :rows, :columns] for x in raw)
        return {t.name: t.activate(x) for t, x in zip(self.tasks, maps, strict=True)}


@final
class JointStage(nn.Module):
    """One size of the decoder, where the positions of all tasks attend to each other.

    Args:
        tasks: How many.
        enters: Channels of the stage before, whose map is half as large; 0 for the first stage.
        channels: Of this stage.
        leaves: Of what it adds to the tasks' features, ``channels`` for the first stage.
        pooled: So many positions along a side share a key.
    """

    def __init__(self, tasks: int, enters: int, channels: int, leaves: int, pooled: int) -> None:
        super().__init__()
        self.enlarge = self.fuse = self.leave = None
        if enters:
            convs = ((enters, channels, 3, 2), (channels, channels, 3, 2))  # dilated by 2
            self.enlarge = nn.ModuleList(
                nn.Sequential(larger(2.0), *(conv_norm_relu(*c) for c in convs))
                for _ in range(tasks)
            )
            self.fuse = nn.Conv2d(2 * HEADS, HEADS, kernel_size=1)
            self.leave = nn.ModuleList(nn.Conv2d(channels, leaves, 1) for _ in range(tasks))
        self.attend_norm, self.think_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.halve = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, 2, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
            for _ in range(tasks)
        )
        self.pool = nn.AvgPool2d(pooled, ceil_mode=True)
        self.query, self.key, self.value, self.out = (
            nn.Linear(channels, channels) for _ in range(4)
        )
        self.think = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.joint_norm = nn.LayerNorm(tasks * channels)

    def forward(
        self, x: Tensor, skip: Tensor | None, scores: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the maps of all tasks through the stage.

        Args:
            x: Of the stage before, (T, B, h / 2, w / 2, enters); for the first (T, B, h, w, C).
            skip: The transformer's map, added to every task's, (1, B, h, w, C); none for the first.
            scores: Those of the stage before; None for the first.

        Returns:
            Maps (T, B, h, w, C); scores (T, B heads, h / 2, w / 2, keys); and what the stage adds
            to the tasks' features, (T, B, h, w, leaves).
        """
        if self.enlarge:
            x = each(self.enlarge, x) + skip
        near = self.attend_norm(x)
        asked, pooled = each(self.halve, near), each(self.pool, near)
        q, k, v = (
            layer(y).transpose(0, 1).flatten(1, 3).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer, y in ((self.query, asked), (self.key, pooled), (self.value, pooled))
        )
        found = q @ k.mT * x.shape[-1] ** -0.5  # (B, heads, T h/2 w/2, keys)
        if self.fuse:
            before = each(larger(2.0), scores).movedim(1, 0).flatten(1, 3)
            found = self.fuse(torch.cat([found, before.unflatten(0, (-1, HEADS))], dim=1))
        told = self.out((found.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        grid = (len(x), *asked.shape[2:4])
        x = x + each(larger(2.0), told.unflatten(1, grid).movedim(1, 0))
        x = x + self.think(self.think_norm(x))
        joint = self.joint_norm(x.movedim(0, 3).flatten(3))  # (B, h, w, T C)
        shown = joint.unflatten(3, (len(x), -1)).movedim(3, 0)
        shown = each(self.leave, shown) if self.leave else shown
        return x, found.flatten(0, 1).unflatten(1, grid).movedim(1, 0), shown


def each(layers: Callable[[Tensor], Tensor] | nn.ModuleList, maps: Tensor) -> Tensor:
    """Each task's layer, or one for all, on maps (T, B, h, w, C) -> (T, B, h', w', C')."""
    layers = layers if isinstance(layers, nn.ModuleList) else repeat(layers, len(maps))
    pairs = zip(layers, maps, strict=True)
    return torch.stack([layer(x.movedim(3, 1)).movedim(1, 3) for layer, x in pairs])


def larger(factor: float) -> nn.Upsample:
    """Makes a map (B, C, h, w) so many times as large along a side, bilinearly."""
    return nn.Upsample(scale_factor=factor, mode="bilinear")


def pad(maps: Tensor) -> Tensor:
    """(T, B, h, w, C) with the last row and column repeated until both are multiples of 4."""
    rows, columns = (-side % MULTIPLE for side in maps.shape[2:4])
    return each(nn.ReplicationPad2d((0, columns, 0, rows)), maps)
