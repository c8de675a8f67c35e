"""What every notebook needs besides the package: checked parameters, tables and figures.

A notebook shows what was recorded before and what it has just computed, side by side and never
blended. Only notebooks import this module, and it alone needs IPython.
"""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from IPython.display import HTML, DisplayHandle, Image, display
from matplotlib.figure import Figure

from mtpsl.places import checkout, figures_folder, output_folder, runs_folder
from mtpsl.report.arrays import Arrays
from mtpsl.report.evidence import draw_forest, forest, forest_lines
from mtpsl.report.figure import FinishedFigure, make_figure, png_bytes, redraw
from mtpsl.report.ledger import summary
from mtpsl.report.maps import Grid, draw_grids, task_groups
from mtpsl.report.records import run_table
from mtpsl.report.render import COMPUTED, RECORDED, render_html, write_table
from mtpsl.report.results import Results, load_recorded
from mtpsl.report.style import Sheet, styled
from mtpsl.report.tables import Table
from mtpsl.runs import store as runs
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.store import RunStore

SCREEN_DPI, COLORS = 68, 192  # of pictures inside notebooks, which travel with the repository
SHARP, LARGEST = 2, 140_000  # times as many dots where that takes at most so many bytes


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
        return figures_folder(self.root)

    def results(
        self, table: Table, *, train: bool = True, once: bool = False
    ) -> tuple[Results | None, Results]:
        """Reads a table's recorded results, None where there are none yet, and computes new ones.

        Args:
            table: Whose rows are run.
            train: False takes the runs that there are and leaves out other rows.
            once: At profile smoke, which only proves that code works, rows that differ in labels
                or in a number alone are trained once, and it is said how many those are.
        """
        once = once and self.profile == "smoke"
        path = self.recorded / table.paper / f"{table.name}.json"
        known = load_recorded(path, table) if path.exists() else None
        how = {"profile": self.profile, "seeds": self.seeds, "train": train, "once": once}
        computed = run_table(table, self, **how)
        every = [row.name for row in table.rows if row.experiments]
        if once and (left := [name for name in every if not computed.of(name)]):
            print(
                f"{table.source}: {len(every) - len(left)} of {len(every)} rows are trained at "
                "smoke; the others differ from them in labels or in a number alone."
            )
        return known, computed

    def write(self, table: Table, recorded: Results | None, computed: Results | None) -> None:
        """Writes a table's files and says where they are."""
        for path in write_table(table, recorded, computed, self.output / table.paper):
            print(self.short_path(path))

    def figure(self, name: str) -> dict[str, FinishedFigure]:
        """Draws a figure from each source: again from recorded arrays, and from runs made now.

        The recorded one is missing where there is none, and where the new one replaces it.

        Args:
            name: A key of ``papers.figures``.
        """
        figures = {}
        if self.recorded != self.output and (self.recorded / f"{name}.npz").exists():
            figures[RECORDED] = redraw(name, self.recorded)
        how = {"profile": self.profile, "session": self, "seed": self.seed}
        how["records"] = self.recorded
        return figures | {COMPUTED: make_figure(name, folder=self.output, **how)}

    def short_path(self, path: Path | str) -> str:
        """Writes a path so that it reads the same on every machine."""
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
    if str(root) not in sys.path:
        sys.path.append(str(root))  # for pages that show benchmarks, which are not installed
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
        f"tables and figures go to {session.short_path(session.output)}/"
    )
    return session


def show(figure: Any, *, alt: str, caption: str = "") -> None:
    """Shows a matplotlib figure with its text alternative and, below it, a one-sentence caption.

    The text goes into the output's metadata, where nbconvert finds it, and the caption is
    printed as well because JupyterLab shows no metadata.
    """
    picture, words = _picture(figure, alt)
    display(picture, metadata=words)
    print(caption or alt)


def slide(
    draw: Callable[[float], tuple[Figure, str]],
    values: Sequence[float],
    start: float,
    *,
    caption: str,
) -> None:
    """Shows a picture for a value, and where somebody sits at the kernel, a slider of the values.

    The slider needs ipywidgets, which the extra ``widgets`` installs. Without it, and in pages
    that are built or tested, there is the picture alone.

    Args:
        draw: A value -> (the figure for it, its text alternative).
        values: To choose from; ``start``, one of them, is shown first.
    """
    handle = DisplayHandle()
    picture, words = _picture(*draw(start))
    handle.display(picture, metadata=words)
    print(caption)
    if os.environ.get("MTPSL_PROGRESS") == "0" or not find_spec("ipywidgets"):
        return
    import ipywidgets

    def move(change: Mapping[str, Any]) -> None:
        picture, words = _picture(*draw(change["new"]))
        handle.update(picture, metadata=words)

    options = [(f"{value:.3f}", value) for value in values]
    slider = ipywidgets.SelectionSlider(options=options, value=start, continuous_update=False)
    slider.observe(move, names="value")
    display(slider, exclude=["text/plain"])  # of which a page that is saved would show the words


def show_figures(figures: Mapping[str, FinishedFigure], *, first: bool = False) -> None:
    """Shows a figure of each source, the source above its caption.

    Pictures of networks that were trained for a few steps show noise and are left out.

    Args:
        figures: As ``Session.figure`` returns them.
        first: Shows the first one alone: the recorded one where there is one.
    """
    for source, made in list(figures.items())[: 1 if first else None]:
        if made.rough:
            print("Not recorded yet; after the few steps of smoke the picture would show noise.")
            continue
        show(made.figure, alt=made.alt, caption=f"{source.capitalize()}. {made.caption}")


@styled
def draw_predictions(arrays: Arrays, columns: Sequence[tuple[str, str]]) -> Sheet:
    """Draws a row for each image: the image and, task by task, its maps.

    Args:
        arrays: As ``arrays.qualitative`` makes them.
        columns: (role, label above it): what to show of each task, truth included.
    """
    return draw_grids(Grid(arrays=arrays, groups=task_groups(arrays, columns)), panel=1.4)[0]


def show_results(table: Table, recorded: Results | None, computed: Results | None) -> None:
    """Shows a table with all its sources, a forest of its recorded sentences, and what they decide.

    What networks of profile smoke measure means nothing and is left out; costs are not.
    """
    if computed and computed.profile == "smoke" and table.trains:
        computed = None
    show_table(render_html(table, recorded, computed))
    arrays = forest(table, recorded)
    if np.isfinite(arrays["gains"]).any():
        alt = f"Forest plot of {table.source}: {'; '.join(forest_lines(arrays))}."
        caption = "The recorded gain of each sentence beside the printed one."
        show(draw_forest(arrays), alt=alt, caption=caption)
    if table.claims:
        print(f"Recorded: {summary(table, recorded)}.")


def show_table(table: Any, *, caption: str = "") -> None:
    """Shows HTML text, a DataFrame or a Styler as a table whose bytes do not change by run."""
    if not isinstance(table, str):
        styler = table if hasattr(table, "set_uuid") else table.style
        table = styler.set_uuid("mtpsl").to_html()  # the default is random
    display(HTML(table))
    if caption:
        print(caption)


def show_terms(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Shows the table that opens a method notebook: a paper's symbols and their names here."""
    head = ("paper symbol", "code name", "shape", "equation")
    lines = ["<table>"]
    for tag, cells in (("th", head), *(("td", row) for row in rows)):
        lines.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>")
    display(HTML("\n".join([*lines, "</table>"])))


def _picture(figure: Figure, alt: str) -> tuple[Image, dict[str, Any]]:
    """A figure in few bytes, sharp if it can be, and the metadata with its text alternative."""
    if not alt.strip():
        raise ValueError("alt: expected a sentence that stands for the figure, got none")
    for times in (SHARP, 1):
        full = PIL.Image.open(io.BytesIO(png_bytes(figure, times * SCREEN_DPI))).convert("RGB")
        small = io.BytesIO()
        full.quantize(COLORS, dither=PIL.Image.Dither.NONE).save(small, "PNG", optimize=True)
        if len(small.getvalue()) <= LARGEST:
            break
    image = Image(data=small.getvalue(), format="png", alt=alt)
    return image, {"image/png": {"alt": alt}}


def _seed_count() -> int:
    text = os.environ.get("MTPSL_SEEDS", "1")
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"MTPSL_SEEDS: expected how many seeds, at least 1, got {text!r}")
    return int(text)


_temporary: list[tempfile.TemporaryDirectory[str]] = []  # kept until the kernel ends


def _vanishing_folder() -> Path:
    _temporary.append(tempfile.TemporaryDirectory(prefix="mtpsl-runs-"))
    return Path(_temporary[-1].name)
