"""An experiment's data: bound to what is at hand, opened, labeled and put into batches."""

import functools
import shutil
import sys
from pathlib import Path
from typing import Any

from mtpsl import files
from mtpsl.data import find_class, open_dataset, recognize, require_recognized
from mtpsl.data.cache import Cached, cache_root
from mtpsl.data.dataset import Dataset, EvalLoader, TrainLoader
from mtpsl.data.fingerprint import forget_fingerprints, looks_of
from mtpsl.data.labels import (
    Assignment,
    PartialLabels,
    assign,
    assignment_from_file,
    find_label_file,
)
from mtpsl.data.readers.disk import AtFileSize
from mtpsl.data.readers.own import Own, tasks_from
from mtpsl.data.readers.own_files import DESCRIPTION
from mtpsl.data.regions import WithRegions, region_version
from mtpsl.data.supervision import SupervisionStore
from mtpsl.methods import Method
from mtpsl.papers import method_class
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.store import Session
from mtpsl.tasks import TaskSet, follow

EVAL_BATCH = 16  # images; metrics do not depend on it


# ------------------------------------------------------------------- binding


def bind_data(experiment: Experiment, data_root: Path | str = "") -> Experiment:
    """The same experiment on the data at hand, and its teacher.

    Args:
        experiment: As a table or a profile gives it; what is filled in already stays.
        data_root: Folder of a data set on disk, which replaces the stand-in that stands for it;
            other stand-ins stay. Empty for the embedded data.

    Returns:
        With ``dataset``, ``data_version`` and ``region_version`` filled in, so that its key is
        final, and "file" as an open ``score_size`` where the protocol scores at the size of the
        files. Where a label-split file lies beside data on disk, its digest in ``label_args`` takes
        the place of the seed.

    Raises:
        FileNotFoundError: If ``data_root`` is in no layout that is known, naming them all.
    """
    if experiment.regions and not experiment.region_version:
        version = region_version(experiment.regions, experiment.region_args, data_root)
        experiment = experiment.replace(region_version=version)
    if experiment.data_version:
        return experiment
    name = experiment.dataset
    if name == Own.name:
        return _bind_own(experiment, data_root)
    real = find_class(name).stands_for
    if data_root and real and require_recognized(data_root) == real:
        name = real
    kind = find_class(name)
    label_args = dict(experiment.label_args)
    if data_root and not kind.stand_in and not label_args:
        path = find_label_file(data_root, experiment.label_setting)
        label_args = {"file": files.sha256(path)[:12]} if path else {}
    return experiment.replace(
        dataset=name,
        data_version=data_version(name, data_root),
        label_args=label_args,
        score_size=experiment.score_size or ("file" if kind.scores_at_file_size else None),
        teacher=experiment.teacher and bind_data(experiment.teacher, data_root),
    )


def data_version(name: str, data_root: Path | str = "") -> str:
    """The version of a generator, or the fingerprint of a folder, which takes a moment to read.

    Every file is looked at every time: people correct labels while a notebook is open.
    """
    kind = find_class(name)
    if kind.stand_in:
        return kind.version
    looks = looks_of(Path(data_root)) if data_root else None
    read = _read_version if looks else _read_version.__wrapped__  # what has just changed, anew
    return read(name, data_root or None, looks)


@functools.lru_cache(maxsize=64)
def _read_version(name: str, root: Path | str | None, looks: str | None) -> str:
    """The fingerprint of a folder that looks so."""
    return open_dataset(name, "train", height=64, width=96, images=1, root=root).version


def forget_data(session: Session) -> None:
    """Makes what is kept of data on disk be made again: hashes, resized images and regions."""
    if session.data_root and (name := recognize(session.data_root)):
        forget_fingerprints()
        _read_version.cache_clear()
        for folder in cache_root(session.cache_dir).glob(f"{name}-*"):
            if folder.is_dir() and folder.suffix != ".part":  # which another process builds
                shutil.rmtree(folder)


def experiment_on(root: str | Path, **settings: Any) -> Experiment:
    """The experiment on all tasks, all images and all labels of a folder of your own.

    Args:
        root: The folder that holds ``mtpsl.toml``.
        **settings: Fields of ``Experiment`` that are to differ, such as ``height``, ``width``,
            ``epochs``, ``method`` or fewer ``tasks``. Its defaults are for a GPU.

    Returns:
        Ready for ``run(experiment, Session(data_root=root))``.

    Raises:
        FileNotFoundError: If a part of the folder is missing, naming it.
        ValueError: If files or settings do not fit, naming them.
        TypeError: If a setting is none of an experiment's.
    """
    train, test = (Own(split, root=root) for split in ("train", "test"))
    images = {"train_images": len(train), "test_images": len(test)}
    everything = {"tasks": train.tasks.names, "label_setting": "full"} | images
    return _bind_own(Experiment(dataset=Own.name, **(everything | settings)), root)


def _bind_own(experiment: Experiment, root: str | Path) -> Experiment:
    """With the tasks and the fingerprint of a folder of your own; what is unused is reported."""
    if not root:
        raise ValueError(f"root: expected the folder with {DESCRIPTION}, got none; name it")
    train, test = (Own(split, root=root) for split in ("train", "test"))
    names = train.tasks.names
    if not experiment.tasks or not set(experiment.tasks) <= set(names):
        raise ValueError(
            f"tasks: expected some of {names}, as in {train.root / DESCRIPTION}, got "
            f"{experiment.tasks}; choose among them"
        )
    for data, used in ((train, experiment.train_images), (test, experiment.test_images)):
        if used < len(data):
            print(
                f"{data.root}: the first {used} of {len(data)} {data.split} images are used; set "
                f"{data.split}_images for more",
                file=sys.stderr,
            )
    teacher = experiment.teacher
    if teacher and not teacher.data_version:
        teacher = _bind_own(teacher, root)
    found = {"data_version": train.version, "data_args": train.description}
    return experiment.replace(dataset=Own.name, teacher=teacher, **found)


# -------------------------------------------------------- images, labels, batches


def tasks_of(experiment: Experiment) -> TaskSet:
    """The tasks a network of this experiment has, in the experiment's order."""
    own = experiment.data_args
    tasks = tasks_from(own) if own else find_class(experiment.dataset).tasks
    return follow(experiment.protocol, tasks).subset(experiment.tasks)


def open_split(experiment: Experiment, split: str, session: Session | None = None) -> Dataset:
    """The clean ``"train"`` or ``"test"`` images of a bound experiment, everything labeled.

    Data on disk lie where the session says and are always read through ``Cached``.
    """
    session = session or Session()
    on_disk = not find_class(experiment.dataset).stand_in
    dataset = open_dataset(
        experiment.dataset,
        split,
        height=experiment.height,
        width=experiment.width,
        images=experiment.train_images if split == "train" else experiment.test_images,
        root=(session.data_root or None) if on_disk else None,
        cache_dir=session.cache_dir,
    )
    if on_disk:
        dataset = Cached(dataset, cache_dir=session.cache_dir)
    dataset.tasks = follow(experiment.protocol, dataset.tasks)
    return dataset


def label(
    experiment: Experiment, dataset: Dataset, session: Session | None = None
) -> tuple[PartialLabels, Assignment]:
    """The training images as the label setting shows them, and the whole assignment.

    Labels are assigned over all tasks of the data set, so that a single-task network learns from
    those labels that a multi-task one would see. A method that learns from labels alone, without
    a teacher, leaves out images that keep none of its labels: they teach it nothing [XTC]. It
    keeps them where all networks must take as many steps: where shares of labels are compared,
    and on data sets whose protocol counts steps (``Dataset.counts_steps``).

    Args:
        experiment: Bound to its data.
        dataset: Its training images.
        session: Says where the label file of data on disk lies.

    Raises:
        ValueError: If the labels are those of a file that is not beside the data, or not its own.
    """
    names = dataset.tasks.names
    if "file" in experiment.label_args:
        assignment = _published_labels(experiment, len(dataset), session or Session())
    else:
        assignment = assign(
            experiment.label_setting,
            len(dataset),
            names,
            seed=experiment.label_seed,
            carries={name: dataset.carries(name) for name in names},
            **experiment.label_args,
        )
    drop = not (
        method_class(experiment.method).learns_from_unlabeled
        or experiment.teacher
        or experiment.label_setting == "share"
        or find_class(experiment.dataset).counts_steps
    )
    partial = PartialLabels(dataset, assignment.select(experiment.tasks), drop_unlabeled=drop)
    return partial, assignment


def _published_labels(experiment: Experiment, images: int, session: Session) -> Assignment:
    """The assignment of the first images of the split, from the file beside the data."""
    root = session.data_root
    path = find_label_file(root, experiment.label_setting) if root else None
    expected = experiment.label_args["file"]
    if path is None or not files.sha256(path).startswith(expected):
        raise ValueError(
            f"label_args: expected the label-split file with the digest {expected}... in "
            f"label_splits of the data folder, found {path or 'none'}; name that folder, or put "
            "the file back"
        )
    size = {"height": experiment.height, "width": experiment.width}
    whole = find_class(experiment.dataset)("train", root=root, **size)  # whose images it names
    names = whole.tasks.names
    carries = {name: whole.carries(name) for name in names}
    return assignment_from_file(path, names, images, ids=whole.ids, carries=carries)


def training_batches(
    experiment: Experiment,
    method: Method,
    labeled: Dataset,
    session: Session | None = None,
    *,
    supervision: SupervisionStore | None = None,
) -> TrainLoader:
    """The experiment's training batches, with as many views of an image as the method looks at.

    Args:
        experiment: Says size, seed and augmentation.
        method: Says how many views it needs.
        labeled: The images with the labels that the experiment keeps.
        session: Whose device the batches go to; None for the CPU.
        supervision: Pseudo labels that the batches bring along.

    Raises:
        ValueError: If the experiment's regions show labels that its label setting withholds.
    """
    if experiment.regions:
        here = session or Session()
        where = {"root": here.data_root, "cache_dir": here.cache_dir}
        labeled = WithRegions(labeled, experiment.regions, experiment.region_args, **where)
    return TrainLoader(
        labeled,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        views=method.views,
        augment=experiment.augment,
        augmentation=experiment.augmentation,
        flip=experiment.flip,
        supervision=supervision,
        device=session.torch_device if session else "cpu",
    )


def test_batches(experiment: Experiment, session: Session) -> EvalLoader:
    """The experiment's test images, with labels of the size that predictions are scored at.

    Raises:
        ValueError: If that is the size of files, and the images are generated.
    """
    images, device = open_split(experiment, "test", session), session.torch_device
    if experiment.score_size != "file":
        return EvalLoader(images, EVAL_BATCH, device)
    if not isinstance(images, Cached):
        raise ValueError(
            f"score_size: expected 'network' on {images.name}, whose images are generated at the "
            "network's size and have no files, got 'file'"
        )
    return EvalLoader(AtFileSize(images, images.dataset), 1, device)
