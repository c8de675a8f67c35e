"""From a figure's name to its files: runs what is missing, computes the arrays, draws, saves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

from mtpsl import papers
from mtpsl.registry import look_up
from mtpsl.report.arrays import Arrays, Material
from mtpsl.report.figure import Figure as FigureSpec
from mtpsl.report.files import footer, save
from mtpsl.runs.data import bind_data, label, open_split
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import load_method
from mtpsl.runs.profiles import get_profile
from mtpsl.runs.run import run
from mtpsl.runs.session import Session
from mtpsl.runs.store import RunRecord, commit


@dataclass(frozen=True, kw_only=True)
class Made:
    """A finished figure."""

    figure: Figure
    arrays: Arrays
    caption: str
    alt: str
    path: Path  # of the picture


def make_figure(
    name: str,
    *,
    profile: str,
    session: Session,
    folder: Path | str,
    seed: int = 0,
) -> Made:
    """Makes one figure of the register and saves it below ``folder``.

    Args:
        name: A key of ``papers.figures``.
        profile: A key of ``PROFILES``: how large the runs are.
        session: Where finished runs are taken from and missing ones go, without a bar.
        folder: Of all figures; those of a paper go into a folder of its name.
        seed: Of the runs.

    Raises:
        ValueError: If there is no figure or profile of that name.
    """
    known = look_up("figure", name, papers.figures())
    session = replace(session, progress=False)
    wanted = known.experiments(get_profile(profile), seed)
    wanted = {role: bind_data(experiment, session.data_root) for role, experiment in wanted.items()}
    runs = {role: e.teacher if known.teachers else e for role, e in wanted.items()}
    records = {role: run(e, session) for role, e in runs.items()}
    material, words = Material(device=session.torch_device), known.source
    if runs:
        material = _collect(known, wanted, records, session)
        words = f"{_sources(material)}, profile {profile}, seed {seed}"
    arrays = known.arrays(material)
    figure = known.draw(arrays)
    footer(figure, words)
    stamp = {
        "data": words,
        "profile": profile,
        "commit": commit(),
        "runs": {role: record.key for role, record in records.items()},
    }
    path = save(name, figure, arrays, folder, stamp=stamp)
    return Made(figure=figure, arrays=arrays, caption=known.caption, alt=known.alt, path=path)


def _collect(
    figure: FigureSpec,
    wanted: Mapping[str, Experiment],
    records: Mapping[str, RunRecord],
    session: Session,
) -> Material:
    """What finished runs give a figure, part by part where roles name parts."""
    parts = list(dict.fromkeys(role.rpartition("/")[0] for role in wanted))
    if parts != [""]:
        inside = {}
        for part in parts:
            roles = {
                role: role.removeprefix(f"{part}/")
                for role in wanted
                if role.startswith(f"{part}/")
            }
            mine = {short: wanted[role] for role, short in roles.items()}
            done = {short: records[role] for role, short in roles.items()}
            inside[part] = _collect(figure, mine, done, session)
        return Material(parts=inside, device=session.torch_device)
    first = next(iter(wanted.values()))
    train, thresholds = None, {}
    if figure.teachers:
        train, _ = label(first, open_split(first, "train", session), session)
        thresholds = first.thresholds
    return Material(
        methods={
            role: load_method(e.teacher if figure.teachers else e, session)
            for role, e in wanted.items()
        },
        histories={role: record.history for role, record in records.items()},
        test=open_split(first, "test", session),
        train=train,
        thresholds=thresholds,
        device=session.torch_device,
    )


def _sources(material: Material) -> str:
    """The data sets of a figure in words, and whether they are real."""
    inside = material.parts.values() or [material]
    kinds = {True: "generated stand-in", False: "real data"}
    return " and ".join(f"{m.test.name} ({kinds[m.test.stand_in]})" for m in inside)
