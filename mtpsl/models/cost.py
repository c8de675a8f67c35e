"""What a network costs: parameters, multiply-adds, and the number that the papers print.

The papers' FLOPs (68.81 G for SegNet with three heads) are those of the ``thop`` package, which
counts modules and not operations:

- a convolution or a linear layer: its multiply-adds, bias excluded, so input channels (a
  group's) x kernel positions x output elements, or input features x output elements;
- a normalization layer: 4 operations per element with affine parameters and 2 without, although
  inference folds BatchNorm into the convolution before it;
- everything else: 0. ReLU and max-pooling by decision; matrix products, attention, softmax,
  interpolation and all other functions because no module announces them.

``thop`` also counts the modules Softmax, AvgPool and Upsample; this package calls functions in
their place. ``Cost.macs`` holds the plain multiply-adds, products inside attention included.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm)  # _NormBase: Batch-, InstanceNorm

# Pixels up to which the image is computed: PyTorch infers shapes in Python, which takes longer.
COMPUTED = 128 * 128


@dataclass(frozen=True)
class Cost:
    """What one image costs on its way through one network, at inference."""

    params: int  # trainable
    macs: int  # multiply-adds of convolutions and matrix products
    thop_flops: int  # the papers' FLOPs, see above


def cost(module: nn.Module, height: int, width: int) -> Cost:
    """Counts what a copy of the module does to one image; a large one is shapes alone.

    Args:
        module: Takes images (1, 3, height, width), through ``predict`` if it has it (a
            ``Method``), else by a call. Left untouched.
        height: In pixels; the papers use 288.
        width: In pixels; the papers use 384.
    """
    # Without gradients: the counter follows views of parameters through autograd, and fails there.
    device = "meta" if height * width > COMPUTED else "cpu"
    twin = copy.deepcopy(module).to(device).eval().requires_grad_(False)
    flops = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        if isinstance(layer, _CONVOLUTIONS):
            flops += math.prod(layer.weight.shape[1:]) * output.numel()
        elif isinstance(layer, nn.Linear):
            flops += layer.in_features * output.numel()
        else:
            flops += (2 if layer.weight is None else 4) * inputs[0].numel()

    for layer in twin.modules():
        if isinstance(layer, (*_CONVOLUTIONS, nn.Linear, *_NORMALIZATIONS)):
            layer.register_forward_hook(count)
        if isinstance(layer, _NORMALIZATIONS):
            layer.forward = lambda x, *_: x  # it multiplies nothing and keeps the shape
    images = torch.zeros(1, 3, height, width, device=device)
    # The counter knows products, but not the kernel that a CPU uses for a whole attention.
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        getattr(twin, "predict", twin)(images)
    params = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return Cost(params=params, macs=counter.get_total_flops() // 2, thop_flops=flops)


def format_costs(rows: Mapping[str, Cost]) -> str:
    """Name -> cost as a plain text table, in millions and billions (10^9) to two decimals."""
    table = [("", "params (M)", "MACs (G)", "FLOPs as printed (G)")]
    for name, c in rows.items():
        numbers = (c.params / 1e6, c.macs / 1e9, c.thop_flops / 1e9)
        table.append((name, *(f"{n:.2f}" for n in numbers)))
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = (
        "  ".join([name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])])
        for name, *numbers in table
    )
    return "\n".join(line.rstrip() for line in lines)
