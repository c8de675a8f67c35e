import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtpsl.data import open_dataset
from mtpsl.data.sample import Dataset, Sample
from mtpsl.experiments import figure_arrays as arrays
from mtpsl.experiments.figure_arrays import Material
from mtpsl.experiments.figures import FIGURES
from mtpsl.experiments.register import TABLES
from mtpsl.experiments.profiles import PROFILES
from mtpsl.methods import Method, build_method
from mtpsl.tasks import TaskSet, depth, normals, semseg

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
        for t in self.tasks:
            targets[t.name] = targets[t.name].masked_fill(~valid, t.missing)
        return Sample(image, targets, {name: valid for name in targets})


def method(name: str, **args: bool) -> Method:
    torch.manual_seed(0)
    built = build_method(name, Noise.tasks, "segnet", 0.125, args)
    built.prepare([Noise().load(range(6))])
    return built.eval()


def history(offset: float) -> list[dict]:
    """Four epochs, of which the second and the fourth were measured."""
    metrics = {"semseg/miou": 0.2 + offset, "depth/abs_err": 0.5, "normals/mean_err": 30.0}
    points = {"train": metrics, "test": {k: v + 0.1 for k, v in metrics.items()}}
    entries = [{"epoch": epoch, "terms": {}} for epoch in (1, 2, 3, 4)]
    return [e | {"metrics": points} if e["epoch"] % 2 == 0 else e for e in entries]


@pytest.fixture(scope="module")
def every() -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every figure, from untrained networks."""
    return all_arrays()


def all_arrays() -> dict[str, dict[str, np.ndarray]]:
    tokens, plain = method("hitts"), method("hitts", orthogonal_embeddings=False)
    methods = {
        "hitts/fig5": {"baseline": method("supervised"), "ours": tokens},
        "hitts/fig7": {"without": plain, "with": tokens},
        "hitts/fig8": {"plain": tokens},
        "hitts/fig9": {},
        "hitts/fig11": {"plain": tokens},
    }
    histories = {"without": history(0.0), "with": history(0.05)}
    found = {
        name: FIGURES[name].arrays(Material(methods=roles, histories=histories, test=Noise()))
        for name, roles in methods.items()
    }
    names = ("overview", "label_settings")
    return found | {name: FIGURES[name].arrays(Material()) for name in names}


# ------------------------------------------------------------------ register


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows(name: str) -> None:
    figure = FIGURES[name]
    assert figure.key == name and figure.title and figure.source
    for text in (figure.caption, figure.alt):
        assert text.endswith(".") and text.count(". ") == 0  # one sentence


@pytest.mark.parametrize("profile", PROFILES)
def test_figures_share_the_runs_of_tables(profile: str) -> None:
    scale = PROFILES[profile]
    in_tables = {
        scale(e).with_seed(1).key
        for table in TABLES.values()
        for row in table.rows
        for e in row.experiments
    }
    for figure in FIGURES.values():
        runs = figure.experiments(scale, seed=1)
        assert set(runs) == set(figure.runs)
        for run in runs.values():
            assert run.seed == 1
            assert bool(run.eval_every) == figure.curves
            assert run.replace(eval_every=0).key in in_tables


def test_a_learning_curve_has_points_at_every_profile() -> None:
    for scale in PROFILES.values():
        for run in FIGURES["hitts/fig9"].experiments(scale).values():
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


def test_tokens_are_named_by_what_they_stand_for() -> None:
    classes, meters, vectors = Noise.tasks
    assert arrays.token_names(classes, torch.arange(4.0)[:, None]) == list(CLASSES)
    assert arrays.token_names(meters, torch.tensor([[0.52], [3.0]])) == ["0.5 m", "3.0 m"]
    directions = torch.tensor([[0.1, -0.9, -0.3], [0.0, 0.1, -1.0]])
    assert arrays.token_names(vectors, directions) == ["facing up", "facing us"]


# ------------------------------------------------------------------- figures


def test_arrays_are_plain_and_finite(every: dict) -> None:
    assert set(every) == set(FIGURES)
    for name, found in every.items():
        assert {"tasks", "titles", "kinds"} <= set(found), name
        for key, values in found.items():
            assert values.dtype.kind in "biufU", (name, key)
            if values.dtype.kind == "f" and "truth" not in key:
                assert np.isfinite(values).all(), (name, key)


def test_qualitative_maps_have_the_size_of_the_images(every: dict) -> None:
    found = every["hitts/fig5"]
    assert found["images"].shape == (3, 32, 64, 3) and found["index"].tolist() == [1, 3, 5]
    for role in ("truth", "baseline", "ours"):
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
    found = every["overview"]
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
    found = every["label_settings"]
    counts = {s: found[f"{s}/labeled"].sum(0).tolist() for s in found["settings"].tolist()}
    assert counts["full"] == [795, 795, 795]
    assert counts["one_label"] == [265, 265, 265]
    assert counts["few_shot"] == [10, 795, 795]
    assert sum(counts["ratio"]) == 795
