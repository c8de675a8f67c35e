"""The dilated ResNets against torchvision's, their heads by hand, and other people's weights."""

import socket
from enum import Enum
from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from properties import build_net
from torch import Tensor, nn

from mtpsl import files
from mtpsl.models import build_backbone
from mtpsl.models._torchvision import import_torchvision
from mtpsl.models.pretrained import Pretrained, describe_pretrained, load_pretrained
from mtpsl.models.resnet import MEAN, STD, AsppHead, PooledNorm, ResNet
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(f"class {k}" for k in range(13))), depth(), normals()))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def images(batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def small(seed: int = 0, **args: object) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(18, 0.125, **args)


# --- as published -----------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "channels"), [(18, 512), (50, 2048)])
def test_the_undilated_network_of_torchvision_is_inside(depth: int, channels: int) -> None:
    """Same weights, same maps at every fourth position: dilation only fills in the rest."""
    torch.manual_seed(0)
    ours = ResNet(depth).eval()
    with torch.device("meta"):
        theirs = getattr(import_torchvision("models"), f"resnet{depth}")().eval()
    missing, unknown = theirs.load_state_dict(ours.state_dict(), strict=False, assign=True)
    assert (missing, unknown) == (["fc.weight", "fc.bias"], [])
    x = images(1, 64, 96)
    with torch.no_grad():
        features = ours(x)
        x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(theirs, name)(x)
    assert features.decoder.shape == (1, channels, 8, 12) and x.shape == (1, channels, 2, 3)
    assert (ours.channels, ours.bottleneck_channels, ours.reduction) == (channels, channels, 8)
    torch.testing.assert_close(features.decoder[..., ::4, ::4], x, rtol=1e-3, atol=1e-4)
    assert features.bottleneck is features.decoder


@pytest.mark.parametrize(("name", "times"), [("resnet18", 1), ("resnet50", 4)])
def test_stages_from_fine_to_coarse(name: str, times: int) -> None:
    torch.manual_seed(0)
    net = build_backbone(name, 0.125).eval()
    with torch.no_grad():
        features = net(images(2, 50, 70))
    assert net.stage_channels == tuple(times * c for c in (8, 16, 32, 64))
    sizes = [(13, 18), (7, 9), (7, 9), (7, 9)]  # 1/4, then 1/8, rounded up
    for stage, channels, size in zip(features.stages, net.stage_channels, sizes, strict=True):
        assert stage.shape == (2, channels, *size)
    assert features.stages[-1] is features.decoder and net.stride == 8


def test_dilations_as_in_the_protocol() -> None:
    """Half the dilation in the convolution that would have strode, none in 1x1 shortcuts."""
    found = {
        name: [m.dilation[0] for m in stage.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
        for name, stage in small().named_children()
        if name.startswith("layer")
    }
    assert found == {
        "layer1": [1, 1, 1, 1],
        "layer2": [1, 1, 1, 1],
        "layer3": [1, 2, 2, 2],
        "layer4": [2, 4, 4, 4],
    }


def test_parameters_by_hand() -> None:
    with torch.device("meta"):
        net = build_net("resnet18", TASKS)
    assert parameters(net.backbone) == 11_689_512 - 513_000  # torchvision's, less its classifier
    norm = 2 * 256
    views = 2 * (512 * 256 + norm) + 3 * (9 * 512 * 256 + norm)
    joined = 5 * 256 * 256 + norm + 9 * 256 * 256 + norm
    assert [parameters(head) for head in net.heads.values()] == [
        views + joined + 257 * task.channels for task in TASKS
    ]


def test_starts_like_torchvision() -> None:
    for name, value in small().named_parameters():
        if value.dim() == 4:
            fan_out = value.shape[0] * value.shape[2] * value.shape[3]
            tolerance = 4 / (2 * value.numel()) ** 0.5  # four standard errors
            assert value.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=tolerance), name
        else:
            assert (value == float(name.endswith("weight"))).all(), name


@pytest.mark.parametrize("depth", [0, 34])
def test_depth_must_be_known(depth: int) -> None:
    with pytest.raises(ValueError, match=r"depth: expected one of \[18, 50\], got"):
        ResNet(depth)


def test_width_factor_must_be_positive() -> None:
    with pytest.raises(ValueError, match="width_factor: expected a positive number"):
        ResNet(18, 0.0)


def test_width_factor_scales_heads_too() -> None:
    head = small().build_head(5)
    assert head.project[0].weight.shape == (32, 5 * 32, 1, 1)
    assert head.predict.weight.shape == (5, 32, 1, 1)


# --- heads and the whole network --------------------------------------------------------------


def test_head_of_the_protocol() -> None:
    torch.manual_seed(0)
    head = AsppHead(16, 3, hidden=8).eval()
    assert [ring[0].dilation for ring in head.rings] == [(12, 12), (24, 24), (36, 36)]
    assert head.dropout.p == 0.5
    x = torch.randn(2, 16, 9, 7)
    with torch.no_grad():
        whole = F.relu(head.pooled[1](head.pooled[0](F.adaptive_avg_pool2d(x, 1))))
        views = [head.pixel(x), *(ring(x) for ring in head.rings)]
        views.append(F.interpolate(whole, (9, 7)))
        expected = head.predict(head.smooth(head.project(torch.cat(views, 1))))
        assert expected.shape == (2, 3, 9, 7) and expected.std() > 0.1
        torch.testing.assert_close(head(x), expected)


def test_pooled_norm_is_batch_norm_and_survives_a_single_image() -> None:
    norm, reference = PooledNorm(4), nn.BatchNorm2d(4)
    x = torch.randn(6, 4, 1, 1, generator=torch.Generator().manual_seed(0)) * 3 + 2
    assert torch.equal(norm(x), reference(x))
    with pytest.raises(ValueError, match="more than 1 value"):
        reference(x[:1])
    before = norm.running_mean.clone()
    assert torch.equal(norm(x[:1]), reference.eval()(x[:1]))
    assert torch.equal(norm.running_mean, before) and norm.num_batches_tracked == 1
    assert torch.equal(norm.eval()(x), reference(x))


@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_predictions_have_the_size_of_the_images(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build_net("resnet18", TASKS, 0.125).eval()
    with torch.no_grad():
        output = net(images(2, *size))
        raw = net.heads["depth"](output.features)
    assert output.features.shape == (2, 64, *(-(-side // 8) for side in size))
    for task in TASKS:
        assert output.predictions[task.name].shape == (2, task.channels, *size)
    expected = F.interpolate(raw, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(output.predictions["depth"], expected)
    lengths = output.predictions["normals"].norm(dim=1)  # of unit length after resizing
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_small_network_trains(name: str) -> None:
    """At width 1/8 on two images, and for one step on a single one, as ends an epoch."""
    torch.manual_seed(0)
    net = build_net(name, TASKS, 0.125)
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


def test_bfloat16_autocast_gives_float32_predictions() -> None:
    torch.manual_seed(0)
    net = build_net("resnet18", TASKS, 0.125).eval()
    with torch.no_grad():
        full = net(images()).predictions
        with torch.autocast("cpu", torch.bfloat16):
            half = net(images()).predictions
    for name, prediction in half.items():
        assert prediction.dtype == torch.float32
        torch.testing.assert_close(prediction, full[name], rtol=0.1, atol=0.1)


def test_same_seed_same_bits() -> None:
    first, second, other = (small(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


# --- weights ----------------------------------------------------------------------------------


@pytest.fixture
def trained() -> dict[str, Tensor]:
    """A state dict as torchvision would publish it for this width, classifier included."""
    classifier = {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}
    return small(seed=7).state_dict() | classifier


def assert_loaded(net: nn.Module, state: dict[str, Tensor]) -> None:
    own = net.state_dict()
    assert {f"fc.{part}" for part in ("weight", "bias")} == state.keys() - own.keys()
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def write(state: object, path: Path) -> str:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_local_file_is_loaded(name: str, trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(trained, tmp_path / name)
    assert_loaded(small(weights=path), trained)
    digest = files.sha256(Path(path))
    assert_loaded(small(weights=path, weights_sha256=digest), trained)
    with pytest.raises(files.Damaged, match=f"{name}: expected sha256 0000"):
        small(weights=path, weights_sha256="0" * 64)


def test_weights_reach_the_method(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(trained, tmp_path / "weights.safetensors")
    assert_loaded(build_backbone("resnet18", 0.125, weights=path), trained)
    args = {"weights": path}
    method = build_method("supervised", TASKS, "resnet18", 0.125, backbone_args=args)
    assert_loaded(method.net.backbone, trained)


def test_loading_replaces_weights_and_nothing_else(
    trained: dict[str, Tensor], tmp_path: Path
) -> None:
    """The heads are drawn as they would be without: seeds mean the same in both."""
    path = write(trained, tmp_path / "weights.pth")
    heads = []
    for args in ({}, {"weights": path}):
        torch.manual_seed(0)
        heads.append(build_net("resnet18", TASKS, 0.125, **args).heads.state_dict())
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_old_files_without_counters_fit(trained: dict[str, Tensor], tmp_path: Path) -> None:
    old = {n: v for n, v in trained.items() if not n.endswith("num_batches_tracked")}
    assert_loaded(small(weights=write(old, tmp_path / "old.safetensors")), trained)


@pytest.fixture
def published(
    trained: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> type[Enum]:
    """Like torchvision's: entries with an address, whose file has its digest in its name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    path = Path(write(trained, tmp_path / "small.pth"))
    path = path.rename(tmp_path / f"small-{files.sha256(path)[:8]}.pth")

    class Published(Enum):
        SMALL = path.as_uri()

        @property
        def url(self) -> str:
            return self.value

    return Published


def test_a_name_is_downloaded_once(
    published: type[Enum],
    trained: dict[str, Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = small()
    (original,) = tmp_path.glob("small-*.pth")
    digest = files.sha256(original)
    began = load_pretrained(net, "SMALL", published, skip=("fc.",))
    assert_loaded(net, trained)
    assert began == Pretrained(original.name, digest)
    assert capsys.readouterr().err == f"weights: {original.name}, sha256 {digest}\n"
    original.unlink()  # nothing left to download
    assert load_pretrained(small(), "SMALL", published, skip=("fc.",), sha256=digest) == began
    with pytest.raises(files.Damaged, match="expected sha256 000000000000, got"):
        load_pretrained(small(), "SMALL", published, skip=("fc.",), sha256="0" * 64)


def test_a_download_must_have_the_digest_in_its_name(published: type[Enum], tmp_path: Path) -> None:
    (original,) = tmp_path.glob("small-*.pth")
    original.write_bytes(original.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"weights: expected small-\w+.pth as published, with sha"):
        load_pretrained(small(), "SMALL", published)


def test_what_a_network_began_with_is_told(trained: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(trained, tmp_path / "weights.pth")
    method = build_method("hitts", TASKS, "resnet18", 0.125, backbone_args={"weights": path})
    digest = files.sha256(Path(path))
    assert describe_pretrained(method) == {
        "pretrained": {"weights": "weights.pth", "sha256": digest}  # a name, no folder
    }
    assert describe_pretrained(build_method("hitts", TASKS, "resnet18", 0.125)) == {}


def test_offline_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **named: object) -> None:
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConnectionError) as caught:
        ResNet(18, weights="IMAGENET1K_V1")
    assert str(caught.value) == (
        "weights: expected a network connection to download 'resnet18-f37072fd.pth', got <urlopen "
        "error [Errno -2] Name or service not known>; fetch "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere and give the file's "
        "path"
    )


def test_a_damaged_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cut off")
    with pytest.raises(ValueError, match=f"with sha256 f37072fd, got .*; delete {cached}"):
        ResNet(18, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("weights", ["IMAGENET", "nowhere.pth", "nowhere/w.safetensors", ""])
def test_missing_weights_are_one_clear_sentence(weights: str) -> None:
    expected = r"one of \['IMAGENET1K_V1', 'DEFAULT'\], hf-hub:<owner>/<name> or a file that exists"
    with pytest.raises(ValueError, match=expected):
        small(weights=weights)


def test_other_shapes_and_names_are_refused(trained: dict[str, Tensor], tmp_path: Path) -> None:
    wide = write(ResNet(18, 0.25).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ValueError, match="of another shape such as 'conv1.weight'; use the"):
        small(weights=wide)
    del trained["layer4.1.bn2.running_var"]
    trained["layer5.conv1.weight"] = torch.zeros(1)
    other = write(trained, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError,
        match="1 missing such as 'layer4.1.bn2.running_var', "
        "1 unknown such as 'layer5.conv1.weight'",
    ):
        small(weights=other)


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half an archive"])
def test_unreadable_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} to be safetensors or a state dict"):
        small(weights=str(tmp_path / name))


def test_files_never_execute_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="to be safetensors or a state dict"):
        small(weights=write({"conv1.weight": Code()}, tmp_path / "evil.pth"))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}], ids=str)
def test_files_of_something_else_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to map names to tensors.*save the network's state_dict"):
        small(weights=write(content, tmp_path / "other.pth"))
