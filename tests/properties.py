"""What must hold for every loss and every method, written once; the test files run it over all.

A *property* takes what it checks and raises ``AssertionError``. None changes its argument:
methods are copied first.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtpsl import papers
from mtpsl.batch import Batch, Discovered
from mtpsl.methods import Method, Teacher, Terms
from mtpsl.metrics import Metric
from mtpsl.models import MultiTaskNet, build_backbone
from mtpsl.report.results import column_of
from mtpsl.report.tables import Table
from mtpsl.tasks import (
    Loss,
    Task,
    TaskSet,
    depth,
    edges,
    human_parts,
    inverse_depth,
    normals,
    saliency,
    semseg,
)

TASKS = TaskSet((semseg(("floor", "wall", "chair", "table", "lamp")), depth(), normals()))
EVERY_TASK = {  # in every variant
    "semseg": TASKS["semseg"],
    "depth": TASKS["depth"],
    "inverse depth": inverse_depth(),
    "normals": TASKS["normals"],
    "normals l1": normals("l1", weight=10),
    "human parts": human_parts(weight=2),
    "saliency": saliency(weight=5),
    "saliency max_f": saliency("max_f"),
    "edges": edges(weight=50),
}

Gradients = dict[str, Tensor]


# --- material ---------------------------------------------------------------------------------


def random_target(task: Task, images: int, side: int, generator: torch.Generator) -> Tensor:
    """A plausible target without holes."""
    shape = (images, task.target_channels, side, side)
    if task.kind == "classes":
        return torch.randint(0, task.channels, shape, generator=generator)
    if task.kind == "positive":
        return 0.5 + 5 * torch.rand(shape, generator=generator)
    if task.kind == "binary":
        return (torch.rand(shape, generator=generator) < 0.3).float()
    return F.normalize(torch.randn(shape, generator=generator), dim=1)


def random_prediction(task: Task, images: int, side: int, generator: torch.Generator) -> Tensor:
    return task.activate(torch.randn(images, task.channels, side, side, generator=generator))


def random_mask(images: int, side: int, generator: torch.Generator) -> Tensor:
    """(images, 1, side, side), one pixel in ten False."""
    return torch.rand(images, 1, side, side, generator=generator) > 0.1


def windows(images: int, side: int, size: int) -> Tensor:
    """(images, 1, side, side) int64, square regions of that many pixels a side."""
    row = torch.arange(side) // size
    return (row.view(-1, 1) * (side // size) + row).repeat(images, 1, 1, 1)


def random_batch(
    tasks: TaskSet = TASKS,
    *,
    images: int = 4,
    side: int = 32,
    labeled: dict[str, Tensor] | None = None,
    seed: int = 0,
) -> Batch:
    """A batch with holes; by default image i keeps only the label of task i modulo K."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(images)
    if labeled is None:
        labeled = {t.name: index % len(tasks) == k for k, t in enumerate(tasks)}
    batch = Batch(
        images=torch.rand(images, 3, side, side, generator=generator),
        targets={t.name: random_target(t, images, side, generator) for t in tasks},
        valid={
            t.name: random_mask(images, side, generator) & labeled[t.name].view(-1, 1, 1, 1)
            for t in tasks
        },
        labeled=labeled,
        index=index,
        regions=windows(images, side, side // 4),
    )
    missing = {t.name: t.fill_missing(batch.targets[t.name]) for t in tasks}
    targets = {n: torch.where(batch.mask(n), batch.targets[n], missing[n]) for n in tasks.names}
    return replace(batch, targets=targets)


def build_net(name: str, tasks: TaskSet, width_factor: float = 1.0, **args: Any) -> MultiTaskNet:
    """A backbone of that name with a head for each task."""
    return MultiTaskNet(build_backbone(name, width_factor, **args), tasks)


def backbone_for(method: str) -> str:
    """A backbone that a method can have: prompts need a transformer, all else takes the SegNet."""
    return "vit_base" if method in ("task_prompter", "tsp") else "segnet"


def discovered_by(teacher: Teacher, batch: Batch) -> Discovered:
    """What a teacher finds on the batch's images, without what has a label (``Discovered``)."""
    with torch.no_grad():
        found = copy.deepcopy(teacher).eval().discover(batch.images, {})
    return found.withhold(batch)


def rewrite_withheld(batch: Batch, tasks: TaskSet = TASKS, seed: int = 1) -> Batch:
    """The same batch, but with plausible values wherever no value may be looked at."""
    junk = random_batch(
        tasks,
        images=len(batch),
        side=batch.images.shape[-1],
        labeled={n: torch.ones(len(batch), dtype=torch.bool) for n in tasks.names},
        seed=seed,
    ).targets
    targets = {n: torch.where(batch.mask(n), m, junk[n]) for n, m in batch.targets.items()}
    found = batch.discovered
    if found is not None:
        rewritten = {n: torch.where(found.valid[n], m, junk[n]) for n, m in found.targets.items()}
        found = replace(found, targets=rewritten)
    return replace(batch, targets=targets, discovered=found)


def relabeled(batch: Batch, tasks: TaskSet = TASKS) -> Batch:
    """The same images with other labels, in the same pixels."""
    generator, side = torch.Generator().manual_seed(9), batch.images.shape[-1]
    other = {t.name: random_target(t, len(batch), side, generator) for t in tasks}
    targets = {n: torch.where(batch.mask(n), other[n], m) for n, m in batch.targets.items()}
    return replace(batch, targets=targets)


def without_labels(batch: Batch, rows: Tensor, tasks: TaskSet = TASKS) -> Batch:
    """The same batch, but images where ``rows`` (B,) is set have no supervision of any kind."""
    keep = ~rows.view(-1, 1, 1, 1)
    missing = {t.name: t.fill_missing(batch.targets[t.name]) for t in tasks}
    found = batch.discovered
    if found is not None:
        found = replace(
            found,
            targets={n: torch.where(keep, m, missing[n]) for n, m in found.targets.items()},
            valid={n: m & keep for n, m in found.valid.items()},
            confidence={n: m * keep for n, m in found.confidence.items()},
        )
    return replace(
        batch,
        targets={n: torch.where(keep, m, missing[n]) for n, m in batch.targets.items()},
        valid={n: m & keep for n, m in batch.valid.items()},
        labeled={n: m & ~rows for n, m in batch.labeled.items()},
        discovered=found,
    )


def permuted(batch: Batch, order: Tensor) -> Batch:
    def rows(maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return {n: m[order] for n, m in maps.items()}

    found = batch.discovered
    return replace(
        batch,
        images=batch.images[order],
        targets=rows(batch.targets),
        valid=rows(batch.valid),
        labeled=rows(batch.labeled),
        index=batch.index[order],
        regions=batch.regions[order],
        discovered=found
        and Discovered(*map(rows, (found.targets, found.valid, found.features, found.confidence))),
    )


def take_turns(method: Method, *views: Batch) -> Terms:
    """The terms of every turn, whose gradients add up; one batch is every view."""
    terms = {}
    for turn in range(method.turns):
        method.turn = turn
        mine = method.training_step(*views * (method.views // len(views)), progress=0.5)
        torch.stack(list(mine.values())).sum().backward()
        terms |= mine
    return terms


def step(method: Method, *views: Batch) -> tuple[Terms, Gradients]:
    """Terms and gradients of one training step, taken by a copy of the method.

    One batch is every view. A parameter without gradient is reported as zeros.
    """
    method = copy.deepcopy(method).train()
    torch.manual_seed(0)
    terms = take_turns(method, *views)
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in method.named_parameters()
        if p.requires_grad
    }
    return {name: term.detach() for name, term in terms.items()}, gradients


# --- losses -----------------------------------------------------------------------------------


def loss_and_gradient(
    loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """(B,) and the gradient of its sum in the prediction."""
    prediction = prediction.detach().requires_grad_()
    value = loss(prediction, target, mask)
    (gradient,) = torch.autograd.grad(value.sum(), prediction)
    return value.detach(), gradient


def assert_loss_ignores_masked_targets(
    loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor, missing: float
) -> None:
    """What stands outside the mask, NaN included, changes neither the value nor the gradient."""
    expected = loss_and_gradient(loss, prediction, target, mask)
    hidden = target.masked_fill(~mask, missing)
    value, gradient = loss_and_gradient(loss, prediction, hidden, mask)
    assert value.isfinite().all() and gradient.isfinite().all(), "a hidden target made it NaN"
    assert torch.equal(value, expected[0]), "a hidden target changed the loss"
    assert torch.equal(gradient, expected[1]), "a hidden target changed the gradient"
    assert not gradient.masked_select(~mask).any(), "a hidden pixel has a gradient"
    assert gradient.any(), "no pixel has a gradient"


def assert_loss_of_nothing_is_zero(
    loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor, missing: float
) -> None:
    """An image without usable pixels has loss 0 and gradient 0; its neighbors keep theirs."""
    expected = loss_and_gradient(loss, prediction, target, mask)
    empty = mask.clone()
    empty[0] = False
    target = target.masked_fill(~empty, missing)
    value, gradient = loss_and_gradient(loss, prediction, target, empty)
    assert value[0] == 0 and not gradient[0].any(), "an empty mask did not give exactly 0"
    assert torch.equal(value[1:], expected[0][1:]), "an empty mask changed another image"
    assert torch.equal(gradient[1:], expected[1][1:]), "an empty mask changed another image"


def assert_loss_is_per_image(loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
    """An image's loss does not depend on its neighbors."""
    whole = loss(prediction, target, mask)
    half = len(prediction) // 2
    parts = [
        loss(prediction[rows], target[rows], mask[rows])
        for rows in (slice(half), slice(half, None))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def assert_loss_halves_sum_to_the_whole(
    loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor
) -> None:
    """An image's loss is the mean over its usable pixels."""
    whole = loss(prediction, target, mask)
    left = mask.clone()
    left[..., mask.shape[-1] // 2 :] = False
    pixels = [part.sum(dim=(1, 2, 3)) for part in (left, mask & ~left)]
    total = sum(
        loss(prediction, target, part) * count
        for part, count in zip((left, mask & ~left), pixels, strict=True)
    )
    torch.testing.assert_close(total / sum(pixels), whole)


# --- metrics ----------------------------------------------------------------------------------


def measured(metric: Metric, *maps: Tensor) -> dict[str, float]:
    metric.update(*maps)
    return metric.compute()


def assert_metric_ignores_batch_size(
    fresh: Callable[[], Metric], prediction: Tensor, target: Tensor, mask: Tensor
) -> None:
    """Batches of any size, in any order, add up to the same result."""
    whole = measured(fresh(), prediction, target, mask)
    for size in (1, 3):
        metric = fresh()
        batches = list(zip(*(m.split(size) for m in (prediction, target, mask)), strict=True))
        for batch in reversed(batches):
            metric.update(*batch)
        found = metric.compute()
        close = {k: math.isclose(found[k], whole[k], rel_tol=1e-12) for k in whole}
        assert all(close.values()), f"batches of {size}: {found}, at once: {whole}"


def assert_metric_ignores_masked_pixels(
    fresh: Callable[[], Metric], prediction: Tensor, target: Tensor, mask: Tensor
) -> None:
    expected = measured(fresh(), prediction, target, mask)
    hidden = math.nan if target.is_floating_point() else -7
    for fill in (math.nan, 100.0):
        maps = prediction.masked_fill(~mask, fill), target.masked_fill(~mask, hidden)
        assert measured(fresh(), *maps, mask) == expected, "a masked pixel counted"


def assert_metric_of_nothing_is_nan(
    fresh: Callable[[], Metric], prediction: Tensor, target: Tensor, mask: Tensor
) -> None:
    unseen = fresh().compute()
    masked = measured(fresh(), prediction, target, torch.zeros_like(mask))
    assert unseen.keys() == masked.keys()
    values = [*unseen.values(), *masked.values()]
    assert all(math.isnan(value) for value in values), f"a result out of nothing: {values}"


def assert_metric_of_nan_is_nan(
    fresh: Callable[[], Metric], prediction: Tensor, target: Tensor, mask: Tensor
) -> None:
    """One NaN inside the mask spoils everything: a broken network must not score well."""
    image, _, row, column = mask.nonzero()[len(mask)].tolist()
    prediction = prediction.clone()
    prediction[image, 0, row, column] = math.nan
    result = measured(fresh(), prediction, target, mask)
    assert all(math.isnan(value) for value in result.values()), f"NaN went unseen: {result}"


# --- methods ----------------------------------------------------------------------------------


def assert_terms_are_finite_scalars(method: Method, batch: Batch) -> None:
    terms, gradients = step(method, batch)
    assert terms, "no term at all"
    for name, term in terms.items():
        assert term.shape == () and term.is_floating_point(), f"{name} is no scalar: {term}"
        assert term.isfinite(), f"{name} is {term}"
    broken = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
    assert not broken, f"gradients are not finite: {broken}"


def assert_withheld_labels_never_reach_gradient(method: Method, batch: Batch) -> None:
    """Rewriting them, or what the teacher was not sure of, changes no bit of a training step."""
    terms, gradients = step(method, batch)
    other_terms, other_gradients = step(method, rewrite_withheld(batch, method.tasks))
    for name, term in terms.items():
        assert torch.equal(term, other_terms[name]), f"withheld labels reach the term {name}"
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), f"withheld labels make the gradient of {name} NaN"
        same = torch.equal(gradient, other_gradients[name])
        assert same, f"withheld labels reach the gradient of {name}"


def assert_empty_mask_gives_zero(method: Method, batch: Batch) -> None:
    """Without any supervision every term is exactly 0, and so is every gradient."""
    everything = torch.ones(len(batch), dtype=torch.bool)
    terms, gradients = step(method, without_labels(batch, everything, method.tasks))
    for name, term in terms.items():
        assert term == 0, f"{name} is {float(term)} without supervision"
    moved = [name for name, gradient in gradients.items() if gradient.any()]
    assert not moved, f"parameters move without supervision: {moved}"


def assert_unlabeled_images_have_no_gradient(method: Method, batch: Batch) -> None:
    """Where BatchNorm cannot mix images, an image without supervision teaches nothing."""
    rows = torch.arange(len(batch)) == 1
    batch = without_labels(batch, rows, method.tasks)
    batch = replace(batch, images=batch.images.clone().requires_grad_())
    take_turns(copy.deepcopy(method).eval(), batch)
    reached = batch.images.grad.flatten(1).any(dim=1)
    assert reached.tolist() == (~rows).tolist(), f"gradient by image: {reached.tolist()}"


def assert_batch_order_does_not_matter(method: Method, batch: Batch) -> None:
    """Up to rounding. Terms only: a last bit can move a maximum, and with it a gradient."""
    terms, _ = step(method, batch)
    order = torch.arange(len(batch)).flip(0)
    other_terms, _ = step(method, permuted(batch, order))
    torch.testing.assert_close(other_terms, terms, rtol=1e-4, atol=1e-6)


def assert_every_parameter_in_one_group(method: Method) -> None:
    listed = [id(p) for group in method.param_groups(1e-3) for p in group["params"]]
    names = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    assert len(listed) == len(set(listed)), "a parameter is in two groups"
    left_out = [name for key, name in names.items() if key not in listed]
    assert not left_out, f"parameters in no group: {left_out}"
    assert set(listed) <= names.keys(), "a group holds a parameter that the method does not train"
    assert all(group["lr"] > 0 for group in method.param_groups(1e-3)), "a group without lr"


def assert_every_parameter_learns(method: Method, batch: Batch) -> None:
    """With supervision for everything, no trained parameter is without a gradient."""
    method = copy.deepcopy(method).train()
    take_turns(method, batch)
    idle = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"parameters that no term reaches: {idle}"


AUXILIARY = ("maps", "discriminator")  # terms that train other networks than the tasks'


def assert_every_term_teaches_the_network(method: Method, batch: Batch) -> None:
    """Each term alone, unless it is 0, reaches the parameters that all tasks share."""
    method = copy.deepcopy(method).train()
    for turn in range(method.turns):
        method.turn = turn
        terms = method.training_step(*[batch] * method.views, progress=0.5)
        for name, term in terms.items():
            if term == 0 or name in AUXILIARY:
                continue
            shared = method.shared_parameters()
            found = torch.autograd.grad(term, shared, retain_graph=True, allow_unused=True)
            assert any(g is not None and g.any() for g in found), f"{name} teaches nothing"


def assert_views_teach_what_they_should(method: Method, batch: Batch) -> None:
    """The tasks' own terms read the labels of the first view, all others those of the last."""
    other = relabeled(batch, method.tasks)
    terms, _ = step(method, batch, batch)
    first, _ = step(method, other, batch)
    last, _ = step(method, batch, other)
    for name, term in terms.items():
        own, reads = name in method.tasks.names, name != "consistency"  # which needs no label
        assert torch.equal(first[name], term) != own, f"{name} and the labels of the first view"
        changed = not torch.equal(last[name], term)
        assert changed == (reads and not own), f"{name} and the labels of the last view"


def options(method: Method) -> nn.Module:
    """Where a method keeps its options: itself, or the loss that it is a thin user of."""
    return getattr(method, "loss", method)


def assert_weight_scales_its_terms(method: Method, batch: Batch) -> None:
    """``weight`` multiplies the terms that a method adds to the tasks' own."""
    terms, _ = step(method, batch)
    method = copy.deepcopy(method)
    options(method).weight *= 2
    doubled, _ = step(method, batch)
    for name, term in terms.items():
        factor = 1 if name in (*method.tasks.names, *AUXILIARY) else 2
        torch.testing.assert_close(doubled[name], factor * term)


def assert_terms_are_means_over_images(method: Method, batch: Batch) -> None:
    """The same images twice in a batch are the same loss."""
    terms, _ = step(method, batch)
    twice, _ = step(method, permuted(batch, torch.arange(len(batch)).repeat(2)))
    torch.testing.assert_close(twice, terms, rtol=1e-3, atol=1e-5)


def assert_deterministic(build: Callable[[], Method], batch: Batch) -> None:
    """Two fresh methods from one seed agree in every bit, before and after a step."""
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        method = build()
        results.append((*step(method, batch), method.eval().predict(batch.images)))
    for first, second in zip(*results, strict=True):
        assert first.keys() == second.keys()
        different = [name for name in first if not torch.equal(first[name], second[name])]
        assert not different, f"same seed, different bits: {different}"


def assert_predictions_suit_metrics(method: Method, batch: Batch) -> None:
    """Every task is predicted, finite, and its metric accepts it."""
    with torch.no_grad():
        predictions = copy.deepcopy(method).eval().predict(batch.images)
    assert tuple(predictions) == method.tasks.names
    for task in method.tasks:
        prediction = predictions[task.name]
        assert prediction.dtype == torch.float32 and prediction.isfinite().all(), task.name
        metric = task.metric()
        metric.update(prediction, batch.targets[task.name], batch.mask(task.name))
        result = metric.compute()
        assert result.keys() >= set(task.columns), f"{task.name} lacks {task.columns}"
        assert not any(value != value for value in result.values()), result


def assert_images_are_predicted_alone(method: Method, batch: Batch) -> None:
    """At evaluation, an image's prediction does not depend on its neighbors, up to rounding."""
    method = copy.deepcopy(method).eval()
    with torch.no_grad():
        together, alone = method.predict(batch.images), method.predict(batch.images[1:2])
    for name, prediction in alone.items():
        torch.testing.assert_close(prediction[0], together[name][1], rtol=1e-3, atol=1e-4)


def assert_weights_say_everything(
    trained: Method, build: Callable[[], Method], batch: Batch
) -> None:
    """A fresh method that loads another's ``state_dict`` predicts the same: nothing is outside."""
    torch.manual_seed(99)
    fresh = build()
    fresh.load_state_dict(trained.state_dict())
    with torch.no_grad():
        found = fresh.eval().predict(batch.images)
        expected = copy.deepcopy(trained).eval().predict(batch.images)
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert not different, f"predictions that the weights do not decide: {different}"


def assert_prepare_sees_only_labels(build: Callable[[], Method], batch: Batch) -> None:
    """What is found before training does not depend on withheld labels."""
    states = []
    for batches in ([batch], [rewrite_withheld(batch)]):
        torch.manual_seed(0)
        method = build()
        method.prepare(batches)
        states.append(method.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), f"withheld labels reach {name}"


def assert_teacher_keeps_the_contract(teacher: Teacher, batch: Batch) -> None:
    """Pseudo labels look like labels, and a threshold only ever removes some of them."""
    teacher = copy.deepcopy(teacher).eval()
    everything = teacher.discover(batch.images, {})
    strict = teacher.discover(batch.images, dict.fromkeys(teacher.tasks.names, 1.0))
    assert tuple(everything.targets) == tuple(everything.valid) == teacher.tasks.names
    for task in teacher.tasks:
        target, valid = everything.targets[task.name], everything.valid[task.name]
        like = batch.targets[task.name]
        assert (target.shape, target.dtype) == (like.shape, like.dtype), task.name
        assert not target.requires_grad
        assert valid.shape == (len(batch), 1, *like.shape[2:]) and valid.dtype == torch.bool
        assert valid.all(), f"{task.name}: not every pixel passes without a threshold"
        if task.kind == "classes":
            assert not strict.valid[task.name].any(), f"{task.name}: confidence above 1"
    assert everything.features.keys() == everything.confidence.keys()
    for name, confidence in everything.confidence.items():
        features = everything.features[name]
        assert confidence.shape == (len(batch), 1, *features.shape[2:])
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert not features.requires_grad and not confidence.requires_grad


def assert_table_is_complete(table: Table) -> None:
    """Rows have their numbers and say why they do not run; sentences are about rows and columns."""
    assert papers.tables()[table.key] is table
    assert len({row.name for row in table.rows}) == len(table.rows)
    for row in table.rows:
        assert len(row.printed) == len(table.columns)
        assert bool(row.experiments) != bool(row.why_not_run)
        assert row.name.lower() == f"{row.group}/{row.label}".strip("/").lower()
    for column in table.columns:
        assert column_of(column).label
    for claim in table.claims:
        assert set(claim.columns) <= set(table.columns)
        assert table.row(claim.better) != table.row(claim.worse)
    assert len({claim.text for claim in table.claims}) == len(table.claims)
