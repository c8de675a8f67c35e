"""Boundary matching against cases whose answer is known, and against brute force."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from mtpsl.boundary import Boundary, match, suppress_non_maxima
from mtpsl.metrics import best_f


def line(y: int, level: int = 99, size: tuple[int, int] = (30, 40)) -> np.ndarray:
    """A horizontal line of 20 pixels."""
    levels = np.zeros(size, dtype=np.int64)
    levels[y, 10:30] = level
    return levels


def pixels(*places: tuple[int, int], level: int = 99) -> np.ndarray:
    levels = np.zeros((30, 40), dtype=np.int64)
    for place in places:
        levels[place] = level
    return levels


def pairs(levels: np.ndarray, truth: np.ndarray, reach: float) -> int:
    return len(match(levels, truth > 0, reach))


# --- matching ---------------------------------------------------------------------------------


def test_shifted_line() -> None:
    """Inside the tolerance all pixels are right, just outside none is."""
    assert pairs(line(10), line(10), 0.0) == 20
    assert pairs(line(13), line(10), 3.0) == 20
    assert pairs(line(13), line(10), 2.99) == 0
    assert pairs(line(14), line(10), 3.0) == 0


def test_tolerance_is_a_disk_and_no_box() -> None:
    """(3, 3) is sqrt(18) = 4.243 away."""
    assert pairs(pixels((13, 13)), pixels((10, 10)), 4.24) == 0
    assert pairs(pixels((13, 13)), pixels((10, 10)), 4.25) == 1


def test_doubled_and_thick_lines_are_right_once() -> None:
    assert pairs(line(9) + line(11), line(10), 2.0) == 20
    assert pairs(line(9) + line(10) + line(11), line(10), 2.0) == 20
    assert pairs(line(10), line(9) + line(11), 2.0) == 20


def test_isolated_pixels() -> None:
    truth = pixels((5, 5), (20, 30))
    assert pairs(pixels((5, 7), (5, 8), (12, 12)), truth, 2.0) == 1
    assert pairs(pixels((12, 12)), truth, 2.0) == 0
    assert pairs(pixels(), truth, 2.0) == 0
    assert pairs(pixels((5, 5)), pixels(), 2.0) == 0


def test_nearest_first_would_pair_too_few() -> None:
    """x = 12 is nearest to 13, but then neither 10 nor 15 has anyone left within 2."""
    truth, levels = pixels((5, 10), (5, 13)), pixels((5, 12), (5, 15))
    assert pairs(levels, truth, 2.0) == 2
    chain = pixels(*((5, x) for x in range(2, 38, 5)))  # each between two, the last one alone
    assert pairs(chain, pixels(*((5, x) for x in range(0, 38, 5))), 3.0) == 8


def test_partners_are_sought_across_the_border_of_no_row() -> None:
    """The last pixel of a row and the first of the next are far apart."""
    assert pairs(pixels((5, 39)), pixels((6, 0)), 3.0) == 0
    assert pairs(pixels((0, 0)), pixels((29, 39)), 3.0) == 0


def test_a_sure_pixel_goes_first() -> None:
    levels = pixels((5, 5), level=10) + pixels((5, 7), level=90)
    (partner,) = match(levels, pixels((5, 5)) > 0, 2.0)
    assert divmod(partner, 40) == (5, 7)


@pytest.mark.parametrize("reach", [0.0, 1.0, 1.5, 2.3, 4.7])
def test_every_threshold_has_as_many_pairs_as_its_own_matching(reach: float) -> None:
    generator = np.random.default_rng(int(10 * reach))
    for _ in range(25):
        height, width = generator.integers(1, 16, 2)
        predicted = generator.random((height, width)) < generator.random()
        levels = generator.integers(1, 100, (height, width)) * predicted
        truth = generator.random((height, width)) < generator.random() / 2
        partners = match(levels, truth, reach)
        assert len(set(partners)) == len(partners)
        places = np.argwhere(truth)
        for level in (1, 30, 60, 90):
            found = np.argwhere(levels >= level)
            near = ((found[:, None] - places) ** 2).sum(axis=2) <= reach**2
            expected = (maximum_bipartite_matching(csr_array(near)) >= 0).sum() if near.size else 0
            assert (levels.ravel()[partners] >= level).sum() == expected


# --- the metric -------------------------------------------------------------------------------


def logits(levels: np.ndarray) -> Tensor:
    """Probabilities of level / 100 + 0.005, between two thresholds."""
    return torch.from_numpy(levels / 100 + 0.005).logit()[None, None].float()


def score(*images: tuple[np.ndarray, np.ndarray], max_distance: float = 0.04) -> float:
    """30x40 pixels have a diagonal of 50: 0.04 of it are 2 pixels."""
    metric = Boundary(max_distance)
    for levels, truth in images:
        target = torch.from_numpy(truth > 0)[None, None].float()
        metric.update(logits(levels), target, torch.ones(1, 1, 30, 40, dtype=torch.bool))
    return metric.compute()["ods_f"]


def test_score_by_hand() -> None:
    assert score((line(10), line(10))) == 1.0
    assert score((line(12), line(10))) == 1.0
    assert score((line(13), line(10))) == 0.0
    assert score((line(9) + line(11), line(10))) == pytest.approx(2 * 0.5 / 1.5)
    assert score((line(10), line(9) + line(11))) == pytest.approx(2 * 0.5 / 1.5)


def test_one_threshold_serves_the_whole_split() -> None:
    """Each image alone has a perfect threshold; a common one finds a false line or misses one."""
    weak = (line(5, 40), line(5))
    strong = (line(5, 80) + line(20, 60), line(5))
    assert score(weak) == score(strong) == 1.0
    low, high = 2 * (40 / 60) * 1.0 / (40 / 60 + 1.0), 2 * 1.0 * 0.5 / 1.5
    assert low > high
    assert score(weak, strong) == pytest.approx(low)


def test_tolerance_is_a_share_of_the_diagonal() -> None:
    """375x500: a diagonal of 625 pixels, of which 0.0075 are 4.69."""
    size = (375, 500)
    truth = torch.from_numpy(line(100, size=size) > 0)[None, None].float()
    for shift, expected in ((4, 1.0), (5, 0.0)):
        metric = Boundary()
        found = logits(line(100 + shift, size=size))
        metric.update(found, truth, torch.ones_like(truth, dtype=torch.bool))
        assert metric.compute() == {"ods_f": expected}


def test_a_probability_on_the_threshold_is_above_it() -> None:
    metric = Boundary()
    one = torch.ones(1, 1, 1, 1)
    metric.update(torch.zeros(1, 1, 1, 1), one, one.bool())  # probability 0.5
    assert metric.pixels[1].tolist() == [1.0] * 50 + [0.0] * 49
    assert metric.pixels[0].tolist() == metric.pixels[1].tolist()


def test_masked_pixels_are_on_neither_side() -> None:
    """Half of a line is masked: neither its prediction nor its truth counts, nor may it pair."""
    mask = torch.ones(1, 1, 30, 40, dtype=torch.bool)
    mask[..., 20:] = False
    target = torch.from_numpy(line(10) > 0)[None, None].float()
    metric = Boundary(0.04)
    metric.update(logits(line(10)), target.masked_fill(~mask, math.nan), mask)
    assert metric.pixels[:, 0].tolist() == [10, 10, 10]
    assert metric.compute() == {"ods_f": 1.0}
    only_hidden = Boundary(0.04)
    only_hidden.update(logits(pixels((10, 20))), target, mask)
    assert only_hidden.pixels[0].sum() == 0 and only_hidden.pixels[2, 0] == 10


def test_no_truth_at_all_is_nan_and_an_empty_image_costs_precision() -> None:
    nothing = np.zeros((30, 40), dtype=np.int64)
    assert math.isnan(score((line(10), nothing)))
    assert score((line(10), line(10)), (line(10), nothing)) == pytest.approx(2 * 0.5 / 1.5)
    assert best_f(torch.tensor([20.0]), torch.tensor([40.0]), torch.tensor([20.0]), 1.0) < 0.67


# --- thinning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, -0.7])
def test_thinning_leaves_the_ridge(slope: float) -> None:
    y, x = np.mgrid[:40, :60].astype(float)
    distance = np.abs((y - 20) - slope * (x - 30)) / math.hypot(1, slope)
    thick = np.exp(-(distance**2) / 8)
    thin = suppress_non_maxima(thick)
    inner = np.s_[5:-5, 5:-5]
    assert (thin[inner] > 0.3).sum() < 0.5 * (thick[inner] > 0.3).sum()
    kept = distance[inner][thin[inner] > 0.3]
    assert kept.max() < 1.0
    columns = (thin > 0.3).any(axis=0) if abs(slope) < 1 else (thin > 0.3).any(axis=1)
    assert columns[8:-8].all(), "the thinned line has gaps"


def test_thinning_saves_the_precision_of_a_thick_line() -> None:
    thick, truth = np.zeros((30, 40), dtype=np.int64), np.zeros((30, 40))
    thick[8:13], truth[10] = np.array([50, 70, 90, 70, 50])[:, None], 1  # as wide as the image
    target = torch.from_numpy(truth)[None, None].float()
    results = []
    for nms in (False, True):
        metric = Boundary(0.04, nms=nms)
        metric.update(logits(thick), target, torch.ones_like(target, dtype=torch.bool))
        results.append(metric.pixels[:, 39].tolist())
    assert results == [[40, 200, 40], [40, 40, 40]]
