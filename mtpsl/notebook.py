"""What every notebook needs besides the package: checked parameters, figures and tables shown.

Only notebooks import this module, and it alone needs IPython.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.display import HTML, Image, display

from mtpsl.report.files import png_bytes
from mtpsl.reproduction.notebooks import checkout, output_folder, runs_folder
from mtpsl.runs import session as runs
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.store import RunStore

SCREEN_DPI = 68  # of pictures inside notebooks, which travel with the repository


@dataclass(frozen=True, kw_only=True)
class Session(runs.Session):
    """A notebook's parameters after validation, and where it reads and writes."""

    profile: str
    seeds: tuple[int, ...]  # the first is the notebook's ``seed``
    root: Path  # the checkout
    output: Path  # where this profile's tables and figures go

    @property
    def seed(self) -> int:
        return self.seeds[0]

    @property
    def recorded(self) -> Path:
        """Where the committed results are, whatever the profile."""
        return self.root / "figures"

    @property
    def how(self) -> dict[str, Any]:
        """What everything that runs asks for: ``run_table(table, **session.how)``."""
        return {"profile": self.profile, "session": self}

    def where(self, path: Path | str) -> str:
        """A path as text that is the same on every machine."""
        path = Path(path)
        for folder, name in ((runs_folder(self.root), "runs/"), (self.root, "")):
            if path.is_relative_to(folder):
                return name + path.relative_to(folder).as_posix()
        return path.name


def setup(
    *,
    profile: str = "smoke",
    data_root: str = "",
    device: str = "auto",
    seed: int = 0,
    use_cache: bool = True,
) -> Session:
    """Checks a notebook's parameters and says what they mean; the cell after them calls it.

    Args:
        profile: A key of ``mtpsl.runs.profiles.PROFILES``.
        data_root: A folder, or empty for the embedded data.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        seed: At least 0. ``MTPSL_SEEDS`` in the environment asks for more, counted from it.
        use_cache: False trains everything anew, in a folder that vanishes with the kernel.

    Raises:
        TypeError: If a parameter has another type, as after ``papermill -p seed 1.0``.
        ValueError: If a value is out of range.
    """
    for name, value, kind in (
        *(("profile", profile, str), ("data_root", data_root, str), ("device", device, str)),
        *(("seed", seed, int), ("use_cache", use_cache, bool)),
    ):
        if type(value) is not kind:  # a bool is an int to isinstance
            raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")
    get_profile(profile)
    if seed < 0:
        raise ValueError(f"seed: expected an integer >= 0, got {seed}")
    if data_root and not Path(data_root).expanduser().is_dir():
        raise ValueError(
            f"data_root: expected a folder, got {data_root!r}; leave it empty for the embedded data"
        )
    root = checkout()
    session = Session(
        profile=profile,
        data_root=data_root and str(Path(data_root).expanduser().resolve()),
        device=str(runs.resolve_device(device)),
        seeds=tuple(range(seed, seed + _seed_count())),
        root=root,
        output=output_folder(profile, root),
        store=RunStore(runs_folder(root) if use_cache else _vanishing_folder()),
    )
    data = "data on disk" if data_root else "embedded data (a stand-in)"
    print(
        f"profile {profile}, {data}, {session.device}, "
        f"seed{'s' * (len(session.seeds) > 1)} {', '.join(map(str, session.seeds))}; "
        f"tables and figures go to {session.where(session.output)}/"
    )
    return session


def show(figure: Any, *, alt: str, caption: str = "") -> None:
    """Shows a matplotlib figure with its text alternative and, below it, a one-sentence caption.

    The text goes into the output's metadata, where nbconvert finds it, and the caption is
    printed as well because JupyterLab shows no metadata.
    """
    if not alt.strip():
        raise ValueError("alt: expected a sentence that stands for the figure, got none")
    picture = Image(data=png_bytes(figure, SCREEN_DPI), format="png", alt=alt)
    display(picture, metadata={"image/png": {"alt": alt}})
    print(caption or alt)


def show_table(table: Any, *, caption: str = "") -> None:
    """Shows HTML text, a DataFrame or a Styler as a table whose bytes do not change by run."""
    if not isinstance(table, str):
        styler = table if hasattr(table, "set_uuid") else table.style
        table = styler.set_uuid("mtpsl").to_html()  # the default is random
    display(HTML(table))
    if caption:
        print(caption)


def show_terms(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """The table that opens a method notebook: symbol in the paper, in the code, shape, equation."""
    head = ("paper symbol", "code name", "shape", "equation")
    lines = ["<table>", _line(head, "th"), *(_line(row, "td") for row in rows), "</table>"]
    display(HTML("\n".join(lines)))


def _line(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _seed_count() -> int:
    text = os.environ.get("MTPSL_SEEDS", "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"MTPSL_SEEDS: expected how many seeds, at least 1, got {text!r}")
    return int(text)


_temporary: list[tempfile.TemporaryDirectory[str]] = []  # kept until the kernel ends


def _vanishing_folder() -> Path:
    _temporary.append(tempfile.TemporaryDirectory(prefix="mtpsl-runs-"))
    return Path(_temporary[-1].name)
