"""The contract of a method, over all of ``papers.methods()``; a new one is covered at once."""

import copy
import itertools
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from properties import (
    TASKS,
    assert_batch_order_does_not_matter,
    assert_deterministic,
    assert_empty_mask_gives_zero,
    assert_every_parameter_in_one_group,
    assert_every_parameter_learns,
    assert_every_term_teaches_the_network,
    assert_images_are_predicted_alone,
    assert_predictions_suit_metrics,
    assert_prepare_sees_only_labels,
    assert_teacher_keeps_the_contract,
    assert_terms_are_finite_scalars,
    assert_terms_are_means_over_images,
    assert_unlabeled_images_have_no_gradient,
    assert_views_teach_what_they_should,
    assert_weight_scales_its_terms,
    assert_weights_say_everything,
    assert_withheld_labels_never_reach_gradient,
    backbone_for,
    discovered_by,
    options,
    random_batch,
)
from torch import Tensor, nn

from mtpsl import papers
from mtpsl.batch import Batch, Discovered
from mtpsl.methods import Method, Teacher, Terms
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet, normals

# Methods that learn from a teacher, with the arguments that make them do so.
STUDENTS: dict[str, dict[str, Any]] = {
    "supervised": {"pseudo_labels": True},
    "hitts": {"pseudo_labels": True, "pseudo_features": True},
}
CASES = {name: (name, {}) for name in papers.methods()}
CASES |= {f"{name}, second stage": (name, args) for name, args in STUDENTS.items()}
EVERY_CASE = pytest.mark.parametrize("case", CASES)
ALL_SIX = torch.ones(6, dtype=torch.bool)
FULL = {name: torch.ones(4, dtype=torch.bool) for name in TASKS.names}


def build(case: str) -> Method:
    """Without ``prepare``; weights from the global generator."""
    name, args = CASES[case]
    return build_method(name, TASKS, backbone_for(name), 0.125, args)


@cache
def prepared(case: str) -> Method:
    """Shared by the tests: properties copy it before they touch it."""
    torch.manual_seed(0)
    method = build(case)
    method.prepare([random_batch(images=6)])
    return method


def cases_with(option: str) -> list[str]:
    return [case for case in CASES if hasattr(options(prepared(case)), option)]


def batch_for(case: str, **args: Any) -> Batch:
    """With a teacher's discoveries where the case is a second stage."""
    batch = random_batch(**args)
    name, method_args = CASES[case]
    if not method_args:
        return batch
    return replace(batch, discovered=discovered_by(prepared(name), batch))


def test_students_exist() -> None:
    assert STUDENTS.keys() <= papers.methods().keys()


@EVERY_CASE
def test_terms_are_finite_scalars(case: str) -> None:
    assert_terms_are_finite_scalars(prepared(case), batch_for(case))


@EVERY_CASE
def test_withheld_labels_never_reach_gradient(case: str) -> None:
    assert_withheld_labels_never_reach_gradient(prepared(case), batch_for(case))


# Methods that learn from images alone: ``test_tpkr`` says what no label teaches them.
NEEDS_LABELS = pytest.mark.parametrize("case", [case for case in CASES if case != "tpkr"])


@NEEDS_LABELS
def test_empty_mask_gives_zero(case: str) -> None:
    assert_empty_mask_gives_zero(prepared(case), batch_for(case))


@NEEDS_LABELS
def test_unlabeled_images_have_no_gradient(case: str) -> None:
    assert_unlabeled_images_have_no_gradient(prepared(case), batch_for(case))


@EVERY_CASE
def test_batch_order_does_not_matter(case: str) -> None:
    assert_batch_order_does_not_matter(prepared(case), batch_for(case))


@EVERY_CASE
def test_every_parameter_in_one_group(case: str) -> None:
    assert_every_parameter_in_one_group(prepared(case))


@EVERY_CASE
def test_every_parameter_learns(case: str) -> None:
    assert_every_parameter_learns(prepared(case), batch_for(case, labeled=FULL))


@EVERY_CASE
def test_every_term_teaches_the_network(case: str) -> None:
    assert_every_term_teaches_the_network(prepared(case), batch_for(case, images=6))


@pytest.mark.parametrize("case", [c for c in CASES if papers.methods()[CASES[c][0]].views > 1])
def test_views_teach_what_they_should(case: str) -> None:
    assert_views_teach_what_they_should(prepared(case), batch_for(case, images=6))


@pytest.mark.parametrize("case", cases_with("weight"))
@pytest.mark.parametrize("labeled", [None, FULL], ids=["one label", "every label"])
def test_weight_scales_its_terms(case: str, labeled: dict[str, Tensor] | None) -> None:
    assert_weight_scales_its_terms(prepared(case), batch_for(case, labeled=labeled))


@pytest.mark.parametrize("case", cases_with("per_image_mean"))
@pytest.mark.parametrize("labels", [1, 3])
def test_per_image_mean_divides_as_printed(case: str, labels: int) -> None:
    """[XTC, Eq. 1 to 4]: by |T_n| labels, and by |U_n| tasks without; all three where all have."""
    batch = batch_for(case, images=6, labeled=None if labels == 1 else dict.fromkeys(FULL, ALL_SIX))
    method = copy.deepcopy(prepared(case)).train()
    found = []
    for options(method).per_image_mean in (False, True):
        terms = {}
        for turn in range(method.turns):
            method.turn = turn
            torch.manual_seed(1)
            terms |= method.training_step(*[batch] * method.views, progress=0.5)
        found.append(terms)
    plain, divided = found
    assert plain.keys() == divided.keys()
    for name, term in plain.items():
        of_a_label = name in TASKS.names
        by = labels if of_a_label else {1: 2, 3: 3}[labels]
        if not name.endswith("_pseudo"):
            torch.testing.assert_close(divided[name], term / by, rtol=2e-3, atol=1e-6)
    assert sum(plain.values()) > 0


COMPARE_IMAGES = ("contrastive", "discriminator")  # with each other, so a copy matters


@pytest.mark.parametrize("case", [c for c in CASES if c not in COMPARE_IMAGES])
def test_terms_are_means_over_images(case: str) -> None:
    assert_terms_are_means_over_images(prepared(case), batch_for(case))


@EVERY_CASE
def test_same_seed_same_bits(case: str) -> None:
    def fresh() -> Method:
        method = build(case)
        method.prepare([random_batch(images=6)])
        return method

    assert_deterministic(fresh, batch_for(case))


@EVERY_CASE
def test_predictions_suit_metrics(case: str) -> None:
    assert_predictions_suit_metrics(prepared(case), random_batch())


@EVERY_CASE
def test_images_are_predicted_alone(case: str) -> None:
    assert_images_are_predicted_alone(prepared(case), random_batch())


@EVERY_CASE
def test_weights_say_everything(case: str) -> None:
    """Bins and centers included: a loaded method needs no ``prepare``."""
    assert_weights_say_everything(prepared(case), lambda: build(case), random_batch())


@EVERY_CASE
def test_prepare_sees_only_labels(case: str) -> None:
    assert_prepare_sees_only_labels(lambda: build(case), random_batch(images=6))


@EVERY_CASE
def test_one_task_suffices(case: str) -> None:
    """Single-task rows are the same class with one task."""
    name, args = CASES[case]
    for task in TASKS:
        only = TASKS.subset((task.name,))
        torch.manual_seed(0)
        method = build_method(name, only, backbone_for(name), 0.125, args)
        batch = random_batch(only)
        method.prepare([batch])
        if args:
            batch = replace(batch, discovered=discovered_by(method, batch))
        assert_terms_are_finite_scalars(method, batch)


@pytest.mark.parametrize("name", STUDENTS)
def test_student_without_a_teacher_is_refused(name: str) -> None:
    method = copy.deepcopy(prepared(f"{name}, second stage")).train()
    with pytest.raises(ValueError, match="give the experiment a teacher"):
        method.training_step(random_batch(), progress=0.0)


@pytest.mark.parametrize("name", STUDENTS)
def test_teacher_keeps_the_contract(name: str) -> None:
    assert isinstance(prepared(name), Teacher)
    assert_teacher_keeps_the_contract(prepared(name), random_batch())


def test_unknown_method_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="method: expected .* did you mean 'hitts'"):
        build_method("hits", TASKS)


# --- the properties can fail ------------------------------------------------------------------


class Broken(Method):
    """Everything a method can get wrong, one defect at a time."""

    def __init__(self, defect: str) -> None:
        super().__init__()
        self.tasks, self.defect = TASKS.subset(("depth",)), defect
        self.net, self.idle = nn.Conv2d(3, 1, 1), nn.Linear(1, 1)
        self.bias = 0.0  # not a buffer

    def training_step(self, *views: Batch, progress: float) -> Terms:
        (batch,) = views
        (task,) = self.tasks
        prediction, target = self.net(batch.images), batch.targets["depth"]
        mask = batch.mask("depth")
        match self.defect:
            case "looks at withheld labels":
                mask = ~target.isnan()
            case "punishes unlabeled images":
                return {"depth": prediction.abs().mean()}
            case "masks too late":
                error = torch.where(mask, (prediction - target).square(), 0.0)
                return {"depth": error.mean()}
            case "weighs by position":
                weight = torch.arange(len(batch)).to(prediction)
                return {"depth": (weight * task.loss(prediction, target, mask)).mean()}
            case "is random":
                prediction = prediction + next(COUNTER)
        return {"depth": task.loss(prediction, target, mask).mean()}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        prediction = self.net(images) + self.bias
        return {"depth": prediction + (prediction.mean() if "neighbors" in self.defect else 0)}

    def prepare(self, batches: list[Batch]) -> None:
        self.bias = 5.0

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        groups = [{"params": list(self.net.parameters()), "lr": lr}]
        return groups * 2 if self.defect == "lists twice" else groups


COUNTER = itertools.count()  # state that no seed controls


def broken_batch() -> Batch:
    return random_batch(TASKS.subset(("depth",)), labeled={"depth": torch.arange(4) != 1})


@pytest.mark.parametrize(
    ("defect", "prove", "says"),
    [
        ("looks at withheld labels", assert_withheld_labels_never_reach_gradient, "reach the term"),
        ("masks too late", assert_withheld_labels_never_reach_gradient, "reach the|NaN"),
        ("punishes unlabeled images", assert_empty_mask_gives_zero, "without supervision"),
        ("punishes unlabeled images", assert_unlabeled_images_have_no_gradient, "by image"),
        ("weighs by position", assert_batch_order_does_not_matter, "not close"),
        ("leaves one out", lambda m, b: assert_every_parameter_in_one_group(m), "in no group"),
        ("lists twice", lambda m, b: assert_every_parameter_in_one_group(m), "in two groups"),
        ("never trains one", assert_every_parameter_learns, "no term reaches.*idle"),
        ("looks at neighbors", assert_images_are_predicted_alone, "not close"),
        ("is random", lambda m, b: assert_deterministic(lambda: m, b), "different bits"),
    ],
)
def test_properties_find_seeded_defects(defect: str, prove: Any, says: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=says):
        prove(Broken(defect), broken_batch())


def test_state_outside_the_weights_is_found() -> None:
    torch.manual_seed(0)
    method = Broken("keeps a number to itself")
    method.prepare([broken_batch()])
    with pytest.raises(AssertionError, match="weights do not decide"):
        assert_weights_say_everything(method, lambda: Broken(""), broken_batch())


def test_a_naive_pseudo_label_weighs_like_a_label() -> None:
    tasks = TaskSet((normals("l1", weight=10),))
    torch.manual_seed(0)
    method = build_method("supervised", tasks, "segnet", 0.125, {"pseudo_labels": True}).eval()
    batch = random_batch(tasks, labeled={"normals": torch.ones(4, dtype=torch.bool)})
    same = Discovered(batch.targets, {"normals": batch.mask("normals")}, {}, {})
    terms = method.training_step(replace(batch, discovered=same), progress=0.0)
    torch.testing.assert_close(terms["normals_pseudo"], terms["normals"])
