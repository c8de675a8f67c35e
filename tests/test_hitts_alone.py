"""HiTTs' tokens in somebody's own training loop, behind an encoder that is not ours."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl.batch import Batch, Discovered
from mtpsl.models._torchvision import import_torchvision
from mtpsl.papers.hitts.method import MixtureLoss, feature_terms
from mtpsl.papers.hitts.tokens import TaskTokens, Trace, discover
from mtpsl.tasks import TaskSet, depth, edges, normals, semseg

TASKS = TaskSet((semseg(tuple("abcd")), depth(), normals(), edges()))
SIDE = 64


class Encoder(nn.Module):
    """A plain torchvision ResNet-18 without its last stage: (B, 256, H / 16, W / 16)."""

    def __init__(self) -> None:
        super().__init__()
        resnet18 = import_torchvision("models.resnet").resnet18(weights=None)
        self.layers = nn.Sequential(*list(resnet18.children())[:-3])

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def partial_batch(images: int = 4) -> Batch:
    """Image i has the label of task i alone; what is not there is NaN, or 255 for class ids."""
    g = torch.Generator().manual_seed(0)
    one = (1, SIDE, SIDE)
    maps = {
        "semseg": torch.randint(0, 4, one, generator=g),
        "depth": 1 + 4 * torch.rand(one, generator=g),
        "normals": F.normalize(torch.randn(3, SIDE, SIDE, generator=g), dim=0),
        "edges": (torch.rand(one, generator=g) > 0.7).float(),
    }
    labels = {
        name: [maps[name] if row == i else None for row in range(images)]
        for i, name in enumerate(TASKS.names)
    }
    pictures = torch.rand(images, 3, SIDE, SIDE, generator=g)
    batch = Batch.from_targets(pictures, labels, TASKS)
    assert batch.targets["depth"][0].isnan().all() and batch.targets["normals"][0].isnan().all()
    return batch


class Loop:
    """An encoder, tokens and a loss, as a training script of one's own would hold them."""

    def __init__(self, seed: int, batch: Batch) -> None:
        torch.manual_seed(seed)
        self.encoder = Encoder()
        self.tokens = TaskTokens(TASKS, 256, stride=16, reduction=16)
        self.tokens.quantizers.fit([batch])
        self.loss = MixtureLoss(TASKS, self.tokens.quantizers)
        everything = [*self.encoder.parameters(), *self.tokens.parameters()]
        self.optimizer = torch.optim.Adam(everything, lr=1e-4)

    def trace(self, images: Tensor) -> Trace:
        return self.tokens(self.encoder(images), images.shape[2:])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        trace = self.trace(batch.images)
        terms = self.loss(trace.refined, batch)
        if batch.discovered is not None:
            terms |= self.loss.pseudo(trace.refined, batch)
            terms |= feature_terms(TASKS, trace.task_features, batch)
        return terms

    def train(self, batch: Batch, steps: int = 3) -> list[float]:
        losses = []
        for _ in range(steps):
            loss = sum(self.terms(batch).values())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def discover(self, batch: Batch) -> Discovered:
        for module in (self.encoder, self.tokens):
            module.eval()
        with torch.no_grad():
            trace = self.trace(batch.images)
        return discover(trace, self.tokens.quantizers, {"semseg": 0.2, "depth": 0.01})


@pytest.fixture(scope="module")
def batch() -> Batch:
    return partial_batch()


@pytest.fixture(scope="module")
def second(batch: Batch) -> tuple[Loop, Batch, list[float]]:
    """A student after three steps on what a teacher of three steps discovered in memory."""
    teacher = Loop(0, batch)
    losses = teacher.train(batch)
    batch = dataclasses.replace(batch, discovered=teacher.discover(batch).withhold(batch))
    student = Loop(1, batch)
    return student, batch, [*losses, *student.train(batch)]


def test_both_stages_learn(second: tuple[Loop, Batch, list[float]]) -> None:
    _, _, losses = second
    assert torch.tensor(losses).isfinite().all()
    assert losses[2] < losses[0] and losses[5] < losses[3]


def test_gradients_reach_the_encoder(second: tuple[Loop, Batch, list[float]]) -> None:
    student, batch, _ = second
    terms = student.terms(batch)
    assert set(terms) == {n + end for n in TASKS.names for end in ("", "_pseudo", "_feature")}
    first = student.encoder.layers[0].weight
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, first, retain_graph=True)
        assert gradient.isfinite().all() and gradient.any(), name


def test_nothing_is_discovered_for_a_labeled_task(second: tuple[Loop, Batch, list[float]]) -> None:
    _, batch, _ = second
    for t in TASKS:
        labeled, seen = batch.labeled[t.name], batch.discovered
        assert not seen.valid[t.name][labeled].any()
        missing = t.fill_missing(seen.targets[t.name][labeled])
        torch.testing.assert_close(
            seen.targets[t.name][labeled], missing, rtol=0, atol=0, equal_nan=True
        )
        assert seen.valid[t.name][~labeled].any(), f"no pseudo label of {t.name}"
        assert (seen.targets[t.name].dtype, seen.features[t.name].shape) == (
            batch.targets[t.name].dtype, (4, 256, 4, 4),
        )  # fmt: skip
        assert not seen.features[t.name].requires_grad


def test_nothing_withheld_reaches_a_gradient(second: tuple[Loop, Batch, list[float]]) -> None:
    """Other values behind the mask, of labels and of discoveries, change not one bit."""
    student, batch, _ = second

    def rewritten(maps: dict[str, Tensor], keep: dict[str, Tensor]) -> dict[str, Tensor]:
        other = {t: torch.full_like(m, 3) for t, m in maps.items()}
        return {t: torch.where(keep[t], m, other[t]) for t, m in maps.items()}

    found = batch.discovered
    other = dataclasses.replace(
        batch,
        targets=rewritten(batch.targets, {t: batch.mask(t) for t in TASKS.names}),
        discovered=dataclasses.replace(found, targets=rewritten(found.targets, found.valid)),
    )
    gradients = []
    for each in (batch, other):
        student.encoder.eval(), student.tokens.eval()  # the same statistics in both calls
        loss = sum(student.terms(each).values())
        gradients.append(torch.autograd.grad(loss, list(student.encoder.parameters())))
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one, two)


def test_discoveries_of_other_tasks_are_dropped_and_features_kept() -> None:
    batch = partial_batch()
    maps = {t.name: torch.ones(4, t.target_channels, 2, 2) for t in TASKS}
    maps["semseg"] = maps["semseg"].long()
    everywhere = {t: torch.ones(4, 1, 2, 2, dtype=torch.bool) for t in TASKS.names}
    features = {t: torch.rand(4, 8, 1, 1) for t in TASKS.names}
    found = Discovered(maps, everywhere, features, features).withhold(batch)
    assert found.features is features and found.confidence is features
    for i, t in enumerate(TASKS.names):
        assert found.valid[t].flatten(1).all(1).tolist() == [row != i for row in range(4)]
    assert found.targets["semseg"][0].unique().tolist() == [255]
    assert found.targets["depth"][1].isnan().all() and (found.targets["depth"][0] == 1).all()


def test_several_scales_of_a_plain_encoder() -> None:
    torch.manual_seed(0)
    widths, sides = (8, 16), (16, 8)
    tokens = TaskTokens(TASKS, 16, stride=8, stage_channels=widths)
    stages = [torch.rand(2, c, s, s) for c, s in zip(widths, sides, strict=True)]
    trace = tokens(stages[-1], (SIDE, SIDE), stages)
    assert len(trace.affinities) == 2
    assert trace.predictions["normals"].shape == (2, 3, SIDE, SIDE)
    with pytest.raises(ValueError, match="stages: expected 2 maps, got 0"):
        tokens(stages[-1], (SIDE, SIDE))


def test_a_head_of_ones_own() -> None:
    tokens = TaskTokens(TASKS, 8, stride=4, build_head=lambda out: nn.Conv2d(8, out, 1))
    trace = tokens(torch.rand(2, 8, 16, 16), (SIDE, SIDE), decode=False)
    assert isinstance(tokens.head["depth"], nn.Conv2d) and not trace.predictions
    assert trace.maps["depth"].shape == (2, 8, 16, 16)
    assert trace.task_features["depth"].shape == (2, 8, 8, 8)


def test_a_head_may_be_narrower_than_the_map() -> None:
    build = lambda out: nn.Conv2d(8, out, 1)  # noqa: E731
    tokens = TaskTokens(TASKS, 8, stride=16, build_head=build, head_channels=4)
    trace = tokens(torch.rand(2, 8, 4, 4), (SIDE, SIDE), decode=False)
    assert trace.task_features["depth"].shape == (2, 4, 4, 4)  # no coarser than the map
    assert trace.global_tokens["depth"].shape == (2, 4)
    assert trace.refined["depth"].shape == (2, 30, SIDE, SIDE)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="global_tokens: expected True without orthogonal_embed"):
        TaskTokens(TASKS, 8, global_tokens=False, orthogonal_embeddings=False)


def test_losses_without_discoveries_say_what_is_missing(batch: Batch) -> None:
    loop = Loop(0, batch)
    trace = loop.trace(batch.images)
    with pytest.raises(ValueError, match="a teacher's discoveries"):
        loop.loss.pseudo(trace.refined, batch)
    with pytest.raises(ValueError, match="a teacher's discoveries"):
        feature_terms(TASKS, trace.task_features, batch)
