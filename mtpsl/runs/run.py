"""Running an experiment: from its data to trained weights and a record.

Finished runs are looked up by key, so whatever is asked for twice is trained once: the plain
row of a table is also the teacher of the rows that build on it.
"""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import fields
from itertools import islice
from typing import Any

import torch

import mtpsl
from mtpsl import files
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.labels import PartialLabels
from mtpsl.data.supervision import SupervisionStore, discover_to_folder
from mtpsl.engine import Fit, evaluate, fit, seeded
from mtpsl.methods import Method
from mtpsl.models.pretrained import describe_pretrained
from mtpsl.optimization import Optimization
from mtpsl.runs.data import (
    EVAL_BATCH,
    bind_data,
    data_version,
    label,
    open_split,
    test_batches,
    training_batches,
)
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.memory import peak_memory
from mtpsl.runs.network import build, load_method, network_cost
from mtpsl.runs.session import Session, resolve_device
from mtpsl.runs.store import RunRecord, environment
from mtpsl.training_state import Selection
from mtpsl.weighting import build_weighting


def run(experiment: Experiment, session: Session) -> RunRecord:
    """The record of an experiment, trained if the store does not have it.

    Two processes that ask for the same run share it: one trains, the other waits.

    Args:
        experiment: Its data are bound here where they are not yet (``bind_data``).
        session: Where runs are kept, and how they are computed.

    Raises:
        ValueError: If the experiment asks for data or code of another version than are here, its
            teacher cannot teach it, or there is no such device.
    """
    resolve_device(session.device)  # an unknown one is refused before anything is read
    experiment = bind_data(experiment, session.data_root)
    _check_versions(experiment, session)
    _check_teacher(experiment)
    with session.store.lock(experiment.key):
        record = session.store.load(experiment.key)
        if record is not None:
            return record
        if experiment.teacher:  # a lock inside a lock, always the student's first: no cycle
            run(experiment.teacher, session)
        return train(experiment, session)


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

    discovering = time.perf_counter()
    supervision = discover(experiment, partial, session) if experiment.teacher else None
    discovering = time.perf_counter() - discovering

    method = build(experiment)
    memory = peak_memory(device, start=True)
    done = _fit(experiment, method, partial, supervision, test, session)
    memory = peak_memory(device) - memory

    testing = time.perf_counter()
    metrics = {"test": evaluate(method, test)}
    testing = time.perf_counter() - testing
    training = sum(entry["seconds"] for entry in done.history)
    began_with = describe_pretrained(method)
    record = RunRecord(
        experiment=experiment.to_dict(),
        key=experiment.key,
        metrics=metrics,
        history=done.history,
        selected_epoch=done.epoch,
        **vars(network_cost(experiment)),
        seconds={"train": training, "discover": discovering, "test": testing},
        images_per_s=len(partial) * experiment.epochs / training,
        device=device.type,
        peak_memory=memory,
        labels={"hash": assignment.hash, "counts": assignment.counts, "images": len(partial)},
        data={n: getattr(images, n) for n in ("name", "version", "stand_in")} | began_with,
        environment=environment(device),
        weights_sha256=files.save_weights(method, store.weights(experiment.key)),
    )
    store.save(record)
    shutil.rmtree(folder / "checkpoint")  # up to 0.6 GB that nobody needs any more
    return record


def _fit(
    experiment: Experiment,
    method: Method,
    partial: PartialLabels,
    supervision: SupervisionStore | None,
    test: EvalLoader,
    session: Session,
) -> Fit:
    """Prepares the fresh method and trains it as the experiment says."""
    device = session.torch_device
    weighting = build_weighting(experiment.weighting, method.tasks, experiment.weighting_args)
    with seeded(torch.device("cpu"), experiment.seed, "prepare"):
        method.prepare(EvalLoader(partial, EVAL_BATCH))
    method.to(device)
    seen = EvalLoader(partial, EVAL_BATCH, device)  # the curve looks at as many as there are
    as_many = -(-len(test.dataset) // EVAL_BATCH)  # test images

    def curve() -> dict[str, dict[str, float]]:
        return {
            "test": evaluate(method, test),
            "train": evaluate(method, islice(seen, as_many)),
        }

    return fit(
        method,
        training_batches(experiment, method, partial, session, supervision=supervision),
        epochs=experiment.epochs,
        lr=experiment.lr,
        optimization=Optimization(**_shared_fields(experiment, Optimization)),
        selection=Selection(curve=curve, **_shared_fields(experiment, Selection)),
        weighting=weighting,
        seed=experiment.seed,
        folder=session.store.folder(experiment.key),
        progress=session.progress,
    )


def _shared_fields(experiment: Experiment, kind: type) -> dict[str, Any]:
    """What an experiment says of the fields of a dataclass, which have the same names."""
    names = {field.name for field in fields(kind)} & vars(experiment).keys()
    return {name: getattr(experiment, name) for name in names}


def discover(experiment: Experiment, partial: PartialLabels, session: Session) -> SupervisionStore:
    """What the teacher finds on the student's training images, made once for all who ask.

    Lies in the teacher's run folder under a name that says what it depends on.

    Args:
        experiment: The student, whose teacher is trained.
        partial: The student's training images.
        session: Where the runs are kept, and where the teacher runs.
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
        device = session.torch_device
        discover_to_folder(method, partial, folder, thresholds=experiment.thresholds, device=device)
        return SupervisionStore(folder, partial.tasks)


def _check_versions(experiment: Experiment, session: Session) -> None:
    here = data_version(experiment.dataset, session.data_root)
    for name, asked, available in (
        ("data_version", experiment.data_version, here),
        ("numerics", experiment.numerics, mtpsl.NUMERICS),
    ):
        if asked != available:
            raise ValueError(
                f"{name}: expected {available!r}, which is what is here, got {asked!r} from "
                f"experiment {experiment.key}; a number made with another one needs that version"
            )


def _check_teacher(experiment: Experiment) -> None:
    """What a teacher finds must be of the student's tasks and images, and features as wide."""
    teacher = experiment.teacher
    if teacher is None:
        return
    alike = ["dataset", "height", "width", "train_images"]
    if experiment.method_args.get("pseudo_features"):
        alike += ["backbone", "width_factor"]
    for name in alike:
        ours, its = getattr(experiment, name), getattr(teacher, name)
        if ours != its:
            raise ValueError(f"teacher: expected {name} {ours!r} as the student's, got {its!r}")
    if missing := [name for name in experiment.tasks if name not in teacher.tasks]:
        raise ValueError(f"teacher: expected all tasks of the student, got none of {missing}")
