"""HRNet and transformers of timm: published sizes, shapes, and other people's weights, offline."""

import hashlib
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from properties import build_net
from torch import Tensor, nn

from mtpsl import files
from mtpsl.models import build_backbone
from mtpsl.models._torchvision import import_optional
from mtpsl.models.backbone import pointwise_head
from mtpsl.models.cost import cost
from mtpsl.models.pretrained import Pretrained, describe_pretrained
from mtpsl.models.resnet import MEAN, STD
from mtpsl.models.timm_backbone import HRNet, ViT, published_weights
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(f"class {k}" for k in range(13))), depth(), normals()))
NAMES = ("hrnet_w18", "hrnet_w18_small_v2", "vit_base", "vit_large")
HRNET, VIT = "hrnet_w18_small_v2", "vit_base_patch16_224"


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def images(batch: int = 2, height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def small_hrnet(seed: int = 0, **args: object) -> HRNet:
    torch.manual_seed(seed)
    return HRNet(HRNET, 0.125, **args)


def small_vit(seed: int = 0, **args: object) -> ViT:
    torch.manual_seed(seed)
    return ViT(VIT, 0.0625, **args)


# --- as published -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classifier", "published"),
    [
        # HRNet-W18-C: 21.3 M with the layers that only the classifier reads
        ("hrnet_w18", 21_299_004 - 9_562_260, 21_299_004),
        ("hrnet_w18_small_v2", 15_597_464 - 3_860_720, 15_597_464),  # 15.6 M
        ("vit_base", 768 * 1000 + 1000, 86_567_656),  # 86.6 M
        ("vit_large", 1024 * 1000 + 1000, 304_326_632),  # 304.3 M
    ],
)
def test_sizes_are_the_published_ones(name: str, classifier: int, published: int) -> None:
    with torch.device("meta"):
        assert parameters(build_backbone(name)) + classifier == published


@pytest.mark.parametrize(
    ("name", "macs"),
    # ViT at 224x224 less its classifier: 17.6 and 61.6 G as commonly given; HRNet: ours
    [
        ("hrnet_w18", 3_281_983_152),
        ("hrnet_w18_small_v2", 1_594_158_944),
        ("vit_base", 17_563_060_224),
        ("vit_large", 61_553_688_576),
    ],
)
def test_work_at_224(name: str, macs: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    assert cost(backbone, 224, 224).macs == macs


def test_the_work_of_a_transformer_by_hand() -> None:
    """Patches; in a block linear layers of 12 C^2 together, and two products of attention."""
    C, blocks, tokens = 768, 12, 14 * 14 + 1
    products = blocks * 2 * tokens * tokens * C
    linear = 196 * 3 * 16 * 16 * C + blocks * tokens * 12 * C * C
    with torch.device("meta"):
        found = cost(build_backbone("vit_base"), 224, 224)
    assert found.macs == linear + products
    norms = 2 * blocks + 4  # the last one at four depths
    assert found.thop_flops == linear + norms * 4 * tokens * C


def test_channels_of_full_width() -> None:
    with torch.device("meta"):
        hrnet, base, large = map(build_backbone, ("hrnet_w18", "vit_base", "vit_large"))
    assert hrnet.stage_channels == (18, 36, 72, 144)
    assert (hrnet.channels, hrnet.bottleneck_channels) == (270, 144)
    assert (hrnet.stride, hrnet.reduction) == (4, 32)
    assert base.stage_channels == (768,) * 4 and base.depths == [2, 5, 8, 11]
    assert large.stage_channels == (1024,) * 4 and large.depths == [5, 11, 17, 23]
    assert (base.channels, large.bottleneck_channels) == (768, 1024)
    assert (base.stride, base.reduction) == (16, 16)


@pytest.mark.parametrize(
    ("factor", "published"), [(0.5, "vit_small_patch16_224"), (0.25, "vit_tiny_patch16_224")]
)
def test_parts_of_base_are_the_published_small_ones(factor: float, published: str) -> None:
    with torch.device("meta"):
        ours = build_backbone("vit_base", factor)
        theirs = import_optional("timm").create_model(published, num_classes=0)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.net.state_dict().items()} == shapes


def test_hrnet_is_timms_without_its_classifier() -> None:
    """Four branches as timm's whole network sees them, upsampled and joined."""
    ours = small_hrnet(mean=(0, 0, 0), std=(1, 1, 1)).eval()
    with torch.no_grad():
        features = ours(images())
        branches = ours.net.stages(stem(ours.net, images()))
    assert features.stages[0].shape == (2, 8, 16, 24)
    for stage, branch in zip(features.stages, branches, strict=True):
        assert torch.equal(stage, branch)
    fine = F.interpolate(branches[3], (16, 24), mode="bilinear", align_corners=False)
    assert torch.equal(features.decoder[:, :8], branches[0])
    assert torch.equal(features.decoder[:, -branches[3].shape[1] :], fine)
    assert features.bottleneck is features.stages[-1]


def stem(net: nn.Module, x: Tensor) -> Tensor:
    x = net.act1(net.bn1(net.conv1(x)))
    return net.act2(net.bn2(net.conv2(x)))


def test_vit_is_timms() -> None:
    """At its own size, its last map is what timm's classifier would pool."""
    ours = small_vit(mean=(0, 0, 0), std=(1, 1, 1)).eval()
    x = images(1, 224, 224)
    with torch.no_grad():
        features = ours(x)
        tokens = ours.net.forward_features(x)  # normalized, the class token first
    expected = tokens[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    torch.testing.assert_close(features.decoder, expected)
    assert features.bottleneck is features.decoder is features.stages[-1]
    assert len(features.stages) == 4
    assert not torch.allclose(features.stages[0], features.stages[1])


def test_positions_are_interpolated_to_other_grids() -> None:
    """Embeddings that are a ramp in x stay one where there are half as many patches."""
    net = small_vit().eval()
    ramp = torch.linspace(0, 1, 14).view(1, 1, 14, 1).expand(1, 14, 14, net.channels)
    with torch.no_grad():
        net.net.pos_embed[:, 1:] = ramp.reshape(1, 196, -1)
        patches = net.net.patch_embed(torch.zeros(1, 3, 112, 112))
        seen = net.net._pos_embed(patches)[0, 1:] - patches.flatten(1, 2)[0]
    seen = seen.unflatten(0, (7, 7))[..., 0]
    assert (seen[0].diff() > 0.1).all() and torch.allclose(seen[0], seen[6], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_normalized_first(name: str) -> None:
    torch.manual_seed(0)
    net = build_backbone(name, 0.0625).eval()
    mean, std = (MEAN, STD) if name.startswith("hrnet") else ((0.5,) * 3, (0.5,) * 3)
    assert net.mean.flatten().tolist() == pytest.approx(mean)
    assert net.std.flatten().tolist() == pytest.approx(std)
    torch.manual_seed(0)
    plain = build_backbone(name, 0.0625, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    with torch.no_grad():
        expected = net(images()).decoder
        given = (images() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        torch.testing.assert_close(plain(given).decoder, expected, rtol=1e-4, atol=1e-5)


def test_mean_and_std_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="mean: expected a number for red, green and blue, got"):
        small_hrnet(mean=(0.5,))


# --- the whole network ------------------------------------------------------------------------


def test_head_by_hand() -> None:
    head = pointwise_head(6, 3, hidden=4).eval()
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    hidden = torch.einsum("oc,bchw->bohw", head[0][0].weight[..., 0, 0], x)
    hidden = (hidden / math.sqrt(1 + head[0][1].eps)).relu()  # BatchNorm of mean 0, variance 1
    expected = torch.einsum("oc,bchw->bohw", head[1].weight[..., 0, 0], hidden)
    torch.testing.assert_close(head(x), expected + head[1].bias.view(3, 1, 1))


@pytest.mark.parametrize("name", ["hrnet_w18_small_v2", "vit_base"])
def test_small_network_trains(name: str) -> None:
    """For a few steps on two images, and for one on a single image, as ends an epoch."""
    torch.manual_seed(0)
    net = build_net(name, TASKS, 0.0625)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for batch in (2, 2, 2, 2, 2, 2, 1):
        predictions = net(images(batch)).predictions
        loss = (predictions["depth"] - 2).abs().mean() + predictions["semseg"].std()
        loss = loss + (1 - predictions["normals"][:, 2]).mean()
        adam.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        adam.step()
        losses.append(loss.item())
    assert losses[5] < 0.9 * losses[0]


@pytest.mark.parametrize("name", ["hrnet_w18_small_v2", "vit_base"])
@pytest.mark.parametrize("method", ["semi_supervised", "xtc", "discriminator", "direct_map"])
def test_methods_take_it(name: str, method: str) -> None:
    torch.manual_seed(0)
    predictions = build_method(method, TASKS, name, 0.0625).predict(images())
    shapes = {task: prediction.shape for task, prediction in predictions.items()}
    assert shapes == {task.name: (2, task.channels, 64, 96) for task in TASKS}


@pytest.mark.parametrize(("name", "reduction"), [("hrnet_w18_small_v2", 8), ("vit_base", 16)])
@pytest.mark.parametrize("multi_scale", [False, True])
def test_tokens_ask_every_stage(name: str, reduction: int, multi_scale: bool) -> None:
    torch.manual_seed(0)
    args = {"reduction": reduction, "multi_scale": multi_scale}
    method = build_method("hitts", TASKS, name, 0.125, args)
    trace = method.trace(images())
    assert len(trace.affinities) == (4 if multi_scale else 1)
    coarse = (64 // reduction, 96 // reduction)
    behind = getattr(method.backbone, "head_channels", method.backbone.channels)
    assert trace.task_features["depth"].shape == (2, behind, *coarse)
    assert trace.predictions["semseg"].shape == (2, 13, 64, 96)


@pytest.mark.parametrize("name", ["hrnet_w18_small_v2", "vit_base"])
def test_bfloat16_autocast_gives_float32_predictions(name: str) -> None:
    """On batch statistics: at random, HRNet's maps are large without them."""
    torch.manual_seed(0)
    net = build_net(name, TASKS, 0.0625).train()
    with torch.no_grad():
        full = net(images()).predictions
        with torch.autocast("cpu", torch.bfloat16):
            half = net(images()).predictions
    for task, prediction in half.items():
        assert prediction.dtype == torch.float32
        error = (prediction - full[task]).norm() / full[task].norm()
        assert error < 0.2, task  # unrelated maps: above 1


@pytest.mark.parametrize(("build", "of"), [(small_hrnet, 32), (small_vit, 16)])
def test_other_sizes_are_refused(build: object, of: int) -> None:
    net = build()
    with pytest.raises(ValueError, match=rf"in multiples of {of}, got \(64, 104\); resize or pad"):
        net(images(1, 64, 104))
    with pytest.raises(ValueError, match="images: expected height and width in multiples"):
        net(images(1, 72, 96))


@pytest.mark.parametrize("build", [small_hrnet, small_vit])
def test_same_seed_same_bits(build: object) -> None:
    first, second, other = (build(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.parametrize("factor", [0.0, -1.0])
@pytest.mark.parametrize("kind", [HRNet, ViT])
def test_width_factor_must_be_positive(kind: type[nn.Module], factor: float) -> None:
    with pytest.raises(ValueError, match="width_factor: expected a positive number"):
        kind(HRNET if kind is HRNet else VIT, factor)


@pytest.mark.parametrize("kind", [HRNet, ViT])
def test_name_must_be_known(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="name: expected one of .* got 'resnet18'"):
        kind("resnet18")


# --- weights: a local file --------------------------------------------------------------------


def trained(kind: str) -> dict[str, Tensor]:
    """As timm would publish it for this width, classifier included."""
    net = (small_hrnet if kind == "hrnet" else small_vit)(seed=7).net
    classifier = "classifier" if kind == "hrnet" else "head"
    return net.state_dict() | {f"{classifier}.weight": torch.zeros(10, 64)}


def write(state: dict[str, Tensor], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({n: v.contiguous() for n, v in state.items()}, path)
    else:
        torch.save(state, path)
    return str(path)


def assert_loaded(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    own = backbone.net.state_dict()
    assert len(state.keys() - own.keys()) == 1  # the classifier
    assert all(torch.equal(value, state[name]) for name, value in own.items())


@pytest.mark.parametrize("kind", ["hrnet", "vit"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_local_file_is_loaded_and_shown(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, state = (small_hrnet if kind == "hrnet" else small_vit), trained(kind)
    path = write(state, tmp_path / name)
    digest = files.sha256(Path(path))
    net = build(weights=path, weights_sha256=digest)
    assert_loaded(net, state)
    assert net.pretrained == Pretrained(name, digest)
    assert capsys.readouterr().err == f"weights: {name}, sha256 {digest}\n"
    with pytest.raises(files.Damaged, match=f"{name}: expected sha256 0000"):
        build(weights=path, weights_sha256="0" * 64)
    assert build().pretrained is None


def test_a_method_says_what_it_began_with(tmp_path: Path) -> None:
    path = write(trained("vit"), tmp_path / "weights.safetensors")
    args = {"weights": path, "mean": MEAN, "std": STD}
    for method in ("supervised", "xtc", "hitts"):
        built = build_method(
            method, TASKS, "vit_base", 0.0625, {"reduction": 16} if method == "hitts" else {}, args
        )
        assert describe_pretrained(built) == {
            "pretrained": {"weights": "weights.safetensors", "sha256": files.sha256(Path(path))}
        }
    assert describe_pretrained(build_method("supervised", TASKS, "vit_base", 0.0625)) == {}


def test_a_run_keeps_mean_and_std(tmp_path: Path) -> None:
    """A trained network is rebuilt without its weights' name, and sees what it was trained on."""
    args = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    ran = build_net("vit_base", TASKS, 0.0625, **args).eval()
    files.save_weights(ran, tmp_path / "run.safetensors")
    again = build_net("vit_base", TASKS, 0.0625).eval()
    files.load_weights(again, tmp_path / "run.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images()).features, ran(images()).features)


def test_weights_of_another_image_size_are_resampled(tmp_path: Path) -> None:
    """Those that timm has for 384x384 images: a grid of 24x24 patches."""
    state = trained("vit")
    ramp = torch.linspace(0, 1, 24).view(1, 24, 1, 1).expand(1, 24, 24, 64).reshape(1, 576, 64)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], ramp], dim=1)
    net = small_vit(weights=write(state, tmp_path / "384.safetensors"))
    found = net.net.pos_embed[0, 1:].unflatten(0, (14, 14))[..., 0]
    expected = ((torch.arange(14) + 0.5) * 24 / 14 - 0.5) / 23  # centers of 14 cells among 24
    torch.testing.assert_close(found[2:12, 3], expected[2:12], rtol=1e-2, atol=1e-2)
    assert torch.equal(net.net.pos_embed[:, :1], state["pos_embed"][:, :1])


def test_other_networks_do_not_fit(tmp_path: Path) -> None:
    wide = write(HRNet(HRNET, 0.25).net.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(
        ValueError, match="of another shape such as .*; use the weights of the same"
    ):
        small_hrnet(weights=wide)
    with pytest.raises(ValueError, match="missing such as 'cls_token', .* unknown such as"):
        small_vit(weights=wide)
    cut = Path(wide).with_name("cut.safetensors")
    cut.write_bytes(Path(wide).read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut.safetensors to be safetensors or a state dict"):
        small_hrnet(weights=str(cut))


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_files_never_execute_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="to be safetensors or a state dict"):
        small_vit(weights=write({"cls_token": Code()}, tmp_path / "evil.pth"))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("weights", ["hrnet_w18.ms_in1k", "nowhere.pth", ""])
def test_missing_weights_are_one_clear_sentence(weights: str) -> None:
    with pytest.raises(ValueError) as caught:
        small_hrnet(weights=weights)
    assert str(caught.value) == (
        f"weights: expected None, one of {list(published_weights(HRNET))}, hf-hub:<owner>/<name> "
        f"or a file that exists, got {weights!r}"
    )


# --- weights: Hugging Face --------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a client that may not leave this machine."""
    constants = import_optional("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(
    cache: Path,
    repository: str,
    state: dict[str, Tensor],
    revision: str = "main",
    name: str = "model.safetensors",
) -> str:
    """Lays a file into the cache as Hugging Face's client does; returns its digest."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    blob = Path(write(state, folder / "blobs" / name))
    digest = files.sha256(blob)
    blob = blob.rename(blob.with_name(digest))
    commit = digest[:40]
    (folder / "refs").mkdir()
    (folder / "refs" / revision).write_text(commit)
    snapshot = folder / "snapshots" / commit / name
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
    return digest


def test_timms_names() -> None:
    found = published_weights("hrnet_w18")
    assert found["hrnet_w18.ms_in1k"] == "hf-hub:timm/hrnet_w18.ms_in1k"
    assert found["pretrained"] == found["hrnet_w18.ms_aug_in1k"]
    assert all(name == "pretrained" or name.startswith("hrnet_w18.") for name in found)
    large = published_weights("vit_large_patch16_224")
    assert large["pretrained"] == "hf-hub:timm/vit_large_patch16_224.augreg_in21k_ft_in1k"
    assert "vit_large_patch16_224.mae" in large


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_what_is_in_the_cache_is_loaded_offline(cache: Path, name: str) -> None:
    state = trained("hrnet")
    repository = published_weights(HRNET)["pretrained"].removeprefix("hf-hub:")
    digest = put(cache, repository, state, name=name)
    for weights in ("pretrained", repository.removeprefix("timm/"), f"hf-hub:{repository}"):
        net = small_hrnet(weights=weights, weights_sha256=digest)
        assert_loaded(net, state)
        assert net.pretrained == Pretrained(repository, digest)
    with pytest.raises(files.Damaged, match="expected sha256 000000000000, got"):
        small_hrnet(weights="pretrained", weights_sha256="0" * 64)


def test_names_bring_their_mean_and_std(cache: Path) -> None:
    """What an image must look like depends on who trained: DINO took ImageNet's."""
    state = trained("vit")
    put(cache, f"timm/{VIT}.dino", state)
    put(cache, f"timm/{VIT}.augreg_in21k", state)
    dino = small_vit(weights=f"{VIT}.dino")
    assert dino.mean.flatten().tolist() == pytest.approx(MEAN)
    assert dino.std.flatten().tolist() == pytest.approx(STD)
    assert small_vit(weights=f"{VIT}.augreg_in21k").mean.flatten().tolist() == [0.5] * 3
    given = small_vit(weights=f"{VIT}.dino", mean=(0.0, 0.1, 0.2))
    assert given.mean.flatten().tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert given.std.flatten().tolist() == pytest.approx(STD)


def test_a_revision_is_asked_for(cache: Path) -> None:
    digest = put(cache, "somebody/hrnet", trained("hrnet"), revision="v2")
    net = small_hrnet(weights="hf-hub:somebody/hrnet@v2")
    assert net.pretrained == Pretrained("somebody/hrnet@v2", digest)
    with pytest.raises(ConnectionError, match="to download 'somebody/hrnet', got HF_HUB_OFFLINE=1"):
        small_hrnet(weights="hf-hub:somebody/hrnet")


def test_a_damaged_cache_is_named(cache: Path) -> None:
    digest = put(cache, "timm/hrnet_w18_small_v2.ms_in1k", trained("hrnet"))
    (blob,) = cache.glob(f"*/blobs/{digest}")
    blob.write_bytes(blob.read_bytes()[:-8])
    with pytest.raises(ValueError) as caught:
        small_hrnet(weights="hrnet_w18_small_v2.ms_in1k")
    assert str(caught.value) == (
        f"weights: expected model.safetensors as published, with sha256 {digest:.12}, "
        f"got {files.sha256(blob):.12}; delete {blob}"
    )


def test_offline_is_one_clear_sentence(cache: Path) -> None:
    with pytest.raises(ConnectionError) as caught:
        small_hrnet(weights="hrnet_w18_small_v2.ms_in1k")
    assert str(caught.value) == (
        "weights: expected a network connection to download 'timm/hrnet_w18_small_v2.ms_in1k', "
        "got HF_HUB_OFFLINE=1; fetch https://huggingface.co/timm/hrnet_w18_small_v2.ms_in1k "
        "elsewhere and give the file's path"
    )


@pytest.mark.parametrize("name", ["a/b/c", "a b/c", "/x"])
def test_names_that_no_repository_can_have(cache: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"hf-hub:<owner>/<name> of a public .* got hf-hub:{name}"):
        small_hrnet(weights=f"hf-hub:{name}")


class Hub(BaseHTTPRequestHandler):
    """As much of Hugging Face as a download needs: somebody's two repositories."""

    files: ClassVar[dict[str, bytes]] = {}  # of somebody/hrnet
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        self.asked.append(f"{self.command} {self.path}")
        owner, name, _, revision, filename = self.path.strip("/").split("/")
        content, problem = b"", "EntryNotFound"
        if owner != "somebody":
            problem = "RepoNotFound"
        elif revision not in ("main", "c" * 40):
            problem = "RevisionNotFound"
        elif name == "hrnet" and filename in self.files:
            content, problem = self.files[filename], ""
        self.send_response(404 if problem else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", "c" * 40)
        if problem:
            self.send_header("X-Error-Code", problem)
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        return content

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ThreadingHTTPServer]:
    """A Hugging Face on this machine, which the client asks instead of the true one."""
    path = Path(write(trained("hrnet"), tmp_path / "pytorch_model.bin"))
    monkeypatch.setattr(Hub, "files", {path.name: path.read_bytes()})
    monkeypatch.setattr(Hub, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    constants, endpoint = (
        import_optional("huggingface_hub.constants"),
        f"http://127.0.0.1:{server.server_port}",
    )
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    import_optional("huggingface_hub").close_session()
    yield server
    stop(server)
    thread.join()
    import_optional("huggingface_hub").close_session()


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def test_a_download_is_kept_and_then_works_offline(hub: ThreadingHTTPServer) -> None:
    weights, state = "hf-hub:somebody/hrnet", trained("hrnet")
    digest = hashlib.sha256(Hub.files["pytorch_model.bin"]).hexdigest()
    for _ in range(2):
        net = small_hrnet(weights=weights)
        assert_loaded(net, state)
        assert net.pretrained == Pretrained("somebody/hrnet", digest)
    gets = [line for line in Hub.asked if line.startswith("GET")]
    assert len(gets) == 1 and gets[0].endswith("/pytorch_model.bin")  # there is no safer file
    stop(hub)
    assert_loaded(small_hrnet(weights=weights), state)


def test_without_a_network_it_says_so_at_once(hub: ThreadingHTTPServer) -> None:
    stop(hub)
    began = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        small_hrnet(weights="hf-hub:somebody/hrnet")
    assert time.monotonic() - began < 10  # trying again takes the client 23 s
    assert re.fullmatch(
        r"weights: expected a network connection to download 'somebody/hrnet', got \[Errno \d+\] "
        r"Connection refused; fetch https://huggingface.co/somebody/hrnet elsewhere and give the "
        r"file's path",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ("nobody/x", "expected hf-hub:<owner>/<name> of a public repository on Hugging Face, got"),
        (
            "somebody/hrnet@v9",
            "expected a branch, tag or commit of somebody/hrnet, got 'v9'; leave",
        ),
        (
            "somebody/empty",
            "expected model.safetensors or pytorch_model.bin in somebody/empty, got",
        ),
    ],
)
def test_what_hugging_face_does_not_have(
    hub: ThreadingHTTPServer, weights: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"weights: {complaint}"):
        small_hrnet(weights=f"hf-hub:{weights}")


# --- without timm -----------------------------------------------------------------------------


def test_without_timm_only_its_networks_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # importing it raises ImportError
    assert build_backbone("segnet", 0.125).channels == 8
    with pytest.raises(ImportError) as caught:
        build_backbone("vit_base", 0.125)
    assert str(caught.value) == (
        "timm: expected the package to be installed for this backbone, got no module 'timm'; run "
        "pip install -c constraints.txt timm"
    )


def test_without_hugging_face_its_names_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_backbone("resnet18", 0.125).channels == 64
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="huggingface_hub: expected the package to be installed"):
        build_backbone("resnet18", 0.125, weights="hf-hub:somebody/resnet")
