"""TPKR, task prototype-based knowledge retrieval: the network and how it learns [TPKR].

Youngmin Oh, Hyung-Il Kim, Jung Uk Kim. Task Prototype-Based Knowledge Retrieval for Multi-Task
Learning from Partially Annotated Data. AAAI 2026. arXiv:2601.07474

There is no public code. Symbols of the paper: f^e are the backbone's features, f^q their nearest
codes and f^i the sum; f^t are the features of task t and f^^t their projection to the length of a
slot; A is the affinity with the slots V, f^ta = A V, and f^tr what the transformer makes of f^t.
All widths are those of the published network and scale with the backbone's ``width_factor``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import Backbone
from mtpsl.models.backbone import scale_channels, to_size
from mtpsl.models.fused import residual_decoder
from mtpsl.papers.tpkr.codebook import (
    CODES,
    Codebook,
    Reconstruction,
    Start,
    Target,
    Update,
    require_one_of,
)
from mtpsl.papers.tpkr.loss import DIMENSION, TaskPrototypes
from mtpsl.papers.tpkr.retrieval import RetrievalBlock, Retrieve
from mtpsl.registry import look_up, with_options_of
from mtpsl.tasks import TaskSet

Codes = Literal[Update, "none"]
Inner = Literal["decoder", "projected"]
Affinity = Literal["learned", "one_hot", "uniform"]

WIDTH, HEADS, OUT = 512, 8, 1024
POSITIONS = 16  # a side of the learned map of position codes

CHOICES: dict[str, str] = {
    "c": "the channels of the backbone's map, 512 (backbone_args={'channels': ...})",
    "gradient of Eq. 1": "codes='gather': the chosen codes learn from what follows, f^e through "
    "the sum; 'straight_through', 'ema' and 'none' besides",
    "start of the codes": "normal noise of variance 1 / c; code_start='tokens' takes features",
    "K": "4,096 (paper), at any width",
    "L_tae": "three 3x3 convolutions, 256 and 64 channels between them, at 1/8 of the image; then "
    "bilinear; the image in [0, 1], target='normalized' by ImageNet; a mean over pixels, and over "
    "images where Eq. 10 sums",
    "task decoder": "two residual blocks, so that TPKR without its parts is the multi-task "
    "baseline; decoder='plain' is two 3x3 convolutions with ReLU, as the text says",
    "f^^t": "a 1x1 convolution per task; shared_projection=True is one for all",
    "d": "1,024 (Table 4), scaled with the backbone",
    "pixels of L_tke": "all of the labeled (image, task) pairs, a mean; tke_on='all' takes every "
    "image, since the task's number is the only label it needs",
    "temperature": "1, as printed; the affinity is then at most 0.69 with three tasks, 0.47 with "
    "five",
    "x~": "a mean over the labeled images of the batch at each position, with gradient; none, no "
    "term. anchors='all', stop_anchor=True",
    "S of Eq. 5": "cosines of positions, averaged; compare='map' flattens",
    "sums of Eq. 4, 5": "means over images, tasks and ordered pairs; reduction='sum' as printed",
    "alpha": "0.5",
    "sign of Eq. 5": "that of the text; tc_sign='printed' teaches the opposite, 'none' leaves it "
    "out",
    "lambda": "weight_tae = weight = 1",
    "transformer": "512 wide, 8 heads, 2 blocks shared by the tasks, norms first, residuals, GELU "
    "FFN of twice the width, no dropout, no position code (position=True: learned)",
    "f^^t or f^t in Eq. 8": "f^t, keys and values from V; inner='projected' runs the sequence at "
    "the length of a slot",
    "keys of Eq. 9": "f^ta of every position; retrieve='slots' takes the T slots, 'none' leaves "
    "retrieval out",
    "large grids": "reduce=2 averages keys and values of the self-attention over 2 x 2 positions",
    "f^tr": "1,024 channels (paper), then the head, a 1x1 convolution",
    "without a transformer": "blocks=0: heads read f^t, and there are no prototypes [Table 3]",
    "A of a control": "affinity='one_hot' or 'uniform' in place of the learned one: the same key "
    "everywhere; frozen=True leaves V at random",
}
"""What the paper leaves open -> what is done here, and the arguments that do otherwise."""


@dataclass(frozen=True)
class Traced:
    """What the network computes on its way, [TPKR, Fig. 2, 3]."""

    encoded: Tensor  # f^e, (B, c, h, w)
    codes: Tensor  # (B, h, w) int64, which code is nearest; -1 without a codebook
    code_loss: Tensor  # () what the codes ask for
    latent: Tensor  # f^i, (B, c, h, w)
    decoded: dict[str, Tensor]  # task -> f^t, (B, c, h, w)
    projected: dict[str, Tensor]  # task -> f^^t, (B, h w, d); empty where nothing asks for it
    similarity: dict[str, Tensor]  # task -> S, (B, h w, T); empty without prototypes
    affinity: dict[str, Tensor]  # task -> A, (B, h w, T); likewise
    retrieved: dict[str, Tensor]  # task -> f^tr, (B, C, h, w); f^t without a transformer
    predictions: dict[str, Tensor]  # task -> (B, task.channels, H, W), after ``Task.activate``


@final
@with_options_of(TaskPrototypes)
class TPKR(Method):
    """One network whose tasks ask the prototypes of all tasks for what they know [TPKR, Eq. 10].

    Args:
        tasks: The tasks.
        backbone: The heads' map is f^e; attention is among its positions, so it should be small.
        codes: How codes learn (``codebook.UPDATES``), or ``"none"``: no codebook, f^i = f^e.
        code_count: K.
        code_start: Codes begin as noise, or as tokens of the first batch.
        target: What is rebuilt; see ``codebook.Reconstruction``.
        weight_tae: lambda_1; 0 leaves the reconstruction out.
        decoder: A key of ``DECODERS``.
        shared_projection: One projection to f^^t for all tasks.
        dimension: d, before it is scaled.
        blocks: Of the transformer; 0: none, and no prototypes.
        inner: Sequence of the transformer: f^t, or f^^t.
        retrieve: What keys and values are made of.
        affinity: A as learned; or without looking, all of it the task's own, or even.
        reduce: Keys and values of the self-attention are means over so many positions a side.
        position: Adds a learned position code to the sequence.
        **options: Those of ``TaskPrototypes``; its ``weight`` is lambda_2.

    Raises:
        ValueError: If an option is unknown.
    """

    def __init__(
        self,
        tasks: TaskSet,
        backbone: Backbone,
        *,
        codes: Codes = "gather",
        code_count: int = CODES,
        code_start: Start = "normal",
        target: Target = "unit",
        weight_tae: float = 1.0,
        decoder: str = "residual",
        shared_projection: bool = False,
        dimension: int = DIMENSION,
        blocks: int = 2,
        inner: Inner = "decoder",
        retrieve: Retrieve = "affinity",
        affinity: Affinity = "learned",
        reduce: int = 1,
        position: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("inner", inner, Inner),
            ("retrieve", retrieve, Retrieve),
            ("affinity", affinity, Affinity),
        ):
            require_one_of(name, value, choices)
        self.tasks, self.backbone = tasks, backbone
        self.inner, self.fixed, self.weight_tae = inner, affinity, weight_tae
        factor, c = getattr(backbone, "width_factor", 1.0), backbone.channels
        self.codebook = self.reconstruction = None
        if codes != "none":
            self.codebook = Codebook(c, code_count, update=codes, start=code_start)
        if weight_tae:
            self.reconstruction = Reconstruction(c, target, factor)
        decode = look_up("decoder", decoder, DECODERS)
        self.decoders = nn.ModuleDict({t.name: decode(c) for t in tasks})
        self.prototypes = self.projections = self.blocks = self.place = None
        d, inside, width = (scale_channels(n, factor) for n in (dimension, WIDTH, OUT))
        if blocks and (retrieve != "none" or inner == "projected"):
            count = 1 if shared_projection else len(tasks)
            self.projections = nn.ModuleList(nn.Conv2d(c, d, 1) for _ in range(count))
        if blocks and retrieve != "none":
            self.prototypes = TaskPrototypes(tasks, d, **options)
        if blocks:
            sequence = c if inner == "decoder" else d
            self.blocks = nn.ModuleList(
                RetrievalBlock(sequence, d, inside, HEADS, retrieve, reduce) for _ in range(blocks)
            )
            self.out = nn.Linear(sequence, width)
            if position:
                self.place = nn.Parameter(torch.zeros(1, sequence, POSITIONS, POSITIONS))
        enters = width if blocks else c
        self.heads = nn.ModuleDict({t.name: nn.Conv2d(enters, t.channels, 1) for t in tasks})
        self.readings: dict[str, Tensor] = {}

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        trace = self.trace(batch.images)
        terms = supervised_terms(self.tasks, trace.predictions, batch)
        self.readings = dict(self.codebook.readings) if self.codebook else {}
        if self.codebook and self.codebook.update != "gather":
            terms["codes"] = trace.code_loss
        if self.reconstruction:
            terms["tae"] = self.weight_tae * self.reconstruction(trace.latent, batch.images)
            if self.codebook:
                with torch.no_grad():
                    other = trace.encoded + self.codebook.others(trace.codes)
                    self.readings["tae_other_codes"] = self.reconstruction(other, batch.images)
        if self.prototypes:
            terms |= self.prototypes(trace.projected, batch)
            self.readings |= read_affinity(trace.affinity)
        return terms  # their sum is Eq. (10)

    def trace(self, images: Tensor) -> Traced:
        """Every quantity of the paper for images (B, 3, H, W) in [0, 1]."""
        encoded = latent = self.backbone(images).decoder
        size = encoded.shape[2:]
        number, code_loss = encoded.new_full((len(images), *size), -1).long(), encoded.new_zeros(())
        if self.codebook:
            found, code_loss, number = self.codebook(encoded)
            latent = encoded + found  # Eq. (1)
        decoded = {t: decode(latent) for t, decode in self.decoders.items()}
        projected, similarity, affinity, retrieved = {}, {}, {}, decoded
        if self.projections:
            pairs = zip(decoded.items(), cycle(self.projections))  # noqa: B905
            projected = {t: rows(project(x)) for (t, x), project in pairs}
        if self.prototypes:
            similarity = {t: self.prototypes.similarity(x) for t, x in projected.items()}
            affinity = {t: self.fix(t, self.prototypes.affinity(s)) for t, s in similarity.items()}
        if self.blocks:
            sequence = projected
            if self.inner == "decoder":
                sequence = {t: rows(x) for t, x in decoded.items()}
            retrieved = self.retrieve(sequence, affinity, size)
        predictions = {
            t.name: t.activate(to_size(self.heads[t.name](retrieved[t.name]), images))
            for t in self.tasks
        }
        return Traced(
            encoded, number, code_loss, latent, decoded, projected, similarity, affinity,
            retrieved, predictions,
        )  # fmt: skip

    def fix(self, task: str, affinity: Tensor) -> Tensor:
        """The affinity (..., T) that is retrieved with: learned, or that of a control."""
        if self.fixed == "learned":
            return affinity
        if self.fixed == "uniform":
            return torch.full_like(affinity, 1 / len(self.tasks))
        own = torch.zeros_like(affinity)
        own[..., self.tasks.names.index(task)] = 1
        return own

    def retrieve(
        self, sequence: Mapping[str, Tensor], affinity: Mapping[str, Tensor], size: torch.Size
    ) -> dict[str, Tensor]:
        """f^tr of all tasks, which go through the transformer as one batch.

        Args:
            sequence: task -> (B, h w, channels).
            affinity: task -> A, (B, h w, T); empty without prototypes.
            size: h, w.

        Returns:
            task -> (B, C, h, w).
        """
        x = torch.cat(list(sequence.values()))
        slots = mixed = None
        if self.prototypes:
            slots, mixed = self.prototypes.slots, torch.cat(list(affinity.values()))
        if self.place is not None:
            place = F.interpolate(self.place, size, mode="bilinear", align_corners=False)
            x = x + rows(place)
        for block in self.blocks:
            x = block(x, tuple(size), mixed, slots)
        maps = self.out(x).mT.unflatten(2, size).chunk(len(sequence))
        return dict(zip(sequence, maps, strict=True))

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.trace(images).predictions


def rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C)."""
    return maps.flatten(2).mT


@torch.no_grad()
def read_affinity(affinity: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean affinity of tasks with their own slots, and its spread over an image's positions.

    Without a spread, retrieval says the same everywhere: it has become a bias of the task.
    """
    own = torch.stack([a[..., i] for i, a in enumerate(affinity.values())]).float()  # (T, B, n)
    return {"own_affinity": own.mean(), "affinity_spread": own.std(dim=2, correction=0).mean()}


def plain_decoder(channels: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU that keep size and channels of a map."""
    layers = ((nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(2))
    return nn.Sequential(*(layer for pair in layers for layer in pair))


DECODERS: dict[str, Callable[[int], nn.Module]] = {
    "residual": residual_decoder,
    "plain": plain_decoder,
}
"""Name -> what makes the decoder of a task, which keeps the map's channels."""
