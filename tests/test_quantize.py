import math

import pytest
import torch
import torch.nn.functional as F

from mtpsl.papers.hitts.method import mixture_loss
from mtpsl.papers.hitts.quantize import (
    LARGEST_ZOOM,
    LogBins,
    UnitVectors,
    YesNo,
    build_quantizer,
    spread_directions,
)
from mtpsl.tasks import depth, edges, human_parts, inverse_depth, normals, saliency, semseg


def test_log_bins_by_hand():
    bins = LogBins(3)
    bins.fit(torch.tensor([[1.5], [8.0], [4.0]]))  # range 1 (= 1.5 / zoom) to 8: edges 1 2 4 8
    torch.testing.assert_close(bins.centers[:, 0], torch.tensor([2.0**0.5, 2.0**1.5, 2.0**2.5]))
    target = torch.tensor([0.1, 1.9, 2.1, 3.9, 4.1, 100.0]).view(1, 1, 2, 3)
    assert bins.encode(target).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert LARGEST_ZOOM == 1.5


def test_the_range_of_an_inverse_depth_is_extended_where_zooms_lead():
    bins = build_quantizer(inverse_depth(), depth_bins=3)
    bins.fit(torch.tensor([[1.0], [2.0], [16.0 / 3]]))  # to 8 = 16 / 3 * zoom: edges 1 2 4 8
    torch.testing.assert_close(bins.centers[:, 0], torch.tensor([2.0**0.5, 2.0**1.5, 2.0**2.5]))
    torch.testing.assert_close(bins.log_edges.exp(), torch.tensor([2.0, 4.0]))
    assert build_quantizer(depth()).zoom_power == LogBins(3).zoom_power == -1


def test_a_hundred_bins_of_a_disparity():
    bins = build_quantizer(inverse_depth(), depth_bins=100)
    values = torch.linspace(0.003, 0.49, 500)[:, None]
    bins.fit(values)
    assert bins.centers.shape == (100, 1) and (bins.centers.diff(dim=0) > 0).all()
    assert 0.003 < bins.centers[0] < 0.0032 and 0.7 < bins.centers[-1] < LARGEST_ZOOM * 0.49
    ids = bins.encode(values.T.view(1, 1, 1, -1))
    error = (bins.values(ids).flatten() / values.flatten() - 1).abs().max()
    assert error < (0.735 / 0.003) ** (1 / 200) - 1 + 1e-3  # half a bin


def test_a_given_range_needs_no_labels():
    bins = build_quantizer(depth(), depth_bins=3, depth_range=(1.0, 8.0))
    assert not bins.needs_labels
    bins.fit(torch.tensor([[2.0], [3.0]]))  # changes nothing
    torch.testing.assert_close(bins.log_edges.exp(), torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(bins.centers[:, 0], torch.tensor([2.0**0.5, 2.0**1.5, 2.0**2.5]))


def test_centers_of_the_half_that_faces_the_camera():
    """The mean angle to the nearest of 40 is 9 degrees, against 12 of 40 on the whole sphere."""
    g = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(20_000, 3, generator=g), dim=1)
    directions[:, 2] = -directions[:, 2].abs()  # z points away from the camera
    for kind, expected in (("half_sphere", 9.0), ("uniform", 12.3)):
        quantizer = build_quantizer(normals(), normal_centers=40, normal_centers_from=kind)
        centers = quantizer.centers
        assert not quantizer.needs_labels
        torch.testing.assert_close(centers.norm(dim=1), torch.ones(40))
        nearest = (directions @ centers.T).amax(1).clamp(max=1).acos().rad2deg()
        assert abs(nearest.mean() - expected) < 0.2
        assert (centers[:, 2] < 0).all() == (kind == "half_sphere")


def test_log_bins_survive_missing_targets():
    bins = LogBins(3)
    bins.fit(torch.tensor([[1.0], [8.0]]))
    assert bins.encode(torch.full((1, 1, 2, 2), math.nan)).dtype == torch.int64


def test_unit_vectors_find_the_clusters():
    clusters = F.normalize(torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]), dim=1)
    noise = 0.01 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    values = F.normalize(clusters.repeat(100, 1) + noise, dim=1)
    quantizer = UnitVectors(3)
    quantizer.fit(values)
    similarity = clusters @ quantizer.centers.T
    assert similarity.max(1).values.min() > 0.999
    ids = quantizer.encode(clusters.T.view(1, 3, 1, 3))
    torch.testing.assert_close(quantizer.values(ids)[0, :, 0].T, clusters, atol=5e-3, rtol=0)


def test_uniform_unit_vectors_need_no_data():
    quantizer = build_quantizer(normals(), normal_centers=40, normal_centers_from="uniform")
    assert not quantizer.needs_labels and quantizer.bins == 40
    before = quantizer.centers.clone()
    quantizer.fit(torch.rand(10, 3))
    assert torch.equal(quantizer.centers, before)
    assert torch.equal(before, spread_directions(40))
    assert build_quantizer(normals()).needs_labels and build_quantizer(depth()).needs_labels


@pytest.mark.parametrize("count", [20, 40, 100])
def test_directions_are_spread_evenly(count):
    centers = spread_directions(count)
    torch.testing.assert_close(centers.norm(dim=1), torch.ones(count))
    assert centers.mean(0).norm() < 0.02
    cosine = (centers @ centers.T).fill_diagonal_(-1)
    nearest = cosine.amax(1).clamp(-1, 1).acos()
    ideal = (4 * math.pi / count) ** 0.5  # side of a square of each one's share of the sphere
    assert 0.7 * ideal < nearest.min() and nearest.max() < 1.2 * ideal
    anywhere = F.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert (anywhere @ centers.T).amax(1).clamp(-1, 1).acos().max() < ideal


def test_a_binary_task_is_two_classes():
    quantizer = build_quantizer(saliency())
    assert isinstance(quantizer, YesNo) and quantizer.bins == 2 and not quantizer.needs_labels
    target = torch.tensor([1.0, 0.0, math.nan]).view(1, 1, 1, 3)
    assert quantizer.encode(target).flatten().tolist() == [1, 0, 0]
    ids = torch.tensor([0, 1]).view(1, 1, 1, 2)
    assert quantizer.values(ids).flatten().tolist() == [0.0, 1.0]
    assert quantizer.values(ids).dtype == torch.float32
    logits = torch.randn(2, 2, 3, 3)
    yes = logits.softmax(1)[:, 1:]
    torch.testing.assert_close(quantizer.decode(logits).sigmoid(), yes)


@pytest.mark.parametrize("task", [saliency(weight=5), edges(weight=50)], ids=lambda t: t.name)
def test_mixture_loss_of_a_binary_task_is_its_balanced_cross_entropy(task):
    logits = torch.randn(1, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([1.0, 0.0, 0.0, math.nan]).view(1, 1, 1, 4)
    mask = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
    yes = {"saliency": 2 / 3, "edges": 0.95}[task.name]  # share of negatives, or fixed
    surprise = -logits[0, :, 0].log_softmax(0)  # (2, 4)
    by_hand = (yes * surprise[1, 0] + (1 - yes) * (surprise[0, 1] + surprise[0, 2])) / 3
    loss = mixture_loss(task, build_quantizer(task), logits, target, mask, 0.1)
    torch.testing.assert_close(loss, task.weight * by_hand[None])


@pytest.mark.parametrize(
    ("light", "heavy"),
    [
        (semseg(("a", "b")), semseg(("a", "b"), weight=3)),
        (human_parts(), human_parts(weight=2)),
        (normals("l1"), normals("l1", weight=10)),
    ],
    ids=lambda t: t.name,
)
def test_a_protocols_weight_multiplies_the_tasks_own_loss(light, heavy):
    """Which is L_reg of normals, and L_cls of classes."""
    generator = torch.Generator().manual_seed(0)
    quantizer = build_quantizer(light, normal_centers=5, normal_centers_from="uniform")
    logits = torch.randn(2, quantizer.bins, 4, 4, generator=generator)
    if light.kind == "classes":
        target = torch.randint(0, light.channels, (2, 1, 4, 4), generator=generator)
    else:
        target = F.normalize(torch.randn(2, 3, 4, 4, generator=generator), dim=1)
    mask = torch.rand(2, 1, 4, 4, generator=generator) > 0.3
    one, many = (mixture_loss(t, quantizer, logits, target, mask, 0.1) for t in (light, heavy))
    own = light.loss(quantizer.decode(logits), target, mask)
    share = 1.0 if light.kind == "classes" else 0.1
    torch.testing.assert_close(many - one, (heavy.weight - 1) * share * own)


def test_ignored_pixels_of_human_parts_do_not_count():
    task = human_parts(weight=2)
    logits = torch.randn(1, 7, 2, 2, requires_grad=True)
    target = torch.tensor([255, 255, 3, 255]).view(1, 1, 2, 2)
    mask = target != 255
    loss = mixture_loss(task, build_quantizer(task), logits, target, mask, 0.1)
    torch.testing.assert_close(loss, -2 * logits.log_softmax(1)[:, 3, 1, 0])
    nobody = mixture_loss(
        task,
        build_quantizer(task),
        logits,
        torch.full_like(target, 255),
        torch.zeros_like(mask),
        0.1,
    )
    assert nobody == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"depth_bins": 1}, "depth_bins: expected at least 2, got 1"),
        ({"normal_centers": 0}, "normal_centers: expected at least 2, got 0"),
        (
            {"normal_centers_from": "random"},
            r"normal_centers_from: expected one of \['kmeans', 'uniform', 'half_sphere'\], got 'r",
        ),
        ({"depth_range": (0, 10)}, r"depth_range: expected 0 < low < high, got \(0, 10\)"),
    ],
)
def test_arguments_that_make_no_sense(args, says):
    with pytest.raises(ValueError, match=says):
        build_quantizer(normals(), **args)


@pytest.mark.parametrize("task", [depth(), normals()], ids=lambda t: t.name)
def test_certain_logits_decode_to_their_center(task):
    quantizer = build_quantizer(task, depth_bins=5, normal_centers=4)
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(500, task.channels, generator=generator) + 0.1
    quantizer.fit(F.normalize(values, dim=1) if task.kind == "direction" else values)
    ids = torch.arange(quantizer.bins).view(1, 1, 1, -1)
    logits = 100.0 * F.one_hot(ids[:, 0], quantizer.bins).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(quantizer.decode(logits), quantizer.values(ids))  # Eq. 10
    assert torch.equal(quantizer.encode(quantizer.values(ids)), ids)


def test_mixture_loss_by_hand():
    task, quantizer = depth(), LogBins(2)
    quantizer.fit(torch.tensor([[1.5], [4.0]]))  # edges 1 2 4
    logits = torch.zeros(1, 2, 1, 1)
    target = torch.full((1, 1, 1, 1), 3.0)
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    center = (2.0**0.5 + 2.0**1.5) / 2
    expected = 0.1 * abs(center - 3.0) + math.log(2)  # Eq. 13
    loss = mixture_loss(task, quantizer, logits, target, mask, 0.1)
    torch.testing.assert_close(loss, torch.tensor([expected]))


def test_mixture_loss_of_a_class_task_is_cross_entropy():
    task = semseg(("a", "b"))
    target = torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    quantizer = build_quantizer(task)
    loss = mixture_loss(task, quantizer, torch.zeros(1, 2, 1, 1), target, mask, 0.1)
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))


def test_fewer_normals_than_centers_are_named() -> None:
    with pytest.raises(
        ValueError, match="at least 20 labeled pixels to find as many centers, got 7"
    ):
        UnitVectors(20).fit(F.normalize(torch.randn(7, 3), dim=1))
