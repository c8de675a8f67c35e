from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtpsl import papers
from mtpsl.data import open_dataset
from mtpsl.data.dataset import Dataset, Sample
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.papers.hitts import figures as hitts
from mtpsl.papers.rdc import figures as rdc
from mtpsl.papers.tpkr import diagrams as tpkr
from mtpsl.papers.tpkr.free import free_features
from mtpsl.papers.xtc import diagrams, storm
from mtpsl.papers.xtc import figures as xtc
from mtpsl.report import arrays
from mtpsl.report.arrays import FigureInputs
from mtpsl.runs.profiles import PROFILES, smoke
from mtpsl.tasks import TaskSet, depth, inverse_depth, normals, saliency, semseg

CLASSES = ("floor", "wall", "chair", "sky")  # the last has no color of its own


class Noise(Dataset):
    """Six random images 32x64 in which every map has a hole; image 4 is the darkest."""

    name, version, split, stand_in = "noise", "1", "test", True
    tasks = TaskSet((semseg(CLASSES), depth(), normals()))
    height, width = 32, 64

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, 32, 64, generator=generator) * (0.2 if index == 4 else 1.0)
        targets = {
            "semseg": torch.randint(0, 4, (1, 32, 64), generator=generator),
            "depth": 1 + 4 * torch.rand(1, 32, 64, generator=generator),
            "normals": F.normalize(torch.randn(3, 32, 64, generator=generator), dim=0),
        }
        valid = torch.ones(1, 32, 64, dtype=torch.bool)
        valid[:, :4] = False
        holed = {t.name: targets[t.name].masked_fill(~valid, t.missing) for t in self.tasks}
        return Sample(image, holed, {name: valid for name in holed})


class Street(Noise):
    """The same images with two tasks, of which depth has no unit."""

    name = "street"
    tasks = TaskSet((semseg(CLASSES), inverse_depth()))


def method(name: str, data: type[Noise] = Noise, backbone: str = "segnet", **args: Any) -> Method:
    torch.manual_seed(0)
    built = build_method(name, data.tasks, backbone, 0.125, args)
    built.prepare([data().load(range(6))])
    return built.eval()


def taught(data: type[Noise] = Noise) -> FigureInputs:
    """A teacher that is surer of some pixels, and six training images that keep one label each."""
    names, teacher = data.tasks.names, method("hitts", data).train()
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # one pass, and features vary as after training
    with torch.no_grad():
        teacher.trace(data().load(range(6)).images)
    return FigureInputs(
        methods={"ours": teacher.eval()},
        test=data(),
        train=PartialLabels(data(), assign("one_label", 6, names)),
        thresholds=dict.fromkeys(names, "50%"),
    )


def history(offset: float) -> list[dict]:
    """Four epochs, of which the second and the fourth were measured."""
    metrics = {"semseg/miou": 0.2 + offset, "depth/abs_err": 0.5, "normals/mean_err": 30.0}
    points = {"train": metrics, "test": {k: v + 0.1 for k, v in metrics.items()}}
    terms = {"cross_task": 0.4, "regularizer": 0.6}
    steps = {"gradient": 5.0, "remembered": 50.0, "moved": 0.1}
    entries = [{"epoch": epoch, "terms": terms, "steps": steps} for epoch in (1, 2, 3, 4)]
    return [e | {"metrics": points} if e["epoch"] % 2 == 0 else e for e in entries]


@pytest.fixture(scope="module")
def every() -> dict[str, dict[str, np.ndarray]]:
    return brief_arrays()


def brief_arrays() -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every figure; two that train do so longer in their own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rdc, "STEPS", 8)
        patch.setattr(tpkr, "free_features", partial(free_features, steps=40))
        return all_arrays()


def all_arrays(names: Sequence[str] = tuple(papers.figures())) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of figures, from untrained networks."""
    tokens, plain = method("hitts"), method("hitts", orthogonal_embeddings=False)
    ours, baseline = method("xtc"), method("supervised")
    street = {role: method(role, Street) for role in ("supervised", "mtan", "xtc", "hitts", "rdc")}
    methods = {
        "hitts/fig5": {
            "baseline": baseline,
            "mtan": method("mtan"),
            "xtc": ours,
            "ours": tokens,
        },
        "hitts/fig7": {"without": plain, "with": tokens},
        "hitts/fig8": {"plain": tokens},
        "hitts/fig9": {},
        "hitts/fig11": {"plain": tokens},
        "xtc/fig1": {"ours": ours},
        "xtc/fig2": {"ours": ours},
        "xtc/fig3": {"ours": ours},
        "xtc/fig4": {"sl": baseline, "ssl": tokens, "ours": ours},
        "xtc/consistency": {"with": ours, "without": method("xtc", regularize=False)},
        "xtc/storm": {role: baseline if "labels" in role else ours for role in storm.ROLES},
    }
    contrast = {"ours": method("rdc", pools=2)}
    methods |= {f"rdc/{name}": contrast for name in ("fig1", "fig2", "fig3", "retrieval")}
    methods |= {f"rdc/fig{i}": {"xtc": ours} | contrast for i in (4, 5)}
    prototypes = {"ours": method("tpkr", backbone="resnet18_fused", code_count=16)}
    methods |= {f"tpkr/fig{i}": prototypes for i in (1, 2, 3, 6)}
    methods["tpkr/fig5"] = {"diffusion": baseline} | prototypes
    second = method("hitts", pseudo_labels=True, pseudo_features=True)
    methods |= {f"hitts/fig{i}": {"teacher": tokens, "ours": second} for i in range(1, 5)}
    histories = {"without": history(0.0), "with": history(0.05)}
    histories |= dict.fromkeys(storm.ROLES, history(0.1))
    experiments = {
        role: experiment
        for name in ("xtc/storm", "rdc/fig1")
        for role, experiment in papers.figures()[name].experiments(smoke).items()
    }
    given = {
        name: FigureInputs(
            methods=roles,
            histories={r: h for r, h in histories.items() if r in (roles or ("without", "with"))},
            experiments={r: e for r, e in experiments.items() if r in roles},
            test=Noise(),
        )
        for name, roles in methods.items()
    }
    street_roles = {"baseline": "supervised", "mtan": "mtan", "xtc": "xtc", "ours": "hitts"}
    streets = {role: street[name] for role, name in street_roles.items()}
    rooms = {"baseline": baseline, "xtc": ours, "ours": tokens}
    given |= {
        "hitts/fig6": FigureInputs(
            methods={role: streets[role] for role in ("mtan", "xtc", "ours")}, test=Street()
        ),
        "rdc/fig6": FigureInputs(
            methods={"xtc": street["xtc"], "ours": street["rdc"]}, test=Street()
        ),
        "tpkr/fig7": FigureInputs(
            methods=prototypes,
            experiments={"ours": smoke(*papers.tables()["tpkr/table2"].rows[6].experiments)},
            test=Noise(),
        ),
        "hitts/fig10": taught(Street),
        "hitts/fig13": FigureInputs(
            methods={
                "without": method("hitts", Street, orthogonal_embeddings=False),
                "with": street["hitts"],
            },
            test=Street(),
        ),
        "hitts/fig14": FigureInputs(
            parts={
                "rooms": FigureInputs(methods={"plain": tokens}, test=Noise()),
                "streets": FigureInputs(methods={"plain": street["hitts"]}, test=Street()),
            }
        ),
        "hitts/fig15": FigureInputs(
            parts={
                "rooms": FigureInputs(methods=rooms, test=Noise()),
                "streets": FigureInputs(methods=streets, test=Street()),
            }
        ),
        "tpkr/codes": FigureInputs(
            methods=prototypes,
            histories={"ours": [{"terms": {"tae": 0.2, "tae_other_codes": 0.3}}]},
            test=Noise(),
        ),
        "companion/relatedness": FigureInputs(
            parts={"people": FigureInputs(methods=prototypes, test=Noise())}
        ),
        "hitts/fig16": taught(),
        "hitts/discovery": taught(),
    }
    return {name: papers.figures()[name].arrays(given.get(name, FigureInputs())) for name in names}


# ------------------------------------------------------------------ register


@pytest.mark.parametrize("name", papers.figures())
def test_every_figure_says_what_it_shows(name: str) -> None:
    figure = papers.figures()[name]
    assert figure.key == name and figure.title and figure.source
    for text in (figure.caption, figure.alt):
        assert text.endswith(".") and text.count(". ") == 0  # one sentence


@pytest.mark.parametrize("profile", PROFILES)
def test_figures_share_the_runs_of_tables(profile: str) -> None:
    scale = PROFILES[profile]
    in_tables = {
        scale(e).with_seed(1).key
        for table in papers.tables().values()
        for row in table.rows
        for e in row.experiments
    }
    for figure in papers.figures().values():
        runs = figure.experiments(scale, seed=1)
        assert set(runs) == set(figure.runs) | set(figure.own)
        for role, run in runs.items():
            assert run.seed == 1
            assert bool(run.eval_every) == figure.curves
            assert run.replace(eval_every=0).key in in_tables or role in figure.own
            assert run.teacher or not figure.teachers


def test_a_figure_has_few_runs_of_its_own() -> None:
    taught = papers.figures()["hitts/fig10"].experiments(PROFILES["quick"])["ours"].teacher
    own = {
        f"{figure.key} {role}": PROFILES["quick"](e).key
        for figure in papers.figures().values()
        for role, e in figure.own.items()
    }
    assert sorted(own) == ["hitts/fig13 with", "hitts/fig13 without", "hitts/fig14 streets/plain"]
    # All but one are the teacher of the last row of Table 3, which its students need anyway.
    assert own["hitts/fig13 with"] == own["hitts/fig14 streets/plain"] == taught.key
    assert own["hitts/fig13 without"] != taught.key


def test_a_learning_curve_has_points_at_every_profile() -> None:
    for scale in PROFILES.values():
        for run in papers.figures()["hitts/fig9"].experiments(scale).values():
            assert 1 <= run.eval_every <= run.epochs


# -------------------------------------------------------------------- pieces


def test_evenly_spaced_covers_the_split() -> None:
    assert arrays.evenly_spaced(12, 3) == [2, 6, 10]
    assert arrays.evenly_spaced(2, 5) == [0, 1]


def test_principal_components_of_points_on_a_line() -> None:
    line = torch.tensor([[-3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]).double()
    points, shares = arrays.principal_components(line + 7)
    assert torch.allclose(points[:, 0], torch.tensor([-5.0, 0.0, 5.0]).double())
    assert points[:, 1:].abs().max() < 1e-6
    assert torch.allclose(shares, torch.tensor([1.0, 0.0, 0.0]).double(), atol=1e-9)


def test_principal_components_have_a_fixed_sign() -> None:
    values = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    points, _ = arrays.principal_components(values)
    assert points.shape == (5, 4, 3)
    again, _ = arrays.principal_components(values.flip(0))
    assert torch.allclose(points, again.flip(0))


def test_shown_maps_keep_holes_and_take_the_likeliest_class() -> None:
    classes, meters, vectors = Noise.tasks
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0]).view(1, 4, 1, 1).expand(1, 4, 1, 2)
    valid = torch.tensor([True, False]).view(1, 1, 1, 2)
    assert arrays.shown(classes, logits).tolist() == [[[1, 1]]]
    assert arrays.shown(classes, torch.ones(1, 1, 1, 2).long(), valid).tolist() == [[[1, 255]]]
    shown = arrays.shown(meters, torch.tensor([[[[1.234, 2.0]]]]), valid)
    assert shown[0, 0, 0] == np.float16(1.23) and np.isnan(shown[0, 0, 1])
    assert arrays.shown(vectors, torch.zeros(2, 3, 5, 7)).shape == (2, 5, 7, 3)


def test_shown_binary_maps_are_probabilities_and_disparities_keep_their_digits() -> None:
    valid = torch.tensor([True, True, False]).view(1, 1, 1, 3)
    logits = torch.tensor([0.0, 20.0, -20.0]).view(1, 1, 1, 3)
    assert arrays.shown(saliency(), logits).tolist() == [[[0.5, 1.0, 0.0]]]
    label = arrays.shown(saliency(), torch.tensor([0.0, 1.0, 1.0]).view(1, 1, 1, 3), valid)
    assert label[0, 0, :2].tolist() == [0.0, 1.0] and np.isnan(label[0, 0, 2])
    disparity = torch.tensor([0.0163, 0.4, 0.1]).view(1, 1, 1, 3)
    assert arrays.shown(inverse_depth(), disparity)[0, 0, 0] == np.float16(0.0163)


def test_descriptions_name_units() -> None:
    found = arrays.describe(Noise.tasks)
    assert found["units"].tolist() == ["", "m", ""]
    assert arrays.describe(TaskSet((inverse_depth(),)))["units"].tolist() == [""]


def test_tokens_are_named_by_what_they_stand_for() -> None:
    classes, meters, vectors = Noise.tasks
    assert hitts.token_names(classes, torch.arange(4.0)[:, None]) == list(CLASSES)
    assert hitts.token_names(meters, torch.tensor([[0.52], [3.0]])) == ["0.5 m", "3.0 m"]
    disparities = torch.tensor([[0.0163], [0.4]])
    assert hitts.token_names(inverse_depth(), disparities) == ["0.0163", "0.4"]
    assert hitts.token_names(saliency(), torch.tensor([[0.0], [1.0]])) == ["no", "yes"]
    directions = torch.tensor([[0.1, -0.9, -0.3], [0.0, 0.1, -1.0]])
    assert hitts.token_names(vectors, directions) == ["facing up", "facing us"]


def test_a_token_is_held_against_the_pixels_of_its_own_class() -> None:
    inputs = taught()
    found = hitts.scores(inputs, images=2)
    (method,) = inputs.methods.values()
    batch = inputs.test.load(found["index"].tolist())
    for t in inputs.test.tasks:
        ids = method.quantizers[t.name].encode(batch.targets[t.name])
        for i, (share, inside, elsewhere) in enumerate(found[f"{t.name}/own"]):
            known = batch.mask(t.name)[i, 0].numpy()
            own = ids[i, 0].numpy()[known] == found[f"{t.name}/token"][i]
            scores = found[f"{t.name}/fine"][i].astype(float)[known]
            assert share == pytest.approx(own.mean(), abs=1e-4)
            if own.any():
                assert inside == pytest.approx(scores[own].mean(), rel=2e-3)
            assert np.isnan(inside) == (not own.any())
            assert elsewhere == pytest.approx(scores[~own].mean(), rel=2e-3)
    nowhere = torch.zeros(4, 4, dtype=torch.bool)
    share, inside, elsewhere = hitts.own_scores(torch.ones(4, 4), ~nowhere, nowhere)
    assert share == 0 and np.isnan([inside, elsewhere]).all()


# ------------------------------------------------------------------- figures


OF_RECORDS = ("companion/scoreboard", "companion/glance", "companion/rulers")  # not from maps
MAY_LACK = ("truth", "quality", "/pseudo", "/examples", "/own", "gain")  # NaN without label or run


def test_arrays_are_plain_and_finite(every: dict) -> None:
    assert set(every) == set(papers.figures())
    for name, found in every.items():
        heads = [f"{part}/" for part in found.get("parts", ())] or [""]
        for head in heads if name not in OF_RECORDS else ():
            assert {f"{head}tasks", f"{head}titles", f"{head}kinds"} <= set(found), name
        for key, values in found.items():
            assert values.dtype.kind in "biufU", (name, key)
            bins = any(part in key for part in ("/class/", "/reliability/", "/distance/"))
            if values.dtype.kind == "f" and not (bins or key.endswith(MAY_LACK)):
                assert np.isfinite(values).all(), (name, key)


def test_qualitative_maps_have_the_size_of_the_images(every: dict) -> None:
    found = every["hitts/fig5"]
    assert found["images"].shape == (3, 32, 64, 3) and found["index"].tolist() == [1, 3, 5]
    for role in ("truth", "baseline", "mtan", "xtc", "ours"):
        assert found[f"semseg/{role}"].shape == found[f"depth/{role}"].shape == (3, 32, 64)
        assert found[f"normals/{role}"].shape == (3, 32, 64, 3)
    assert (found["semseg/truth"][:, :4] == 255).all() and (found["semseg/ours"] < 4).all()
    assert np.isnan(found["depth/truth"][:, :4]).all()
    length = np.linalg.norm(found["normals/ours"].astype(float), axis=-1)
    assert np.abs(length - 1).max() < 0.02


def test_affinities_are_cosines_and_components_cover_all_tokens(every: dict) -> None:
    found = every["hitts/fig7"]
    for task, bins in (("semseg", 4), ("depth", 30), ("normals", 20)):
        assert len(found[f"{task}/values"]) == bins
        for variant in ("without", "with"):
            name = f"{task}/{variant}"
            affinity = found[f"{name}/affinity"]
            assert affinity.shape == (bins, bins)
            assert np.allclose(np.diag(affinity), 1) and np.abs(affinity).max() <= 1.0001
            assert np.allclose(affinity, affinity.T, atol=1e-4)
            others = affinity[~np.eye(bins, dtype=bool)]
            assert found[f"{name}/off_diagonal"] == pytest.approx(np.abs(others).mean(), abs=1e-3)
            assert found[f"{name}/points"].shape == (6, bins, 3)
            shares = found[f"{name}/explained"]
            assert (np.diff(shares) <= 1e-4).all() and 0 < shares.sum() <= 1.0001


def test_confidence_is_a_largest_probability_and_shows_the_darkest_image(every: dict) -> None:
    found = every["hitts/fig8"]
    assert found["index"].shape == (2,) and found["index"][1] == 4
    for task, bins in (("semseg", 4), ("depth", 30), ("normals", 20)):
        for stage in ("before", "after"):
            values = found[f"{task}/{stage}"].astype(float)
            assert values.shape == (2, 32, 64)
            assert values.min() >= 1 / bins - 1e-3 and values.max() <= 1


def test_curves_keep_the_measured_epochs_in_printed_units(every: dict) -> None:
    found = every["hitts/fig9"]
    for role in ("without", "with"):
        assert found[f"epochs/{role}"].tolist() == [2, 4]
    assert found["semseg/train/without"].tolist() == [20.0, 20.0]
    assert found["semseg/test/with"].tolist() == [35.0, 35.0]
    assert found["depth/test/with"].tolist() == [0.6, 0.6]


def test_scores_are_of_the_token_that_varies_most(every: dict) -> None:
    found = every["hitts/fig11"]
    trace = method("hitts").trace(Noise().load([1, 3, 5]).images)
    for task in Noise.tasks.names:
        spread = trace.scores[task].flatten(2).std(2)
        assert found[f"{task}/token"].tolist() == spread.argmax(1).tolist()
        assert found[f"{task}/global"].shape == (3, 4, 8)
        assert found[f"{task}/fine"].shape == (3, 32, 64)
        assert found[f"{task}/global"].min() >= 0 and found[f"{task}/global"].max() <= 1
        assert found[f"{task}/fine"].min() >= 0


def test_overview_withholds_two_of_three_labels(every: dict) -> None:
    found = every["companion/overview"]
    assert found["images"].shape == (6, 240, 320, 3) == found["normals/truth"].shape
    assert found["labeled"].tolist() == np.tile(np.eye(3, dtype=bool), (2, 1)).tolist()
    assert len(set(found["index"].tolist())) == 6
    batch = open_dataset("rooms13", "train", height=240, width=320, images=18).load(found["index"])
    assert np.array_equal(found["images"], arrays.picture(batch.images))


def test_variety_counts_classes_and_dislikes_void() -> None:
    ids = np.zeros((10, 20), dtype=np.uint8)
    ids[0, :5], ids[1, 0], ids[2] = 3, 4, 255  # class 4 covers too little to count
    assert arrays.variety(ids) == pytest.approx(2 - 1)


def test_label_settings_count_their_labels(every: dict) -> None:
    found = every["companion/label_settings"]
    counts = {s: found[f"{s}/labeled"].sum(0).tolist() for s in found["settings"].tolist()}
    assert counts["full"] == [795, 795, 795]
    assert counts["one_label"] == [265, 265, 265]
    assert counts["few_shot"] == [10, 795, 795]
    assert sum(counts["ratio"]) == 795


# ----------------------------------------------------------------------- XTC


def test_one_label_rows_of_figure_1_show_every_task(every: dict) -> None:
    found = every["xtc/fig1"]
    assert found["labeled"].shape == (4, 3) and (found["labeled"].sum(1) == 1).all()
    assert found["labeled"].any(0).all()
    assert found["labeled"][0].tolist() == [False, False, True]  # of the pair's target
    assert len(set(found["index"].tolist())) == 4


@pytest.mark.parametrize("name", ["xtc/fig1", "xtc/fig2"])
def test_shapes_of_a_diagram_are_those_of_the_network(every: dict, name: str) -> None:
    found, built = every[name], method("xtc")
    batch = Noise().load([int(found["index"][0])])
    with torch.no_grad():
        output = built.net(batch.images)
    shapes = {k.removeprefix("shape/"): v.tolist() for k, v in found.items() if "shape/" in k}
    assert shapes["image"] == [3, 32, 64] and shapes["input/semseg"] == [4, 32, 64]
    assert shapes["bottleneck"] == list(output.bottleneck.shape[1:]) == [64, 1, 2]
    assert shapes["decoder"] == list(output.features.shape[1:]) == [8, 32, 64]
    assert shapes["stage/4"] == shapes["bottleneck"] and shapes["stage/0"] == [8, 16, 32]
    assert shapes["layer/semseg"] == shapes["layer/normals"] == [8, 32, 64]
    assert shapes["gamma/4"] == [6, 64]  # a row for each ordered pair of three tasks
    assert {n: shapes[n][0] for n in Noise.tasks.names} == {"semseg": 4, "depth": 1, "normals": 3}
    learned = {k.removeprefix("parameters/"): int(v) for k, v in found.items() if "param" in k}
    parts = (learned["backbone"], *(learned[n] for n in Noise.tasks.names), learned["mapping"])
    assert sum(parts) == sum(p.numel() for p in built.parameters())
    assert learned["film"] == sum(p.numel() for p in built.mapping.film_parameters())
    assert learned["layer/normals"] == 8 * (3 * 9 + 1) + 2 * 8  # Conv3x3 and BatchNorm


def test_hooks_are_taken_off_and_the_method_is_left_alone() -> None:
    built = method("xtc")
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    inputs = FigureInputs(methods={"ours": built}, test=Noise())
    for figure in (diagrams.architecture, xtc.mapped_outputs):
        first, again = figure(inputs), figure(inputs)
        for key in first:
            np.testing.assert_array_equal(first[key], again[key])  # NaN equals NaN
    assert not built.training and not any(m._forward_hooks for m in built.modules())
    assert all(torch.equal(before[name], t) for name, t in built.state_dict().items())


def test_a_diagram_without_conditioning_has_no_film() -> None:
    built = method("xtc", condition=False)
    found = diagrams.architecture(FigureInputs(methods={"ours": built}, test=Noise()))
    assert int(found["parameters/film"]) == 0
    assert not any("gamma" in key for key in found)


def test_distances_in_a_diagram_are_cosine_distances_of_its_embeddings(every: dict) -> None:
    found, built = every["xtc/fig2"], method("xtc")
    s, t = (built.tasks[name] for name in diagrams.PAIR)
    batch, i = Noise().load(range(6)), int(found["index"][0])
    with torch.no_grad():
        output = built.net(batch.images)
        m_s, m_t = diagrams.embed(built, s, t, output.predictions, batch)
    for name, a, b in (
        ("consistency", m_s, m_t),
        ("regularizer", m_s, output.bottleneck),
    ):
        unit = [F.normalize(m[i].flatten(1).double(), dim=0) for m in (a, b)]
        by_hand = 1 - (unit[0] * unit[1]).sum(0).mean()
        assert found[name][0] == pytest.approx(float(by_hand), abs=1e-5)
    assert (found["weight"], found["regularizer_weight"]) == (2.0, 0.5)


def test_mapped_outputs_belong_to_two_images_and_two_layers(every: dict) -> None:
    found = every["xtc/fig3"]
    assert found["images"].shape == (2, 32, 64, 3) and found["index"].tolist() == [1, 4]
    for layer, size in (("first", (16, 32)), ("second_to_last", (2, 4))):
        assert 0 < float(found[f"{layer}/explained"][0]) <= 1
        for task in diagrams.PAIR:
            for role in ("ours", "truth"):
                assert found[f"{layer}/{task}/{role}"].shape == (2, *size)


def test_scores_are_those_of_one_image_in_printed_units(every: dict) -> None:
    found = every["xtc/fig4"]
    assert found["roles"].tolist() == ["sl", "ssl", "ours"]
    assert found["depth/label"] == "AbS ↓" and not found["depth/higher_is_better"]
    for i in range(2):
        known = found["semseg/truth"][i] != 255
        truth, ours = found["semseg/truth"][i][known], found["semseg/ours"][i][known]
        either = [c for c in range(4) if ((truth == c) | (ours == c)).any()]
        counts = [((truth == c) & (ours == c), (truth == c) | (ours == c)) for c in either]
        iou = [both.sum() / any_.sum() for both, any_ in counts]
        assert found["semseg/ours/score"][i] == pytest.approx(100 * np.mean(iou), abs=1e-3)
        off = np.abs(found["depth/ours"][i].astype(float) - found["depth/truth"][i].astype(float))
        assert found["depth/ours/score"][i] == pytest.approx(np.nanmean(off), abs=0.02)


def test_terms_are_unweighted_means_over_pairs(every: dict) -> None:
    found = every["xtc/consistency"]
    assert found["with/epochs"].tolist() == [1, 2, 3, 4]
    assert found["with/consistency"].tolist() == [0.1] * 4  # 0.4 = weight 2, two pairs an image
    assert found["with/regularizer"].tolist() == [0.15] * 4  # 0.6 = 2 * 0.5, two distances a pair
    assert "without/regularizer" not in found
    assert len(found["pairs"]) == 6 and found["with/same"].shape == (6,)


def test_a_constant_mapping_has_no_distance_between_images() -> None:
    built = method("xtc")
    with torch.no_grad():
        built.mapping.stages[-1].norms[-1].gamma.zero_()
        built.mapping.stages[-1].norms[-1].beta.fill_(1.0)
    methods, histories = {"with": built}, {"with": history(0.0)}
    found = xtc.consistency(FigureInputs(methods=methods, histories=histories, test=Noise()))
    assert np.abs(found["with/same"]).max() < 1e-5 and np.abs(found["with/other"]).max() < 1e-5
    assert found["with/feature"].min() > 0.01 and found["with/two_features"] > 0


def test_codes_are_counted_on_every_position(every: dict) -> None:
    found = every["tpkr/codes"]
    counts, shown = found["counts"], len(found["number"])
    positions = len(Noise()) * 32 * 64 // (found["patches"].shape[1] // 3) ** 2
    assert counts.sum() == positions and (np.diff(counts) <= 0).all()
    assert len(found["patches"]) == shown <= (counts > 0).sum()
    used = counts[counts > 0] / counts.sum()
    assert found["perplexity"] == pytest.approx(np.exp(-(used * np.log(used)).sum()), abs=0.01)


def test_relatedness_is_of_ordered_pairs(every: dict) -> None:
    found = every["companion/relatedness"]
    np.testing.assert_allclose(np.diag(found["cosine"]), 1, atol=1e-3)
    np.testing.assert_allclose(found["affinity"].sum(1), 1, atol=1e-3)
    assert np.isnan(found["gain"]).all() and found["gain"].shape == (3, 3, 1)
