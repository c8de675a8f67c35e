"""Discoveries on disk: exactness, withheld tasks only, checksums, independence of the batch."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from mtpsl import files
from mtpsl.batch import Discovered
from mtpsl.data import supervision
from mtpsl.data.dataset import Dataset, Sample, TrainLoader
from mtpsl.data.labels import PartialLabels, assign
from mtpsl.data.supervision import MANIFEST, SupervisionStore, discover_to_folder
from mtpsl.losses import IGNORE_INDEX
from mtpsl.papers import build_method
from mtpsl.tasks import TaskSet, depth, normals, semseg

TASKS = TaskSet((semseg(tuple("abcde")), depth(), normals()))
H, W = 16, 24


class Noise(Dataset):
    """Random images; the fake teacher reads everything it finds off their pixels."""

    name, version, split, stand_in, height, width = "noise", "1", "train", True, H, W
    tasks = TASKS

    def __init__(self, images: int = 10) -> None:
        g = torch.Generator().manual_seed(0)
        self.images = torch.rand(images, 3, H, W, generator=g)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        ones = torch.ones(1, H, W, dtype=torch.bool)
        targets = {
            "semseg": torch.zeros(1, H, W, dtype=torch.int64),
            "depth": torch.full((1, H, W), 2.0),
            "normals": torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1).repeat(1, H, W),
        }
        return Sample(self.images[index], targets, {t: ones for t in TASKS.names})


@dataclass
class FakeTeacher:
    """Labels by bins (few values) or by numbers (as many values as pixels)."""

    bins: bool = True
    training: bool = True

    def eval(self) -> "FakeTeacher":
        self.training = False
        return self

    def discover(self, images: torch.Tensor, thresholds: dict[str, float]) -> Discovered:
        assert not self.training and not torch.is_grad_enabled()
        gray = images[:, :1]
        level = (gray * 20).floor() if self.bins else gray * 20
        turn = level * 0.3
        targets = {
            "semseg": (gray * 5).long(),
            "depth": (level + 1) / 7,
            "normals": torch.cat([turn.sin() * 0.6, turn.cos() * 0.6, -0.8 + 0 * turn], dim=1),
        }
        valid = {t: images[:, 1:2] > thresholds.get(t, -1.0) for t in targets}
        targets["depth"] = targets["depth"].masked_fill(~valid["depth"], float("nan"))
        cells = F.avg_pool2d(images, 8)
        return Discovered(
            targets, valid, {t: cells for t in targets}, {t: cells[:, :1] for t in targets}
        )

    def label_confidence(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"semseg": images[:, 1:2], "depth": images[:, 1:2]}


TAU = {"semseg": 0.3, "depth": 0.6}  # normals: every pixel


def partial(images=10, setting="one_label"):
    return PartialLabels(Noise(images), assign(setting, images, TASKS.names))


def found_by(teacher, dataset, index):
    teacher.eval()
    with torch.no_grad():
        return teacher.discover(dataset.load(index).images, TAU)


@pytest.mark.parametrize("bins", [True, False])
def test_store_returns_what_the_teacher_found(tmp_path, bins):
    dataset, index = partial(), [7, 0, 3, 9, 1]
    discover_to_folder(FakeTeacher(bins), dataset, tmp_path, thresholds=TAU)
    store = SupervisionStore(tmp_path, TASKS)
    batch = dataset.load(index)
    found = store.lookup(batch.index, batch.labeled)
    truth = found_by(FakeTeacher(bins), dataset, index)
    for task in TASKS:
        t, withheld = task.name, ~batch.labeled[task.name]
        assert torch.equal(found.valid[t][withheld], truth.valid[t][withheld])
        accepted = found.valid[t].expand_as(found.targets[t])
        assert found.targets[t].dtype == task.target_dtype
        tolerance = {"rtol": 0, "atol": 0} if bins else {"rtol": 1e-3, "atol": 1e-3}
        torch.testing.assert_close(
            found.targets[t][accepted], truth.targets[t][accepted], **tolerance
        )
        rejected = found.targets[t][~accepted]
        assert (rejected == IGNORE_INDEX if t == "semseg" else rejected.isnan()).all()
        assert not found.valid[t][~withheld].any()  # a task with a label gets no pseudo label
        torch.testing.assert_close(found.features[t], truth.features[t], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.confidence[t], truth.confidence[t], rtol=1e-3, atol=1e-3)
    assert 0.2 < found.valid["depth"].float().mean() < 0.4  # about 2/3 withheld, 40 % accepted


def test_only_withheld_tasks_are_stored_and_codes_take_one_byte(tmp_path):
    dataset = partial()
    discover_to_folder(FakeTeacher(), dataset, tmp_path, thresholds=TAU)
    for name, kept in dataset.assignment.counts.items():
        size = (tmp_path / f"{name}.labels.npy").stat().st_size
        assert size == 128 + (10 - kept) * H * W
    assert SupervisionStore(tmp_path, TASKS).bytes == sum(
        p.stat().st_size for p in tmp_path.glob("*.npy")
    )


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("bins", [True, False])
def test_same_bytes_however_many_images_pass_together(tmp_path, bins, monkeypatch):
    for size in (1, 3, 10):
        monkeypatch.setattr(supervision, "TOGETHER", size)
        discover_to_folder(FakeTeacher(bins), partial(), tmp_path / str(size), thresholds=TAU)
    assert contents(tmp_path / "1") == contents(tmp_path / "3") == contents(tmp_path / "10")


def test_codes_become_float16_when_values_grow_too_many(tmp_path):
    """Image 0 has few values; later ones do not fit one byte, and image 0 stays exact."""
    dataset = partial()
    dataset.dataset.images[0] = (dataset.dataset.images[0] * 4).round() / 4
    discover_to_folder(FakeTeacher(bins=False), dataset, tmp_path)
    assert not (tmp_path / "depth.codebook.npy").exists()
    assert (tmp_path / "semseg.codebook.npy").exists()  # still five classes
    store, batch = SupervisionStore(tmp_path, TASKS), dataset.load([0])
    none = {t: torch.zeros(1, dtype=torch.bool) for t in TASKS.names}
    withheld = [t for t in TASKS.names if not batch.labeled[t]]
    found = store.lookup(batch.index, {**none, **batch.labeled})
    truth = found_by(FakeTeacher(bins=False), dataset, [0])
    for t in withheld:
        torch.testing.assert_close(found.targets[t], truth.targets[t], rtol=1e-3, atol=1e-3)


def test_without_features_or_with_full_labels_there_is_less(tmp_path):
    discover_to_folder(FakeTeacher(), partial(), tmp_path / "a", features=False)
    store = SupervisionStore(tmp_path / "a", TASKS)
    found = store.lookup(torch.tensor([2]), partial().load([2]).labeled)
    assert found.features == found.confidence == {}
    full = partial(setting="full")
    discover_to_folder(FakeTeacher(), full, tmp_path / "b")
    batch = full.load([0, 1])
    found = SupervisionStore(tmp_path / "b", TASKS).lookup(batch.index, batch.labeled)
    assert not any(v.any() for v in found.valid.values())
    assert set(found.features) == set(TASKS.names)


def test_a_share_accepts_that_share_of_the_withheld_pixels(tmp_path):
    dataset, teacher = partial(), FakeTeacher()
    discover_to_folder(teacher, dataset, tmp_path, thresholds={"semseg": "25%", "depth": 0.6})
    store = SupervisionStore(tmp_path, TASKS)
    every = torch.arange(len(dataset))
    labeled = {n: dataset.assignment.labeled[:, i] for i, n in enumerate(TASKS.names)}
    valid = store.lookup(every, labeled).valid["semseg"][~labeled["semseg"]]
    assert 0.25 <= valid.float().mean() < 0.26
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["thresholds"]["depth"] == 0.6
    assert abs(manifest["thresholds"]["semseg"] - 0.75) < 0.05  # confidence is uniform


@pytest.mark.parametrize("tau", ["half", "0%", "101%"])
def test_a_share_that_is_none_is_refused(tmp_path, tau):
    with pytest.raises(ValueError, match="share"):
        discover_to_folder(FakeTeacher(), partial(), tmp_path, thresholds={"semseg": tau})


def test_a_share_of_a_task_without_confidence_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no confidence"):
        discover_to_folder(FakeTeacher(), partial(), tmp_path, thresholds={"normals": "50%"})


def test_another_label_setting_is_refused(tmp_path):
    dataset = partial()
    discover_to_folder(FakeTeacher(), dataset, tmp_path)
    store = SupervisionStore(tmp_path, TASKS)
    assert store.assignment == dataset.assignment.hash
    nothing = {t: torch.zeros(10, dtype=torch.bool) for t in TASKS.names}
    with pytest.raises(ValueError, match="discover again with this label setting"):
        store.lookup(torch.arange(10), nothing)
    with pytest.raises(ValueError, match="edges"):
        SupervisionStore(tmp_path, TaskSet((replace(TASKS["depth"], name="edges"),)))


def test_damage_is_found_and_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=MANIFEST):
        SupervisionStore(tmp_path, TASKS)
    discover_to_folder(FakeTeacher(), partial(), tmp_path)
    file = tmp_path / "depth.labels.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="depth.labels.npy: expected"):
        SupervisionStore(tmp_path, TASKS)
    file.write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="depth.labels.npy"):
        SupervisionStore(tmp_path, TASKS)
    file.unlink()
    with pytest.raises(ValueError, match="depth.labels.npy: expected a file"):
        SupervisionStore(tmp_path, TASKS)
    text = (tmp_path / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text[: len(text) // 2])
    with pytest.raises(files.Damaged, match=f"{MANIFEST}: expected"):
        SupervisionStore(tmp_path, TASKS)
    (tmp_path / MANIFEST).write_text(json.dumps({**json.loads(text), "images": 0}))
    with pytest.raises(files.Damaged, match=f"{MANIFEST}: expected sha256"):
        SupervisionStore(tmp_path, TASKS)
    (tmp_path / MANIFEST).write_text(text)
    manifest = files.read_json(tmp_path / MANIFEST)
    files.write_json(tmp_path / MANIFEST, manifest | {"format": 0})
    with pytest.raises(ValueError, match="format"):
        SupervisionStore(tmp_path, TASKS)


def test_an_interrupted_discovery_is_unfinished_and_can_be_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "TOGETHER", 4)

    class Dies(FakeTeacher):
        def discover(self, images, thresholds):
            if self.calls:
                raise KeyboardInterrupt
            self.calls += 1
            return super().discover(images, thresholds)

    discover_to_folder(FakeTeacher(), partial(), tmp_path)
    first = contents(tmp_path)
    dies = Dies()
    dies.calls = 0
    with pytest.raises(KeyboardInterrupt):
        discover_to_folder(dies, partial(), tmp_path)
    with pytest.raises(FileNotFoundError):
        SupervisionStore(tmp_path, TASKS)
    discover_to_folder(FakeTeacher(), partial(), tmp_path)
    assert contents(tmp_path) == first


def test_a_teacher_that_accepts_nothing_finite_is_refused(tmp_path):
    class Broken(FakeTeacher):
        def discover(self, images, thresholds):
            found = super().discover(images, thresholds)
            found.targets["normals"][:] = float("nan")
            return found

    with pytest.raises(ValueError, match="normals: expected finite pseudo labels"):
        discover_to_folder(Broken(), partial(), tmp_path)


def test_the_loader_warps_discoveries_like_targets(tmp_path):
    """A teacher that finds the truth: pseudo labels of a view equal the view of the truth."""
    dataset = partial()
    discover_to_folder(FakeTeacher(), dataset, tmp_path)
    store = SupervisionStore(tmp_path, TASKS)

    class Truth(Noise):
        def __getitem__(self, index):
            with torch.no_grad():
                found = FakeTeacher().eval().discover(self.images[index : index + 1], {})
            return Sample(
                self.images[index],
                {t: m[0] for t, m in found.targets.items()},
                {t: m[0] for t, m in found.valid.items()},
            )

    options = {"batch_size": 4, "seed": 1, "flip": True}
    student = TrainLoader(dataset, supervision=store, **options)
    truth = TrainLoader(Truth(), **options)
    for (a,), (b,) in zip(student.epoch(2), truth.epoch(2), strict=True):
        for t in TASKS.names:
            rows = ~a.labeled[t]
            assert torch.equal(a.discovered.valid[t][rows], b.valid[t][rows])
            torch.testing.assert_close(
                a.discovered.targets[t][rows], b.targets[t][rows], equal_nan=True
            )
            assert not a.valid[t][rows].any()


def test_a_network_says_nearly_the_same_however_many_images_pass(tmp_path, monkeypatch):
    """Features may differ in their last bit, which is why the program never changes the number."""
    torch.manual_seed(0)
    args = {"normal_centers_from": "uniform"}
    teacher = build_method("hitts", TASKS, "resnet18", 0.25, args)
    teacher.prepare([partial().load(list(range(10)))])
    stores = {}
    for size in (1, 7, 10):
        folder, tau = tmp_path / str(size), dict.fromkeys(TASKS.names, "50%")
        monkeypatch.setattr(supervision, "TOGETHER", size)
        discover_to_folder(teacher, partial(), folder, thresholds=tau)
        stores[size] = SupervisionStore(folder, TASKS)
    batch = partial().load(list(range(10)))
    found = {size: store.lookup(batch.index, batch.labeled) for size, store in stores.items()}
    for size in (1, 7):
        for t in TASKS.names:
            one, ten = found[size], found[10]
            assert torch.equal(one.valid[t], ten.valid[t])
            assert torch.equal(one.targets[t].nan_to_num(), ten.targets[t].nan_to_num())
            for a, b in ((one.features, ten.features), (one.confidence, ten.confidence)):
                torch.testing.assert_close(a[t], b[t], rtol=2**-10, atol=1e-6)  # of float16
    shares = [float(ten.valid[t].float().mean()) for t in TASKS.names]
    assert all(0.1 < share < 0.6 for share in shares), shares
