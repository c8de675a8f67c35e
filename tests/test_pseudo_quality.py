"""Discovered labels against withheld ones: every number of these small cases is known by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor

from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.labels import Assignment, PartialLabels
from mtpsl.papers import build_method
from mtpsl.papers.hitts import pseudo_quality as quality
from mtpsl.papers.hitts.discovery import discoveries
from mtpsl.papers.hitts.pseudo_quality import LEVELS, Counts
from mtpsl.papers.hitts.quantize import ClassIds, LogBins, UnitVectors, YesNo
from mtpsl.report.arrays import FigureInputs
from mtpsl.tasks import TaskSet, depth, normals, saliency, semseg

EDGES = np.arange(LEVELS) / LEVELS
SEMSEG = semseg(("floor", "wall", "chair"))
TASKS = TaskSet((SEMSEG, depth(), normals()))


def logits(probabilities: list[list[float]]) -> Tensor:
    """Class probabilities of the pixels of one row of one image -> (1, K, 1, W)."""
    return torch.tensor(probabilities).log().T[None, :, None]


def depth_bins() -> LogBins:
    """Edges 1, 2, 4, 8 m; centers are the geometric means."""
    bins = LogBins(3)
    bins.log_edges.copy_(torch.tensor([2.0, 4.0]).log())
    bins.centers.copy_(2.0 ** torch.tensor([[0.5], [1.5], [2.5]]))
    return bins


# ------------------------------------------------------------------ pixels


def test_levels_are_the_thresholds_that_a_confidence_exceeds() -> None:
    confidence = torch.tensor([0.0, 0.0005, 0.001, 0.9, 0.9001, 0.5, 1.0])
    levels = quality.level(confidence, EDGES)
    assert levels.tolist() == [0, 0, 0, 899, 900, 499, 999]
    for threshold in (0.001, 0.45, 0.5, 0.6, 0.9):
        passes = levels >= quality.first_level(threshold, EDGES)
        assert torch.equal(passes, confidence > threshold)


def test_a_threshold_between_levels_is_rounded_up() -> None:
    assert quality.first_level(0.4501, EDGES) == 451
    assert quality.first_level(0.45, EDGES) == 450
    assert quality.first_level(2.0, EDGES) == LEVELS and quality.first_level(-1.0, EDGES) == 0


def test_classes_are_right_or_not() -> None:
    found = quality.compare(
        SEMSEG,
        ClassIds(3),
        logits([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]),
        torch.tensor([[[[0, 2]]]]),
    )
    assert found["right"].flatten().tolist() == [True, False]
    assert found["near"].flatten().tolist() == [True, False]
    assert found["quality"].flatten().tolist() == [1, 0]
    assert found["floor"].flatten().tolist() == [1, 1]
    torch.testing.assert_close(found["confidence"].flatten(), torch.tensor([0.7, 0.5]))


def test_depth_is_near_in_the_next_bin() -> None:
    first = [0.6, 0.3, 0.1]
    found = quality.compare(
        depth(), depth_bins(), logits([first] * 3), torch.tensor([[[[1.5, 3.0, 5.0]]]])
    )
    assert found["right"].flatten().tolist() == [True, False, False]
    assert found["near"].flatten().tolist() == [True, True, False]
    label = 2**0.5
    expected = [abs(label - true) for true in (1.5, 3.0, 5.0)]
    assert found["quality"].flatten().tolist() == pytest.approx(expected)
    floor = [abs(2**0.5 - 1.5), abs(2**1.5 - 3.0), abs(2**2.5 - 5.0)]
    assert found["floor"].flatten().tolist() == pytest.approx(floor)


def test_a_direction_is_near_at_the_second_nearest_center() -> None:
    bins = UnitVectors(3)
    angles = torch.deg2rad(torch.tensor([0.0, 90.0, 180.0]))
    bins.centers.copy_(torch.stack([angles.cos(), angles.sin(), torch.zeros(3)], dim=1))
    true = torch.deg2rad(torch.tensor(30.0))  # nearest 0, then 90 degrees
    target = torch.stack([true.cos(), true.sin(), torch.zeros(())]).view(1, 3, 1, 1)
    maps = []
    for likely in range(3):
        probabilities = [0.1, 0.1, 0.1]
        probabilities[likely] = 0.8
        maps.append(quality.compare(normals(), bins, logits([probabilities]), target))
    assert [m["right"].item() for m in maps] == [True, False, False]
    assert [m["near"].item() for m in maps] == [True, True, False]
    assert [m["quality"].item() for m in maps] == pytest.approx([30, 60, 150], abs=1e-3)
    assert maps[2]["floor"].item() == pytest.approx(30, abs=1e-3)


def test_yes_and_no_are_two_classes() -> None:
    found = quality.compare(
        saliency(), YesNo(), logits([[0.3, 0.7], [0.3, 0.7]]), torch.tensor([[[[1.0, 0.0]]]])
    )
    assert found["right"].flatten().tolist() == [True, False]
    assert found["quality"].flatten().tolist() == [1, 0]


def test_distances_to_a_boundary() -> None:
    ids = np.array([[0, 0, 0, 1, 1, 1, 1]] * 3, dtype=np.uint8)
    distance = quality.boundary_distance(ids)
    assert distance[1].tolist() == [2, 1, 0, 0, 1, 2, 3]
    assert quality.band(distance)[1].tolist() == [2, 1, 0, 0, 1, 2, 3]
    assert quality.boundary_distance(ids.T)[:, 1].tolist() == [2, 1, 0, 0, 1, 2, 3]
    nowhere = quality.boundary_distance(np.zeros((2, 2), dtype=np.uint8))
    assert np.isinf(nowhere).all()
    assert quality.band(np.array([4.0, 4.1, 8.0, 8.1, math.inf])).tolist() == [3, 4, 4, 5, 5]


# ------------------------------------------------------------------ images


class Scenes(Dataset):
    """Images of 2x4 pixels: left half class 0, right half class 1, 2 m deep, facing right."""

    name, version, split, stand_in, height, width = "scenes", "1", "train", True, 2, 4
    tasks = TASKS

    def __init__(self, images: int = 4) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        ids = torch.tensor([[0, 0, 1, 1]] * 2)[None]
        facing = torch.zeros(3, 2, 4)
        facing[0] = 1
        valid = torch.ones(1, 2, 4, dtype=torch.bool)
        holes = valid.clone()
        holes[0, 0, 0] = False  # depth has a hole in the corner
        return Sample(
            torch.full((3, 2, 4), index / 10),
            {
                "semseg": ids,
                "depth": torch.full((1, 2, 4), 1.5).masked_fill(~holes, math.nan),
                "normals": facing,
            },
            {"semseg": valid, "depth": holes, "normals": valid},
        )


class Guess:
    """Class 0 everywhere with 0.7505, the nearest depth bin with 0.5, the first center with 1."""

    def __init__(self) -> None:
        centers = UnitVectors(2)
        centers.centers.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
        self.quantizers = {"semseg": ClassIds(3), "depth": depth_bins(), "normals": centers}

    def trace(self, images: Tensor, *, decode: bool) -> SimpleNamespace:
        assert not decode
        guess = {
            "semseg": [0.7505, 0.125, 0.1245],
            "depth": [0.5, 0.25, 0.25],
            "normals": [1 - 1e-7, 1e-7],
        }
        shape = (len(images), -1, *images.shape[2:])
        return SimpleNamespace(
            refined={
                name: torch.tensor(p).log().view(1, -1, 1, 1).expand(shape)
                for name, p in guess.items()
            }
        )


def partial(labeled: list[list[bool]]) -> PartialLabels:
    rows = torch.tensor(labeled)
    return PartialLabels(Scenes(len(rows)), Assignment(rows, TASKS.names, "file"))


WITHHELD = [[True, False, False], [False, True, False], [False, False, True], [False, False, False]]


def test_only_withheld_pixels_with_a_truth_count() -> None:
    found = quality.count(Guess(), partial(WITHHELD))
    pixels = {name: counts.sums["pixels"].sum() for name, counts in found.items()}
    assert pixels == {"semseg": 3 * 8, "depth": 3 * 7, "normals": 3 * 8}


def test_counts_lie_where_they_belong() -> None:
    found = quality.count(Guess(), partial(WITHHELD))
    semseg_counts = found["semseg"]
    assert semseg_counts.classes == ("floor", "wall", "chair", "void")
    (levels,) = semseg_counts.by("level")["pixels"].to_numpy().nonzero()
    assert semseg_counts.edges[levels].tolist() == [0.75]
    assert semseg_counts.by("class")["pixels"].tolist() == [12, 12, 0, 0]
    assert semseg_counts.by("class")["right"].tolist() == [12, 0, 0, 0]
    assert semseg_counts.by("band")["pixels"].tolist() == [12, 12, 0, 0, 0, 0]
    pairs = semseg_counts.confusion.groupby(level=["truth", "found"]).sum()
    assert pairs.to_dict() == {(0, 0): 12, (1, 0): 12}
    # grouped by the scene's classes, whose label is withheld elsewhere than that of depth
    assert found["depth"].by("class")["pixels"].tolist() == [9, 12, 0, 0]
    assert found["depth"].sums["right"].sum() == 21


def test_acceptance_by_hand() -> None:
    found = quality.count(Guess(), partial(WITHHELD))
    at = quality.accepted(found["semseg"], 0.7)
    assert at["coverage"] == 1 and at["right"] == 0.5 and at["quality"] == 0.5
    assert at["miou"] == 0.25  # floor 12 of 24, wall 0 of 12; chair occurs nowhere
    assert quality.accepted(found["semseg"], 0.751)["coverage"] == 0
    assert math.isnan(quality.accepted(found["semseg"], 0.751)["right"])
    assert quality.accepted(found["depth"], 0.0)["quality"] == pytest.approx(1.5 - 2**0.5)
    assert quality.accepted(found["normals"], 0.0)["quality"] == pytest.approx(0, abs=1e-6)


def hand_made() -> Counts:
    """Ten pixels at 0.55, five right; ten at 0.95, all right; of class 1 all but two of these."""
    rows = {  # level, class, band -> pixels, confidence, right, near, quality, floor
        (549, 1, 0): (10, 5.5, 5, 5, 5, 10),
        (949, 1, 0): (8, 7.6, 8, 8, 8, 8),
        (949, 0, 0): (2, 1.9, 2, 2, 2, 2),
    }
    places = pandas.MultiIndex.from_tuples(rows, names=quality.KEYS)
    sums = pandas.DataFrame(list(rows.values()), index=places, columns=list(quality.SUMS))
    pairs = {(549, 0, 0): 5, (549, 0, 1): 5, (949, 0, 0): 10}  # level, truth, found
    places = pandas.MultiIndex.from_tuples(pairs, names=["level", "truth", "found"])
    confusion = pandas.Series(list(pairs.values()), index=places)
    return Counts(SEMSEG, EDGES, ("floor", "void"), sums, confusion)


def test_a_curve_by_hand() -> None:
    curve = quality.acceptance(hand_made(), points=4)
    assert curve["coverage"].tolist() == [1.0, 0.5]
    assert curve["threshold"].tolist() == [0.0, 0.55]
    assert curve["right"].tolist() == [0.75, 1.0]
    assert curve["quality"].tolist() == [0.75, 1.0]
    assert curve["miou"].tolist() == [0.375, 1.0]  # floor 15 of 20, wall 0 of 5; then floor alone


def test_calibration_by_hand() -> None:
    found = quality.calibration(hand_made(), bins=10)
    assert found["pixels"].tolist() == [0, 0, 0, 0, 0, 10, 0, 0, 0, 10]
    assert found["right"][5] == 0.5 and found["right"][9] == 1
    assert found["confidence"][[5, 9]] == pytest.approx([0.55, 0.95])
    assert np.isnan(found["right"][0])
    assert float(found["ece"]) == pytest.approx(0.05)  # 0.05 too sure, and 0.05 not sure enough
    assert float(found["overconfidence"]) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="divisor of 1000, got 7"):
        quality.calibration(hand_made(), bins=7)


def test_groups_by_hand() -> None:
    everything = quality.by_group(hand_made(), "class")
    assert everything["pixels"].tolist() == [2, 18]
    assert everything["right"] == pytest.approx([1, 13 / 18])
    sure = quality.by_group(hand_made(), "class", threshold=0.9)
    assert sure["coverage"] == pytest.approx([1, 8 / 18])
    assert sure["right"].tolist() == [1, 1]
    bands = quality.by_group(hand_made(), "band")
    assert bands["pixels"].tolist() == [20, 0, 0, 0, 0, 0]
    assert np.isnan(bands["right"][1:]).all()


def test_nothing_withheld_has_no_quality() -> None:
    counts = quality.count(Guess(), partial([[True, True, True]] * 2))
    assert math.isnan(quality.accepted(counts["semseg"], 0.5)["miou"])
    found = counts["depth"]
    assert len(quality.acceptance(found)["coverage"]) == 0
    assert math.isnan(quality.accepted(found, 0.5)["coverage"])
    assert math.isnan(quality.calibration(found)["ece"])


# ------------------------------------------------------------------ networks


class Noise(Scenes):
    """As ``Scenes``, 32x64, with random classes, depths and directions."""

    height, width = 32, 64

    def __getitem__(self, index: int) -> Sample:
        dice = torch.Generator().manual_seed(index)
        facing = torch.randn(3, 32, 64, generator=dice)
        return Sample(
            torch.rand(3, 32, 64, generator=dice),
            {
                "semseg": torch.randint(0, 3, (1, 32, 64), generator=dice),
                "depth": 1 + 4 * torch.rand(1, 32, 64, generator=dice),
                "normals": facing / facing.norm(dim=0, keepdim=True),
            },
            {name: torch.ones(1, 32, 64, dtype=torch.bool) for name in TASKS.names},
        )


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    method = build_method("hitts", TASKS, "segnet", 0.125, {})
    method.prepare([Noise().load(range(4))])
    return method.eval()


def noise() -> PartialLabels:
    return PartialLabels(Noise(4), Assignment(torch.tensor(WITHHELD), TASKS.names, "file"))


def test_agrees_with_what_training_discovers(network) -> None:
    train = noise()
    confidence = network.label_confidence(Noise(4).load(range(4)).images)
    taus = {name: float(maps.median()) for name, maps in confidence.items()}
    found = quality.count(network, train, thresholds=taus)
    for column, task in enumerate(TASKS):
        images = (~train.assignment.labeled[:, column]).nonzero().flatten().tolist()
        batch = Noise(4).load(images)
        for tau in (0.0, taus[task.name]):
            mask = network.discover(batch.images, {task.name: tau}).valid[task.name]
            at = quality.accepted(found[task.name], tau)
            assert 0 < at["coverage"] == pytest.approx(float(mask.double().mean()), abs=1e-3)
        truth = network.quantizers[task.name].encode(batch.targets[task.name])
        right = network.trace(batch.images).refined[task.name].argmax(1, keepdim=True) == truth
        assert quality.accepted(found[task.name], 0.0)["right"] == pytest.approx(
            float(right.double().mean()), abs=1e-9
        )


def test_batch_size_does_not_matter(network) -> None:
    one, four = (quality.count(network, noise(), batch_size=size) for size in (1, 4))
    for name in TASKS.names:
        for part in quality.SUMS:
            totals = [found[name].sums[part].sum() for found in (one, four)]
            assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_the_truth_is_never_shown_to_the_teacher(network) -> None:
    seen = []

    class Watcher(Guess):
        def trace(self, images: Tensor, *, decode: bool) -> SimpleNamespace:
            seen.append(images.clone())
            return super().trace(images, decode=decode)

    quality.count(Watcher(), partial(WITHHELD), batch_size=4)
    assert torch.equal(torch.cat(seen), Scenes().load(range(4)).images)


def test_arrays_of_a_figure_are_complete(network) -> None:
    shares = dict.fromkeys(TASKS.names, "50%")
    inputs = FigureInputs(methods={"ours": network}, train=noise(), thresholds=shares)
    arrays = discoveries(inputs)
    assert arrays["class_names"].tolist() == ["floor", "wall", "chair", "void"]
    for task in TASKS:
        tau, coverage, value = arrays[f"{task.name}/used"]
        found = quality.count(network, noise(), thresholds={task.name: tau})[task.name]
        scale, at = 100 if task.kind == "classes" else 1, quality.accepted(found, tau)
        assert 0 < coverage == pytest.approx(at["coverage"], abs=1e-6)
        assert value == pytest.approx(scale * at["quality"], rel=1e-4)
        floor = float(arrays[f"{task.name}/floor"])
        assert floor == 100 if task.kind == "classes" else 0 < floor < value
        curve = arrays[f"{task.name}/curve/coverage"]
        assert (np.diff(curve) < 0).all() and curve[0] == 1
    assert all(a.dtype.kind in "fiU" for a in arrays.values())
