"""SegNet against its published size, a plain rewrite of its decoder, and every memory layout."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from properties import build_net
from torch import Tensor

from mtpsl.models import BACKBONES, build_backbone
from mtpsl.models.backbone import scale_channels
from mtpsl.models.segnet import SegNet
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(f"class {k}" for k in range(13))), depth(), normals()))


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def net(width_factor: float = 0.125, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_net("segnet", TASKS, width_factor)


def images(batch: int = 2, height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


# --- as published -----------------------------------------------------------------------------


def test_parameters_as_published() -> None:
    with torch.device("meta"):
        assert parameters(build_net("segnet", TASKS)) == 25_055_185
        single = [parameters(build_net("segnet", TASKS.subset((t.name,)))) for t in TASKS]
        assert single == [24_981_069, 24_980_289, 24_980_419]
        assert parameters(SegNet()) == 24_943_296  # as its docstring says


def test_layer_order_and_widths_as_published() -> None:
    with torch.device("meta"):
        segnet = SegNet()
    encoder, decoder = (
        [
            [(m.in_channels, m.out_channels) for m in stage if isinstance(m, torch.nn.Conv2d)]
            for stage in stages
        ]
        for stages in (segnet.encoder, segnet.decoder)
    )
    assert encoder == [
        [(3, 64), (64, 64)],
        [(64, 128), (128, 128)],
        [(128, 256), (256, 256), (256, 256)],
        [(256, 512), (512, 512), (512, 512)],
        [(512, 512), (512, 512), (512, 512)],
    ]
    assert decoder == [
        [(512, 512), (512, 512), (512, 512)],
        [(512, 256), (256, 256), (256, 256)],
        [(256, 128), (128, 128), (128, 128)],
        [(128, 64), (64, 64)],
        [(64, 64), (64, 64)],
    ]


def test_head_is_two_convolutions_and_nothing_between() -> None:
    head = SegNet(0.125).build_head(13)
    assert [(type(m), m.kernel_size) for m in head] == [
        (torch.nn.Conv2d, (3, 3)),
        (torch.nn.Conv2d, (1, 1)),
    ]
    assert all(m.bias is not None for m in head)


def test_initialization() -> None:
    torch.manual_seed(0)
    segnet = SegNet(0.5)
    for layer in segnet.modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert not layer.bias.any()
        elif isinstance(layer, torch.nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()
    assert not any(layer.bias.any() for layer in segnet.build_head(13))
    weight = segnet.encoder[3][3].weight  # (256, 256, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)  # xavier normal


# --- forward ----------------------------------------------------------------------------------


def test_shapes_and_attributes() -> None:
    segnet = SegNet(0.25)
    features = segnet(images(2, 64, 96))
    assert (segnet.channels, segnet.bottleneck_channels, segnet.reduction) == (16, 128, 32)
    assert features.decoder.shape == (2, 16, 64, 96)
    assert features.bottleneck.shape == (2, 128, 2, 3)


def test_decoder_puts_values_back_where_pooling_found_them() -> None:
    """Every unpooling, written pixel by pixel.

    Normalized by the batch: with fresh running statistics maps fade to 1e-7 on their way.
    """
    torch.manual_seed(0)
    segnet = SegNet(0.125).double()
    image = images(1, 32, 32).double()
    with torch.no_grad():
        x, sources = image, []
        for stage in segnet.encoder:
            x = stage(x)
            sources.append(x)
            x = F.max_pool2d(x, 2)
        for stage in segnet.decoder:
            source = sources.pop()
            put = torch.zeros(1, x.shape[1], *source.shape[2:], dtype=x.dtype)
            for c, i, j in torch.cartesian_prod(*map(torch.arange, x.shape[1:])).tolist():
                window = source[0, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                row, column = divmod(int(window.argmax()), 2)
                put[0, c, 2 * i + row, 2 * j + column] = x[0, c, i, j]
            x = stage(put)
        assert x.std() > 0.1
        torch.testing.assert_close(segnet(image).decoder, x)


def test_predictions_suit_their_losses_and_metrics() -> None:
    output = net()(images())
    assert list(output.predictions) == list(TASKS.names)
    for task in TASKS:
        prediction = output.predictions[task.name]
        assert prediction.shape == (2, task.channels, 64, 96)
        assert prediction.dtype == torch.float32
    lengths = output.predictions["normals"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert output.features.shape == (2, 8, 64, 96)
    assert output.bottleneck.shape == (2, 64, 2, 3)


def test_image_size_must_divide() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, got \(64, 100\)"):
        SegNet(0.125)(images(1, 64, 100))


@pytest.mark.parametrize(("factor", "channels"), [(1, 64), (0.25, 16), (0.3, 16), (0.01, 8)])
def test_scaled_channels(factor: float, channels: int) -> None:
    assert scale_channels(64, factor) == channels


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_width_factor_must_be_positive(factor: float) -> None:
    with pytest.raises(ValueError, match="width_factor: expected a positive number"):
        SegNet(factor)


# --- layouts, precision, determinism ----------------------------------------------------------


def train_step(model: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A loss and the gradient of every parameter as one vector."""
    torch.manual_seed(0)
    output = model(x)
    loss = sum(p.square().mean() for p in (*output.predictions.values(), output.bottleneck))
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_channels_last_changes_nothing_but_the_layout() -> None:
    """In float64: in float32 a last bit decides ReLUs and maxima, and with them gradients."""
    x = images().double()
    loss, gradient = train_step(net().double(), x)
    x = x.contiguous(memory_format=torch.channels_last)
    model = net().double().to(memory_format=torch.channels_last)
    last_loss, last_gradient = train_step(model, x)
    torch.testing.assert_close(last_loss, loss)
    torch.testing.assert_close(last_gradient, gradient)
    assert model(x).features.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_autocast_trains_as_float32_does(layout: torch.memory_format) -> None:
    x = images()

    def train(half: bool) -> list[float]:
        model = net().to(memory_format=layout)
        adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(6):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                predictions = model(x.contiguous(memory_format=layout)).predictions
                loss = (predictions["depth"] - 2).abs().mean() + predictions["semseg"].std()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
        return losses

    full, half = train(False), train(True)
    assert half[-1] < 0.9 * half[0]
    assert half == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_unpooling_by_torch_is_right_in_every_layout(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """SegNet relies on it in bfloat16 and in both layouts: against an independent scatter."""
    x = torch.randn(2, 8, 12, 16, generator=torch.Generator().manual_seed(0))
    x = x.to(dtype).contiguous(memory_format=layout)
    pooled, index = F.max_pool2d(x, 2, return_indices=True)
    put = F.max_unpool2d(pooled, index, 2)
    expected = torch.zeros(2, 8, 12 * 16, dtype=dtype)
    expected.scatter_(2, index.flatten(2), pooled.flatten(2))
    assert torch.equal(put, expected.view_as(x))
    assert put.is_contiguous(memory_format=layout)


def test_same_seed_same_bits() -> None:
    x = images()
    first, second = (train_step(net(seed=3), x) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    other = train_step(net(seed=4), x)
    assert not torch.equal(first[1], other[1])


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cuda_agrees_with_cpu(layout: torch.memory_format) -> None:
    x = images().double()
    loss, gradient = train_step(net().double(), x)
    model = net().double().cuda().to(memory_format=layout)
    cuda_loss, cuda_gradient = train_step(model, x.cuda().contiguous(memory_format=layout))
    torch.testing.assert_close(cuda_loss.cpu(), loss)
    torch.testing.assert_close(cuda_gradient.cpu(), gradient)


# --- the register and the torchvision guard ---------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_keeps_the_contract(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, 0.125)
    features = backbone(images(2, 64, 96))
    coarse = (64 // backbone.reduction, 96 // backbone.reduction)
    assert features.bottleneck.shape == (2, backbone.bottleneck_channels, *coarse)
    fine = features.decoder.shape[2:]
    assert features.decoder.shape[:2] == (2, backbone.channels)
    assert coarse <= tuple(fine) <= (64, 96)
    assert backbone.build_head(5)(features.decoder).shape == (2, 5, *fine)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_makes_a_network(name: str) -> None:
    """Predictions have the image's size, and all parameters learn."""
    torch.manual_seed(0)
    model = build_net(name, TASKS, 0.125)
    _, gradient = train_step(model, images(2, 64, 64))
    assert gradient.isfinite().all() and all(p.grad is not None for p in model.parameters())
    predictions = model(images(2, 64, 64)).predictions
    shapes = {name: prediction.shape for name, prediction in predictions.items()}
    assert shapes == {task.name: (2, task.channels, 64, 64) for task in TASKS}


def test_segnet_takes_no_further_arguments() -> None:
    with pytest.raises(ValueError, match=r"expected some of \['stages'\], got 'weights'"):
        build_backbone("segnet", 0.125, weights="IMAGENET1K_V1")


@pytest.mark.parametrize(("stages", "channels"), [(1, 16), (3, 64), (5, 128)])
def test_fewer_stages_keep_a_larger_bottleneck(stages: int, channels: int) -> None:
    net = build_backbone("segnet", 0.25, stages=stages)
    features = net(images(2, 64, 96))
    side = 2**stages
    assert features.decoder.shape == (2, 16, 64, 96)
    assert features.bottleneck.shape == (2, channels, 64 // side, 96 // side)
    assert (net.reduction, net.bottleneck_channels) == (side, channels)


@pytest.mark.parametrize("stages", [0, 6])
def test_stages_that_segnet_does_not_have_are_refused(stages: int) -> None:
    with pytest.raises(ValueError, match="stages: expected 1 to 5"):
        build_backbone("segnet", 0.25, stages=stages)


def test_unknown_backbone_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="backbone: expected .* did you mean 'segnet'"):
        build_backbone("segnat")


def test_torchvision_is_imported_only_when_asked_and_then_works() -> None:
    """In a process of its own: the guard matters before the first import."""
    code = """
import sys
import mtpsl.models, mtpsl.models._torchvision as guard
assert "torchvision" not in sys.modules
resnet = guard.import_torchvision("models.resnet")
import torch
assert resnet.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
assert guard.import_torchvision() is sys.modules["torchvision"]
assert guard.import_torchvision("transforms.v2").functional
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
