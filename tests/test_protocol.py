"""The protocol of DiffusionMTL and TPKR: tasks, rescaled losses, views, keys, unmixed tables."""

import colorsys
from dataclasses import replace

import pytest
import torch
from properties import random_batch
from torch import Tensor

from mtpsl import losses
from mtpsl.batch import Batch
from mtpsl.data.atrc import COLORS, PLACES, AtrcViews, change_colors, distort
from mtpsl.data.dataset import TrainLoader
from mtpsl.data.scenes.people21 import TASKS as PEOPLE
from mtpsl.methods.base import supervised_terms
from mtpsl.metrics import Saliency
from mtpsl.papers.protocols import NYUD, PASCAL
from mtpsl.report.results import floor_key
from mtpsl.report.tables import Row, Table
from mtpsl.runs.data import bind_data, open_split, tasks_of
from mtpsl.runs.experiment import Experiment
from mtpsl.tasks import TaskSet, depth, follow, normals, semseg

ROOMS = TaskSet((semseg(4), depth(), normals()))


# --- tasks ------------------------------------------------------------------------------------


def test_tasks_of_the_other_line_of_papers() -> None:
    ours, theirs = PEOPLE, follow("atrc", PEOPLE)
    assert follow("", ours) is ours and not ours.rescale and theirs.rescale
    assert theirs.names == ours.names
    assert [t.weight for t in theirs] == [t.weight for t in ours] == [1, 2, 10, 5, 50]
    assert (ours["saliency"].headline, theirs["saliency"].headline) == ("sal_miou", "max_f")
    assert [s["edges"].metric().nms for s in (ours, theirs)] == [False, True]
    assert [s["normals"].loss for s in (ours, theirs)] == [losses.l1, losses.l1_sum]
    assert all(theirs[n] == ours[n] for n in ("semseg", "human_parts"))
    one = theirs.subset(("edges",))
    assert one.rescale and one.names == ("edges",)


def test_normals_are_summed_over_components() -> None:
    prediction, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = torch.rand(2, 1, 4, 4) > 0.3
    each = [(p - t).abs().sum(0)[m[0]].mean() for p, t, m in zip(prediction, target, mask)]  # noqa: B905
    torch.testing.assert_close(losses.l1_sum(prediction, target, mask), torch.stack(each))


@pytest.mark.parametrize("mean", [False, True])
def test_an_image_with_few_labels_counts_as_much_as_one_with_all(mean: bool) -> None:
    labeled = {
        "semseg": torch.tensor([True, True, False]),
        "depth": torch.tensor([True, False, False]),
        "normals": torch.tensor([True, True, False]),
    }
    batch = random_batch(ROOMS, images=3, labeled=labeled)
    predictions = {t.name: torch.randn(3, t.channels, 32, 32) for t in ROOMS}
    rescaled = replace(ROOMS, rescale=True)
    found = supervised_terms(rescaled, predictions, batch, per_image_mean=mean)
    for t in ROOMS:
        loss = t.loss(predictions[t.name], batch.targets[t.name], batch.mask(t.name))
        expected = (loss * torch.tensor([3 / 3, 3 / 2, 0.0])).sum() / 3
        torch.testing.assert_close(found[t.name], expected)


def test_a_single_task_is_not_rescaled() -> None:
    batch, depths = random_batch(ROOMS, images=3), ROOMS.subset(("depth",))
    predictions = {"depth": torch.randn(3, 1, 32, 32)}
    both = [supervised_terms(replace(depths, rescale=r), predictions, batch) for r in (False, True)]
    assert both[0] == both[1]


# --- experiments ------------------------------------------------------------------------------


@pytest.mark.parametrize("experiment", [NYUD, PASCAL, Experiment()])
def test_the_protocol_is_in_the_key(experiment: Experiment) -> None:
    assert experiment.protocol == ""
    other = experiment.replace(protocol="atrc")
    assert other.key != experiment.key
    assert Experiment.from_dict(other.to_dict()) == other
    older = {n: v for n, v in experiment.to_dict().items() if n != "protocol"}
    assert Experiment.from_dict(older).key == experiment.key
    keys = [floor_key(ran, "test") for ran in (older, experiment.to_dict(), other.to_dict())]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(ValueError, match="expected protocol to be one of"):
        Experiment.from_dict(experiment.to_dict() | {"protocol": "atcr"})


def test_networks_and_data_follow_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path))
    small = {"height": 32, "width": 32, "train_images": 2, "test_images": 2}
    experiment = bind_data(PASCAL.replace(protocol="atrc", **small))
    assert tasks_of(experiment)["saliency"].headline == "max_f" and tasks_of(experiment).rescale
    data = open_split(experiment, "test")
    assert data.tasks["saliency"].headline == "max_f" and data.tasks.rescale
    plain = open_split(experiment.replace(protocol=""), "test")
    assert plain.tasks == PEOPLE and tasks_of(experiment.replace(protocol="")) == PEOPLE


def test_a_table_has_one_protocol() -> None:
    rows = [
        Row(name=str(i), label=str(i), experiments=(PASCAL.replace(protocol=protocol),))
        for i, protocol in enumerate(("", "atrc"))
    ]
    table = {"name": "table1", "paper": "tpkr", "title": "", "source": ""}
    columns = ("saliency/max_f", "saliency/sal_miou")
    assert Table(columns=columns, rows=(rows[0],), **table).headlines == columns[1:]
    assert Table(columns=columns, rows=(rows[1],), **table).headlines == columns[:1]
    with pytest.raises(ValueError, match=r"table tpkr/table1: expected rows of one protocol, got"):
        Table(columns=columns, rows=tuple(rows), **table)


def test_four_of_nineteen_thresholds_tell_maps_apart_behind_a_second_sigmoid() -> None:
    shares = []
    for double in (False, True):
        metric = Saliency("max_f", double_sigmoid=double)
        prediction = torch.linspace(-12, 12, 4096).view(1, 1, 64, 64)
        mask = torch.ones_like(prediction).bool()
        metric.update(prediction, (prediction > 0).float(), mask)
        predicted = metric.sums["pixels"][1]
        shares.append(((predicted > 0) & (predicted < 4096)).sum().item())
    assert shares == [19, 4]


# --- views ------------------------------------------------------------------------------------


def numbers(images: int, **chosen: float) -> Tensor:
    """No change at all, but for what is chosen: the zoom's number, and the mirror's."""
    values = torch.full((images, 2 + 2 * PLACES + COLORS), 0.99)
    values[:, 0] = chosen.get("zoom", 1 / 3)
    values[:, 1] = chosen.get("mirror", 0.99)
    return values


def test_a_zoom_of_one_changes_nothing() -> None:
    batch = random_batch(ROOMS, images=2)
    view = AtrcViews(numbers(2), flip=True).view(batch, ROOMS)
    torch.testing.assert_close(view.images, batch.images, atol=1e-5, rtol=0)
    assert all(torch.equal(view.valid[n], batch.valid[n]) for n in ROOMS.names)
    assert torch.equal(view.targets["semseg"], batch.targets["semseg"])


def test_a_smaller_image_stands_in_the_middle_of_black_without_labels() -> None:
    labeled = dict.fromkeys(ROOMS.names, torch.ones(2).bool())
    batch = random_batch(ROOMS, images=2, labeled=labeled)
    batch = replace(batch, images=torch.ones_like(batch.images))
    view = AtrcViews(numbers(2, zoom=0.0), flip=False).view(batch, ROOMS)
    shown = view.images[:, 0] > 0.5
    assert shown[:, 8:24, 8:24].all() and shown.sum().item() == 2 * 16 * 16
    for task in ROOMS:
        assert not (view.valid[task.name][:, 0] & ~shown).any()
    known = view.valid["depth"]
    expected = batch.targets["depth"][batch.mask("depth")]
    assert view.targets["depth"][known].max() <= 2 * expected.max() + 1e-5
    assert view.targets["depth"][known].min() >= 2 * expected.min() - 1e-5


def test_a_window_with_one_class_is_tried_again() -> None:
    """Zoomed twice, the left half has one class and the right half two."""
    classes = torch.zeros(1, 1, 32, 32, dtype=torch.int64)
    classes[..., 24:] = 1
    everywhere = torch.ones(1, 1, 32, 32).bool()
    maps = {"semseg": classes}
    batch = Batch(
        torch.rand(1, 3, 32, 32),
        maps,
        {"semseg": everywhere},
        {"semseg": torch.tensor([True])},
        torch.tensor([0]),
    )
    draws = numbers(1, zoom=1.0)
    draws[0, 2:4], draws[0, 4:6] = 0.0, torch.tensor([0.0, 0.99])
    tasks = TaskSet((semseg(2),))
    left = AtrcViews(draws, flip=False).geometry(batch, tasks).box[0, 1].item()
    assert left == pytest.approx(0.99 * 15.5)
    withheld = replace(batch, labeled={"semseg": torch.tensor([False])})
    box = AtrcViews(draws, flip=False).geometry(withheld, tasks).box
    assert box[0].tolist() == [0.0, 0.0, 16.5, 16.5]


def test_colors_change_as_in_hsv() -> None:
    images = torch.rand(2, 3, 4, 5)
    saturation, degrees = torch.tensor([0.5, 1.4]), torch.tensor([30.0, -36.0])
    found = change_colors(images, saturation.view(-1, 1, 1, 1), degrees.view(-1, 1, 1, 1))
    for image, factor, turn, result in zip(images, saturation, degrees, found, strict=True):
        for pixel, changed in zip(image.flatten(1).T, result.flatten(1).T, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
            rgb = colorsys.hsv_to_rgb((h + turn.item() / 360) % 1, min(1, s * factor.item()), v)
            torch.testing.assert_close(changed, torch.tensor(rgb), atol=1e-5, rtol=0)


def test_distortions_by_hand() -> None:
    images = torch.rand(1, 3, 4, 5)
    draws = torch.full((1, COLORS), 0.99)
    torch.testing.assert_close(distort(images, draws), images, atol=1e-6, rtol=0)
    draws[0, 0], draws[0, 4] = 0.0, 1.0
    torch.testing.assert_close(distort(images, draws), (images + 32 / 255).clamp(max=1))
    draws[0, 0], draws[0, 1], draws[0, 5] = 0.99, 0.0, 0.0
    torch.testing.assert_close(distort(images, draws), images / 2)


def test_a_loader_draws_them_for_the_first_view(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path))
    small = {"height": 32, "width": 32, "train_images": 4, "test_images": 2}
    images = open_split(bind_data(Experiment(**small)), "train")
    how = {"seed": 3, "augmentation": "atrc", "flip": True, "views": 2}
    loaders = [TrainLoader(images, batch_size=size, **how) for size in (4, 2)]
    (both,) = loaders[0].epoch(0)
    first, second = both
    assert first.geometry.angle is not None and second.geometry.angle is not None
    assert not torch.equal(first.images, second.images)
    parts = {int(i): b[0].images[k] for b in loaders[1].epoch(0) for k, i in enumerate(b[0].index)}
    for k, i in enumerate(first.index.tolist()):
        torch.testing.assert_close(parts[i], first.images[k])
