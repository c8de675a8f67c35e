"""Experiments that explain themselves: one to begin with, its fields, and what a run will take."""

import inspect
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import torch

from mtpsl.data import DATASETS, find_class
from mtpsl.data.readers.own import Own
from mtpsl.data.region_providers import PROVIDERS
from mtpsl.models import BACKBONES
from mtpsl.papers import PAPERS, methods
from mtpsl.registry import in_words
from mtpsl.runs.data import experiment_on, label, open_split, tasks_of
from mtpsl.runs.experiment import NOTE, Experiment
from mtpsl.runs.network import BATCH, build, noise_batch, without_pretrained
from mtpsl.runs.profiles import QUICK, get_profile
from mtpsl.runs.store import Session
from mtpsl.weighting import WEIGHTINGS

SHOWN = ("dataset", "tasks", "label_setting", "method", "epochs", "seed")  # in every new experiment
FOUND = ("data_version", "data_args", "region_version", "numerics")  # filled in when it runs
BACKWARD = 2  # a backward pass takes about twice the time of a forward one
GRID = 32  # pixels that sides are multiples of
REGISTERS: dict[str, Any] = {
    "dataset": DATASETS,
    "backbone": {**BACKBONES, **{name: p for p in PAPERS.values() for name in p.backbones}},
    "method": methods(),
    "weighting": WEIGHTINGS,
    "regions": PROVIDERS,
}


# ---------------------------------------------------------------------- fields


def notes() -> dict[str, str]:
    """Field -> what the comment beside it in ``Experiment`` says."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(Experiment).split("def to_dict")[0].splitlines():
        code, _, remark = line.partition("  # ")
        if field := re.match(r"    (\w+): ", code):
            name = field[1]
            found[name] = remark
        elif more := re.match(r"    # (.*)", line) if name else None:
            found[name] = f"{found[name]} {more[1]}"
        else:
            name = ""
    return {name: text.replace("``", "`").strip() for name, text in found.items()}


def holds() -> dict[str, str]:
    """Field -> what it can hold, for people."""
    hints = get_type_hints(Experiment, include_extras=True).items()
    return {
        name: f"one of {', '.join(REGISTERS[name])}" if name in REGISTERS else in_words(hint)
        for name, hint in hints
    }


def fields_table() -> str:
    """Every field of an experiment, as ``docs/experiment.md`` lists them."""
    defaults, said, held = Experiment().to_dict(), notes(), holds()
    lines = ["| Field | Holds | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, default in defaults.items():
        lines.append(f"| `{name}` | {held[name]} | `{json.dumps(default)}` | {said[name]} |")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ a new one


def new_experiment(dataset: str, root: Path | str = "", profile: str = "quick") -> Experiment:
    """A small experiment to begin with, on all tasks of a data set.

    Args:
        dataset: A stand-in, or "own".
        root: Of your own data, the folder with ``mtpsl.toml``; its images keep their proportions,
            and more epochs make up for fewer images.
        profile: How small, "smoke" or "quick".
    """
    scale = get_profile(profile)
    if find_class(dataset) is not Own:
        return scale(Experiment(dataset=dataset, tasks=find_class(dataset).tasks.names))
    own = experiment_on(root)
    small = scale(own)
    height, width = Own("train", root=root).read(0).image.shape[1:]
    wide = max(1, round(small.height * width / height / GRID)) * GRID
    counts = {n: min(getattr(own, n), getattr(small, n)) for n in ("train_images", "test_images")}
    if profile == "quick":
        counts = {n: getattr(own, n) for n in counts}
        seen = QUICK["epochs"] * QUICK["train_images"]
        counts["epochs"] = max(1, round(seen / own.train_images))
    return small.replace(width=wide, **counts)


def new_text(experiment: Experiment, session: Session) -> str:
    """An experiment as JSON with remarks, for people to change; a remark begins with ``NOTE``."""
    defaults, said, held = Experiment().to_dict(), notes(), holds()
    folder = f" --data {session.data_root}" if session.data_root else ""
    values: dict[str, Any] = {
        NOTE: "python -m mtpsl run --experiment THIS_FILE" + folder,
        f"{NOTE} remarks": f"names with {NOTE} are not read; docs/experiment.md has all fields",
        f"{NOTE} time": duration(experiment, session.torch_device),
    }
    for name, value in experiment.to_dict().items():
        if name not in FOUND and (name in SHOWN or value != defaults[name]):
            values[f"{NOTE} {name}"] = f"{held[name]}: {said[name]}"
            values[name] = value
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


# ------------------------------------------------------------- before it starts


def announce(experiment: Experiment, session: Session) -> Iterator[str]:
    """Lines that say what a bound experiment is about to do, and its teacher before it."""
    if experiment.teacher and not session.store.load(experiment.teacher.key):
        yield from announce(experiment.teacher, session)
    images = open_split(experiment, "train", session)
    test = open_split(experiment, "test", session)
    partial, assignment = label(experiment, images, session)
    method = build(without_pretrained(experiment))
    params = sum(p.numel() for p in method.parameters() if p.requires_grad)
    counts = [
        f"{name} {assignment.counts[name]} of {int(images.carries(name).sum())}"
        for name in experiment.tasks
    ]
    size = f"{experiment.height}x{experiment.width}"
    yield f"run {experiment.key}: {experiment.method} on {images.name} ({images.version})"
    yield f"  images      {len(partial)} to train on, {len(test)} to test on, seen at {size} pixels"
    yield f"  labels      {', '.join(counts)}"
    yield f"  parameters  {params:,} ({experiment.backbone}, width {experiment.width_factor:g})"
    yield f"  time        {duration(experiment, session.torch_device, len(partial))}"


def duration(experiment: Experiment, device: torch.device, images: int | None = None) -> str:
    """About how long a run takes: a forward pass is measured, its backward pass inferred.

    Args:
        experiment: Its teacher is not counted.
        device: That it will run on.
        images: That it trains on; None: all of its training images.
    """
    method = build(without_pretrained(experiment))
    e, batch = experiment, noise_batch(tasks_of(experiment), 32, 32, 2 * len(experiment.tasks))
    method.prepare([batch])
    method.to(device).eval()
    few = min(e.batch_size, BATCH)  # so that a record's peak of memory is still the training's
    pictures = torch.rand(few, 3, e.height, e.width, device=device)
    seconds = []
    with torch.no_grad():
        for _ in range(3):
            began = time.perf_counter()
            float(sum(maps.sum() for maps in method.predict(pictures).values()))
            seconds.append(time.perf_counter() - began)
    steps = e.epochs * math.ceil((images or e.train_images) / e.batch_size)
    passes = method.turns * method.views * (1 + BACKWARD) * steps * e.batch_size + e.test_images
    total = min(seconds) / few * passes
    spoken = f"{total / 3600:.1f} h" if total > 5400 else f"{total / 60:.1f} min"
    spoken = spoken if total > 90 else f"{max(1, total):.0f} s"
    return (
        f"{steps} steps ({e.epochs} epochs), about {spoken} on {device.type} for the network; "
        "losses of a method's own come on top"
    )
