"""How well predicted boundaries lie on true ones: ODS-F with one-to-one matching.

A predicted pixel is right if it can be paired with a true one nearby, and a pixel has at most
one partner, so neither a thick line nor a doubled one can claim a true line twice. The papers run
MATLAB code (SEISM) for this, threshold by threshold, with a matching that is approximate.

Here the matching is exact and computed once per image. Call a set of predicted pixels good if all
of them can have partners at the same time. Good sets form a matroid, so one that is best by the
sum of its pixels' thresholds holds, for every threshold at once, as many pixels above it as any
matching can pair. Such a set is an assignment of least cost, which SciPy finds: ten images of
375x500 a second on one core.
"""

import math
from typing import final

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from mtpsl.metrics import Metric, best_f, check_shapes

THRESHOLDS = 99  # 0.01, 0.02, ..., 0.99, as in the papers' evaluation


@final
class Boundary(Metric):
    """``ods_f``: the F-measure of boundaries at the threshold that is best for the whole split.

    Precision is the share of predicted pixels that have a partner, recall that of true pixels;
    both are summed over the split before they are divided. A pixel is predicted if its
    probability is at least the threshold. Pixels outside the mask exist on neither side.

    Args:
        max_distance: How far partners may lie apart, as a share of the image's diagonal.
        nms: Thins probabilities first (``suppress_non_maxima``), as later papers do. The protocol
            of [XTC] and [HiTTs] does not, and a thick line then costs precision.
    """

    def __init__(self, max_distance: float = 0.0075, *, nms: bool = False) -> None:
        self.max_distance, self.nms = max_distance, nms
        super().__init__()

    def reset(self) -> None:
        self.pixels = torch.zeros(3, THRESHOLDS, dtype=torch.float64)  # pairs, predicted, true
        self.undecided = 0  # counted pixels with a NaN logit

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        """Adds a batch of (B, 1, H, W) logits and truths; works on the CPU."""
        check_shapes(prediction, 1, target, 1, mask)
        self.undecided += int(prediction[mask].isnan().sum())
        probability = prediction.double().sigmoid().masked_fill(~mask, 0.0).nan_to_num(0.0)
        images, true = probability.squeeze(1).cpu().numpy(), (target > 0.5) & mask
        reach = self.max_distance * math.hypot(*target.shape[2:])
        thresholds = np.arange(1, THRESHOLDS + 1) / 100
        for image, truth in zip(images, true.squeeze(1).cpu().numpy(), strict=True):
            image = suppress_non_maxima(image) if self.nms else image
            levels = np.searchsorted(thresholds, image, side="right")  # thresholds it reaches
            paired = levels.ravel()[match(levels, truth, reach)]
            for row, reached in zip(self.pixels, (paired, levels.ravel()), strict=False):
                counts = np.bincount(reached, minlength=THRESHOLDS + 1)
                row += torch.from_numpy(counts[::-1].cumsum()[-2::-1].copy())  # at least 1, 2, ...
            self.pixels[2] += int(truth.sum())

    def compute(self) -> dict[str, float]:
        return {"ods_f": math.nan if self.undecided > 0 else best_f(*self.pixels, 1.0)}


def match(levels: np.ndarray, truth: np.ndarray, reach: float) -> np.ndarray:
    """The predicted pixels that have a partner, in a matching that is best for every threshold.

    Args:
        levels: (H, W) int, 0 where nothing is predicted, else 1 to ``THRESHOLDS``.
        truth: (H, W) bool.
        reach: The largest distance of partners, in pixels.

    Returns:
        Flat indices. Those with a level of at least k are as many as any one-to-one matching of
        the predicted pixels of at least level k can pair.
    """
    true = np.flatnonzero(truth)
    if true.size == 0:
        return np.zeros(0, dtype=np.int64)
    # Candidates are read from a map with a margin, in which no offset leaves a row.
    margin = math.floor(reach)
    wide = np.pad(levels, margin)
    step = np.arange(-margin, margin + 1)
    near = step[:, None] ** 2 + step**2 <= reach**2
    offsets = (step[:, None] * wide.shape[1] + step)[near]
    inside = np.flatnonzero(np.pad(np.ones_like(truth), margin))  # of each pixel, its place
    place = inside[true][:, None] + offsets  # (true pixels, offsets)
    level = wide.ravel()[place]
    reached, seen = level > 0, np.zeros(wide.size, dtype=bool)
    seen[place[reached]] = True
    candidates = np.flatnonzero(seen)
    column = (np.cumsum(seen) - 1)[place]
    # A last choice of its own for every true pixel: no partner, which is worth nothing.
    alone = len(candidates) + np.arange(true.size)[:, None]
    choices = np.hstack([column, alone])
    cost = np.hstack([THRESHOLDS + 1 - level, np.full_like(alone, THRESHOLDS + 1)])
    possible = np.hstack([reached, np.ones_like(alone, dtype=bool)])
    rows = np.concatenate([[0], possible.sum(axis=1).cumsum()])
    graph = csr_array(
        (cost[possible].astype(np.float64), choices[possible].astype(np.int32), rows),
        shape=(true.size, len(candidates) + true.size),
    )
    _, chosen = min_weight_full_bipartite_matching(graph)
    partners = candidates[chosen[chosen < len(candidates)]]
    return np.searchsorted(inside, partners)


def suppress_non_maxima(probability: np.ndarray) -> np.ndarray:
    """(H, W) probabilities, 0 wherever a neighbor across the line has more.

    Across is where the smoothed map bends most. In the manner of Dollar and Zitnick's structured
    edges, but not bit for bit: another filter, and nothing special at the image's border.
    """
    smooth = ndimage.gaussian_filter(probability, 2.0)
    gy, gx = np.gradient(smooth)
    (gyy, gyx), gxx = np.gradient(gy), np.gradient(gx, axis=1)
    # The Hessian's eigenvector of the eigenvalue that is larger, or else smaller; the trace says
    # which of them has the larger magnitude: the first on a slope's foot, the second on a ridge.
    across = 0.5 * np.arctan2(2 * gyx, gxx - gyy) + np.where(gxx + gyy > 0, 0.0, np.pi / 2)
    y, x = np.indices(probability.shape)
    peak = np.ones(probability.shape, dtype=bool)
    for sign in (-1, 1):
        places = [y + sign * np.sin(across), x + sign * np.cos(across)]
        beside = ndimage.map_coordinates(probability, places, order=1, mode="nearest")
        peak &= probability * 1.01 >= beside  # forgives rounding on a flat top
    return np.where(peak, probability, 0.0)
