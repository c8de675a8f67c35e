"""What a backbone is, and that plain encoders of other libraries serve as one."""

import pytest
import torch
from properties import random_batch
from torch import Tensor, nn

from mtpsl.methods.baselines import Supervised
from mtpsl.models import BACKBONES, Backbone, Encoder, build_backbone
from mtpsl.models._torchvision import import_optional, import_torchvision
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.xtc.method import XTC
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple("abcde")), depth(), normals()))


def torchvision_resnet() -> Encoder:
    resnet = import_torchvision("models").resnet18(weights=None)
    return Encoder(nn.Sequential(*list(resnet.children())[:-2]), channels=512, stride=32)


def timm_resnet() -> Encoder:
    timm = import_optional("timm")
    resnet = timm.create_model("resnet10t", pretrained=False, num_classes=0, global_pool="")
    return Encoder(resnet, channels=resnet.num_features, stride=32)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_of_the_register_is_one(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, 0.125)
    assert isinstance(backbone, Backbone)
    assert not isinstance(nn.Conv2d(3, 8, 1), Backbone)


@pytest.mark.parametrize("build", [torchvision_resnet, timm_resnet])
@pytest.mark.parametrize("method", [Supervised, XTC, HiTTs])
def test_a_plain_encoder_trains_with_every_kind_of_method(build, method) -> None:
    torch.manual_seed(0)
    backbone = build()
    assert isinstance(backbone, Backbone)
    args = {"reduction": 32} if method is HiTTs else {}
    net = method(TASKS, backbone, **args)
    net.prepare([random_batch(TASKS, images=6, side=64)])
    batch = random_batch(TASKS, images=2, side=64)
    terms = net.training_step(*[batch] * net.views, progress=0.0)
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    gradient = next(backbone.module.parameters()).grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0
    predictions = net.eval().predict(batch.images)
    assert {n: tuple(p.shape) for n, p in predictions.items()} == {
        t.name: (2, t.channels, 64, 64) for t in TASKS
    }


@pytest.mark.parametrize(
    ("encoder", "got"),
    [
        (Encoder(nn.Conv2d(3, 8, 2, stride=2), channels=4, stride=2), r"\(1, 8, 8, 8\)"),
        (Encoder(nn.Conv2d(3, 8, 2, stride=2), channels=8, stride=4), r"\(1, 8, 8, 8\)"),
        (Encoder(nn.Flatten(), channels=8, stride=2), r"\(1, 768\)"),
    ],
)
def test_a_map_that_is_not_as_announced_is_refused(encoder: Encoder, got: str) -> None:
    with pytest.raises(ValueError, match=f"module: expected a map of shape .*got {got}"):
        encoder(torch.rand(1, 3, 16, 16))


def test_a_list_of_maps_is_refused() -> None:
    class Pyramid(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [images]

    with pytest.raises(ValueError, match="got list"):
        Encoder(Pyramid(), channels=3, stride=1)(torch.rand(1, 3, 8, 8))
