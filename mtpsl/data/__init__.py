"""Every data set and stand-in, by name."""

from collections.abc import Callable
from pathlib import Path

from mtpsl.data.dataset import Dataset
from mtpsl.data.readers import cityscapes, nyud, own, pascal
from mtpsl.data.readers.cityscapes import Cityscapes
from mtpsl.data.readers.nyud import Nyud
from mtpsl.data.readers.own import Own
from mtpsl.data.readers.pascal import PascalContext
from mtpsl.data.readers.reading import listing, missing
from mtpsl.data.scenes.people21 import People21
from mtpsl.data.scenes.rooms13 import Rooms13
from mtpsl.data.scenes.streets7 import Streets7
from mtpsl.registry import look_up

DATASETS: dict[str, type[Dataset]] = {
    "rooms13": Rooms13,
    "streets7": Streets7,
    "people21": People21,
    "nyud": Nyud,
    "cityscapes": Cityscapes,
    "pascal_context": PascalContext,
    "own": Own,
}
"""Name -> class. To add one, write ``data/readers/<name>.py`` and a line here."""


LAYOUTS: dict[str, tuple[Callable[[str | Path], object], str]] = {
    "own": (own.find_root, "mtpsl.toml"),  # first: its folders have the names of others
    "cityscapes": (cityscapes.find_root, "leftImg8bit/train or train/label_7"),
    "pascal_context": (pascal.find_root, "JPEGImages and ImageSets/Context"),
    "nyud": (
        nyud.find_layout,
        "train/image and train/depth, gt_sets/train.txt, image/train or nyu_depth_v2_labeled.mat",
    ),
}
"""Data set on disk -> what finds its root, and what lies there."""


def open_dataset(
    name: str,
    split: str,
    *,
    height: int,
    width: int,
    images: int | None = None,
    root: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Opens a split of a data set: clean images, everything labeled.

    Args:
        name: A key of ``DATASETS``.
        split: ``"train"`` or ``"test"``.
        height, width: Of the images.
        images: How many, from the first on; None: all. Data on disk gives at most what it has,
            so ask the result for its length.
        root: Folder of a data set on disk; only for those, which need it.
        cache_dir: Where generated images are kept; only for stand-ins, None: their default.

    Raises:
        ValueError: If the name is unknown, suggesting the nearest, or ``root`` does not fit it,
            as when it holds another data set.
        FileNotFoundError: If ``root`` does not hold that data set.
    """
    kind = find_class(name)
    if kind.stand_in:
        if root is not None:
            raise ValueError(f"root: expected none, because {name} is generated, got {root}")
        return kind(split, height=height, width=width, images=images, cache_dir=cache_dir)
    if root is None:
        raise ValueError(f"root: expected the folder of {name} on disk, got none; name it")
    try:
        return kind(split, height=height, width=width, images=images, root=root)
    except (ValueError, FileNotFoundError) as error:
        other = recognize(root)
        if other in (None, name) or name == "own":  # whose folders can look like others
            raise
        raise ValueError(
            f"{root}: expected the folder of {name}, found that of {other}; name another folder, "
            f"or choose what is made from {other}"
        ) from error


def recognize(root: str | Path) -> str | None:
    """Finds out which data set a folder holds: its key in ``DATASETS``, or None."""
    for name, (find, _) in LAYOUTS.items():
        try:
            find(root)
        except FileNotFoundError:
            continue
        return name
    return None


def require_recognized(root: str | Path) -> str:
    """Which data set a folder holds, as ``recognize`` finds it.

    Raises:
        FileNotFoundError: If it holds none, naming every layout that is known.
    """
    name = recognize(root)
    if name is None:
        known = "; ".join(f"{name} with {places}" for name, (_, places) in LAYOUTS.items())
        remedy = "see `python -m mtpsl data sources`"
        raise missing(Path(root), f"a folder of data ({known})", listing(Path(root)), remedy)
    return name


def find_class(name: str) -> type[Dataset]:
    """Looks up the class of that name.

    Raises:
        ValueError: If there is none, suggesting the nearest.
    """
    return look_up("dataset", name, DATASETS)
