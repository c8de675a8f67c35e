import math

import pytest
import torch
import torch.nn.functional as F

from mtpsl.methods.quantize import (
    LARGEST_ZOOM,
    LogBins,
    UnitVectors,
    build_quantizer,
    mixture_loss,
)
from mtpsl.tasks import depth, normals, semseg


def test_log_bins_by_hand():
    bins = LogBins(3)
    bins.fit(torch.tensor([[1.5], [8.0], [4.0]]))  # range 1 (= 1.5 / zoom) to 8: edges 1 2 4 8
    torch.testing.assert_close(bins.centers[:, 0], torch.tensor([2.0**0.5, 2.0**1.5, 2.0**2.5]))
    target = torch.tensor([0.1, 1.9, 2.1, 3.9, 4.1, 100.0]).view(1, 1, 2, 3)
    assert bins.encode(target).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert LARGEST_ZOOM == 1.5


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
