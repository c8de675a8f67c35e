from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mtpsl.batch import Batch, Discovered
from mtpsl.models.cost import cost
from mtpsl.papers import build_method
from mtpsl.papers.hitts.method import CHOICES, HiTTs, mixture_loss
from mtpsl.papers.hitts.tokens import feature_confidence, score_mask
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple("abcd")), depth(), normals()))
SWITCHES = (
    "orthogonal_embeddings",
    "inter_task",
    "intra_task",
    "global_tokens",
    "fine_tokens",
)


def one_label_batch(images: int = 3, side: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(images, 3, side, side, generator=generator)
    targets = {
        "semseg": torch.randint(0, 4, (images, 1, side, side), generator=generator),
        "depth": 1 + 4 * torch.rand(images, 1, side, side, generator=generator),
        "normals": F.normalize(maps - 0.5, dim=1),
    }
    labeled = {n: torch.arange(images) % 3 == i for i, n in enumerate(TASKS.names)}
    valid = {n: m.view(-1, 1, 1, 1).expand(-1, 1, side, side) for n, m in labeled.items()}
    for t in TASKS:
        targets[t.name] = torch.where(
            valid[t.name], targets[t.name], TASKS[t.name].fill_missing(targets[t.name])
        )
    return Batch(maps, targets, valid, labeled, torch.arange(images))


def build(**args) -> HiTTs:
    torch.manual_seed(0)
    method = build_method("hitts", TASKS, "segnet", 0.125, args)
    method.prepare([one_label_batch()])
    return method


def with_discoveries(method: HiTTs, batch: Batch, shift: float = 0.0) -> Batch:
    method.eval()
    found = method.discover(batch.images, {})
    method.train()
    features = {n: f + shift for n, f in found.features.items()}
    return replace(batch, discovered=replace(found.withhold(batch), features=features))


def test_table8_budget_at_full_size():
    tasks = TaskSet((semseg(tuple(str(i) for i in range(13))), depth(), normals()))
    measured = cost(build_method("hitts", tasks), 288, 384)
    assert abs(measured.params / 25.32e6 - 1) < 0.01
    assert abs(measured.thop_flops / 83.14e9 - 1) < 0.05


def test_single_scale_parameters_and_their_order_stay():
    """Names, shapes and the order in which they are drawn decide what a seed means."""
    tasks = TaskSet((semseg(tuple(str(i) for i in range(13))), depth(), normals()))
    with torch.device("meta"):
        method = build_method("hitts", tasks)
    assert sum(p.numel() for p in method.parameters()) == 25_291_107
    own = [n for n, _ in method.named_parameters() if not n.startswith("backbone.")]
    assert list(dict.fromkeys(n.split(".")[0] for n in own)) == [
        "theta", "query", "key", "value", "Q", "K", "attention", "project", "fine", "embed",
        "token_mlp", "refine",
    ]  # fmt: skip


def test_optimizers_of_stored_runs_find_their_parameters():
    """Their state goes by position: tokens, backbone, the rest."""
    method = build()
    (group,) = method.param_groups(1e-3)
    names = {id(p): name for name, p in method.named_parameters()}
    order = [names[id(p)].split(".")[0] for p in group["params"]]
    assert len(order) == len(names)
    assert list(dict.fromkeys(order))[:3] == ["theta", "backbone", "query"]


def test_trace_shapes_and_ranges():
    trace = build().eval().trace(one_label_batch().images)
    torch.testing.assert_close(trace.affinity.sum(-1), torch.ones(3, 3))  # Eq. 1
    for t in TASKS:
        bins = {"classes": 4, "positive": 30, "direction": 20}[t.kind]
        assert trace.global_tokens[t.name].shape == (3, 8)
        assert trace.task_features[t.name].shape == (3, 8, 4, 4)
        assert trace.fine_tokens[t.name].shape == (3, bins, 8)
        assert trace.fine_features[t.name].shape == (3, bins, 32, 32)
        assert (trace.scores[t.name] > 0).all()
        assert trace.refined[t.name].shape == (3, bins, 32, 32)
        confidence = trace.feature_confidence[t.name]
        assert confidence.shape == (3, 1, 4, 4) and 0 < confidence.min() <= confidence.max() < 1


def test_inter_task_learning_is_an_affine_combination():
    method = build()
    theta, features = torch.randn(2, 3, 8), torch.randn(2, 3, 5, 8)
    with torch.no_grad():
        method.Q.weight.copy_(torch.eye(8))
        method.K.weight.copy_(torch.eye(8))
        new_theta, new_features, A = method.learn_inter_task(theta, features)
    expected = (theta @ theta.transpose(1, 2)).softmax(-1)  # Eq. 1 with Q = K = identity
    torch.testing.assert_close(A, expected)
    torch.testing.assert_close(new_theta, expected @ theta)  # Eq. 2
    for b in range(2):
        for i in range(3):
            by_hand = sum(expected[b, i, j] * features[b, j] for j in range(3))
            torch.testing.assert_close(new_features[b, i], by_hand)


def test_fine_tokens_differ_by_their_orthogonal_embedding():
    method = build()
    task, theta = TASKS["semseg"], torch.randn(2, 8)
    phi = method.derive_fine_tokens(task, theta, 2)
    column = method.embed["semseg"].weight[:, 1]  # W^o x o for class 1
    torch.testing.assert_close(phi[:, 1], method.token_mlp["semseg"](column + theta))  # Eq. 3
    gram = method.embed["semseg"].weight.T @ method.embed["semseg"].weight
    torch.testing.assert_close(gram, 8 * torch.eye(4), atol=1e-4, rtol=0)  # C = 8


def test_score_mask_and_confidence_by_hand():
    phi = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])  # (1, 2, 2)
    U = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    expected = F.softplus(torch.tensor([2.0, -3.0]))
    torch.testing.assert_close(score_mask(phi, U).flatten(), expected)
    confidence = feature_confidence(torch.tensor([[1.0, 1.0]]), U)
    torch.testing.assert_close(confidence.flatten(), torch.tensor([5.0 / 2**0.5]).sigmoid())


def test_refined_logits_are_the_masked_ones_convolved():
    method = build().eval()
    trace = method.trace(one_label_batch().images)
    for t in TASKS:
        masked = trace.fine_features[t.name] * trace.scores[t.name]
        torch.testing.assert_close(trace.refined[t.name], method.refine[t.name](masked))  # Eq. 4


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_component_can_be_switched_off(switch):
    whole, ablated = build(), build(**{switch: False})
    batch = one_label_batch()
    terms = ablated.training_step(batch, progress=0.0)
    torch.stack(list(terms.values())).sum().backward()
    unused = [n for n, p in ablated.named_parameters() if p.grad is None]
    assert not unused, "an ablated model must not carry parameters that nothing uses"
    assert whole.state_dict().keys() != ablated.state_dict().keys() or any(
        a.shape != b.shape for a, b in zip(whole.parameters(), ablated.parameters(), strict=True)
    )


def test_without_inter_task_learning_the_affinity_is_the_identity():
    trace = build(inter_task=False).trace(one_label_batch().images)
    torch.testing.assert_close(trace.affinity, torch.eye(3).expand(3, 3, 3))


def test_contradicting_switches_are_refused():
    with pytest.raises(ValueError, match="global_tokens"):
        build(global_tokens=False, pseudo_features=True)


def test_bins_need_labels_and_classes_do_not():
    batch = one_label_batch(images=1)  # of semseg alone
    method = build_method("hitts", TASKS, "segnet", 0.125)
    with pytest.raises(ValueError, match="depth: expected labeled pixels to fit bins on"):
        method.prepare([batch])
    build_method("hitts", TASKS.subset(("semseg",)), "segnet", 0.125).prepare([])


def test_pseudo_supervision_needs_a_teacher():
    with pytest.raises(ValueError, match="teacher"):
        build(pseudo_labels=True).training_step(one_label_batch(), progress=0.0)


def test_supervised_terms_are_divided_by_the_number_of_tasks():
    method, batch = build(), one_label_batch()
    method.eval()  # same batch statistics in both calls
    terms = method.training_step(batch, progress=0.0)
    logits = method.trace(batch.images).refined["depth"]
    quantizer = method.quantizers["depth"]
    mask = batch.mask("depth")
    loss = mixture_loss(TASKS["depth"], quantizer, logits, batch.targets["depth"], mask, 0.1)
    torch.testing.assert_close(terms["depth"], loss.sum() / 3 / 3)  # Eq. 5: batch of 3, 3 tasks


def test_feature_supervision_is_zero_for_the_teacher_itself_and_weighs_by_confidence():
    method = build(pseudo_features=True)
    method.eval()
    batch = with_discoveries(method, one_label_batch())
    method.eval()
    assert method.training_step(batch, progress=0.0)["depth_feature"] < 1e-10
    moved = with_discoveries(method, one_label_batch(), shift=1.0)
    method.eval()
    confidence = moved.discovered.confidence["depth"]
    weight = torch.where(moved.labeled["depth"].view(-1, 1, 1, 1), 1.0, confidence)
    expected = weight.mean() / 3  # Eq. 6 with every squared distance 1
    torch.testing.assert_close(method.training_step(moved, progress=0.0)["depth_feature"], expected)


def test_features_beyond_a_turned_image_teach_nothing():
    """There, warping fills features and their confidence with zeros, labeled task or not."""
    method = build(pseudo_features=True).eval()
    batch = one_label_batch()
    found = method.discover(batch.images, {})
    inside = torch.ones_like(found.confidence["depth"])
    inside[..., 0] = 0
    features = {n: (f + 1) * inside for n, f in found.features.items()}
    confidence = {n: c * inside for n, c in found.confidence.items()}
    turned = Discovered(found.targets, found.valid, features, confidence)
    terms = method.training_step(replace(batch, discovered=turned), progress=0.0)
    labeled = batch.labeled["depth"].view(-1, 1, 1, 1)
    weight = torch.where(labeled, inside, confidence["depth"])  # squared distance 1, or not read
    torch.testing.assert_close(terms["depth_feature"], weight.mean() / 3)


def test_pseudo_labels_follow_threshold_and_bins():
    method = build().eval()
    images = one_label_batch().images
    everything = method.discover(images, {})
    nothing = method.discover(images, {"semseg": 1.0, "depth": 1.0, "normals": 1.0})
    assert all(v.all() for v in everything.valid.values())
    assert not any(v.any() for v in nothing.valid.values())
    centers = method.quantizers["depth"].centers[:, 0]
    assert torch.isin(everything.targets["depth"], centers).all()


def test_choices_are_stated():
    assert len(CHOICES) >= 12 and all(CHOICES.values())
