"""Each rule against numbers by hand, and all rules through the engine with partly labeled data."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from properties import TASKS, random_batch
from torch import Tensor, nn

from mtpsl import files
from mtpsl.batch import Batch
from mtpsl.engine import fit
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.models import MultiTaskNet, build_backbone
from mtpsl.papers import build_method
from mtpsl.training import Optimization
from mtpsl.weighting import (
    DWA,
    MGDA,
    WEIGHTINGS,
    GradNorm,
    Uncertainty,
    Uniform,
    Weighting,
    build_weighting,
)

PAIR = TASKS.subset(("semseg", "depth"))
EVERY_RULE = pytest.mark.parametrize("name", WEIGHTINGS)


class Toy:
    """Two linear losses of one shared kernel, whose gradients are known; more terms on request."""

    def __init__(self, a=(3.0, 4.0), b=(0.0, 1.0)) -> None:
        self.kernel = nn.Parameter(torch.zeros(1, 2))
        self.bias = nn.Parameter(torch.zeros(1))  # comes last, but is no layer
        self.slopes = torch.tensor([a, b])
        self.shared = [self.kernel, self.bias]

    def terms(self, semseg: float, depth: float, **others: Tensor) -> Terms:
        """With these values; 0 means no label, so no gradient either."""
        values = torch.tensor([semseg, depth])
        losses = (self.slopes @ self.kernel[0] + values) * (values != 0)
        return {"semseg": losses[0], "depth": losses[1], **others}


# --- the rules ---------------------------------------------------------------------------------


def test_uniform_is_the_sum_and_remembers_nothing() -> None:
    rule, toy = Uniform(PAIR), Toy()
    terms = toy.terms(0.1, 0.2, extra=torch.tensor(0.3))
    assert torch.equal(rule(terms, []), sum(terms.values()))
    assert rule.after_epoch({"semseg": 1.0}) == {}
    assert rule.state_dict() == {} and rule.param_groups(0.1) == []


def test_uncertainty_is_kendalls_sum() -> None:
    rule, toy = Uncertainty(PAIR), Toy()
    total = rule(toy.terms(2.0, 3.0), [])
    weight = 0.5 * math.exp(0.5)
    assert total.item() == pytest.approx(5 * weight - 0.5)
    total.backward()
    assert rule.s.grad.tolist() == pytest.approx([0.5 - 2 * weight, 0.5 - 3 * weight])
    assert toy.kernel.grad[0].tolist() == pytest.approx([3 * weight, 5 * weight])
    assert rule.after_epoch({}) == pytest.approx({"semseg": weight, "depth": weight})


def test_uncertainty_learns_nothing_about_a_task_without_label() -> None:
    rule = Uncertainty(PAIR, initial=-1.0)
    rule(Toy().terms(2.0, 0.0), []).backward()
    assert rule.s.grad[0] != 0 and rule.s.grad[1] == 0
    assert rule.after_epoch({})["depth"] == 0


def test_gradnorm_is_chens_loss() -> None:
    rule, toy = GradNorm(PAIR, alpha=1.0, start=1), Toy()  # gradient norms 5 and 1
    total = rule(toy.terms(2.0, 4.0), toy.shared)
    assert total.item() == pytest.approx(6 + abs(5 - 3) + abs(1 - 3))  # r = 1, mean(G) = 3
    total.backward()
    assert rule.w.grad.tolist() == [5, -1]
    assert toy.kernel.grad[0].tolist() == [3, 5]  # weights are 1, and |G - target| moves them only
    # semseg at half its first loss, depth at its first: r = (2/3, 4/3), targets 2 and 4
    total = rule(toy.terms(1.0, 4.0), toy.shared)
    assert total.item() == pytest.approx(5 + abs(5 - 2) + abs(1 - 4))


def test_gradnorm_weights_go_where_they_should_and_keep_their_sum() -> None:
    toy = Toy()
    rule = GradNorm(PAIR, alpha=0.0)
    optimizer = torch.optim.Adam(rule.param_groups(1e-4))
    assert optimizer.param_groups[0]["lr"] == 0.025
    for _ in range(200):
        optimizer.zero_grad()
        rule(toy.terms(1.0, 1.0), toy.shared).backward()
        optimizer.step()
        rule.after_step()
        assert rule.w.sum().item() == pytest.approx(2)
    assert rule.w.tolist() == pytest.approx([1 / 3, 5 / 3], abs=0.1)  # then G is 5/3 for both
    with torch.no_grad():
        rule.w.copy_(torch.tensor([-1.0, 1.0]))
    rule.after_step()
    assert (rule.w > 0).all()


def test_gradnorm_takes_its_first_losses_from_labeled_batches() -> None:
    rule, toy = GradNorm(PAIR, start=2), Toy()
    for losses in ((2.0, 0.0), (4.0, 1.0), (9.0, 3.0), (9.0, 9.0)):
        rule(toy.terms(*losses), toy.shared)
    assert rule.first.tolist() == [3, 2]


def test_gradnorm_survives_a_task_without_label() -> None:
    rule, toy = GradNorm(PAIR), Toy()
    for losses in ((2.0, 0.0), (0.0, 0.0)):
        total = rule(toy.terms(*losses), toy.shared)
        assert total.item() == pytest.approx(sum(losses))  # a lone task is its own mean
        total.backward()
        assert rule.w.grad.tolist() == [0, 0]
    assert rule.after_epoch({}) == {"semseg": 1, "depth": 0}


CONFLICTS = {
    "opposed": ((2.0, 0.0), (-1.0, 1.0)),
    "orthogonal": ((3.0, 0.0), (0.0, 1.0)),
    "one inside the other": ((5.0, 1.0), (1.0, 0.0)),
    "tiny": ((3e-6, 0.0), (0.0, 1e-6)),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_mgda_is_the_closed_form_for_two(case: str) -> None:
    a, b = torch.tensor(CONFLICTS[case])
    share = ((b - a) @ b / (b - a).square().sum()).clamp(0, 1).item()  # [Sener18, Eq. 4]
    rule, toy = MGDA(PAIR), Toy(*CONFLICTS[case])
    rule(toy.terms(1.0, 1.0), toy.shared).backward()
    found = rule.after_epoch({})
    assert found == pytest.approx({"semseg": 2 * share, "depth": 2 - 2 * share})
    expected = 2 * (share * a + (1 - share) * b)
    torch.testing.assert_close(toy.kernel.grad[0], expected, rtol=1e-4, atol=1e-12)
    assert (toy.kernel.grad @ a >= -1e-9) and (toy.kernel.grad @ b >= -1e-9)  # neither gets worse


def test_mgda_of_three_is_the_shortest_combination() -> None:
    torch.manual_seed(0)
    kernel, slopes = nn.Parameter(torch.zeros(1, 5)), torch.randn(3, 5) + 0.5
    terms = dict(zip(TASKS.names, slopes @ kernel[0] + 1, strict=True))
    rule = MGDA(TASKS)
    rule(terms, [kernel]).backward()
    weights = torch.tensor(list(rule.after_epoch({}).values())) / 3
    assert weights.sum().item() == pytest.approx(1)
    steps = torch.linspace(0, 1, 101)
    grid = torch.cartesian_prod(steps, steps)
    grid = torch.cat([grid, 1 - grid.sum(1, keepdim=True)], 1)[grid.sum(1) <= 1]
    best = (grid @ slopes).norm(dim=1).min()
    assert (weights @ slopes).norm() <= best * 1.02


def test_mgda_ignores_tasks_without_label() -> None:
    """Their zero gradient would be the shortest combination, and nothing would ever move."""
    toy, rule = Toy((2.0, 0.0), (-1.0, 1.0)), MGDA(TASKS)
    losses = toy.terms(1.0, 1.0)
    missing = losses["semseg"] * 0
    rule({**losses, "normals": missing}, toy.shared).backward()
    pair = MGDA(PAIR)
    other = Toy((2.0, 0.0), (-1.0, 1.0))
    pair(other.terms(1.0, 1.0), other.shared).backward()
    assert toy.kernel.grad.any() and torch.equal(toy.kernel.grad, other.kernel.grad)
    assert rule.after_epoch({}) == {**pair.after_epoch({}), "normals": 0}


def test_mgda_without_torchjd_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(ImportError, match="expected the package torchjd for 'mgda'.*pip install"):
        build_weighting("mgda", PAIR)
    build_weighting("gradnorm", PAIR)


def test_dwa_is_lius_formula() -> None:
    rule, toy = DWA(PAIR), Toy()
    used = []
    for means in ((4.0, 1.0), (2.0, 1.0), (1.0, 2.0), (1.0, 0.0)):
        rule(toy.terms(1.0, 1.0), [])
        used.append(list(rule.after_epoch({"semseg": means[0], "depth": means[1]}).values()))

    def weights(r: tuple[float, float]) -> list[float]:
        powers = [math.exp(x / 2) for x in r]
        return [2 * power / sum(powers) for power in powers]

    expected = [[1, 1], [1, 1], weights((2 / 4, 1 / 1)), weights((1 / 2, 2 / 1))]
    assert used == [pytest.approx(e) for e in expected]
    assert rule.weights.tolist() == pytest.approx(weights((1, 0)))
    rule.after_epoch({"semseg": 1.0, "depth": 5.0})
    assert rule.weights.tolist() == pytest.approx([1, 1])  # after nothing, every rate is 1


# --- what holds for every rule -----------------------------------------------------------------


@EVERY_RULE
@pytest.mark.parametrize("losses", [(1.0, 2.0), (1.0, 0.0), (0.0, 0.0)])
def test_other_terms_have_weight_one(name: str, losses: tuple[float, float]) -> None:
    rule, toy, alone = build_weighting(name, PAIR), Toy(), nn.Parameter(torch.ones(()))
    total = rule(toy.terms(*losses, consistency=3 * alone), toy.shared)
    total.backward()
    assert alone.grad == 3
    assert total.isfinite() and toy.kernel.grad.isfinite().all()
    assert toy.kernel.grad.any() == any(losses)
    assert all(p.grad is None or p.grad.isfinite().all() for p in rule.parameters())


@EVERY_RULE
def test_a_turn_may_have_no_objective(name: str) -> None:
    rule, toy, alone = build_weighting(name, PAIR), Toy(), nn.Parameter(torch.ones(()))
    rule({"discriminator": 2 * alone}, toy.shared).backward()
    assert alone.grad == 2
    assert all(p.grad is None or not p.grad.any() for p in rule.parameters())


@EVERY_RULE
def test_an_objective_is_left_where_it_is_the_only_one(name: str) -> None:
    """Single-task networks train as before; the uncertainty's weight is all that changes."""
    rule, toy = build_weighting(name, TASKS.subset(("depth",))), Toy()
    rule({"depth": toy.terms(1.0, 1.0)["depth"]}, toy.shared).backward()
    rule.after_step()
    factor = 0.5 * math.exp(0.5) if name == "uncertainty" else 1
    assert toy.kernel.grad[0].tolist() == pytest.approx([0, factor])


def test_learned_weights_do_not_decay_and_may_have_their_own_rate() -> None:
    (group,) = Uncertainty(PAIR).param_groups(0.1)
    assert group["weight_decay"] == 0 and group["lr"] == 0.1
    assert GradNorm(PAIR, lr=None).param_groups(0.1)[0]["lr"] == 0.1
    assert Uncertainty(PAIR, lr=0.5).param_groups(0.1)[0]["lr"] == 0.5


def test_names_are_checked() -> None:
    with pytest.raises(ValueError, match="did you mean 'gradnorm'"):
        build_weighting("grad_norm", PAIR)
    with pytest.raises(ValueError, match="weighting_args: expected .*'temperature'.*got 'beta'"):
        build_weighting("dwa", PAIR, {"beta": 1})


# --- through the engine, with methods ----------------------------------------------------------


class TwoViews(Method):
    """Supervision on one view, and a consistency between two."""

    views = 2

    def __init__(self) -> None:
        super().__init__()
        self.tasks = TASKS
        self.net = MultiTaskNet(build_backbone("segnet", 0.125), TASKS)
        self.dropout = nn.Dropout2d(0.2)

    def training_step(self, *views: Batch, progress: float) -> Terms:
        first, second = (self.net(self.dropout(view.images)).predictions for view in views)
        terms = supervised_terms(TASKS, first, views[0])
        terms["consistency"] = (first["depth"] - second["depth"]).square().mean()
        return terms

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.net(images).predictions


def only(*names: str) -> dict[str, Tensor]:
    return {n: torch.full((2,), n in names) for n in TASKS.names}


BATCHES = [
    random_batch(images=2, seed=i, labeled=labeled)
    for i, labeled in enumerate((only("semseg", "depth"), only("normals"), only("depth"), None))
]


class Loader:
    steps = len(BATCHES)

    def __init__(self, method: Method, stop: int = -1) -> None:
        self.views, self.stop = method.views, stop

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
        if epoch == self.stop:
            raise KeyboardInterrupt
        for batch in BATCHES:
            yield (batch,) * self.views


def make(method: str) -> Method:
    torch.manual_seed(0)
    made = TwoViews() if method == "two views" else build_method(method, TASKS, "segnet", 0.125)
    made.prepare([random_batch(images=6)])
    return made


def run(method: Method, rule: str | Weighting, *, stop: int = -1, **changes):
    rule = build_weighting(rule, TASKS) if isinstance(rule, str) else rule
    chosen = {name: changes.pop(name) for name in ("precision", "accumulate") if name in changes}
    optimization = Optimization(**({"accumulate": 3} | chosen))
    settings = {"epochs": 3, "lr": 1e-3, "progress": False, "optimization": optimization} | changes
    return fit(method, Loader(method, stop), weighting=rule, **settings)


@EVERY_RULE
@pytest.mark.parametrize("method", ["hitts", "two views"])
def test_trains_partially_labeled_methods_in_half_precision(name: str, method: str) -> None:
    made = make(method)
    done = run(made, name, epochs=1, precision="bf16", accumulate=1)
    if name == "uniform":
        assert "weights" not in done.history[0]
        return
    weights = done.history[0]["weights"]
    assert weights.keys() == set(TASKS.names)
    assert all(0 < w < 3 for w in weights.values()), weights


def test_training_lets_a_rule_mend_its_weights_after_every_step() -> None:
    rule = build_weighting("gradnorm", TASKS)
    run(make("two views"), rule, accumulate=1, lr=0.1)
    assert float(rule.w.detach().sum()) == pytest.approx(3) and (rule.w > 0).all()


@EVERY_RULE
def test_a_killed_run_resumes_exactly(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "SAVING_SHARE", 1e6)  # a checkpoint after every epoch
    with pytest.raises(KeyboardInterrupt):
        run(make("two views"), name, stop=2, folder=tmp_path)
    ends = []
    for folder in (tmp_path, None):
        method, rule = make("two views"), build_weighting(name, TASKS)
        history = run(method, rule, folder=folder).history
        facts = [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]
        ends.append(({**method.state_dict(), **rule.state_dict()}, facts))
    (resumed, found), (whole, expected) = ends
    assert found == expected
    assert resumed.keys() == whole.keys()
    assert [key for key in whole if not torch.equal(resumed[key], whole[key])] == []
    other = "dwa" if name != "dwa" else "uniform"
    with pytest.raises(ValueError, match="use another folder"):
        run(make("two views"), other, folder=tmp_path)


def test_rules_differ_from_the_plain_sum() -> None:
    """Every rule really reaches the network; with equal seeds only the weights differ."""
    results = {}
    for name in ("none", *WEIGHTINGS):
        method = make("two views")
        rule = None if name == "none" else build_weighting(name, TASKS)
        fit(method, Loader(method), epochs=3, lr=1e-3, weighting=rule, progress=False)
        results[name] = method.net.backbone.encoder[0][0].weight.detach()
    assert torch.equal(results["uniform"], results["none"])
    different = [n for n in WEIGHTINGS if not torch.equal(results[n], results["none"])]
    assert different == [n for n in WEIGHTINGS if n != "uniform"]


def test_the_backbone_is_what_tasks_share() -> None:
    supervised, hitts = make("supervised"), make("hitts")
    for found, backbone in (
        (supervised.shared_parameters(), supervised.net.backbone),
        (hitts.shared_parameters(), hitts.backbone),
    ):
        assert [id(p) for p in found] == [id(p) for p in backbone.parameters()]
    supervised.net.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="expected Supervised to train a backbone"):
        supervised.shared_parameters()
