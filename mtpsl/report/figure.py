"""Figures: what one is, and the way from its name to its files.

A figure of the register is made in one go: missing runs are trained, its arrays are computed from
them, the picture is drawn from the arrays, and picture, arrays and texts are saved side by side.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from mtpsl import files, papers
from mtpsl.registry import look_up
from mtpsl.report.arrays import Arrays, FigureInputs
from mtpsl.report.style import DPI, QUIET
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.run import run
from mtpsl.runs.store import Session, commit

CURVE_POINTS = 20  # of a learning curve, before the profile scales it


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a paper: the runs it compares, what it computes, draws and says.

    A role is ``"ours"``, or ``"streets/ours"`` in a figure of several data sets, whose arrays are
    computed part by part (``arrays.in_parts``).
    """

    name: str
    paper: str  # "hitts"; empty for a picture of this package's own
    title: str
    source: str  # "[HiTTs, Fig. 7]"
    caption: str  # one sentence under the figure
    alt: str  # one sentence instead of the figure
    arrays: Callable[[FigureInputs], Arrays]
    draw: Callable[[Arrays], Drawing]
    runs: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # role -> (table, row)
    own: Mapping[str, Experiment] = field(default_factory=dict)  # role -> a run that no table has
    curves: bool = False  # the runs evaluate along the way
    teachers: bool = False  # shows what the runs' teachers find for them, and trains those alone

    @property
    def key(self) -> str:
        """What the register calls it, and its place below the folder of figures."""
        return "/".join(filter(None, (self.paper, self.name)))

    def experiments(
        self, profile: Callable[[Experiment], Experiment], seed: int = 0
    ) -> dict[str, Experiment]:
        """Role -> the run it stands for at a profile; empty where the figure needs none.

        Most are rows of tables or their teachers, so that a figure trains little where its tables
        were filled; learning curves are runs of their own.
        """
        by_role: dict[str, Experiment] = {}
        for role, (table, row) in self.runs.items():
            (by_role[role],) = papers.tables()[table].row(row).experiments
        by_role |= self.own
        if self.curves:
            points = {role: max(1, e.epochs // CURVE_POINTS) for role, e in by_role.items()}
            by_role = {r: e.replace(eval_every=points[r]) for r, e in by_role.items()}
        return {role: profile(e).with_seed(seed) for role, e in by_role.items()}


@dataclass(frozen=True, kw_only=True)
class FinishedFigure:
    """A figure that has been drawn, with its arrays and texts."""

    figure: Drawing
    arrays: Arrays
    caption: str
    alt: str
    path: Path  # of the picture
    rough: bool  # shows networks that were trained at smoke, for a few steps


# -------------------------------------------------------------------- making


def make_figure(
    name: str,
    *,
    profile: str,
    session: Session,
    folder: Path | str,
    seed: int = 0,
    records: Path | None = None,
) -> FinishedFigure:
    """Makes one figure of the register and saves it below ``folder``.

    Args:
        name: A key of ``papers.figures``.
        profile: A key of ``PROFILES``: how large the runs are.
        session: Where finished runs are taken from and missing ones go, without a bar.
        folder: Of all figures; those of a paper go into a folder of its name.
        seed: Of the runs.
        records: Folder of the recorded results, for figures that show them; None: ``folder``.

    Raises:
        ValueError: If there is no figure or profile of that name.
    """
    figure = look_up("figure", name, papers.figures())
    session, device = replace(session, progress=False), session.torch_device
    scaled = figure.experiments(get_profile(profile), seed)
    experiments = {role: bind_data(e, session.data_root) for role, e in scaled.items()}
    trained = {role: e.teacher if figure.teachers else e for role, e in experiments.items()}
    finished = {role: run(e, session) for role, e in trained.items()}
    by_part: dict[str, dict[str, str]] = {}  # part -> role inside it -> role
    for role in experiments:
        part, _, short = role.rpartition("/")
        by_part.setdefault(part, {})[short] = role
    parts = {}
    for part, roles in by_part.items():
        first, teachers = experiments[next(iter(roles.values()))], {}
        if figure.teachers:
            train, _ = label(first, open_split(first, "train", session), session)
            teachers = {"train": train, "thresholds": first.thresholds}
        parts[part] = FigureInputs(
            methods={short: load_method(trained[role], session) for short, role in roles.items()},
            histories={short: finished[role].history for short, role in roles.items()},
            experiments={short: trained[role] for short, role in roles.items()},
            test=open_split(first, "test", session),
            device=device,
            **teachers,
        )
    known = Path(records or folder)
    inputs = parts[""] if "" in parts else FigureInputs(parts=parts, device=device, records=known)
    arrays = figure.arrays(inputs)
    origin = figure.source
    if parts:
        origin = f"{data_names(parts.values())}, profile {profile}, seed {seed}"
    keys = {role: record.key for role, record in finished.items()}
    stamp = {"data": origin, "profile": profile, "commit": commit(), "runs": keys}
    drawing = figure.draw(arrays)
    footer(drawing, origin)
    path = save(name, drawing, arrays, folder, stamp=stamp)
    return _finished(figure, drawing, arrays, path, stamp)


def _finished(
    figure: Figure, drawing: Drawing, arrays: Arrays, path: Path, stamp: Mapping[str, Any]
) -> FinishedFigure:
    texts = {"caption": figure.caption, "alt": figure.alt}
    rough = stamp.get("profile") == "smoke" and bool(stamp.get("runs"))
    return FinishedFigure(figure=drawing, arrays=arrays, path=path, rough=rough, **texts)


def data_names(parts: Any) -> str:
    """The data sets of a figure's ``FigureInputs`` in words, and whether they are real."""
    kinds = {True: "generated stand-in", False: "real data"}
    return " and ".join(f"{part.test.name} ({kinds[part.test.stand_in]})" for part in parts)


# --------------------------------------------------------------------- files


def save(
    name: str,
    figure: Drawing,
    arrays: Arrays,
    folder: Path | str,
    *,
    stamp: Mapping[str, Any] | None = None,
) -> Path:
    """Writes ``<name>.png``, ``.npz`` and ``.json`` below ``folder``; returns the picture's path.

    The same arrays give the same bytes: no file holds a date or a version of a library. The
    picture is written last, so where it is new, so is the rest.

    Args:
        name: As in ``make_figure``; the register knows the caption and the alt text.
        figure: Drawn from ``arrays``.
        arrays: Plain arrays of numbers and strings.
        folder: As in ``make_figure``.
        stamp: Where the numbers come from: profile, data, commit, keys of runs.

    Raises:
        KeyError: If there is no figure of that name.
    """
    known, place = papers.figures()[name], Path(folder) / name
    texts = {key: getattr(known, key) for key in ("name", "title", "source", "caption", "alt")}
    texts["made_from"] = dict(stamp or {})
    texts["arrays"] = {key: f"{a.dtype} {list(a.shape)}" for key, a in arrays.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **{key: arrays[key] for key in sorted(arrays)})
    contents = {
        ".npz": packed.getvalue(),
        ".json": (json.dumps(texts, indent=1, sort_keys=True) + "\n").encode(),
        ".png": png_bytes(figure),
    }
    for suffix, content in contents.items():
        files.write(place.with_suffix(suffix), lambda file, content=content: file.write(content))
    return place.with_suffix(".png")


def redraw(name: str, folder: Path | str) -> FinishedFigure:
    """Draws a figure that ``save`` wrote again, from its arrays alone."""
    figure, path = papers.figures()[name], Path(folder) / f"{name}.npz"
    arrays = load_arrays(path)
    drawing = figure.draw(arrays)
    stamp = json.loads(path.with_suffix(".json").read_text())["made_from"]
    footer(drawing, stamp["data"])
    return _finished(figure, drawing, arrays, path.with_suffix(".png"), stamp)


def load_arrays(path: Path | str) -> Arrays:
    """The arrays beside a picture; ``path`` is that of the ``.npz``. Executes nothing."""
    with np.load(path, allow_pickle=False) as packed:
        return dict(packed)


def png_bytes(figure: Drawing, dpi: int = DPI) -> bytes:
    """The picture without the date and the version that matplotlib would add."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def footer(figure: Drawing, text: str) -> None:
    """Says in small print, in the picture itself, what data and what profile it shows."""
    figure.text(0.995, 0.006, text, ha="right", va="bottom", fontsize=6.5, color=QUIET)
