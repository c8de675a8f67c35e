"""HiTTs' diagrams say what the networks do: every step is the trace's, every shape a tensor's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_figures import Noise
from torch import Tensor

from mtpsl.batch import Batch
from mtpsl.papers import build_method
from mtpsl.papers.hitts import traces
from mtpsl.papers.hitts.method import HiTTs
from mtpsl.report.arrays import Arrays, FigureInputs, shown
from mtpsl.runs.network import build

FIGURES = {"setting": traces.setting, "walk": traces.walk}  # Figure 1; Figures 2 to 4
NAMES = Noise.tasks.names


def network(width_factor: float = 0.125, seed: int = 0, **args: Any) -> HiTTs:
    torch.manual_seed(seed)
    built = build_method("hitts", Noise.tasks, "segnet", width_factor, args)
    built.prepare([Noise().load(range(6))])
    built.train()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass, and features vary as after training
    with torch.no_grad():
        built.trace(Noise().load(range(6)).images)
    return built.eval()


def material(width_factor: float = 0.125) -> FigureInputs:
    ours = network(width_factor, seed=1, pseudo_labels=True, pseudo_features=True)
    methods = {"teacher": network(width_factor), "ours": ours}
    return FigureInputs(methods=methods, test=Noise())


@pytest.fixture(scope="module")
def trained() -> FigureInputs:
    return material()


@pytest.fixture(scope="module")
def every(trained: FigureInputs) -> dict[str, Arrays]:
    return {name: figure(trained) for name, figure in FIGURES.items()}


@pytest.fixture(scope="module")
def steps() -> tuple[HiTTs, dict[str, Tensor]]:
    method = network(0.25)
    return method, traces.follow(method, Noise().load([1]).images)


# ------------------------------------------------------------------ follow


@torch.no_grad()
def test_every_step_is_one_of_the_trace_or_leads_to_it(
    steps: tuple[HiTTs, dict[str, Tensor]],
) -> None:
    method, found = steps
    trace = method.trace(Noise().load([1]).images)
    torch.testing.assert_close(found["affinity"], trace.affinity)
    queried = torch.stack([found[f"queried/{n}"] for n in NAMES], dim=1)
    mixed = torch.einsum("bst,btchw->bschw", trace.affinity, queried)  # Eq. 2, all channels
    torch.testing.assert_close(found["theta_mixed"], trace.affinity @ found["theta"])
    for i, t in enumerate(method.tasks):
        n = t.name
        torch.testing.assert_close(found[f"queried/{n}"], found["shared"] * found[f"gate/{n}"])
        by_gate = found["shared"] * found[f"mixed_gate/{n}"]
        torch.testing.assert_close(by_gate, mixed[:, i])
        torch.testing.assert_close(found[f"mixed/{n}"], method.single.convs[n](mixed[:, i]))
        before = found["theta_mixed"][:, i], found[f"mixed/{n}"]
        token, after = method.learn_intra_task(t, *before)
        torch.testing.assert_close(found[f"token/{n}"], token)
        torch.testing.assert_close(found[f"projected/{n}"], after)
        torch.testing.assert_close(found[f"feature/{n}"], F.avg_pool2d(after, 8))
        cells = found[f"feature/{n}"].flatten(2).mT
        torch.testing.assert_close(found[f"joint/{n}"], torch.cat([token[:, None], cells], dim=1))
        embedded = method.embed[n](found[f"basis/{n}"])  # Eq. 3
        torch.testing.assert_close(found[f"embedded/{n}"], embedded)
        phi = method.token_mlp[n]((found[f"embedded/{n}"] + found[f"token/{n}"][:, None]).mT).mT
        torch.testing.assert_close(found[f"phi/{n}"], phi)
        G = method.fine[n](found[f"projected/{n}"].movedim(1, -1)).movedim(-1, 1)
        torch.testing.assert_close(G, found[f"fine/{n}"])
        torch.testing.assert_close(method.refine[n](found[f"masked/{n}"]), trace.refined[n])
        torch.testing.assert_close(found[f"prediction/{n}"], trace.predictions[n])


def test_shapes_are_those_of_the_tensors_at_another_width(
    steps: tuple[HiTTs, dict[str, Tensor]],
) -> None:
    _, found = steps
    said = {k.partition("/")[2]: v.tolist() for k, v in traces.shapes(found).items()}
    assert said == {name: list(tensor.shape[1:]) for name, tensor in found.items()}
    assert said["shared"] == said["projected/depth"] == [16, 32, 64]
    assert said["gate/depth"] == [1, 32, 64] and said["feature/depth"] == [16, 4, 8]
    assert said["joint/depth"] == [33, 16] and said["affinity"] == [3, 3]
    for task, bins, channels in (("semseg", 4, 4), ("depth", 30, 1), ("normals", 20, 3)):
        assert said[f"phi/{task}"] == [bins, 16] and said[f"basis/{task}"] == [bins, bins]
        assert said[f"score/{task}"] == said[f"refined/{task}"] == [bins, 32, 64]
        assert said[f"prediction/{task}"] == [channels, 32, 64]


@pytest.mark.parametrize("intra_task", [True, False])
def test_parts_learn_together_what_the_method_learns(intra_task: bool) -> None:
    method = network(intra_task=intra_task)
    found = traces.learned(method)
    assert sum(found.values()) == sum(p.numel() for p in method.parameters())
    assert any(name.startswith("attention/") for name in found) == intra_task


@pytest.mark.parametrize("switch", ["inter_task", "orthogonal_embeddings", "fine_tokens"])
def test_a_method_without_a_component_is_refused(switch: str) -> None:
    with pytest.raises(ValueError, match="method: expected HiTTs with one scale"):
        traces.follow(network(**{switch: False}), Noise().load([0]).images)


# ----------------------------------------------------------------- figures


def test_arrays_are_plain_and_finite(every: dict[str, Arrays]) -> None:
    for name, found in every.items():
        for key, values in found.items():
            assert values.dtype.kind in "biufU", (name, key)
            holes = key.endswith(("/truth", "/pseudo", "/examples"))
            if values.dtype.kind == "f" and not holes:
                assert np.isfinite(values).all(), (name, key)


@pytest.mark.parametrize("name", FIGURES)
def test_another_network_gives_other_shapes(every: dict[str, Arrays], name: str) -> None:
    wider = FIGURES[name](material(0.25))
    changed = {k for k in wider if "shape/" in k and (wider[k] != every[name][k]).any()}
    assert {"shape/shared", "shape/theta", "shape/phi/semseg", "shape/joint/depth"} <= changed
    assert "shape/image" not in changed and "shape/refined/semseg" not in changed


def test_the_image_lacks_the_first_label_and_has_what_the_teacher_found(
    trained: FigureInputs, every: dict[str, Arrays]
) -> None:
    for name, found in every.items():
        assert found["example"] == NAMES[0] and not found["known"][0]
        batch = Noise().load(found["index"].tolist())
        teacher = trained.methods["teacher"]
        taus = {n: float(found[f"tau/{n}"]) for n in NAMES}
        own = teacher.discover(batch.images, taus)
        for t, known in zip(Noise.tasks, found["known"], strict=True):
            accepted = own.valid[t.name] & ~torch.tensor(bool(known))
            by_hand = shown(t, own.targets[t.name], accepted)
            np.testing.assert_array_equal(found[f"{t.name}/pseudo"], by_hand)
            share = float(accepted.double().mean())
            assert found[f"accepted/{t.name}"] == pytest.approx(share, abs=1e-4), name
            assert known or 0 < share < 1


def test_setting_shows_some_but_not_all_labels(every: dict[str, Arrays]) -> None:
    found = every["setting"]
    count = found["examples/labeled"].sum(1)
    assert 1 <= count.min() and count.max() < len(NAMES)
    assert len({tuple(row) for row in found["examples/labeled"].tolist()}) == len(count)
    np.testing.assert_array_equal(found["examples/images"][:1], found["images"])
    np.testing.assert_array_equal(found["examples/labeled"][0], found["known"])


def test_losses_of_the_overview_are_the_methods_own(
    trained: FigureInputs, every: dict[str, Arrays]
) -> None:
    found, method = every["walk"], trained.methods["ours"]
    batch = Noise().load(found["index"].tolist())
    known = {n: torch.tensor([bool(k)]) for n, k in zip(NAMES, found["known"], strict=True)}
    taus = {n: float(found[f"tau/{n}"]) for n in NAMES}
    own = trained.methods["teacher"].discover(batch.images, taus)
    seen = replace(batch, labeled=known)
    with torch.no_grad():
        terms = method.training_step(replace(seen, discovered=_hide(seen, own)), progress=0.0)
    expected = {"L_s": "", "L_p": "_pseudo", "L_f": "_feature"}
    for name, end in expected.items():
        total = sum(float(terms[f"{n}{end}"]) for n in NAMES)
        assert found[f"loss/{name}"] == pytest.approx(total, abs=1e-4)
        assert found[f"loss/{name}"] > 0


def _hide(batch: Batch, found: Any) -> Any:
    valid = {n: m & ~batch.labeled[n].view(-1, 1, 1, 1) for n, m in found.valid.items()}
    return replace(found, valid=valid)


def test_global_tokens_show_the_affinity_of_the_trace(
    trained: FigureInputs, every: dict[str, Arrays]
) -> None:
    found = every["walk"]
    batch = Noise().load(found["index"].tolist())
    with torch.no_grad():
        trace = trained.methods["ours"].trace(batch.images)
    np.testing.assert_allclose(found["values/affinity"], trace.affinity[0], atol=1e-4)
    assert found["block"] == 8 and found["mask/depth"].shape == (4, 8)
    mixed = found["values/affinity"] @ found["values/theta"]
    np.testing.assert_allclose(found["values/theta_mixed"], mixed, atol=1e-3)


def test_fine_tokens_show_one_channel_of_the_example(every: dict[str, Arrays]) -> None:
    found = every["walk"]
    product = found["fine"].astype(float) * found["score"].astype(float)
    np.testing.assert_allclose(found["masked"].astype(float), product, rtol=3e-3, atol=5e-3)
    np.testing.assert_array_equal(found["values/basis"], np.eye(4))
    sure = found["confidence"].astype(float) > float(found["tau/semseg"])
    assert (sure == found["accept"]).mean() > 0.99  # to rounding
    assert 0 <= int(found["channel"]) < 4


def test_methods_are_left_alone(trained: FigureInputs) -> None:
    before = {
        role: {n: p.clone() for n, p in m.state_dict().items()}
        for role, m in trained.methods.items()
    }
    for figure in FIGURES.values():
        first, again = figure(trained), figure(trained)
        for key in first:
            np.testing.assert_array_equal(first[key], again[key])
    for role, method in trained.methods.items():
        state = method.state_dict()
        assert not method.training
        assert all(torch.equal(before[role][n], p) for n, p in state.items())


def test_equal_features_have_equal_colors_and_flat_ones_no_noise() -> None:
    maps = torch.rand(1, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    found = traces.feature_pictures({"a": maps, "b": maps.clone(), "c": maps.flip(3)})
    np.testing.assert_array_equal(found["a"], found["b"])
    np.testing.assert_array_equal(found["a"][:, ::-1], found["c"])
    assert found["a"].shape == (2, 3, 3) and found["a"].dtype == np.uint8
    flat = traces.feature_pictures({"flat": torch.full((1, 5, 2, 3), 0.3)})["flat"]
    assert len(np.unique(flat)) == 1


# --------------------------------------------------------------- Figure 12


def test_sizes_are_those_of_the_papers_network() -> None:
    found = traces.scales(FigureInputs())
    assert found["multi/shape/image"].tolist() == [3, 512, 512]
    stages = [found[f"multi/shape/stage/{j}"].tolist() for j in range(4)]
    assert stages == [[64, 128, 128], [128, 64, 64], [256, 64, 64], [512, 64, 64]]
    for j, (channels, *size) in enumerate(stages):
        assert found[f"multi/shape/theta/{j}"].tolist() == [5, channels]
        assert found[f"multi/shape/feature/{j}"].tolist() == [5, channels, *size]
        assert found[f"multi/shape/cell/{j}"].tolist() == [5, channels, 64, 64]
        assert int(found[f"multi/parameters/split/{j}"]) == 5 * 513 * channels
        assert int(found[f"multi/parameters/merge/{j}"]) == 5 * (channels + 1) * 256
    assert found["multi/shape/joined"].tolist() == [5, 64 + 128 + 256 + 512, 64, 64]
    assert int(found["multi/parameters/fuse"]) == 5 * 512 * (64 + 128 + 256 + 512 + 1)
    for name in ("single", "multi"):
        assert found[f"{name}/shape/feature"].tolist() == [256, 64, 64]
        assert found[f"{name}/shape/affinity"].tolist() == [5, 5]
    convs = 5 * (9 * 512 + 3) * 512  # with bias and BatchNorm
    assert int(found["single/parameters/tokens"]) == (5 + 2 + 2 * 513) * 512 + convs
    assert found["images"].shape == (1, 128, 128, 3) and found["images"].std() > 0


@pytest.mark.parametrize("experiment", [traces.SINGLE, traces.MULTI])
def test_shapes_without_weights_are_those_with_weights(experiment: Any) -> None:
    small = experiment.replace(height=64, width=96, width_factor=0.125)
    method, images = traces.without_weights(small)
    assert images.is_meta and all(p.is_meta for p in method.parameters())
    real = build(small).eval()
    traced, by_hand = (
        traces.trace_scales(*pair) for pair in ((method, images), (real, torch.rand(1, 3, 64, 96)))
    )
    assert {k: v.tolist() for k, v in traced.items()} == {k: v.tolist() for k, v in by_hand.items()}
    assert traced["shape/feature"].tolist() == [32, 8, 12]
    assert traced["shape/stage/0"].tolist() == [8, 16, 24]


def test_parts_of_the_scales_add_up() -> None:
    method, images = traces.without_weights(traces.MULTI.replace(width_factor=0.125))
    found = traces.trace_scales(method, images)
    parts = [
        int(found[f"parameters/{p}/{j}"]) for p in ("split", "scale", "merge") for j in range(4)
    ]
    total = sum(parts) + int(found["parameters/fuse"]) + method.theta.numel()
    assert int(found["parameters/tokens"]) == total
