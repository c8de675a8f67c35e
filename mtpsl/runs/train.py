"""One experiment: from its data to trained weights and a record."""

import functools
import hashlib
import json
import resource
import shutil
import sys
import time
from itertools import islice
from pathlib import Path

import torch

from mtpsl import files
from mtpsl.data import find_class, open_dataset, recognize
from mtpsl.data.cache import Cached
from mtpsl.data.dataset import Dataset
from mtpsl.data.labels import (
    Assignment,
    PartialLabels,
    assign,
    assignment_from_file,
    find_label_file,
)
from mtpsl.data.loader import EvalLoader, TrainLoader
from mtpsl.data.readers.disk import AtFileSize
from mtpsl.data.readers.own import tasks_from
from mtpsl.data.supervision import SupervisionStore, discover_to_folder
from mtpsl.engine import evaluate, fit, seeded
from mtpsl.methods import Method
from mtpsl.models.cost import Cost, cost
from mtpsl.models.pretrained import describe_pretrained
from mtpsl.optimization import Optimization
from mtpsl.papers import build_method
from mtpsl.runs import own
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunRecord, environment
from mtpsl.tasks import TaskSet
from mtpsl.training_state import Selection
from mtpsl.weighting import build_weighting

REAL = {"rooms13": "nyud", "streets7": "cityscapes", "people21": "pascal_context"}
"""Stand-in -> the data set on disk that it stands for."""

COUNTS_STEPS = ("people21", "pascal_context")
"""Data sets on which the papers train for a number of steps and not of epochs [HiTTs, Sec. 4.1]."""

FILE_SIZE = ("pascal_context",)
"""Data sets whose protocol scores predictions at the size of each image's files."""

NETWORK = (
    "dataset", "data_args", "height", "width", "tasks",
    "backbone", "width_factor", "backbone_args", "method", "method_args",
)  # fmt: skip
"""Fields of an experiment that decide what its network costs."""

EVAL_BATCH = 16  # images; metrics do not depend on it


def bind_data(experiment: Experiment, data_root: Path | str | None = None) -> Experiment:
    """The same experiment on the data at hand, and its teacher.

    Args:
        experiment: As a table or a profile gives it.
        data_root: Folder of a data set on disk, which replaces its stand-in; other stand-ins stay.
            None or empty for the embedded data.

    Returns:
        With ``dataset`` and ``data_version`` filled in, so that its key is final. What is filled
        in already stays. On ``FILE_SIZE`` an open ``score_size`` becomes "file". Where a
        label-split file lies beside data on disk (``find_label_file``), ``label_args`` say so by
        the file's digest: it takes the place of the label seed.
    """
    if experiment.data_version:
        return experiment
    name = experiment.dataset
    if name == "own":
        return own.bind(experiment, data_root)
    if data_root and REAL.get(name) and _content(data_root) in (REAL[name], None):
        name = REAL[name]  # what is in no known layout is left to its reader to complain about
    label_args = dict(experiment.label_args)
    if data_root and not find_class(name).stand_in and not label_args:
        path = find_label_file(data_root, experiment.label_setting)
        label_args = {"file": files.sha256(path)[:12]} if path else {}
    return experiment.replace(
        dataset=name,
        data_version=data_version(name, data_root),
        label_args=label_args,
        score_size=experiment.score_size or ("file" if name in FILE_SIZE else None),
        teacher=experiment.teacher and bind_data(experiment.teacher, data_root),
    )


@functools.cache
def _content(data_root: Path | str) -> str | None:
    """Which data set a folder holds, None for none that is known."""
    return recognize(data_root)


def data_version(name: str, data_root: Path | str | None = None) -> str:
    """Of the generator, or the fingerprint of a folder, which takes a moment to read.

    A folder of one's own is looked at every time: people correct labels while a notebook is open.
    """
    kind = find_class(name)
    if kind.stand_in:
        return kind.version
    return (_fingerprint if name == "own" else _kept_fingerprint)(name, data_root or None)


def _fingerprint(name: str, root: Path | str | None) -> str:
    return open_dataset(name, "train", height=64, width=96, images=1, root=root).version


_kept_fingerprint = functools.cache(_fingerprint)


def tasks_of(experiment: Experiment) -> TaskSet:
    """The tasks a network of this experiment has, in the experiment's order."""
    if experiment.data_args:
        return tasks_from(experiment.data_args).subset(experiment.tasks)
    return find_class(experiment.dataset).tasks.subset(experiment.tasks)


def open_split(
    experiment: Experiment,
    split: str,
    session: Session | None = None,
) -> Dataset:
    """The experiment's clean ``"train"`` or ``"test"`` images, everything labeled.

    Args:
        experiment: Bound to its data.
        split: ``"train"`` or ``"test"``.
        session: Where data on disk lie, which are always read through ``Cached``; None for the
            embedded data.
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
    return Cached(dataset, cache_dir=session.cache_dir) if on_disk else dataset


def label(
    experiment: Experiment, dataset: Dataset, session: Session | None = None
) -> tuple[PartialLabels, Assignment]:
    """The training images as the label setting shows them, and the whole assignment.

    Labels are assigned over all tasks of the data set, so that a single-task network learns from
    those labels that a multi-task one would see. Supervised training without a teacher leaves
    out images that keep none of its labels: they teach nothing [XTC]. It keeps them where all
    networks shall take as many steps: where shares of labels are compared, and on data sets of
    ``COUNTS_STEPS``.

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
    plain = experiment.method in ("supervised", "mtan") and experiment.teacher is None
    as_many_steps = experiment.label_setting == "share" or experiment.dataset in COUNTS_STEPS
    drop = plain and not as_many_steps
    partial = PartialLabels(dataset, assignment.select(experiment.tasks), drop_unlabeled=drop)
    return partial, assignment


def _published_labels(experiment: Experiment, images: int, session: Session) -> Assignment:
    """For the first images of the split, from the file beside the data."""
    data_root = session.data_root
    path = find_label_file(data_root, experiment.label_setting) if data_root else None
    expected = experiment.label_args["file"]
    if path is None or not files.sha256(path).startswith(expected):
        raise ValueError(
            f"label_args: expected the label-split file with the digest {expected}... in "
            f"label_splits of the data folder, found {path or 'none'}; name that folder, or put "
            "the file back"
        )
    size = {"height": experiment.height, "width": experiment.width}
    whole = find_class(experiment.dataset)(  # the file names its images or counts them
        "train", root=data_root, **size
    )
    names = whole.tasks.names
    carries = {name: whole.carries(name) for name in names}
    return assignment_from_file(path, names, images, ids=whole.ids, carries=carries)


def build(experiment: Experiment) -> Method:
    """The method on fresh weights, which depend on the experiment's seed alone."""
    with seeded(torch.device("cpu"), experiment.seed, "weights"):
        return build_method(
            experiment.method,
            tasks_of(experiment),
            experiment.backbone,
            experiment.width_factor,
            experiment.method_args,
            experiment.backbone_args,
        )


def without_pretrained(experiment: Experiment) -> Experiment:
    """The same network on random weights: nothing is read or downloaded to build it."""
    args = experiment.backbone_args
    return experiment.replace(
        backbone_args={k: v for k, v in args.items() if not k.startswith("weights")}
    )


def network_cost(experiment: Experiment) -> Cost:
    """Of its network at its own size; counted once for all experiments that share it."""
    fresh = without_pretrained(experiment)
    return _counted(Experiment(**{name: getattr(fresh, name) for name in NETWORK}))


@functools.cache
def _counted(network: Experiment) -> Cost:
    return cost(build(network), network.height, network.width)


def load_method(experiment: Experiment, session: Session) -> Method:
    """The trained network of a finished run, in evaluation mode on the session's device.

    Raises:
        FileNotFoundError: If the run is not in the store, or damaged there.
    """
    experiment, store = bind_data(experiment, session.data_root), session.store
    if store.load(experiment.key) is None:
        raise FileNotFoundError(
            f"run {experiment.key}: expected a finished run in {store.root}, found none; "
            "run it first"
        )
    method = build(without_pretrained(experiment))
    files.load_weights(method, store.weights(experiment.key))
    return method.to(session.torch_device).eval()


def training_batches(
    experiment: Experiment,
    method: Method,
    labeled: Dataset,
    *,
    supervision: SupervisionStore | None = None,
    device: torch.device | str = "cpu",
) -> TrainLoader:
    """The experiment's training batches, with as many views of an image as the method looks at.

    Args:
        experiment: Says size, seed and augmentation.
        method: Gets the batches.
        labeled: The images with the labels that the experiment keeps.
        supervision: Pseudo labels that the batches bring along.
        device: Where the batches go.
    """
    return TrainLoader(
        labeled,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        views=method.views,
        augment=experiment.augment,
        augmentation=experiment.augmentation,
        flip=experiment.flip,
        supervision=supervision,
        device=device,
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


def train(experiment: Experiment, session: Session) -> RunRecord:
    """Trains, tests and records; goes on where an interrupted run stopped.

    The caller holds the run's lock and has run the teacher.
    """
    store, device = session.store, session.torch_device
    folder = store.folder(experiment.key)
    write_experiment(experiment, folder / "experiment.json")
    images = open_split(experiment, "train", session)
    partial, assignment = label(experiment, images, session)
    if untaught := [name for name in experiment.tasks if not assignment.counts[name]]:
        print(
            f"run {experiment.key}: no training image keeps a label of {', '.join(untaught)}; what "
            "is measured there is what other tasks teach",
            file=sys.stderr,
        )
    test = test_batches(experiment, session)

    began = time.perf_counter()
    supervision = None
    if experiment.teacher:
        supervision = discover(experiment, partial, session)
    discovering = time.perf_counter() - began

    method = build(experiment)
    weighting = build_weighting(experiment.weighting, method.tasks, experiment.weighting_args)
    with seeded(torch.device("cpu"), experiment.seed, "prepare"):
        method.prepare(EvalLoader(partial, EVAL_BATCH))
    method.to(device)
    loader = training_batches(experiment, method, partial, supervision=supervision, device=device)
    seen = EvalLoader(partial, EVAL_BATCH, device)  # the curve looks at as many as there are
    as_many = -(-len(test.dataset) // EVAL_BATCH)  # test images

    def curve() -> dict[str, dict[str, float]]:
        return {
            "test": evaluate(method, test),
            "train": evaluate(method, islice(seen, as_many)),
        }

    memory = _memory(device, start=True)
    done = fit(
        method,
        loader,
        epochs=experiment.epochs,
        lr=experiment.lr,
        optimization=Optimization(
            weight_decay=experiment.weight_decay,
            schedule=experiment.schedule,
            schedule_args=experiment.schedule_args,
            precision=experiment.precision,
            channels_last=experiment.channels_last,
            accumulate=experiment.accumulate,
        ),
        selection=Selection(
            average_last=experiment.average_last,
            select=experiment.select,
            select_reference=experiment.select_reference,
            eval_every=experiment.eval_every,
            curve=curve,
        ),
        weighting=weighting,
        seed=experiment.seed,
        folder=folder,
        progress=session.progress,
    )
    memory = _memory(device) - memory

    began = time.perf_counter()
    metrics = {"test": evaluate(method, test)}
    testing = time.perf_counter() - began
    training = sum(entry["seconds"] for entry in done.history)
    counted = network_cost(experiment)
    record = RunRecord(
        experiment=experiment.to_dict(),
        key=experiment.key,
        metrics=metrics,
        history=done.history,
        selected_epoch=done.epoch,
        params=counted.params,
        macs=counted.macs,
        thop_flops=counted.thop_flops,
        seconds={"train": training, "discover": discovering, "test": testing},
        images_per_s=len(partial) * experiment.epochs / training,
        device=device.type,
        peak_memory=memory,
        labels={"hash": assignment.hash, "counts": assignment.counts, "images": len(partial)},
        data={
            "name": images.name,
            "version": images.version,
            "stand_in": images.stand_in,
            **describe_pretrained(method),
        },
        environment=environment(device),
        weights_sha256=files.save_weights(method, store.weights(experiment.key)),
    )
    store.save(record)
    shutil.rmtree(folder / "checkpoint")  # up to 0.6 GB that nobody needs any more
    return record


def discover(experiment: Experiment, partial: PartialLabels, session: Session) -> SupervisionStore:
    """What the teacher finds on the student's training images, made once for all who ask.

    Lies in the teacher's run folder under a name that says what it depends on.
    """
    teacher, store = experiment.teacher, session.store
    record = store.load(teacher.key)
    facts = {
        "teacher": record and record.weights_sha256,
        "data": [partial.name, partial.version, len(partial), partial.height, partial.width],
        "labels": partial.assignment.hash,
        "thresholds": dict(experiment.thresholds),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    folder = store.folder(teacher.key) / "supervision" / digest
    with store.lock(teacher.key):
        try:
            return SupervisionStore(folder, partial.tasks)
        except FileNotFoundError:
            pass  # not made yet
        except ValueError as error:
            print(f"discoveries are damaged and have to be made again: {error}", file=sys.stderr)
        method = load_method(teacher, session)
        if teacher.channels_last:
            method.to(memory_format=torch.channels_last)
        discover_to_folder(
            method,
            partial,
            folder,
            thresholds=experiment.thresholds,
            device=session.torch_device,
        )
        return SupervisionStore(folder, partial.tasks)


def write_experiment(experiment: Experiment, path: Path) -> None:
    """For people, and for ``python -m mtpsl run --experiment``."""
    text = json.dumps(experiment.to_dict(), indent=1) + "\n"
    files.write(path, lambda file: file.write(text.encode()))


def read_experiment(path: Path | str) -> Experiment:
    """What ``write_experiment`` wrote.

    Raises:
        ValueError: If the file is no experiment, naming it and what is wrong.
    """
    try:
        return Experiment.from_dict(json.loads(Path(path).read_text()))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected an experiment as JSON, got {error}") from error


def _memory(device: torch.device, *, start: bool = False) -> int:
    """Bytes: the peak so far of the process, or on a GPU since ``start``."""
    if device.type == "cuda":
        if start:
            torch.cuda.reset_peak_memory_stats(device)
            return 0
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # what the kernel counts in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
