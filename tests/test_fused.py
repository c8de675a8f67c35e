"""The network that joins a ResNet's stages at 1/8: counts as published, shapes, and its parts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from properties import build_net
from torch import Tensor, nn

from mtpsl.models import FusedResNet, build_backbone
from mtpsl.models._torchvision import import_torchvision
from mtpsl.tasks import TaskSet, depth, edges, human_parts, normals, saliency, semseg

ROOMS = TaskSet((semseg(13), depth(), normals()))
# Two logits of saliency, as in the framework's release; ours has one, which says the same.
TWO_LOGITS = replace(saliency("max_f"), channels=2)
PEOPLE = TaskSet((semseg(21), human_parts(), TWO_LOGITS, normals(), edges()))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images(batch: int = 2, height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("tasks", "published"),
    [
        (ROOMS, 43_933_265),
        (PEOPLE, 62_824_546),
        (ROOMS.subset(("semseg",)), 25_048_653),
        (ROOMS.subset(("depth",)), 25_042_497),
        (ROOMS.subset(("normals",)), 25_043_523),
    ],
)
def test_parameters_as_published(tasks: TaskSet, published: int) -> None:
    with torch.device("meta"):
        net = build_net("resnet18_fused", tasks)
    assert parameters(net) == published


def test_fifty_layers_differ_in_the_encoder_and_the_join_alone() -> None:
    with torch.device("meta"):
        small, large = (build_backbone(f"resnet{n}_fused") for n in (18, 50))
        theirs = import_torchvision("models").resnet50()
    assert parameters(large.encoder) == parameters(theirs) - parameters(theirs.fc)
    assert parameters(large.join) == 9 * 3_840 * 512 + 512
    assert parameters(large.build_head(3)) == parameters(small.build_head(3))


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_stages_and_what_joins_them(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build_backbone("resnet18_fused", 0.125).eval()
    with torch.no_grad():
        found = net(images(2, *size))
        shapes = [tuple(stage.shape[2:]) for stage in found.stages]
        assert shapes == [tuple(-(-side // s) for side in size) for s in (4, 8, 16, 32)]
        grid = found.stages[1].shape[2:]
        larger = [F.interpolate(x, grid, mode="bilinear") for x in found.stages]
        joined = F.conv2d(torch.cat(larger, 1), net.join.weight, net.join.bias, padding=1)
    assert torch.equal(found.decoder, joined) and found.bottleneck is found.decoder
    assert found.decoder.shape == (2, net.channels, *grid) == (2, 64, *grid)
    assert net.build_head(5)(found.decoder).shape == (2, 5, *grid)


def test_the_encoder_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours = FusedResNet(18).eval()
    with torch.device("meta"):
        theirs = import_torchvision("models").resnet18().eval()
    theirs.load_state_dict(ours.encoder.state_dict(), strict=False, assign=True)
    x = images(1)
    with torch.no_grad():
        stage = ours(x).stages[-1]
        x = (x - ours.encoder.mean) / ours.encoder.std
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(theirs, name)(x)
    torch.testing.assert_close(stage, x, rtol=1e-4, atol=1e-5)
