import pytest
import torch
from properties import TASKS
from torch import nn

from mtpsl.models import build_backbone
from mtpsl.papers.xtc.mapping import (
    PairNorm,
    Pass,
    build_mapping,
    by_its_peak,
    convolve,
    label_input,
    prediction_input,
)
from mtpsl.tasks import TaskSet, depth, normals, saliency, semseg

NYUD = TaskSet((semseg(tuple(map(str, range(13)))), depth(), normals()))


def small(condition: bool = True):
    torch.manual_seed(0)
    return build_mapping(TASKS, build_backbone("segnet", 0.125), condition=condition)


def some_passes(net=None) -> list[Pass]:
    """The label of task 1 in two pairs, as one object, and a prediction of each source."""
    generator = torch.Generator().manual_seed(0)
    semseg_, depth_, normals_ = TASKS
    maps = {t.name: torch.rand(2, t.channels, 32, 32, generator=generator) for t in TASKS}
    d = depth_.name
    return [
        Pass(semseg_.name, (semseg_.name, d), maps[semseg_.name]),
        Pass(d, (semseg_.name, d), maps[d]),
        Pass(normals_.name, (normals_.name, d), maps[normals_.name]),
        Pass(d, (normals_.name, d), maps[d]),
    ]


def count(parameters) -> int:
    return sum(p.numel() for p in parameters)


def test_parameters_are_those_of_the_released_network():
    net = build_mapping(NYUD, build_backbone("segnet"))
    assert count(net.parameters()) == 14_819_328
    assert count(net.film_parameters()) == 50_688
    assert count(net.inputs.parameters()) == 10_368
    plain = build_mapping(NYUD, build_backbone("segnet"), condition=False)
    assert count(plain.parameters()) == 14_819_328 - 50_688 and not plain.film_parameters()


def test_pairs_are_the_rows_of_the_off_diagonal_matrix():
    assert small().pairs == {
        ("semseg", "depth"): 0,
        ("semseg", "normals"): 1,
        ("depth", "semseg"): 2,
        ("depth", "normals"): 3,
        ("normals", "semseg"): 4,
        ("normals", "depth"): 5,
    }


@pytest.mark.parametrize("backbone", ["segnet", "resnet18", "resnet50"])
def test_embeddings_have_the_shape_of_the_bottleneck(backbone):
    torch.manual_seed(0)
    net = build_backbone(backbone, 0.125).eval()
    mapping = build_mapping(TASKS, net)
    expected = net(torch.rand(2, 3, 64, 96)).bottleneck.shape
    maps = torch.rand(2, 3, 64, 96)
    (embedding,) = mapping([Pass("normals", ("normals", "depth"), maps)])
    assert embedding.shape == expected


def test_the_residual_mapping_looks_as_far_as_its_backbone():
    net = build_backbone("resnet18", 0.125)
    mapping = build_mapping(TASKS, net)
    layers = (net.layer1, net.layer2, net.layer3, net.layer4)
    for stage, layer in zip(mapping.stages, layers, strict=True):
        found = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
        theirs = [m for m in found if m.kernel_size == (3, 3)]
        assert [(c.stride, c.dilation, c.padding) for c in stage.convs] == [
            (c.stride, c.dilation, c.padding) for c in theirs
        ]


def test_a_backbone_of_an_odd_resolution_is_refused():
    net = build_backbone("resnet18", 0.125)
    net.reduction = 12
    with pytest.raises(ValueError, match="reduction of 4, 8, 16 or 32, got 12"):
        build_mapping(TASKS, net)


@pytest.mark.parametrize("backbone", ["segnet", "resnet18"])
@pytest.mark.parametrize("statistics", ["pass", "image"])
def test_passes_do_not_touch_each_other(backbone, statistics):
    """Together or one by one: the same embeddings and the same gradients."""
    torch.manual_seed(0)
    net = build_mapping(TASKS, build_backbone(backbone, 0.125)).double()
    passes = [Pass(p.task, p.pair, p.maps.double()) for p in some_passes()]
    passes[3] = Pass(passes[3].task, passes[3].pair, passes[1].maps)  # still one object
    together = net(passes, statistics)
    gradients = torch.autograd.grad(sum(m.square().sum() for m in together), net.parameters(),
                                    allow_unused=True)  # fmt: skip
    alone = [net([p], statistics)[0] for p in passes]
    again = torch.autograd.grad(sum(m.square().sum() for m in alone), net.parameters(),
                                allow_unused=True)  # fmt: skip
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradients, again)


def test_an_image_by_itself_is_a_pass_of_one_image():
    net = small().double()
    passes = [Pass(p.task, p.pair, p.maps.double()) for p in some_passes()]
    by_image = net(passes, "image")
    for one, expected in zip(passes, by_image, strict=True):
        single = [net([Pass(one.task, one.pair, m[None])], "pass")[0] for m in one.maps]
        torch.testing.assert_close(torch.cat(single), expected)
    assert not torch.allclose(net(passes, "pass")[0], by_image[0])


def test_conditioning_starts_as_the_identity_and_acts_on_its_pair_alone():
    net, plain = small(), small(condition=False)
    passes = some_passes()
    state = {n: p for n, p in net.state_dict().items() if "gamma" not in n and "beta" not in n}
    plain.load_state_dict(state)
    before = net(passes)
    torch.testing.assert_close(before, plain(passes))
    row = net.pairs["normals", "depth"]
    for p in net.film_parameters():
        p.data[row] += 0.5
    after = net(passes)
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert not torch.allclose(before[2], after[2]) and not torch.allclose(before[3], after[3])


def test_norm_by_hand():
    norm = PairNorm(1, pairs=2)
    norm.gamma.data[1], norm.beta.data[1] = 3.0, 1.0
    x = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(2, 1, 1, 2)
    by_image = norm(x, 1, "image").flatten().tolist()
    assert by_image == pytest.approx([-2, 4, -2, 4], abs=1e-4)  # gamma * (-1, 1) + beta
    assert norm.running_mean.item() == pytest.approx(0.1 * (2 + 20) / 2)
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * (2 + 200) / 2)
    together = norm(x, 0, "pass")
    assert together.mean().item() == pytest.approx(0, abs=1e-6)
    assert together.square().mean().item() == pytest.approx(1, abs=1e-4)
    norm.eval()
    scale = (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(norm(x, 1, "image"), 3 * (x - norm.running_mean) / scale + 1)


def test_large_kernels_read_all_maps_at_once_and_equal_maps_once(monkeypatch):
    calls = []
    conv = nn.Conv2d(4, 4, 3, padding=1)  # 144 weights
    conv.register_forward_hook(lambda m, inputs, out: calls.append(len(inputs[0])))
    large, small_ = torch.rand(2, 4, 8, 8), torch.rand(3, 4, 2, 2)
    convolve(conv, [large, large, torch.rand(1, 4, 8, 8)])
    assert calls == [2, 1]
    calls.clear()
    first, second = convolve(conv, [small_, torch.rand(2, 4, 2, 2)])
    assert calls == [5] and (len(first), len(second)) == (3, 2)


def test_trace_shows_every_stage():
    leaving = small().trace(some_passes())
    assert [maps[0].shape[-1] for maps in leaving] == [32, 16, 8, 4, 2, 1]
    assert [len(maps) for maps in leaving] == [4] * 6


# --- inputs -----------------------------------------------------------------------------------


def test_labels_as_inputs_by_hand():
    mask = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    ids = torch.tensor([2, 0, 255]).view(1, 1, 1, 3)
    found = label_input(TASKS["semseg"], ids, mask)
    assert found[0, :, 0].T.tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    nan = float("nan")
    found = label_input(TASKS["depth"], torch.tensor([2.0, 4.0, nan]).view(1, 1, 1, 3), mask)
    assert found.flatten().tolist() == [0.5, 1.0, 0.0]
    vectors = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [nan, nan, nan]]).T.reshape(1, 3, 1, 3)
    found = label_input(TASKS["normals"], vectors, mask)
    assert found[0, :, 0].T.tolist() == [[0.5, 0.5, 1], [0, 0.5, 0.5], [0, 0, 0]]
    found = label_input(saliency(), torch.tensor([1.0, 0.0, nan]).view(1, 1, 1, 3), mask)
    assert found.flatten().tolist() == [1, 0, 0]


def test_depth_is_divided_by_its_own_images_peak():
    maps = torch.tensor([[2.0, 4.0], [1.0, 10.0]]).view(2, 1, 1, 2)
    assert prediction_input(TASKS["depth"], maps).flatten().tolist() == pytest.approx(
        [0.5, 1, 0.1, 1]
    )


@pytest.mark.parametrize("value", [0.0, 1e-9])
def test_a_map_of_nothing_has_a_finite_gradient(value):
    maps = torch.full((1, 1, 2, 2), value, requires_grad=True)
    by_its_peak(maps).sum().backward()
    assert maps.grad.isfinite().all() and maps.grad.abs().max() <= 1e6


def test_sampled_classes_are_one_hot_with_the_gradient_of_the_soft_ones():
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3, 3, requires_grad=True)
    gumbel = -torch.empty_like(logits).exponential_().log()
    found = prediction_input(TASKS["semseg"], logits, gumbel)
    assert torch.equal(found.argmax(1), (logits + gumbel).argmax(1))
    torch.testing.assert_close(found.amax(1), torch.ones(2, 3, 3))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 3, 3))
    weight = torch.randn_like(logits)
    (gradient,) = torch.autograd.grad((found * weight).sum(), logits)
    (expected,) = torch.autograd.grad(((logits + gumbel).softmax(1) * weight).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_sampled_classes_follow_their_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([0.7, 0.2, 0.1]).log().view(1, 3, 1, 1).expand(1, 3, 100, 100)
    gumbel = -torch.empty(1, 3, 100, 100).exponential_().log()
    three = semseg(("a", "b", "c"))
    share = prediction_input(three, logits, gumbel).mean(dim=(0, 2, 3))
    torch.testing.assert_close(share, torch.tensor([0.7, 0.2, 0.1]), atol=0.02, rtol=0)


def test_other_predictions_as_inputs():
    maps = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert prediction_input(TASKS["normals"], maps).flatten().tolist() == [0, 0.5, 1]
    assert prediction_input(saliency(), torch.zeros(1, 1, 1, 1)).item() == 0.5
