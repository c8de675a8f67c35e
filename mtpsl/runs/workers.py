"""Runs that a store lacks, trained side by side by processes of their own.

Every finished run is kept: stop and start again at any time.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunStore

POLL = 0.1  # seconds between looks at the workers


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

    def add(experiment: Experiment, label: str) -> None:
        if experiment.key in jobs or store.load(experiment.key) is not None:
            return
        if experiment.teacher:
            add(experiment.teacher, f"{label}: teacher")
        jobs[experiment.key] = Job(experiment, label)

    for experiment, label in labeled:
        add(experiment, label)
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
                    running[key] = waiting.pop(key)
                    _start(job, session, workers)
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
    write_experiment(job.experiment, path)
    command = [sys.executable, "-m", "mtpsl", "run", "--experiment", str(path)]
    command += ["--device", str(session.device)]
    command += ["--data", str(session.data_root)] if session.data_root else []
    environment = os.environ | {"MTPSL_RUNS": str(session.store.root.absolute())}
    if workers > 1:  # bars of several processes would overwrite each other
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        environment |= {"MTPSL_PROGRESS": "0", "OMP_NUM_THREADS": threads}
    job.started = time.monotonic()
    with open(folder / "output.txt", "wb") as output:
        job.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if workers == 1 else output,
        )


def _last_words(job: Job, store: RunStore) -> str:
    path = store.folder(job.experiment.key) / "output.txt"
    lines = [line.strip() for line in path.read_text(errors="replace").split("\n") if line.strip()]
    last = f": {lines[-1]}" if lines else ""
    return f"exit status {job.process.returncode}{last} ({path})"


def _report(job: Job, done: int, total: int, seconds: Sequence[float], rounds: float) -> None:
    """One line, such as ``[7/39] table1 one-label/MTL baseline seed 0 48 s, 25 min left``."""
    if job.error:
        result = f"failed: {job.error}"
    else:
        rest = rounds * sum(seconds) / len(seconds)
        left = f"{rest / 60:.0f} min" if rest > 100 else f"{rest:.0f} s"
        result = f"{seconds[-1]:.0f} s" + (f", about {left} left" if rest else "")
    print(f"[{done}/{total}] {job.label} {result}", flush=True)
