import pytest
import torch
from properties import (
    TASKS,
    assert_deterministic,
    assert_terms_are_finite_scalars,
    assert_withheld_labels_never_reach_gradient,
    random_batch,
    rewrite_withheld,
    step,
    without_labels,
)

from mtpsl.methods.baselines import Supervised
from mtpsl.models import build_backbone
from mtpsl.models.cost import cost
from mtpsl.papers.hitts.ccr import (
    ALIKE,
    CCR,
    DIFFERENT,
    build_projectors,
    contrastive_loss,
    draw_pixels,
    draw_sources,
    draw_triplets,
    generator,
    label_gap,
    last_convolution,
    on_grid,
    task_features,
    triplet_loss,
)

ALL = {n: torch.ones(4, dtype=torch.bool) for n in TASKS.names}


def build(backbone="segnet", **args):
    torch.manual_seed(0)
    return CCR(TASKS, build_backbone(backbone, 0.125), **args)


def contrast(method, features, batch):
    how = {"margin": method.margin, "pixels": method.pixels}
    return contrastive_loss(method.tasks, method.projectors, features, batch, **how)


def labels_of(task, count=40):
    """(P, C), some of them nearly the same."""
    random = generator("cpu", 5)
    match task.kind:
        case "classes":
            return torch.randint(4, (count, 1), generator=random)
        case "positive":
            return 1 + torch.rand(count, 1, generator=random)
        case "direction":
            noise = torch.randn(count, 3, generator=random)
            return torch.nn.functional.normalize(noise * torch.tensor([0.3, 0.3, 1.0]), dim=1)


def gap_by_hand(task, a, b):
    match task.kind:
        case "classes":
            return float(a != b)
        case "positive":
            return float(abs(a - b) / max(a, b))
        case "direction":
            return float(torch.rad2deg(torch.acos(torch.dot(a, b).clamp(-1, 1))))


# --- pieces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", tuple(TASKS), ids=TASKS.names)
def test_gaps_by_hand(task):
    labels = labels_of(task, 6)
    expected = torch.tensor([[gap_by_hand(task, a, b) for b in labels] for a in labels])
    torch.testing.assert_close(label_gap(task, labels), expected)


@pytest.mark.parametrize("task", tuple(TASKS), ids=TASKS.names)
def test_triplets_respect_the_criteria(task):
    labels = labels_of(task)
    anchors, positives, negatives = draw_triplets(task, labels, generator("cpu", 1)).tolist()
    assert len(set(anchors)) == len(anchors) > 10
    for a, p, n in zip(anchors, positives, negatives, strict=True):
        assert a != p
        assert gap_by_hand(task, labels[a], labels[p]) <= ALIKE[task.kind]
        assert gap_by_hand(task, labels[a], labels[n]) > DIFFERENT[task.kind]
    for a in set(range(len(labels))) - set(anchors):  # those left out lack one of the two
        gaps = [gap_by_hand(task, labels[a], b) for i, b in enumerate(labels) if i != a]
        assert min(gaps) > ALIKE[task.kind] or max(gaps) <= DIFFERENT[task.kind]


def test_every_candidate_can_be_drawn():
    labels = torch.tensor([[0], [0], [0], [1], [1]])
    drawn = {
        tuple(draw_triplets(TASKS["semseg"], labels, generator("cpu", n))[1:, 0].tolist())
        for n in range(100)
    }
    assert drawn == {(p, n) for p in (1, 2) for n in (3, 4)}


def test_constant_labels_have_no_triplet():
    for count in (0, 1, 7):
        labels = torch.ones(count, 1)
        assert draw_triplets(TASKS["depth"], labels, generator("cpu", 0)).shape == (3, 0)


def test_the_triplet_loss_by_hand():
    embedded = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator("cpu", 2)))
    triplets = torch.tensor([[0, 1, 2, 5], [1, 0, 4, 4], [3, 5, 5, 0]])
    total = 0.0
    for a, p, n in triplets.T.tolist():
        near = float(((embedded[a] - embedded[p]) ** 2).sum())
        far = float(((embedded[a] - embedded[n]) ** 2).sum())
        total += max(0.0, 0.2 + near - far)
    assert total > 0
    assert float(triplet_loss(embedded, triplets, 0.2)) == pytest.approx(total / 4)


def test_no_triplet_is_a_zero_that_can_be_derived():
    embedded = torch.ones(3, 2, requires_grad=True)
    loss = triplet_loss(embedded, torch.zeros(3, 0, dtype=torch.int64), 0.2)
    loss.backward()
    assert loss == 0 and not embedded.grad.any()


def test_pixels_lie_in_the_mask_and_differ():
    mask = torch.rand(16, 16, generator=generator("cpu", 3)) > 0.7
    places = draw_pixels(mask, 30, generator("cpu", 4))
    assert len(places) == len({tuple(p) for p in places.tolist()}) == 30
    assert mask[places[:, 0], places[:, 1]].all()
    assert len(draw_pixels(mask, 10_000, generator("cpu", 4))) == int(mask.sum())


def test_a_coarse_grid_reads_the_middle_of_its_cells():
    maps = torch.arange(64).view(1, 1, 8, 8)
    assert torch.equal(on_grid(maps, torch.zeros(1, 3, 8, 8)), maps)
    assert on_grid(maps, torch.zeros(1, 3, 2, 2)).flatten().tolist() == [18, 22, 50, 54]


# --- sources -------------------------------------------------------------------------------------


def test_a_source_is_another_task_and_every_other_task_is_drawn():
    batch = random_batch(labeled=ALL)
    seen = set()
    for seed in range(40):
        pairs = draw_sources(TASKS, batch, seed)
        assert [target.name for _, target in pairs] == list(TASKS.names)
        seen |= {(source.name, target.name) for source, target in pairs}
    assert seen == {(s.name, t.name) for s, t in TASKS.pairs()}


def test_a_source_has_a_usable_label():
    only = {n: torch.full((4,), n == "depth") for n in TASKS.names}
    pairs = draw_sources(TASKS, random_batch(labeled=only), 0)
    assert [(s.name, t.name) for s, t in pairs] == [("depth", "semseg"), ("depth", "normals")]


def test_the_term_by_hand():
    """One image and target at a time, with the projector applied to the whole map."""
    method, batch = build(pixels=50), random_batch(labeled=ALL)
    _, features = task_features(method.net, batch.images)
    torch.manual_seed(7)
    found = contrast(method, features, batch)
    torch.manual_seed(7)
    seed = int(torch.randint(2**62, ()))
    total = torch.zeros(())
    for source, target in draw_sources(TASKS, batch, seed):
        layers = method.projectors[f"{source.name} to {target.name}"]
        for row in range(len(batch)):
            random = generator("cpu", seed, row, TASKS.names.index(target.name))
            places = draw_pixels(batch.mask(source.name)[row, 0], 50, random).tolist()
            whole = layers(features[target.name][row].movedim(0, -1))
            z = torch.nn.functional.normalize(torch.stack([whole[y, x] for y, x in places]))
            labels = torch.stack([batch.targets[source.name][row, :, y, x] for y, x in places])
            hinges = [
                (0.2 + (z[a] - z[p]).square().sum() - (z[a] - z[n]).square().sum()).clamp(min=0)
                for a, p, n in draw_triplets(source, labels, random).T.tolist()
            ]
            total = total + torch.stack(hinges).mean()
    assert found > 0
    torch.testing.assert_close(found, total / len(batch))


# --- the method ----------------------------------------------------------------------------------


def test_the_feature_is_what_the_head_ends_on():
    for backbone, channels in (("segnet", 8), ("resnet18", 32)):
        net = build(backbone).net.eval()
        predictions, features = task_features(net, torch.rand(2, 3, 32, 32))
        for task in TASKS:
            last = last_convolution(net.heads[task.name])
            assert last.out_channels == task.channels and last.in_channels == channels
            raw = task.activate(last(features[task.name]))
            if backbone == "segnet":
                torch.testing.assert_close(raw, predictions[task.name])
        assert not any(m._forward_pre_hooks for m in net.modules())


def test_gradients_reach_the_projectors_drawn_and_the_target_s_head_and_backbone():
    method, batch = build(), random_batch(labeled=ALL)
    _, features = task_features(method.net, batch.images)
    torch.manual_seed(7)
    contrast(method, features, batch).backward()
    torch.manual_seed(7)
    drawn = draw_sources(TASKS, batch, int(torch.randint(2**62, ())))
    names = {f"{s.name} to {t.name}" for s, t in drawn}
    assert len(names) == 3
    for name, layers in method.projectors.items():
        for parameter in layers.parameters():
            assert parameter.grad is not None  # the optimizer treats all of them alike
        assert layers[0].weight.grad.any() == (name in names)
    for task in TASKS:
        head = method.net.heads[task.name]
        assert head[0].weight.grad.any()  # the feature
        assert head[1].weight.grad is None  # not what reads it
    assert method.net.backbone.encoder[0][0].weight.grad.any()


def test_an_image_without_the_source_s_label_is_left_out():
    method = build(weight=1.0)
    labeled = {n: torch.tensor([True, False, True, False]) for n in TASKS.names}
    batch = random_batch(labeled=labeled)
    _, features = task_features(method.net, batch.images)
    features = {n: f.detach().requires_grad_() for n, f in features.items()}
    contrast(method, features, batch).backward()
    for feature in features.values():
        assert feature.grad.flatten(1).any(1).tolist() == [True, False, True, False]


def test_a_hole_of_the_source_has_no_gradient():
    method = build(pixels=10_000)
    only = {n: torch.full((4,), n == "depth") for n in TASKS.names}
    batch = random_batch(labeled=only)
    _, features = task_features(method.net, batch.images)
    features = {n: f.detach().requires_grad_() for n, f in features.items()}
    contrast(method, features, batch).backward()
    reached = features["semseg"].grad.any(dim=1, keepdim=True)
    assert reached.any() and not reached[~batch.mask("depth")].any()
    assert features["depth"].grad is None  # its only sources have no label


@pytest.mark.parametrize("backbone", ["segnet", "resnet18"])
def test_withheld_labels_never_reach_a_gradient(backbone):
    method, batch = build(backbone), random_batch(side=64)
    assert not torch.equal(rewrite_withheld(batch).targets["semseg"], batch.targets["semseg"])
    assert_withheld_labels_never_reach_gradient(method, batch)
    assert_terms_are_finite_scalars(method, batch)


def test_without_labels_the_term_is_exactly_zero():
    batch = without_labels(random_batch(), torch.ones(4, dtype=torch.bool))
    terms, gradients = step(build(), batch)
    assert terms["contrastive"] == 0
    assert not any(gradient.any() for gradient in gradients.values())


def test_the_weight_scales_the_term_and_no_other():
    once, _ = step(build(), random_batch(labeled=ALL))
    thrice, _ = step(build(weight=3.0), random_batch(labeled=ALL))
    torch.testing.assert_close(thrice.pop("contrastive"), 3 * once.pop("contrastive"))
    assert thrice == once


@pytest.mark.parametrize("backbone", ["segnet", "resnet18"])
def test_same_seed_same_bits(backbone):
    assert_deterministic(lambda: build(backbone), random_batch(side=64, labeled=ALL))


def test_another_seed_draws_other_triplets():
    method, batch = build(), random_batch(labeled=ALL)
    _, features = task_features(method.net, batch.images)
    found = set()
    for seed in range(3):
        torch.manual_seed(seed)
        found.add(float(contrast(method, features, batch).detach()))
    assert len(found) == 3


def test_prediction_costs_what_the_baseline_s_does():
    mine, plain = build(), Supervised(TASKS, build_backbone("segnet", 0.125))
    assert cost(mine, 32, 32).macs == cost(plain, 32, 32).macs
    plain.net.load_state_dict(mine.net.state_dict())
    images = torch.rand(2, 3, 32, 32)
    for name, prediction in mine.eval().predict(images).items():
        assert torch.equal(prediction, plain.eval().predict(images)[name])


def test_the_term_needs_no_network_of_ours():
    torch.manual_seed(0)
    features = {n: torch.randn(4, 6, 8, 8, requires_grad=True) for n in TASKS.names}
    projectors = build_projectors(TASKS, dict.fromkeys(TASKS.names, 6))
    loss = contrastive_loss(TASKS, projectors, features, random_batch(labeled=ALL))
    loss.backward()
    assert loss > 0 and all(maps.grad.isfinite().all() for maps in features.values())
    assert all(maps.grad.any() for maps in features.values())
