import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from properties import TASKS, random_batch, rewrite_withheld, step

from mtpsl.methods.base import ramp
from mtpsl.models import build_backbone
from mtpsl.models.backbone import MultiTaskNet
from mtpsl.models.cost import cost
from mtpsl.papers.xtc.loss import Inputs, cosine_distance, find_links
from mtpsl.papers.xtc.mapping import prediction_input
from mtpsl.papers.xtc.method import XTC, TrainingPasses, two_views
from mtpsl.tasks import TaskSet, depth, edges, human_parts, normals, saliency, semseg
from tests.benchmarks.xtc import parity

ALL = {n: torch.ones(4, dtype=torch.bool) for n in TASKS.names}
PASCAL = TaskSet(
    (semseg(tuple("abc"), weight=1), human_parts(weight=2), normals("l1", weight=10),
     saliency(weight=5), edges(weight=50))
)  # fmt: skip


def build(backbone: str = "segnet", tasks: TaskSet = TASKS, **args) -> XTC:
    torch.manual_seed(0)
    return XTC(tasks, build_backbone(backbone, 0.125), **args)


def test_pairs_go_from_unlabeled_to_labeled_tasks():
    links = find_links(TASKS, random_batch())  # images 0 and 3: semseg, 1: depth, 2: normals
    found = {(x.source.name, x.target.name): x.rows for x in links}
    assert found == {
        ("semseg", "depth"): (1,),
        ("semseg", "normals"): (2,),
        ("depth", "semseg"): (0, 3),
        ("depth", "normals"): (2,),
        ("normals", "semseg"): (0, 3),
        ("normals", "depth"): (1,),
    }


def test_all_labels_give_all_pairs_and_two_labels_two():
    links = find_links(TASKS, random_batch(labeled=ALL))
    assert [x.rows for x in links] == [(0, 1, 2, 3)] * 6
    labeled = {**ALL, "depth": torch.zeros(4, dtype=torch.bool)}
    links = find_links(TASKS, random_batch(labeled=labeled))
    names = [(x.source.name, x.target.name) for x in links]
    assert names == [("depth", "semseg"), ("depth", "normals")]


def test_a_label_without_a_valid_pixel_is_no_target():
    batch = random_batch()
    valid = {**batch.valid, "depth": torch.zeros_like(batch.valid["depth"])}
    targets = {**batch.targets, "depth": torch.full_like(batch.targets["depth"], float("nan"))}
    links = find_links(TASKS, replace(batch, valid=valid, targets=targets))
    assert links and all(x.target.name != "depth" for x in links)


@pytest.mark.parametrize("case", [{"images": 3, "side": 32}, {"images": 5, "side": 64}])
def test_image_statistics_give_the_loss_of_the_plain_loop(case):
    totals = parity(TASKS, width_factor=0.25, **case)
    assert totals["image"] == pytest.approx(totals["loop"], abs=1e-5)


def test_loss_by_hand():
    """The formula once more, without passes: L_ct and R of every image and pair."""
    method, batch = build(statistics="image").train(), random_batch()
    output = method.net(torch.cat([batch.images] * 2))
    others = {n: m[4:] for n, m in output.predictions.items()}
    features = output.bottleneck[4:].detach()
    torch.manual_seed(5)
    found = method.loss.consistency(others, features, batch)
    torch.manual_seed(5)
    links = find_links(TASKS, batch)
    embedded = method.loss.embed(links, Inputs(others, batch))
    l_st = l_f = 0.0
    for link, (a, b) in zip(links, embedded, strict=True):
        for i, row in enumerate(link.rows):
            f = features[row]
            cosine = lambda x, y: F.cosine_similarity(x, y, dim=0).mean()  # noqa: E731
            l_st += 1 - cosine(a[i], b[i])
            l_f += 2 - cosine(a[i], f) - cosine(b[i], f)
    torch.testing.assert_close(torch.stack(found), torch.stack([l_st, l_f]) / 4)


def test_terms_and_switches():
    batch = random_batch()
    terms, gradients = step(build(), batch)
    assert tuple(terms) == (*TASKS.names, "cross_task", "regularizer")
    halved, _ = step(build(weight=1.0, regularizer=1.0), batch)
    torch.testing.assert_close(halved["cross_task"], terms["cross_task"] / 2)
    torch.testing.assert_close(halved["regularizer"], terms["regularizer"])
    alone, _ = step(build(regularize=False), batch)
    assert "regularizer" not in alone
    torch.testing.assert_close(alone["cross_task"], terms["cross_task"])
    assert any("gamma" in n for n in gradients)
    _, plain = step(build(condition=False), batch)
    assert not any("gamma" in n for n in plain)


def test_the_feature_gets_no_gradient_and_the_prediction_does():
    method, batch = build().train(), random_batch()
    predictions, others, features = two_views(method.net, (batch, batch))
    pair, anchor = method.loss.consistency(others, features, batch)
    heads = list(method.net.heads.parameters())
    assert all(g is not None for g in torch.autograd.grad(pair + anchor, heads, retain_graph=True))
    (gradient,) = torch.autograd.grad(pair + anchor, features, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_labels_teach_the_first_view_and_consistency_the_second():
    first, second = random_batch(seed=0), random_batch(seed=1)
    method = build().eval()  # BatchNorm would mix the views
    images = second.images.clone().requires_grad_()
    views = first, replace(second, images=images)
    torch.manual_seed(0)
    terms = method.training_step(*views, progress=0.0)
    supervised = sum(terms[n] for n in TASKS.names)
    (of_labels,) = torch.autograd.grad(supervised, images, retain_graph=True)
    (of_pairs,) = torch.autograd.grad(terms["cross_task"], images)
    assert not of_labels.any() and of_pairs.flatten(1).any(1).all()
    assert build(two_views=False).views == 1 and build().views == 2


def test_both_views_go_through_one_batch_norm():
    method = build().train()
    seen = []
    method.net.backbone.encoder[0][0].register_forward_hook(lambda m, x, y: seen.append(len(y)))
    method.training_step(random_batch(), random_batch(seed=1), progress=0.0)
    assert seen == [8]


def test_ramp_up():
    assert [ramp(p, 0.5) for p in (0.0, 0.25, 0.5, 0.9)] == [0, 0.5, 1, 1]
    assert ramp(0.0, 0.0) == 1
    method = build(ramp_up=0.5).train()
    torch.manual_seed(0)
    assert method.training_step(*[random_batch()] * 2, progress=0.0)["cross_task"] == 0


def test_the_papers_division():
    """Eq. 1 and 3: an image with two labels and one source, beside one with one and two."""
    labeled = {
        "semseg": torch.tensor([True, True]),
        "depth": torch.tensor([True, False]),
        "normals": torch.tensor([False, False]),
    }
    batch = random_batch(images=2, labeled=labeled)
    shares = {x.rows: x.shares for x in find_links(TASKS, batch, per_image_mean=True)}
    assert shares == {(0,): (1.0,), (1,): (0.5,), (0, 1): (1.0, 0.5)}
    terms, _ = step(build(), batch)
    divided, _ = step(build(per_image_mean=True), batch)
    torch.testing.assert_close(divided["depth"], terms["depth"] / 2)
    full = find_links(TASKS, random_batch(labeled=ALL), per_image_mean=True)
    assert {share for link in full for share in link.shares} == {1 / 3}


def test_which_entry_of_a_the_label_reads():
    method, batch = build(pair_of="input").train(), random_batch(images=2)
    seen = []
    forward = method.mapping.forward
    method.mapping.forward = lambda passes, s: seen.extend(passes) or forward(passes, s)
    method.training_step(batch, batch, progress=0.0)
    for of_prediction, of_label in zip(seen[::2], seen[1::2], strict=True):
        assert of_prediction.pair == (of_prediction.task, of_label.task)
        assert of_label.pair == (of_label.task, of_prediction.task)


def test_distance_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)  # (1, 0) and (0, 1)
    b = torch.tensor([[2.0, 3.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # (2, 0) and (3, 0)
    assert cosine_distance(a, b).tolist() == pytest.approx([0.5])
    whole = build(distance="vector").loss.compare(a, b).item()
    assert whole == pytest.approx(1 - 2 / (2**0.5 * 13**0.5))
    zero = torch.zeros(1, 2, 1, 2, requires_grad=True)  # ReLU can leave nothing at a position
    cosine_distance(zero, b).sum().backward()
    assert zero.grad.isfinite().all()


def test_predicted_classes_are_sampled():
    """Of equal logits every class is drawn, and not the same again in the next step."""
    batch, task = random_batch(), TASKS["semseg"]
    predictions = {t.name: torch.zeros(4, t.channels, 8, 8) for t in TASKS}
    steps = [Inputs(predictions, batch) for _ in range(2)]
    first, second = (inputs.prediction(task, (0, 2)) for inputs in steps)
    assert (first.sum(1) == 1).all() and first.flatten(2).any(2).all()
    assert not torch.equal(first, second)
    noise = steps[0].noise(task, (0, 2))
    torch.testing.assert_close(first, prediction_input(task, torch.zeros(2, 5, 8, 8), noise))


def test_two_views_gives_predictions_of_both_and_the_features_of_the_last():
    torch.manual_seed(0)
    net = MultiTaskNet(build_backbone("segnet", 0.125), TASKS).eval()
    a, b = random_batch(seed=1), random_batch(seed=2)
    first, last, bottleneck = two_views(net, (a, b))
    torch.testing.assert_close(first, net(a.images).predictions)
    torch.testing.assert_close(last, net(b.images).predictions)
    torch.testing.assert_close(bottleneck, net(b.images).bottleneck)


def test_noise_belongs_to_the_image():
    batch = random_batch()
    predictions = {t.name: torch.zeros(4, t.channels, 8, 8) for t in TASKS}
    torch.manual_seed(3)
    inputs = Inputs(predictions, batch)
    noise = inputs.noise(TASKS["semseg"], (0, 1, 3))
    torch.manual_seed(3)
    turned = Inputs(predictions, replace(batch, index=batch.index.flip(0)))
    torch.testing.assert_close(turned.noise(TASKS["semseg"], (3, 2, 0)), noise)
    other = Inputs(predictions, batch).noise(TASKS["semseg"], (0, 1, 3))
    assert not torch.equal(other, noise) and not torch.equal(noise[0], noise[1])
    assert inputs.noise(TASKS["depth"], (0,)) is None


def test_gamma_and_beta_have_their_own_learning_rate():
    rest, film = build().param_groups(1e-4)
    assert film["lr"] == pytest.approx(1e-3) and rest["lr"] == 1e-4
    assert len(film["params"]) == 2 * 13
    assert build(film_lr=0.1).param_groups(1e-4)[1]["lr"] == pytest.approx(1e-5)
    assert len(build(condition=False).param_groups(1e-4)) == 1
    assert film["step_size"] == 30 and "step_size" not in rest
    assert "step_size" not in build(film_step=None).param_groups(1e-4)[1]


def test_without_pairs_nothing_happens():
    batch = random_batch(labeled={n: torch.zeros(4, dtype=torch.bool) for n in TASKS.names})
    terms, gradients = step(build(), batch)
    assert terms["cross_task"] == 0 and terms["regularizer"] == 0
    assert not any(g.any() for g in gradients.values())


@pytest.mark.parametrize("statistics", ["pass", "image"])
def test_five_tasks_on_a_resnet(statistics):
    method = build("resnet18", PASCAL, statistics=statistics)
    batch = random_batch(PASCAL, images=5)
    terms, gradients = step(method, batch)
    assert all(t.isfinite() for t in terms.values())
    assert all(g.isfinite().all() for g in gradients.values())
    assert terms["cross_task"] > 0
    torch.manual_seed(0)  # dropout draws as before
    again, _ = step(method, rewrite_withheld(batch, PASCAL))
    assert all(torch.equal(terms[n], again[n]) for n in terms)


def test_training_moves_consistency_down():
    method = build().train()
    optimizer = torch.optim.Adam(method.param_groups(1e-3))
    batch, values = random_batch(images=6), []
    for _ in range(12):
        terms = method.training_step(batch, batch, progress=0.0)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        values.append(float((terms["cross_task"] + terms["regularizer"]).detach()))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", ["statistics", "pair_of", "distance"])
def test_unknown_choices_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected one of"):
        build(**{name: "other"})


def test_cost_of_a_training_image():
    """[HiTTs, Table 8]: 39.84 M and 223.16 G for XTC; one image, one label, four passes."""
    tasks = TaskSet((semseg(tuple(map(str, range(13)))), depth(), normals()))
    method = XTC(tasks, build_backbone("segnet"))
    for target in tasks.names:
        counted = cost(TrainingPasses(method, target), 288, 384)
        assert counted.params == 39_874_513
        assert counted.thop_flops == pytest.approx(223.16e9, rel=0.01)


def test_copying_keeps_the_choice_of_views():
    assert copy.deepcopy(build(two_views=False)).views == 1
