import pytest
import torch
from properties import TASKS, random_batch

from mtpsl.models import build_backbone
from mtpsl.papers.xtc.joint_losses import (
    Contrastive,
    Discriminator,
    Judge,
    judged,
    triplet_loss,
)

NONE = {n: torch.zeros(4, dtype=torch.bool) for n in TASKS.names}


def build(cls, **args):
    torch.manual_seed(0)
    return cls(TASKS, build_backbone("segnet", 0.125), **args).train()


def test_triplet_loss_by_hand():
    """Two images whose embeddings are unit vectors at one position."""
    s = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    t = torch.tensor([[1.0, 0.0], [0.6, 0.8]]).view(2, 2, 1, 1)
    # image 0: positive 0, negative 1; image 1: positive 1 - 0.8, negative 1 - 0.6
    assert triplet_loss(s, t, 0.2).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert triplet_loss(s, t, 0.5).tolist() == pytest.approx([0, 0.3], abs=1e-6)
    # labels exchanged: positives 1 - 0.6 and 1, negatives 1 - 0.8 and 0
    assert triplet_loss(s, t.flip(0), 0.0).tolist() == pytest.approx([0.2, 1], abs=1e-6)


def test_a_constant_mapping_is_no_solution():
    same = torch.ones(3, 4, 2, 2)
    assert triplet_loss(same, same, 0.2).tolist() == pytest.approx([0.2] * 3, abs=1e-6)
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 1))
    assert (judged(judge, same, same) >= 0.693).all()  # log 2: no better than guessing


def test_verdict_by_hand():
    """A judge that says the product of two numbers, 5 for every pair of equal sign."""

    def judge(pairs):
        return 5 * pairs[:, 0, 0, 0] * pairs[:, 1, 0, 0]

    s = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1, 1)
    surprise = torch.nn.functional.softplus(torch.tensor([-5.0, 5.0])).tolist()  # right, wrong
    right, wrong = surprise
    expected = [right, 0.5 * right + 0.25 * (right + wrong), 0.5 * right + 0.25 * (right + wrong)]
    assert judged(judge, s, s).tolist() == pytest.approx(expected, abs=1e-5)


def test_negatives_need_a_second_image():
    method = build(Contrastive)
    batch = random_batch()  # semseg labels two images, depth and normals one each
    predictions = method.net(batch.images).predictions
    pairs = method.embed(predictions, batch)
    assert [(len(m_s), len(m_t)) for _, m_s, m_t in pairs] == [(2, 2)] * 2
    assert method.embed(predictions, random_batch(labeled=NONE)) == []


def test_contrastive_has_no_regularizer():
    terms = build(Contrastive).training_step(*[random_batch(images=6)] * 2, progress=0.0)
    assert tuple(terms) == (*TASKS.names, "contrastive") and terms["contrastive"] > 0


def gradients(method, batch):
    method.zero_grad()
    terms = method.training_step(batch, batch, progress=0.0)
    sum(terms.values()).backward()
    return terms, {n for n, p in method.named_parameters() if p.grad is not None}


def test_the_two_turns_train_different_parameters():
    method, batch = build(Discriminator), random_batch(images=6)
    terms, first = gradients(method, batch)
    assert tuple(terms) == (*TASKS.names, "mapping") and terms["mapping"] > 0
    method.turn = 1
    terms, second = gradients(method, batch)
    assert tuple(terms) == ("discriminator",)
    assert second == {n for n, _ in method.named_parameters() if n.startswith("judge")}
    assert first == {n for n, _ in method.named_parameters()} - second


def test_a_turn_without_pairs_is_a_step_of_zero():
    method = build(Discriminator)
    gradients(method, random_batch(images=6))
    for method.turn in (0, 1):
        terms, _ = gradients(method, random_batch(labeled=NONE))
    assert terms["discriminator"] == 0
    assert not any(p.grad.any() for p in method.judge.parameters())


def test_the_discriminator_learns_from_what_the_network_made():
    method, batch = build(Discriminator), random_batch(images=6)
    terms, _ = gradients(method, batch)
    counts = {n: b.clone() for n, b in method.named_buffers()}
    pairs = method.embedded
    assert [len(m_s) for _, m_s, _ in pairs] == [2] * 6
    assert not any(m.requires_grad for _, *maps in pairs for m in maps)
    verdict = sum(judged(method.judge, m_s, m_t).sum() for _, m_s, m_t in pairs) / 6
    torch.testing.assert_close(terms["mapping"], method.weight * verdict)
    method.turn = 1
    terms, _ = gradients(method, batch)
    torch.testing.assert_close(terms["discriminator"], verdict)
    assert all(torch.equal(b, counts[n]) for n, b in method.named_buffers())  # BatchNorm's, too
    with pytest.raises(RuntimeError, match="turn 0 of the same batch"):  # it is used up
        method.training_step(batch, batch, progress=0.0)


def test_contrastive_by_hand():
    method, batch = build(Contrastive), random_batch(images=6)
    torch.manual_seed(1)  # of the Gumbel noise
    term = method.training_step(batch, batch, progress=0.0)["contrastive"]
    torch.manual_seed(1)
    predictions = method.net(torch.cat([batch.images] * 2)).predictions
    pairs = method.embed({n: maps[6:] for n, maps in predictions.items()}, batch)
    expected = sum(triplet_loss(m_s, m_t, method.margin).sum() for _, m_s, m_t in pairs) / 6
    torch.testing.assert_close(term, method.weight * expected, rtol=1e-3, atol=1e-5)


def test_the_judge_can_tell_pairs_apart():
    torch.manual_seed(0)
    judge, embedded = Judge(8, 32), torch.randn(4, 8, 2, 2)
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    first = float(judged(judge, embedded, embedded).mean().detach())
    for _ in range(60):
        loss = judged(judge, embedded, embedded).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first
