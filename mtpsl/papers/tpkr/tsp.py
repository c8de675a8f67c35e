"""TSP-Transformer, in our own compact reading [TPKR, Table 5].

Shuo Wang, Jing Li, Zibo Zhao, Dongze Lian, Binbin Huang, Xiaomei Wang, Zhengxin Li, Shenghua Gao.
TSP-Transformer: Task-Specific Prompts Boosted Transformer for Holistic Scene Understanding. WACV
2024. arXiv:2311.03427

The transformer runs once a task, with prompts of that task in half of its blocks. What comes out is
decoded jointly, as InvPT does [Ye and Xu, ECCV 2022, arXiv:2203.07997]: at three sizes, each twice
the one before, the positions of all tasks attend to each other, and each size hands its attention
scores to the next.
"""

from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone
from mtpsl.models.backbone import conv_norm_relu, scale_channels
from mtpsl.papers.tpkr.prompts import embed, fit
from mtpsl.tasks import TaskSet

Where = Literal["deep", "shallow"]

HEADS = 2  # of the joint attention
CHANNELS = 512  # of what a preliminary prediction is made of
STAGES = (576, 288, 144)  # channels of the decoder's stages
POOLED = (2, 4, 8)  # positions along a side that share a key
MULTIPLE = 4  # of what the decoder's sides, in patches, must be

CHOICES: dict[str, str] = {
    "prompts": "five a task and block; in the second half of the blocks, as the release does on "
    "NYUD-v2; where='shallow' is the first half, as on PASCAL-Context",
    "passes of a task": "blocks before the first prompt see the same for all tasks and run once",
    "grid": "the release fails where rows or columns of patches are no multiple of 4, as the 18 of "
    "288 pixels; here maps are padded by their last row or column, and predictions are cropped",
    "number of tasks": "any; the release knows four or five",
    "preliminary predictions": "at 1/32 of the image, with weight 1, terms '<task>_preliminary'",
    "sum of stages": "at 1/4 of the image, twice the last stage's size, as in the release",
    "layers that nothing reads": "left out: a 3x3 convolution of the third map, a 1x1 convolution a "
    "task behind the first stage, the first stage's fusion of scores, a LayerNorm",
    "drop path": "none; the release drops 0.15 in the transformer",
}
"""What the paper and the release leave open, or what is done otherwise here."""


@final
class TSP(Method):
    """A transformer that runs once a task, with prompts, and a decoder that all tasks share.

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
        channels = scale_channels(CHANNELS, backbone.width_factor)
        sizes = [scale_channels(n, backbone.width_factor) for n in STAGES]
        self.prepare_maps, self.preliminary, self.join, self.finish, self.heads = (
            nn.ModuleDict({t.name: make(t.channels) for t in tasks})
            for make in (
                lambda _: nn.Sequential(
                    conv_norm_relu(width, width, 3), conv_norm_relu(width, channels, 3)
                ),
                lambda out: nn.Conv2d(channels, out, kernel_size=1),
                lambda out: nn.Conv2d(channels + out, sizes[0], kernel_size=1),
                lambda _: nn.Sequential(
                    nn.Conv2d(sizes[0], sizes[0], 3, padding=1), nn.BatchNorm2d(sizes[0]), nn.ReLU()
                ),
                lambda out: nn.Conv2d(sizes[0], out, kernel_size=1),
            )
        )
        self.stages = nn.ModuleList(
            JointStage(len(tasks), enters, leaves, sizes[0], pooled)
            for enters, leaves, pooled in zip((None, *sizes), sizes, POOLED, strict=False)
        )
        self.skips = nn.ModuleList(  # of the last two stages
            (
                nn.Conv2d(width, sizes[1], kernel_size=3, padding=1),
                nn.ConvTranspose2d(width, sizes[2], 3, stride=2, padding=1, output_padding=1),
            )
        )

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        final, preliminary = self.predict_twice(batch.images)
        early = supervised_terms(self.tasks, preliminary, batch)
        terms = supervised_terms(self.tasks, final, batch)
        return terms | {f"{name}_preliminary": term for name, term in early.items()}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.predict_twice(images)[0]

    def predict_twice(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Images (B, 3, H, W) -> task -> (B, C, H, W), by the decoder, and before it."""
        fine, middle, last = (pad(x) for x in self.encode(images))  # (T, B, C, h, w)
        half = [F.interpolate(x, scale_factor=0.5, mode="bilinear") for x in last]
        maps = {t.name: self.prepare_maps[t.name](x) for t, x in zip(self.tasks, half, strict=True)}
        raw = {name: self.preliminary[name](x) for name, x in maps.items()}
        joined = [self.join[name](torch.cat([x, raw[name]], dim=1)) for name, x in maps.items()]
        x, scores = torch.stack(joined), None
        grid = last.shape[3:]
        size = tuple(4 * side for side in grid)
        total = 0.0
        # A convolution of the mean over tasks is the mean of the convolutions.
        skips = [None, self.skips[0](middle.mean(0)), self.skips[1](fine.mean(0))]
        for stage, skip in zip(self.stages, skips, strict=True):
            x, scores, shown = stage(x, skip, scores)
            total = total + F.interpolate(
                shown.flatten(0, 1), size, mode="bilinear", align_corners=False
            )
        features = total.unflatten(0, x.shape[:2])
        final = {
            t.name: self.heads[t.name](self.finish[t.name](y))
            for t, y in zip(self.tasks, features, strict=True)
        }
        return self.show(final, images, grid), self.show(raw, images, grid)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Maps of each task after a quarter of the blocks, half of them, and all.

        Args:
            images: (B, 3, H, W).

        Returns:
            Three of shape (T, B, C, H / 16, W / 16).
        """
        vit, count = self.backbone.net, len(self.tasks)
        x, size = embed(self.backbone, images)
        x = x.unsqueeze(0)  # (1, B, n, C) as long as all tasks have the same
        found = []
        for i, block in enumerate(vit.blocks):
            number, tokens = i - self.first, x.shape[2]
            if 0 <= number < len(self.prompts):
                x = x.expand(count, -1, -1, -1)
                added = self.prompts[number].unsqueeze(1).expand(-1, len(images), -1, -1)
                x = torch.cat([x, added], dim=2)
            x = block(x.flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, :tokens]
            if i in self.backbone.depths:
                found.append(x)
        fine, middle, _, _ = found
        return [
            y[:, :, 1:].mT.unflatten(3, size).expand(count, -1, -1, -1, -1)
            for y in (fine, middle, vit.norm(x))
        ]

    def show(self, raw: dict[str, Tensor], images: Tensor, grid: torch.Size) -> dict[str, Tensor]:
        """Raw maps of a padded grid -> predictions of the size of the images."""
        rows, columns = images.shape[2:]
        size = [self.backbone.reduction * side for side in grid]
        larger = {
            name: F.interpolate(x.float(), size, mode="bilinear", align_corners=False)
            for name, x in raw.items()
        }
        return {t.name: t.activate(larger[t.name][..., :rows, :columns]) for t in self.tasks}


@final
class JointStage(nn.Module):
    """One size of the decoder, where the positions of all tasks attend to each other.

    Args:
        tasks: How many.
        enters: Channels of the map of the stage before, which is half as large; None for the first.
        channels: Of this stage.
        leaves: Of what it adds to the tasks' features.
        pooled: So many positions along a side share a key.
    """

    def __init__(
        self, tasks: int, enters: int | None, channels: int, leaves: int, pooled: int
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.enlarge = self.fuse = self.leave = None
        if enters:
            self.enlarge = nn.ModuleList(enlarge(enters, channels) for _ in range(tasks))
            self.fuse = nn.Conv2d(2 * HEADS, HEADS, kernel_size=1)
            self.leave = nn.ModuleList(nn.Conv2d(channels, leaves, 1) for _ in range(tasks))
        self.attend_norm, self.think_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.ask = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, 2, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
            for _ in range(tasks)
        )
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
            x: Of the stage before, (T, B, enters, h / 2, w / 2); for the first (T, B, C, h, w).
            skip: A map of the transformer that is added to every task's, (B, C, h, w).
            scores: Of the stage before, (B, heads, T, queries, h / 4, w / 4 and keys) as this
                returns them; None for the first.

        Returns:
            Maps (T, B, C, h, w); scores (B, heads, T, h / 2, w / 2, keys); and what the stage adds
            to the tasks' features, (T, B, leaves, h, w).
        """
        if self.enlarge:
            x = each(self.enlarge, x) + skip
        y = by_channel(self.attend_norm, x)
        q = each(self.ask, y)
        grid = q.shape[3:]
        pooled = F.avg_pool2d(y.flatten(0, 1), self.pooled, ceil_mode=True).unflatten(
            0, y.shape[:2]
        )
        q, k, v = (
            layer(tokens(z)).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer, z in ((self.query, q), (self.key, pooled), (self.value, pooled))
        )
        found = q @ k.mT * x.shape[2] ** -0.5  # (B, heads, T h/2 w/2, keys)
        if self.fuse:
            found = self.fuse(torch.cat([found, double(scores)], dim=1))
        attended = self.out((found.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        attended = attended.mT.unflatten(2, (len(x), *grid)).permute(2, 0, 1, 3, 4)
        larger = F.interpolate(
            attended.flatten(0, 1), x.shape[3:], mode="bilinear", align_corners=False
        )
        x = x + larger.unflatten(0, x.shape[:2])
        x = x + by_channel(lambda z: self.think(self.think_norm(z)), x)
        joint = by_channel(self.joint_norm, x.transpose(0, 1).flatten(1, 2))  # (B, T C, h, w)
        shown = joint.unflatten(1, (len(x), -1)).transpose(0, 1)
        shown = each(self.leave, shown) if self.leave else shown
        return x, found.unflatten(2, (len(x), *grid)), shown


def each(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Each task's own layer on its map: (T, B, C, h, w) -> (T, B, C', h', w')."""
    return torch.stack([layer(y) for layer, y in zip(layers, x, strict=True)])


def by_channel(layer, x: Tensor) -> Tensor:
    """A layer of vectors on maps, whose channels stand before height and width."""
    return layer(x.movedim(-3, -1)).movedim(-1, -3)


def tokens(x: Tensor) -> Tensor:
    """(T, B, C, h, w) -> (B, T h w, C), task after task."""
    return x.permute(1, 0, 3, 4, 2).flatten(1, 3)


def double(scores: Tensor) -> Tensor:
    """Scores (B, heads, T, h, w, keys) -> (B, heads, T 2h 2w, keys), bilinearly among queries."""
    maps = scores.flatten(0, 2).movedim(-1, 1)  # (B heads T, keys, h, w)
    larger = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    return larger.movedim(1, -1).unflatten(0, scores.shape[:3]).flatten(2, 4)


def pad(maps: Tensor) -> Tensor:
    """(T, B, C, h, w) with the last row and column repeated until both are multiples of 4."""
    rows, columns = (-side % MULTIPLE for side in maps.shape[3:])
    padded = F.pad(maps.flatten(0, 1), (0, columns, 0, rows), mode="replicate")
    return padded.unflatten(0, maps.shape[:2])


def enlarge(enters: int, leaves: int) -> nn.Sequential:
    """Twice as large, then two dilated 3x3 convolutions with BatchNorm and ReLU."""
    larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(
        larger, conv_norm_relu(enters, leaves, 3, 2), conv_norm_relu(leaves, leaves, 3, 2)
    )
