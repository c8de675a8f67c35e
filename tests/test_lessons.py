"""What each term of a loss does to the backbone that all tasks share."""

import math

import pytest
import torch

from mtpsl.data import open_dataset
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.loader import TrainLoader
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.papers.hitts.tables import TABLE8
from mtpsl.report import lessons
from mtpsl.runs.network import build
from mtpsl.runs.profiles import smoke


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    cache = tmp_path_factory.mktemp("cache")
    size = {"height": 32, "width": 32, "images": 4, "cache_dir": cache}
    return tuple(open_dataset("rooms13", split, **size) for split in ("train", "test"))


def test_pulls_are_lengths_of_weighted_gradients_on_the_backbone(rooms: tuple) -> None:
    train, _ = rooms
    names = train.tasks.names
    labels = PartialLabels(train, assign("one_label", len(train), names, seed=0))
    loader = TrainLoader(labels, batch_size=4, seed=0, views=2, augment=False)
    batches = list(loader.epoch(0))

    def found(weight: float) -> dict[str, float]:
        torch.manual_seed(0)
        method = build_method(
            "semi_supervised", train.tasks, "segnet", 0.125, {"weight": weight}, {}
        ).eval()
        pulled = lessons.pulls(method, batches)
        assert not method.training and all(p.grad is None for p in method.parameters())
        return pulled

    none, one, three = (found(weight) for weight in (0.0, 1.0, 3.0))
    assert list(one) == ["labels", "consistency"]
    assert none["consistency"] == 0 and one["consistency"] > 0
    assert three["consistency"] == pytest.approx(3 * one["consistency"], rel=1e-4)
    assert none["labels"] == one["labels"] == three["labels"]

    torch.manual_seed(0)
    method = build_method("semi_supervised", train.tasks, "segnet", 0.125, {"weight": 0.0}, {})
    terms = method.train().training_step(*batches[0], progress=1.0)
    sum(terms.values()).backward()
    grads = [p.grad.double().square().sum() for p in method.net.backbone.parameters()]
    assert one["labels"] == pytest.approx(float(sum(grads)) ** 0.5, rel=1e-5)


def test_adam_steps_are_those_of_adam(rooms: tuple) -> None:
    train, _ = rooms
    labels = PartialLabels(train, assign("full", len(train), train.tasks.names, seed=0))
    loader = TrainLoader(labels, batch_size=2, seed=0, augment=False)
    batches = [*loader.epoch(0), *loader.epoch(1)]

    def fresh() -> Method:
        torch.manual_seed(0)
        return build_method("supervised", train.tasks, "segnet", 0.125, {}, {})

    watched, plain = fresh(), fresh().train()
    found = lessons.adam_steps(watched, batches, lr=1e-3, total=100)
    assert {len(numbers) for numbers in found.values()} == {4}
    assert 0.8 < found["moved"][0] <= 1  # the rate, wherever there is a gradient
    assert found["remembered"][0] == pytest.approx(found["gradient"][0], rel=1e-5)

    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-3)
    lengths = []
    for (batch,) in batches:
        optimizer.zero_grad()
        sum(plain.training_step(batch, progress=0.0).values()).backward()
        grads = [p.grad for p in plain.net.backbone.parameters()]
        lengths.append(torch.cat([g.flatten() for g in grads]).norm().item())
        optimizer.step()
    assert found["gradient"] == pytest.approx(lengths, rel=1e-4)
    for mine, theirs in zip(watched.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_untrained_is_what_a_run_begins_with() -> None:
    experiment = smoke(TABLE8.row("MTL baseline").experiments[0])
    method, loader = lessons.untrained(experiment)
    weights = build(experiment).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in method.state_dict().items())
    assert loader.steps == math.ceil(len(loader.dataset) / experiment.batch_size)
    assert {len(views) for views in loader.epoch(0)} == {method.views}
