"""The figures of HiTTs that compare methods, show several data sets or look at pseudo labels."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from test_figures import CLASSES, Noise, Street, all_arrays, method, taught
from test_plots_xtc import overlaps, texts

from mtpsl import papers
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.metrics import COLUMNS
from mtpsl.papers.hitts import discovery
from mtpsl.papers.hitts import figures as hitts
from mtpsl.papers.hitts.pseudo_quality import QUALITY, complete, pixel_quality
from mtpsl.report import figure as figures
from mtpsl.report import maps, plots
from mtpsl.report.arrays import EXAMPLES, FigureInputs, evenly_spaced, in_parts
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import PROFILES
from mtpsl.runs.run import discover
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import Task, depth, edges, normals, semseg

NAMES = ("hitts/fig6", "hitts/fig10", "hitts/fig13", "hitts/fig14", "hitts/fig15", "hitts/fig16")


@pytest.fixture(scope="module")
def every() -> dict[str, dict[str, np.ndarray]]:
    return all_arrays(NAMES)


# --------------------------------------------------------------------- parts


def test_parts_are_computed_one_by_one_and_taken_apart_again() -> None:
    rooms = FigureInputs(methods={"ours": method("hitts")}, test=Noise())
    streets = FigureInputs(methods={"ours": method("hitts", Street)}, test=Street())
    scores = partial(hitts.scores, images=hitts.MORE_EXAMPLES)
    found = in_parts(scores)(FigureInputs(parts={"rooms": rooms, "streets": streets}))
    assert found["parts"].tolist() == ["rooms", "streets"]
    for part, inputs in zip(maps.parts_of(found), (rooms, streets), strict=True):
        assert str(part.pop("data")) == inputs.test.name
        alone = scores(inputs)
        assert set(part) == set(alone)
        for key in alone:
            np.testing.assert_array_equal(part[key], alone[key])


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_the_appendix_shows_other_images_than_the_body(every: dict, profile: str) -> None:
    for part in maps.parts_of(every["hitts/fig15"]):
        assert len(part["index"]) == hitts.MORE_EXAMPLES
    for run in papers.figures()["hitts/fig15"].experiments(PROFILES[profile]).values():
        body = evenly_spaced(run.test_images, EXAMPLES)
        assert not set(body) & set(evenly_spaced(run.test_images, hitts.MORE_EXAMPLES))


# --------------------------------------------------------------- comparisons


def test_compared_maps_carry_the_headline_of_their_image(every: dict) -> None:
    found = every["hitts/fig6"]
    assert found["roles"].tolist() == ["mtan", "xtc", "ours"]
    assert found["semseg/label"] == "mIoU ↑" and not found["depth/higher_is_better"]
    batch = Street().load(found["index"].tolist())
    with torch.no_grad():
        predictions = method("mtan", Street).predict(batch.images)
    off = (predictions["depth"].clamp(min=1e-9) - batch.targets["depth"]).abs()
    for i in range(3):
        mean = float(off[i][batch.valid["depth"][i]].mean())
        assert found["depth/mtan/score"][i] == pytest.approx(mean, abs=1e-3)


def test_the_best_score_of_an_image_is_bold(every: dict) -> None:
    found = every["hitts/fig6"] | {
        f"depth/{role}/score": np.array(scores)
        for role, scores in {
            "mtan": [0.5, 2.0, math.nan],
            "xtc": [0.25, math.nan, math.nan],
            "ours": [0.75, 1.0, math.nan],
        }.items()
    }
    notes = [
        t for t in texts(papers.figures()["hitts/fig6"].draw(found)) if t.axes and t in t.axes.texts
    ]
    weights = {t.get_text(): t.get_weight() for t in notes}
    assert weights["0.250"] == weights["1.00"] == "bold"
    assert weights["0.500"] == weights["0.750"] == weights["2.00"] == "normal"
    assert weights["no label"] == "normal"


def test_a_tie_has_two_best_scores(every: dict) -> None:
    found = dict(every["hitts/fig6"])
    for role in ("mtan", "xtc", "ours"):
        found[f"depth/{role}/score"] = np.array([1.0, 2.0, math.nan])
    for role in ("mtan", "xtc", "ours"):
        best = [plots.is_best(found, f"depth/{role}", i) for i in range(3)]
        assert best == [True, True, False]
    assert not plots.is_best(found, "depth/truth", 0)


@pytest.mark.parametrize(("value", "text"), [(27.44, "27.4"), (3.1, "3.10"), (0.0163, "0.0163")])
def test_scores_have_three_digits(value: float, text: str) -> None:
    assert plots.three_digits(value) == text


# ------------------------------------------------------------- pseudo labels


@pytest.mark.parametrize("data", [Noise, Street])
def test_pseudo_labels_are_of_withheld_images_alone(data: type[Noise]) -> None:
    inputs = taught(data)
    found = discovery.pseudo_labels(inputs)
    labeled, teacher = inputs.train.assignment.labeled, inputs.methods["ours"]
    for column, t in enumerate(data.tasks):
        chosen = found[f"{t.name}/index"].tolist()
        withheld = (~labeled[:, column]).nonzero().flatten().tolist()
        assert set(chosen) <= set(withheld) and len(set(chosen)) == 3
        assert found[f"{t.name}/withheld"] == found[f"{t.name}/counted"] == len(withheld)
        batch, tau = data().load(chosen), float(found[f"{t.name}/used"][0])
        confidence = teacher.trace(batch.images).refined[t.name].softmax(1).amax(1)
        sure = (confidence - tau).abs() > 1e-5  # on neither side by rounding
        mask = torch.from_numpy(found[f"{t.name}/mask"])
        assert torch.equal(mask[sure], (confidence > tau)[sure])
        assert found[f"{t.name}/pseudo"].shape == found[f"{t.name}/truth"].shape
    assert (found["semseg/truth"][:, :4] == 255).all() and (found["semseg/pseudo"] < 4).all()


def test_curves_are_what_a_loop_over_pixels_finds() -> None:
    inputs = taught()
    found = discovery.pseudo_labels(inputs)
    teacher = inputs.methods["ours"]
    for column, t in enumerate(Noise.tasks):
        withheld = (~inputs.train.assignment.labeled[:, column]).nonzero().flatten().tolist()
        batch = Noise().load(withheld)
        confidence = teacher.label_confidence(batch.images)[t.name].double()
        metric = t.metric()
        taken = [float((confidence > tau).double().mean()) for tau in found[f"{t.name}/threshold"]]
        assert found[f"{t.name}/coverage"] == pytest.approx(taken, abs=1e-4)
        tau = found[f"{t.name}/threshold"][10]
        labels = teacher.discover(batch.images, {}).targets[t.name]
        if t.kind == "classes":  # the metric reads logits
            labels = torch.nn.functional.one_hot(labels[:, 0], t.channels).movedim(-1, 1).float()
        metric.update(labels, batch.targets[t.name], batch.valid[t.name] & (confidence > tau))
        name = QUALITY[t.kind]
        mean = COLUMNS[name].scale * metric.compute()[name]
        assert found[f"{t.name}/quality"][10] == pytest.approx(mean, abs=2e-3)


def test_a_curve_begins_with_every_pixel_and_ends_with_few(every: dict) -> None:
    for name in ("hitts/fig10", "hitts/fig16"):
        for task in every[name]["tasks"]:
            shares = every[name][f"{task}/coverage"]
            assert len(shares) == discovery.COVERAGES and shares[0] == 1
            assert (np.diff(shares) <= 0).all() and shares[-1] <= 0.05 + 1e-4
            assert (np.diff(every[name][f"{task}/threshold"]) >= 0).all()
            assert every[name][f"{task}/used"][1] == pytest.approx(0.5, abs=0.1)


def test_a_threshold_that_nothing_exceeds_has_no_quality() -> None:
    inputs = taught()
    found = discovery.pseudo_labels(
        FigureInputs(
            methods=inputs.methods,
            test=inputs.test,
            train=inputs.train,
            thresholds={"depth": 1.0},
        )
    )
    tau, share, value = found["depth/used"]
    assert (tau, share) == (1.0, 0.0) and math.isnan(value) and not found["depth/mask"].any()
    assert found["semseg/used"][:2].tolist() == [0.0, 1.0] and found["semseg/mask"].all()
    said = [t.get_text() for t in texts(discovery.draw_pseudo_labels(found))]
    assert "0 % accepted" in said and "100 % accepted" in said


def test_training_never_sees_what_the_figure_shows() -> None:
    train = PartialLabels(Noise(), assign("one_label", 6, Noise.tasks.names))
    seen, truth = train.load([0]), complete(train, [0])
    hidden = [t for t in Noise.tasks if not seen.labeled[t.name][0]]
    assert len(hidden) == 2
    for t in hidden:
        assert not seen.valid[t.name].any() and truth.valid[t.name].any()


@pytest.mark.parametrize(
    ("task", "value", "truth", "quality"),
    [
        (semseg(CLASSES), [2.0], [2.0], 1.0),
        (semseg(CLASSES), [2.0], [1.0], 0.0),
        (edges(), [1.0], [0.0], 0.0),
        (depth(), [2.5], [1.0], 1.5),
        (normals(), [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], 90.0),
        (normals(), [0.0, 0.0, -1.0], [0.0, 1e-3, -1.0], 0.0573),
        (normals(), [0.0, 0.0, -1.0], [0.0, 0.0, 1.0], 180.0),
    ],
)
def test_quality_of_a_pixel(task: Task, value: list, truth: list, quality: float) -> None:
    a, b = (torch.tensor(v).view(1, -1, 1, 1) for v in (value, truth))
    found = pixel_quality(task, a, b)
    assert found.shape == (1, 1, 1, 1)
    assert found.item() == pytest.approx(quality, abs=1e-4)


# ------------------------------------------------------------------ drawings


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_leaves_the_sheet(every: dict, name: str) -> None:
    figure = papers.figures()[name].draw(every[name])
    assert overlaps(figure) == []
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, text.get_text()


def test_charts_show_the_arrays(every: dict) -> None:
    found = every["hitts/fig16"]
    drawn = [
        line for axes in papers.figures()["hitts/fig16"].draw(found).axes for line in axes.lines
    ]
    for task in found["tasks"]:
        for key, scale in (("quality", 1), ("coverage", 100)):
            wanted = scale * found[f"{task}/{key}"]
            assert any(np.array_equal(line.get_ydata(), wanted) for line in drawn)
        tau = found[f"{task}/used"][0]
        assert any(list(line.get_xdata()) == [tau, tau] for line in drawn)


def test_a_mask_has_two_colors() -> None:
    rgb = discovery.mask_to_rgb(np.array([[True, False]]))
    for pixel, color in zip(rgb[0], (discovery.ACCEPTED, discovery.REJECTED), strict=True):
        assert pixel.tolist() == [round(255 * c) for c in to_rgb(color)]


def test_every_part_has_its_data_its_methods_and_its_legend(every: dict) -> None:
    said = [t.get_text() for t in texts(papers.figures()["hitts/fig15"].draw(every["hitts/fig15"]))]
    assert "noise" in said and "street" in said
    assert said.count("MTAN") == 2 and said.count("XTC") == said.count("HiTTs") == 5
    assert said.count("floor") == 2 and said.count("void") == 2
    titles = [text for text in said if text.startswith("Depth  (")]
    assert titles == ["Depth  (AbS ↓)"] * 2


def test_colors_of_a_depth_without_a_unit_are_low_and_high(every: dict) -> None:
    said = [t.get_text() for t in texts(papers.figures()["hitts/fig13"].draw(every["hitts/fig13"]))]
    assert "depth: from low (purple) to high (yellow)" in said


# --------------------------------------------------------------------- files


def test_trains_the_teacher_and_not_its_student(tmp_path) -> None:
    store = RunStore(tmp_path / "runs")
    made = figures.make_figure(
        "hitts/fig16", profile="smoke", session=Session(store), folder=tmp_path
    )
    student = papers.figures()["hitts/fig16"].experiments(PROFILES["smoke"])["ours"]
    student = bind_data(student)
    assert store.load(student.teacher.key) and store.load(student.key) is None
    origin = json.loads(made.path.with_suffix(".json").read_text())["made_from"]
    assert origin["runs"] == {"ours": student.teacher.key}
    assert made.arrays["semseg/withheld"] + made.arrays["depth/withheld"] > student.train_images
    # M^p of the figure is what the student would learn from, but for pixels at the threshold.
    partial, _ = label(student, open_split(student, "train"))
    discovered = discover(student, partial, Session(store, "cpu"))
    index = made.arrays["depth/index"]
    found = discovered.lookup(torch.from_numpy(index), partial.load(index).labeled)
    assert (found.valid["depth"][:, 0].numpy() == made.arrays["depth/mask"]).mean() > 0.97


def test_a_figure_of_two_data_sets_names_both_and_keeps_their_runs_apart() -> None:
    figure = papers.figures()["hitts/fig14"]
    wanted = {role: bind_data(e) for role, e in figure.experiments(PROFILES["smoke"]).items()}
    inputs = FigureInputs(
        parts={
            role.partition("/")[0]: FigureInputs(test=open_split(e, "test"))
            for role, e in wanted.items()
        }
    )
    words = "rooms13 (generated stand-in) and streets7 (generated stand-in)"
    assert figures.data_names(inputs.parts.values()) == words


def test_a_folder_of_one_data_set_is_not_asked_for_another() -> None:
    elsewhere = Session(data_root="somewhere")
    streets = Experiment(dataset="streets7", height=32, width=64, test_images=1)
    assert open_split(streets, "test", elsewhere).stand_in
    with pytest.raises(FileNotFoundError, match="somewhere"):
        open_split(streets.replace(dataset="nyud"), "test", elsewhere)
