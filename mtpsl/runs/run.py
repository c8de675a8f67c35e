"""Running experiments, from data to trained weights and a record: here, or in worker processes.

Finished runs are looked up by key, so whatever is asked for twice is trained once: the plain
row of a table is also the teacher of the rows that build on it. Stop and start again at any time.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import torch

import mtpsl
from mtpsl import distributed, files
from mtpsl.data.dataset import EvalLoader
from mtpsl.data.labels import PartialLabels
from mtpsl.data.regions import region_version
from mtpsl.data.supervision import SupervisionStore, discover_to_folder, resolve_thresholds
from mtpsl.engine import (
    Fit,
    classes_of,
    evaluate,
    fit,
    measure,
    require_measured,
    seeded,
    values_of,
)
from mtpsl.methods import Method
from mtpsl.methods.base import OnlineTeacher
from mtpsl.models.pretrained import describe_pretrained
from mtpsl.processes import bound
from mtpsl.runs import data
from mtpsl.runs.data import EVAL_BATCH, bind_data, label
from mtpsl.runs.experiment import Experiment, require_sound, write_experiment
from mtpsl.runs.network import build, load_method, network_cost, peak_memory
from mtpsl.runs.store import RunRecord, RunStore, Session, environment, resolve_device
from mtpsl.training import Optimization, Selection
from mtpsl.weighting import build_weighting

POLL = 0.1  # seconds between looks at the workers


def run(experiment: Experiment, session: Session) -> RunRecord:
    """The record of an experiment, trained if the store does not have it.

    Two processes that ask for the same run share it: one trains, the other waits. Those that
    ``torchrun`` started train it together (``distributed``).

    Args:
        experiment: Its data are bound here where they are not yet (``bind_data``).
        session: Where runs are kept, and how they are computed.

    Raises:
        ValueError: If the experiment asks for data or code of another version than are here, its
            teacher cannot teach it, or there is no such device.
    """
    resolve_device(session.device)  # an unknown one is refused before anything is read
    require_sound(experiment)
    experiment = bind_data(experiment, session.data_root)
    _check_versions(experiment, session)
    _check_teacher(experiment)
    with session.store.lock(experiment.key) if distributed.is_first() else nullcontext():
        record = distributed.agree(lambda: session.store.load(experiment.key))
        if record is not None:
            if distributed.is_first():
                session.store.mend(record)
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
    if distributed.is_first():
        write_experiment(experiment, folder / "experiment.json")
    images = data.open_split(experiment, "train", session)
    partial, assignment = label(experiment, images, session)
    if untaught := [name for name in experiment.tasks if not assignment.counts[name]]:
        print(
            f"run {experiment.key}: no training image keeps a label of {', '.join(untaught)}; what "
            "is measured there is what other tasks teach",
            file=sys.stderr,
        )
    available = {name: int(images.carries(name).sum()) for name in assignment.tasks}
    if not images.stand_in:
        counts = [f"{n} {assignment.counts[n]} of {available[n]}" for n in experiment.tasks]
        used = f"labels used by the setting {experiment.label_setting}: {', '.join(counts)}"
        print(f"run {experiment.key}: {used}", file=sys.stderr)
    test = data.test_batches(experiment, session)
    if not any(test.dataset.carries(name).any() for name in experiment.tasks):
        raise ValueError(
            f"test: expected a label of {' or '.join(experiment.tasks)} on one of "
            f"{len(test.dataset)} images, got none, so that nothing would be measured; add one"
        )

    method, supervision = build(experiment), None
    discovering = time.perf_counter()
    if experiment.teacher and method.online:
        teacher, taus = load_method(experiment.teacher, session), experiment.thresholds
        taus = resolve_thresholds(teacher, partial, taus, EVAL_BATCH, device)
        method.teacher = OnlineTeacher(teacher, taus)
    elif experiment.teacher:
        supervision = distributed.first_alone(lambda: discover(experiment, partial, session))
    discovering = time.perf_counter() - discovering

    memory = peak_memory(device, start=True)
    done = _fit(experiment, method, partial, supervision, test, session)
    memory = peak_memory(device) - memory

    seconds = {"train": sum(entry["seconds"] for entry in done.history), "discover": discovering}
    labels = {"hash": assignment.hash, "counts": assignment.counts, "available": available}
    facts = {name: getattr(images, name) for name in ("name", "version", "stand_in")}

    def complete() -> RunRecord:
        record = RunRecord(
            **_tested(method, test, seconds),
            experiment=experiment.to_dict(),
            key=experiment.key,
            history=done.history,
            selected_epoch=done.epoch,
            **vars(network_cost(experiment)),
            images_per_s=len(partial) * experiment.epochs / seconds["train"],
            device=device.type,
            peak_memory=memory,
            labels=labels | {"images": len(partial)},
            data=facts | describe_pretrained(method),
            environment=environment(device),
            weights_sha256=files.save_weights(method, store.weights(experiment.key)),
        )
        store.save(record)
        shutil.rmtree(folder / "checkpoint")  # up to 0.6 GB that nobody needs any more
        return record

    return distributed.agree(complete)


def _tested(method: Method, test: EvalLoader, seconds: dict[str, float]) -> dict[str, Any]:
    """Fields of a record: metrics, what they are class by class, and the seconds of all parts."""
    start = time.perf_counter()
    counted = measure(method, test)
    metrics = {"test": require_measured(values_of(counted), method, test)}
    seconds = seconds | {"test": time.perf_counter() - start}
    by_class = classes_of(method.tasks, counted)
    return {"metrics": metrics, "seconds": seconds, "by_class": by_class}


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
        data.training_batches(experiment, method, partial, session, supervision=supervision),
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
        except (files.Damaged, ValueError) as error:
            print(f"discoveries are damaged and have to be made again: {error}", file=sys.stderr)
        method = load_method(teacher, session)
        if teacher.channels_last:
            method.to(memory_format=torch.channels_last)
        device = session.torch_device
        discover_to_folder(method, partial, folder, thresholds=experiment.thresholds, device=device)
        return SupervisionStore(folder, partial.tasks)


def _check_versions(experiment: Experiment, session: Session) -> None:
    here = {"data_version": data.data_version(experiment.dataset, session.data_root)}
    if experiment.regions:
        asked = (experiment.regions, experiment.region_args)
        here["region_version"] = region_version(*asked, session.data_root)
    for name, available in (here | {"numerics": mtpsl.NUMERICS}).items():
        asked = getattr(experiment, name)
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
    as_wide = ("backbone", "width_factor") * bool(experiment.method_args.get("pseudo_features"))
    for name in ("dataset", "height", "width", "train_images", *as_wide):
        ours, its = getattr(experiment, name), getattr(teacher, name)
        if ours != its:
            raise ValueError(f"teacher: expected {name} {ours!r} as the student's, got {its!r}")
    if missing := [name for name in experiment.tasks if name not in teacher.tasks]:
        raise ValueError(f"teacher: expected all tasks of the student, got none of {missing}")


# -------------------------------------------------- many runs, side by side


@dataclass
class Job:
    """A run that a worker process trains."""

    experiment: Experiment
    label: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    error: str = ""  # the last thing a failed worker said


def missing_runs(labeled: Iterable[tuple[Experiment, str]], store: RunStore) -> dict[str, Job]:
    """key -> job for every run that the store lacks, teachers before their students.

    Args:
        labeled: Experiments, each with what progress calls it; the first name counts.
        store: Whose intact runs are left out.
    """
    jobs: dict[str, Job] = {}

    def add(experiment: Experiment, name: str) -> None:
        if experiment.key in jobs or store.load(experiment.key) is not None:
            return
        if experiment.teacher:
            add(experiment.teacher, f"{name}: teacher")
        jobs[experiment.key] = Job(experiment, name)

    for pair in labeled:
        add(*pair)
    return jobs


def train_all(jobs: Iterable[Job], session: Session, workers: int) -> Iterator[Job]:
    """Keeps so many worker processes running and yields every job when it ends.

    A job waits for its teacher and fails with it. Leaving the loop stops the workers; their runs
    go on from their checkpoints next time.
    """
    waiting = {job.experiment.key: job for job in jobs}
    running: dict[str, Job] = {}
    failed: set[str] = set()
    total, seconds = len(waiting), list[float]()
    try:
        while waiting or running:
            for key, job in list(waiting.items()):
                teacher = job.experiment.teacher.key if job.experiment.teacher else ""
                if teacher in failed:
                    job.error = "its teacher failed"
                elif len(running) < workers and teacher not in waiting | running:
                    _start(job, session, workers)
                    running[key] = waiting.pop(key)
            over = {k: j for k, j in waiting.items() if j.error}
            over |= {k: j for k, j in running.items() if j.process.poll() is not None}
            for key, job in over.items():
                if running.pop(key, None):
                    seconds.append(time.monotonic() - job.started)
                    job.error = _last_words(job, session.store) if job.process.returncode else ""
                waiting.pop(key, None)
                if job.error:
                    failed.add(key)
                left = len(waiting) + len(running)
                _report(job, total - left, total, seconds, left / workers)
                yield job
            time.sleep(0 if over else POLL)
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.process.wait()


def _start(job: Job, session: Session, workers: int) -> None:
    """``python -m mtpsl run --experiment FILE``, with its share of the cores."""
    folder = session.store.folder(job.experiment.key)
    path = folder / "experiment.json"
    with files.writing(folder, "MTPSL_RUNS"):
        write_experiment(job.experiment, path)
    command = [*bound("mtpsl"), "run", "--brief", "--experiment", str(path)]
    command += ["--device", str(session.device)]
    command += ["--data", str(session.data_root)] if session.data_root else []
    environment = os.environ | {"MTPSL_RUNS": str(session.store.root.absolute())}
    if workers > 1:  # bars of several processes would overwrite each other
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        environment |= {"MTPSL_PROGRESS": "0", "OMP_NUM_THREADS": threads}
    job.started = time.monotonic()
    with open(folder / "output.txt", "wb") as output:
        errors = None if workers == 1 else output
        how = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": errors}
        job.process = subprocess.Popen(command, env=environment, **how)


def _last_words(job: Job, store: RunStore) -> str:
    path = store.folder(job.experiment.key) / "output.txt"
    lines = [line.strip() for line in path.read_text(errors="replace").split("\n") if line.strip()]
    last = f": {lines[-1]}" if lines else ""
    return f"exit status {job.process.returncode}{last} ({path})"


def _report(job: Job, done: int, total: int, seconds: Sequence[float], rounds: float) -> None:
    """One line, such as ``[7/39] table1 one-label/MTL baseline seed 0 48 s, 25 min left``."""
    result = f"failed: {job.error}"
    if not job.error:
        rest = rounds * sum(seconds) / len(seconds)
        left = f"{rest / 60:.0f} min" if rest > 100 else f"{rest:.0f} s"
        result = f"{seconds[-1]:.0f} s" + (f", about {left} left" if rest else "")
    print(f"[{done}/{total}] {job.label} {result}", flush=True)
