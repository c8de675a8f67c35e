"""Mixed precision on processors that have no bfloat16 arithmetic.

There a bfloat16 kernel is emulated value by value and takes longer than its float32 twin. The
same numbers come from float32 kernels whose inputs and outputs are rounded to bfloat16: the
hardware's own kernels add up in float32 too.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map

Precision = Literal["fp32", "bf16"]

PRODUCTS = {  # what spends its time in multiplying and adding
    F.conv2d,
    F.linear,
    torch.addmm,
    torch.baddbmm,
    torch.bmm,
    torch.einsum,
    torch.matmul,
    torch.mm,
    Tensor.__matmul__,
    Tensor.matmul,
    Tensor.mm,
    Tensor.bmm,
}


def fast_products(device: torch.device | str, precision: Precision) -> AbstractContextManager:
    """Inside, matrix products and convolutions in bfloat16 run as fast as the device allows.

    Put a training step's forward pass inside. Changes nothing in float32, on a GPU, or on a
    processor with bfloat16 instructions.
    """
    on_cpu = torch.device(device).type == "cpu"
    slow = precision == "bf16" and on_cpu and not has_bfloat16()
    return RoundedProducts() if slow else nullcontext()


@cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers; True where PyTorch cannot tell."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older PyTorch
        return True
    known = torch.cpu.get_capabilities()
    if known.get("architecture") != "x86_64":
        return True
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


class RoundedProducts(TorchFunctionMode):
    """Runs ``PRODUCTS`` as float32 kernels between roundings to bfloat16.

    Those of bfloat16 numbers, and all of them under autocast. Gradients are rounded where
    bfloat16 kernels would round them. As under autocast a parameter is rounded once inside the
    mode, whatever uses it; its gradients add up in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounded: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        mixed = func in PRODUCTS and (
            torch.is_autocast_enabled("cpu") or tree_any(_is_bfloat16, (args, kwargs))
        )
        if not mixed:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*tree_map(self.round, args), **tree_map(self.round, kwargs)).bfloat16()

    def round(self, value: Any) -> Any:
        """A floating-point tensor as the float32 of its bfloat16; anything else as it is."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if not isinstance(value, torch.nn.Parameter):
            return value.bfloat16().float()
        key = id(value), torch.is_grad_enabled()
        if key not in self.rounded:
            self.rounded[key] = value, value.bfloat16().float()  # kept, so the id stays its own
        return self.rounded[key][1]


def _is_bfloat16(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16
