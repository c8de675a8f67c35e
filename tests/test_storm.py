"""XTC's first steps: what is measured is what happens, and the figure says it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mtpsl import papers
from mtpsl.data import open_dataset
from mtpsl.data.dataset import Dataset, TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.engine import fit
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.papers.xtc import storm
from mtpsl.report.figure import make_figure
from mtpsl.report.records import row_experiments
from mtpsl.runs.network import build
from mtpsl.runs.store import RunStore, Session
from mtpsl.tasks import TaskSet
from mtpsl.training import Optimization


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return open_dataset("rooms13", "train", height=32, width=32, images=4, cache_dir=cache)


def fresh(train: Dataset, name: str, **args: object) -> Method:
    torch.manual_seed(0)
    return build_method(name, train.tasks, "segnet", 0.125, args, {"stages": 3})


def one_label(train: Dataset, views: int) -> TrainLoader:
    labels = PartialLabels(train, assign("one_label", len(train), train.tasks.names, seed=0))
    return TrainLoader(labels, batch_size=4, seed=0, views=views, augment=False)


def test_gradient_lengths_are_of_weighted_gradients_on_the_backbone(train: Dataset) -> None:
    batches = list(one_label(train, views=2).epoch(0))

    def lengths(weight: float) -> dict[str, float]:
        method = fresh(train, "semi_supervised", weight=weight)
        pulled = storm.gradient_lengths(method, batches)
        assert all(p.grad is None for p in method.parameters())
        return pulled

    none, one, three = (lengths(weight) for weight in (0.0, 1.0, 3.0))
    assert list(one) == ["labels", "consistency"]
    assert none["consistency"] == 0 and one["consistency"] > 0
    assert three["consistency"] == pytest.approx(3 * one["consistency"], rel=1e-4)
    assert none["labels"] == one["labels"] == three["labels"]

    method = fresh(train, "semi_supervised", weight=0.0)
    terms = method.train().training_step(*batches[0], progress=1.0)
    sum(terms.values()).backward()
    grads = [p.grad.double().square().sum() for p in method.net.backbone.parameters()]
    assert one["labels"] == pytest.approx(float(sum(grads)) ** 0.5, rel=1e-5)


def test_a_single_pair_pulls_as_the_whole_loss_does(train: Dataset) -> None:
    """Two tasks, so every image has one pair: what is measured by pair is what trains."""
    tasks = TaskSet((train.tasks["semseg"], train.tasks["depth"]))
    labeled = PartialLabels(train, assign("full", len(train), train.tasks.names, seed=0))
    (views,) = TrainLoader(labeled, batch_size=4, seed=0, views=2, augment=False).epoch(0)
    for view in views:
        view.labeled["semseg"][:] = False
    torch.manual_seed(0)
    method = build_method("xtc", tasks, "segnet", 0.125, {}, {"stages": 3})
    torch.manual_seed(1)
    whole = storm.gradient_lengths(method, [views])
    torch.manual_seed(1)
    by_pair = storm.pair_lengths(method, [views])
    assert list(by_pair) == ["semseg > depth"]
    pulled = by_pair["semseg > depth"]
    assert pulled["consistency"] == pytest.approx(whole["cross_task"], rel=1e-3)
    assert pulled["regularizer"] == pytest.approx(whole["regularizer"], rel=1e-3)


def test_a_gradient_is_followed_from_the_embedding_to_the_prediction(train: Dataset) -> None:
    method = fresh(train, "xtc")
    found = storm.path_lengths(method, list(one_label(train, views=2).epoch(0)))
    names = ["embedding", *(f"before stage {i}" for i in (3, 2, 1)), "mapping's input"]
    assert list(found) == [*names, "prediction"]
    assert all(length > 0 for length in found.values())


def test_a_constant_mapping_tells_nothing_apart(train: Dataset) -> None:
    method, batch = fresh(train, "xtc").eval(), train.load(range(4))
    alive = storm.embedding_spread(method, batch)
    assert alive["images"] > 0 and alive["positions"] > 0 and alive["other"] > 0
    last = method.mapping.stages[-1].norms[-1]
    with torch.no_grad():  # whatever comes in, ones leave the last stage
        last.gamma.zero_()
        last.beta.fill_(1.0)
    dead = storm.embedding_spread(method, batch)
    assert max(dead.values()) < 1e-6


def test_an_epoch_is_described_as_adam_stepped(train: Dataset) -> None:
    labels = PartialLabels(train, assign("full", len(train), train.tasks.names, seed=0))
    loader = TrainLoader(labels, batch_size=2, seed=0, augment=False)
    watched, plain = fresh(train, "supervised"), fresh(train, "supervised").train()
    how = Optimization(schedule="constant")
    done = fit(watched, loader, epochs=2, lr=1e-3, optimization=how, progress=False)
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    shared = list(plain.net.backbone.parameters())
    for epoch, entry in enumerate(done.history):
        lengths = []
        for (batch,) in loader.epoch(epoch):
            before = [p.detach().clone() for p in shared]
            optimizer.zero_grad()
            sum(plain.training_step(batch, progress=0.0).values()).backward()
            lengths.append(torch.cat([p.grad.flatten() for p in shared]).norm().item())
            optimizer.step()
        steps = 2 * (epoch + 1)
        second = sum(float(optimizer.state[p]["exp_avg_sq"].sum()) for p in shared)
        moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(shared, before, strict=True)])
        assert entry["steps"]["gradient"] == pytest.approx(np.mean(lengths), rel=1e-3)
        remembered = (second / (1 - 0.999**steps)) ** 0.5
        assert entry["steps"]["remembered"] == pytest.approx(remembered, rel=1e-3)
        expected = float(moved.square().mean()) ** 0.5 / 1e-3
        assert entry["steps"]["moved"] == pytest.approx(expected, rel=1e-2)


def test_the_figure_is_made_of_finished_runs_and_of_an_untrained_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPSL_CACHE", str(tmp_path / "cache"))
    session = Session(RunStore(tmp_path / "runs"), "cpu", progress=False)
    made = make_figure("xtc/storm", profile="smoke", session=session, folder=tmp_path)
    arrays = made.arrays
    assert list(arrays["roles"]) == list(storm.ROLES)
    for role in storm.ROLES:
        assert arrays[f"{role}/steps"].tolist() == [2, 4]
        assert all((arrays[f"{role}/{name}"] > 0).all() for name in storm.STEPS)
        assert (f"{role}/spread" in arrays) == (not role.startswith("labels"))
    assert set(arrays["terms"]) == {"labels", "cross_task", "regularizer"}
    assert len(arrays["pairs"]) == len(arrays["pair_lengths"]) <= 6
    assert (arrays["xtc/gradient"] != arrays["xtc_unclipped/gradient"]).any()


@pytest.mark.parametrize(("row", "clip"), [("Ours", 1.0), ("Ours, unclipped", storm.UNCLIPPED)])
def test_scaled_profiles_clip_every_row_but_those_about_clipping(row: str, clip: float) -> None:
    table = papers.tables()["companion/consistency"]
    for profile in ("smoke", "quick"):
        (experiment,) = row_experiments(table.row(row), profile, 0)
        assert experiment.clip == clip
    (experiment,) = row_experiments(table.row("Ours"), "full", 0)
    assert experiment.clip == 0


def test_untrained_is_what_a_run_begins_with() -> None:
    table = papers.tables()["hitts/table8"]
    (experiment,) = row_experiments(table.row("MTL baseline"), "smoke", 0)
    method, loader = storm.untrained(experiment)
    weights = build(experiment).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in method.state_dict().items())
    assert loader.steps == -(-len(loader.dataset) // experiment.batch_size)
    assert {len(views) for views in loader.epoch(0)} == {method.views}
