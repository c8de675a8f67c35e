from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mtpsl.batch import Batch, Discovered
from mtpsl.methods.base import OnlineTeacher
from mtpsl.models.cost import cost
from mtpsl.papers import build_method
from mtpsl.papers.hitts.choices import CHOICES, RELEASED
from mtpsl.papers.hitts.method import HiTTs, MixtureLoss, mixture_loss
from mtpsl.papers.hitts.scales import Scale
from mtpsl.papers.hitts.tokens import TaskTokens, enlarge, feature_confidence, score_mask, to_size
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
    assert measured.params == 25_362_978 + 3 * 64  # the released blocks, and the tokens
    assert abs(measured.params / 25.32e6 - 1) < 0.005
    assert abs(measured.thop_flops / 83.14e9 - 1) < 0.01


def effective_rank(matrix):
    """exp of the entropy of the singular values, as shares of their sum [Roy and Vetterli 2007]."""
    share = torch.linalg.svdvals(matrix)
    share = share / share.sum()
    return float(torch.special.entr(share).sum().exp())


def test_without_orthogonal_embeddings_fine_tokens_start_alike():
    """30 tokens of 64 channels; means over five seeds, with theta' as theta starts."""
    only, rank = TaskSet((depth(),)), {}
    for embedded in (True, False):
        ranks = []
        for seed in range(5):
            torch.manual_seed(seed)
            tokens = TaskTokens(only, 64, orthogonal_embeddings=embedded)
            with torch.no_grad():
                (phi,) = tokens.derive_fine_tokens(only["depth"], tokens.theta, 1)
            ranks.append(effective_rank(phi))
        rank[embedded] = sum(ranks) / len(ranks)
    assert 13 < rank[True] < 17 and 1.9 < rank[False] < 2.2


def test_trace_shapes_and_ranges():
    trace = build().eval().trace(one_label_batch().images)
    torch.testing.assert_close(trace.affinity.sum(-1), torch.ones(3, 3))  # Eq. 1
    for t in TASKS:
        bins = {"classes": 4, "positive": 30, "direction": 20}[t.kind]
        assert trace.global_tokens[t.name].shape == (3, 8)
        assert trace.maps[t.name].shape == (3, 8, 32, 32)
        assert trace.task_features[t.name].shape == (3, 8, 4, 4)
        means = F.avg_pool2d(trace.maps[t.name], 8)
        torch.testing.assert_close(trace.task_features[t.name], means)
        assert trace.fine_tokens[t.name].shape == (3, bins, 8)
        assert trace.fine_features[t.name].shape == (3, bins, 32, 32)
        assert (trace.scores[t.name] > 0).all()
        assert trace.refined[t.name].shape == (3, bins, 32, 32)
        confidence = trace.feature_confidence[t.name]
        assert confidence.shape == (3, 1, 4, 4) and 0 < confidence.min() <= confidence.max() < 1


def test_inter_task_learning_is_an_affine_combination():
    scale, theta = build().single, torch.randn(3, 8)
    gates = torch.rand(2, 3, 5, 4)
    with torch.no_grad():
        for layer in (scale.Q, scale.K):
            layer.weight.copy_(torch.eye(8))
        A = scale.affinity(theta)
        new_theta, new_gates = scale.mix(A, theta, gates)
    expected = (theta @ theta.T / 8**0.5).softmax(-1)  # Eq. 1 with Q = K = identity
    torch.testing.assert_close(A, expected)
    torch.testing.assert_close(new_theta, expected @ theta)  # Eq. 2
    for i in range(3):
        by_hand = sum(expected[i, j] * gates[:, j] for j in range(3))
        torch.testing.assert_close(new_gates[:, i], by_hand)


def test_tasks_exchange_one_number_a_pixel():
    """A F of Eq. 2, with F_i = gate_i x F_s, is (A x gates) F_s: no channel of another task."""
    torch.manual_seed(0)
    scale, theta, shared = Scale(TASKS, 8), torch.randn(3, 8), torch.randn(2, 8, 5, 6)
    with torch.no_grad():
        A, gates = scale.affinity(theta), scale.query(theta, shared)
        _, maps, _ = scale(theta, shared)
        asked = theta * scale.answers.factor  # one factor a channel; offsets start at 0
        by_hand = torch.einsum("tc,bchw->bthw", asked, shared).sigmoid()
        torch.testing.assert_close(gates, by_hand)
        features = gates[:, :, None] * shared[:, None]  # F_i
        for i, conv in enumerate(scale.convs.values()):
            mixed = sum(A[i, j] * features[:, j] for j in range(3))  # all channels
            torch.testing.assert_close(mixed, (A[i] @ gates.flatten(2)).view(2, 1, 5, 6) * shared)
            torch.testing.assert_close(maps[i], conv(mixed))


def test_attention_is_that_of_cells_and_token():
    """Depthwise convolutions of stride 8 make queries, keys and values; one head."""
    attention = build().attention["depth"]
    theta, features = torch.randn(2, 8), torch.randn(2, 8, 16, 24)
    new_theta, new = attention(theta, features)
    qkv = []
    for weight, linear in zip(attention.cells, attention.qkv, strict=True):
        cells = F.conv2d(features, weight.view(8, 1, 8, 8), stride=8, groups=8).flatten(2).mT
        qkv.append(linear(torch.cat([theta[:, None], cells], dim=1)))
    q, k, v = qkv
    attended = (q @ k.mT / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(new_theta, attention.token(attended[:, 0]))
    coarse = attention.feature(attended[:, 1:]).mT.unflatten(2, (2, 3))
    torch.testing.assert_close(new, features + to_size(coarse, (16, 24)))


def test_cells_are_enlarged_bilinearly():
    cells = torch.randn(2, 5, 3, 7)
    by_hand = to_size(cells.permute(0, 3, 1, 2), (13, 24)).permute(0, 2, 3, 1)
    torch.testing.assert_close(enlarge(cells, (13, 24)), by_hand)


def test_fine_tokens_differ_by_their_orthogonal_embedding():
    method = build()
    task, theta = TASKS["semseg"], torch.randn(2, 8)
    phi = method.derive_fine_tokens(task, theta, 2)
    embed, mlp = method.embed["semseg"], method.token_mlp["semseg"]
    inputs = embed(torch.eye(4)).T + theta[:, :, None]  # (B, C, C_p): W^o x o + copies of theta'
    torch.testing.assert_close(phi, mlp(inputs).mT)  # Eq. 3, along the class axis
    copies = build(orthogonal_embeddings=False)
    phi = copies.derive_fine_tokens(task, theta, 2)
    mlp = copies.token_mlp["semseg"]
    torch.testing.assert_close(phi, mlp(theta[:, :, None].expand(-1, -1, 4)).mT)


def test_score_mask_and_confidence_by_hand():
    phi = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])  # (1, 2, 2)
    feature = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
    expected = F.softplus(torch.tensor([2.0, -3.0]))
    torch.testing.assert_close(score_mask(phi, feature).flatten(), expected)
    confidence = feature_confidence(torch.tensor([[1.0, 1.0]]), feature)
    torch.testing.assert_close(confidence.flatten(), torch.tensor([5.0]).sigmoid())


def test_refined_logits_are_the_masked_ones_convolved():
    method = build().eval()
    trace = method.trace(one_label_batch().images)
    for t in TASKS:
        masked = trace.fine_features[t.name] * trace.scores[t.name]
        torch.testing.assert_close(trace.refined[t.name], method.refine[t.name](masked))  # Eq. 4
        answers = method.answers[t.name]  # F'_i after one factor and offset a channel
        scaled = trace.maps[t.name] * answers.factor[:, None, None]
        scores = score_mask(trace.fine_tokens[t.name], scaled)
        torch.testing.assert_close(trace.scores[t.name], scores)


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


def test_only_the_images_whose_logits_are_read_are_decoded():
    method, batch = build().eval(), one_label_batch()
    whole, part = (method.trace(batch.images, only=only) for only in (None, batch.labeled))
    for t in TASKS:
        rows = batch.labeled[t.name]
        assert len(part.scores[t.name]) == len(part.fine_tokens[t.name]) == rows.sum() == 1
        torch.testing.assert_close(part.refined[t.name], whole.refined[t.name][rows])
        torch.testing.assert_close(part.maps[t.name], whole.maps[t.name])
    losses = [method.mixture_loss(trace.refined, batch) for trace in (whole, part)]
    torch.testing.assert_close(*losses)


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
    assert len(RELEASED) >= 10 and all(RELEASED.values())


# --- where paper and released code differ: arguments ---------------------------------------------

OPTIONS = (
    "mixture='released'", "teacher='online'", "pseudo='soft'", "temperature=5", "normals_loss='l1'",
    "depth_range=", "normal_centers_from='half_sphere'", "fusion_stride=4",
)  # fmt: skip


def test_every_option_is_named_where_the_choice_is():
    text = " ".join(CHOICES.values())
    assert [option for option in OPTIONS if option not in text] == []


def test_the_mean_of_pseudo_losses_is_over_all_pixels():
    """Eq. 7's product with M^p: what is rejected counts as 0, not as absent."""
    method, batch = build(pseudo_labels=True).eval(), one_label_batch()
    batch = with_discoveries(method, batch)
    method.eval()
    found, logits = batch.discovered, method.trace(batch.images).refined
    for name, valid in found.valid.items():
        valid[..., : 32 // 4] = False  # a quarter of the pixels
        rows, task = ~batch.labeled[name], TASKS[name]
        accepted = valid[rows]
        of_accepted = mixture_loss(
            task, method.quantizers[name], logits[name][rows], found.targets[name][rows],
            accepted, 0.1,
        )  # fmt: skip
        term = method.mixture_loss.pseudo(logits, batch)[f"{name}_pseudo"]
        torch.testing.assert_close(term, 0.75 * of_accepted.sum() / 3 / 3)


def test_the_released_mixture_turns_lambda_around():
    method, batch = build().eval(), one_label_batch()
    heavy = TaskSet(tuple(replace(t, weight=2.0) for t in TASKS))
    logits = method.trace(batch.images).refined
    loss = MixtureLoss(heavy, method.quantizers, mixture="released")(logits, batch)
    for t in TASKS:
        labels = batch.targets[t.name], batch.mask(t.name)
        own = t.loss(method.quantizers[t.name].decode(logits[t.name]), *labels)
        if t.kind != "classes":
            classes = mixture_loss(t, method.quantizers[t.name], logits[t.name], *labels, 0.0)
            own = own + 0.1 * classes
        torch.testing.assert_close(loss[t.name], 2 * own.sum() / 3 / 3)


def test_l1_of_normals_is_a_sum_over_channels():
    batch, quantizers = one_label_batch(), build().quantizers
    task, labels = TASKS["normals"], (batch.targets["normals"], batch.mask("normals"))
    logits = torch.randn(3, 20, 32, 32)
    loss = MixtureLoss(TASKS, quantizers, 1.0, normals_loss="l1").tasks["normals"].loss
    prediction = quantizers["normals"].decode(logits)
    error = (prediction - labels[0]).abs().sum(1)[batch.labeled["normals"]]
    expected = torch.zeros(3).masked_scatter(batch.labeled["normals"], error.mean((1, 2)))
    torch.testing.assert_close(loss(prediction, *labels), expected)
    assert MixtureLoss(TASKS, quantizers).tasks["normals"].loss is task.loss


def test_soft_pseudo_labels_are_predictions_that_count_as_much_as_they_are_sure():
    method, batch = build(pseudo_labels=True, pseudo="soft").eval(), one_label_batch()
    trace = method.trace(batch.images)
    sure = method.label_confidence(batch.images)
    probability = (5 * trace.refined["depth"]).softmax(1).amax(1, keepdim=True)
    torch.testing.assert_close(sure["depth"], probability)
    classes = trace.refined["semseg"].softmax(1).amax(1, keepdim=True)
    torch.testing.assert_close(sure["semseg"], classes)  # no temperature
    tau = probability.median().item()
    found = method.discover(batch.images, {"depth": tau})
    assert set(found.weights) == {"depth", "normals"}
    torch.testing.assert_close(found.targets["depth"], trace.predictions["depth"])
    target = {n: m if n == "semseg" else m + 1 for n, m in found.targets.items()}  # 1 further off
    moved = replace(batch, discovered=replace(found, targets=target))
    terms = method.training_step(moved, progress=0.0)
    rows = ~batch.labeled["depth"]
    weight = (probability * (probability > tau))[rows]
    torch.testing.assert_close(terms["depth_pseudo"], weight.mean((1, 2, 3)).sum() / 3 / 3)


def test_a_student_of_soft_labels_refuses_hard_ones():
    student = build(pseudo_labels=True, pseudo="soft")
    batch = with_discoveries(build(), one_label_batch())
    with pytest.raises(ValueError, match="depth: expected soft pseudo labels with weights, got"):
        student.training_step(batch, progress=0.0)


def test_an_online_teacher_labels_the_views_themselves():
    teacher = build().eval()
    student = build(pseudo_labels=True, pseudo_features=True, teacher="online").eval()
    with pytest.raises(ValueError, match="teacher"):
        student.training_step(one_label_batch(), progress=0.0)
    student.teacher = OnlineTeacher(teacher, {"semseg": 0.3})
    batch = one_label_batch()
    found = teacher.discover(batch.images, {"semseg": 0.3}).withhold(batch)
    offline = student.training_step(replace(batch, discovered=found), progress=0.0)
    online = student.training_step(batch, progress=0.0)
    assert set(online) == set(offline) and online["depth_pseudo"] > 0
    for name, term in online.items():
        assert torch.equal(term, offline[name])
    assert student.online and not teacher.online
    assert len(list(student.parameters())) == len(list(teacher.parameters()))  # no part of it


@pytest.mark.parametrize("name", ["mixture", "teacher", "pseudo", "normals_loss"])
def test_an_unknown_option_is_refused(name):
    with pytest.raises(ValueError, match=f"expected {name} to be one of"):
        build(**{name: "other"})
