"""From a figure's name to its files: runs what is missing, computes the arrays, draws, saves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from mtpsl.experiments.figure_arrays import Arrays, Material
from mtpsl.experiments.figures import FIGURES
from mtpsl.experiments.profiles import get_profile
from mtpsl.experiments.run import bind_data, load_method, open_split, resolve_device, run
from mtpsl.plots import hitts, scenes, xtc, xtc_diagrams
from mtpsl.plots.files import footer, save
from mtpsl.records import RunStore, commit
from mtpsl.registry import look_up

DRAW: dict[str, Callable[[Arrays], Figure]] = {
    "hitts/fig5": hitts.draw_fig5,
    "hitts/fig7": hitts.draw_fig7,
    "hitts/fig8": hitts.draw_fig8,
    "hitts/fig9": hitts.draw_fig9,
    "hitts/fig11": hitts.draw_fig11,
    "xtc/fig1": xtc_diagrams.draw_fig1,
    "xtc/fig2": xtc_diagrams.draw_fig2,
    "xtc/fig3": xtc.draw_fig3,
    "xtc/fig4": xtc.draw_fig4,
    "xtc/consistency": xtc.draw_consistency,
    "overview": scenes.draw_overview,
    "label_settings": scenes.draw_label_settings,
}


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
    store: RunStore,
    folder: Path | str,
    device: torch.device | str = "auto",
    data_root: str = "",
    seed: int = 0,
    progress: bool = False,
) -> Made:
    """Makes one figure of the register and saves it below ``folder``.

    Args:
        name: A key of ``FIGURES``.
        profile: A key of ``PROFILES``: how large the runs are.
        store: Where finished runs are taken from and missing ones go.
        folder: Of all figures; those of a paper go into a folder of its name.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        data_root: A dataset on disk; empty for the embedded data.
        seed: Of the runs.
        progress: Shows the progress of missing runs.

    Raises:
        ValueError: If there is no figure or profile of that name.
    """
    known = look_up("figure", name, FIGURES)
    device = resolve_device(device)
    runs = known.experiments(get_profile(profile), seed)
    runs = {role: bind_data(experiment, data_root) for role, experiment in runs.items()}
    records = {
        role: run(experiment, store, device=device, data_root=data_root, progress=progress)
        for role, experiment in runs.items()
    }
    material, words = Material(device=device), known.source
    if runs:
        test = open_split(next(iter(runs.values())), "test", data_root)
        material = Material(
            methods={role: load_method(e, store, device) for role, e in runs.items()},
            histories={role: record.history for role, record in records.items()},
            test=test,
            device=device,
        )
        data = f"{test.name} ({'generated stand-in' if test.stand_in else 'real data'})"
        words = f"{data}, profile {profile}, seed {seed}"
    arrays = known.arrays(material)
    figure = DRAW[name](arrays)
    footer(figure, words)
    stamp = {
        "data": words,
        "profile": profile,
        "commit": commit(),
        "runs": {role: record.key for role, record in records.items()},
    }
    path = save(name, figure, arrays, folder, stamp=stamp)
    return Made(figure=figure, arrays=arrays, caption=known.caption, alt=known.alt, path=path)
