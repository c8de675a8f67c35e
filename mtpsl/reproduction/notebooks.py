"""One notebook: where it is, what it depends on, and papermill running it."""

import difflib
import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
KERNEL_DID_NOT_START = ("Kernel died before replying", "Kernel didn't respond in")


class UsageError(Exception):
    """The command line asks for something that does not exist; the message says what does."""


# ------------------------------------------------------------------- places


def checkout() -> Path:
    """The folder of the project: the nearest one upwards that has ``notebooks/``.

    Raises:
        UsageError: If there is none.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(
        f"folder: expected a checkout of mtpsl, got {Path.cwd()}; change into the one with "
        "notebooks/ and pyproject.toml"
    )


def runs_folder(root: Path) -> Path:
    """Where trainings are kept: ``MTPSL_RUNS`` or ``runs/`` of the checkout."""
    return Path(os.environ.get("MTPSL_RUNS") or root / "runs").absolute()


def output_folder(profile: str, root: Path) -> Path:
    """Where a profile's tables and figures go: only smoke leaves ``figures/`` alone."""
    return runs_folder(root) / "smoke" if profile == "smoke" else root / "figures"


# ---------------------------------------------------------------- notebooks


@dataclass
class Notebook:
    """One notebook, where its results go, and how far it is."""

    source: Path  # the .py
    folder: Path  # of the executed notebooks
    expected: tuple[Path, ...]  # files of the register, which any notebook may write
    code: str  # digest of what all notebooks depend on
    state: str = "waiting"  # waiting, running, unchanged, ok, failed
    seconds: float = 0.0
    started: float = 0.0  # seconds since the epoch
    error: str = ""
    tries: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.source.stem

    @property
    def digest(self) -> str:
        """Of everything that decides the result."""
        return hashlib.sha256(self.code.encode() + self.source.read_bytes()).hexdigest()

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.name}{ending}"

    def stamp(self) -> dict[str, Any]:
        """What is known about the last successful run; empty where there is none or half a one."""
        try:
            return json.loads(self.path(".stamp.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}  # so the notebook runs again

    def is_done(self) -> bool:
        """Whether the last run was of the same digest and all it wrote is still there."""
        stamp = self.stamp()
        wrote = [self.path(".ipynb"), *map(Path, stamp.get("wrote", ()))]
        return stamp.get("digest") == self.digest and all(
            p.is_file() and p.stat().st_mtime >= stamp["started"] for p in wrote
        )

    def start(
        self, parameters: Mapping[str, Any], inputs: Path, environment: Mapping[str, str]
    ) -> None:
        """Starts papermill in a process group of its own: Ctrl-C reaches only this program."""
        for ending in (".ipynb", ".failed.ipynb", ".partial.ipynb", ".stamp.json"):
            self.path(ending).unlink(missing_ok=True)
        self.state, self.tries = "running", self.tries + 1
        self.started = time.time()
        command = [sys.executable, "-m", "papermill", "-k", "python3"]
        command += ["--cwd", str(self.source.parent), "--start-timeout", "120"]
        command += ["--no-progress-bar", "--log-output"]
        command += ["--parameters_yaml", json.dumps(parameters)]  # types survive
        command += [str(inputs / f"{self.name}.ipynb"), str(self.path(".partial.ipynb"))]
        with self.path(".log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=dict(environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def finish(self, code: int) -> None:
        """Names the result for what it is: papermill writes its output on failure, too."""
        self.seconds = time.time() - self.started
        log = self.path(".log").read_text(errors="replace")
        if code != 0 and self.tries == 1 and any(text in log for text in KERNEL_DID_NOT_START):
            self.state = "waiting"
            return
        partial = self.path(".partial.ipynb")
        if code == 0:
            self.state = "ok"
            partial.rename(self.path(".ipynb"))
            wrote = [str(p) for p in self.expected if is_newer(p, self.started)]
            stamp = {"digest": self.digest, "started": self.started, "seconds": self.seconds}
            self.path(".stamp.json").write_text(json.dumps({**stamp, "wrote": wrote}))
        else:
            self.state, self.error = "failed", last_error(log) or f"papermill exited with {code}"
            if partial.exists():
                partial.rename(self.path(".failed.ipynb"))

    def stop(self) -> None:
        """Ends a running notebook; papermill takes its kernel with it."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.path(".partial.ipynb").unlink(missing_ok=True)


def is_newer(path: Path, moment: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= moment


def last_error(log: str) -> str:
    """The line of a traceback that says what went wrong, or the log's last line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in log.splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or [""])[-1]


def select(folder: Path, only: Sequence[str]) -> list[Path]:
    """The notebooks' sources in order; ``only`` holds parts of names.

    Raises:
        UsageError: If a part fits no notebook, or there is none at all.
    """
    sources = sorted(folder.glob("[0-9][0-9]*_*.py"))
    names = [source.stem for source in sources]
    if not sources:
        raise UsageError(f"notebooks: expected NN_name.py files in {folder}, got none")
    for part in only:
        if not any(part in name for name in names):
            near = difflib.get_close_matches(part, names, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"only: expected a part of one of {names}, got {part!r}{hint}")
    return [s for s in sources if not only or any(part in s.stem for part in only)]


def digest_of_code(root: Path, settings: Sequence[Any]) -> str:
    """Hash of what notebooks share: package, recorded results, settings, torch and Python."""
    digest = hashlib.sha256()
    shared = [*settings, sys.version, importlib.metadata.version("torch")]
    digest.update(json.dumps(shared).encode())
    package = Path(__file__).parents[1]
    for path in (*sorted(package.rglob("*.py")), *sorted(root.glob("figures/*/table*.json"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def write_inputs(notebooks: Sequence[Notebook], folder: Path, names: Sequence[str]) -> None:
    """Builds the notebooks to run from their sources.

    Raises:
        UsageError: If one does not declare the parameters; papermill would not mind.
    """
    import jupytext
    import papermill

    for notebook in notebooks:
        path = folder / f"{notebook.name}.ipynb"
        content = jupytext.read(notebook.source)
        content.metadata["kernelspec"] = KERNEL
        jupytext.write(content, path)
        declared = papermill.inspect_notebook(str(path))
        missing = [name for name in names if name not in declared]
        if missing:
            raise UsageError(
                f"{notebook.source.name}: expected parameters {list(names)} in the cell tagged "
                f"'parameters', got {list(declared)}; add {missing}"
            )
