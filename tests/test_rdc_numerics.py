"""Gaussians of regions: statistics, distances and their gradients, against plain references."""

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from mtpsl.papers.rdc.gaussians import (
    FLOOR,
    MEASURES,
    SLICE,
    Regions,
    find_regions,
    kl,
    kl_diagonal,
    one_thread,
    polar_factor,
    region_means,
    region_moments,
    shrink,
    squared,
    wasserstein,
    with_deviations,
    with_factor,
    with_root,
)

DOUBLE = torch.float64


def gaussians(count: int, D: int, pixels: int, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Means (count, D) and covariances (count, D, D) of pixels from a space of that rank."""
    draw = torch.Generator().manual_seed(seed)
    basis = torch.randn(count, rank, D, generator=draw, dtype=DOUBLE)
    x = torch.randn(count, pixels, rank, generator=draw, dtype=DOUBLE) @ basis
    x = x + torch.randn(count, 1, D, generator=draw, dtype=DOUBLE)
    centered = x - x.mean(1, keepdim=True)
    return x.mean(1), centered.mT @ centered / (pixels - 1)


def by_scipy(mean_p: Tensor, of_p: Tensor, mean_k: Tensor, of_k: Tensor) -> float:
    """Eq. 5 in float64 with a matrix root."""
    p, k = of_p.double().numpy(), of_k.double().numpy()
    root = scipy.linalg.sqrtm(p @ k).real
    distance = (mean_p.double() - mean_k.double()).square().sum().item()
    return distance + np.trace(p) + np.trace(k) - 2 * np.trace(root)


@pytest.mark.parametrize(
    ("D", "pixels", "rank", "near"), [(8, 400, 8, 1e-6), (32, 400, 32, 1e-6), (32, 60, 5, 1e-4)]
)
def test_wasserstein_is_that_of_scipy(D: int, pixels: int, rank: int, near: float) -> None:
    mean, covariance = gaussians(6, D, pixels, rank)
    covariance = shrink(covariance, 1e-2)
    expected = [by_scipy(mean[i], covariance[i], mean[j], covariance[j]) for i, j in PAIRS]
    for dtype, within in ((DOUBLE, near / 100), (torch.float32, max(near, 3e-6))):
        p = with_factor(mean.to(dtype), covariance.to(dtype))
        found = wasserstein(p[:, None], p[None])
        assert found.shape == (6, 6) and found.dtype == dtype
        found = torch.stack([found[i, j] for i, j in PAIRS]).tolist()
        assert found == pytest.approx(expected, rel=within)
        assert wasserstein(p, p).abs().max() < within * covariance.diagonal(0, 1, 2).sum(1).max()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize(("D", "pixels", "rank"), [(8, 400, 8), (8, 6, 3), (32, 60, 5)])
def test_a_promise_saves_singular_values_and_nothing_else(
    D: int, pixels: int, rank: int, dtype: torch.dtype
) -> None:
    """The same distances and gradients, relative to the traces."""
    mean, covariance = (x.to(dtype) for x in gaussians(12, D, pixels, rank))
    found = []
    for least in (0.0, 1e-2 / D):
        inputs = [x.clone().requires_grad_() for x in (mean, covariance)]
        p = with_factor(inputs[0], shrink(inputs[1], 1e-2))
        w = wasserstein(p[:, None], p[None], least)
        found.append((w, *torch.autograd.grad(w[:, :6].sum(), inputs)))
    scale = covariance.diagonal(0, 1, 2).sum(1).max().item()
    near = {torch.float32: 1e-5, DOUBLE: 1e-10}[dtype]
    for exact, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, exact, rtol=100 * near, atol=scale * near)
    x = torch.eye(D, dtype=dtype).repeat(2, 1, 1)
    torch.testing.assert_close(polar_factor(3 * x, 1e-2), x)


PAIRS = [(0, 1), (2, 1), (3, 5), (4, 0)]


WAYS = MEASURES | {"promised": (with_factor, partial(wasserstein, least=1e-3))}


def symmetric(x: Tensor) -> Tensor:
    return (x + x.mT) / 2


CASES = {
    "different": gaussians(2, 4, 40, 4),
    "equal eigenvalues": (gaussians(2, 4, 40, 4)[0], 2 * torch.eye(4).double().repeat(2, 1, 1)),
    "identical": tuple(x[:1].repeat(2, *[1] * (x.dim() - 1)) for x in gaussians(1, 4, 40, 4)),
    "shrunk": (torch.ones(2, 4, dtype=DOUBLE), shrink(gaussians(2, 4, 3, 1)[1], 1e-2)),
}  # fmt: skip


@pytest.mark.parametrize("measure", [*MEASURES, "promised"])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_differences(measure: str, case: str) -> None:
    describe, distance = WAYS[measure]

    def of(mean: Tensor, covariance: Tensor) -> Tensor:
        p = describe(mean, symmetric(covariance))
        return distance(p[0], p[1])

    inputs = [x.clone().requires_grad_() for x in CASES[case]]
    assert torch.autograd.gradcheck(of, inputs, eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rank", [8, 2])
def test_the_root_by_eigenvectors_has_no_gradient_where_eigenvalues_coincide(rank: int) -> None:
    """The textbook's way, which is why there is another one here."""
    gradients = []
    for way in (lambda s: with_root(s.new_zeros(1, 8), s)[:, 8:], root_by_eigh):
        covariance = shrink(gaussians(1, 8, 40, rank)[1], 1e-2).requires_grad_()
        (way(symmetric(covariance)).flatten() * torch.arange(64)).sum().backward()
        gradients.append(covariance.grad)
    ours, textbook = gradients
    assert ours.isfinite().all()
    assert torch.allclose(ours, textbook) == (rank == 8)  # otherwise NaN, or noise over noise


def root_by_eigh(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.sqrt().unsqueeze(-2)) @ vectors.mT


@pytest.mark.parametrize("measure", [*MEASURES, "promised"])
def test_no_random_rank_deficient_case_is_nan(measure: str) -> None:
    draw = torch.Generator().manual_seed(0)
    count, D = 10_000, 8
    sizes = torch.randint(2, 12, (count,), generator=draw)
    owner = torch.arange(count).repeat_interleave(sizes)
    pixels = torch.arange(len(owner))
    regions = Regions(torch.zeros_like(sizes), sizes, pixels, owner)
    scale = 10 ** (6 * torch.rand(count, 1, generator=draw) - 3)
    basis = torch.randn(count, 3, D, generator=draw)  # rank 3, but for regions of 2 or 3 pixels
    x = torch.randn(len(owner), 1, 3, generator=draw) @ basis[owner]
    x = (x.squeeze(1) * scale[owner]).requires_grad_()
    describe, distance = WAYS[measure]
    mean, covariance = region_moments(x, regions)
    p = describe(mean, shrink(covariance, 1e-2))
    found = distance(p, p.roll(1, 0))
    assert len(found) == count and found.isfinite().all()
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient.isfinite().all() and gradient.any()


@pytest.mark.parametrize("D", [3, 8])
def test_bounds_are_ordered(D: int) -> None:
    mean, covariance = gaussians(20, D, 40, D)
    found = {name: d(f(mean, covariance)[:, None], f(mean, covariance)[None])
             for name, (f, d) in MEASURES.items()}  # fmt: skip
    apart = ~torch.eye(20, dtype=torch.bool)
    exact = found["wasserstein"][apart]
    assert (found["mean"][apart] < found["diagonal"][apart]).all()
    assert (found["diagonal"][apart] < exact).all()
    assert (exact < found["root"][apart]).all() and (exact < found["cholesky"][apart]).all()


def test_gaussians_of_one_channel_have_a_closed_form() -> None:
    mean, variance = torch.tensor([[1.0], [4.0]]), torch.tensor([4.0, 9.0]).view(2, 1, 1)
    for describe, distance in (
        MEASURES[m] for m in ("wasserstein", "root", "cholesky", "diagonal")
    ):
        p = describe(mean, variance)
        assert distance(p[0], p[1]).item() == pytest.approx(9 + 1, rel=1e-6)


def test_kl_is_that_of_torch() -> None:
    mean, covariance = gaussians(2, 5, 40, 5)
    full = [torch.distributions.MultivariateNormal(*x) for x in zip(mean, covariance, strict=True)]
    p = with_factor(mean, covariance)
    torch.testing.assert_close(kl(p[0], p[1]), torch.distributions.kl_divergence(*full))
    assert not torch.allclose(kl(p[0], p[1]), kl(p[1], p[0]))
    scale = covariance.diagonal(0, 1, 2).sqrt()
    single = [torch.distributions.Normal(*x) for x in zip(mean, scale, strict=True)]
    q = with_deviations(mean, covariance)
    expected = torch.distributions.kl_divergence(*single).sum()
    torch.testing.assert_close(kl_diagonal(q[0], q[1]), expected)
    assert squared(p, p).eq(0).all() and kl(p, p).abs().max() < 1e-12


# -------------------------------------------------------------- statistics


SIZES = (2, 5, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 7)


def shuffled_regions(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids (2, 20, 24) of regions of ``SIZES`` pixels in each image, the rest -1; maps."""
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.cat([torch.full((n,), 10 * i) for i, n in enumerate(SIZES)])
    ids = torch.full((2, 480), -1)
    for row in ids:
        row[torch.randperm(480, generator=draw)[: len(numbers)]] = numbers
    maps = torch.randn(2, 4, 20, 24, generator=draw)
    return ids.view(2, 20, 24), maps


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_statistics_are_those_of_numpy(offset: float) -> None:
    ids, maps = shuffled_regions()
    maps = maps + offset
    regions = find_regions(ids)
    mean, covariance = region_moments(regions.gather(maps), regions)
    assert regions.image.tolist() == [0] * 6 + [1] * 6
    assert regions.sizes.tolist() == list(SIZES) * 2
    for r, image in enumerate(regions.image):
        x = maps[image][:, ids[image] == 10 * (r % 6)].double().numpy()
        assert mean[r].tolist() == pytest.approx(x.mean(1).tolist(), rel=1e-6, abs=2e-5)
        expected = torch.from_numpy(np.cov(x)).float()
        torch.testing.assert_close(covariance[r], expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(region_means(regions.gather(maps), regions), mean)


def test_order_of_pixels_and_numbers_of_regions_do_not_matter() -> None:
    ids, maps = shuffled_regions()
    order = torch.randperm(480, generator=torch.Generator().manual_seed(1))
    moved = [x.flatten(-2)[..., order].view(x.shape) for x in (ids, maps)]
    renumbered = torch.where(ids < 0, -1, 90 - ids)
    first, *others = (
        region_moments(regions.gather(m), regions)
        for i, m in ((ids, maps), moved, (renumbered, maps))
        for regions in [find_regions(i)]
    )
    backwards = torch.tensor([5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6])
    for other, rows in zip(others, (torch.arange(12), backwards), strict=True):
        for a, b in zip(first, other, strict=True):
            torch.testing.assert_close(b[rows], a, rtol=1e-5, atol=1e-5)


def test_small_regions_are_left_out_and_none_is_a_region() -> None:
    ids, maps = shuffled_regions()
    regions = find_regions(ids, least=SLICE)
    assert regions.sizes.tolist() == [n for n in SIZES if n >= SLICE] * 2
    assert torch.equal(regions.owner.bincount(), regions.sizes)
    empty = find_regions(torch.full_like(ids, -1))
    assert len(empty.sizes) == len(empty.image) == len(empty.pixels) == 0
    mean, covariance = region_moments(empty.gather(maps), empty)
    assert mean.shape == (0, 4) and covariance.shape == (0, 4, 4)


def test_a_sample_keeps_regions_and_at_most_so_many_pixels() -> None:
    ids, _ = shuffled_regions()
    regions = find_regions(ids)
    few = regions.sample(5, torch.Generator().manual_seed(0))
    assert few.sizes.tolist() == [min(5, n) for n in SIZES] * 2
    assert torch.equal(few.owner.bincount(), few.sizes) and few.pixels.unique().numel() == len(
        few.pixels
    )
    of = dict(zip(regions.pixels.tolist(), regions.owner.tolist(), strict=True))
    assert [of[p] for p in few.pixels.tolist()] == few.owner.tolist()
    other = regions.sample(5, torch.Generator().manual_seed(1))
    assert not torch.equal(few.pixels, other.pixels)


def test_shrinkage_keeps_the_trace_but_for_the_floor() -> None:
    _, covariance = gaussians(3, 6, 4, 2)
    for share in (0.0, 1e-2, 1.0):
        found = shrink(covariance, share)
        trace = found.diagonal(0, 1, 2).sum(1) - 6 * FLOOR
        torch.testing.assert_close(trace, covariance.diagonal(0, 1, 2).sum(1))
        assert torch.linalg.eigvalsh(found).min() > FLOOR / 2


def test_one_thread_gives_the_others_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
