"""DiffusionMTL, the strongest baseline: what a network says of its tasks is noised and denoised.

Hanrong Ye, Dan Xu. DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially
Annotated Data. CVPR 2024. arXiv:2403.15389

This is our own reading. Each task has a decoder and a preliminary map. All these maps together are
the condition under which a denoiser cleans the task's features, or the preliminary map itself; only
code for the features was released. It denoises image by image and task by task. Here all of them go
through the denoiser together, which changes no result, since the denoiser has no BatchNorm.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone
from mtpsl.models.backbone import scale_channels, to_size
from mtpsl.models.fused import residual_decoder
from mtpsl.papers.tpkr.codebook import require_one_of
from mtpsl.papers.tpkr.retrieval import split_heads
from mtpsl.tasks import TaskSet

Variant = Literal["feature", "prediction"]
Maps = dict[str, Tensor]  # task -> (n, C, h, w); n may differ between tasks

WIDTH, SINUSOIDS, HEADS, MLP_RATIO = 512, 256, 4, 4  # the first two scale with the backbone
PERIOD = 10_000  # the longest of the sinusoids, over 2 pi, in steps

CHOICES: dict[str, str] = {
    "what is denoised": "variant='feature', the task's features; 'prediction', its preliminary map "
    "before it is activated (class logits, depth, normals of any length)",
    "prediction variant": "the same network: its first convolution reads a map, the last one makes "
    "one at every step; noise and posterior are those of maps",
    "condition": "preliminary maps, not activated, at the features' size, through one 3x3 "
    "convolution; detach_condition=True, as released",
    "x": "detach_start=False: a task's decoder learns through the denoiser",
    "schedule": "steps=2, square roots of beta evenly between those of betas=(0.001, 0.01), as "
    "released; training and evaluation walk through all steps, the gradient too",
    "noise": "noise=1 times that of the schedule; with 0 there is nothing to remove: one pass of "
    "the denoiser over x itself",
    "whose noise": "in training it depends on the step, the image's number and the task. predict() "
    "sees no number, so there it depends on the image's pixels and the task, and a prediction does "
    "not change from call to call or batch to batch; the release draws afresh",
    "tokens": "condition and x on a grid reduce=4 times smaller, bilinearly, and back likewise; "
    "images below 128 pixels, whose grid would have a few cells, keep theirs, reduce=1",
    "blocks": "blocks=4, shared by tasks and steps; 4 heads, MLPs four times as wide, norms first. "
    "The MLP of a task's tokens comes before the attention, or nothing would read the last one; "
    "the queries are handed on",
    "preliminary loss": "weight=0.5, the same losses and weights as for the final maps",
    "task decoder": "two residual blocks and a 1x1 convolution, those of the multi-task baseline",
}
"""What is open, or released and disputable -> what is done here, and the arguments."""


@final
class Schedule:
    """How much noise each step has, and what is left after it; lists with a number per step.

    Args:
        steps: How many.
        betas: The first and the last variance that a step adds; square roots are evenly spaced.
    """

    def __init__(self, steps: int, betas: tuple[float, float]) -> None:
        first, last = (math.sqrt(beta) for beta in betas)
        beta = torch.linspace(first, last, steps, dtype=torch.float64, device="cpu").square()
        clean = (1 - beta).cumprod(0)  # the share of the signal in the variance
        before = torch.cat([clean.new_ones(1), clean[:-1]])
        self.betas = beta.tolist()
        self.signal, self.noise = clean.sqrt().tolist(), (1 - clean).sqrt().tolist()
        # The posterior of the step before, given x and an estimate of what is clean.
        self.mean_clean = (beta * before.sqrt() / (1 - clean)).tolist()
        self.mean_noisy = ((1 - before) * (1 - beta).sqrt() / (1 - clean)).tolist()
        self.deviation = (beta * (1 - before) / (1 - clean)).sqrt().tolist()


@final
class ImageNoise:
    """Standard normal noise, a function of an image's seed, the task and the step.

    Args:
        seeds: One for each image of a batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds

    @classmethod
    def of_step(cls, index: Tensor) -> "ImageNoise":
        """That of a training step; torch's global generator decides, with the images' numbers."""
        step = int(torch.randint(2**62, ()))
        return cls([hash((step, number)) for number in index.tolist()])

    @classmethod
    def of_pixels(cls, images: Tensor) -> "ImageNoise":
        """That of images (B, 3, H, W) in [0, 1], a checksum of their pixels in 8 bits."""
        if images.is_meta:
            return cls(range(len(images)))
        pixels = (255 * images.detach()).round().clamp(0, 255).byte().cpu()
        return cls([zlib.crc32(image.numpy().tobytes()) for image in pixels])

    def draw(self, rows: Sequence[int], task: int, step: int, like: Tensor) -> Tensor:
        """Noise like (n, C, h, w), whose images are those rows of the batch."""
        device = "cpu" if like.is_meta else like.device
        noise = torch.empty(like.shape, device=device)
        for row, out in zip(rows, noise, strict=True):
            seed = hash((self.seeds[row], task, step)) & (2**63 - 1)
            out.normal_(generator=torch.Generator(device).manual_seed(seed))
        return noise.to(like)


@final
class CrossBlock(nn.Module):
    """Tokens of the condition ask those of a task; both are vectors of that width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.query_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_mlp, self.token_mlp = normed_mlp(width), normed_mlp(width)

    def forward(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, n, width) of the condition and of the task -> both, changed."""
        tokens = tokens + self.token_mlp(tokens)
        asked, told = self.query_norm(queries), self.token_norm(tokens)
        q, k, v = (
            split_heads(layer(x), HEADS)
            for layer, x in ((self.query, asked), (self.key, told), (self.value, told))
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        queries = queries + self.out(attended)
        return queries + self.query_mlp(queries), tokens


@final
class Denoiser(nn.Module):
    """Cleans the maps of all tasks at once: each task has ends of its own, all share the blocks.

    Args:
        enters: task -> channels of its noisy map.
        leaves: Channels of the clean features.
        width_factor, blocks, reduce: As of ``DiffusionMTL``.
    """

    def __init__(
        self, enters: Mapping[str, int], leaves: int, width_factor: float, blocks: int, reduce: int
    ) -> None:
        super().__init__()
        self.reduce = reduce
        width, waves = (scale_channels(n, width_factor) for n in (WIDTH, SINUSOIDS))
        self.pre = nn.ModuleDict({t: nn.Conv2d(c, width, 3, padding=1) for t, c in enters.items()})
        self.time = nn.Sequential(nn.Linear(waves, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(CrossBlock(width) for _ in range(blocks))
        self.heads = nn.ModuleDict({t: task_head(width, leaves) for t in enters})

    def forward(self, noisy: Maps, condition: Tensor, step: int) -> Maps:
        """Estimates what is clean: task -> (n, C, h, w) to task -> (n, leaves, h, w).

        Args:
            noisy: The maps, after the noise of that step.
            condition: (N, width, h, w), of the images of all tasks, one task after the other.
            step: Of the schedule, from 0 on.
        """
        maps = [self.pre[task](x) for task, x in noisy.items()]
        entered = torch.cat(maps) + self.time(self.embed(step, condition)).view(1, -1, 1, 1)
        grid = entered.shape[2:]
        small = tuple(math.ceil(side / self.reduce) for side in grid)
        queries, tokens = (resize(x, small).flatten(2).mT for x in (condition, entered))
        for block in self.blocks:
            queries, tokens = block(queries, tokens)
        cleaned = resize(queries.mT.unflatten(2, small), grid) + entered
        parts = cleaned.split([len(x) for x in noisy.values()])
        return {task: self.heads[task](x) for task, x in zip(noisy, parts, strict=True)}

    def embed(self, step: int, like: Tensor) -> Tensor:
        """The cosines and sines of the step that ``self.time`` reads."""
        half = self.time[0].in_features // 2
        places = torch.arange(half, device=like.device, dtype=torch.float32)
        angles = step * PERIOD ** (-places / half)
        return torch.cat([angles.cos(), angles.sin()])


@final
class DiffusionMTL(Method):
    """A multi-task network whose outputs are denoised under the condition of all tasks' outputs.

    Only what is labeled is denoised in training. Widths are those of the released network, which
    has 94,531,170 parameters with three tasks, and scale with the backbone's ``width_factor``.

    Args:
        tasks: The tasks.
        backbone: The tasks' decoders read its heads' map.
        variant: What is denoised, the features or the preliminary maps of the tasks.
        steps, betas: Of the ``Schedule``.
        noise: Multiplies all noise; 0 makes it one pass over what is not noisy.
        weight: Of the preliminary maps' losses.
        blocks: Of the denoiser.
        reduce: Side of the maps over that of the denoiser's grid of tokens.
        detach_condition: Do not teach the preliminary maps to be a better condition.
        detach_start: Do not teach what is noised to be easier to denoise.

    Raises:
        ValueError: If the variant is unknown, there is no step, or noise is negative.
    """

    learns_from_unlabeled = False
    small_images: ClassVar[Mapping[str, Any]] = {"reduce": 1}  # not 2 x 3 tokens for an image

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        variant: Variant = "feature",
        steps: int = 2,
        betas: tuple[float, float] = (1e-3, 1e-2),
        noise: float = 1.0,
        weight: float = 0.5,
        blocks: int = 4,
        reduce: int = 4,
        detach_condition: bool = True,
        detach_start: bool = False,
    ) -> None:
        super().__init__()
        require_one_of("variant", variant, Variant)
        if steps < 1 or noise < 0:
            raise ValueError(f"steps, noise: expected at least 1 and 0, got {steps} and {noise}")
        self.tasks, self.backbone, self.variant = tasks, backbone, variant
        self.noise, self.weight = noise, weight
        self.detach_condition, self.detach_start = detach_condition, detach_start
        self.schedule = Schedule(steps, betas) if noise else Schedule(1, (0.0, 0.0))
        factor, c = getattr(backbone, "width_factor", 1.0), backbone.channels
        self.decoders = nn.ModuleDict({t.name: residual_decoder(c) for t in tasks})
        self.preliminary = nn.ModuleDict({t.name: nn.Conv2d(c, t.channels, 1) for t in tasks})
        width, every = scale_channels(WIDTH, factor), sum(t.channels for t in tasks)
        self.condition = nn.Conv2d(every, width, 3, padding=1)
        enters = {t.name: c if variant == "feature" else t.channels for t in tasks}
        self.denoiser = Denoiser(enters, c, factor, blocks, reduce)
        self.final = nn.ModuleDict({t.name: nn.Conv2d(c, t.channels, 1) for t in tasks})

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        features, maps = self.look(batch.images)
        rows = {t: labeled.nonzero().flatten().tolist() for t, labeled in batch.labeled.items()}
        refined = self.refine(features, maps, rows, ImageNoise.of_step(batch.index))
        for t, x in refined.items():  # the other rows have no label: no loss looks at them
            index = torch.tensor(rows[t], dtype=torch.int64, device=x.device)
            refined[t] = maps[t].detach().index_copy(0, index, x)
        terms = supervised_terms(self.tasks, self.finish(refined, batch.images), batch)
        first = supervised_terms(self.tasks, self.finish(maps, batch.images), batch)
        return terms | {"preliminary": self.weight * torch.stack(list(first.values())).sum()}

    def look(self, images: Tensor) -> tuple[Maps, Maps]:
        """(B, 3, H, W) in [0, 1] -> the tasks' features and preliminary maps, at their size."""
        encoded = self.backbone(images).decoder
        features = {t: decode(encoded) for t, decode in self.decoders.items()}
        return features, {t: head(features[t]) for t, head in self.preliminary.items()}

    def refine(
        self, features: Maps, maps: Maps, rows: Mapping[str, Sequence[int]], noise: ImageNoise
    ) -> Maps:
        """Noises and denoises some of the images for each task.

        Args:
            features: task -> (B, c, h, w), as of ``look``.
            maps: task -> (B, C, h, w), preliminary.
            rows: task -> n numbers of images in the batch, for whom it is done; may be none.
            noise: Of the batch.

        Returns:
            task -> (n, C, h, w), before ``Task.activate``.
        """
        joined = torch.cat([maps[t] for t in self.tasks.names], dim=1)
        condition = self.condition(joined.detach() if self.detach_condition else joined)
        condition = condition[[row for t in self.tasks.names for row in rows[t]]]
        start = features if self.variant == "feature" else maps
        schedule, last = self.schedule, len(self.schedule.betas) - 1

        def noised(x: Maps, deviation: float, step: int) -> Maps:
            drawn = {t: noise.draw(rows[t], i, step, y) for i, (t, y) in enumerate(x.items())}
            return {t: y + self.noise * deviation * drawn[t] for t, y in x.items()}

        x = {t: schedule.signal[last] * start[t][list(rows[t])] for t in self.tasks.names}
        x = {t: y.detach() for t, y in x.items()} if self.detach_start else x
        x = noised(x, schedule.noise[last], last + 1)
        for step in range(last, -1, -1):
            clean = self.denoiser(x, condition, step)
            if self.variant == "prediction" or step == 0:
                clean = {t: self.final[t](y) for t, y in clean.items()}
            if step:
                a, b = schedule.mean_clean[step], schedule.mean_noisy[step]
                mean = {t: a * clean[t] + b * y for t, y in x.items()}
                x = noised(mean, schedule.deviation[step], step)
        return clean

    def finish(self, maps: Maps, images: Tensor) -> Maps:
        """Raw maps of any size -> predictions (B, C, H, W) that losses and metrics accept."""
        return {t.name: t.activate(to_size(maps[t.name], images)) for t in self.tasks}

    def predict(self, images: Tensor) -> Maps:
        rows = dict.fromkeys(self.tasks.names, range(len(images)))
        noise = ImageNoise.of_pixels(images)
        return self.finish(self.refine(*self.look(images), rows, noise), images)


def task_head(width: int, leaves: int) -> nn.Sequential:
    """1x1, then three times 3x3 and ReLU: (n, width, h, w) -> (n, leaves, h, w)."""
    layers: list[nn.Module] = [nn.Conv2d(width, width, 1)]
    for out in (width, width, leaves):
        layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def normed_mlp(width: int) -> nn.Sequential:
    """LayerNorm and a GELU network of two layers: (..., width) -> (..., width)."""
    layers = nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width)
    return nn.Sequential(nn.LayerNorm(width), *layers)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size), bilinearly."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
