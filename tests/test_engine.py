"""The loop: what it learns, what it writes, and that nothing can change a run unseen."""

import dataclasses
import inspect
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mtpsl import engine, files, training
from mtpsl.batch import Batch
from mtpsl.data import find_class
from mtpsl.engine import NonFiniteLoss, at_label_size, evaluate, fit
from mtpsl.methods.base import Method, Terms, supervised_terms
from mtpsl.papers.xtc.printed import SELECTION
from mtpsl.tasks import TaskSet, depth, saliency, semseg
from mtpsl.training import SCHEDULES, Optimization, Selection

TASKS = TaskSet((semseg(("a", "b", "c")), depth()))


class TinyMethod(Method):
    """Everything that could break a resume: dropout, normalization statistics, several groups."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = TASKS
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2)
        )
        self.heads = nn.ModuleDict({t.name: nn.Conv2d(8, t.channels, 1) for t in TASKS})
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen: list[float] = []

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        self.seen.append(progress)
        return supervised_terms(TASKS, self.predict(batch.images), batch)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images)
        return {name: head(features) for name, head in self.heads.items()}

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.body.parameters()), "lr": lr},
            {"params": list(self.heads.parameters()), "lr": 10 * lr},
        ]

    def after_step(self) -> None:
        self.steps += 1


def make_method(seed: int = 0) -> TinyMethod:
    torch.manual_seed(seed)
    return TinyMethod()


def make_batch(seed: int, images: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    size = (images, 1, 8, 8)
    targets = {
        "semseg": torch.randint(0, 3, size, generator=generator),
        "depth": 1 + torch.rand(size, generator=generator),
    }
    everything = torch.ones(size, dtype=torch.bool)
    return Batch(
        images=torch.rand(images, 3, 8, 8, generator=generator),
        targets=targets,
        valid={t: everything for t in targets},
        labeled={t: torch.ones(images, dtype=torch.bool) for t in targets},
        index=torch.arange(images) + 10 * seed,
    )


def some_images(batch: Batch, which: slice) -> Batch:
    maps = {
        name: {task: values[which] for task, values in getattr(batch, name).items()}
        for name in ("targets", "valid", "labeled")
    }
    return Batch(images=batch.images[which], index=batch.index[which], **maps)


class TinyLoader:
    def __init__(self, steps: int = 3, pause: float = 0.0, batches: list[Batch] | None = None):
        self.batches = batches or [make_batch(i) for i in range(steps)]
        self.steps, self.pause = len(self.batches), pause

    def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
        order = torch.randperm(self.steps, generator=torch.Generator().manual_seed(epoch))
        for i in order.tolist():
            time.sleep(self.pause)
            yield (self.batches[i],)


def curve(method: Method, loader: TinyLoader):
    def measure() -> dict[str, dict[str, float]]:
        torch.rand(7)  # an evaluation that draws
        metrics = evaluate(method, loader.batches)
        return {"test": metrics, "train": metrics}

    return measure


def run(method: Method, loader: TinyLoader | None = None, **changes):
    loader = loader or TinyLoader()
    return fit_with(method, loader, **{"epochs": 4, "lr": 1e-2, "progress": False, **changes})


def fit_with(method: Method, loader: TinyLoader, **settings):
    """``fit`` with the fields of ``Optimization`` and ``Selection`` beside its own arguments."""
    for name, kind in (("optimization", Optimization), ("selection", Selection)):
        fields = {f.name for f in dataclasses.fields(kind)} & settings.keys()
        settings[name] = kind(**{field: settings.pop(field) for field in fields})
    return fit(method, loader, **settings)


def floating(method: Method) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in method.state_dict().items() if t.is_floating_point()}


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(x, y) for (n, x), (m, y) in pairs)


# --- the loop ----------------------------------------------------------------------------------


def test_learns_and_says_what_it_did() -> None:
    method = make_method()
    done = run(method, epochs=8)
    assert [entry["epoch"] for entry in done.history] == list(range(1, 9))
    assert set(done.history[0]["terms"]) == {"semseg", "depth"}
    assert done.history[-1]["terms"]["depth"] < 0.5 * done.history[0]["terms"]["depth"]
    assert done.epoch == 8
    assert method.steps == 24
    assert method.seen == [step / 24 for step in range(24)]


def test_same_seed_same_bits_and_another_seed_others() -> None:
    a, b, other = make_method(), make_method(), make_method()
    run(a, seed=1)
    torch.rand(100)  # the global generator is nobody's business
    run(b, seed=1)
    run(other, seed=2)
    assert same(a, b)
    assert not same(a, other)


def test_one_step_is_adams() -> None:
    method, expected = make_method().eval(), make_method()
    loader = TinyLoader(1)
    run(method, loader, epochs=1, lr=1e-3)
    with engine.seeded(torch.device("cpu"), 0, "epoch", 0):
        terms = expected.training_step(loader.batches[0], progress=0.0)
    optimizer = torch.optim.Adam(expected.param_groups(1e-3))
    (terms["semseg"] + terms["depth"]).backward()
    optimizer.step()
    expected.after_step()
    for x, y in zip(method.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y)


def test_accumulated_steps_are_the_mean_of_their_batches() -> None:
    class Linear(TinyMethod):
        def training_step(self, *views: Batch, progress: float) -> Terms:
            return {"sum": self.heads["depth"].bias.sum() * views[0].images.mean()}

    torch.manual_seed(0)
    method = Linear()
    seen = []
    hook = method.heads["depth"].bias.register_post_accumulate_grad_hook(
        lambda p: seen.append(p.grad.item())
    )
    loader = TinyLoader(3)
    run(method, loader, epochs=1, accumulate=2)
    hook.remove()
    means = [loader.batches[i].images.mean().item() for i in (0, 1, 2)]
    order = torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist()
    first, second, third = (means[i] for i in order)
    assert method.steps == 2
    assert seen == pytest.approx([first / 2, (first + second) / 2, third])  # the rest counts fully


def test_without_normalization_small_batches_add_up_to_a_large_one() -> None:
    batches = [make_batch(i, images=4) for i in range(3)]
    halves = [some_images(b, slice(at, at + 2)) for b in batches for at in (0, 2)]

    class InOrder(TinyLoader):
        def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
            yield from ((batch,) for batch in self.batches)

    def trained(batches: list[Batch], accumulate: int) -> dict[str, Tensor]:
        method = make_method()
        method.body = nn.Sequential(method.body[0], nn.ReLU())
        how = {"epochs": 3, "weight_decay": 0.1}  # with which Adam knows a gradient's length
        run(method, InOrder(batches=batches), accumulate=accumulate, **how)
        return method.state_dict()

    whole, begun = trained(batches, 1), make_method().state_dict()
    assert not torch.equal(whole["body.0.weight"], begun["body.0.weight"])
    torch.testing.assert_close(trained(halves, 2), whole)


def test_a_gradient_is_clipped_to_a_length() -> None:
    lengths = []

    def measure(optimizer: torch.optim.Optimizer, *_) -> None:
        gradients = [p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]
        lengths.append(float(torch.cat(gradients).norm()))

    hook = register_optimizer_step_pre_hook(measure)
    try:
        run(make_method(), epochs=1)
        short = min(lengths) / 2
        lengths.clear()
        run(make_method(), epochs=1, clip=short)
    finally:
        hook.remove()
    assert lengths and lengths == pytest.approx([short] * len(lengths))
    run(far := make_method(), epochs=1, clip=1e6)
    run(plain := make_method(), epochs=1)
    assert same(far, plain)
    with pytest.raises(ValueError, match="clip: expected a norm, or 0 for no clipping, got -1"):
        run(make_method(), clip=-1)


@pytest.mark.parametrize("steps", [3, 4])
def test_average_of_the_last_steps(steps: int) -> None:
    method, loader = make_method(), TinyLoader(steps)
    states = []

    class Spy(TinyLoader):
        def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
            for i, views in enumerate(super().epoch(epoch)):
                if epoch == 3 and i:  # after the steps before this one
                    states.append(floating(method))
                yield views

    spy = Spy(batches=loader.batches)
    plain = make_method()
    run(plain, loader)
    run(method, spy, average_last=0.25)  # the last of four epochs
    states.append(floating(plain))
    means = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    assert {"heads.depth.weight", "body.1.running_var"} <= means.keys()
    torch.testing.assert_close(floating(method), means)
    assert not same(method, plain)
    assert method.steps == plain.steps  # counters are not averaged


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("constant", {}, [1, 1, 1, 1]),
        ("step", {"step_size": 1, "gamma": 0.5}, [1, 1, 0.5, 0.5]),
        ("poly", {"power": 2.0}, [1, 1, 0.25, 0.25]),
        ("cosine", {}, [1, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
        ("cosine", {"warmup": 0.5, "floor": 0.1}, [0.5, 1, 1, 0.55]),
        ("cosine", {"restart_every": 1, "floor": 0.2}, [1, 0.6, 1, 0.6]),
    ],
)
def test_schedules(name: str, arguments: dict, expected: list[float]) -> None:
    rate = SCHEDULES[name]
    found = [rate(step // 2, 2, step, 4, **arguments) for step in range(4)]
    assert found == pytest.approx(expected)


def test_the_schedule_reaches_every_group_of_parameters() -> None:
    method = make_method()
    done = run(method, epochs=2, schedule="step", schedule_args={"step_size": 1, "gamma": 0.0})
    frozen = make_method()
    run(frozen, epochs=1)
    assert [entry["lr"] for entry in done.history] == [0.01, 0.0]
    assert torch.equal(method.heads["depth"].weight, frozen.heads["depth"].weight)


class OftenHalved(TinyMethod):
    """Its heads' rate falls every epoch, as that of XTC's gamma and beta every 30."""

    def param_groups(self, lr: float) -> list[dict]:
        body, heads = super().param_groups(lr)
        return [body, heads | {"step_size": 1}]


@pytest.mark.parametrize(("schedule", "stopped"), [("step", True), ("constant", False)])
def test_a_group_may_have_steps_of_its_own(schedule: str, stopped: bool) -> None:
    args = {"gamma": 0.0} if schedule == "step" else {}
    methods = []
    for epochs in (1, 3):
        torch.manual_seed(0)
        methods.append(OftenHalved())
        done = run(methods[-1], epochs=epochs, schedule=schedule, schedule_args=args)
    once, thrice = methods
    assert same(once.heads, thrice.heads) is stopped
    assert not same(once.body, thrice.body)
    assert [entry["lr"] for entry in done.history] == [0.01] * 3  # of the first group


def test_half_precision_and_channels_last_train() -> None:
    method = make_method()
    done = run(method, precision="bf16", channels_last=True, epochs=6)
    assert method.body[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert method.body[0].weight.dtype == torch.float32
    assert done.history[-1]["terms"]["depth"] < done.history[0]["terms"]["depth"]


def test_gradients_are_computed_outside_of_autocast() -> None:
    method, seen = make_method(), set()
    method.body[0].weight.register_hook(lambda _: seen.add(torch.is_autocast_enabled("cpu")))
    run(method, precision="bf16", epochs=1)
    assert seen == {False}


class Alternating(TinyMethod):
    """The heads learn in turn 0, the body in turn 1."""

    turns = 2

    def training_step(self, *views: Batch, progress: float) -> Terms:
        self.body.requires_grad_(self.turn == 1)
        self.heads.requires_grad_(self.turn == 0)
        terms = supervised_terms(TASKS, self.predict(views[0].images), views[0])
        return {f"{name} {self.turn}": term for name, term in terms.items()}


def test_turns_are_optimizer_steps_of_one_batch() -> None:
    torch.manual_seed(0)
    method, states = Alternating(), []

    def remember(*_: object) -> None:
        live = method.state_dict()
        states.append([live[n].clone() for n in ("body.0.weight", "heads.depth.weight")])

    after_step = method.after_step
    method.after_step = lambda: (after_step(), remember())
    remember()
    done = run(method, TinyLoader(2), epochs=1)
    assert method.steps == 4
    moved = [
        [not torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        for old, new in itertools.pairwise(states)
    ]
    assert moved == [[False, True], [True, False]] * 2
    assert set(done.history[0]["terms"]) == {"semseg 0", "depth 0", "semseg 1", "depth 1"}
    assert done.history[0]["terms"]["depth 0"] > 0.5  # a mean over batches, not over turns
    with pytest.raises(ValueError, match="accumulate: expected 1 for a method that takes turns"):
        run(Alternating(), accumulate=2)


# --- evaluation --------------------------------------------------------------------------------


def test_evaluation_is_the_metric_over_the_split() -> None:
    method = make_method()
    batch = make_batch(0, images=4)
    found = evaluate(method, [batch])
    error = method.eval().predict(batch.images)["depth"].clamp(min=1e-9) - batch.targets["depth"]
    assert found["depth/abs_err"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert set(found) >= {"semseg/miou", "semseg/pixel_acc", "depth/abs_err", "depth/rmse"}
    assert evaluate(method, [batch], TaskSet((depth(),))).keys() == {
        name for name in found if name.startswith("depth/")
    }


def test_evaluation_at_the_size_of_the_labels() -> None:
    method = make_method()
    batch = make_batch(0, images=1)
    larger = (27, 70)
    targets = {"semseg": torch.randint(3, (1, 1, *larger)), "depth": torch.rand(1, 1, *larger) + 1}
    valid = {name: torch.ones(1, 1, *larger, dtype=torch.bool) for name in targets}
    found = evaluate(method, [dataclasses.replace(batch, targets=targets, valid=valid)])
    predictions = method.eval().predict(batch.images)
    smooth = F.interpolate(predictions["depth"], larger, mode="bilinear").clamp(min=1e-9)
    error = (smooth - targets["depth"]).abs().mean().item()
    assert found["depth/abs_err"] == pytest.approx(error, rel=1e-5)
    ids = predictions["semseg"].argmax(dim=1, keepdim=True).float()
    ids = F.interpolate(ids, larger, mode="nearest-exact")
    hits = (ids == targets["semseg"]).float().mean().item()
    assert found["semseg/pixel_acc"] == pytest.approx(hits)


def test_probabilities_are_resized_not_logits() -> None:
    logits = torch.tensor([[[[-100.0, 0.0, 2.0, 100.0]]]])
    wide = at_label_size(saliency(), logits, (1, 8)).sigmoid()
    expected = F.interpolate(logits.sigmoid(), (1, 8), mode="bilinear")
    torch.testing.assert_close(wide, expected)
    assert at_label_size(saliency(), logits, (1, 4)) is logits
    broken = at_label_size(saliency(), torch.full((1, 1, 2, 2), math.nan), (4, 4))
    assert broken.isnan().all()


def test_evaluation_leaves_mode_weights_and_generator_alone() -> None:
    method = make_method().train()
    before, state = make_method(), torch.get_rng_state()
    evaluate(method, [make_batch(0)])
    assert method.training
    assert same(method, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_learning_curve_changes_nothing() -> None:
    with_curve, without = make_method(), make_method()
    loader = TinyLoader()
    done = run(with_curve, loader, eval_every=3, curve=curve(with_curve, loader), average_last=0.5)
    run(without, loader, average_last=0.5)
    assert same(with_curve, without)
    assert [e["epoch"] for e in done.history if "metrics" in e] == [3, 4]  # and always the last
    assert done.history[-1]["metrics"]["test"] == evaluate(with_curve, loader.batches)


def test_the_average_counts_a_batch_once_whatever_the_turns() -> None:
    method = make_method()
    method.turns = 2
    updates = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.WeightMean, "update", lambda self, _: updates.append(1))
        run(method, average_last=0.5)
    assert len(method.seen) == 24 and len(updates) == 6


def test_best_on_test_leaves_a_point_where_a_task_has_nothing() -> None:
    method = make_method()
    best = training.Best(method.tasks)
    points = ((0.0, 0.5), (0.3, 0.4), (0.2, 0.4), (0.3, 0.3))  # mIoU up, abs_err down
    for epoch, (miou, error) in enumerate(points, start=1):
        best.consider(method, epoch, {"semseg/miou": miou, "depth/abs_err": error})
    assert best.epoch == 4
    best.consider(method, 5, {"semseg/miou": 0.3, "depth/abs_err": 0.3})  # equal: the first stays
    best.consider(method, 6, {"semseg/miou": 0.9, "depth/abs_err": math.nan})
    assert best.epoch == 4


def test_best_on_test_by_fixed_results_may_choose_another_point() -> None:
    method = make_method()
    # From 0.2 and 1.0 to 0.3 and 1.4: relative to themselves 1/3 - 0.4/1.4 > 0, a gain; relative
    # to a strong reference 0.1/0.5 - 0.4/0.5 < 0, a loss.
    points = ((0.2, 1.0), (0.3, 1.4))
    chosen = []
    for reference in (None, {"depth/abs_err": 0.5, "semseg/miou": 0.5}):
        best = training.Best(method.tasks, reference)
        for epoch, (miou, error) in enumerate(points, start=1):
            best.consider(method, epoch, {"semseg/miou": miou, "depth/abs_err": error})
        chosen.append(best.epoch)
    assert chosen == [2, 1]
    for wrong in ({"semseg/miou": 0.5}, {"depth/abs_err": 0.5, "semseg/miou": 0.0}):
        with pytest.raises(ValueError, match="select_reference: expected a positive number"):
            training.Best(method.tasks, wrong)
    with pytest.raises(ValueError, match="select_reference: expected none"):
        run(method, select_reference={"semseg/miou": 0.5, "depth/abs_err": 0.5})


def test_a_curve_without_a_whole_point_keeps_the_last_weights_and_says_so(capsys) -> None:
    method, loader = make_method(), TinyLoader()
    nothing = lambda: {"test": {"semseg/miou": math.nan, "depth/abs_err": 1.0}}  # noqa: E731
    done = run(method, loader, eval_every=1, curve=nothing, select="best_on_test")
    assert done.epoch == 4 and "last weights kept" in capsys.readouterr().err


def test_best_on_test_keeps_the_best_point() -> None:
    method = make_method()

    class Ending(TinyLoader):
        """The last epoch ruins the network."""

        def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
            if epoch == 3:
                method.heads["depth"].bias.data.add_(100.0)
            return super().epoch(epoch)

    loader = Ending()
    done = run(method, loader, eval_every=1, curve=curve(method, loader), select="best_on_test")
    assert done.epoch < 4
    chosen = done.history[done.epoch - 1]["metrics"]["test"]
    assert evaluate(method, loader.batches) == chosen
    with pytest.raises(ValueError, match="eval_every"):
        run(make_method(), select="best_on_test")


# --- what must stop a run ------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 5])
def test_a_loss_that_is_not_finite_names_term_epoch_step_and_images(every, monkeypatch) -> None:
    class Broken(TinyMethod):
        def training_step(self, *views: Batch, progress: float) -> Terms:
            terms = super().training_step(*views, progress=progress)
            if 20 in views[0].index:
                terms["depth"] = terms["depth"] * float("nan")
            return terms

    losses = engine.EpochLosses  # a GPU looks at its losses only every so many steps
    monkeypatch.setattr(engine, "EpochLosses", lambda epoch, **_: losses(epoch, every))
    order = torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist()
    expected = rf"'depth'.*nan in epoch 1, step {order.index(2) + 1}, images \[20, 21\]"
    torch.manual_seed(0)
    with pytest.raises(NonFiniteLoss, match=expected):
        run(Broken())


def test_weights_that_are_not_finite_stop_the_run() -> None:
    class Exploding(TinyMethod):
        def after_step(self) -> None:
            with torch.no_grad():
                self.heads["depth"].bias.fill_(float("inf"))

    with pytest.raises(NonFiniteLoss, match=r"heads\.depth\.bias.*epoch 1"):
        run(Exploding(), TinyLoader(1))


# --- checkpoints ---------------------------------------------------------------------------------


def all_settings(method: Method, loader: TinyLoader) -> dict:
    return {
        "epochs": 12,
        "schedule": "cosine",
        "schedule_args": {"warmup": 0.1},
        "average_last": 0.6,
        "accumulate": 2,
        "clip": 0.5,
        "eval_every": 2,
        "curve": curve(method, loader),
        "select": "best_on_test",
    }


def train_in(folder: str, pause: float = 0.0) -> None:
    """What the killed process runs, from this file."""
    method, loader = make_method(), TinyLoader(pause=pause)
    run(method, loader, folder=Path(folder), save_every=0.0, **all_settings(method, loader))
    files.save_weights(method, Path(folder) / "weights.safetensors")


def is_newer(path: Path, moment: float) -> bool:
    return path.exists() and path.stat().st_mtime > moment


@pytest.fixture
def every_epoch(monkeypatch) -> None:
    monkeypatch.setattr(files, "SAVING_SHARE", 1e6)


def train_under_fire(folder: str, seed: int) -> None:
    """Trains in child processes, of which two are killed at a random moment."""
    files.SAVING_SHARE = 1e6  # a checkpoint after every epoch
    chance, kills = random.Random(seed), 2
    while True:
        began = time.time()
        child = os.fork()
        if child == 0:
            train_in(folder, pause=0.01)
            os._exit(0)
        while not is_newer(Path(folder) / "log.jsonl", began):
            time.sleep(0.002)
        if kills:
            time.sleep(chance.uniform(0, 0.4))
            os.kill(child, signal.SIGKILL)
            kills -= 1
        if os.waitpid(child, 0)[1] == 0:
            return


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path) -> None:
    train_in(str(tmp_path / "whole"))
    folder, seed = tmp_path / "killed", random.randrange(10**6)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_engine; "
    code += "test_engine.train_under_fire(sys.argv[2], int(sys.argv[3]))"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(folder), str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # threads do not survive a fork
    subprocess.run(command, env=environment, check=True, timeout=120)
    whole, resumed = make_method(1), make_method(2)
    files_of = [tmp_path / "whole/weights.safetensors", folder / "weights.safetensors"]
    for method, path in zip((whole, resumed), files_of, strict=True):
        files.load_weights(method, path)
    assert same(whole, resumed), f"chance seed {seed}"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == list(range(1, 13))


def interrupted(folder: Path, epochs: int, **changes) -> dict:
    """A run that stopped after some epochs -> the settings to go on with."""

    class Stopping(TinyLoader):
        def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
            if epoch == epochs:
                raise KeyboardInterrupt
            return super().epoch(epoch)

    settings = {"folder": folder, **changes}
    with pytest.raises(KeyboardInterrupt):
        run(make_method(), Stopping(), **settings)
    return settings


@pytest.mark.parametrize("channels_last", [False, True])
def test_resume_is_exact(tmp_path, every_epoch, channels_last) -> None:
    settings = interrupted(tmp_path, 2, channels_last=channels_last)
    resumed, whole = make_method(5), make_method()
    done = run(resumed, **settings)
    expected = run(whole, channels_last=channels_last)
    assert same(resumed, whole)
    plain = [{k: v for k, v in entry.items() if k != "seconds"} for entry in done.history]
    assert plain == [{k: v for k, v in e.items() if k != "seconds"} for e in expected.history]
    assert len(resumed.seen) == 2 * 3  # the first two epochs were not trained again


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("batches", [3, 4])
def test_resume_inside_an_epoch_is_exact(tmp_path, monkeypatch, batches, accumulate) -> None:
    """Weights, log and history, whatever the epoch had drawn, averaged and measured before."""
    monkeypatch.setattr(files, "SAVING_SHARE", 1e6)

    class Stopping(TinyLoader):
        def epoch(self, epoch: int) -> Iterator[tuple[Batch, ...]]:
            for number, views in enumerate(super().epoch(epoch)):
                if (epoch, number) == (1, batches):
                    raise KeyboardInterrupt
                yield views

    def train(name: str, method: Method, loader: TinyLoader, save_every: float):
        settings = all_settings(method, TinyLoader(6)) | {"epochs": 3, "accumulate": accumulate}
        return run(method, loader, folder=tmp_path / name, save_every=save_every, **settings)

    whole, first, resumed = make_method(), make_method(), make_method(5)
    expected = train("whole", whole, TinyLoader(6), math.inf)
    with pytest.raises(KeyboardInterrupt):
        train("killed", first, Stopping(6), 0.0)
    found = train("killed", resumed, TinyLoader(6), math.inf)
    kept = batches - batches % accumulate  # a state between optimizer steps
    assert len(resumed.seen) == 6 - kept + 6
    assert same(resumed, whole) and found.epoch == expected.epoch

    def plain(history: list[dict]) -> str:
        return json.dumps([{k: v for k, v in e.items() if k != "seconds"} for e in history])

    assert plain(found.history) == plain(expected.history)
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "killed")]
    one, other = ([json.loads(line) for line in log.splitlines()] for log in logs)
    assert plain(one) == plain(other)


def test_states_inside_an_epoch_come_every_five_minutes(tmp_path, monkeypatch) -> None:
    clock = itertools.count(0, 60)  # a minute between looks at the clock
    monkeypatch.setattr(files.time, "perf_counter", lambda: next(clock))
    every = inspect.signature(fit).parameters["save_every"].default
    checkpoints = files.Checkpoints(tmp_path, {})
    assert [checkpoints.due(every) for _ in range(7)] == [False] * 5 + [True] * 2


def test_a_folder_of_another_run_is_refused(tmp_path, every_epoch) -> None:
    settings = interrupted(tmp_path, 2)
    with pytest.raises(ValueError, match="use another folder"):
        run(make_method(), **settings, lr=0.5)


def test_two_checkpoints_are_kept(tmp_path, every_epoch) -> None:
    run(make_method(), folder=tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "epoch-00003", "epoch-00004"]  # fmt: skip


def test_checkpoints_are_skipped_where_they_would_cost_too_much(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "SAVING_SHARE", 1e-9)
    run(make_method(), folder=tmp_path)
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["epoch-00004"]


def test_the_first_checkpoint_waits_until_seconds_are_at_stake(tmp_path, monkeypatch) -> None:
    clock = iter(range(0, 1000, 4))  # four seconds an epoch, and a save takes as long
    monkeypatch.setattr(files.time, "perf_counter", lambda: next(clock))
    checkpoints = files.Checkpoints(tmp_path, {})
    assert [checkpoints.due() for _ in range(4)] == [False, False, True, True]
    checkpoints.save(4, 0, {}, {}, {})
    assert [checkpoints.due() for _ in range(12)] == [False] * 10 + [True] * 2


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, change_a_byte, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "manifest.json"])
@pytest.mark.parametrize("which", ["the newest", "both"])
def test_damage_is_named_and_repaired(tmp_path, every_epoch, capsys, damage, name, which) -> None:
    settings = interrupted(tmp_path, 2)
    for epoch in ("00002",) if which == "the newest" else ("00001", "00002"):
        damage(tmp_path / f"checkpoint/epoch-{epoch}/{name}")
    resumed, whole = make_method(), make_method()
    run(resumed, **settings)
    run(whole)
    said = capsys.readouterr().err
    assert f"epoch-00002/{name}" in said
    assert (f"epoch-00001/{name}" in said) == (which == "both")
    assert same(resumed, whole)
    assert len(resumed.seen) == 3 * (4 if which == "both" else 3)


def test_loading_executes_nothing(tmp_path, every_epoch, capsys) -> None:
    """An optimizer file with a valid checksum but foreign objects in it is refused, and named."""
    settings = interrupted(tmp_path, 1)
    folder = tmp_path / "checkpoint/epoch-00001"
    torch.save({"state": Path("/")}, folder / "optimizer.pt")
    manifest = files.read_json(folder / "manifest.json")
    manifest["files"]["optimizer.pt"] = files.sha256(folder / "optimizer.pt")
    files.write_json(folder / "manifest.json", manifest)
    run(make_method(), **settings)  # from the start, as there is no checkpoint before it
    assert f"{folder / 'optimizer.pt'}: expected plain tensors" in capsys.readouterr().err


def test_a_loader_with_other_views_is_refused() -> None:
    loader = TinyLoader()
    loader.views = 2
    with pytest.raises(ValueError, match="1 views of each image for TinyMethod, got 2"):
        run(make_method(), loader)


def test_the_released_references_are_of_the_tasks_headlines() -> None:
    for (dataset, _), reference in SELECTION.items():
        assert training.Best(find_class(dataset).tasks, reference).reference == reference
