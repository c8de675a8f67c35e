"""DiffusionMTL: counts as released, the schedule, whose noise is whose, and what learns from what.

What holds for every method is in test_methods.py.
"""

import copy
import inspect
import math
import re
from dataclasses import replace

import pytest
import torch
from properties import random_batch, rewrite_withheld, step
from torch import Tensor

from mtpsl.models import FusedResNet
from mtpsl.models.cost import cost
from mtpsl.papers import build_method
from mtpsl.papers.tpkr.diffusion import CHOICES, DiffusionMTL, ImageNoise, Schedule
from mtpsl.tasks import TaskSet, depth, edges, human_parts, normals, saliency, semseg
from tests.benchmarks import diffusion as benchmark

ROOMS = TaskSet((semseg(13), depth(), normals()))
# Two logits of saliency, as in the framework's release; ours has one, which says the same.
TWO_LOGITS = replace(saliency("max_f"), channels=2)
PEOPLE = TaskSet((semseg(21), human_parts(), TWO_LOGITS, normals(), edges()))
BOTH = pytest.mark.parametrize("variant", ["feature", "prediction"])


def build(tasks: TaskSet = ROOMS, **options: object) -> DiffusionMTL:
    torch.manual_seed(0)
    return build_method("diffusion_mtl", tasks, "resnet18_fused", 0.125, options)


def some_images(count: int = 2, height: int = 32, width: int = 64) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def predict(method: DiffusionMTL, images: Tensor) -> dict[str, Tensor]:
    return method.eval().predict(images)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def one_pass(method: DiffusionMTL, images: Tensor) -> dict[str, Tensor]:
    """The denoiser at step 0 over features or preliminary maps as they are."""
    features, maps = method.eval().look(images)
    start = features if method.variant == "feature" else maps
    condition = method.condition(torch.cat(list(maps.values()), dim=1))
    condition = torch.cat([condition] * len(maps))
    clean = method.denoiser({name: start[name] for name in maps}, condition, 0)
    return method.finish({name: method.final[name](x) for name, x in clean.items()}, images)


# --- the network ------------------------------------------------------------------------------


@pytest.mark.parametrize(("tasks", "released"), [(ROOMS, 94_531_170), (PEOPLE, 132_913_284)])
def test_parameters_as_released(tasks: TaskSet, released: int) -> None:
    with torch.device("meta"):
        method = DiffusionMTL(tasks, FusedResNet(18))
    parts = {name: sum(p.numel() for p in m.parameters()) for name, m in method.named_children()}
    denoiser = method.denoiser
    shared = sum(p.numel() for p in denoiser.blocks.parameters())
    time = sum(p.numel() for p in denoiser.time.parameters())
    assert sum(parts.values()) == released
    assert (shared, time) == (21_010_432, 394_240)
    channels = sum(t.channels for t in tasks)
    assert parts["condition"] == 9 * 512 * channels + 512 and parts["final"] == 513 * channels
    assert parts["denoiser"] == shared + time + len(tasks) * (2_359_808 + 7_342_080)


def test_the_prediction_variant_differs_where_a_map_enters() -> None:
    with torch.device("meta"):
        methods = [
            DiffusionMTL(ROOMS, FusedResNet(18), variant=v) for v in ("feature", "prediction")
        ]
    feature, prediction = (dict(m.named_parameters()) for m in methods)
    assert feature.keys() == prediction.keys()
    other = {n for n, p in feature.items() if p.shape != prediction[n].shape}
    assert other == {f"denoiser.pre.{t.name}.weight" for t in ROOMS}


@BOTH
@pytest.mark.parametrize("size", [(32, 64), (40, 72)])
def test_any_size(variant: str, size: tuple[int, int]) -> None:
    found = predict(build(variant=variant), some_images(1, *size))
    shapes = {t.name: (1, t.channels, *size) for t in ROOMS}
    assert {name: tuple(x.shape) for name, x in found.items()} == shapes


def test_a_cost_needs_no_numbers() -> None:
    """An image of up to 128 x 128 pixels is computed, a larger one is shapes alone."""
    method = build()
    small, large = cost(method, 128, 128), cost(method, 128, 256)
    time = 2 * (32 * 64 + 64 * 64)  # of both steps, whatever the size
    assert large.thop_flops == 2 * small.thop_flops - time
    assert 2 < large.macs / small.macs < 2.01  # attention grows faster


def test_steps_share_the_network_and_its_time_tells_them_apart() -> None:
    method = build()
    four = build(steps=4)
    assert [p.shape for p in method.parameters()] == [p.shape for p in four.parameters()]
    embedded = [method.denoiser.embed(step, torch.zeros(())) for step in range(3)]
    torch.testing.assert_close(embedded[0], torch.tensor([1.0] * 16 + [0.0] * 16))
    assert math.isclose(embedded[2][0], math.cos(2.0), abs_tol=1e-6)
    assert math.isclose(embedded[1][17], math.sin(10_000 ** (-1 / 16)), abs_tol=1e-6)


# --- the schedule -----------------------------------------------------------------------------


def test_the_schedule_has_the_released_numbers() -> None:
    two = Schedule(2, (1e-3, 1e-2))
    assert two.betas == pytest.approx([0.001, 0.010])
    assert two.signal[1] ** 2 == pytest.approx(0.98901)
    assert (two.signal[1], two.noise[1]) == pytest.approx((0.9945, 0.1048), abs=5e-5)
    assert (two.mean_clean[1], two.mean_noisy[1]) == pytest.approx((0.9095, 0.0905), abs=5e-5)
    assert two.deviation[1] ** 2 == pytest.approx(9.1e-4, abs=5e-7)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_true_estimate_walks_back_along_the_schedule(steps: int) -> None:
    """With what is clean known, mean and variance of every step are those of noising so far."""
    s = Schedule(steps, (1e-3, 1e-2))
    signal, variance = s.signal[-1], s.noise[-1] ** 2
    for k in range(steps - 1, 0, -1):
        signal = s.mean_clean[k] + s.mean_noisy[k] * signal
        variance = s.mean_noisy[k] ** 2 * variance + s.deviation[k] ** 2
        assert signal == pytest.approx(s.signal[k - 1])
        assert variance == pytest.approx(s.noise[k - 1] ** 2)
    assert (s.mean_clean[0], s.mean_noisy[0], s.deviation[0]) == pytest.approx((1, 0, 0))
    assert s.betas[0] == pytest.approx(1e-3) and (steps == 1 or s.betas[-1] == pytest.approx(1e-2))


@BOTH
def test_without_noise_it_is_one_pass(variant: str) -> None:
    images = some_images()
    method = build(variant=variant, noise=0, steps=4)
    with torch.no_grad():
        expected = one_pass(method, images)
    found = predict(method, images)
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x)
    assert not same(predict(build(variant=variant), images), found)
    one = predict(build(variant=variant, steps=1, betas=(1e-9, 1e-9)), images)
    for name, x in expected.items():  # the limit of one step with less and less noise
        torch.testing.assert_close(one[name], x, rtol=1e-2, atol=1e-3)


# --- noise ------------------------------------------------------------------------------------


@BOTH
def test_the_same_bits_twice(variant: str) -> None:
    method, images = build(variant=variant), some_images(3)
    first = predict(method, images)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert same(predict(method, images), first)
    assert torch.equal(torch.get_rng_state(), before)
    turned = predict(method, images.flip(0))
    for name, x in first.items():
        torch.testing.assert_close(turned[name].flip(0), x, rtol=1e-4, atol=1e-5)


def test_noise_belongs_to_image_task_and_step() -> None:
    images, like = some_images(3), torch.zeros(3, 8, 16, 16)
    noise, rows = ImageNoise.of_pixels(images), [0, 1, 2]
    drawn = [noise.draw(rows, task, step, like) for task in (0, 1) for step in (1, 2)]
    every = torch.stack(drawn).flatten(0, 1)  # (12, 8, 16, 16)
    between = torch.corrcoef(every.flatten(1)) - torch.eye(12)
    assert between.abs().max() < 0.1
    assert every.mean().abs() < 0.02 and abs(every.std() - 1) < 0.02
    assert torch.equal(noise.draw([2], 1, 2, like[:1])[0], drawn[3][2])
    other = ImageNoise.of_pixels(images[2:])
    assert torch.equal(other.draw([0], 1, 2, like[:1])[0], drawn[3][2])
    assert ImageNoise.of_pixels(images + 0.4 / 255).seeds != noise.seeds


def test_training_draws_anew_at_every_step_by_the_images_numbers() -> None:
    def of_step(seed: int, *numbers: int) -> list[int]:
        torch.manual_seed(seed)
        return list(ImageNoise.of_step(torch.tensor(numbers)).seeds)

    first = of_step(0, 7, 9)
    assert of_step(0, 9, 7) == first[::-1] and of_step(1, 7, 9) != first


# --- training ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("labels", [1, 3])
def test_together_is_what_a_plain_loop_computes(variant: str, labels: int) -> None:
    batch = benchmark.labeled_batch(labels, images=3, side=32)
    found = []
    for compute in ("together", "loop"):
        method = benchmark.build(0.125, variant)
        torch.manual_seed(4)
        if compute == "together":
            terms = method.training_step(batch, progress=0.5)
        else:
            terms = benchmark.loop_terms(method, batch)
        sum(terms.values()).backward()
        found.append((terms, {n: p.grad for n, p in method.named_parameters()}))
    (terms, gradients), (expected, others) = found
    assert terms.keys() == expected.keys() == {*benchmark.TASKS.names, "preliminary"}
    torch.testing.assert_close(terms, expected)
    largest = max(g.abs().max() for g in others.values() if g is not None)
    for name, gradient in others.items():
        if gradient is None:  # a task without labels, which the loop never comes to
            assert gradients[name] is None or not gradients[name].any(), name
        else:
            error = (gradients[name] - gradient).abs().max()
            assert error <= 1e-4 * gradient.abs().max() + 1e-5 * largest, name


@BOTH
def test_withheld_labels_never_reach_a_gradient(variant: str) -> None:
    method, batch = build(variant=variant), random_batch(ROOMS, images=3)
    (terms, gradients), (others, rewritten) = (
        step(method, b) for b in (batch, rewrite_withheld(batch, ROOMS))
    )
    assert same(terms, others) and same(gradients, rewritten)
    assert any(g.any() for g in gradients.values())


def test_only_labeled_images_of_a_task_are_denoised() -> None:
    method, counts = build(), []
    method.denoiser.register_forward_hook(
        lambda module, inputs, output: counts.append({t: len(x) for t, x in inputs[0].items()})
    )
    labeled = {
        "semseg": torch.tensor([True, False, True, True]),
        "depth": torch.tensor([False, True, False, False]),
        "normals": torch.zeros(4, dtype=torch.bool),
    }
    terms = method.training_step(random_batch(ROOMS, labeled=labeled), progress=0.0)
    assert counts == [{"semseg": 3, "depth": 1, "normals": 0}] * 2
    assert terms["normals"] == 0 < terms["semseg"]
    counts.clear()
    predict(method, some_images(4))
    assert counts == [dict.fromkeys(ROOMS.names, 4)] * 2


def test_the_condition_is_detached_and_the_start_is_not() -> None:
    """Which parameters the final map of one task teaches, apart from the preliminary loss."""

    def taught(**options: object) -> set[str]:
        method = build(weight=0.0, **options)
        batch = random_batch(ROOMS, images=2, labeled=dict.fromkeys(ROOMS.names, torch.ones(2) > 0))
        terms = method.train().training_step(batch, progress=0.0)
        terms["depth"].backward()
        names = {n for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}
        return {n for n in names if n.split(".")[0] in ("decoders", "preliminary")}

    def parts(names: set[str]) -> set[str]:
        return {".".join(n.split(".")[:2]) for n in names}

    own = {"decoders.depth"}
    assert parts(taught()) == own
    assert parts(taught(variant="prediction")) == {*own, "preliminary.depth"}
    assert not taught(detach_start=True)
    every = {f"{part}.{name}" for part in ("decoders", "preliminary") for name in ROOMS.names}
    assert parts(taught(detach_condition=False)) == every


def test_the_preliminary_maps_have_the_losses_of_the_final_ones() -> None:
    """Weighed by task and made up for missing labels, times a half."""
    batch = benchmark.labeled_batch(2, images=3, side=32)
    method = benchmark.build(0.125)
    terms = copy.deepcopy(method).training_step(batch, progress=0.0)
    preliminary = benchmark.rest_terms(copy.deepcopy(method), batch)
    torch.testing.assert_close(terms["preliminary"], 0.5 * sum(preliminary.values()))


@BOTH
def test_lower_precision_and_other_layouts_train(variant: str) -> None:
    """Under autocast, as on a GPU, and with channels innermost, as at profile quick."""
    batch = random_batch(ROOMS, images=2)
    plain, mixed = (build(variant=variant).train() for _ in range(2))
    mixed.to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        terms = mixed.training_step(batch, progress=0.0)
    sum(terms.values()).backward()
    assert all(p.grad.isfinite().all() for p in mixed.parameters() if p.grad is not None)
    torch.manual_seed(1)
    for name, term in plain.training_step(batch, progress=0.0).items():
        torch.testing.assert_close(terms[name].float(), term, rtol=0.1, atol=0.02)


def test_every_choice_names_arguments_that_exist() -> None:
    named = {x for text in CHOICES.values() for x in re.findall(r"(\w+)=", text)}
    assert named == {*inspect.signature(DiffusionMTL).parameters} - {"tasks", "backbone"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"variant": "features"}, "expected variant to be one of"),
        ({"steps": 0}, "expected at least 1 and 0, got 0 and 1.0"),
        ({"noise": -1.0}, "got 2 and -1.0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(**options)


def test_the_report_of_the_benchmark(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(benchmark, "SIDE", 32)
    monkeypatch.setattr(benchmark, "IMAGES", 2)
    report = benchmark.measure("one", turns=1, clock="cpu", width_factor=0.125)
    assert report["together_over_loop"] == pytest.approx(report["together"] / report["loop"])
    monkeypatch.setattr(benchmark, "measure", lambda *a, **k: report)
    path = tmp_path / "bench.json"
    assert benchmark.main(["--labels", "one", "--out", str(path)]) == 0
    assert '"maps"' in path.read_text() and "in a loop" in capsys.readouterr().out
