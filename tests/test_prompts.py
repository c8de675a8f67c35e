"""TaskPrompter, TSP-Transformer and the ViT beside them: counts, shapes, prompts, and padding."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from properties import TASKS, assert_withheld_labels_never_reach_gradient, build_net, random_batch
from torch import Tensor, nn

from mtpsl.methods import Method
from mtpsl.models import build_backbone
from mtpsl.papers import build_method
from mtpsl.papers.tpkr import prompts, tsp
from mtpsl.papers.tpkr.prompts import Reader, TaskPrompter
from mtpsl.papers.tpkr.tsp import TSP, each, larger, pad
from mtpsl.tasks import TaskSet, depth, edges, human_parts, normals, saliency, semseg

# Two logits of saliency, as in the release; ours has one, which says the same.
TWO_LOGITS = replace(saliency("max_f"), channels=2)
PEOPLE = TaskSet((semseg(21), human_parts(), TWO_LOGITS, normals(), edges()))
NYUD = TaskSet((semseg(13), depth(), normals()))
PASCAL = {
    "channels": 300, "final_channels": 350, "windows": 1, "reweight": True, "grid": (32, 32),
}  # fmt: skip
BOTH = pytest.mark.parametrize("name", ["task_prompter", "tsp"])
MIXED = {"reweight": True}  # also what the default of TaskPrompter leaves out


def build(name: str, tasks: TaskSet = TASKS, **args) -> Method:
    torch.manual_seed(0)
    return build_method(name, tasks, "vit_base", 0.125, args)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def images(batch: int = 2, height: int = 96, width: int = 144) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "args", "published"), [(PEOPLE, PASCAL, 401_104_864), (NYUD, {}, 444_632_721)]
)
def test_task_prompter_has_the_released_size(tasks: TaskSet, args: dict, published: int) -> None:
    with torch.device("meta"):
        assert count(TaskPrompter(tasks, build_backbone("vit_large"), **args)) == published


def test_tsp_is_the_release_without_what_it_never_reads() -> None:
    with torch.device("meta"):
        ours = count(TSP(NYUD, build_backbone("vit_large")))
    third_map = 9 * 1024 * 576 + 576
    behind_first_stage = 3 * (576 * 576 + 576)
    fusion, norm = 2 * 4 + 2, 2 * 3 * 144
    prompts_of_a_fourth_task = 12 * 5 * 1024
    idle = third_map + behind_first_stage + fusion + norm + prompts_of_a_fourth_task
    assert ours + idle == 380_863_312


def test_the_plain_network_is_a_vit_with_the_fused_heads() -> None:
    with torch.device("meta"):
        net = build_method("supervised", NYUD, "residual_vit").net
        head = build_net("resnet18_fused", NYUD).heads
    assert count(net.backbone.vit) == 303_301_632
    assert count(net.backbone.join) == 9 * 1024 * 512 + 512
    assert count(net.heads) == count(head)


@BOTH
def test_shapes_and_both_maps(name: str) -> None:
    method = build(name).eval()
    with torch.no_grad():
        for height, width in ((96, 144), (64, 80)):
            found = method.predict(images(2, height, width))
            shapes = [(2, t.channels, height, width) for t in TASKS]
            assert [tuple(x.shape) for x in found.values()] == shapes


def test_shapes_of_the_plain_network() -> None:
    net = build_method("supervised", TASKS, "residual_vit", 0.125, {}, {"vit": "vit_base"}).net
    output = net(images())
    assert output.features.shape == (2, 64, 6, 9)
    assert output.predictions["semseg"].shape == (2, 5, 96, 144)


@BOTH
def test_only_transformers_take_prompts(name: str) -> None:
    with pytest.raises(ValueError, match="expected a ViT, .* got SegNet"):
        build_method(name, TASKS, "segnet", 0.125)
    with pytest.raises(ValueError, match="multiples of 16"):
        build(name).predict(images(1, 60, 64))


@BOTH
def test_weights_of_timm_fit(name: str, tmp_path) -> None:
    """Saved from a plain ViT at its own grid, they enter a prompted one at another."""
    torch.manual_seed(5)
    plain = build_backbone("vit_base", 0.125)
    torch.save(plain.net.state_dict(), tmp_path / "vit.pth")
    start = {"weights": str(tmp_path / "vit.pth")}
    method = build_method(name, TASKS, "vit_base", 0.125, {}, start)
    theirs, ours = plain.net.state_dict(), method.backbone.net.state_dict()
    same = [n for n in theirs if n not in ("pos_embed", "cls_token")]
    assert all(torch.equal(theirs[n], ours[n]) for n in same)
    assert ours["pos_embed"].shape == (1, 1 + 18 * 24, 128)


# --- prompts ----------------------------------------------------------------------------------


@BOTH
def test_prompts_change_the_predictions_of_their_task(name: str) -> None:
    method = build(name).eval()
    with torch.no_grad():
        before = method.predict(images())
        prompt = method.prompts[0] if name == "task_prompter" else method.prompts[:, 0]
        prompt += torch.randn(prompt.shape, generator=torch.Generator().manual_seed(3))
        after = method.predict(images())
    assert not torch.allclose(before["semseg"], after["semseg"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("where", ["deep", "shallow"])
def test_a_prompt_of_tsp_is_seen_by_its_task_alone(where: str) -> None:
    """Before the decoder; and blocks before the first prompt say the same for all tasks."""
    method = build("tsp", where=where).eval()
    with torch.no_grad():
        method.prompts[:, 1] = torch.randn(6, 5, 128)
        fine, middle, last = method.encode(images())
    assert last.shape == (3, 2, 6, 9, 128)
    assert torch.equal(last[0], last[2]) and not torch.allclose(last[0], last[1])
    for x in (fine, middle):
        assert torch.allclose(x[0], x[1]) == (where == "deep")


def test_without_prompts_the_transformer_is_timms() -> None:
    """Five tokens that nothing attends to would change nothing; zeros do change the softmax."""
    method = build("tsp").eval()
    method.prompts = nn.Parameter(torch.zeros(6, 3, 0, 128))
    plain = method.backbone.eval()
    with torch.no_grad():
        found, expected = method.encode(images())[2], plain(images()).decoder.movedim(1, -1)
    torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-4, atol=1e-4)


def test_what_a_task_reads_by_timms_own_attention() -> None:
    """Its map and its attention scores at the last depth, one block after the other."""
    method = build("task_prompter").eval()
    seen = []
    method.readers[3]["depth"].register_forward_pre_hook(lambda _, args: seen.extend(args))
    vit = method.backbone.net
    with torch.no_grad():
        method.predict(images())
        x, size = prompts.embed(method.backbone, images())
        x = torch.cat([method.prompts.expand(2, -1, -1), x[:, 1:]], dim=1)
        for block, draw, hand_back in zip(vit.blocks, method.draw, method.hand_back, strict=True):
            enters = block.norm1(x)
            x = x + block.attn(enters)
            x[:, :3] += hand_back(draw(enters[:, :3]))
            x = x + block.mlp(block.norm2(x))
        q, k, _ = block.attn.qkv(enters).chunk(3, dim=2)
        heads = [q[:, 1, c : c + 64].unsqueeze(1) @ k[:, 3:, c : c + 64].mT for c in (0, 64)]
    maps, spatial, _ = seen
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(maps, vit.norm(x)[:, 3:].mT.unflatten(2, size), **close)
    torch.testing.assert_close(spatial, torch.cat(heads, 1).unflatten(2, size), **close)


@BOTH
def test_the_gradient_reaches_every_prompt(name: str) -> None:
    method = build(name)
    batch = random_batch(TASKS, images=3, side=64)
    sum(method.training_step(batch, progress=0.0).values()).backward()
    prompts_of = method.prompts.grad.flatten(-2) if name == "tsp" else method.prompts.grad
    assert prompts_of.any(dim=-1).all()


def test_all_of_task_prompter_learns_but_the_last_way_back() -> None:
    method = build("task_prompter", **MIXED)
    sum(method.training_step(random_batch(), progress=0.0).values()).backward()
    idle = {n for n, p in method.named_parameters() if not p.grad.any()}
    assert idle == {"hand_back.11.weight", "hand_back.11.bias"}


# --- tasks ------------------------------------------------------------------------------------


PER_TASK = ("refine", "preliminary", "join", "heads", "enlarge", "leave", "halve")  # lists of TSP


def reorder(method: Method, order: list[int]) -> Method:
    """The same network with tasks, and what has one part a task, in another order."""
    of_tsp = isinstance(method, TSP)
    tasks = TASKS.subset(tuple(TASKS.names[i] for i in order))
    other = build("tsp", tasks) if of_tsp else build("task_prompter", tasks, **MIXED)
    new = {}
    for name, value in method.state_dict().items():
        parts = name.split(".")
        where = next((i for i, part in enumerate(parts) if part in PER_TASK), None)
        if of_tsp and where is not None:
            parts[where + 1] = str(order.index(int(parts[where + 1])))
        if name == "prompts":
            value = value[:, order] if of_tsp else value[order]
        if "joint_norm" in parts:
            value = value.unflatten(0, (3, -1))[order].flatten()
        new[".".join(parts)] = value
    other.load_state_dict(new)
    return other.eval()


@BOTH
@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_permuting_the_tasks_permutes_the_predictions(name: str, order: list[int]) -> None:
    method = build(name, **(MIXED if name == "task_prompter" else {})).eval()
    with torch.no_grad():
        method.prompts += 0.1 * torch.randn(method.prompts.shape)
        expected, found = method.predict(images()), reorder(method, order).predict(images())
    assert tuple(found) == tuple(TASKS.names[i] for i in order)
    for task in TASKS.names:
        torch.testing.assert_close(found[task], expected[task], rtol=1e-3, atol=1e-4)


def test_reweighting_mixes_the_features_of_all_tasks() -> None:
    """With weights of 1 for every task, all tasks read the sum of the plain features."""
    plain, mixed = build("task_prompter").eval(), build("task_prompter", **MIXED).eval()
    mixed.load_state_dict(plain.state_dict(), strict=False)
    for layer in (reader.weigh for level in mixed.readers for reader in level.values()):
        nn.init.zeros_(layer[2].weight)
        nn.init.ones_(layer[2].bias)
    with torch.no_grad():
        expected, found = sum(plain.read(images())), mixed.read(images())
    for features in found:
        torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3)


@BOTH
def test_a_step_of_training_is_safe_with_withheld_labels(name: str) -> None:
    method, batch = build(name), random_batch(TASKS, images=3, side=64)
    assert_withheld_labels_never_reach_gradient(method, batch)
    method.train()
    optimizer = torch.optim.Adam(method.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = sum(method.training_step(batch, progress=0.0).values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_preliminary_predictions_learn_from_the_same_labels() -> None:
    method = build("tsp")
    terms = method.training_step(random_batch(images=3), progress=0.0)
    assert set(terms) == {*TASKS.names, *(f"{n}_preliminary" for n in TASKS.names)}
    (gradient,) = torch.autograd.grad(terms["depth_preliminary"], method.preliminary[1].weight)
    assert gradient.any()


# --- parts, by hand ---------------------------------------------------------------------------


def test_a_reader_by_hand() -> None:
    """Two heads of two channels each, two windows along a side of four positions."""
    reader = Reader(4, 8, 8).eval()
    maps, spatial, agrees = torch.rand(1, 4, 4, 4), torch.rand(1, 2, 4, 4), torch.rand(1, 4, 2, 2)
    by_position, by_channel = maps.clone(), maps.clone()
    for c in range(4):
        for i in range(4):
            for j in range(4):
                by_position[0, c, i, j] *= 1 + spatial[0, c // 2, i, j]
                by_channel[0, c, i, j] *= 1 + agrees[0, c, i // 2, j // 2]
    expected = [reader.by_position(by_position), reader.by_channel(by_channel)]
    torch.testing.assert_close(reader(maps, spatial, agrees), reader.fuse(torch.cat(expected, 1)))


@pytest.mark.parametrize("windows", [1, 3])
def test_the_channel_path_sums_over_windows(windows: int) -> None:
    method = build("task_prompter", windows=windows, grid=(6, 9)).eval()
    seen = []
    method.readers[0]["normals"].register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    maps, keys = torch.rand(2, 1, 128, 6, 9)
    drawn = torch.rand(1, 3, 54)
    with torch.no_grad():
        method.read_depth(0, maps, keys, torch.rand(1, 2, 3, 3 + 54), drawn)
    products = drawn[:, 2].view(1, 1, 6, 9) * keys
    rows, columns = 6 // windows, 9 // windows
    expected = F.avg_pool2d(products, (rows, columns)) * rows * columns
    torch.testing.assert_close(seen[0], expected)


def test_maps_are_padded_only_where_they_must_be() -> None:
    fits = torch.rand(3, 2, 4, 8, 5)
    assert torch.equal(pad(fits), fits)
    padded = pad(fits[:, :, :3, :6])
    assert padded.shape == fits.shape and torch.equal(padded[:, :, :3, :6], fits[:, :, :3, :6])
    assert torch.equal(padded[:, :, 3, 6], fits[:, :, 2, 5])


@pytest.mark.parametrize(("height", "width"), [(64, 128), (288, 384)])
def test_a_padded_grid_predicts_as_one_that_fits(height: int, width: int, monkeypatch) -> None:
    """Where nothing is padded the prediction is that without padding; 288 pixels need it."""
    method = build("tsp", grid=(4, 8)).eval()
    with torch.no_grad():
        found = method.predict(images(1, height, width))
        monkeypatch.setattr(tsp, "pad", lambda maps: maps)
        if height == 288:
            with pytest.raises(RuntimeError):
                method.predict(images(1, height, width))
        else:
            again = method.predict(images(1, height, width))
            assert all(torch.equal(found[n], again[n]) for n in TASKS.names)
    assert found["depth"].shape == (1, 1, height, width)


def test_scores_reach_the_next_stage() -> None:
    """By hand: fused scores of one query and key, of one task, image and head."""
    torch.manual_seed(0)
    stage, first = tsp.JointStage(3, 16, 8, 16, 4).eval(), tsp.JointStage(3, 0, 16, 16, 2).eval()
    with torch.no_grad():
        x, scores, _ = first(torch.rand(3, 2, 4, 4, 16), None, None)
        assert scores.shape == (3, 4, 2, 2, 12)  # tasks, images x heads, queries, keys
        _, found, _ = stage(x, torch.rand(1, 2, 8, 8, 8), scores)
        stage.fuse.weight.zero_()
        stage.fuse.bias.zero_()
        stage.fuse.weight[0, 3] = 1.0  # the first head copies what the second one had before
        _, copied, _ = stage(x, torch.rand(1, 2, 8, 8, 8), scores)
    assert found.shape == copied.shape == (3, 4, 4, 4, 12)
    expected = each(larger(2.0), scores)
    torch.testing.assert_close(copied[:, 0::2], expected[:, 1::2])
    assert not copied[:, 1::2].any()


def test_all_tasks_attend_to_each_other() -> None:
    """What one task has after the first stage depends on every task's map."""
    stage = tsp.JointStage(3, 0, 16, 16, 2).eval()
    x = torch.rand(3, 1, 4, 4, 16, requires_grad=True)
    after, _, shown = stage(x, None, None)
    (gradient,) = torch.autograd.grad(after[0].square().sum(), x)
    assert gradient.flatten(1).any(1).all() and shown.shape == x.shape


def test_choices_are_said() -> None:
    assert {"protocol of Table 5", "windows", "B"} <= set(prompts.CHOICES)
    assert {"grid", "layers that nothing reads"} <= set(tsp.CHOICES)
