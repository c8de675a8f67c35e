"""MTAN against its published size, a plain rewrite of its forward pass, and what tasks share."""

import pytest
import torch
import torch.nn.functional as F
from properties import random_batch
from torch import Tensor, nn

from mtpsl import papers
from mtpsl.methods.baselines import MTAN
from mtpsl.models import build_backbone
from mtpsl.models.cost import Cost, cost
from mtpsl.models.segnet import AttentionSegNet, attention
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple(f"class {k}" for k in range(13))), depth(), normals()))
UNUSED = 3  # log-variances inside the released module, which its plain training never reads


def net(seed: int = 0, width_factor: float = 0.125) -> AttentionSegNet:
    torch.manual_seed(seed)
    return AttentionSegNet(build_backbone("segnet", width_factor), TASKS)


def images(batch: int = 2, height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# --- as published -----------------------------------------------------------------------------


def test_costs_what_the_papers_print() -> None:
    """[HiTTs, Table 8]: 44.23 M parameters and 217.26 G FLOPs."""
    found = cost(build_method("mtan", TASKS), 288, 384)
    assert found == Cost(44_229_076 - UNUSED, macs=216_045_453_312, thop_flops=217_262_850_048)


def test_parameters_by_hand() -> None:
    """By channels that a stage reads, and the width of what it weighs."""
    with torch.device("meta"):
        mtan = AttentionSegNet(build_backbone("segnet"), TASKS)

    def look(reads: int, width: int) -> int:
        return reads * width + width + width * width + width + 4 * width

    def carry(enters: int, leaves: int) -> int:
        return 9 * enters * leaves + leaves + 2 * leaves

    down = look(64, 64) + look(256, 128) + look(512, 256) + 2 * look(1024, 512)
    up = look(1024, 512) + look(768, 256) + look(384, 128) + look(192, 64) + look(128, 64)
    assert [parameters(part) for part in mtan.attention.values()] == [down + up] * 3
    shared = carry(64, 128) + carry(128, 256) + carry(256, 512) + 2 * carry(512, 512)
    assert parameters(mtan.carry_down) == shared == 6_272_640
    shared = carry(512, 512) + carry(512, 256) + carry(256, 128) + carry(128, 64) + carry(64, 64)
    assert parameters(mtan.carry_up) == shared == 3_947_520
    assert parameters(mtan.backbone) + parameters(mtan.heads) == 25_055_185


def test_attention_module_of_the_released_code() -> None:
    kinds = [type(layer).__name__ for layer in attention(8, 4)]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "Sigmoid"]
    assert all(m.bias is not None for m in attention(8, 4) if isinstance(m, nn.Conv2d))


def test_starts_like_segnet() -> None:
    mtan = net(width_factor=0.5)
    for layer in mtan.modules():
        if isinstance(layer, nn.Conv2d):
            assert not layer.bias.any()
    weight = mtan.attention["depth"][3][0].weight  # (256, 512, 1, 1)
    assert weight.std().item() == pytest.approx((2 / (512 + 256)) ** 0.5, rel=0.02)  # xavier normal


# --- forward ----------------------------------------------------------------------------------


def test_forward_is_a_plain_rewrite() -> None:
    """Stage by stage with indices, as the paper's figure shows it, instead of lists in order."""
    # Normalized by the batch: with fresh running statistics maps fade to 1e-7 on their way.
    mtan = net().double()
    segnet, x = mtan.backbone, images().double()
    with torch.no_grad():
        found = mtan(x)
        first, last, where = {}, {}, {}
        for i in range(5):
            stage = segnet.encoder[i]
            first[i] = stage[2](stage[1](stage[0](x)))
            last[i] = stage(x)
            x, where[i] = F.max_pool2d(last[i], 2, return_indices=True)
        unpooled, end = {}, {}
        for i in range(5):  # from the bottom up: stage 4 - i of the encoder mirrored
            unpooled[i] = F.max_unpool2d(x, where[4 - i], 2)
            x = end[i] = segnet.decoder[i](unpooled[i])
        for task in TASKS:
            look = mtan.attention[task.name]
            own = look[0](first[0]) * last[0]
            for i in range(5):
                if i > 0:
                    own = look[i](torch.cat([first[i], own], 1)) * last[i]
                own = F.max_pool2d(mtan.carry_down[i](own), 2)
            for i in range(5):
                own = F.interpolate(own, unpooled[i].shape[2:], mode="bilinear")
                own = mtan.carry_up[i](own)
                own = look[5 + i](torch.cat([unpooled[i], own], 1)) * end[i]
            expected = task.activate(mtan.heads[task.name](own).float())
            assert expected.std() > 0.01
            torch.testing.assert_close(found[task.name], expected)


def test_a_task_that_attends_to_nothing_predicts_its_bias() -> None:
    mtan = net().eval()
    with torch.no_grad():
        before = mtan(images())
        norm = mtan.attention["depth"][-1][4]
        norm.weight.zero_()
        norm.bias.fill_(-1e4)  # sigmoid: exactly 0
        mtan.heads["depth"][1].bias.fill_(2.5)
        after = mtan(images())
    assert (after["depth"] == 2.5).all()
    assert torch.equal(after["semseg"], before["semseg"])
    assert torch.equal(after["normals"], before["normals"])


def test_predictions_suit_their_losses() -> None:
    predictions = net()(images())
    assert tuple(predictions) == TASKS.names
    for task in TASKS:
        assert predictions[task.name].shape == (2, task.channels, 64, 96)
    lengths = predictions["normals"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_channels_last_changes_nothing_but_the_layout() -> None:
    mtan, x = net().double(), images().double()
    with torch.no_grad():
        expected = mtan(x)
        mtan.to(memory_format=torch.channels_last)
        found = mtan(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


def test_bfloat16_autocast_gives_float32_predictions() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        predictions = net()(images())
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in predictions.values())


# --- what tasks share, and the method ---------------------------------------------------------


@pytest.mark.parametrize("name", TASKS.names)
def test_a_task_moves_the_shared_parameters_and_its_own(name: str) -> None:
    torch.manual_seed(0)
    method = build_method("mtan", TASKS, "segnet", 0.125)
    batch = random_batch(TASKS, labeled=dict.fromkeys(TASKS.names, torch.ones(4, dtype=torch.bool)))
    method.training_step(batch, progress=0.0)[name].backward()
    moved = {n for n, p in method.named_parameters() if p.grad is not None}
    shared = {id(p) for p in method.shared_parameters()}
    own = {n for n, p in method.named_parameters() if id(p) not in shared and f".{name}." in n}
    assert moved == own | {n for n, p in method.named_parameters() if id(p) in shared}


def test_three_tasks_share_all_but_attention_and_heads() -> None:
    mtan = net()
    own = parameters(mtan.attention) + parameters(mtan.heads)
    assert sum(p.numel() for p in mtan.shared_parameters()) == parameters(mtan) - own


def test_only_segnet_has_the_stages_that_it_attends_to() -> None:
    with pytest.raises(ValueError, match="backbone: expected segnet, got ResNet; MTAN attends"):
        build_method("mtan", TASKS, "resnet18", 0.125)


def test_is_registered() -> None:
    assert papers.methods()["mtan"] is MTAN


def test_a_size_that_cannot_be_halved_is_named() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, got \(48, 64\); resize"):
        net()(torch.rand(1, 3, 48, 64))
