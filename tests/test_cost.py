"""Costs by hand on small layers, and the published ones of SegNet."""

import pytest
import torch
import torch.nn.functional as F
from properties import build_net
from torch import Tensor, nn

from mtpsl.models.cost import Cost, cost, format_costs
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(f"class {k}" for k in range(13))), depth(), normals()))


def test_segnet_costs_what_the_papers_print() -> None:
    """[HiTTs, Table 8]: 25.06 M parameters and 68.81 G FLOPs."""
    found = cost(build_net("segnet", TASKS), 288, 384)
    assert found == Cost(params=25_055_185, macs=68_598_890_496, thop_flops=68_807_688_192)


@pytest.mark.parametrize(
    ("layer", "params", "macs", "flops"),
    [
        # 10 x 12 outputs of 8 channels, each from 3 channels and 9 positions; no cost for bias
        (nn.Conv2d(3, 8, 3, padding=1), 224, 25_920, 25_920),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3, bias=False), 54, 6_480, 6_480),
        (nn.Conv2d(3, 8, 1, stride=2), 32, 720, 720),
        (nn.BatchNorm2d(3), 6, 0, 4 * 360),
        (nn.InstanceNorm2d(3), 0, 0, 2 * 360),
        (nn.LayerNorm(12), 24, 0, 4 * 360),
        (nn.Linear(12, 5), 65, 30 * 5 * 12, 30 * 5 * 12),  # 30 rows
        (nn.Linear(12, 5, bias=False), 60, 1_800, 1_800),
        (nn.ReLU(), 0, 0, 0),
        (nn.MaxPool2d(2), 0, 0, 0),
    ],
    ids=str,
)
def test_layers_by_hand(layer: nn.Module, params: int, macs: int, flops: int) -> None:
    assert cost(layer, 10, 12) == Cost(params, macs, flops)


class Attention(nn.Module):
    """Products without a module: in the multiply-adds, not in the papers' FLOPs."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2)  # (1, 3, 120)
        return (pixels.transpose(1, 2) @ pixels).softmax(-1)


def test_matrix_products_count_only_as_macs() -> None:
    assert cost(Attention(), 10, 12) == Cost(params=0, macs=120 * 120 * 3, thop_flops=0)


class WholeAttention(nn.Module):
    """The same by the function of PyTorch, which has a kernel of its own for it."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2).transpose(1, 2)  # (1, n, 3)
        return F.scaled_dot_product_attention(pixels, pixels, pixels)


@pytest.mark.parametrize(("height", "width"), [(10, 12), (130, 128)])  # computed, and shapes alone
def test_attention_counts_its_two_products(height: int, width: int) -> None:
    n = height * width
    assert cost(WholeAttention(), height, width) == Cost(0, 2 * n * n * 3, 0)


def test_shared_layer_counts_once_in_size_and_twice_in_work() -> None:
    layer = nn.Conv2d(3, 3, 1)
    assert cost(nn.Sequential(layer, layer), 10, 12) == Cost(12, 2 * 1_080, 2 * 1_080)


def test_frozen_parameters_do_not_count() -> None:
    assert cost(nn.Conv2d(3, 8, 1).requires_grad_(False), 4, 4).params == 0


def test_a_method_is_counted_through_predict() -> None:
    class Method(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Conv2d(3, 8, 1)

        def predict(self, images: Tensor) -> dict[str, Tensor]:
            return {"depth": self.net(images)}

    assert cost(Method(), 10, 12).thop_flops == 2_880


def test_the_module_is_left_untouched() -> None:
    torch.manual_seed(0)
    net = build_net("segnet", TASKS, 0.125).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cost(net, 32, 32)
    assert net.training and all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_table_of_costs() -> None:
    rows = {"MTL": Cost(25_055_185, 68_598_890_496, 68_807_688_192), "other": Cost(0, 0, 0)}
    assert format_costs(rows).splitlines() == [
        "       params (M)  MACs (G)  FLOPs as printed (G)",
        "MTL         25.06     68.60                 68.81",
        "other        0.00      0.00                  0.00",
    ]
