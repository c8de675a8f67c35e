"""Contrast of regions between the maps of two tasks, as a loss for any training loop [RDC].

Meixuan Li, Tianyu Li, Guoqing Wang, Peng Wang, Yang Yang, Heng Tao Shen. Region-aware Distribution
Contrast: A Novel Approach to Multi-Task Partially Supervised Learning. ECCV 2024. arXiv:2403.10252

A region of an image looks alike in the maps of two tasks, and unlike other regions. The prediction
of a task without label and the label of another go through one mapping network; the pixels of each
region become a Gaussian; and InfoNCE pulls the two Gaussians of a region together and pushes those
of other regions away. The paper calls the labeled task s and the unlabeled one t; here it is the
other way round, as in XTC: ``Link.source`` has no label, ``Link.target`` has one.

The released code never trained with this loss: it calls a number without gradient.
``gradient=False`` is that; ``CHOICES`` says what else is left open, and which argument decides it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.methods.base import Terms, ramp
from mtpsl.models.backbone import scale_channels, to_size
from mtpsl.papers.rdc.gaussians import (
    MEASURES,
    SYMMETRIC,
    Regions,
    find_regions,
    nearest,
    region_means,
    region_moments,
    shrink,
    wasserstein,
)
from mtpsl.papers.xtc.loss import (
    Inputs,
    Link,
    embed_links,
    film_groups,
    find_links,
    require_predictions,
)
from mtpsl.papers.xtc.mapping import Statistics, plain_mapping
from mtpsl.registry import look_up
from mtpsl.tasks import TaskSet

Contrast = Literal["gaussian", "vector", "pixel"]

WIDTHS = (16, 24, 32, 32)  # channels of the mapping network's stages [RDC, released code]
CONVS = (2, 2, 3, 3)  # their convolutions
FILM_STEP = 10  # epochs between halvings of gamma's and beta's rate [RDC, released code]
TEMPERATURE = 5.4  # at D = 32 [RDC, released code]
COSINE_TEMPERATURE = 0.7  # of vectors and pixels; in the release's compiled files alone
BANK = 1000  # descriptions that it holds, the oldest leaving first [RDC, released code]
DRAWN = 32  # of them in a step

CHOICES: dict[str, str] = {
    "gradient": "through the prediction, the label's map and the mapping network; "
    "gradient=False logs a number, as all released code does",
    "a_theta": "stages of 16, 24, 32 and 32 channels with 2, 2, 3 and 3 convolutions, scaled with "
    "the backbone (code); the paper shows no size",
    "resolution": "maps at 1 / 2^pools of the image, brought to 1 / map_stride, where regions "
    "live; pools=4, map_stride=2 (code). Below 128 pixels 4 pools leave a region a few vectors: "
    "take 2",
    "conditioning": "A[s, t] one-hot for prediction and label (code); condition=False does without",
    "BatchNorm of a_theta": "over the images of a pass, as XTC here; statistics='image' maps them "
    "one by one (code)",
    "inputs": "as XTC's: a Gumbel sample of classes, depth by its largest value, directions in "
    "[0, 1]; predicted directions have unit length here, which the code does not see to",
    "holes of labels": "leave the region in both maps; label_holes='count' counts them (code)",
    "stop-gradient": "none (code); stop_label=True lets the label's map teach only",
    "pairs": "every (unlabeled, labeled), or all where all have labels (code)",
    "regions": "those of ``Batch.regions``, at least min_pixels=10 on the map (code); patch=8 puts "
    "windows of that many cells in their place, whatever their content",
    "k+": "the same region in the other map of the pair (paper, code)",
    "k-": "all other regions of the other map of the image; negatives='both' adds those of its own "
    f"map, a number samples so many, 'bank' draws {DRAWN} of the last {BANK} of all images and "
    "tasks. The code takes the two oldest of the bank and averages",
    "anchors": "regions of both maps, averaged; anchors='prediction' (code)",
    "W": "Eq. 5 as printed; the code takes absolute values inside the root. measure='root' and "
    "'cholesky' are upper bounds, 'diagonal' and 'mean' lower ones",
    "KL": "KL(anchor || other) of full Gaussians; 'kl_diagonal' sums over channels (code, compiled "
    "files)",
    "covariance": "divisor n - 1 (code), shrunk by 1 % of its mean variance, then 1e-6 I (code: "
    "that alone, shrinkage=0, which float32 cannot factor where pixels are few)",
    "tau": "5.4 at D = 32 (code), times D / 32; 0.7 for cosines (code, compiled files)",
    "vector": "cosine of the regions' means in InfoNCE; the compiled code has no exp, no minus",
    "pixel": "cosine of single pixels, at most pixels=32 a region: k+ is the same pixel, k- are "
    "pixels of other regions; a mean over pixels",
    "weight": "0.15, growing over the whole training, which is 0 to 0.1425 in the code; weight=1, "
    "ramp_up=0 is Eq. 1. weight=0 computes nothing: two-view supervised training",
    "1 / (K M)": "a mean over regions and anchors, a sum over pairs (code); per_image_mean=True "
    "divides by the sources of an image",
    "one region": "an image with fewer than two has nothing to push away: it adds 0 (the code "
    "divides by zero where there is none)",
    "regularizer": "none (code); XTC's R belongs to with_xtc=True",
    "two views": "as XTC: labels teach the first, the contrast the second (code)",
    "learning rate": "gamma and beta have twice the network's, halved every 10 epochs under "
    "schedule='step' (code); film_step=None lets it follow the network's",
}
"""What paper and released code leave open or see differently -> what is done here."""


@final
class RegionContrastLoss(nn.Module):
    """Ties a region in the prediction of a task to itself in another task's label [RDC, Eq. 6].

    It works in any training loop: give it what the heads predict and a partially labeled batch with
    ``regions``. Its weights are those of the mapping network, which the optimizer gets from
    ``param_groups``. What paper and code say of each option is in ``CHOICES``.

    Args:
        tasks: The tasks; every ordered pair of them has its own conditioning.
        width_factor: Scales the channels of the mapping network.
        contrast: What stands for a region: its Gaussian, its mean vector, or single pixels.
        patch: Above 0, windows of so many cells of the contrast map replace the regions.
        measure: A key of ``MEASURES``, for Gaussians.
        shrinkage: Share of a covariance that its mean variance replaces, from 0 to 1.
        temperature: tau; None: 5.4 D / 32 for Gaussians, 0.7 for cosines.
        negatives: Other regions of the other map: of the ``"image"``, ``"both"`` its maps, a
            ``"bank"``, or so many sampled.
        anchors: ``"both"`` maps' regions, or the ``"prediction"``'s.
        min_pixels: Smaller regions on the contrast map are left out; at least 2.
        label_holes: ``"exclude"`` pixels without label from a region, or ``"count"`` them.
        stop_label: No gradient through the label's map.
        pools: Poolings of the mapping network, 1 to 4.
        map_stride: Image size / size of the contrast map.
        condition: With gamma and beta of each pair.
        statistics: What the mapping network's BatchNorm averages over.
        pixels: At most so many of a region, in the contrast of pixels.
        weight: Multiplies the contrast. 0: it is not computed.
        ramp_up: Share of training over which ``weight`` grows linearly from 0; 0: at once.
        film_lr: Learning rate of gamma and beta, as a multiple of the network's.
        film_step: Epochs between halvings of that rate under schedule "step"; None: the network's.
        per_image_mean: Divide by the number of sources.
        gradient: Without it the term is a number, as released.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    retrieval: Tensor  # (), of the last call: share of anchors nearest to their own region
    bank: Tensor  # (BANK, n), the newest last
    banked: Tensor  # how many of them there are

    def __init__(
        self,
        tasks: TaskSet,
        *,
        width_factor: float = 1.0,
        contrast: Contrast = "gaussian",
        patch: int = 0,
        measure: str = "wasserstein",
        shrinkage: float = 1e-2,
        temperature: float | None = None,
        negatives: Literal["image", "both", "bank"] | int = "image",
        anchors: Literal["both", "prediction"] = "both",
        min_pixels: int = 10,
        label_holes: Literal["exclude", "count"] = "exclude",
        stop_label: bool = False,
        pools: int = 4,
        map_stride: int = 2,
        condition: bool = True,
        statistics: Statistics = "pass",
        pixels: int = 32,
        weight: float = 0.15,
        ramp_up: float = 1.0,
        film_lr: float = 2.0,
        film_step: int | None = FILM_STEP,
        per_image_mean: bool = False,
        gradient: bool = True,
    ) -> None:
        super().__init__()
        sampled = type(negatives) is int and negatives > 0
        for name, value, allowed in (
            ("contrast", contrast, ("gaussian", "vector", "pixel")),
            ("negatives", "image" if sampled else negatives, ("image", "both", "bank")),
            ("anchors", anchors, ("both", "prediction")),
            ("label_holes", label_holes, ("exclude", "count")),
            ("statistics", statistics, ("pass", "image")),
            ("pools", pools, (1, 2, 3, 4)),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: expected one of {allowed}, got {value!r}")
        if min(min_pixels - 2, patch, pixels - 1, map_stride - 1, shrinkage, 1 - shrinkage) < 0:
            raise ValueError(
                "options: expected min_pixels >= 2, patch >= 0, pixels >= 1, map_stride >= 1 and "
                f"shrinkage in [0, 1], got {min_pixels, patch, pixels, map_stride, shrinkage}"
            )
        self.tasks, self.contrast, self.patch = tasks, contrast, patch
        self.retrieval = torch.zeros(())
        widths = [scale_channels(width, width_factor) for width in WIDTHS]
        self.mapping = plain_mapping(tasks, widths, CONVS, pools=pools, condition=condition)
        self.describe_gaussian, self.distance = look_up("measure", measure, MEASURES)
        if measure == "wasserstein":  # shrunk covariances keep the promise
            self.distance = partial(wasserstein, least=shrinkage / widths[-1])
        gaussian = contrast == "gaussian"
        self.symmetric = not gaussian or measure in SYMMETRIC
        if temperature is None:
            temperature = TEMPERATURE * widths[-1] / WIDTHS[-1] if gaussian else COSINE_TEMPERATURE
        self.temperature, self.shrinkage = temperature, shrinkage
        self.negatives, self.anchors, self.min_pixels = negatives, anchors, min_pixels
        self.label_holes, self.stop_label, self.map_stride = label_holes, stop_label, map_stride
        self.statistics, self.pixels = statistics, pixels
        self.weight, self.ramp_up, self.gradient = weight, ramp_up, gradient
        self.film_lr, self.film_step, self.per_image_mean = film_lr, film_step, per_image_mean
        if negatives == "bank":
            one = torch.zeros(widths[-1])
            one = self.describe_gaussian(one, torch.eye(len(one))) if gaussian else one
            self.register_buffer("bank", torch.zeros(BANK, len(one)))
            self.register_buffer("banked", torch.zeros((), dtype=torch.int64))

    def forward(
        self, predictions: dict[str, Tensor], batch: Batch, *, progress: float = 1.0
    ) -> Terms:
        """Computes the weighted contrast, a scalar.

        ``retrieval`` then says, as a scalar without gradient, for which share of the anchors no
        other region is as similar as their own; 1 / M by chance, 0 where there is one region.

        Args:
            predictions: task -> (B, task.channels, H, W), as the task's loss takes them; maps of
                another size than the images' are resized.
            batch: Labels and regions of the same images; regions are not needed for patches.
            progress: The share of training done, which ``ramp_up`` asks for.

        Returns:
            ``region_contrast``; exactly 0 for a batch without a pair of tasks or of regions.

        Raises:
            ValueError: If predictions or batch do not fit the tasks, or there are no regions.
        """
        require_predictions(self.tasks, predictions, batch)
        shape, expected = getattr(batch.regions, "shape", None), (len(batch), 1)
        if not self.patch and (shape is None or shape[:2] != expected):
            got = "none" if shape is None else tuple(shape)
            raise ValueError(
                f"batch.regions: expected ({len(batch)}, 1, H, W) region ids, got {got}; "
                "name a provider (Experiment.regions), or contrast patches"
            )
        predictions = {t.name: to_size(predictions[t.name], batch.images) for t in self.tasks}
        inputs = Inputs(predictions, batch)  # draws a step's one random number in every mode
        contrast = self.retrieval = batch.images.new_zeros(())
        if self.weight:
            with torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
                contrast, self.retrieval = self.contrast_regions(inputs)
        weight = self.weight * ramp(progress, self.ramp_up)
        return {"region_contrast": weight * contrast}

    def contrast_regions(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Sums InfoNCE over pairs and images, divided by the batch size; and the retrieval."""
        batch = inputs.batch
        links = find_links(self.tasks, batch, per_image_mean=self.per_image_mean)
        if not links:
            return batch.images.new_zeros(()), batch.images.new_zeros(())
        maps, labels = self.embed(links, inputs)
        ids = torch.cat([self.region_ids(link, batch, maps.shape[2:]) for link in links])
        generator = torch.Generator(maps.device).manual_seed(inputs.seed)
        with torch.autocast(maps.device.type, enabled=False):  # Cholesky has no bfloat16
            losses, found = self.contrast_maps(maps, labels, ids, generator)
        parts = losses.split([len(link.rows) for link in links])
        total = torch.stack([x.weigh(part).sum() for x, part in zip(links, parts, strict=True)])
        return total.sum() / len(batch), found.sum() / max(1, len(found))  # Eq. (6)

    def contrast_maps(
        self, maps: Tensor, labels: Tensor, ids: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Compares the regions of every map of a prediction with those of its label.

        Args:
            maps: (N, D, h, w) of predictions, from ``embed``.
            labels: (N, D, h, w) of labels.
            ids: (N, h, w) int64, from ``region_ids``.
            generator: Of samples.

        Returns:
            (N,) InfoNCE; and for each anchor that something is compared with, 1 where its own
            region is nearest, else 0.
        """
        regions = find_regions(ids, self.min_pixels)
        owner = torch.arange(len(regions.image), device=maps.device)
        if self.contrast == "pixel":
            regions = regions.sample(self.pixels, generator)
            owner = regions.owner
        described = [self.describe(m, regions) for m in (maps, labels)]
        members = regions.image[owner].bincount(minlength=len(maps)).tolist()
        rows = zip(*(x.split(members) for x in (*described, owner)), strict=True)
        losses, found = zip(*(self.contrast_image(*row, generator) for row in rows), strict=True)
        if self.negatives == "bank" and self.training:
            self.remember(torch.cat(described))
        return torch.stack(losses), torch.cat(found).float()

    def embed(self, links: Sequence[Link], inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Maps of the predictions and of the labels of all links: (N, D, h, w) float32 each."""
        size = [side // self.map_stride for side in inputs.batch.images.shape[2:]]
        pairs = embed_links(self.mapping, links, inputs, self.statistics)
        maps, labels = (
            F.interpolate(torch.cat(m), size, mode="bilinear", align_corners=False)
            for m in zip(*pairs, strict=True)
        )
        return maps, labels.detach() if self.stop_label else labels

    def region_ids(self, link: Link, batch: Batch, size: Sequence[int]) -> Tensor:
        """(n, h, w) int64 for the images of a link, -1 where a pixel belongs to no region."""
        rows = list(link.rows)
        known = nearest(batch.mask(link.target.name)[rows], size).squeeze(1)
        if self.patch:
            down, right = (torch.arange(n, device=known.device) // self.patch for n in size)
            ids = (down.unsqueeze(1) * (int(right[-1]) + 1) + right).expand_as(known)
        else:
            ids = nearest(batch.regions[rows], size).squeeze(1)
        return ids if self.label_holes == "count" else torch.where(known, ids, -1)

    def describe(self, maps: Tensor, regions: Regions) -> Tensor:
        """What is compared: a row per region, or a pixel where single pixels are contrasted."""
        features = regions.gather(maps)
        match self.contrast:
            case "gaussian":
                mean, covariance = region_moments(features, regions)
                return self.describe_gaussian(mean, shrink(covariance, self.shrinkage))
            case "vector":
                return F.normalize(region_means(features, regions), dim=1)
            case "pixel":
                return F.normalize(features, dim=1)

    def similarity(self, p: Tensor, k: Tensor) -> Tensor:
        """Logarithm of the similarity of descriptions (..., n) [RDC, Eq. 4]."""
        if self.contrast == "gaussian":
            return -self.distance(p, k) / self.temperature  # Eq. (4)
        return torch.einsum("...d,...d->...", p, k) / self.temperature

    def contrast_image(
        self, p: Tensor, t: Tensor, owner: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """InfoNCE of the regions of one image in two maps, averaged over anchors.

        Args:
            p: (M, n) descriptions in the prediction's map.
            t: (M, n) those of the same regions in the label's map.
            owner: (M,) int64, the regions they belong to.
            generator: Of samples.

        Returns:
            A scalar; and for every anchor that something is compared with, whether its own region
            is nearest.
        """
        if not len(p):
            return p.sum(), owner.bool()  # 0, and nothing to find
        same = owner.unsqueeze(1) == owner
        here = torch.arange(len(p), device=p.device)
        besides = same & (here.unsqueeze(1) != here)  # pixels of the anchor's region
        losses, found, across = [], [], None
        for a, k in [(p, t)] if self.anchors == "prediction" else [(p, t), (t, p)]:
            if self.negatives in ("image", "both"):
                swap = across is not None and self.symmetric
                across = across.T if swap else self.similarity(a.unsqueeze(1), k.unsqueeze(0))
                column, similar = here, across.masked_fill(besides, -torch.inf)
                own = across.detach().masked_fill(~same, -torch.inf).amax(1)
            else:
                positive, negative = self.similarity(a, k), self.sample(a, k, same, generator)
                column, similar = here * 0, torch.cat([positive.unsqueeze(1), negative], dim=1)
                own = positive.detach()
            other = similar.detach().scatter(1, column.unsqueeze(1), -torch.inf).amax(1)
            found.append((own > other)[other > -torch.inf])
            if self.negatives == "both":
                around = self.similarity(a.unsqueeze(1), a.unsqueeze(0))
                similar = torch.cat([similar, around.masked_fill(same, -torch.inf)], dim=1)
            losses.append(F.cross_entropy(similar, column, reduction="none"))  # Eq. (3)
        return torch.cat(losses).mean(), torch.cat(found)

    def sample(self, a: Tensor, k: Tensor, same: Tensor, generator: torch.Generator) -> Tensor:
        """(M, s) similarities of anchors and sampled negatives; -inf where there are too few."""
        if self.negatives == "bank":
            known = self.bank[BANK - int(self.banked) :]
            chance = torch.rand(len(known), generator=generator, device=a.device)
            return self.similarity(a.unsqueeze(1), known[chance.argsort()[:DRAWN]])
        chance = torch.rand(same.shape, generator=generator, device=a.device).masked_fill(same, 2.0)
        picked = chance.argsort(dim=1)[:, : self.negatives]
        similar = self.similarity(a.unsqueeze(1), k[picked])
        return similar.masked_fill(same.gather(1, picked), -torch.inf)

    @torch.no_grad()
    def remember(self, described: Tensor) -> None:
        """Puts (R, n) descriptions into the bank, in place of the oldest."""
        self.bank.copy_(torch.cat([self.bank, described])[-BANK:])
        self.banked.add_(len(described)).clamp_(max=BANK)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups the parameters beside a network of rate ``lr``; gamma and beta have their own."""
        return film_groups(self, self.mapping, lr, self.film_lr, self.film_step)
