import pytest
import torch
from properties import TASKS, random_batch, step

from mtpsl.models import build_backbone
from mtpsl.papers.xtc.loss import Inputs, Link
from mtpsl.papers.xtc.pair_maps import (
    DirectMap,
    PairMaps,
    PerceptualMap,
    XTask,
    common_links,
    direct_loss,
    perceptual_loss,
    width_for,
)

ALL = {n: torch.ones(4, dtype=torch.bool) for n in TASKS.names}


def build(cls, **args):
    torch.manual_seed(0)
    return cls(TASKS, build_backbone("segnet", 0.125), **args)


def material(**args):
    torch.manual_seed(0)
    batch = random_batch(**args)
    predictions = {t.name: t.activate(torch.randn(4, t.channels, 32, 32)) for t in TASKS}
    predictions = {n: p.requires_grad_() for n, p in predictions.items()}
    return PairMaps(TASKS, 0.125), predictions, Inputs(predictions, batch), batch


def test_a_map_for_every_ordered_pair_as_wide_as_the_backbone():
    method = build(DirectMap)
    assert len(method.maps) == 6
    first = method.maps["semseg to depth"].net.encoder[0][0]
    assert (first.in_channels, first.out_channels) == (5, 8)
    assert width_for(build_backbone("segnet", 0.25), None) == 0.25
    assert width_for(build_backbone("resnet50", 0.5), None) == 1.0
    assert width_for(build_backbone("segnet", 0.25), 0.5) == 0.5


def test_direct_loss_by_hand():
    maps, _, inputs, batch = material(labeled=ALL)
    semseg, depth, _ = TASKS
    link = Link(semseg, depth, (1, 3))
    found = direct_loss(maps, [link], inputs, batch)
    mapped = maps["semseg to depth"](inputs.prediction(semseg, (1, 3)))
    mask = batch.mask("depth")[[1, 3]]
    error = (mapped - batch.targets["depth"][[1, 3]].nan_to_num(0)).abs() * mask
    torch.testing.assert_close(found, (error.sum((1, 2, 3)) / mask.sum((1, 2, 3))).sum() / 4)


def test_the_direct_loss_trains_prediction_and_map():
    maps, predictions, inputs, batch = material(labeled=ALL)
    semseg, depth, _ = TASKS
    link = Link(semseg, depth, (0, 1))
    direct_loss(maps, [link], inputs, batch).backward()
    assert predictions["semseg"].grad.flatten(1).any(1).tolist() == [True, True, False, False]
    assert all(p.grad is not None for p in maps["semseg to depth"].parameters())
    assert all(p.grad is None for p in maps["depth to semseg"].parameters())


def test_the_perceptual_loss_trains_the_prediction_alone():
    maps, predictions, inputs, batch = material(labeled=ALL)
    semseg, depth, _ = TASKS
    before = {n: b.clone() for n, b in maps.named_buffers()}
    perceptual_loss(maps, [Link(semseg, depth, (0, 1))], inputs, batch).backward()
    assert predictions["semseg"].grad.flatten(1).any(1).tolist() == [True, True, False, False]
    hole = ~batch.mask("semseg")[0].expand(5, -1, -1)
    assert not predictions["semseg"].grad[0][hole].any()
    assert all(p.grad is None for p in maps.parameters())
    assert all(torch.equal(b, before[n]) for n, b in maps.named_buffers())


def test_perceptual_loss_by_hand():
    """Through the map to classes, whose logits are compared as probabilities."""
    maps, _, inputs, batch = material(labeled=ALL)
    semseg, depth, _ = TASKS
    found = perceptual_loss(maps, [Link(depth, semseg, (1, 3))], inputs, batch)
    mask = batch.mask("depth")[[1, 3]]
    both = [inputs.prediction(depth, (1, 3)) * mask, inputs.label(depth, (1, 3))]
    of_prediction, of_label = maps["depth to semseg"](torch.cat(both)).softmax(1).chunk(2)
    error = ((of_prediction - of_label).abs().mean(1, keepdim=True) * mask).sum((1, 2, 3))
    torch.testing.assert_close(found, (error / mask.sum((1, 2, 3))).sum() / 4)


def test_a_perfect_prediction_has_no_perceptual_loss():
    maps, predictions, _, batch = material(labeled=ALL)
    predictions = {**predictions, "depth": batch.targets["depth"].nan_to_num(0.0)}
    link = Link(TASKS["depth"], TASKS["semseg"], (0, 1, 2, 3))
    loss = perceptual_loss(maps, [link], Inputs(predictions, batch), batch)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_perceptual_map_keeps_its_two_losses_apart():
    """Maps learn from labels alone, predictions from labels and through constant maps."""
    method, batch = build(PerceptualMap).train(), random_batch()
    terms = method.training_step(batch, progress=0.0)
    assert tuple(terms) == (*TASKS.names, "perceptual", "maps")
    assert terms["perceptual"] > 0 and terms["maps"] > 0
    net, maps = list(method.net.parameters()), list(method.maps.parameters())
    grads = torch.autograd.grad(terms["maps"], net, allow_unused=True, retain_graph=True)
    assert all(g is None for g in grads)
    grads = torch.autograd.grad(terms["perceptual"], maps, allow_unused=True, retain_graph=True)
    assert all(g is None for g in grads)
    assert all(g is not None for g in torch.autograd.grad(terms["maps"], maps))


def test_x_task_needs_images_with_both_labels():
    assert common_links(TASKS, random_batch()) == []
    assert [x.rows for x in common_links(TASKS, random_batch(labeled=ALL))] == [(0, 1, 2, 3)] * 6
    terms, _ = step(build(XTask, pretraining=0.0), random_batch())
    assert terms["perceptual"] == 0 and terms["maps"] == 0


def test_x_task_starts_its_perceptual_loss_after_pretraining():
    method, batch = build(XTask, pretraining=0.5).train(), random_batch(labeled=ALL)
    early = method.training_step(batch, progress=0.49)
    late = method.training_step(batch, progress=0.5)
    assert early["perceptual"] == 0 and early["maps"] > 0
    assert late["perceptual"] > 0 and late["maps"] > 0
    net, maps = list(method.net.parameters()), list(method.maps.parameters())
    grads = torch.autograd.grad(late["maps"], net, allow_unused=True, retain_graph=True)
    assert all(g is None for g in grads)
    grads = torch.autograd.grad(late["perceptual"], maps, allow_unused=True)
    assert all(g is None for g in grads)
    with pytest.raises(ValueError, match="pretraining: expected a share"):
        build(XTask, pretraining=1.0)
