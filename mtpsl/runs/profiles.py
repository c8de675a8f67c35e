"""How a paper's experiment is scaled to the time at hand.

A profile is a function from the experiment that a table states to the one that runs. Method,
tasks, label setting, teacher and seed are never touched, so rows stay comparable; a teacher is
scaled like its student. A method may name arguments that suit small images (``small_images``),
which the experiment's own come before. Which data set it runs on is not a profile's business.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mtpsl.papers import backbone_builder, method_class
from mtpsl.registry import look_up
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.network import without_pretrained

Profile = Callable[[Experiment], Experiment]

# Seconds on two cores: proves the path, decides nothing.
SMOKE: dict[str, Any] = {
    "height": 64,
    "width": 64,
    "width_factor": 0.125,
    "train_images": 12,
    "test_images": 8,
    "epochs": 2,
    "batch_size": 6,
    "lr": 1e-3,
    "clip": 1.0,
}

# Minutes on two cores, seconds on a GPU: what the recorded results use.
QUICK: dict[str, Any] = {
    "height": 64,
    "width": 96,
    "width_factor": 0.25,
    "train_images": 240,  # seen often, as in the papers; with more of them one label suffices
    "test_images": 300,
    "epochs": 23,
    "augment": False,  # zoomed views keep so short a training on a plateau, at some seeds
    "batch_size": 4,  # at a fixed number of images, more steps learn more than larger ones
    "lr": 3e-3,
    "clip": 1.0,  # a few long gradients would decide Adam's steps for most of so short a training
    "schedule": "cosine",  # ends low, which narrows the spread over seeds
    "schedule_args": {"warmup": 0.1},
    "average_last": 0.25,  # so does the mean of the last weights
    "channels_last": True,
}

# Poolings of a SegNet: its bottleneck is then 8 x 12 positions at 64x96, as it is 9 x 12 in the
# papers. With all five it would have six positions, and XTC's consistency nothing to compare.
STAGES = 3

# The papers of DiffusionMTL's protocol state a fifth of the others' learning rate (2e-5, 1e-4), and
# their scaled rows keep that proportion. Its denoiser, which nothing normalizes, diverges at 3e-3.
QUICK_PROTOCOLS: dict[str, dict[str, Any]] = {"atrc": {"lr": 6e-4}}

# A transformer sees patches of 16x16 pixels, of which an image of 64x96 has 4 x 6, too few for maps
# of classes; so its images are half as high and wide again, 6 x 9 patches. An eighth of ViT-L's
# width is the narrowest transformer of its depth, and takes a few minutes a run.
PATCH = 16
LARGER = 1.5
TRANSFORMER_WIDTH = 0.125

SMALL = 128  # pixels of the shorter side, below which a method may ask for other arguments

# What differs on other data sets than rooms13, at about the same cost a run.
SMOKE_SHAPES: dict[str, dict[str, Any]] = {
    "streets7": {"height": 64, "width": 96},
    "people21": {"height": 64, "width": 64},
}
QUICK_SHAPES: dict[str, dict[str, Any]] = {
    "streets7": {"height": 64, "width": 128, "epochs": 28},
    # One label per image leaves a fifth of the images to a task, and people are in every second.
    "people21": {"height": 96, "width": 96, "train_images": 600, "epochs": 9},
}

# Thresholds are as good as a network is calibrated. The printed ones belong to 400 epochs at full
# size; a young network rarely passes them (at quick with 4.9 % of semseg's withheld pixels, none of
# depth's and 3.5 % of normals'), and L_p would test little. So the scaled profiles accept the
# more confident half of the withheld pixels, of every task that has a threshold.
PSEUDO_SHARE = "50%"


def smoke(experiment: Experiment) -> Experiment:
    """At most 2 s a run on two cores, on the embedded data: proves that the path works."""
    return _scaled(experiment, SMOKE | SMOKE_SHAPES.get(experiment.dataset, {}))


def quick(experiment: Experiment) -> Experiment:
    """Two to three and a half minutes a supervised run on one core; its numbers rank methods."""
    changes = QUICK | QUICK_SHAPES.get(experiment.dataset, {})
    changes |= QUICK_PROTOCOLS.get(experiment.protocol, {})
    if _stride(experiment) == PATCH:
        larger = {side: round(LARGER * changes[side]) for side in ("height", "width")}
        changes |= larger | {"width_factor": TRANSFORMER_WIDTH}
    return _scaled(experiment, changes)


def full(experiment: Experiment) -> Experiment:
    """The paper's own settings, for a GPU; on the embedded data a stand-in of the same size."""
    return experiment


PROFILES: dict[str, Profile] = {"smoke": smoke, "quick": quick, "full": full}


def get_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ValueError: If there is none, suggesting the nearest.
    """
    return look_up("profile", name, PROFILES)


def _stride(experiment: Experiment) -> int:
    """Image size / size of the map that the heads of its backbone read."""
    builder = backbone_builder(experiment.backbone)
    return getattr(builder, "func", builder).stride


def _scaled(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """The experiment with these changes and what they bring along.

    A scaled network is narrower than a published one, whose weights do not fit it: it begins with
    random ones.
    """
    thresholds = dict.fromkeys(experiment.thresholds, PSEUDO_SHARE)
    if experiment.clip:  # a row that is about clipping, or a protocol that has it
        changes = {**changes, "clip": experiment.clip}
    scaled = without_pretrained(experiment.replace(**changes, thresholds=thresholds))
    if min(scaled.height, scaled.width) < SMALL:
        suits = method_class(experiment.method).small_images
        scaled = scaled.replace(method_args={**suits, **scaled.method_args})
    if experiment.backbone == "segnet":
        scaled = scaled.replace(backbone_args={**scaled.backbone_args, "stages": STAGES})
    if experiment.eval_every:  # as many points on the learning curve, one an epoch at most
        points = experiment.epochs / experiment.eval_every
        scaled = scaled.replace(eval_every=max(1, round(scaled.epochs / points)))
    if experiment.teacher:
        scaled = scaled.replace(teacher=_scaled(experiment.teacher, changes))
    return scaled
