"""What hostile users try, a thousand times over: no traceback, nothing wrong in silence or lost.

``ABUSE_SHARE=0.1 pytest -m slow tests/test_abuse.py`` tries a tenth of it.
"""

import contextlib
import functools
import io
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from own_trees import write_own
from test_damage import SMALL
from test_fields import BASES, Accepted, mutate
from test_fuzz_data import MUTATIONS

from mtpsl import files, reproduce
from mtpsl.__main__ import main
from mtpsl.commands import COMMANDS
from mtpsl.data.readers.own import Own
from mtpsl.report import records
from mtpsl.runs import run as runner
from mtpsl.runs.data import experiment_on
from mtpsl.runs.experiment import Experiment, write_experiment
from mtpsl.runs.network import build
from mtpsl.runs.store import RunStore, Session

SHARE = float(os.environ.get("ABUSE_SHARE", "1"))
Faults = list[str]  # each begins with "traceback", "wrong" or "lost"


def call(faults: Faults, what: str, *argv: object) -> tuple[int, str, str]:
    """A command's status, output and complaints; it ends well or with one sentence."""
    out, err = io.StringIO(), io.StringIO()
    status = -1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(a) for a in argv])
        except SystemExit as end:  # of argparse
            status = end.code
        except Accepted:
            status = 0
        except BaseException as error:
            faults.append(f"traceback: {what}: {argv}: {error!r}")
    said = re.search(r"^(mtpsl: |python -m mtpsl.* error: )", err.getvalue(), re.MULTILINE)
    if status and status != -1 and not said and "data check" not in what:
        faults.append(f"wrong: {what}: {argv}: no sentence but {err.getvalue()!r:.200}")
    return status, out.getvalue(), err.getvalue()


class World:
    """A finished student with its teacher on a folder of one's own, to be damaged and restored."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.here, self.whole = (folder / name for name in ("own", "here", "whole"))
        patch.setenv("MTPSL_RUNS", str(self.here / "runs"))
        patch.setenv("MTPSL_CACHE", str(self.here / "cache"))
        patch.setenv("MTPSL_PROGRESS", "0")
        write_own(self.root, tasks=("semseg", "depth"))
        teacher = experiment_on(self.root, **SMALL, method="hitts")
        how = {"pseudo_labels": True, "pseudo_features": True}
        self.student = teacher.replace(method_args=how, teacher=teacher)
        write_experiment(self.student, folder / "e.json")
        self.run = ("run", "--brief", "--device", "cpu", "--experiment", folder / "e.json")
        self.run += ("--data", self.root)
        status, self.expected, said = call([], "whole", *self.run)
        assert status == 0, said
        shutil.copytree(self.here, self.whole)
        found = [p for p in sorted(self.whole.rglob("*")) if p.is_file() and "lock" not in p.name]
        self.files = [p.relative_to(self.whole) for p in found]

    def restore(self) -> None:
        shutil.rmtree(self.here)
        shutil.copytree(self.whole, self.here)

    def check(self, faults: Faults, what: str, harmless: bool = False) -> None:
        """The same numbers as before, or a sentence; and the same numbers in the end."""
        status, out, _ = call(faults, what, *self.run)
        if status == 0 and out != self.expected:
            faults.append(f"wrong: {what}: {out}")
        if status and not harmless:
            faults.append(f"lost: {what}: it cannot be done again")


def flips(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Flips a bit of a file of a store or a cache."""
    world, faults = World(folder, patch), Faults()
    for number in range(count):
        rng = np.random.default_rng(number)
        world.restore()
        path = world.files[rng.integers(len(world.files))]
        content = bytearray((world.here / path).read_bytes())
        place, bit = rng.integers(max(1, len(content))), rng.integers(8)
        content[place : place + 1] = [content[place] ^ 1 << bit] if content else []
        (world.here / path).write_bytes(content)
        if world.student.key not in path.parts and number % 2:
            RunStore(world.here / "runs").forget(world.student.key)
        world.check(faults, f"try {number}: bit {bit} of byte {place} of {path}")
    return faults


def folders(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Damages a file of a folder of one's own in one of many ways."""
    whole, faults = write_own(folder / "whole"), Faults()
    paths = [p for p in sorted(whole.rglob("*")) if p.is_file()]
    for number in range(count):
        rng, root = np.random.default_rng(number), folder / "damaged"
        shutil.copytree(whole, root)
        path, change = paths[rng.integers(len(paths))], MUTATIONS[number % len(MUTATIONS)]
        change(rng, root / path.relative_to(whole), paths)
        what = f"data check, try {number}: {change.__name__} of {path.relative_to(whole)}"
        call(faults, what, "data", "check", root, "--all")
        try:
            data = Own("train", height=24, width=32, root=root)
            for index in range(len(data)):
                sample = data[index]
                for task in data.tasks:
                    known = sample.targets[task.name][
                        sample.valid[task.name].expand_as(sample.targets[task.name])
                    ]
                    if not known.float().isfinite().all():
                        faults.append(f"wrong: {what}: {task.name}")
        except (ValueError, OSError) as error:
            if str(root) not in str(error):
                faults.append(f"wrong: {what}: no file named: {error}")
        except Exception as error:
            faults.append(f"traceback: {what}: {error!r}")
        shutil.rmtree(root)
    return faults


class Boom:
    """Runs a program when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.marker),))


def payloads(marker: Path) -> dict[str, bytes]:
    """Contents that run code, or ask for too much."""
    array, saved = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Boom(marker)], dtype=object), allow_pickle=True)
    torch.save({"state": Boom(marker)}, saved)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 4), }" % 10**12
    header = header.ljust(117) + b"\n"
    return {
        "pickled array": array.getvalue(),
        "pickle": pickle.dumps(Boom(marker)),
        "torch": saved.getvalue(),
        "deep JSON": b"[" * 100_000,
        "deep object": b'{"a":' * 100_000,
        "deep TOML": b"a = " + b"[" * 100_000,
        "long number": b"1" * 100_000,
        "huge array": b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header,
        "huge header": (2**62).to_bytes(8, "little") + b"{}",
        "huge picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        + b"\x7f\xff\xff\xff" * 2
        + b"\x08\x02\0\0\0",
        "no text": bytes(range(256)),
        "nothing": b"",
    }


def malicious(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Puts such contents in the place of files of a store and of a folder of data."""
    world, faults, marker = World(folder, patch), Faults(), folder / "executed"
    contents = payloads(marker)
    data = [p for p in sorted(world.root.rglob("*")) if p.is_file()]
    for number in range(count):
        chance = random.Random(number)
        name = list(contents)[number % len(contents)]
        world.restore()
        if number // len(contents) % 2:
            path = world.here / chance.choice(world.files)
            path.write_bytes(contents[name])
            if world.student.key not in path.parts:
                RunStore(world.here / "runs").forget(world.student.key)
            world.check(faults, f"try {number}: {name} as {path}")
        else:
            path = chance.choice(data)
            before = path.read_bytes()
            path.write_bytes(contents[name])
            what = f"data check, try {number}: {name} as {path}"
            status, _, _ = call(faults, what, "data", "check", world.root, "--all")
            if status == 0:
                faults.append(f"wrong: {what}: nothing said")
            call(faults, what, *world.run)
            path.write_bytes(before)
        if marker.exists():
            faults.append(f"wrong: try {number}: {name} as {path} was executed")
            marker.rmdir()
    return faults


def accept(*args: object, **how: object) -> None:
    raise Accepted


def experiments(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Mutates experiment files."""

    def build_only(experiment: Experiment, session: Session) -> None:
        with torch.device("meta"):
            build(experiment)
        raise Accepted

    patch.setattr(runner, "train", build_only)
    patch.setattr(runner, "_check_versions", lambda *_: None)
    patch.setenv("MTPSL_RUNS", str(folder / "runs"))
    faults, path = Faults(), folder / "e.json"
    for number in range(count):
        chance = random.Random(f"abuse {number}")
        path.write_text(text := mutate(chance.choice(BASES), chance))
        what = f"try {number}: {text:.300}"
        call(faults, what, "run", "--brief", "--device", "cpu", "--experiment", path)
    return faults


WORDS = (
    *("", "-", "--", "--nope", "hitts/table1", "table1", "hits/table1", "/", ".", "..", "\x00"),
    *("no/such", "rooms13", "own", "a\nb", "é", "--force", "-1", "0", "1e9", "nan", "--all"),
    *("--seeds", "--jobs", "--device", "--data", "--only", "--profile", "--experiment", "--height"),
    *("cuda:99", "meta", "smoke", "full", "--sheet", "--regions", "grid", "--region-args", "[1]"),
    *("--format", "html", "--json", "x" * 5000, "/dev/null", "/proc/self/mem", "--width", "--help"),
)


def calls(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Calls commands with arguments that make no sense; what would train or draw is accepted."""
    for module, name in ((records, "fill_records"), (records, "train_missing")):
        patch.setattr(module, name, accept)
    for name in ("reproduce", "build_all"):
        patch.setattr(reproduce, name, accept)
    patch.setattr(runner, "train", accept)
    for name in ("RUNS", "CACHE"):
        patch.setenv(f"MTPSL_{name}", str(folder / name))
    faults = Faults()
    cheap = [name for name in COMMANDS if name not in ("audit", "cost")]
    for number in range(count):
        chance = random.Random(number)
        argv = chance.choice(cheap).split() if chance.random() < 0.95 else []
        argv += chance.choices(WORDS, k=chance.randrange(5))
        call(faults, f"try {number}", *argv)
    return faults


KILLED = Experiment(
    dataset="rooms13",
    tasks=("semseg", "depth", "normals"),
    **SMALL | {"epochs": 3},
    train_images=16,
    test_images=2,
    label_setting="random_labels",
    average_last=0.5,
)


def kill_trainings(folder: Path, count: int) -> None:
    """Kills forks of this process, which has no threads, while they train; prints the faults."""
    files.SAVING_SHARE = 1e6
    runner.fit = functools.partial(runner.fit, save_every=0.0)
    expected = runner.run(KILLED, Session(RunStore(folder / "whole"), "cpu", progress=False))
    store, seconds = RunStore(folder / "killed"), sum(expected.seconds.values()) + 0.5
    for number in range(count):
        last = number % 4 == 3 or number == count - 1
        for kills in (True, False) if last else (True,):
            child = os.fork()
            if child == 0:
                runner.run(KILLED, Session(store, "cpu", progress=False))
                os._exit(0)
            if kills:
                time.sleep(random.Random(number).uniform(0, seconds))
                os.kill(child, signal.SIGKILL)
            code = os.waitpid(child, 0)[1]
            if not kills and code:
                print(f"traceback: after kill {number}: status {code}")
        if last:
            (found,) = store.root.glob("*/record.json")
            record = store.load(found.parent.name)
            if record is None or record.weights_sha256 != expected.weights_sha256:
                print(f"lost: after kill {number}: other weights")
            elif record.metrics != expected.metrics:
                print(f"wrong: after kill {number}: {record.metrics}")
            shutil.rmtree(store.root)


def kills(count: int, folder: Path, patch: pytest.MonkeyPatch) -> Faults:
    """Kills trainings at random moments, four before each end."""
    code = "import sys, test_abuse; from pathlib import Path; "
    code += f"test_abuse.kill_trainings(Path({str(folder)!r}), {count})"
    path = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:2])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines() + ["traceback" for _ in range(done.stderr.count("Traceback"))]


ABUSES: dict[Callable[..., Faults], int] = {
    kills: 40,
    flips: 320,
    folders: 200,
    malicious: 96,
    experiments: 300,
    calls: 200,
}


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, so that names like ``x`` are made nowhere else."""
    place = tmp_path / "aside"
    place.mkdir()
    monkeypatch.chdir(place)
    yield tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_abuse_is_survived(abuse, aside, monkeypatch) -> None:
    faults = abuse(round(ABUSES[abuse] * SHARE), aside, monkeypatch)
    for word in ("traceback", "wrong", "lost"):
        print(f"{word}: {sum(fault.startswith(word) for fault in faults)}")
    assert not faults, "\n".join(faults)


def test_a_thousand_tries_are_made() -> None:
    assert sum(ABUSES.values()) >= 1000
