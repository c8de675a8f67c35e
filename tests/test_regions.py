"""Regions: who divides an image into them, and that they follow it wherever it goes."""

import hashlib
import logging
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mtpsl.batch import Batch, Geometry
from mtpsl.data import open_dataset, region_providers
from mtpsl.data.dataset import Dataset, Sample, TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.readers.region_report import check_regions
from mtpsl.data.region_providers import PROVIDERS, paint_masks
from mtpsl.data.regions import (
    Regions,
    WithRegions,
    achievable_accuracy,
    compact,
    region_version,
    to_picture,
)
from mtpsl.data.transforms import compose, draw_geometry, draw_turned, warp_batch
from mtpsl.losses import IGNORE_INDEX
from mtpsl.runs.data import bind_data, label, open_split, training_batches
from mtpsl.runs.experiment import Experiment, require_sound
from mtpsl.runs.network import build
from mtpsl.runs.run import run
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import TaskSet, semseg

TASKS = TaskSet((semseg(tuple("abcde")),))
B, SIDE = 3, 24


def a_batch() -> Batch:
    """Square images whose class ids and red values are their region ids, with a gap in each."""
    ids = torch.randint(0, 5, (B, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    ids[:, :, 3:6, 2:9] = -1
    classes = ids.masked_fill(ids < 0, IGNORE_INDEX)
    batch = Batch.from_targets(torch.rand(B, 3, SIDE, SIDE), {"semseg": classes}, TASKS)
    return replace(batch, regions=ids)


def whole(flip: bool = False, angle: float | None = None) -> Geometry:
    box = torch.tensor([0.0, 0.0, SIDE, SIDE]).repeat(B, 1)
    turned = None if angle is None else torch.full((B,), angle)
    return Geometry(box, torch.ones(B), torch.full((B,), flip), turned)


def ids_of(batch: Batch) -> Tensor:
    """What the class ids say the regions are."""
    return batch.targets["semseg"].masked_fill(~batch.valid["semseg"], -1)


# ------------------------------------------------------------------ they travel along


def test_regions_follow_flips_crops_and_turns_exactly() -> None:
    batch = a_batch()
    ids = batch.regions
    assert torch.equal(warp_batch(batch, whole(), TASKS).regions, ids)
    assert torch.equal(warp_batch(batch, whole(flip=True), TASKS).regions, ids.flip(-1))
    for turns in range(4):
        view = warp_batch(batch, whole(angle=90.0 * turns), TASKS)
        assert torch.equal(view.regions, torch.rot90(ids, turns, (2, 3)))
    box = torch.tensor([5.0, 4.0, 16.0, 16.0]).repeat(B, 1)
    crop = Geometry(box, torch.full((B,), 1.5), torch.zeros(B, dtype=torch.bool))
    cut = F.interpolate(ids[:, :, 5:21, 4:20].double(), (SIDE, SIDE), mode="nearest").long()
    assert torch.equal(warp_batch(batch, crop, TASKS).regions, cut)


def test_beyond_the_image_there_is_no_region() -> None:
    batch = replace(a_batch(), regions=torch.zeros(B, 1, SIDE, SIDE, dtype=torch.int64))
    view = warp_batch(batch, whole(angle=45.0), TASKS)
    corners = view.regions[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == -1).all() and (view.regions[:, 0, SIDE // 2, SIDE // 2] == 0).all()
    octagon = 2 * 2**0.5 - 2  # share of a square that it still shows after half of a right angle
    assert (view.regions == 0).float().mean() == pytest.approx(octagon, abs=0.03)


@pytest.mark.parametrize("draw", [draw_geometry, draw_turned])
def test_regions_of_nested_views_are_those_of_their_pixels(draw) -> None:
    generator, batch = torch.Generator().manual_seed(1), a_batch()
    first = draw(generator, B, SIDE, SIDE, flip=True)
    view = warp_batch(batch, first, TASKS)
    inner = warp_batch(view, draw_geometry(generator, B, SIDE, SIDE, flip=True), TASKS)
    for seen in (view, inner):
        assert seen.regions.dtype == torch.int64 and seen.regions.shape == (B, 1, SIDE, SIDE)
        assert torch.equal(seen.regions, ids_of(seen))
    composed = compose(first, whole(), SIDE, SIDE)
    assert torch.equal(warp_batch(batch, composed, TASKS).regions, view.regions)


def test_batches_without_regions_have_none() -> None:
    batch = replace(a_batch(), regions=None)
    assert warp_batch(batch, whole(flip=True), TASKS).regions is None
    assert batch.to("cpu").regions is None


# ------------------------------------------------------------------ experiments


def test_keys_change_with_regions_alone() -> None:
    plain = Experiment()
    assert plain.key == Experiment(regions="", region_args={}, region_version="").key
    chosen = plain.replace(regions="felzenszwalb", region_version="1")
    keys = {
        plain.key,
        chosen.key,
        chosen.replace(regions="slic").key,
        chosen.replace(region_args={"scale": 200}).key,
        chosen.replace(region_version="2").key,
    }
    assert len(keys) == 5
    assert Experiment.from_dict(chosen.to_dict()) == chosen


@pytest.mark.parametrize(
    "field, value", [("regions", 3), ("region_args", "x"), ("region_version", 1)]
)
def test_experiments_refuse_what_is_no_region_setting(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Experiment.from_dict({field: value})


# ------------------------------------------------------------------ who divides images

H, W, IMAGES = 48, 64, 6
ALONE = ("felzenszwalb", "slic", "grid", "voronoi", "ground_truth", "whole")  # need nothing else


@pytest.fixture(scope="module")
def rooms() -> Dataset:
    return open_dataset("rooms13", "train", height=H, width=W, images=IMAGES)


@pytest.mark.parametrize("name", ALONE)
def test_regions_are_the_same_bits_twice_and_for_any_threads(rooms, tmp_path, name) -> None:
    threads, found = torch.get_num_threads(), []
    for number, count in enumerate((1, 2, 2)):
        torch.set_num_threads(count)
        try:
            regions = Regions(rooms, name, cache_dir=tmp_path / str(number))
        finally:
            torch.set_num_threads(threads)
        found.append(regions.load(range(IMAGES)))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert found[0].shape == (IMAGES, 1, H, W) and found[0].dtype == torch.int64
    for ids in found[0]:
        present = ids[ids >= 0].unique()
        assert torch.equal(present, torch.arange(len(present)))  # from 0 without gaps
    assert (found[0] == -1).any() == (name == "ground_truth")  # rooms13 has void pixels


def test_the_two_of_scikit_image_have_not_changed() -> None:
    """Another digest is another ``Provider.version``: recorded runs need the one they state."""
    y, x = np.mgrid[:40, :56]
    image = np.stack([(x // 14) % 2, (y // 10) % 2, (x * y) % 7 / 6], axis=-1)
    picture = region_providers.Picture(image * 0.75 + 0.125, 0, "0", None)
    digests = {
        name: hashlib.sha256(compact(PROVIDERS[name].divide(picture)).tobytes()).hexdigest()[:12]
        for name in ("felzenszwalb", "slic")
    }
    assert digests == {"felzenszwalb": "5ca16997e2ee", "slic": "8fdc657ee599"}


def test_felzenszwalbs_least_region_grows_with_the_image(rooms) -> None:
    picture = to_picture(rooms, 0)
    ids = PROVIDERS["felzenszwalb"].divide(picture)
    assert np.unique(ids, return_counts=True)[1].min() >= 8  # 200 pixels at 288 rows are 5.6 here
    coarse = PROVIDERS["felzenszwalb"].divide(picture, min_size=200)
    assert np.unique(coarse, return_counts=True)[1].min() >= 200
    assert len(np.unique(coarse)) < len(np.unique(ids))


def test_a_grid_has_squares_and_voronoi_as_many_cells_as_felzenszwalb(rooms) -> None:
    picture = to_picture(rooms, 1)
    ids = PROVIDERS["grid"].divide(picture, size=20)
    assert ids.max() + 1 == 3 * 4 and (ids[20:40, 40:60] == 4 + 2).all() and ids[47, 63] == 11
    divide = PROVIDERS["voronoi"].divide
    count = len(np.unique(PROVIDERS["felzenszwalb"].divide(picture)))
    assert 0.9 * count <= len(np.unique(divide(picture))) <= count  # a point may have no pixel
    again, other = divide(picture, count=9), divide(replace(picture, index=2), count=9)
    assert np.array_equal(again, divide(picture, count=9)) and not np.array_equal(again, other)
    assert not np.array_equal(again, divide(picture, count=9, seed=1))


@pytest.mark.parametrize("name, setting", [("grid", "size"), ("voronoi", "count")])
def test_nonsense_is_refused(rooms, name, setting) -> None:
    for value in (0, 2.5):
        with pytest.raises(ValueError, match="a whole number, at least 1"):
            PROVIDERS[name].divide(to_picture(rooms, 0), **{setting: value})


def test_ground_truth_are_connected_pixels_of_a_class() -> None:
    classes = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [255, 1, 1, 255]])
    picture = region_providers.Picture(np.zeros((3, 4, 3)), 0, "0", classes)
    ids = compact(PROVIDERS["ground_truth"].divide(picture))
    assert ids.tolist() == [[1, 1, 0, 2], [0, 0, 0, 2], [-1, 3, 3, -1]]


def test_without_scikit_image_one_sentence_says_what_to_install(rooms, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match=r'run pip install "mtpsl\[regions\]"') as caught:
        PROVIDERS["felzenszwalb"].divide(to_picture(rooms, 0))
    assert "\n" not in str(caught.value)


def test_unknown_providers_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'felzenszwalb'"):
        region_version("felzenswalb", {})
    with pytest.raises(ValueError, match="did you mean 'segments'"):
        region_version("slic", {"segment": 3})
    with pytest.raises(ValueError, match="expected 'folder', which"):
        region_version("file", {})
    with pytest.raises(ValueError, match="an object of settings"):
        region_version("slic", [3])
    with pytest.raises(ValueError, match="regions"):
        require_sound(Experiment.from_dict({"regions": "felzenswalb"}))


# ------------------------------------------------------------------ files and masks


def test_files_are_read_by_name_or_number(rooms, tmp_path) -> None:
    ids = np.random.default_rng(0).integers(0, 60000, (IMAGES, H, W)).astype(np.uint16)
    ids[:, :5] = 65535
    for index in range(IMAGES):
        if index % 2:
            Image.fromarray(ids[index]).save(tmp_path / f"{index}.png")
        else:
            np.save(tmp_path / f"{index}.npy", ids[index])
    regions = Regions(rooms, "file", {"folder": tmp_path.name}, root=tmp_path.parent,
                      cache_dir=tmp_path / "cache")  # fmt: skip
    for index in range(IMAGES):
        expected = compact(np.where(ids[index] == 65535, -1, ids[index].astype(np.int64)))
        assert np.array_equal(regions.load([index])[0, 0], expected)
    named = replace(to_picture(rooms, 0), name="kitchen")
    np.save(tmp_path / "kitchen.npy", ids[5])
    read = PROVIDERS["file"].divide(named, folder=tmp_path)
    assert np.array_equal(read[5:], ids[5, 5:]) and (read[:5] == -1).all()


def test_a_changed_file_is_another_version(tmp_path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((H, W), dtype=np.uint16))
    version = region_version("file", {"folder": str(tmp_path)})
    assert version == region_version("file", {"folder": tmp_path.name}, tmp_path.parent)
    np.save(tmp_path / "0.npy", np.full((H, W), 3, dtype=np.uint16))
    assert version != region_version("file", {"folder": str(tmp_path)})


@pytest.mark.parametrize(
    "array, words",
    [
        (None, "expected 0.png or 0.npy with regions, found 7.npy"),
        (np.zeros((H, W + 1), dtype=np.uint16), "expected the shape 48 x 64, found 48 x 65"),
        (np.zeros((H, W), dtype=np.int64), "expected ids as uint16, found int64"),
        (Image.new("L", (W, H)), "expected regions .16-bit gray.*, found 8-bit gray"),
        (Image.new("I;16", (W, W)), "expected 48 x 64 pixels as its image, found 64 x 64"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_sentence(rooms, tmp_path, array, words) -> None:
    np.save(tmp_path / "7.npy", np.zeros((H, W), dtype=np.uint16))
    if isinstance(array, Image.Image):
        array.save(tmp_path / "0.png")
    elif array is not None:
        np.save(tmp_path / "0.npy", array)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        PROVIDERS["file"].divide(to_picture(rooms, 0), folder=str(tmp_path))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_folder_of_files_must_be_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder of regions, found no such"):
        region_version("file", {"folder": "nowhere"}, tmp_path)


def some_masks() -> np.ndarray:
    masks = np.zeros((4, 6, 8), dtype=bool)
    masks[0, 1:3, 1:3] = True  # on top of 1
    masks[1, :4, :6] = True
    masks[2, 1:3, 1:3] = True  # covers 0: of equal ones the later
    masks[3, 3:, 4:] = True
    return masks


def test_masks_are_painted_by_falling_area() -> None:
    ids = paint_masks(some_masks())
    assert (ids[1:3, 1:3] == 2).all() and ids[0, 0] == 1 and ids[5, 0] == 4
    assert (ids[3:, 4:] == 3).all()  # 12 pixels over 24
    assert sorted(np.unique(compact(ids))) == [0, 1, 2, 3]  # nothing is left of mask 0
    dropped = paint_masks(some_masks(), drop_rest=True)
    assert np.array_equal(dropped == -1, ids == 4)
    assert (paint_masks(some_masks()[:0]) == 0).all()
    assert np.array_equal(compact(paint_masks(some_masks()[::-1])) == 2, ids == 2)


def test_sam_gives_the_painted_masks_of_its_pipeline(monkeypatch) -> None:
    asked = {}

    def pipeline(image: Image.Image, **settings: object) -> dict[str, list]:
        asked.update(settings, size=image.size)
        return {"masks": [torch.from_numpy(mask) for mask in some_masks()], "scores": [1.0] * 4}

    monkeypatch.setattr(region_providers, "_mask_generator", lambda model: pipeline)
    picture = region_providers.Picture(np.zeros((6, 8, 3)), 0, "0", None)
    ids = PROVIDERS["sam"].divide(picture, model="any", points_per_batch=8)
    assert np.array_equal(ids, paint_masks(some_masks()))
    assert asked["points_per_batch"] == 8 and asked["size"] == (8, 6)


def a_package(name: str, **functions: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(functions)
    return module


def test_sam_says_in_one_sentence_what_it_lacks(monkeypatch) -> None:
    make = region_providers._mask_generator.__wrapped__
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="run pip install transformers"):
        make("facebook/sam-vit-base")

    def offline(*names: object, **settings: object) -> None:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setitem(sys.modules, "transformers", a_package("transformers", pipeline=offline))
    monkeypatch.setitem(sys.modules, "torchvision", a_package("torchvision"))

    def no_operators(*boxes: Tensor) -> None:
        raise NotImplementedError("Could not run 'torchvision::nms'")

    operators = a_package("ops", torchvision=a_package("operators", nms=no_operators))
    monkeypatch.setattr(region_providers.torch, "ops", operators)
    with pytest.raises(ImportError, match="torchvision with its compiled operators"):
        make("facebook/sam-vit-base")
    operators.torchvision.nms = lambda *boxes: None
    with pytest.raises(ConnectionError, match="give its folder") as caught:
        make("facebook/sam-vit-base")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ data sets and batches


def test_regions_are_found_once_and_damage_is_noticed(rooms, tmp_path, monkeypatch, caplog) -> None:
    def fresh() -> Regions:
        return Regions(rooms, "felzenszwalb", {"scale": 50}, cache_dir=tmp_path)

    regions = fresh()
    ids = regions.load([4, 0])
    assert "felzenszwalb-1-" in regions.folder.name and len(regions) == IMAGES
    other = Regions(rooms, "felzenszwalb", {"scale": 51}, cache_dir=tmp_path)
    assert other.folder != regions.folder
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "skimage.segmentation", None)
        assert torch.equal(fresh().load([4, 0]), ids)  # a machine without scikit-image can read it
    path = regions.folder / "regions.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fresh().load([4, 0]), ids)
    assert "does not match its checksum" in caplog.text


class Relabeled(Dataset):
    """The same images with no label anywhere."""

    def __init__(self, dataset: Dataset) -> None:
        vars(self).update({k: getattr(dataset, k) for k in ("tasks", "height", "width", "split")})
        self.dataset, self.name, self.version, self.stand_in = dataset, "relabeled", "1", True

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        targets = {t.name: t.fill_missing(sample.targets[t.name]) for t in self.tasks}
        return Sample(sample.image, targets, {n: v & False for n, v in sample.valid.items()})


@pytest.mark.parametrize("name", [n for n in ALONE if not PROVIDERS[n].sees_labels])
def test_labels_change_no_region(rooms, tmp_path, name) -> None:
    ids = Regions(rooms, name, cache_dir=tmp_path).load(range(IMAGES))
    assert torch.equal(Regions(Relabeled(rooms), name, cache_dir=tmp_path).load(range(IMAGES)), ids)


def partial(rooms: Dataset, setting: str, tasks: tuple[str, ...] = (), **args: object):
    names = rooms.tasks.names
    assignment = assign(setting, len(rooms), names, **args).select(tasks or names)
    return PartialLabels(rooms, assignment, drop_unlabeled=True)


def test_ground_truth_is_refused_where_labels_are_withheld(rooms, tmp_path) -> None:
    for labeled in (
        partial(rooms, "one_label"),
        partial(rooms, "few_shot", task="semseg", shots=3),
        partial(rooms, "share", share=0.5),
        partial(rooms, "random_labels", ("depth",)),
    ):
        with pytest.raises(ValueError, match="ground_truth shows its labels, got"):
            WithRegions(labeled, "ground_truth", cache_dir=tmp_path)
        assert WithRegions(labeled, "grid", cache_dir=tmp_path).load([0]).regions is not None
    for labeled in (
        rooms,
        partial(rooms, "full", ("depth",)),
        partial(rooms, "few_shot", task="depth", shots=3),
        partial(rooms, "one_label", ("semseg",)),  # only images that keep it
    ):
        assert len(WithRegions(labeled, "ground_truth", cache_dir=tmp_path)) == len(labeled)


def test_batches_carry_the_regions_of_their_images(rooms, tmp_path) -> None:
    labeled = partial(rooms, "one_label", ("depth",))
    assert 0 < len(labeled) < IMAGES
    regions = Regions(rooms, "felzenszwalb", cache_dir=tmp_path)
    data = WithRegions(labeled, "felzenszwalb", cache_dir=tmp_path)
    again = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data.regions)) < 2000  # no copy of the ids
    for source in (data, again):
        batch = source.load([1, 0])
        assert torch.equal(batch.regions, regions.load(labeled.positions[[1, 0]]))
        assert batch.index.tolist() == [1, 0]
        assert torch.equal(batch.images, labeled.load([1, 0]).images)
    assert torch.equal(data[1].image, labeled[1].image) and data.carries("depth").all()


@pytest.mark.parametrize("workers", [0, 1])
def test_all_views_of_a_loader_show_the_regions_of_their_pixels(rooms, tmp_path, workers) -> None:
    data = WithRegions(partial(rooms, "full"), "ground_truth", cache_dir=tmp_path)
    how = {"batch_size": 4, "seed": 0, "views": 2, "flip": True, "workers": workers}
    loader = TrainLoader(data, **how, augmentation="turned")
    for views in loader.epoch(0):
        assert len(views) == 2
        for view in views:
            assert torch.equal(view.regions >= 0, view.valid["semseg"])
            pairs = torch.stack([view.regions, view.targets["semseg"]], dim=-1)
            for image in pairs:
                shown = image[image[..., 0] >= 0].unique(dim=0)
                assert len(shown) == len(shown[:, 0].unique())  # one class a region


# ------------------------------------------------------------------ experiments with regions

TINY = Experiment(
    height=H, width=W, width_factor=0.125, train_images=IMAGES, test_images=2, epochs=1,
    batch_size=3, backbone_args={"stages": 3}, regions="felzenszwalb",
)  # fmt: skip


def test_binding_fills_in_the_version_of_regions(tmp_path) -> None:
    bound = bind_data(TINY)
    assert bound.region_version == PROVIDERS["felzenszwalb"].version and bound.data_version
    assert bind_data(bound) == bound
    assert bind_data(TINY.replace(regions="")).region_version == ""
    changed = bind_data(bound.replace(regions="grid", region_version=""))
    assert changed.region_version == "1" and changed.key != bound.key
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        bind_data(TINY.replace(region_args={"scal": 3}))
    session = Session(RunStore(tmp_path), device="cpu", progress=False)
    with pytest.raises(ValueError, match="region_version: expected '1', .*got '0'"):
        run(bound.replace(region_version="0"), session)


def test_training_batches_have_regions_and_a_run_goes_through(tmp_path) -> None:
    bound = bind_data(TINY)
    labeled, _ = label(bound, open_split(bound, "train"))
    (batch,) = next(training_batches(bound, build(bound), labeled).epoch(0))
    assert batch.regions.shape == (3, 1, H, W) and batch.regions.max() > 3
    plain = bound.replace(regions="", region_version="")
    (batch,) = next(training_batches(plain, build(plain), labeled).epoch(0))
    assert batch.regions is None
    refused = bound.replace(regions="ground_truth")
    with pytest.raises(ValueError, match="got one_label with semseg of 2 of 6 images"):
        training_batches(refused, build(refused), labeled)
    session = Session(RunStore(tmp_path), device="cpu", progress=False)
    record = run(bound, session)
    assert record.experiment["regions"] == "felzenszwalb"
    assert Path(tmp_path, record.key, "record.json").is_file()


# ------------------------------------------------------------------ quality


def test_achievable_accuracy_by_hand() -> None:
    ids = np.array([[0, 0, 0, 1], [1, 1, -1, 2]])
    classes = np.array([[3, 3, 4, 5], [5, 6, 7, 255]])
    assert achievable_accuracy(ids, classes) == pytest.approx((2 + 2) / 7)
    assert achievable_accuracy(classes, classes) == 1
    two = achievable_accuracy(np.stack([ids, classes])[:, None], np.stack([classes] * 2)[:, None])
    assert two == pytest.approx((4 + 7) / 14)
    assert np.isnan(achievable_accuracy(ids, np.full((2, 4), 255)))
    with pytest.raises(ValueError, match="classes: expected"):
        achievable_accuracy(ids, classes[:1])


def test_better_regions_have_a_higher_achievable_accuracy(rooms, tmp_path) -> None:
    classes = rooms.load(range(IMAGES)).targets["semseg"]
    order = ("whole", "grid", "voronoi", "felzenszwalb", "ground_truth")
    ids = [Regions(rooms, n, cache_dir=tmp_path).load(range(IMAGES)) for n in order]
    accuracy = [achievable_accuracy(regions, classes) for regions in ids]
    assert accuracy == sorted(accuracy) and accuracy[0] < 0.8 and accuracy[-1] == 1


def test_the_report_counts_regions_and_draws_them(tmp_path) -> None:
    how = {"height": H, "width": W, "images": 3, "cache_dir": tmp_path}
    text = check_regions("rooms13", "grid", {"size": 16}, sheet=tmp_path / "sheet.png", **how)
    assert "regions by grid {'size': 16}, version 1" in text
    assert "12.0 an image, from 12 to 12" in text and "median 256, from 256" in text
    assert "12.0 an image with at least 10 pixels" in text and "0.0 % of pixels in no" in text
    assert "of labeled pixels are right with one semseg class" in text
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * H + 2 * 4, 5 * W + 4 * 4, 3)  # image, regions and three labels
    lines = (sheet[:H, W + 4 : 2 * W + 4] == (255, 255, 0)).all(axis=-1)
    assert lines[15].all() and lines[:, 15].all() and not lines[:15, :15].any()
