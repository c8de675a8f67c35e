"""The loader: every image once an epoch, and nothing but (seed, epoch, image) decides a view."""

import pytest
import torch

from mtpsl.data.dataset import Dataset, EvalLoader, Sample, TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.transforms import relative
from mtpsl.tasks import TaskSet, depth

H, W = 12, 16


class Numbered(Dataset):
    """Image i holds i / 100 in its red channel and a ramp in the others; depth is i + 1."""

    name, version, split, stand_in, height, width = "numbered", "1", "train", True, H, W
    tasks = TaskSet((depth(),))

    def __init__(self, images: int = 10) -> None:
        self.images = images

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        x = torch.linspace(0, 1, W).repeat(H, 1)
        image = torch.stack([torch.full((H, W), index / 100), x, x])
        target = {"depth": torch.full((1, H, W), index + 1.0)}
        return Sample(image, target, {"depth": torch.ones(1, H, W, dtype=torch.bool)})


def by_image(loader, epoch, view=0):
    """index -> (image, depth, box, flip) of one epoch."""
    seen = {}
    for views in loader.epoch(epoch):
        batch = views[view]
        for row, index in enumerate(batch.index.tolist()):
            assert index not in seen
            g = batch.geometry
            seen[index] = (batch.images[row], batch.targets["depth"][row], g.box[row], g.flip[row])
    return seen


def order(loader, epoch):
    return [i for (batch, *_) in loader.epoch(epoch) for i in batch.index.tolist()]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for index in a:
        for x, y in zip(a[index], b[index], strict=True):
            assert torch.equal(x, y)


def test_every_image_once_and_the_last_batch_kept():
    loader = TrainLoader(Numbered(), batch_size=4, seed=0)
    batches = list(loader.epoch(0))
    assert [len(batch) for (batch,) in batches] == [4, 4, 2] and loader.steps == 3
    assert sorted(order(loader, 0)) == list(range(10))
    assert order(loader, 0) != list(range(10))
    for (batch,) in batches:
        torch.testing.assert_close(batch.images[:, 0, 5, 5], batch.index / 100)
        zoomed = (batch.index + 1) / batch.geometry.scale
        torch.testing.assert_close(batch.targets["depth"][:, 0, 3, 3], zoomed)


def test_views_depend_on_seed_epoch_and_image_alone():
    small = TrainLoader(Numbered(), batch_size=3, seed=5, flip=True)
    torch.manual_seed(0)
    first = by_image(small, 3)
    torch.manual_seed(99)
    torch.rand(7)
    large = TrainLoader(Numbered(), batch_size=10, seed=5, flip=True)
    assert_same(first, by_image(large, 3))  # epochs 0 to 2 never ran: a resumed run sees the same
    assert order(small, 3) == order(large, 3)


def test_epochs_and_seeds_differ():
    loader = TrainLoader(Numbered(), batch_size=10, seed=5)
    other = TrainLoader(Numbered(), batch_size=10, seed=6)
    assert order(loader, 0) != order(loader, 1) and order(loader, 0) != order(other, 0)
    boxes = lambda seen: torch.stack([seen[i][2] for i in range(10)])  # noqa: E731
    assert not torch.equal(boxes(by_image(loader, 0)), boxes(by_image(loader, 1)))
    assert not torch.equal(boxes(by_image(loader, 0)), boxes(by_image(other, 0)))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    list(TrainLoader(Numbered(), batch_size=4, seed=0, flip=True, views=2).epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_change_nothing():
    state = torch.get_rng_state()
    plain = TrainLoader(Numbered(), batch_size=4, seed=0)
    workers = TrainLoader(Numbered(), batch_size=4, seed=0, workers=1)
    for epoch in (0, 1):
        assert_same(by_image(plain, epoch), by_image(workers, epoch))
        assert order(plain, epoch) == order(workers, epoch)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_second_view_is_cut_from_the_first():
    loader = TrainLoader(Numbered(), batch_size=10, seed=1, views=2, flip=True)
    ((one, two),) = loader.epoch(0)
    assert torch.equal(one.index, two.index)
    between = relative(one.geometry, two.geometry, H, W)
    top, left, height, width = between.box.unbind(1)
    assert between.box.min() > -1e-3
    assert (top + height).max() < H + 1e-3 and (left + width).max() < W + 1e-3
    assert len(set(between.scale.mul(10).round().tolist())) == 3  # drawn anew, not shared
    torch.testing.assert_close(
        two.targets["depth"] * two.geometry.scale.view(-1, 1, 1, 1),
        one.targets["depth"] * one.geometry.scale.view(-1, 1, 1, 1),
    )
    alone = TrainLoader(Numbered(), batch_size=10, seed=1, flip=True)
    ((single,),) = alone.epoch(0)
    assert torch.equal(single.images, one.images)  # asking for two views keeps the first


def test_without_augmentation_batches_are_clean():
    ((alone,),) = TrainLoader(Numbered(), batch_size=10, seed=1, augment=False).epoch(0)
    assert alone.geometry is None
    torch.testing.assert_close(alone.images, Numbered().load(alone.index.tolist()).images)
    flipped = TrainLoader(Numbered(), batch_size=10, seed=1, augment=False, flip=True)
    ((mirrored,),) = flipped.epoch(0)
    assert (mirrored.geometry.scale == 1).all() and 0 < mirrored.geometry.flip.sum() < 10


def test_a_second_view_is_cut_even_without_augmentation():
    loader = TrainLoader(Numbered(), batch_size=10, seed=1, augment=False, views=2)
    ((one, two),) = loader.epoch(0)
    clean = Numbered().load(one.index.tolist())
    torch.testing.assert_close(one.images, clean.images)
    assert (one.geometry.scale == 1).all() and (two.geometry.scale > 1).any()
    ((_, augmented),) = TrainLoader(Numbered(), batch_size=10, seed=1, views=2).epoch(0)
    assert not torch.equal(two.images, augmented.images)


def test_evaluation_is_in_order_and_clean():
    loader = EvalLoader(Numbered(), 4)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert [i for b in batches for i in b.index.tolist()] == list(range(10))
    assert all(b.geometry is None for b in batches)


def test_partial_labels_pass_through():
    dataset = PartialLabels(Numbered(), assign("few_shot", 10, ("depth",), task="depth", shots=3))
    batches = [batch for (batch,) in TrainLoader(dataset, batch_size=4, seed=0).epoch(0)]
    assert sum(int(b.labeled["depth"].sum()) for b in batches) == 3
    for b in batches:
        assert b.targets["depth"][~b.labeled["depth"]].isnan().all()
        assert not b.mask("depth")[~b.labeled["depth"]].any()


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="batch_size"):
        TrainLoader(Numbered(), batch_size=0, seed=0)
    with pytest.raises(ValueError, match="batch_size"):
        EvalLoader(Numbered(), 0)


@pytest.mark.gpu
def test_views_on_a_gpu_are_those_of_the_cpu():
    options = {"batch_size": 4, "seed": 2, "flip": True}
    cpu = by_image(TrainLoader(Numbered(), **options), 0)
    gpu = by_image(TrainLoader(Numbered(), device="cuda", **options), 0)
    for index in cpu:
        for x, y in zip(cpu[index], gpu[index], strict=True):
            torch.testing.assert_close(x, y.cpu())
