"""HiTTs on the stand-ins of PASCAL-Context and Cityscapes: scales by hand, every kind of task."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from properties import (
    assert_batch_order_does_not_matter,
    assert_deterministic,
    assert_empty_mask_gives_zero,
    assert_every_parameter_in_one_group,
    assert_every_parameter_learns,
    assert_images_are_predicted_alone,
    assert_predictions_suit_metrics,
    assert_teacher_keeps_the_contract,
    assert_terms_are_finite_scalars,
    assert_unlabeled_images_have_no_gradient,
    assert_weights_say_everything,
    assert_withheld_labels_never_reach_gradient,
    random_batch,
)
from torch import Tensor, nn

from mtpsl.batch import Batch
from mtpsl.data import open_dataset
from mtpsl.data.dataset import TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.scenes import people21, streets7
from mtpsl.data.supervision import SupervisionStore, discover_to_folder
from mtpsl.models import build_backbone
from mtpsl.papers import build_method
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.papers.hitts.scales import MultiScaleTokens, Scale, to_grid
from mtpsl.papers.hitts.tokens import feature_confidence, to_size

PEOPLE, STREETS = people21.TASKS, streets7.TASKS
PASCAL = {"normal_centers": 40, "normal_centers_from": "uniform"}
BOTH = {"pseudo_labels": True, "pseudo_features": True}
CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "people21, scales": (PEOPLE, "resnet18", PASCAL),
    "people21, one scale": (PEOPLE, "resnet18", PASCAL | {"multi_scale": False}),
    "people21, scales, second stage": (PEOPLE, "resnet18", PASCAL | BOTH),
    "people21, one scale, second stage": (
        PEOPLE,
        "resnet18",
        PASCAL | BOTH | {"multi_scale": False},
    ),
    "streets7": (STREETS, "segnet", {"depth_bins": 100}),
    "streets7, second stage": (STREETS, "segnet", {"depth_bins": 100} | BOTH),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)
SWITCHES = (
    "orthogonal_embeddings",
    "inter_task",
    "intra_task",
    "global_tokens",
    "fine_tokens",
)


def build(case: str, **switches: Any) -> HiTTs:
    """Without dropout, which is random on purpose."""
    tasks, backbone, args = CASES[case]
    method = build_method("hitts", tasks, backbone, 0.125, args | switches)
    for layer in method.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return method


@cache
def prepared(case: str) -> HiTTs:
    torch.manual_seed(0)
    method = build(case)
    method.prepare([random_batch(method.tasks, images=10)])
    return method


def batch_for(case: str, **args: Any) -> Batch:
    """Five images; with what the same network finds, where the case is a second stage."""
    method = prepared(case)
    batch = random_batch(method.tasks, images=5, **args)
    if not method.pseudo_labels:
        return batch
    found = copy.deepcopy(method).eval().discover(batch.images, {})
    return replace(batch, discovered=found.withhold(batch))


# --- the contract of a method, on these tasks and backbones -----------------------------------


@EVERY_CASE
def test_terms_are_finite_scalars(case: str) -> None:
    assert_terms_are_finite_scalars(prepared(case), batch_for(case))


@EVERY_CASE
def test_withheld_labels_never_reach_gradient(case: str) -> None:
    assert_withheld_labels_never_reach_gradient(prepared(case), batch_for(case))


@EVERY_CASE
def test_empty_mask_gives_zero(case: str) -> None:
    assert_empty_mask_gives_zero(prepared(case), batch_for(case))


@EVERY_CASE
def test_unlabeled_images_have_no_gradient(case: str) -> None:
    assert_unlabeled_images_have_no_gradient(prepared(case), batch_for(case))


@EVERY_CASE
def test_batch_order_does_not_matter(case: str) -> None:
    assert_batch_order_does_not_matter(prepared(case), batch_for(case))


@EVERY_CASE
def test_every_parameter_learns_in_one_group(case: str) -> None:
    method = prepared(case)
    everything = {n: torch.ones(5, dtype=torch.bool) for n in method.tasks.names}
    assert_every_parameter_learns(method, batch_for(case, labeled=everything))
    assert_every_parameter_in_one_group(method)


@EVERY_CASE
def test_same_seed_same_bits(case: str) -> None:
    def fresh() -> HiTTs:
        method = build(case)
        method.prepare([random_batch(method.tasks, images=10)])
        return method

    assert_deterministic(fresh, batch_for(case))


@EVERY_CASE
def test_predictions(case: str) -> None:
    method, batch = prepared(case), batch_for(case)
    assert_predictions_suit_metrics(method, batch)
    assert_images_are_predicted_alone(method, batch)
    assert_weights_say_everything(method, lambda: build(case), batch)


@EVERY_CASE
def test_teacher_keeps_the_contract(case: str) -> None:
    assert_teacher_keeps_the_contract(prepared(case), batch_for(case))


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_component_can_be_switched_off_on_scales(switch: str) -> None:
    torch.manual_seed(0)
    method = build("people21, scales", **{switch: False})
    everything = {n: torch.ones(2, dtype=torch.bool) for n in PEOPLE.names}
    batch = random_batch(PEOPLE, images=2, labeled=everything)
    assert_every_parameter_learns(method, batch)
    whole = prepared("people21, scales").state_dict()
    state = method.state_dict()
    assert state.keys() != whole.keys() or any(state[n].shape != whole[n].shape for n in state)
    if switch in ("inter_task", "global_tokens"):
        for A in method.trace(batch.images).affinities:
            torch.testing.assert_close(A, torch.eye(5).expand(2, 5, 5))


def test_scales_can_have_one_task() -> None:
    for task in PEOPLE:
        torch.manual_seed(0)
        only = PEOPLE.subset((task.name,))
        method = build_method("hitts", only, "resnet18", 0.125, PASCAL)
        method.prepare([])  # no bins to fit
        assert_terms_are_finite_scalars(method, random_batch(only, images=2))


# --- Eq. 14 to 18 by hand ---------------------------------------------------------------------

T, C, MERGED, WIDTHS = 3, 5, 7, (2, 3, 4, 6)
GRID = (2, 3)
SIZES = ((4, 6), (2, 3), (2, 3), (2, 3))


@pytest.fixture
def tokens() -> Iterator[MultiScaleTokens]:
    torch.manual_seed(0)
    yield MultiScaleTokens(PEOPLE.subset(PEOPLE.names[:T]), C, WIDTHS, MERGED).double().eval()


@pytest.fixture
def theta() -> Tensor:
    return torch.randn(T, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def stages() -> list[Tensor]:
    g = torch.Generator().manual_seed(2)
    return [
        torch.randn(2, c, *size, dtype=torch.float64, generator=g)
        for c, size in zip(WIDTHS, SIZES, strict=True)
    ]


def test_eq14_and_eq16_split_tokens(tokens: MultiScaleTokens, theta: Tensor) -> None:
    split = tokens.split_tokens(theta)
    assert [s.shape for s in split] == [(T, c) for c in WIDTHS]
    for j in range(4):
        for i, task in enumerate(tokens.tasks):
            W = tokens.split[j][task.name]  # (C_j, C)
            by_hand = [sum(w[k] * theta[i, k] for k in range(C)) for w in W.weight]
            torch.testing.assert_close(split[j][i], torch.stack(by_hand) + W.bias)


def test_eq15_features_of_a_scale_are_queried_and_mixed(
    tokens: MultiScaleTokens, theta: Tensor, stages: list[Tensor]
) -> None:
    for j, own in enumerate(tokens.split_tokens(theta)):
        scale, stage, c = tokens.scales[j], stages[j], WIDTHS[j]
        new_theta, features, A = scale(own, stage)
        logits = scale.Q(own) @ scale.K(own).T / c**0.5
        mixing = logits.exp() / logits.exp().sum(1, keepdim=True)  # Eq. 1
        torch.testing.assert_close(A, mixing)
        torch.testing.assert_close(new_theta, mixing @ own)  # Eq. 2
        answers = scale.answers
        scaled = stage * answers.factor[:, None, None] + answers.offset[:, None, None]
        asked = [  # F^(j) = [F_1^(j); ...; F_T^(j)]
            (own[i, None, :, None, None] * scaled).sum(1, keepdim=True).sigmoid() * stage
            for i in range(T)
        ]
        for i, task in enumerate(tokens.tasks):
            mixed = sum(mixing[i, k] * asked[k] for k in range(T))
            torch.testing.assert_close(features[i], scale.convs[task.name](mixed))


def test_eq17_fuse_features(tokens: MultiScaleTokens) -> None:
    g = torch.Generator().manual_seed(3)
    maps = [
        [torch.randn(2, c, *size, dtype=torch.float64, generator=g) for _ in range(T)]
        for c, size in zip(WIDTHS, SIZES, strict=True)
    ]
    for i, (task, fused) in enumerate(
        zip(tokens.tasks, tokens.fuse_features(maps, GRID), strict=True)
    ):
        assert fused.shape == (2, C, *GRID)
        conv, (y, x) = tokens.fuse[task.name], (1, 2)
        finest = maps[0][i][1, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((1, 2))
        joined = torch.cat([finest, *(m[i][1, :, y, x] for m in maps[1:])])  # all channels
        by_hand = conv.weight[:, :, 0, 0] @ joined + conv.bias
        torch.testing.assert_close(fused[1, :, y, x], by_hand)


def test_eq18_merge_tokens(tokens: MultiScaleTokens) -> None:
    g = torch.Generator().manual_seed(4)
    own = [torch.randn(T, c, dtype=torch.float64, generator=g) for c in WIDTHS]
    merged = tokens.merge_tokens(own)
    assert merged.shape == (T, MERGED)
    for i, task in enumerate(tokens.tasks):
        W = [tokens.merge[j][task.name] for j in range(4)]
        by_hand = sum(w.weight @ o[i] + w.bias for w, o in zip(W, own, strict=True))
        torch.testing.assert_close(merged[i], by_hand)


def test_forward_is_the_equations_in_a_row(
    tokens: MultiScaleTokens, theta: Tensor, stages: list[Tensor]
) -> None:
    new_theta, features, affinities = tokens(theta, stages, GRID)
    found = [tokens.scales[j](own, stages[j]) for j, own in enumerate(tokens.split_tokens(theta))]
    fused = tokens.fuse_features([maps for _, maps, _ in found], GRID)
    torch.testing.assert_close(features, fused)
    torch.testing.assert_close(new_theta, tokens.merge_tokens([t for t, _, _ in found]))
    assert all(torch.equal(a, A) for a, (_, _, A) in zip(affinities, found, strict=True))


def test_every_part_has_a_gradient(
    tokens: MultiScaleTokens, theta: Tensor, stages: list[Tensor]
) -> None:
    theta.requires_grad_()
    new_theta, features, _ = tokens(theta, stages, GRID)
    (sum(f.square().sum() for f in features) + new_theta.square().sum()).backward()
    for name, p in [*tokens.named_parameters(), ("theta", theta)]:
        assert p.grad is not None and p.grad.any(), name


def test_a_finer_map_is_averaged_and_a_coarser_one_bilinear() -> None:
    maps = torch.arange(24.0).view(1, 1, 4, 6)
    assert to_grid(maps, (4, 6)) is maps
    torch.testing.assert_close(to_grid(maps, GRID), F.avg_pool2d(maps, 2))
    torch.testing.assert_close(to_grid(maps, (8, 12)), to_size(maps, (8, 12)))


def test_a_map_of_the_right_size_is_left_alone() -> None:
    maps = torch.rand(1, 2, 3, 4)
    assert to_size(maps, (3, 4)) is maps


# --- what is traced ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 40, 50])
def test_trace_of_scales(side: int) -> None:
    method, cells = prepared("people21, scales"), -(-side // 8)
    with torch.no_grad():
        trace = copy.deepcopy(method).eval().trace(torch.rand(2, 3, side, side))
    assert len(trace.affinities) == 4
    for A in (*trace.affinities, trace.affinity):
        assert A.shape == (2, 5, 5)
        torch.testing.assert_close(A.sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(trace.affinity, sum(trace.affinities) / 4)
    for t, bins in zip(PEOPLE, (21, 7, 40, 2, 2), strict=True):
        assert trace.global_tokens[t.name].shape == (2, 32)
        assert trace.task_features[t.name] is trace.maps[t.name]
        assert trace.maps[t.name].shape == (2, 32, cells, cells)
        assert trace.feature_confidence[t.name].shape == (2, 1, cells, cells)
        assert trace.fine_tokens[t.name].shape == (2, bins, 32)
        for maps in (trace.fine_features, trace.scores):
            assert maps[t.name].shape == (2, bins, cells, cells)
        assert trace.refined[t.name].shape == (2, bins, side, side)
        assert (trace.scores[t.name] > 0).all()
        assert trace.predictions[t.name].shape == (2, t.channels, side, side)


def test_one_scale_has_one_affinity() -> None:
    method = prepared("people21, one scale")
    trace = method.trace(torch.rand(2, 3, 32, 32))
    (A,) = trace.affinities
    assert trace.affinity is A and method.scales is None
    assert trace.task_features["edges"].shape == (2, 32, 4, 4)


@pytest.mark.parametrize("case", ["people21, scales", "people21, one scale"])
def test_the_head_stands_between_inter_and_intra_task_learning(case: str) -> None:
    method = copy.deepcopy(prepared(case)).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        trace, seen = method.trace(images, decode=False), method.backbone(images)
        if method.scales is None:
            theta, maps, _ = method.single(method.theta, seen.decoder)
            theta = [method.narrow[t.name](theta[i]) for i, t in enumerate(PEOPLE)]
        else:
            theta, maps, _ = method.scales(method.theta, seen.stages, (4, 4))
        for i, t in enumerate(PEOPLE):
            own = method.head[t.name](maps[i])
            assert (maps[i].shape[1], own.shape[1]) == (64, 32)
            token, own = method.attention[t.name](theta[i].expand(2, -1), own)
            own = method.conv[t.name](own)
            torch.testing.assert_close(trace.maps[t.name], own)
            torch.testing.assert_close(trace.global_tokens[t.name], token)
            G = method.fine[t.name](own.movedim(1, -1)).movedim(-1, 1)
            logits = method.refine[t.name](G * trace.scores[t.name])  # Eq. 4
            torch.testing.assert_close(trace.refined[t.name], to_size(logits, (32, 32)))


def test_scales_can_be_fused_on_the_finest_grid() -> None:
    torch.manual_seed(0)
    method = build_method("hitts", PEOPLE, "resnet18", 0.125, PASCAL | {"fusion_stride": 4})
    trace = method.trace(torch.rand(2, 3, 50, 32))
    assert trace.maps["semseg"].shape == (2, 32, 13, 8)
    assert trace.task_features["semseg"].shape == (2, 32, 6, 4)  # the grid of attention is 1/8


def test_a_coarser_grid_of_features() -> None:
    torch.manual_seed(0)
    for scales in (True, False):
        args = PASCAL | {"reduction": 16, "multi_scale": scales}
        method = build_method("hitts", PEOPLE, "resnet18", 0.125, args)
        trace = method.trace(torch.rand(2, 3, 48, 48))
        assert trace.maps["semseg"].shape == (2, 32, 6, 6)
        assert trace.task_features["semseg"].shape == (2, 32, 3, 3)
        assert trace.refined["semseg"].shape == (2, 21, 48, 48)


def test_discoveries_are_on_the_fused_grid() -> None:
    method = copy.deepcopy(prepared("people21, scales")).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        trace, found = method.trace(images), method.discover(images, {})
    for t in PEOPLE:
        assert torch.equal(found.features[t.name], trace.task_features[t.name])
        expected = feature_confidence(trace.global_tokens[t.name], trace.task_features[t.name])
        assert torch.equal(found.confidence[t.name], expected)


# --- arguments and sizes ----------------------------------------------------------------------


def test_scales_are_the_default_where_there_are_some() -> None:
    torch.manual_seed(0)
    assert build_method("hitts", PEOPLE, "resnet18", 0.125).scales is not None
    assert build_method("hitts", STREETS, "segnet", 0.125).scales is None
    backbone = build_backbone("resnet18", 0.125)
    method = HiTTs(PEOPLE, backbone)
    assert [s.K.in_features for s in method.scales.scales] == list(backbone.stage_channels)


def test_arguments_that_a_backbone_refuses() -> None:
    with pytest.raises(ValueError, match="multi_scale: expected False on a backbone with one"):
        build_method("hitts", STREETS, "segnet", 0.125, {"multi_scale": True})


def test_parameters_by_hand() -> None:
    """What scales add to and take from the single-scale network, at the published width."""
    with torch.device("meta"):
        one, many = (
            build_method("hitts", PEOPLE, "resnet18", 1.0, PASCAL | {"multi_scale": scales})
            for scales in (False, True)
        )
        scale = Scale(PEOPLE, 64)
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    linear = lambda c, d: c * d + d  # noqa: E731
    conv = lambda c: 9 * c * c + 3 * c  # noqa: E731  # bias and BatchNorm
    at = lambda c: 2 * c + 2 * linear(c, c) + 5 * conv(c)  # noqa: E731  # gate, Q, K, 5 tasks
    assert count(scale) == at(64)
    stages = (64, 128, 256, 512)
    maps = 5 * sum(linear(512, c) + linear(c, 256) for c in stages)  # Eq. 14 and 18
    fuse = 5 * linear(sum(stages), 512)  # Eq. 17
    assert count(many.scales) == sum(map(at, stages)) + maps + fuse
    assert count(many) - count(one) == count(many.scales) - at(512) - 5 * linear(512, 256)


# --- from the data to the student -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting", "pseudo"),
    [
        ("people21", "one_label", "argmax"),
        ("people21", "random_labels", "argmax"),
        ("streets7", "one_label", "argmax"),
        ("streets7", "one_label", "soft"),
    ],
)
def test_the_whole_way_to_the_second_stage(name: str, setting: str, pseudo: str, tmp_path) -> None:
    """Labels withheld, bins found, labels discovered, kept, warped, and learned from."""
    case = {"people21": "people21, scales", "streets7": "streets7"}[name]
    images = open_dataset(name, "train", height=32, width=32, images=10, cache_dir=tmp_path)
    carries = {t: images.carries(t) for t in images.tasks.names}
    assignment = assign(setting, 10, images.tasks.names, carries=carries)
    partial = PartialLabels(images, assignment)
    torch.manual_seed(0)
    teacher, student = (build(c, pseudo=pseudo) for c in (case, f"{case}, second stage"))
    clean = partial.load(range(10))
    for method in (teacher, student):
        method.prepare([clean])
    discover_to_folder(
        teacher, partial, tmp_path / "found", thresholds=dict.fromkeys(images.tasks.names, "50%")
    )
    store = SupervisionStore(tmp_path / "found", images.tasks)
    loader = TrainLoader(
        partial, batch_size=5, seed=0, supervision=store,
        augmentation="turned" if name == "people21" else "scale_crop", flip=name == "people21",
    )  # fmt: skip
    for (batch,) in loader.epoch(0):
        found = batch.discovered
        for t in images.tasks:
            channels = {"resnet18": 32, "segnet": 8}[CASES[case][1]]
            assert found.features[t.name].shape == (5, channels, 4, 4)
            assert not found.valid[t.name][batch.labeled[t.name]].any()
            values = found.targets[t.name].movedim(1, -1)[found.valid[t.name][:, 0]]
            assert len(values), f"no pseudo label of {t.name}"
            soft = pseudo == "soft" and t.kind in ("positive", "direction")
            assert (t.name in found.weights) == soft
            if soft:
                sure = found.weights[t.name][found.valid[t.name]]
                assert 0 < sure.min() and sure.max() <= 1
                assert not torch.isin(values, teacher.quantizers[t.name].centers).any()
            if t.kind == "binary":
                assert torch.isin(values, torch.tensor([0.0, 1.0])).all()
        assert_terms_are_finite_scalars(student, batch)
        terms = student.training_step(batch, progress=0.0)
        suffixes = ("", "_pseudo", "_feature")
        assert set(terms) == {f"{n}{s}" for n in images.tasks.names for s in suffixes}
