import json
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from test_figures import brief_arrays

from mtpsl import papers
from mtpsl.data.scenes import people21, rooms13, streets7
from mtpsl.losses import IGNORE_INDEX
from mtpsl.papers.companion import figures as companion
from mtpsl.papers.hitts import figures as hitts
from mtpsl.report import figure as figures
from mtpsl.report import maps, style
from mtpsl.runs.data import bind_data
from mtpsl.runs.profiles import PROFILES, get_profile
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import HUMAN_PARTS


@pytest.fixture(scope="module")
def every() -> dict[str, dict[str, np.ndarray]]:
    return brief_arrays()


def pixels(png: bytes) -> np.ndarray:
    return (matplotlib.image.imread(BytesIO(png))[..., :3] * 255).round().astype(int)


# -------------------------------------------------------------------- colors


def test_normals_are_colored_as_usual() -> None:
    right, up, camera = [1, 0, 0], [0, -1, 0], [0, 0, -1]  # y runs down and z away
    rgb = style.normals_to_rgb(np.array([[right, up, camera, [np.nan] * 3]], dtype=float))
    assert rgb[0, :3].tolist() == [[255, 128, 128], [128, 255, 128], [128, 128, 255]]
    assert rgb[0, 3].tolist() == [0xDA, 0xDA, 0xDA]


def test_scalars_span_their_color_map_and_nan_is_a_hole() -> None:
    rgb = style.scalar_to_rgb(np.array([[1.0, 5.0, 9.0, np.nan]]), "viridis", 1, 5)
    ends = [[round(255 * c) for c in matplotlib.colormaps["viridis"](x)[:3]] for x in (0.0, 1.0)]
    assert rgb[0, 0].tolist() == ends[0]
    assert rgb[0, 1].tolist() == rgb[0, 2].tolist() == ends[1]
    assert rgb[0, 3].tolist() == [0xDA, 0xDA, 0xDA]


@pytest.mark.parametrize(
    "names", [rooms13.CLASSES, streets7.CLASSES, people21.CLASSES, HUMAN_PARTS]
)
def test_classes_have_distinct_colors_and_void_its_own(names: tuple[str, ...]) -> None:
    assert set(names) <= set(style.CLASS_COLORS)
    ids = np.array([[*range(len(names)), IGNORE_INDEX]], dtype=np.uint8)
    colors = style.classes_to_rgb(ids, names)[0].astype(int)
    distance = np.abs(colors[:, None] - colors[None]).sum(-1) + 999 * np.eye(len(colors))
    assert distance.min() > 60
    assert colors[-1].tolist() == [0x6B, 0x6B, 0x6B]
    shown = {"tasks": np.array(["t"]), "titles": np.array(["T"]), "kinds": np.array(["classes"])}
    shown |= {"t/classes": np.array(names), "t/truth": np.array([0, 2, IGNORE_INDEX])}
    (line,) = maps.legend_lines(shown, ["t/truth"], 20.0)
    assert [entry.label for entry in line] == [names[0], names[2], "void"]


def test_maps_are_drawn_by_their_kind(every: dict) -> None:
    found = every["hitts/fig5"]
    rgb = maps.map_to_rgb(found, "semseg/truth", 0)
    assert rgb[0, 0].tolist() == [0x6B, 0x6B, 0x6B]  # void
    for key in ("depth/truth", "normals/truth"):
        assert maps.map_to_rgb(found, key, 0)[0, 0].tolist() == [0xDA, 0xDA, 0xDA]
    low, high = maps.value_range(found, "depth")
    assert 1 <= low < 1.2 and 4.8 < high <= 5
    assert maps.unit_of(found, "depth") == "m"
    assert maps.unit_of({k: v for k, v in found.items() if k != "units"}, "depth") == "m"


def test_binary_maps_run_from_pale_to_dark_and_nan_is_a_hole() -> None:
    found = {"tasks": np.array(["edges"]), "kinds": np.array(["binary"])}
    found["edges/ours"] = np.array([[[0.0, 0.5, 1.0, np.nan]]], dtype=np.float16)
    rgb = maps.map_to_rgb(found, "edges/ours", 0)[0].astype(int)
    light = rgb.sum(-1)
    assert light[0] > 700 > light[1] > light[2] and rgb[3].tolist() == [0xDA, 0xDA, 0xDA]


# ------------------------------------------------------------------- figures


def test_every_figure_has_a_drawing() -> None:
    assert all(figure.draw for figure in papers.figures().values())


@pytest.mark.parametrize("name", papers.figures())
def test_draws_every_figure_from_its_saved_arrays(name: str, every: dict, tmp_path) -> None:
    figure = papers.figures()[name].draw(every[name])
    picture = figures.save(name, figure, every[name], tmp_path)
    image = pixels(picture.read_bytes())
    assert image.shape[1] > 900 and image.std() > 10
    assert (image[:3] == 255).all() and (image[:, :3] == 255).all()  # a margin: nothing cut off
    again = papers.figures()[name].draw(figures.load_arrays(tmp_path / f"{name}.npz"))
    assert figures.png_bytes(again) == picture.read_bytes()


def test_drawing_leaves_no_trace(every: dict) -> None:
    before = dict(matplotlib.rcParams)
    matplotlib.rcParams["lines.linewidth"] = 7.0
    try:
        odd = figures.png_bytes(hitts.draw_supervision(every["hitts/fig9"]))
        assert matplotlib.rcParams["lines.linewidth"] == 7.0
    finally:
        matplotlib.rcParams.update(before)
    assert odd == figures.png_bytes(hitts.draw_supervision(every["hitts/fig9"]))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_affinity_panels_show_the_arrays(every: dict) -> None:
    figure = hitts.draw_embeddings(every["hitts/fig7"])
    shown = [image.get_array() for axes in figure.axes for image in axes.images]
    for task in ("semseg", "depth", "normals"):
        for variant in ("without", "with"):
            affinity = every["hitts/fig7"][f"{task}/{variant}/affinity"]
            assert any(np.array_equal(affinity, image) for image in shown)


def test_curves_panels_show_the_arrays(every: dict) -> None:
    figure = hitts.draw_supervision(every["hitts/fig9"])
    assert [axes.get_ylabel() for axes in figure.axes] == ["mIoU ↑", "AbS ↓", "mErr ↓"]
    for axes, task in zip(figure.axes, ("semseg", "depth", "normals"), strict=True):
        drawn = [line.get_ydata().tolist() for line in axes.lines]
        for split in ("train", "test"):
            for role in ("without", "with"):
                assert every["hitts/fig9"][f"{task}/{split}/{role}"].tolist() in drawn


def test_withheld_labels_are_pale(every: dict) -> None:
    assert companion.bleach(np.array([[[0, 100, 255]]], dtype=np.uint8)).min() > 150
    figure = companion.draw_overview(every["companion/overview"])
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    withheld = sum(word.endswith(": withheld") for word in words)
    assert withheld == (~every["companion/overview"]["labeled"]).sum()


RECORDED = Path(__file__).parents[1] / "figures"


@pytest.mark.parametrize("name", [n for n in papers.figures() if (RECORDED / f"{n}.npz").exists()])
def test_recorded_figures_draw_from_their_arrays_and_say_what_the_register_says(name: str) -> None:
    recorded, known = RECORDED, papers.figures()[name]
    finished = figures.redraw(name, recorded)
    assert (finished.figure.axes or finished.figure.texts) and finished.path.is_file()
    texts = json.loads((recorded / f"{name}.json").read_text())
    for key in ("title", "source", "caption", "alt"):
        assert texts[key] == getattr(known, key)
    assert set(texts["arrays"]) == set(finished.arrays)
    made_from = texts["made_from"]
    if made_from["runs"]:  # of today's experiments: a figure of other runs is out of date
        scaled = known.experiments(get_profile(made_from["profile"])).items()
        bound = {role: bind_data(e.teacher if known.teachers else e) for role, e in scaled}
        assert made_from["runs"] == {role: e.key for role, e in bound.items()}


# --------------------------------------------------------------------- files


def test_files_say_what_the_figure_shows_and_where_it_comes_from(every: dict, tmp_path) -> None:
    stamp = {"profile": "smoke", "data": "stand-in: rooms13", "runs": {"plain": "abc"}}
    figure = hitts.draw_supervision(every["hitts/fig9"])
    figures.save("hitts/fig9", figure, every["hitts/fig9"], tmp_path, stamp=stamp)
    words = json.loads((tmp_path / "hitts" / "fig9.json").read_text())
    known = papers.figures()["hitts/fig9"]
    assert words["caption"] == known.caption and words["alt"] == known.alt
    assert words["made_from"] == stamp
    assert words["arrays"]["depth/test/with"] == "float64 [2]"
    loaded = figures.load_arrays(tmp_path / "hitts" / "fig9.npz")
    assert set(loaded) == set(every["hitts/fig9"])
    assert all(np.array_equal(loaded[key], every["hitts/fig9"][key]) for key in loaded)


def test_files_have_the_same_bytes_on_any_day(every: dict, tmp_path) -> None:
    figure = hitts.draw_confidence(every["hitts/fig8"])
    figures.save("hitts/fig8", figure, every["hitts/fig8"], tmp_path / "one")
    reordered = dict(reversed(every["hitts/fig8"].items()))
    figures.save("hitts/fig8", hitts.draw_confidence(reordered), reordered, tmp_path / "two")
    for suffix in ("png", "npz", "json"):
        one, two = (tmp_path / day / "hitts" / f"fig8.{suffix}" for day in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(tmp_path / "one" / "hitts" / "fig8.npz") as packed:
        assert {entry.date_time[0] for entry in packed.infolist()} == {1980}
    chunks = (tmp_path / "one" / "hitts" / "fig8.png").read_bytes()
    assert b"matplotlib" not in chunks.lower() and b"tEXt" not in chunks
    assert not list(tmp_path.rglob("*.partial"))


def test_an_unknown_figure_is_refused(every: dict, tmp_path) -> None:
    with pytest.raises(KeyError, match="fig99"):
        drawing = hitts.draw_supervision(every["hitts/fig9"])
        figures.save("fig99", drawing, every["hitts/fig9"], tmp_path)


def test_an_unknown_name_suggests_the_nearest(tmp_path) -> None:
    with pytest.raises(ValueError, match="did you mean 'hitts/fig11'"):
        figures.make_figure(
            "hitts/fig_11", profile="smoke", session=Session(RunStore(tmp_path)), folder=tmp_path
        )


def test_makes_a_figure_from_its_name(tmp_path) -> None:
    store, folder = RunStore(tmp_path / "runs"), tmp_path / "figures"
    made = figures.make_figure("hitts/fig9", profile="smoke", session=Session(store), folder=folder)
    assert made.path == folder / "hitts" / "fig9.png" and made.path.is_file()
    runs = papers.figures()["hitts/fig9"].experiments(PROFILES["smoke"])
    epochs = made.arrays["epochs/with"]
    assert epochs[-1] == runs["with"].epochs and len(made.arrays["depth/test/with"]) == len(epochs)
    origin = json.loads(made.path.with_suffix(".json").read_text())["made_from"]
    assert origin["data"].startswith("rooms13 (generated stand-in)")
    for role, key in origin["runs"].items():
        assert store.load(key).experiment["method_args"] == dict(runs[role].method_args)


def test_makes_pictures_that_need_no_run(tmp_path) -> None:
    store = RunStore(tmp_path / "runs")
    name = "companion/label_settings"
    made = figures.make_figure(name, profile="smoke", session=Session(store), folder=tmp_path)
    assert made.path == tmp_path / "companion" / "label_settings.png" and made.alt and made.caption
    assert not (tmp_path / "runs").exists()
