"""TaskExpert as we read it: gates, memory, heads, and that every method can have it."""

import pytest
import torch
from properties import random_batch
from torch import nn

from mtpsl.models import Backbone
from mtpsl.papers import backbone_builder, build_method
from mtpsl.papers.rdc import task_expert
from mtpsl.papers.rdc.task_expert import EXPERTS, TaskDecoder, TaskExpert
from mtpsl.papers.xtc.mapping import Pass
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple("abcde")), depth(), normals()))
NYUD = TaskSet((semseg(tuple(map(str, range(13)))), depth(), normals()))


def build(method: str = "supervised", **args):
    torch.manual_seed(0)
    return build_method(method, TASKS, "task_expert", 0.125, args, {"vit": "vit_base"})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_it_is_a_backbone_that_a_paper_brings() -> None:
    assert backbone_builder("task_expert") is TaskExpert
    assert isinstance(build().net.backbone, Backbone)
    with pytest.raises(ValueError, match="did you mean 'task_expert'"):
        backbone_builder("task_experts")
    with pytest.raises(ValueError, match="backbone_args: .*'widht'"):
        build_method("supervised", TASKS, "task_expert", 0.125, {}, {"widht": 3})


def test_shapes() -> None:
    net = build().net
    output = net(torch.rand(2, 3, 32, 48))
    assert output.features.shape == (2, net.backbone.channels, 2, 3)
    assert output.bottleneck.shape == (2, net.backbone.bottleneck_channels, 2, 3)
    for task in TASKS:
        head = net.heads[task.name]
        assert head(output.features).shape == (2, task.channels, 8, 12)  # 1/4 of the image
        assert output.predictions[task.name].shape == (2, task.channels, 32, 48)


def test_gates_choose_among_experts_and_memory_in_every_pixel() -> None:
    net = build().net
    reads = net.heads["depth"].trace(net(torch.rand(2, 3, 32, 48)).features)
    assert len(reads) == 4
    for read in reads:
        assert read.gate.shape == (2, EXPERTS + 1, 2, 3)
        torch.testing.assert_close(read.gate.sum(1), torch.ones(2, 2, 3))
        assert read.gate.flatten(2).std(2).min() > 0  # not one choice for the whole image


def test_the_memory_is_read_and_written_at_every_depth() -> None:
    """By hand, with a gate that takes only the memory or only the first expert."""
    decoder = TaskDecoder((4, 4), width=8, gate_channels=8, out=1).eval()
    for write in decoder.writes:
        write[0].weight.data.zero_()
        write[0].weight.data[:, :, 1, 1] = torch.eye(8)  # the convolution hands its input on
    first, second = decoder.gates
    for gate, chosen in ((first, 0), (second, EXPERTS)):
        gate.weight.data.zero_()
        gate.bias.data.fill_(-100.0)
        gate.bias.data[chosen] = 100.0
    features = torch.rand(1, 2 * (4 + EXPERTS * 8), 2, 3)
    at_1, at_2 = decoder.trace(features)

    def written(mixed: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(mixed / (1 + 1e-5) ** 0.5)  # BatchNorm as it starts

    expert = features[:, 4 : 4 + 8]
    torch.testing.assert_close(at_1.memory, written(expert))
    torch.testing.assert_close(at_2.memory, at_1.memory + written(at_1.memory))


def test_tasks_share_experts_and_nothing_else() -> None:
    net = build().net
    net(torch.rand(2, 3, 32, 32)).predictions["depth"].sum().backward()
    trained = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(n.startswith("backbone.experts.3") for n in trained)
    assert {n.split(".")[1] for n in trained if n.startswith("heads")} == {"depth"}


def test_the_gradient_reaches_every_parameter() -> None:
    method = build()
    batch = random_batch(TASKS, images=6, side=32)
    sum(method.training_step(batch, progress=0.0).values()).backward()
    missed = [n for n, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert missed == []


def test_parameters_at_the_size_of_the_paper() -> None:
    """303.3 M of ViT-L, and about 15 M of ours."""
    with torch.device("meta"):
        net = build_method("supervised", NYUD, "task_expert").net
    assert count(net.backbone.vit) == 303_301_632
    assert count(net.backbone.experts) == 5_253_120
    assert count(net.heads) == 9_655_897
    assert net.backbone.vit.depths == [5, 11, 17, 23]


def test_other_methods_learn_on_it() -> None:
    method = build("xtc")
    batch = random_batch(TASKS, images=3, side=32)
    terms = method.training_step(batch, batch, progress=0.0)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())


def test_a_joint_space_fits_hrnet() -> None:
    """XTC on HRNet: the mapping network ends where the coarsest branch does."""
    method = build_method("xtc", TASKS, "hrnet_w18_small_v2", 0.25)
    bottleneck = method.net(torch.rand(2, 3, 64, 96)).bottleneck
    (embedded,) = method.mapping([Pass("depth", ("depth", "normals"), torch.rand(2, 1, 64, 96))])
    assert embedded.shape == bottleneck.shape == (2, 36, 2, 3)


def test_choices_are_said() -> None:
    assert {"experts", "gate", "memory", "head"} <= set(task_expert.CHOICES)
