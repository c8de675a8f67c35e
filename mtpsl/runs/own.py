"""Experiments on a folder of one's own, which says itself what its tasks are."""

import sys
from pathlib import Path
from typing import Any

from mtpsl.data.readers.own import Own
from mtpsl.data.readers.own_toml import DESCRIPTION
from mtpsl.runs.experiment import Experiment


def experiment_on(root: str | Path, **settings: Any) -> Experiment:
    """The experiment on all tasks, all images and all labels of a folder (``data.own``).

    Args:
        root: The folder that holds ``mtpsl.toml``.
        **settings: Fields of ``Experiment`` that are to differ, such as ``height``, ``width``,
            ``epochs``, ``method`` or fewer ``tasks``. Its defaults are for a GPU.

    Returns:
        Ready for ``run(experiment, store, data_root=root)``.

    Raises:
        FileNotFoundError: If a part of the folder is missing, naming it.
        ValueError: If files or settings do not fit, naming them.
        TypeError: If a setting is none of an experiment's.
    """
    train, test = (Own(split, root=root) for split in ("train", "test"))
    everything = {
        "tasks": train.tasks.names,
        "train_images": len(train),
        "test_images": len(test),
        "label_setting": "full",
    }
    return bind(Experiment(dataset=Own.name, **(everything | settings)), root)


def bind(experiment: Experiment, root: str | Path | None) -> Experiment:
    """The experiment, and its teacher, with the folder's tasks and fingerprint.

    Images that it leaves out are said on stderr.

    Raises:
        FileNotFoundError: If a part of the folder is missing, naming it.
        ValueError: If there is no folder, or it has none of the experiment's tasks.
    """
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
        teacher = bind(teacher, root)
    return experiment.replace(
        dataset=Own.name,
        data_version=train.version,
        data_args=train.description,
        teacher=teacher,
    )
