"""Labels that are read off the picture: void borders, edges and saliency.

On grids of integers, or one elementwise operation at a time: the same bits on every device.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.scenes.textures import noise

SMALLEST, LARGEST = 0.004, 0.55  # share of the picture that a salient instance takes
MOST_SALIENT = 3
FAINT = 0.45  # an instance below this share of the best score is not salient


def borders(instance: Tensor, marked: Tensor, reach: int) -> Tensor:
    """Pixels with another instance up to ``reach`` right of or below them.

    Args:
        instance: (H, W) int64.
        marked: (H, W) bool; a border counts where one of its sides is marked.
        reach: In pixels.
    """
    found = torch.zeros_like(marked)
    for k in range(1, reach + 1):
        for axis in (0, 1):
            size = instance.shape[axis] - k
            near, far = instance.narrow(axis, 0, size), instance.narrow(axis, k, size)
            either = marked.narrow(axis, 0, size) | marked.narrow(axis, k, size)
            found.narrow(axis, 0, size).logical_or_((near != far) & either)
    return found


def changes(context: Tensor) -> Tensor:
    """(H, W) bool: where the Laplacian of the context ids is not zero, as in the real set."""
    ids = F.pad(context.float()[None, None], (1, 1, 1, 1), mode="reflect")[0, 0]
    middle = ids[1:-1, 1:-1]
    around = ids[:-2, 1:-1] + ids[2:, 1:-1] + ids[1:-1, :-2] + ids[1:-1, 2:]
    return around != 4 * middle


def thin(lines: Tensor) -> Tensor:
    """Lines of one pixel: the parallel thinning of Guo and Hall (1989) until nothing changes.

    Args:
        lines: (H, W) bool.

    Returns:
        (H, W) bool, a subset.
    """
    kept = lines.clone()
    while True:
        before = kept
        for second in (False, True):
            kept = kept & ~_removable(kept, second)
        if torch.equal(kept, before):
            return kept


def _removable(lines: Tensor, second: bool) -> Tensor:
    p = F.pad(lines[None, None].to(torch.uint8), (1, 1, 1, 1))[0, 0].bool()
    n, s, w, e = p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]
    ne, nw, se, sw = p[:-2, 2:], p[:-2, :-2], p[2:, 2:], p[2:, :-2]
    crossings = sum(
        (~a & (b | c)).to(torch.uint8)
        for a, b, c in ((n, ne, e), (e, se, s), (s, sw, w), (w, nw, n))
    )
    one = sum((a | b).to(torch.uint8) for a, b in ((nw, n), (ne, e), (se, s), (sw, w)))
    other = sum((a | b).to(torch.uint8) for a, b in ((n, ne), (e, se), (s, sw), (w, nw)))
    neighbors = torch.minimum(one, other)
    keeps = (s | sw | ~nw) & w if second else (n | ne | ~se) & e
    return (crossings == 1) & (neighbors >= 2) & (neighbors <= 3) & ~keeps


def salient(image: Tensor, instance: Tensor, appeal: np.ndarray) -> Tensor:
    """What stands out, whatever its class: large, central, and of another color than the rest.

    Args:
        image: (3, H, W) uint8.
        instance: (H, W) int64 in [0, I).
        appeal: (I,) factor of every instance's score; 0 for scenery, which is never salient.

    Returns:
        (H, W) bool: the one to ``MOST_SALIENT`` instances with the best scores.
    """
    height, width = instance.shape
    ids, count = instance.cpu().numpy().ravel(), len(appeal)
    pixels = np.bincount(ids, minlength=count)
    share = pixels / ids.size
    y = ((np.arange(height) + 0.5) / height * 2 - 1) ** 2
    x = ((np.arange(width) + 0.5) / width * 2 - 1) ** 2
    near = (1 / (1 + 1.5 * (y[:, None] + x[None, :]))).ravel()
    center = np.bincount(ids, near, count) / np.maximum(pixels, 1)
    flat = image.cpu().numpy().reshape(3, -1)
    sums = np.stack([np.bincount(ids, channel, count) for channel in flat])
    inside = sums / np.maximum(pixels, 1)
    outside = (sums.sum(axis=1, keepdims=True) - sums) / np.maximum(ids.size - pixels, 1)
    contrast = np.linalg.norm(inside - outside, axis=0) / 255
    score = share**0.4 * center * (0.18 + contrast) * appeal
    score[(share < SMALLEST) | (share > LARGEST)] = 0
    best = np.argsort(-score, kind="stable")[:MOST_SALIENT]
    chosen = np.zeros(count, dtype=bool)
    chosen[best] = (score[best] > FAINT * score.max()) & (score[best] > 0)
    return torch.from_numpy(chosen).to(instance.device)[instance]


def distilled(mask: Tensor, seed: int) -> Tensor:
    """A mask as a network predicts it: thin pieces lost, corners round, borders a little off.

    Args:
        mask: (H, W) bool.
        seed: Of the errors, which are the same at every size of the picture.
    """
    height, width = mask.shape
    soft = mask.float()
    for _ in range(2):
        soft = _averaged(
            _averaged(soft, max(1, round(height / 64)), 0), max(1, round(width / 64)), 1
        )
    row = torch.arange(height, device=mask.device).view(-1, 1) / height
    column = torch.arange(width, device=mask.device) / width
    u, v = (row * 0 + column) * 9, (row + column * 0) * 9
    key = torch.full((height, width), seed, device=mask.device)
    level = 0.5 + (noise(u, v, key) - 0.5) * 0.55
    return soft > level


def _averaged(values: Tensor, reach: int, axis: int) -> Tensor:
    """The mean of 2 * reach + 1 neighbors along an axis, the border's value repeated outside."""
    size = values.shape[axis]
    first = values.narrow(axis, 0, 1).repeat_interleave(reach, axis)
    last = values.narrow(axis, size - 1, 1).repeat_interleave(reach, axis)
    padded = torch.cat([first, values, last], dim=axis)
    total = padded.narrow(axis, 0, size)
    for k in range(1, 2 * reach + 1):
        total = total + padded.narrow(axis, k, size)
    return total / (2 * reach + 1)
