"""Golden values by hand on 2x2 maps, and what must hold for every metric."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.losses import IGNORE_INDEX
from mtpsl.metrics import COLUMNS, ConfusionMatrix, DepthErrors, Metric, NormalErrors, delta_mtl

NAN = math.nan
METRICS = {
    "semseg": lambda: ConfusionMatrix(5),
    "depth": DepthErrors,
    "normals": NormalErrors,
}


def plane(*values: float) -> Tensor:
    """Four values as a (1, 1, 2, 2) map."""
    return torch.tensor(values).view(1, 1, 2, 2)


def full_mask(images: int = 1, height: int = 2, width: int = 2) -> Tensor:
    return torch.ones(images, 1, height, width, dtype=torch.bool)


def logits_of(*classes: int, num_classes: int = 3) -> Tensor:
    """(1, K, 2, 2) logits whose largest entry is the given class."""
    return F.one_hot(torch.tensor(classes), num_classes).view(1, 2, 2, -1).movedim(3, 1).float()


def random_maps(task: str, images: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """A prediction, a target and a mask with holes, of 8x8 pixels."""
    generator = torch.Generator().manual_seed(0)
    channels = {"semseg": 5, "depth": 1, "normals": 3}[task]
    prediction = torch.randn(images, channels, 8, 8, generator=generator)
    mask = torch.rand(images, 1, 8, 8, generator=generator) < 0.7
    if task == "semseg":
        return prediction, torch.randint(0, 4, (images, 1, 8, 8), generator=generator), mask
    target = torch.randn(images, channels, 8, 8, generator=generator)
    target = target.abs() + 0.1 if task == "depth" else F.normalize(target, dim=1)
    return prediction, target, mask


def run(metric: Metric, *args: Tensor) -> dict[str, float]:
    metric.update(*args)
    return metric.compute()


# --- golden values ----------------------------------------------------------------------------


def test_confusion_matrix_by_hand() -> None:
    metric = ConfusionMatrix(3)
    target = torch.tensor([0, 0, 1, IGNORE_INDEX]).view(1, 1, 2, 2)
    result = run(metric, logits_of(0, 1, 1, 2), target, full_mask())
    # class 0: 1 of 2 in the union; class 1: 1 of 2; class 2: only on the ignored pixel
    assert metric.per_class_iou()[:2].tolist() == [0.5, 0.5]
    assert metric.per_class_iou()[2].isnan()
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
    prediction, target, mask = random_maps("normals")
    unit = run(NormalErrors(), F.normalize(prediction, dim=1), target, mask)
    assert run(NormalErrors(), length * prediction, target, mask) == pytest.approx(unit, rel=1e-5)


def test_perfect_normals_are_zero_degrees_off_and_opposite_ones_180() -> None:
    _, target, mask = random_maps("normals")
    assert run(NormalErrors(), target, target, mask)["mean_err"] < 1e-4
    assert run(NormalErrors(), -target, target, mask)["mean_err"] == pytest.approx(180.0, abs=1e-4)


def test_zero_vector_is_90_degrees_off() -> None:
    _, target, mask = random_maps("normals")
    result = run(NormalErrors(), torch.zeros_like(target), target, mask)
    assert (result["mean_err"], result["within_30"]) == (90.0, 0.0)


# --- properties -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", METRICS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_does_not_matter(task: str, batch_size: int) -> None:
    maps = random_maps(task)
    whole, parts = METRICS[task](), METRICS[task]()
    whole.update(*maps)
    for part in zip(*(m.split(batch_size) for m in maps), strict=True):
        parts.update(*part)
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12)
    if task == "semseg":  # counts are exact; the other sums may round in the 16th digit
        assert torch.equal(parts.counts, whole.counts)


@pytest.mark.parametrize("task", METRICS)
def test_masked_pixels_never_matter(task: str) -> None:
    prediction, target, mask = random_maps(task)
    hole = ~mask
    expected = run(METRICS[task](), prediction, target, mask)
    prediction = prediction.masked_fill(hole, NAN)
    target = target.masked_fill(hole, NAN if target.is_floating_point() else -7)
    assert run(METRICS[task](), prediction, target, mask) == expected


@pytest.mark.parametrize("task", METRICS)
def test_nan_prediction_inside_the_mask_makes_everything_nan(task: str) -> None:
    prediction, target, mask = random_maps(task)
    row, column = mask[2, 0].nonzero()[0].tolist()
    prediction[2, 0, row, column] = NAN
    result = run(METRICS[task](), prediction, target, mask)
    assert all(math.isnan(value) for value in result.values()), result


@pytest.mark.parametrize("task", METRICS)
def test_nothing_counted_is_nan(task: str) -> None:
    prediction, target, mask = random_maps(task)
    unseen = METRICS[task]().compute()
    masked = run(METRICS[task](), prediction, target, torch.zeros_like(mask))
    assert unseen.keys() == masked.keys()
    assert all(math.isnan(value) for value in [*unseen.values(), *masked.values()])


@pytest.mark.parametrize("task", METRICS)
def test_half_precision_predictions_are_scored_in_full(task: str) -> None:
    prediction, target, mask = random_maps(task)
    half = prediction.bfloat16()
    expected = run(METRICS[task](), half.float(), target, mask)
    assert run(METRICS[task](), half, target, mask) == expected


@pytest.mark.parametrize("task", METRICS)
def test_every_result_has_a_column(task: str) -> None:
    assert METRICS[task]().compute().keys() <= COLUMNS.keys()


@pytest.mark.parametrize("task", METRICS)
def test_disagreeing_shapes_are_named(task: str) -> None:
    prediction, target, mask = random_maps(task)
    with pytest.raises(ValueError, match="^prediction: expected"):
        METRICS[task]().update(prediction[..., :4], target, mask)
    with pytest.raises(ValueError, match="^mask: expected"):
        METRICS[task]().update(prediction, target, mask[:3])
    with pytest.raises(ValueError, match="^mask: expected bool"):
        METRICS[task]().update(prediction, target, mask.float())


@pytest.mark.parametrize("bad", [-1, 3])
def test_target_beyond_the_classes_is_refused(bad: int) -> None:
    target = torch.tensor([0, 1, 2, bad]).view(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"target: expected class ids in \[0, 3\)"):
        ConfusionMatrix(3).update(logits_of(0, 0, 0, 0), target, full_mask())


def test_default_ignore_index_is_that_of_the_losses() -> None:
    assert ConfusionMatrix(2).ignore_index == IGNORE_INDEX


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
@pytest.mark.parametrize("task", METRICS)
def test_cuda_agrees_with_cpu(task: str) -> None:
    maps = random_maps(task)
    cuda = METRICS[task]()
    cuda.update(*(m.cuda() for m in maps))
    assert cuda.compute() == pytest.approx(run(METRICS[task](), *maps), rel=1e-6)
