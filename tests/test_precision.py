"""bfloat16 products through float32 kernels: the same numbers, wherever they run."""

import pytest
import torch
import torch.nn.functional as F

from mtpsl import precision
from mtpsl.precision import RoundedProducts, fast_products, has_bfloat16

ULP = 2**-7  # spacing of bfloat16 numbers next to 1: kernels may add up in another order


def convolved(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    leaves = [t.detach().bfloat16().requires_grad_() for t in (x, w, b)]
    y = F.conv2d(*leaves, padding=1)
    y.float().square().mean().backward()
    return [y, *(t.grad for t in leaves)]


def multiplied(x: torch.Tensor, w: torch.Tensor) -> list[torch.Tensor]:
    leaves = [t.detach().bfloat16().requires_grad_() for t in (x, w)]
    y = F.linear(leaves[0], leaves[1], torch.ones(w.shape[0]).bfloat16()) @ leaves[1]
    y = torch.bmm(y[None], leaves[1].T[None])
    y.float().square().mean().backward()
    return [y, *(t.grad for t in leaves)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolution_is_that_of_bfloat16(layout):
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 8, 6, 5), torch.randn(4, 8, 3, 3), torch.randn(4)
    x = x.contiguous(memory_format=layout)
    native = convolved(x, w, b)
    with RoundedProducts():
        ours = convolved(x, w, b)
    for a, b in zip(ours, native, strict=True):
        assert a.dtype == b.dtype == torch.bfloat16
        assert a.stride() == b.stride()
        torch.testing.assert_close(a, b, rtol=2 * ULP, atol=2 * ULP * float(b.detach().abs().max()))


def test_products_are_those_of_bfloat16():
    torch.manual_seed(0)
    x, w = torch.randn(7, 16), torch.randn(16, 16)
    native = multiplied(x, w)
    with RoundedProducts():
        ours = multiplied(x, w)
    for a, b in zip(ours, native, strict=True):
        assert a.dtype == b.dtype == torch.bfloat16
        torch.testing.assert_close(a, b, rtol=2 * ULP, atol=2 * ULP * float(b.detach().abs().max()))


def test_bfloat16_rounds():
    """What the other tests compare differs from float32 by more than they allow."""
    x, w = torch.full((1, 1), 1 + ULP / 4), torch.ones(1, 1)
    with RoundedProducts():
        assert (x.bfloat16() @ w.bfloat16()).item() == 1.0
    assert (x @ w).item() > 1.0


def test_float32_passes_through():
    torch.manual_seed(0)
    x, w = torch.randn(3, 3), torch.randn(3, 3)
    with RoundedProducts():
        assert torch.equal(x @ w, torch.mm(x, w)) and (x @ w).dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "chosen", "capable", "emulated"),
    [
        ("cpu", "bf16", False, True),
        ("cpu", "bf16", True, False),
        ("cpu", "fp32", False, False),
        ("cuda", "bf16", False, False),
    ],
)
def test_used_where_the_processor_lacks_bfloat16(monkeypatch, device, chosen, capable, emulated):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: capable)
    entered = []
    monkeypatch.setattr(RoundedProducts, "__enter__", lambda self: entered.append(True))
    monkeypatch.setattr(RoundedProducts, "__exit__", lambda self, *error: None)
    with fast_products(device, chosen):
        pass
    assert bool(entered) == emulated


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "aarch64"}, True),
    ],
)
def test_reads_the_processor(monkeypatch, known, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    has_bfloat16.cache_clear()
    assert has_bfloat16() is expected
    has_bfloat16.cache_clear()


def test_a_parameter_is_rounded_once_and_gets_the_sum_of_its_gradients():
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 4)
    xs = [torch.randn(3, 8) for _ in range(2)]
    with RoundedProducts() as mode, torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():  # what is rounded here has no gradient to hand on
            layer(xs[0])
        ys = [layer(x) for x in xs]
        assert len(mode.rounded) == 4  # weight and bias, with and without gradients
    sum(y.float().sum() for y in ys).backward()
    together = layer.weight.grad.clone()
    alone = torch.zeros_like(together)
    for x in xs:
        alone += torch.ones(3, 4).T @ x.bfloat16().float()
    torch.testing.assert_close(together, alone.bfloat16().float(), rtol=2 * ULP, atol=0.0)


def test_gradients_of_gradients():
    """Some loss weightings ask for them."""
    w = torch.nn.Parameter(torch.full((1, 1), 3.0))
    with RoundedProducts(), torch.autocast("cpu", torch.bfloat16):
        y = torch.nn.functional.linear(torch.full((1, 1), 2.0), w).float() ** 3
    (first,) = torch.autograd.grad(y.sum(), w, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), w)
    assert (first.item(), second.item()) == (6 * 6.0**2, 24 * 6.0)
