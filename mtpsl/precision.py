"""Mixed precision on processors that have no bfloat16 arithmetic.

There a bfloat16 kernel is emulated value by value and takes longer than its float32 twin. The
same numbers come from float32 kernels whose inputs and outputs are rounded to bfloat16: the
hardware's own kernels add up in float32 too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Precision = Literal["fp32", "bf16"]

aten = torch.ops.aten
PRODUCTS = {  # what spends its time in multiplying and adding
    aten.addmm.default,
    aten.baddbmm.default,
    aten.bmm.default,
    aten.convolution.default,
    aten.convolution_backward.default,
    aten.mm.default,
}


@contextmanager
def fast_products(device: torch.device | str, precision: Precision) -> Iterator[None]:
    """Inside, matrix products and convolutions in bfloat16 run as fast as the device allows.

    Put forward and backward pass inside. Changes nothing in float32, on a GPU, or on a processor
    with bfloat16 instructions.
    """
    on_cpu = torch.device(device).type == "cpu"
    if precision == "bf16" and on_cpu and not has_bfloat16():
        with RoundedProducts():
            yield
    else:
        yield


@cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers; True where PyTorch cannot tell."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older PyTorch
        return True
    known = torch.cpu.get_capabilities()
    if known.get("architecture") != "x86_64":
        return True
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


class RoundedProducts(TorchDispatchMode):
    """Runs bfloat16 ``PRODUCTS`` as float32 kernels between roundings."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS and any(_is_bfloat16(a) for a in args):
            return tree_map(_rounded, func(*tree_map(_widened, args), **kwargs))
        return func(*args, **kwargs)


def _is_bfloat16(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def _widened(value: Any) -> Any:
    return value.float() if _is_bfloat16(value) else value


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, torch.Tensor) else value
