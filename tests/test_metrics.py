"""Golden values by hand on 2x2 maps, and what must hold for every metric."""

import math

import pytest
import torch
import torch.nn.functional as F
from properties import (
    EVERY_TASK,
    assert_metric_ignores_batch_size,
    assert_metric_ignores_masked_pixels,
    assert_metric_of_nan_is_nan,
    assert_metric_of_nothing_is_nan,
    measured,
    random_mask,
    random_prediction,
    random_target,
)
from torch import Tensor

from mtpsl.losses import IGNORE_INDEX
from mtpsl.metrics import (
    COLUMNS,
    ConfusionMatrix,
    DepthErrors,
    Metric,
    NormalErrors,
    PartsConfusion,
    Saliency,
    best_f,
    delta_mtl,
)
from mtpsl.tasks import Task

NAN = math.nan
FOR_EVERY_TASK = pytest.mark.parametrize("task", EVERY_TASK.values(), ids=EVERY_TASK.keys())


def plane(*values: float) -> Tensor:
    """Four values as a (1, 1, 2, 2) map."""
    return torch.tensor(values).view(1, 1, 2, 2)


def full_mask(images: int = 1, height: int = 2, width: int = 2) -> Tensor:
    return torch.ones(images, 1, height, width, dtype=torch.bool)


def logits_of(*classes: int, num_classes: int = 3) -> Tensor:
    """(1, K, 2, 2) logits whose largest entry is the given class."""
    return F.one_hot(torch.tensor(classes), num_classes).view(1, 2, 2, -1).movedim(3, 1).float()


def random_maps(task: Task, images: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """A prediction, a target and a mask with holes, of 8x8 pixels."""
    generator = torch.Generator().manual_seed(0)
    prediction = random_prediction(task, images, 8, generator)
    return prediction, random_target(task, images, 8, generator), random_mask(images, 8, generator)


def run(metric: Metric, *args: Tensor) -> dict[str, float]:
    return measured(metric, *args)


# --- golden values ----------------------------------------------------------------------------


def test_confusion_matrix_by_hand() -> None:
    metric = ConfusionMatrix(3)
    target = torch.tensor([0, 0, 1, IGNORE_INDEX]).view(1, 1, 2, 2)
    result = run(metric, logits_of(0, 1, 1, 2), target, full_mask())
    # class 0: 1 of 2 in the union; class 1: 1 of 2; class 2: only on the ignored pixel
    assert metric.sums["matrix"].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result == {"miou": 0.5, "pixel_acc": pytest.approx(2 / 3)}


def test_class_that_is_only_predicted_counts_as_zero() -> None:
    result = run(
        ConfusionMatrix(3), logits_of(0, 0, 0, 2), torch.zeros(1, 1, 2, 2).long(), full_mask()
    )
    assert result == {"miou": pytest.approx((3 / 4 + 0) / 2), "pixel_acc": 0.75}


def test_miou_is_pooled_over_images_and_not_averaged() -> None:
    metric = ConfusionMatrix(2)
    truth = torch.zeros(1, 1, 2, 2).long()
    metric.update(logits_of(0, 0, 0, 0, num_classes=2), truth, full_mask())
    metric.update(logits_of(0, 0, 0, 1, num_classes=2), truth + 1, full_mask())
    # class 0: 4 of 7; class 1: 1 of 4
    assert metric.compute()["miou"] == pytest.approx((4 / 7 + 1 / 4) / 2)


def test_depth_by_hand() -> None:
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    result = run(DepthErrors(), plane(1.0, 3.0, 2.0, 9.0), plane(2.0, 1.0, 2.0, NAN), mask)
    assert result["abs_err"] == pytest.approx(1.0)  # (1 + 2 + 0) / 3
    assert result["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert result["rel_err"] == pytest.approx((0.5 + 2.0 + 0.0) / 3)


def test_negative_depth_is_clamped() -> None:
    result = run(DepthErrors(), plane(-5.0, 1.0, 1.0, 1.0), plane(1.0, 1.0, 1.0, 1.0), full_mask())
    assert result["abs_err"] == pytest.approx((1 - 1e-9) / 4, rel=1e-12)


def test_normals_by_hand() -> None:
    angles = torch.tensor([0.0, 10.0, 20.0, 90.0])  # degrees
    radians = angles.deg2rad().view(1, 2, 2)
    prediction = torch.stack([radians.sin(), torch.zeros(1, 2, 2), -radians.cos()], dim=1)
    target = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    result = run(NormalErrors(), prediction, target, full_mask())
    assert result["mean_err"] == pytest.approx(30.0, abs=1e-4)
    assert result["angle_rmse"] == pytest.approx(math.sqrt(8600 / 4), abs=1e-4)
    assert result["within_11_25"] == 0.5
    assert result["within_22_5"] == 0.75
    assert result["within_30"] == 0.75


@pytest.mark.parametrize("length", [1e-3, 0.5, 2.0, 5.0])
def test_length_of_a_predicted_normal_does_not_matter(length: float) -> None:
    prediction, target, mask = random_maps(EVERY_TASK["normals"])
    unit = run(NormalErrors(), F.normalize(prediction, dim=1), target, mask)
    assert run(NormalErrors(), length * prediction, target, mask) == pytest.approx(unit, rel=1e-5)


def test_perfect_normals_are_zero_degrees_off_and_opposite_ones_180() -> None:
    _, target, mask = random_maps(EVERY_TASK["normals"])
    assert run(NormalErrors(), target, target, mask)["mean_err"] < 1e-4
    assert run(NormalErrors(), -target, target, mask)["mean_err"] == pytest.approx(180.0, abs=1e-4)


def test_zero_vector_is_90_degrees_off() -> None:
    _, target, mask = random_maps(EVERY_TASK["normals"])
    result = run(NormalErrors(), torch.zeros_like(target), target, mask)
    assert (result["mean_err"], result["within_30"]) == (90.0, 0.0)


def test_parts_skip_images_without_people() -> None:
    """Image 2 shows no part: that everything there is called a head changes nothing."""
    metric = PartsConfusion(3)
    target = torch.tensor([[0, 0, 1, 2], [0, 0, 0, IGNORE_INDEX], [IGNORE_INDEX] * 4])
    target = target.view(3, 1, 2, 2)
    prediction = torch.cat([logits_of(0, 1, 1, 2), logits_of(1, 1, 1, 1), logits_of(1, 1, 1, 1)])
    # background 1 of 2, part 1: 1 of 2, part 2: 1 of 1
    expected = {"miou": pytest.approx((1 / 2 + 1 / 2 + 1) / 3)}
    assert run(metric, prediction, target, full_mask(3)) == expected
    hidden = full_mask(3)
    hidden[0, 0, 1, 0] = False  # a masked part is no part: here the image keeps another one
    assert run(PartsConfusion(3), prediction, target, hidden)["miou"] == pytest.approx(
        (1 / 2 + 0 + 1) / 3
    )
    hidden[0, 0, 1, 1] = False
    assert math.isnan(run(PartsConfusion(3), prediction, target, hidden)["miou"])


def probabilities(*values: float) -> Tensor:
    return torch.tensor(values).logit().view(-1, 1, 2, 2)


SALIENT = probabilities(0.95, 0.58, 0.52, 0.1, 0.72, 0.1, 0.1, 0.63)  # two images
SALIENT_TRUTH = torch.tensor([1.0, 1, 0, 0, 1, 0, 0, 0]).view(2, 1, 2, 2)


def test_saliency_miou_by_hand() -> None:
    """Mean of two images' IoU at 0.5: (2/3 + 1/2) / 2; 0.55: (1 + 1/2) / 2; 0.6: 1/2;
    0.65 and 0.7: (1/2 + 1) / 2; from 0.75: 1/4."""
    result = run(Saliency("miou"), SALIENT, SALIENT_TRUTH, full_mask(2))
    assert result == {"sal_miou": pytest.approx(0.75)}


def test_saliency_f_by_hand() -> None:
    """At 0.65, two of three found and nothing else: 1.3 P R / (0.3 P + R), P = 1, R = 2/3."""
    result = run(Saliency("max_f"), SALIENT, SALIENT_TRUTH, full_mask(2))
    assert result == {"max_f": pytest.approx(1.3 * (2 / 3) / (0.3 + 2 / 3))}


def test_saliency_f_is_pooled_over_the_split() -> None:
    """Two images' own best F at one threshold would average to another number."""
    both = run(Saliency("max_f"), SALIENT, SALIENT_TRUTH, full_mask(2))["max_f"]
    alone = [
        run(Saliency("max_f"), SALIENT[i : i + 1], SALIENT_TRUTH[i : i + 1], full_mask())["max_f"]
        for i in range(2)
    ]
    assert alone == [1.0, 1.0] and both < 0.9


def test_image_without_salient_pixels() -> None:
    nothing = torch.zeros(1, 1, 2, 2)
    for highest, expected in ((0.1, 1.0), (0.5, 1.0), (0.99, 0.0)):
        prediction = probabilities(highest, 0.1, 0.1, 0.1)
        assert run(Saliency("miou"), prediction, nothing, full_mask()) == {"sal_miou": expected}
    assert math.isnan(run(Saliency("max_f"), prediction, nothing, full_mask())["max_f"])


def test_thresholds_are_the_protocols() -> None:
    assert Saliency("miou").thresholds.tolist() == pytest.approx(
        [0.2 + 0.05 * i for i in range(15)]
    )
    assert Saliency("max_f").thresholds.tolist() == pytest.approx([0.05 * i for i in range(1, 20)])
    with pytest.raises(ValueError, match="measure: expected 'miou' or 'max_f', got 'f'"):
        Saliency("f")


def test_images_without_a_usable_pixel_do_not_count() -> None:
    mask = full_mask(2)
    mask[1] = False
    alone = run(Saliency("miou"), SALIENT[:1], SALIENT_TRUTH[:1], full_mask())
    assert run(Saliency("miou"), SALIENT, SALIENT_TRUTH, mask) == alone


def test_best_f_by_hand() -> None:
    both, predicted = torch.tensor([3.0, 2.0, 0.0]), torch.tensor([12.0, 2.0, 0.0])
    true = torch.full((3,), 4.0)
    assert best_f(both, predicted, true, 1.0) == pytest.approx(2 * 1.0 * 0.5 / 1.5)
    assert best_f(both[:1], predicted[:1], true[:1], 1.0) == pytest.approx(2 * 0.25 * 0.75 / 1.0)
    assert best_f(both[2:], predicted[2:], true[2:], 1.0) == 0.0


# --- properties -------------------------------------------------------------------------------


@FOR_EVERY_TASK
def test_batch_size_does_not_matter(task: Task) -> None:
    assert_metric_ignores_batch_size(task.metric, *random_maps(task))


@FOR_EVERY_TASK
def test_masked_pixels_never_matter(task: Task) -> None:
    assert_metric_ignores_masked_pixels(task.metric, *random_maps(task))


@FOR_EVERY_TASK
def test_nan_prediction_inside_the_mask_makes_everything_nan(task: Task) -> None:
    assert_metric_of_nan_is_nan(task.metric, *random_maps(task))


@FOR_EVERY_TASK
def test_nothing_counted_is_nan(task: Task) -> None:
    assert_metric_of_nothing_is_nan(task.metric, *random_maps(task))


@FOR_EVERY_TASK
def test_reset_forgets_everything(task: Task) -> None:
    maps, others = random_maps(task), random_maps(task, images=3)
    metric = task.metric()
    metric.update(*others)
    metric.reset()
    assert all(math.isnan(value) for value in metric.compute().values())
    metric.update(*maps)
    assert metric.compute() == run(task.metric(), *maps)


@FOR_EVERY_TASK
def test_half_precision_predictions_are_scored_in_full(task: Task) -> None:
    prediction, target, mask = random_maps(task)
    half = prediction.bfloat16()
    expected = run(task.metric(), half.float(), target, mask)
    assert run(task.metric(), half, target, mask) == expected


@FOR_EVERY_TASK
def test_every_result_has_a_column(task: Task) -> None:
    assert task.metric().compute().keys() <= COLUMNS.keys()


@FOR_EVERY_TASK
def test_truth_scores_best(task: Task) -> None:
    """The target itself, as a prediction, reaches the best value of every metric."""
    _, target, mask = random_maps(task)
    prediction = target
    if task.kind == "classes":
        prediction = F.one_hot(target[:, 0], task.channels).movedim(3, 1).float()
    elif task.kind == "binary":
        prediction = 20 * target - 10
    for name, value in run(task.metric(), prediction, target, mask).items():
        best = 1.0 if COLUMNS[name].higher_is_better else 0.0
        assert value == pytest.approx(best, abs=1e-4), name


@FOR_EVERY_TASK
def test_disagreeing_shapes_are_named(task: Task) -> None:
    prediction, target, mask = random_maps(task)
    with pytest.raises(ValueError, match="^prediction: expected"):
        task.metric().update(prediction[..., :4], target, mask)
    with pytest.raises(ValueError, match="^mask: expected"):
        task.metric().update(prediction, target, mask[:3])
    with pytest.raises(ValueError, match="^mask: expected bool"):
        task.metric().update(prediction, target, mask.float())


@pytest.mark.parametrize("bad", [-1, 3])
def test_target_beyond_the_classes_is_refused(bad: int) -> None:
    target = torch.tensor([0, 1, 2, bad]).view(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"target: expected class ids in \[0, 3\)"):
        ConfusionMatrix(3).update(logits_of(0, 0, 0, 0), target, full_mask())


def test_ignored_index_is_that_of_the_losses() -> None:
    assert ConfusionMatrix.IGNORE_INDEX == IGNORE_INDEX


class MeanOfBatches(Metric):
    """Seeded defects: a mean over batches, of all pixels, with NaN taken for 0."""

    def reset(self) -> None:
        self.values: list[float] = []

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        self.values.append(float((prediction - target).abs().nan_to_num(0.0).mean()))

    def compute(self) -> dict[str, float]:
        return {"abs_err": sum(self.values) / max(len(self.values), 1)}


def test_properties_find_seeded_defects() -> None:
    maps = random_maps(EVERY_TASK["depth"])
    for check, complaint in (
        (assert_metric_ignores_batch_size, "batches of 1"),
        (assert_metric_ignores_masked_pixels, "a masked pixel counted"),
        (assert_metric_of_nothing_is_nan, "a result out of nothing"),
        (assert_metric_of_nan_is_nan, "NaN went unseen"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            check(MeanOfBatches, *maps)


# --- delta_mtl --------------------------------------------------------------------------------

METRICS_OF_TABLE1 = (
    "semseg/miou",
    "semseg/pixel_acc",
    "depth/abs_err",
    "depth/rmse",
    "normals/mean_err",
    "normals/angle_rmse",
    "normals/within_11_25",
    "normals/within_22_5",
    "normals/within_30",
)
HEADLINES = {"semseg": "miou", "depth": "abs_err", "normals": "mean_err"}
# The one-label block of [HiTTs, Table 1], and the printed delta in percent.
STL = (29.28, 55.41, 0.7182, 1.0151, 30.1971, 37.7115, 23.1532, 46.4046, 58.5216)
MTL = (30.92, 58.23, 0.5982, 0.8544, 31.8509, 38.6313, 19.7083, 41.2614, 53.6381)
OURS = (35.81, 63.22, 0.5540, 0.7939, 28.5131, 36.1738, 26.4985, 50.2357, 61.8343)


def row(values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(METRICS_OF_TABLE1, values, strict=True))


@pytest.mark.parametrize(
    ("values", "average", "percent"),
    [
        (MTL, "metrics", 0.11),  # printed
        (OURS, "metrics", 13.23),  # printed
        (MTL, "tasks", 4.390),
        (OURS, "tasks", 16.043),
        (MTL, "headline", 5.611),
        (OURS, "headline", 16.914),
    ],
)
def test_delta_of_the_papers_rows(values: tuple[float, ...], average: str, percent: float) -> None:
    delta = delta_mtl(row(values), row(STL), average=average, headlines=HEADLINES)
    assert 100 * delta == pytest.approx(percent, abs=0.0051)


def test_delta_by_hand() -> None:
    result = {"a/miou": 0.6, "a/pixel_acc": 0.8, "b/abs_err": 0.9}
    reference = {"a/miou": 0.5, "a/pixel_acc": 0.8, "b/abs_err": 1.0}
    gains = 0.2, 0.0, 0.1
    assert delta_mtl(result, reference) == pytest.approx(sum(gains) / 3)
    assert delta_mtl(result, reference, average="tasks") == pytest.approx((0.1 + 0.1) / 2)
    headlines = {"a": "miou", "b": "abs_err"}
    headline = delta_mtl(result, reference, average="headline", headlines=headlines)
    assert headline == pytest.approx((0.2 + 0.1) / 2)


def test_delta_leaves_out_what_the_papers_do_not_average() -> None:
    result, reference = row(OURS), row(STL)
    extra = {"depth/rel_err": 0.1, "delta_mtl": 5.0}
    only_here = {"saliency/miou": 0.5}
    assert delta_mtl(result | extra | only_here, reference | extra) == delta_mtl(result, reference)


def test_delta_of_the_reference_itself_is_zero() -> None:
    for average in ("metrics", "tasks", "headline"):
        assert delta_mtl(row(STL), row(STL), average=average, headlines=HEADLINES) == 0


@pytest.mark.parametrize(("value", "reference"), [(NAN, 0.5), (0.5, NAN), (0.5, 0.0)])
def test_delta_without_a_number_is_nan(value: float, reference: float) -> None:
    assert math.isnan(delta_mtl({"a/miou": value}, {"a/miou": reference}))


def test_delta_refuses_what_it_cannot_average() -> None:
    with pytest.raises(ValueError, match="keys in common"):
        delta_mtl({"a/miou": 1.0}, {"b/miou": 1.0})
    with pytest.raises(ValueError, match="expected metrics .* got 'a/speed'"):
        delta_mtl({"a/speed": 1.0}, {"a/speed": 1.0})
    with pytest.raises(ValueError, match="average: expected"):
        delta_mtl(row(OURS), row(STL), average="median")
    for headlines in (None, {"semseg": "miou"}, HEADLINES | {"depth": "mean_err"}):
        with pytest.raises(ValueError, match="headlines: expected"):
            delta_mtl(row(OURS), row(STL), average="headline", headlines=headlines)


def test_columns_print_as_in_the_paper() -> None:
    printed = {"miou": "35.81", "abs_err": "0.5540", "mean_err": "28.5131", "within_30": "61.8343"}
    values = {"miou": 0.3581, "abs_err": 0.554, "mean_err": 28.5131, "within_30": 0.618343}
    for key, value in values.items():
        assert f"{COLUMNS[key].scale * value:.{COLUMNS[key].decimals}f}" == printed[key]
    for key, column in COLUMNS.items():
        assert column.name == key
        assert column.label.endswith("↑" if column.higher_is_better else "↓")


@pytest.mark.gpu
@FOR_EVERY_TASK
def test_cuda_agrees_with_cpu(task: Task) -> None:
    maps = random_maps(task)
    cuda = run(task.metric(), *(m.cuda() for m in maps))
    assert cuda == pytest.approx(run(task.metric(), *maps), rel=1e-6)
