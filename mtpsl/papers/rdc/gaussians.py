"""Regions of a map as Gaussians, and how far two of them are apart [RDC, Eq. 2, 5].

Pixels are sorted by region once; whatever else is asked of a region is a sum over neighbors. A
*description* of a region is one row of numbers: its mean, followed by whatever a measure reads of
its covariance (``MEASURES``). So regions are stacked, picked and kept like any other tensor, and a
distance of ``p[:, None]`` and ``k[None]`` is the matrix of all pairs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

SLICE = 32  # pixels whose outer products are summed at once; a region's last slice is padded
FLOOR = 1e-6  # added to every variance [RDC, released code]
LEAST_VARIANCE = 1e-8  # of a channel, where an inverse is needed [RDC, released code]


# ------------------------------------------------------------------- regions


@dataclass(frozen=True)
class Regions:
    """The R regions of a stack of maps, and their P pixels, sorted by region."""

    image: Tensor  # (R,) int64, which map of the stack; rising
    sizes: Tensor  # (R,) int64, pixels
    pixels: Tensor  # (P,) int64, positions in the flattened stack
    owner: Tensor  # (P,) int64, the region of each pixel; rising

    def gather(self, maps: Tensor) -> Tensor:
        """(N, D, h, w) -> (P, D), the channels of every pixel."""
        return maps.permute(0, 2, 3, 1).flatten(0, 2)[self.pixels]

    def places(self) -> Tensor:
        """(P,) int64, the number of each pixel within its region."""
        first = self.sizes.cumsum(0) - self.sizes
        return torch.arange(len(self.owner), device=self.owner.device) - first[self.owner]

    def sample(self, most: int, generator: torch.Generator) -> "Regions":
        """The same regions with at most so many pixels each, chosen at random."""
        device = self.owner.device
        chance = torch.rand(
            len(self.owner), dtype=torch.float64, generator=generator, device=device
        )
        shuffled = (self.owner + chance).argsort()
        kept = shuffled[self.places() < most]
        sizes = self.sizes.clamp(max=most)
        return replace(self, sizes=sizes, pixels=self.pixels[kept], owner=self.owner[kept])


def find_regions(ids: Tensor, least: int = 2) -> Regions:
    """Sorts the pixels of a stack of maps by region.

    Args:
        ids: (N, h, w) int64, the region of each pixel, any number from 0; below 0 there is none.
        least: Regions with fewer pixels are left out.
    """
    images = torch.arange(len(ids), device=ids.device).view(-1, 1, 1)
    number = torch.where(ids < 0, -1, ids + images * (ids.max() + 1))
    number, pixels = number.flatten().sort(stable=True)
    numbers, owner, sizes = number.unique_consecutive(return_inverse=True, return_counts=True)
    used = (sizes >= least) & (numbers >= 0)
    kept = used[owner]
    pixels, owner, sizes = pixels[kept], (used.cumsum(0) - 1)[owner[kept]], sizes[used]
    image = pixels[sizes.cumsum(0) - sizes] // ids[0].numel()
    return Regions(image, sizes, pixels, owner)


def nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) of any type -> (B, C, *size), the pixels under the centers of the cells."""
    down, right = (
        ((torch.arange(n, device=maps.device) + 0.5) * (full / n)).long()
        for full, n in zip(maps.shape[2:], size, strict=True)
    )
    return maps[..., down.unsqueeze(1), right]


# ---------------------------------------------------------------- statistics


def region_means(features: Tensor, regions: Regions) -> Tensor:
    """(P, D) of ``Regions.gather`` -> (R, D)."""
    sums = features.new_zeros(len(regions.sizes), features.shape[1])
    return sums.index_add(0, regions.owner, features) / regions.sizes.unsqueeze(1)


def region_moments(features: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
    """Means and covariances of the regions' pixels [RDC, Eq. 2].

    Pixels are centered before they are multiplied: a difference of E[xx'] and mean mean' would
    lose most digits in float32. Regions are cut into slices of ``SLICE`` pixels, so that one
    product of small matrices serves regions of every size.

    Args:
        features: (P, D), from ``Regions.gather``.
        regions: With at least two pixels each.

    Returns:
        (R, D) and (R, D, D), the latter with divisor n - 1.
    """
    owner, sizes, D = regions.owner, regions.sizes, features.shape[1]
    mean = region_means(features, regions)
    slices = (sizes + SLICE - 1) // SLICE  # of each region
    slot = (slices.cumsum(0) - slices)[owner] * SLICE + regions.places()
    empty = features.new_zeros(int(slices.sum()) * SLICE, D)
    cut = empty.index_copy(0, slot, features - mean[owner]).view(-1, SLICE, D)
    numbers = torch.arange(len(sizes), device=sizes.device).repeat_interleave(slices)
    scatter = features.new_zeros(len(sizes), D, D).index_add(0, numbers, cut.mT @ cut)
    return mean, scatter / (sizes - 1).view(-1, 1, 1)


def shrink(covariance: Tensor, share: float) -> Tensor:
    """(1 - share) S + share Tr(S) / D I + ``FLOOR`` I: (..., D, D), never singular.

    A region may have fewer pixels than channels, or pixels that are interpolated from a few.
    """
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(covariance.shape[-1], dtype=scale.dtype, device=scale.device)
    return (1 - share) * covariance + (share * scale + FLOOR)[..., None, None] * eye


# -------------------------------------------------------------- descriptions


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs LAPACK on one thread: on small matrices several are up to 20 times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def with_factor(mean: Tensor, covariance: Tensor) -> Tensor:
    """The mean and the Cholesky factor: (..., D), (..., D, D) -> (..., D + D^2)."""
    with one_thread():
        return torch.cat([mean, torch.linalg.cholesky(covariance).flatten(-2)], dim=-1)


def with_root(mean: Tensor, covariance: Tensor) -> Tensor:
    """The mean and the symmetric root: (..., D), (..., D, D) -> (..., D + D^2)."""
    with one_thread():
        return torch.cat([mean, SymmetricRoot.apply(covariance).flatten(-2)], dim=-1)


def with_deviations(mean: Tensor, covariance: Tensor) -> Tensor:
    """The mean and each channel's standard deviation: (..., D), (..., D, D) -> (..., 2 D)."""
    return torch.cat([mean, covariance.diagonal(dim1=-2, dim2=-1).sqrt()], dim=-1)


def mean_alone(mean: Tensor, covariance: Tensor) -> Tensor:
    """(..., D), without anything of the covariance."""
    return mean


@final
class SymmetricRoot(torch.autograd.Function):
    """X with X X = S, for positive definite S (..., D, D).

    The gradient solves X Y + Y X = G. It divides by sums of roots, where that of ``eigh`` divides
    by differences of eigenvalues, which shrinkage makes equal: NaN.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(covariance)
        roots = values.clamp(min=0).sqrt()
        ctx.save_for_backward(roots, vectors)
        return (vectors * roots.unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        inside = vectors.mT @ ((gradient + gradient.mT) / 2) @ vectors
        return vectors @ (inside / (roots.unsqueeze(-1) + roots.unsqueeze(-2))) @ vectors.mT


# ----------------------------------------------------------------- distances


def split_factor(p: Tensor) -> tuple[Tensor, Tensor]:
    """What ``with_factor`` joined: (..., D + D^2) -> (..., D), (..., D, D)."""
    D = (math.isqrt(4 * p.shape[-1] + 1) - 1) // 2
    return p[..., :D], p[..., D:].unflatten(-1, (D, D))


def wasserstein(p: Tensor, k: Tensor, least: float = 0.0) -> Tensor:
    """Squared 2-Wasserstein distance of two Gaussians (``with_factor``) [RDC, Eq. 5].

    With S = L L', Tr((S_p S_k)^(1/2)) is the sum of the singular values of L_p' L_k. Its gradient
    is bounded, whatever values coincide. Equal Gaussians are at 0 but for rounding of either sign.

    Args:
        p: (..., D + D^2).
        k: (..., D + D^2), which is broadcast.
        least: A promise about both covariances: no eigenvalue is below this share of the trace.
            It saves the singular values: three times as fast, and as exact (``polar_factor``).
    """
    (mean_p, factor_p), (mean_k, factor_k) = split_factor(p), split_factor(k)
    product = torch.einsum("...ab,...ac->...bc", factor_p, factor_k)
    if least:
        overlap = (polar_factor(product.detach(), least) * product).sum((-2, -1))
    else:
        with one_thread():
            overlap = torch.linalg.svdvals(product).sum(-1)
    traces = factor_p.square().sum((-2, -1)) + factor_k.square().sum((-2, -1))
    return squared(mean_p, mean_k) + traces - 2 * overlap  # Eq. (5)


def polar_factor(product: Tensor, least: float) -> Tensor:
    """U V' of matrices U s V': (..., D, D), the gradient of the sum of s, by products alone.

    Newton-Schulz iterations, each scaled to what is known of s [Chen and Chow, A Stable Scaling of
    Newton-Schulz for Improving the Sign Function Computation, 2014]: a dozen, if no singular value
    is below ``least`` times the Frobenius norm.
    """
    x = product / torch.linalg.matrix_norm(product, keepdim=True)
    x = x.reshape(-1, *product.shape[-2:])
    while 1 - least > torch.finfo(x.dtype).eps:
        scale = math.sqrt(3 / (1 + least + least**2))
        x = torch.baddbmm(x, x, x.mT @ x, beta=1.5 * scale, alpha=-0.5 * scale**3)
        least *= scale * (3 - (scale * least) ** 2) / 2
    return x.view_as(product)


def squared(p: Tensor, k: Tensor) -> Tensor:
    """Squared Euclidean distance: (..., n) x 2 -> (...).

    Of deviations it is never above ``wasserstein``; of either root never below.
    """
    return (p - k).square().sum(-1)


def kl(p: Tensor, k: Tensor) -> Tensor:
    """KL(p || k) of two Gaussians (``with_factor``) [RDC, Table 5]."""
    (mean_p, factor_p), (mean_k, factor_k) = split_factor(p), split_factor(k)
    with one_thread():
        spread = torch.linalg.solve_triangular(factor_k, factor_p, upper=False)
        moved = torch.linalg.solve_triangular(factor_k, (mean_p - mean_k)[..., None], upper=False)
    logs = [f.diagonal(dim1=-2, dim2=-1).log().sum(-1) for f in (factor_k, factor_p)]
    squares = spread.square().sum((-2, -1)) + moved.square().sum((-2, -1))
    return (squares - mean_p.shape[-1]) / 2 + logs[0] - logs[1]


def kl_diagonal(p: Tensor, k: Tensor) -> Tensor:
    """KL(p || k), summed over channels (``with_deviations``) [RDC, Table 5]."""
    (mean_p, deviation_p), (mean_k, deviation_k) = p.chunk(2, -1), k.chunk(2, -1)
    of_p, of_k = (d.square().clamp(min=LEAST_VARIANCE) for d in (deviation_p, deviation_k))
    each = (of_p + (mean_p - mean_k).square()) / of_k - 1 + of_k.log() - of_p.log()
    return each.sum(-1) / 2


Describe = Callable[[Tensor, Tensor], Tensor]  # (R, D), (R, D, D) -> (R, n)
Distance = Callable[[Tensor, Tensor], Tensor]  # (..., n) x 2 -> (...)

MEASURES: dict[str, tuple[Describe, Distance]] = {
    "wasserstein": (with_factor, wasserstein),
    "root": (with_root, squared),
    "cholesky": (with_factor, squared),
    "diagonal": (with_deviations, squared),
    "mean": (mean_alone, squared),
    "kl": (with_factor, kl),
    "kl_diagonal": (with_deviations, kl_diagonal),
}
"""Name -> how it describes a Gaussian, and what it takes of two descriptions."""

SYMMETRIC = {name for name in MEASURES if not name.startswith("kl")}
