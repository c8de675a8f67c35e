"""RDC: the region contrast in anybody's loop, and the method that uses it."""

import copy
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, final

import pytest
import torch
from properties import TASKS, random_batch, rewrite_withheld, windows
from test_rdc_numerics import by_scipy
from torch import Tensor, nn

from mtpsl import RDC, RegionContrastLoss
from mtpsl.batch import Batch
from mtpsl.engine import fit
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import MultiTaskNet, build_backbone
from mtpsl.papers import build_method
from mtpsl.papers.rdc.gaussians import find_regions, region_moments, shrink
from mtpsl.papers.rdc.loss import BANK, CHOICES
from mtpsl.papers.xtc.loss import Inputs, find_links
from mtpsl.papers.xtc.method import two_views
from mtpsl.tasks import TaskSet, depth, normals, semseg

NYUD = TaskSet((semseg(13), depth(), normals()))
SIDE = 32
VARIANTS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "vector": {"contrast": "vector"},
    "pixel": {"contrast": "pixel"},
    "patch": {"patch": 4},
    "kl": {"measure": "kl"},
    "both": {"negatives": "both"},
    "sampled": {"negatives": 3},
    "bank": {"negatives": "bank"},
    "prediction": {"anchors": "prediction"},
    "image": {"statistics": "image"},
}
EVERY_VARIANT = pytest.mark.parametrize("name", VARIANTS)


class Net(nn.Module):
    """A network that is not ours: two convolutions a task."""

    def __init__(self) -> None:
        super().__init__()
        heads = {
            t.name: nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, t.channels, 1)
            )
            for t in TASKS
        }
        self.heads = nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {t.name: t.activate(self.heads[t.name](images)) for t in TASKS}


def fresh(**options: Any) -> tuple[Net, RegionContrastLoss]:
    """At a quarter of the width, one pooling: regions of ``random_batch`` have 16 cells."""
    torch.manual_seed(0)
    options = {"width_factor": 0.25, "pools": 1, "min_pixels": 4, "weight": 1.0} | options
    return Net(), RegionContrastLoss(TASKS, **options).train()


def contrast(
    net: Net, loss: RegionContrastLoss, batch: Batch, **call: float
) -> tuple[Tensor, list[Tensor]]:
    """The term, and its gradients in both networks; none where it has no gradient at all."""
    torch.manual_seed(1)  # of the Gumbel noise
    (term,) = loss(net(batch.images), batch, **call).values()
    weights = [*net.parameters(), *loss.parameters()]
    if not term.requires_grad:
        return term, []
    return term.detach(), list(torch.autograd.grad(term, weights, materialize_grads=True))


# ------------------------------------------------------------------- network


def test_the_mapping_network_is_the_released_one() -> None:
    loss = RegionContrastLoss(NYUD)
    assert sum(p.numel() for p in loss.parameters()) == 72_912
    assert sum(p.numel() for p in loss.mapping.film_parameters()) == 3_264
    assert [len(stage.convs) for stage in loss.mapping.stages] == [2, 2, 3, 3]
    assert loss.temperature == 5.4
    assert not RegionContrastLoss(NYUD, condition=False).mapping.film_parameters()


@pytest.mark.parametrize("pools", [1, 2, 3, 4])
def test_its_size_follows_the_backbone_and_its_resolution_the_poolings(pools: int) -> None:
    method: RDC = build_method("rdc", NYUD, "segnet", 0.25, {"pools": pools})
    stages = method.loss.mapping.stages
    assert [stage.convs[0].out_channels for stage in stages] == [8, 8, 8, 8]
    assert method.loss.temperature == pytest.approx(5.4 / 4)
    x = torch.rand(1, 8, 48, 64)
    for stage in stages:
        (x,) = stage([x], ([0], "pass"))
    assert x.shape[2:] == (48 // 2**pools, 64 // 2**pools)


def test_the_contrast_map_has_the_stride_asked_for() -> None:
    batch = random_batch()
    inputs = Inputs(Net()(batch.images), batch)
    for stride in (1, 2, 4):
        _, loss = fresh(map_stride=stride)
        for maps in loss.embed(find_links(TASKS, batch), inputs):
            assert maps.shape[1:] == (8, SIDE // stride, SIDE // stride)


# --------------------------------------------------------------- anybody's loop


def test_a_plain_loop_lowers_the_loss_and_finds_regions() -> None:
    net, loss = fresh(stop_label=True)
    groups = [{"params": net.parameters(), "lr": 1e-2}, *loss.param_groups(lr=1e-2)]
    optimizer, batch = torch.optim.Adam(groups), random_batch()
    values, found = [], []
    for _ in range(10):
        torch.manual_seed(1)
        terms = loss(net(batch.images), batch)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        values.append(terms["region_contrast"].item())
        found.append(loss.retrieval.item())
    assert tuple(terms) == ("region_contrast",)
    assert values[-1] < 0.8 * values[0]
    assert found[0] < 0.5 and found[-1] > found[0] + 0.2


@EVERY_VARIANT
def test_both_networks_learn(name: str) -> None:
    net, loss = fresh(**VARIANTS[name])
    batch = random_batch()
    for _ in range(2):  # the bank is empty at first
        term, gradients = contrast(net, loss, batch)
    assert term > 0 and all(g.isfinite().all() for g in gradients)
    heads = len(list(net.parameters()))
    assert any(g.any() for g in gradients[:heads]) and any(g.any() for g in gradients[heads:])


@pytest.mark.parametrize("name", ["gaussian", "pixel", "kl"])
def test_autocast_changes_little(name: str) -> None:
    batch, terms = random_batch(), []
    for enabled in (False, True):
        net, loss = fresh(**VARIANTS[name])
        contrast(net, loss, batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms.append(contrast(net, loss, batch)[0])
    assert terms[1].dtype == torch.float32
    torch.testing.assert_close(terms[1], terms[0], rtol=0.15, atol=0.1)


@EVERY_VARIANT
def test_withheld_labels_change_nothing(name: str) -> None:
    batch = random_batch()
    found = []
    for labels in (batch, rewrite_withheld(batch)):
        net, loss = fresh(**VARIANTS[name])
        contrast(net, loss, labels)
        found.append(contrast(net, loss, labels))
    (term, gradients), (other, same) = found
    assert gradients and torch.equal(term, other)
    assert all(torch.equal(g, s) for g, s in zip(gradients, same, strict=True))


def some_images(batch: Batch, rows: list[int]) -> Batch:
    maps = {
        field: {name: x[rows] for name, x in getattr(batch, field).items()}
        for field in ("targets", "valid", "labeled")
    }
    images, index, regions = batch.images[rows], batch.index[rows], batch.regions[rows]
    return replace(batch, images=images, index=index, regions=regions, **maps)


def without_regions(regions: Tensor) -> Tensor:
    return torch.full_like(regions, -1)


def one_region(regions: Tensor) -> Tensor:
    return torch.zeros_like(regions)


@pytest.mark.parametrize("change", [without_regions, one_region])
@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in ("patch", "bank")])
def test_an_image_with_less_than_two_regions_adds_exactly_nothing(change: Any, name: str) -> None:
    batch = random_batch()
    term, gradients = contrast(
        *fresh(**VARIANTS[name]), replace(batch, regions=change(batch.regions))
    )
    assert term == 0
    assert gradients and not any(g.any() for g in gradients)
    regions = batch.regions.clone()
    regions[1] = change(regions[1])
    net, loss = (
        fresh(**VARIANTS[name], statistics="image") if name != "image" else fresh(**VARIANTS[name])
    )
    term, gradients = contrast(net.eval(), loss.eval(), replace(batch, regions=regions))
    alone = some_images(replace(batch, regions=regions), [0, 2, 3])
    others, _ = contrast(net, loss, alone)
    assert all(g.isfinite().all() for g in gradients)
    if name != "sampled" and name != "pixel":  # whose samples are drawn for all images at once
        torch.testing.assert_close(4 * term, 3 * others)


@EVERY_VARIANT
def test_a_label_of_nothing_but_holes_adds_exactly_nothing(name: str) -> None:
    batch = random_batch()
    void = {n: torch.zeros_like(m) for n, m in batch.valid.items()}
    net, loss = fresh(**VARIANTS[name])
    term, gradients = contrast(net, loss, replace(batch, valid=void))
    assert term == 0 and not gradients and loss.retrieval == 0
    void = {n: m & (torch.arange(4) != 2).view(-1, 1, 1, 1) for n, m in batch.valid.items()}
    term, gradients = contrast(net, loss, replace(batch, valid=void))
    assert term.isfinite() and all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize(
    "name", [n for n in VARIANTS if n not in ("patch", "sampled", "pixel", "bank")]
)
def test_numbers_of_regions_do_not_matter(name: str) -> None:
    batch = random_batch()
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0)) * 1_000_003
    renumbered = replace(batch, regions=shuffled[batch.regions])
    (term, gradients), (other, same) = (
        contrast(*fresh(**VARIANTS[name]), b) for b in (batch, renumbered)
    )
    torch.testing.assert_close(other, term)
    for g, s in zip(gradients, same, strict=True):
        torch.testing.assert_close(s, g, rtol=1e-3, atol=1e-4)


def test_holes_of_labels_leave_the_region_or_count() -> None:
    batch = random_batch(images=3)
    (link, *_) = (x for x in find_links(TASKS, batch) if x.rows == (0,))
    known = batch.mask(link.target.name)[0, 0]
    for holes, expected in (("exclude", int(known.sum())), ("count", SIDE**2)):
        _, loss = fresh(label_holes=holes, map_stride=1)
        ids = loss.region_ids(link, batch, (SIDE, SIDE))
        assert int((ids >= 0).sum()) == expected


def test_patches_are_regions_of_a_grid() -> None:
    batch = random_batch()
    as_regions = replace(batch, regions=windows(4, SIDE, 8))
    expected, _ = contrast(*fresh(), as_regions)
    found, _ = contrast(*fresh(patch=4), replace(batch, regions=None))
    assert torch.equal(found, expected)


# ------------------------------------------------------------ equations by hand


@pytest.mark.parametrize("negatives", ["image", "both", 2])
@pytest.mark.parametrize("anchors", ["both", "prediction"])
def test_info_nce_is_that_of_a_plain_loop(negatives: Any, anchors: str) -> None:
    """[RDC, Eq. 2 to 6] in float64, with scipy's matrix root; samples of all are all."""
    batch = random_batch(labeled=dict.fromkeys(TASKS.names, torch.ones(4, dtype=torch.bool)))
    batch = replace(batch, regions=windows(4, SIDE, 16))  # four regions
    net, loss = fresh(negatives=3 if negatives == 2 else negatives, anchors=anchors, weight=0.5)
    torch.manual_seed(1)
    predictions = net(batch.images)
    links = find_links(TASKS, batch)
    torch.manual_seed(1)
    found = loss(predictions, batch)["region_contrast"]
    torch.manual_seed(1)
    maps = loss.embed(links, Inputs(predictions, batch))
    ids = torch.cat([loss.region_ids(link, batch, (16, 16)) for link in links])
    regions = find_regions(ids, 4)
    mean, covariance = zip(*(region_moments(regions.gather(m), regions) for m in maps), strict=True)
    covariance = [shrink(c, 1e-2) for c in covariance]

    def similarity(of_a: int, a: int, of_k: int, k: int) -> float:
        w = by_scipy(*(x.detach() for x in (mean[of_a][a], covariance[of_a][a])),
                     *(x.detach() for x in (mean[of_k][k], covariance[of_k][k])))  # fmt: skip
        return math.exp(-w / loss.temperature)

    total, right, count = 0.0, 0, 0
    for image in range(len(ids)):
        members = (regions.image == image).nonzero().flatten().tolist()
        nce = []
        for a, k in [(0, 1), (1, 0)] if anchors == "both" else [(0, 1)]:
            for i in members:
                others = [j for j in members if j != i]
                negative = [similarity(a, i, k, j) for j in others]
                positive = similarity(a, i, k, i)
                right, count = right + (positive > max(negative)), count + 1
                if negatives == "both":
                    negative += [similarity(a, i, a, j) for j in others]
                nce.append(-math.log(positive / (positive + sum(negative))))
        total += sum(nce) / len(nce)
    assert found.item() == pytest.approx(0.5 * total / 4, rel=1e-3)
    assert loss.retrieval.item() == pytest.approx(right / count)


def test_pixels_are_compared_with_those_of_other_regions() -> None:
    _, loss = fresh(contrast="pixel")
    draw = torch.Generator().manual_seed(0)
    p, t = (nn.functional.normalize(torch.randn(6, 3, generator=draw), dim=1) for _ in range(2))
    owner = torch.tensor([0, 0, 0, 1, 1, 2])
    found, right = loss.contrast_image(p, t, owner, draw)
    expected, hits = [], []
    for a, k in ((p, t), (t, p)):
        similar = (a @ k.T / 0.7).exp()
        for i in range(6):
            negative = similar[i, owner != owner[i]]
            expected.append(-(similar[i, i] / (similar[i, i] + negative.sum())).log())
            hits.append(bool(similar[i, owner == owner[i]].max() > negative.max()))
    torch.testing.assert_close(found, torch.stack(expected).mean())
    assert right.tolist() == hits


def test_kl_is_measured_from_the_anchor() -> None:
    _, loss = fresh(measure="kl")
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 3, 2, generator=draw)
    factor = torch.eye(2) * (1 + torch.rand(2, 3, 1, 1, generator=draw))
    p, t = loss.describe_gaussian(mean, factor)
    found, _ = loss.contrast_image(p, t, torch.arange(3), draw)
    expected = []
    for a, k in ((p, t), (t, p)):
        log_similarity = -torch.stack([loss.distance(x, k) for x in a]) / loss.temperature
        expected.append(nn.functional.cross_entropy(log_similarity, torch.arange(3)))
    torch.testing.assert_close(found, torch.stack(expected).mean())


@pytest.mark.parametrize("contrast", ["gaussian", "vector"])
def test_a_collapsed_mapping_is_at_chance(contrast: str) -> None:
    _, loss = fresh(contrast=contrast)
    same = torch.zeros(5, 2)
    same = (
        loss.describe_gaussian(same, torch.eye(2).repeat(5, 1, 1))
        if contrast == "gaussian"
        else same
    )
    found, right = loss.contrast_image(same, same, torch.arange(5), torch.Generator())
    assert found.item() == pytest.approx(math.log(5), rel=1e-6) and not right.any()


def test_the_bank_keeps_the_last_of_all_images() -> None:
    batch = random_batch()
    net, loss = fresh(negatives="bank", measure="diagonal")
    first, _ = contrast(net, loss, batch)
    assert first == 0  # nothing to push away yet
    step = int(loss.banked)
    assert 0 < step < BANK and not loss.bank[: BANK - step].any() and loss.bank[BANK - step :].any()
    newest = loss.bank[-step:].clone()
    second, _ = contrast(net, loss, batch)
    assert second > 0 and torch.equal(loss.bank[-2 * step : -step], newest)
    for _ in range(BANK // step):
        contrast(net, loss, batch)
    assert int(loss.banked) == BANK and loss.bank.shape == (BANK, 16)
    kept = loss.bank.clone()
    contrast(net, loss.eval(), batch)
    assert torch.equal(loss.bank, kept) and not loss.bank.requires_grad
    other = RegionContrastLoss(TASKS, width_factor=0.25, negatives="bank", measure="diagonal")
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.bank, kept)


# -------------------------------------------------------------------- options


def test_the_weight_rises_over_the_ramp() -> None:
    batch = random_batch()
    whole = contrast(*fresh(), batch)[0]
    for progress, share in ((0.0, 0.0), (0.25, 0.25), (1.0, 1.0)):
        torch.testing.assert_close(contrast(*fresh(), batch, progress=progress)[0], share * whole)
    assert contrast(*fresh(ramp_up=0.0), batch, progress=0.0)[0] == whole


def test_the_label_teaches_only_where_it_may_not_learn() -> None:
    """With ``stop_label`` the input layer of a task that is always a target has no gradient."""
    two = TASKS.subset(("semseg", "depth"))
    labeled = {"semseg": torch.ones(4, dtype=torch.bool), "depth": torch.zeros(4, dtype=torch.bool)}
    batch = random_batch(two, labeled=labeled)
    net = Net()
    for stop in (False, True):
        torch.manual_seed(0)
        loss = RegionContrastLoss(two, stop_label=stop, width_factor=0.25, min_pixels=4)
        loss(net(batch.images), batch)["region_contrast"].backward()
        grad = loss.mapping.inputs["semseg"].conv.weight.grad
        assert (grad is None or not grad.any()) == stop
        assert loss.mapping.inputs["depth"].conv.weight.grad.any()


def test_every_choice_names_arguments_that_exist() -> None:
    known = {*inspect.signature(RDC).parameters}
    named = {x for text in CHOICES.values() for x in re.findall(r"(\w+)=", text)}
    assert named <= known | {"schedule"}  # of the experiment
    decided = {
        "contrast",
        "temperature",
        "width_factor",
        "two_views",
        "film_lr",
        "tasks",
    }
    assert known - decided - {"backbone"} <= named | set(re.findall(r"\w+", str(CHOICES)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"contrast": "gausian"}, r"expected contrast to be one of .*'vector'.*, got 'gausian'"),
        (
            {"measure": "wasserstain"},
            r"measure: expected one of .*; did you mean 'wasserstein'",
        ),
        ({"negatives": "all"}, r"expected negatives to be one of .*, got 'all'"),
        ({"negatives": 0}, "negatives: expected one of .*, got 0"),
        ({"negatives": True}, "expected negatives to be one of .*, got True"),
        ({"anchors": "label"}, "expected anchors to be one of"),
        ({"label_holes": "keep"}, "expected label_holes to be one of"),
        ({"statistics": "batch"}, "expected statistics to be one of"),
        ({"pools": 5}, r"pools: expected one of \(1, 2, 3, 4\), got 5"),
        ({"min_pixels": 1}, "expected min_pixels >= 2"),
        ({"shrinkage": 1.5}, r"shrinkage in \[0, 1\], got .*1.5"),
        ({"temprature": 1.0}, "method_args: expected some of .* did you mean 'temperature'"),
        ({"two_vews": False}, "method_args: expected some of .* did you mean 'two_views'"),
    ],
)
def test_an_unknown_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_method("rdc", TASKS, "segnet", 0.125, options)


def test_a_batch_without_regions_is_refused() -> None:
    net, loss = fresh()
    batch = random_batch()
    for regions in (None, batch.regions[:2], batch.regions[:, 0]):
        with pytest.raises(ValueError, match=r"batch.regions: expected \(4, 1, H, W\)"):
            loss(net(batch.images), replace(batch, regions=regions))
    with pytest.raises(ValueError, match="predictions: expected the tasks"):
        loss({}, batch)


# --------------------------------------------------------------------- method


class Views:
    """A loader of three steps with two views."""

    steps, views = 3, 2

    def epoch(self, number: int) -> list[tuple[Batch, Batch]]:
        return [
            (random_batch(images=3, seed=i), random_batch(images=3, seed=9 + i)) for i in range(3)
        ]


@final
class TwoViews(Method):
    """Supervised training on two views, without anything of RDC."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.views = TASKS, 2
        self.net = MultiTaskNet(build_backbone("segnet", 0.125), TASKS)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        return supervised_terms(self.tasks, two_views(self.net, views)[0], views[0])


class Dropped(nn.Module):
    """A head behind dropout, which draws from the global generator."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head, self.drop = head, nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(x))


def trained(build: Callable[[], Method], dropout: bool = False) -> tuple[Method, dict[str, float]]:
    """After three steps; and the terms of its history."""
    torch.manual_seed(0)
    method = build()
    if dropout:
        for name, head in method.net.heads.items():
            method.net.heads[name] = Dropped(head)
    return method, fit(method, Views(), epochs=1, lr=1e-3, progress=False).history[0]["terms"]


def rdc(**options: Any) -> RDC:
    return build_method("rdc", TASKS, "segnet", 0.125, {"pools": 1, "min_pixels": 4} | options)


@cache
def two_view_supervised(dropout: bool) -> dict[str, Tensor]:
    method, terms = trained(lambda: rdc(weight=0.0), dropout)
    assert terms["region_contrast"] == 0
    return method.state_dict()


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("name", ["gaussian", "pixel", "sampled"])
def test_as_released_equals_two_views_bit_for_bit(name: str, dropout: bool) -> None:
    """All weights, and BatchNorm's statistics of the network that is tested."""
    released, terms = trained(lambda: rdc(gradient=False, **VARIANTS[name]), dropout)
    assert terms["region_contrast"] > 0
    plain = two_view_supervised(dropout)
    for key, value in released.named_parameters():
        assert torch.equal(value, plain[key]), key
    for key, value in released.net.state_dict().items():
        assert torch.equal(value, plain[f"net.{key}"]), key


def test_with_a_gradient_it_does_not() -> None:
    learned, _ = trained(lambda: rdc(weight=1.0, ramp_up=0.0))
    plain = two_view_supervised(False)
    same = {key: torch.equal(value, plain[key]) for key, value in learned.named_parameters()}
    assert (
        not same["net.backbone.encoder.0.0.weight"]
        and not same["loss.mapping.stages.0.convs.0.weight"]
    )


def test_two_view_supervised_training_needs_no_rdc() -> None:
    method, _ = trained(TwoViews)
    for key, value in method.state_dict().items():
        assert torch.equal(value, two_view_supervised(False)[key]), key


def test_the_history_has_the_region_retrieval_and_no_loss_of_it() -> None:
    method, terms = trained(rdc)
    assert tuple(terms) == (*TASKS.names, "region_contrast", "region_retrieval")
    assert 0 < terms["region_retrieval"] < 1
    one = method.training_step(*Views().epoch(0)[0], progress=0.5)
    assert "region_retrieval" not in one and not method.loss.retrieval.requires_grad


def test_xtc_comes_along() -> None:
    torch.manual_seed(0)
    method: RDC = build_method("rdc", TASKS, "segnet", 0.125, {"with_xtc": True, "min_pixels": 4})
    assert sum(len(g["params"]) for g in method.param_groups(1.0)) == len(list(method.parameters()))
    assert sorted(g["lr"] for g in method.param_groups(1.0)) == [1.0, 1.0, 1.0, 2.0, 10.0]
    assert {g.get("step_size") for g in method.param_groups(1.0)} == {None, 10, 30}
    terms = method.training_step(random_batch(), random_batch(), progress=0.5)
    assert tuple(terms) == (*TASKS.names, "cross_task", "regularizer", "region_contrast")


def test_one_view_is_both() -> None:
    torch.manual_seed(0)
    method: RDC = build_method("rdc", TASKS, "segnet", 0.125, {"two_views": False, "min_pixels": 4})
    assert method.views == 1
    twin = copy.deepcopy(method)
    batch = random_batch()
    torch.manual_seed(1)
    terms = method.training_step(batch, progress=1.0)
    torch.manual_seed(1)
    assert twin.training_step(batch, progress=1.0) == terms
    assert terms["region_contrast"] > 0
