"""What data sets on disk share, and the reports on them. Nothing here knows one of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtpsl.data.dataset import Dataset, Sample
from mtpsl.tasks import TaskSet

SPLITS = ("train", "test")


def resize(sample: Sample, tasks: TaskSet, height: int, width: int) -> Sample:
    """The sample at another size: the image and normals bilinear, all else the nearest pixel.

    Bilinear means averaged over a pixel's whole area when the size shrinks. Normals keep unit
    length, holes do not bleed, and numbers stay what they are.
    """
    if sample.image.shape[1:] == (height, width):
        return sample
    targets, valid = {}, {}
    for task in tasks:
        target = sample.targets[task.name]
        known = nearest(sample.valid[task.name].to(torch.uint8), height, width).bool()
        if task.kind == "direction":
            target = _smooth(target.nan_to_num(0.0), height, width)
            length = target.square().sum(dim=0, keepdim=True).sqrt()
            known &= length > 1e-6
            target = target / length.clamp(min=1e-6)
        else:
            target = nearest(target, height, width)
        targets[task.name] = target.masked_fill(~known, task.missing)
        valid[task.name] = known
    return Sample(_smooth(sample.image, height, width).clamp(0, 1), targets, valid)


def _smooth(maps: Tensor, height: int, width: int) -> Tensor:
    size = (height, width)
    return F.interpolate(
        maps[None], size, mode="bilinear", align_corners=False, antialias=True
    ).squeeze(0)


def nearest(maps: Tensor, height: int, width: int) -> Tensor:
    """The pixel whose center is nearest, so that it fits ``_smooth``."""
    wide = maps[None].double()
    return F.interpolate(wide, (height, width), mode="nearest-exact")[0].to(maps.dtype)


class FolderDataset(Dataset):
    """A data set of files, read and resized at every look; ``data.cached`` keeps what it gives.

    A subclass sets ``root``, ``split``, ``height``, ``width``, ``version`` and these.
    """

    stand_in = False
    rounds_images = False  # to 8 bits, as its files have them
    images: int  # of the split, as many as were asked for
    ids: tuple[str, ...]  # what the source calls them, in order

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected one in [0, {len(self)}), got {index}")
        sample = resize(self.read(index), self.tasks, self.height, self.width)
        if not self.rounds_images:
            return sample
        return replace(sample, image=(sample.image * 255).round() / 255)

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The image at the size of its files.

        Raises:
            ValueError: If a file is damaged or does not hold what it should.
        """


@final
class AtFileSize(Dataset):
    """The same images with labels as their files have them, for scoring predictions at that size.

    One image a batch, since files differ in size: ``EvalLoader(AtFileSize(dataset, reader), 1)``.

    Args:
        dataset: Gives the images, at the size that a network sees.
        reader: Of the same images; reads the labels.
    """

    def __init__(self, dataset: Dataset, reader: FolderDataset) -> None:
        self.dataset, self.reader, self.tasks = dataset, reader, dataset.tasks
        self.name, self.version, self.split = dataset.name, dataset.version, dataset.split
        self.stand_in, self.height, self.width = False, dataset.height, dataset.width

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The image at the network's size, the labels at the file's.

        Raises:
            ValueError: If a file is damaged, naming it.
        """
        image = self.dataset[index].image
        return replace(self.reader.read(index), image=image)

    def carries(self, task: str) -> Tensor:
        return self.dataset.carries(task)


def check_choice(split: str, images: int | None) -> None:
    """Raises ``ValueError`` unless a data set can be opened so."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {list(SPLITS)}, got {split!r}")
    if images is not None and images < 1:
        raise ValueError(f"images: expected at least 1, got {images}")


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` indices in [0, total), evenly spread, the first and last among them."""
    if total == 0:
        return []
    return sorted({round(i) for i in np.linspace(0, total - 1, min(wanted, total)).tolist()})


def folder_report(
    title: str,
    open_split: Callable[[str], Dataset],
    survey: Callable[[Dataset, int], tuple[Any, list[str]]],
    describe: Callable[[Dataset, Any, list[str]], Iterable[str]],
    images: int | None,
) -> tuple[str, bool]:
    """What every report on a folder has in common: both splits, and the problems at the end.

    Args:
        title: The first line.
        open_split: "train" or "test" -> the data; a split that it refuses is a problem.
        survey: Reads some images of a split -> what it found, and problems.
        describe: The lines on a split; may add problems.
        images: How many to read of each split; None: all.

    Returns:
        The text, and False if there are problems.
    """
    lines, problems = [title], []
    for split in ("train", "test"):
        try:
            dataset = open_split(split)
        except (ValueError, FileNotFoundError) as error:
            lines += ["", f"{split}: cannot be read"]
            problems += [] if str(error) in problems else [str(error)]
            continue
        if len(lines) == 1:
            lines.append(f"version {dataset.version}")
        found, wrong = survey(dataset, len(dataset) if images is None else images)
        problems += wrong
        lines += ["", *describe(dataset, found, problems)]
    return "\n".join([*lines, *problem_lines(problems)]), not problems


def problem_lines(problems: Sequence[str], listed: int = 10) -> Iterator[str]:
    """The end of a report: how many problems, and the first of them."""
    yield ""
    yield f"problems: {len(problems) or 'none'}"
    yield from (f"- {problem}" for problem in problems[:listed])
    if len(problems) > listed:
        yield f"- and {len(problems) - listed} more"
