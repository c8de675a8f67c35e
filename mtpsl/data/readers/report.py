"""What is in a data set: a report for people who bring their own copy, or wonder about ours."""

from collections.abc import Callable
from pathlib import Path

import torch

from mtpsl.data import DATASETS, find_class, open_dataset, recognize
from mtpsl.data.labels import FILES, assignment_from_file, find_label_file
from mtpsl.data.readers import check_cityscapes, check_nyud, check_own, check_pascal
from mtpsl.data.readers.disk import problem_lines
from mtpsl.data.readers.own import has_pictures
from mtpsl.data.readers.own_toml import DESCRIPTION
from mtpsl.data.readers.sheet import draw_sheet
from mtpsl.data.scenes import people21_acceptance, rooms13_acceptance, streets7_acceptance
from mtpsl.data.scenes.acceptance import Finding, format_report

REPORTS: dict[str, Callable[..., list[Finding]]] = {
    "rooms13": rooms13_acceptance.acceptance_report,
    "streets7": streets7_acceptance.acceptance_report,
    "people21": people21_acceptance.acceptance_report,
}
"""Stand-in -> its acceptance tests, called with a device and the folder of the cache."""

FOLDER_REPORTS: dict[str, Callable[..., tuple[str, bool]]] = {
    "nyud": check_nyud.report,
    "cityscapes": check_cityscapes.report,
    "pascal_context": check_pascal.report,
    "own": check_own.report,
}
"""Data set on disk, as ``recognize`` names it -> its report, called with the path, ``images`` and
``read_all``. To add one, write ``data/check_<name>.py`` and a line here."""

SHEET_ROWS = 6  # samples on a sheet


def check(
    name_or_path: str | Path,
    *,
    images: int = 32,
    read_all: bool = False,
    device: torch.device | str = "cpu",
    cache_dir: str | Path | None = None,
) -> tuple[str, bool]:
    """A report on a stand-in, by name, or on the folder of a data set in any known layout.

    Args:
        name_or_path: A key of ``REPORTS``, or a folder, or a file that is a whole data set.
        images: How many to read of each split of a folder, evenly spread.
        read_all: Reads them all.
        device: Where a stand-in's acceptance tests run; they take minutes on a CPU.
        cache_dir: Of generated images.

    Returns:
        The text, and False if anything is damaged, missing or out of range, or a stand-in fails
        an acceptance test. Unusual statistics are pointed out but are no failure.

    Raises:
        ValueError: If it is neither a folder nor a known name, suggesting the nearest.
        FileNotFoundError: If the folder has another layout.
    """
    name = str(name_or_path)
    if name not in DATASETS and Path(name).exists():
        return check_folder(Path(name), images=images, read_all=read_all)
    if find_class(name).stand_in:
        findings = REPORTS[name](device, cache_dir)
        return format_report(findings), all(finding.ok for finding in findings)
    raise ValueError(f"path: expected the folder of {name} on disk, got its name; name the folder")


def check_folder(path: Path, *, images: int = 32, read_all: bool = False) -> tuple[str, bool]:
    """The report on a folder; see ``check``. One that is not recognized is taken for NYUD-v2."""
    name = recognize(path) or "nyud"
    if name != "own" and has_pictures(path):
        missing = (
            f"{path / DESCRIPTION}: expected one beside train/image with pictures, found none; "
            "write which tasks your labels are of, as in notebooks/99_your_own_data"
        )
        return "\n".join([f"a folder of pictures: {path}", *problem_lines([missing])]), False
    text, fine = FOLDER_REPORTS[name](path, images=images, read_all=read_all)
    published = fine and name != "own"  # there, the files that are missing decide
    lines, wrong = check_label_files(path, name) if published else ([], [])
    body = text.removesuffix("\n".join(problem_lines([]))) if wrong else text
    return "\n".join([body, *lines, *(problem_lines(wrong) if wrong else ())]), fine and not wrong


def check_label_files(root: Path, name: str) -> tuple[list[str], list[str]]:
    """A line for each label-split file beside the data, and a sentence for each that is wrong.

    Args:
        root: Of a data set on disk that is in order.
        name: Its key in ``DATASETS``.
    """
    lines, wrong = [], []
    for setting in FILES:
        try:
            path = find_label_file(root, setting)
            if path is None:
                continue
            dataset = find_class(name)("train", root=root)
            tasks = dataset.tasks.names
            carries = {task: dataset.carries(task) for task in tasks}
            labels = assignment_from_file(
                path, tasks, len(dataset), ids=dataset.ids, carries=carries
            )
        except ValueError as error:
            wrong.append(str(error))
        else:
            counts = ", ".join(f"{task} {count}" for task, count in labels.counts.items())
            lines.append(f"labels    {setting} as in {path.name}: {counts} of {len(labels)} images")
    return lines, wrong


def write_sheet(
    name_or_path: str | Path,
    file: str | Path,
    *,
    rows: int = SHEET_ROWS,
    width: int = 320,
    cache_dir: str | Path | None = None,
) -> None:
    """Draws images of the test split and their labels into a PNG file.

    Args:
        name_or_path: As for ``check``.
        file: Written anew.
        rows: Images, evenly spread.
        width: Of a picture, in pixels, three quarters as high.
        cache_dir: Of generated images.

    Raises:
        ValueError: If an image to be drawn is damaged; ``check`` lists all of these.
        FileNotFoundError: If the folder has another layout.
    """
    name = str(name_or_path)
    size = {"height": width * 3 // 4, "width": width}
    if name in DATASETS:
        dataset = open_dataset(name, "test", images=rows, cache_dir=cache_dir, **size)
    else:
        dataset = open_dataset(recognize(name) or "nyud", "test", root=name, **size)
    draw_sheet(dataset, Path(file), rows)
