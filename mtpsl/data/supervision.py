"""What a frozen teacher found on the clean training images, kept on disk for its student.

One folder holds, for every task, the pseudo labels of the images that withhold its label and,
where the teacher has them, features (float16, on its coarse grid) and their confidence for all
images; and weights of pixels, where its labels have some. A teacher that labels by bins or centers
uses few distinct values: they become one byte a pixel and a codebook, without loss. Other teachers'
labels are rounded to float16.

``manifest.json`` comes last and holds a checksum of every other file, so an interrupted discovery
is never mistaken for a finished one. The bytes do not depend on any batch size: the
same images always pass the teacher together, because a processor sums in another order for one
image than for many, and the last of 16 bits may differ.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mtpsl import files
from mtpsl.batch import Discovered
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.formats import refusal
from mtpsl.data.labels import PartialLabels
from mtpsl.tasks import Task, TaskSet

CONFIDENCE_BINS = 10_000  # of the histogram that turns a share into a threshold


class Teacher(Protocol):
    """The part of ``methods.base.Teacher`` that is asked here; it is a module, too."""

    def discover(self, images: Tensor, thresholds: Mapping[str, float]) -> Discovered: ...

    def label_confidence(self, images: Tensor) -> dict[str, Tensor]: ...

    def eval(self) -> Any: ...


@torch.no_grad()
def resolve_thresholds(
    teacher: Teacher,
    dataset: PartialLabels,
    thresholds: Mapping[str, float | str],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Turns thresholds into numbers; shares are looked up in a histogram of the confidence.

    Arguments are those of ``discover_to_folder``; the size of a batch matters for the last bits of
    a confidence alone.

    Returns:
        task -> confidence; of a share, to 1 / ``CONFIDENCE_BINS``.

    Raises:
        ValueError: If a share is not between 0 % and 100 %, or its task has no confidence.
    """
    shares = {n: require_threshold(n, t) for n, t in thresholds.items() if isinstance(t, str)}
    counts = {name: torch.zeros(CONFIDENCE_BINS, dtype=torch.int64) for name in shares}
    for batch in EvalLoader(dataset, batch_size, device) if shares else ():
        confidence = teacher.label_confidence(batch.images)
        for name in shares:
            if name not in confidence:
                raise ValueError(
                    f"thresholds: {name} has no confidence that {thresholds} could cut"
                )
            bins = (confidence[name][~batch.labeled[name]].float() * CONFIDENCE_BINS).long()
            bins = bins.clamp(0, CONFIDENCE_BINS - 1).flatten().cpu()
            counts[name] += torch.bincount(bins, minlength=CONFIDENCE_BINS)
    taus = {name: tau for name, tau in thresholds.items() if name not in shares}
    for name, share in shares.items():
        above = counts[name].flip(0).cumsum(0)  # pixels in the k + 1 most confident bins
        kept = int(torch.searchsorted(above, round(share * int(above[-1])))) + 1
        taus[name] = max(0.0, 1 - kept / CONFIDENCE_BINS)
    return taus


def require_threshold(name: str, threshold: float | str) -> float:
    """A threshold as a number, "50%" as 0.5.

    Raises:
        ValueError: If it is neither in [0, 1] nor a share above 0 %, naming the task.
    """
    if not isinstance(threshold, str):
        if not 0 <= threshold <= 1:
            raise ValueError(f"thresholds: expected 0 to 1 for {name}, got {threshold}")
        return threshold
    text = threshold
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not (text.endswith("%") and 0 < share <= 1):
        raise ValueError(f"thresholds: expected a share such as '50%' for {name}, got {text!r}")
    return share


FORMAT = 1
TOGETHER = 16  # images that pass the teacher at a time
REJECTED = 255  # the code of a pixel whose confidence did not pass
MANIFEST = "manifest.json"


def discover_to_folder(
    teacher: Teacher,
    dataset: PartialLabels,
    folder: str | Path,
    *,
    thresholds: Mapping[str, float | str] | None = None,
    features: bool = True,
    device: torch.device | str = "cpu",
) -> None:
    """Labels every training image with a frozen teacher.

    Args:
        teacher: On ``device``; put into evaluation mode.
        dataset: Clean training images; decides which task is withheld where.
        folder: Made if needed; files of an earlier, unfinished discovery are overwritten.
        thresholds: task -> confidence that a pseudo label must exceed, or a share such as
            ``"50%"``: whatever threshold accepts that share of the withheld pixels.
        features: Whether to keep the teacher's features and their confidence.
        device: Where the teacher runs.

    Raises:
        ValueError: If the teacher accepts a pixel without a finite value, naming the image.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.npy"), folder / MANIFEST):
        old.unlink(missing_ok=True)
    withheld = ~dataset.assignment.labeled
    size = (dataset.height, dataset.width)
    labels = {
        task.name: _LabelWriter(folder, task, withheld[:, column].nonzero().flatten(), size)
        for column, task in enumerate(dataset.tasks)
    }
    cells: dict[str, np.memmap] = {}
    teacher.eval()
    taus = resolve_thresholds(teacher, dataset, thresholds or {}, TOGETHER, device)
    for batch in EvalLoader(dataset, TOGETHER, device):
        with torch.no_grad():
            discovered = teacher.discover(batch.images, taus).withhold(batch).to("cpu")
        index = batch.index.tolist()
        for name, writer in labels.items():
            for row, image in enumerate(index):
                if not batch.labeled[name][row]:
                    writer.add(image, discovered.targets[name][row], discovered.valid[name][row])
        for kind in ("features", "confidence", "weights") if features else ("weights",):
            for name, maps in getattr(discovered, kind).items():
                file = f"{name}.{kind}"
                if file not in cells:
                    shape = (len(dataset), *maps.shape[1:])
                    cells[file] = files.new_array(folder / f"{file}.npy", np.float16, shape)
                half = maps.half()
                if not half.isfinite().all():
                    got = f"others on one of the images {index}"
                    raise ValueError(f"{file}: expected finite numbers below 65504, got {got}")
                cells[file][index] = half.numpy()
    for array in (*cells.values(), *(writer.finish() for writer in labels.values())):
        array.flush()
    manifest = {
        "format": FORMAT,
        "tasks": list(dataset.tasks.names),
        "images": len(dataset),
        "size": list(size),
        "assignment": dataset.assignment.hash,
        "thresholds": taus,
        "files": {p.name: _checksum(p) for p in sorted(folder.glob("*.npy"))},
    }
    files.write_json(folder / MANIFEST, manifest)


class SupervisionStore:
    """Reads what ``discover_to_folder`` wrote.

    Args:
        folder: Of one discovery.
        tasks: Of the student; the teacher must have looked for all of them.

    Attributes:
        assignment: Hash of the label assignment that decided what was withheld.
        bytes: Size on disk.

    Raises:
        FileNotFoundError: If the discovery was never finished.
        mtpsl.files.Damaged: If the manifest is damaged.
        ValueError: If another file is damaged or missing, or a task was not looked for.
    """

    def __init__(self, folder: str | Path, tasks: TaskSet) -> None:
        self.folder, self.tasks = Path(folder), tasks
        manifest = _read_manifest(self.folder)
        absent = sorted(set(tasks.names) - set(manifest["tasks"]))
        if absent:
            expected = f"discoveries for {tasks.names}"
            raise ValueError(f"{self.folder}: expected {expected}, found none for {absent}")
        self.assignment: str = manifest["assignment"]
        self.images: int = manifest["images"]
        self.height, self.width = manifest["size"]
        self.bytes = sum(file["bytes"] for file in manifest["files"].values())
        self._arrays = {
            file.removesuffix(".npy"): np.load(self.folder / file, mmap_mode="r")
            for file in manifest["files"]
        }
        self._books = {
            name: torch.from_numpy(np.array(self._arrays[f"{name}.codebook"]))
            for name in tasks.names
            if f"{name}.codebook" in self._arrays
        }
        self._position = {}  # task -> (N,) place in the label file, -1 where labeled
        for name in tasks.names:
            rows = torch.from_numpy(np.array(self._arrays[f"{name}.rows"]))
            self._position[name] = torch.full((self.images,), -1)
            self._position[name][rows] = torch.arange(len(rows))

    def lookup(
        self, index: Tensor, labeled: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ) -> Discovered:
        """What was found on clean images, for the tasks they do not label.

        Args:
            index: (B,) int64 on the CPU, positions in the student's dataset.
            labeled: task -> (B,) bool on the CPU, as in ``Batch``.
            device: Where codes are decoded, and what is returned lies.

        Returns:
            ``features`` and ``confidence`` are of every task, if they were kept.

        Raises:
            ValueError: If a label is withheld that was not when the teacher looked.
        """
        targets, valid = {}, {}
        for task in self.tasks:
            targets[task.name], valid[task.name] = self._labels(
                task, index, labeled[task.name], device
            )
        soft = (
            {
                name: _read_rows(self._arrays[f"{name}.{kind}"], index).to(device).float()
                for name in self.tasks.names
                if f"{name}.{kind}" in self._arrays
            }
            for kind in ("features", "confidence", "weights")
        )
        return Discovered(targets, valid, *soft)

    def _labels(
        self, task: Task, index: Tensor, labeled: Tensor, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        withheld = index[~labeled]
        place = self._position[task.name][withheld]
        if (place < 0).any():
            expected = f"a pseudo label of {task.name} for image {int(withheld[place < 0][0])}"
            remedy = "discover again with this label setting"
            raise refusal(self.folder, expected, "none", remedy)
        shape = (len(index), task.target_channels, self.height, self.width)
        targets = torch.full(shape, task.missing, dtype=task.target_dtype, device=device)
        valid = torch.zeros(len(index), 1, *shape[2:], dtype=torch.bool, device=device)
        rows = (~labeled).to(device)
        stored = _read_rows(self._arrays[f"{task.name}.labels"], place).to(device)
        targets[rows], valid[rows] = _decode(stored, self._books.get(task.name), task)
        return targets, valid


# --------------------------------------------------------------- label files


class _LabelWriter:
    """One task's pseudo labels: codes while at most 255 distinct values occur, else float16."""

    def __init__(self, folder: Path, task: Task, rows: Tensor, size: tuple[int, int]) -> None:
        self.folder, self.task, self.size = folder, task, size
        np.save(folder / f"{task.name}.rows.npy", rows.numpy())
        self.place = {image: place for place, image in enumerate(rows.tolist())}
        self.path = folder / f"{task.name}.labels.npy"
        self.labels = files.new_array(self.path, np.uint8, (len(rows), *size))
        self.labels[:] = REJECTED
        self.book = _Codebook(task.target_channels)

    def add(self, image: int, target: Tensor, valid: Tensor) -> None:
        accepted = valid[0].numpy()
        values = np.moveaxis(target.numpy(), 0, -1)[accepted].astype(np.float32)  # (P, C)
        if not np.isfinite(values).all():
            got = f"others on image {image}"
            raise ValueError(f"{self.task.name}: expected finite pseudo labels, got {got}")
        place = self.place[image]
        if self.labels.dtype == np.uint8:
            codes = self.book.encode(values)
            if codes is not None:
                self.labels[place][accepted] = codes
                return
            self._widen()
        self.labels[place][:, accepted] = values.T.astype(np.float16)

    def finish(self) -> np.memmap:
        if self.labels.dtype == np.uint8:
            np.save(self.folder / f"{self.task.name}.codebook.npy", self.book.values)
        return self.labels

    def _widen(self) -> None:
        """Rewrites the codes so far as float16, NaN where rejected."""
        codes = self.labels
        partial = self.path.with_suffix(".wide")
        shape = (len(codes), self.task.target_channels, *self.size)
        self.labels = files.new_array(partial, np.float16, shape)
        book = np.full((REJECTED + 1, shape[1]), np.nan, dtype=np.float16)
        book[: len(self.book.values)] = self.book.values
        for place, row in enumerate(codes):
            self.labels[place] = np.moveaxis(book[row], -1, 0)
        os.replace(partial, self.path)


class _Codebook:
    """Distinct value vectors, those of an earlier image first."""

    def __init__(self, channels: int) -> None:
        self.values = np.zeros((0, channels), dtype=np.float32)
        self.codes: dict[int, int] = {}  # hash of a vector -> its place in ``values``

    def encode(self, values: np.ndarray) -> np.ndarray | None:
        """(P, C) -> (P,) uint8 codes; None if they are too many to be coded without loss."""
        keys, first, inverse = np.unique(_hash(values), return_index=True, return_inverse=True)
        if len(keys) > REJECTED:
            return None
        new = [
            place for key, place in zip(keys.tolist(), first, strict=True) if key not in self.codes
        ]
        if len(self.codes) + len(new) > REJECTED:
            return None
        self.values = np.concatenate([self.values, values[np.array(new, dtype=int)]])
        for key in keys.tolist():
            self.codes.setdefault(key, len(self.codes))
        codes = np.array([self.codes[key] for key in keys.tolist()], dtype=int)[inverse]
        return codes.astype(np.uint8) if np.array_equal(self.values[codes], values) else None


def _hash(values: np.ndarray) -> np.ndarray:
    """(P, C) float32 -> (P,) uint64; equal vectors agree, and others hardly ever."""
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32)  # -0 becomes 0
    key = np.zeros(len(values), dtype=np.uint64)
    for channel in range(values.shape[1]):
        key = (key ^ bits[:, channel]) * np.uint64(0x9E3779B97F4A7C15)  # the golden ratio: mixes
    return key


def _decode(stored: Tensor, book: Tensor | None, task: Task) -> tuple[Tensor, Tensor]:
    """Rows of a label file -> (B, C, H, W) targets and (B, 1, H, W) where they are accepted."""
    if book is None:
        accepted = ~stored[:, :1].isnan()
        return torch.where(accepted, stored.float(), task.missing), accepted
    values = torch.full((REJECTED + 1, book.shape[1]), task.missing, dtype=task.target_dtype)
    values[: len(book)] = book.to(task.target_dtype)
    codes = stored.int().flatten()  # looking up channel by channel is 4 times as fast
    channels = [v.index_select(0, codes) for v in values.to(stored.device).unbind(1)]
    targets = torch.stack([c.view(stored.shape) for c in channels], dim=1)
    return targets, (stored != REJECTED).unsqueeze(1)


# --------------------------------------------------------------------- files


def _read_rows(array: np.ndarray, rows: Tensor) -> Tensor:
    return torch.from_numpy(array[rows.numpy()])  # indexing with an array copies


def _checksum(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": files.sha256(path)}


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a finished discovery, found none; run it again")
    manifest = files.read_json(path)
    again = "discover again"
    if manifest.get("format") != FORMAT:
        raise refusal(path, f"format {FORMAT}", manifest.get("format"), again)
    for name, sums in manifest["files"].items():
        if not (folder / name).is_file():
            raise refusal(folder / name, "a file", "none", again)
        if _checksum(folder / name) != sums:
            expected = f"{sums['bytes']} bytes of checksum {sums['sha256'][:12]}"
            raise refusal(folder / name, expected, "others", again)
    return manifest
