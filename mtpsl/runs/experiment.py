"""An experiment is a value: everything that decides a number, and nothing else."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mtpsl import NUMERICS, files
from mtpsl.data.dataset import Augmentation
from mtpsl.data.readers.own import Own
from mtpsl.data.region_providers import PROVIDERS
from mtpsl.tasks import Protocol
from mtpsl.training import Precision

LabelSetting = Literal[
    "", "as_found", "full", "one_label", "random_labels", "few_shot", "ratio", "share"
]  # "": "as_found" on data of one's own, "one_label" elsewhere

# Test predictions are compared with labels at the size that the network sees; or at the size of
# the labels' files, to which predictions are resized.
ScoreSize = Literal["network", "file"]
Schedule = Literal["step", "poly", "cosine", "constant"]
Select = Literal["last", "best_on_test"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run. Equal experiments have equal keys, on every machine.

    The defaults are the HiTTs setting on NYUD-v2 [HiTTs, Sec. 4.1]; a profile scales them.
    """

    # data
    dataset: str = "rooms13"  # a key of ``mtpsl.data.DATASETS``
    data_version: str = ""  # the generator's version, or the fingerprint of a folder on disk
    data_args: Mapping[str, Any] = field(default_factory=dict)  # what a folder of one's own says
    # of its tasks; the tasks of all other data sets are known
    height: int = 288
    width: int = 384
    train_images: int = 795
    test_images: int = 654
    tasks: tuple[str, ...] = ("semseg", "depth", "normals")
    protocol: Protocol = ""  # how a line of papers trains and measures them, see ``tasks.follow``
    label_setting: LabelSetting = ""  # becomes the data set's own at once, see ``LabelSetting``
    label_args: Mapping[str, Any] = field(default_factory=dict)
    label_seed: int = 0  # which images lose which labels; the same for every ``seed``
    augment: bool = True  # random scale-crop; the released code's only augmentation
    augmentation: Augmentation = "scale_crop"  # what ``augment`` does; "turned" on PASCAL-Context,
    # "atrc" in the protocol of that name
    flip: bool = False
    regions: str = ""  # of training images: a key of ``region_providers.PROVIDERS``; empty: none
    region_args: Mapping[str, Any] = field(default_factory=dict)  # the provider's settings
    region_version: str = ""  # of the provider, or the fingerprint of the files that it reads

    # model and method
    backbone: str = "segnet"  # a key of ``mtpsl.models.BACKBONES``, or of a paper's
    width_factor: float = 1.0  # scales the backbone's channels
    backbone_args: Mapping[str, Any] = field(default_factory=dict)  # such as pretrained weights
    method: str = "supervised"  # a key of ``mtpsl.papers.methods``
    method_args: Mapping[str, Any] = field(default_factory=dict)
    teacher: "Experiment | None" = None  # two-stage methods: whose discoveries supervise this run
    thresholds: Mapping[str, float | str] = field(default_factory=dict)  # task -> confidence that
    # a pseudo label must exceed, or a share such as "50%"; the student's act on the teacher

    # optimization
    weighting: str = "uniform"  # a key of ``mtpsl.weighting.WEIGHTINGS``
    weighting_args: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 400
    batch_size: int = 8
    accumulate: int = 1
    clip: float = 0.0  # longest gradient of a step, as an L2 norm; 0: none, as in [XTC] and [HiTTs]
    lr: float = 1e-4
    weight_decay: float = 0.0
    schedule: Schedule = "step"
    schedule_args: Mapping[str, Any] = field(default_factory=dict)
    average_last: float = 0.0  # share of the last epochs whose weights are averaged
    precision: Precision = "fp32"
    channels_last: bool = False

    # evaluation
    select: Select = "last"  # papers differ; ours is "last"
    select_reference: Mapping[str, float] = field(default_factory=dict)  # of "best_on_test", such
    # as ``papers.xtc.printed.SELECTION``; empty: each point gains over the best before it
    eval_every: int = 0  # epochs between points of the learning curve; 0: none
    score_size: ScoreSize | None = None  # None: the data set's own choice, ``bind_data`` says which
    seed: int = 0
    numerics: int = NUMERICS  # version of the code that decides numbers

    def __post_init__(self) -> None:
        own = "as_found" if self.dataset == Own.name else "one_label"
        object.__setattr__(self, "label_setting", self.label_setting or own)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, teacher included."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["teacher"] = self.teacher.to_dict() if self.teacher else None
        return json.loads(json.dumps(values, default=dict))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Experiment":
        """The inverse of ``to_dict``.

        Raises:
            ValueError: If a field is unknown or holds what it cannot, naming it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"experiment: expected an object of fields, got {values!r:.40}")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"experiment: expected fields {sorted(known)}, got {unknown}")
        values = dict(values)
        if values.get("teacher"):
            values["teacher"] = cls.from_dict(values["teacher"])
        if "tasks" in values:
            values["tasks"] = tuple(values["tasks"])
        for name, value in values.items():
            _require(name, value)
        return cls(**values)

    @property
    def key(self) -> str:
        """Content hash, 12 hex digits: the name of the run's folder.

        Of what differs from the defaults, so that a field that is added later leaves the keys of
        earlier experiments alone. A default is therefore never changed.
        """
        text = json.dumps(self._decisions(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _decisions(self) -> dict[str, Any]:
        values = self.to_dict()
        chosen = {name: value for name, value in values.items() if value != _DEFAULTS[name]}
        if self.teacher:
            chosen["teacher"] = self.teacher._decisions()
        return chosen | {"numerics": self.numerics}

    def __hash__(self) -> int:
        return hash(self.key)

    def replace(self, **changes: Any) -> "Experiment":
        return dataclasses.replace(self, **changes)

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment, and the same teacher, from another seed."""
        teacher = self.teacher and self.teacher.with_seed(seed)
        return self.replace(seed=seed, teacher=teacher)


def write_experiment(experiment: Experiment, path: Path) -> None:
    """Writes an experiment for people, and for ``python -m mtpsl run --experiment``."""
    text = json.dumps(experiment.to_dict(), indent=1) + "\n"
    files.write(path, lambda file: file.write(text.encode()))


def read_experiment(path: Path | str) -> Experiment:
    """What ``write_experiment`` wrote.

    Raises:
        ValueError: If the file is no experiment, naming it and what is wrong.
    """
    try:
        return Experiment.from_dict(json.loads(Path(path).read_text()))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: expected an experiment as JSON, got {error}") from error


_DEFAULTS = Experiment().to_dict()
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "label_setting": get_args(LabelSetting),
    "protocol": get_args(Protocol),
    "augmentation": get_args(Augmentation),
    "precision": get_args(Precision),
    "schedule": get_args(Schedule),
    "regions": ("", *PROVIDERS),
    "score_size": (None, *get_args(ScoreSize)),
    "select": get_args(Select),
}
_AT_LEAST = {  # whole numbers
    **dict.fromkeys(("height", "width", "train_images", "test_images"), 1),
    **dict.fromkeys(("epochs", "batch_size", "accumulate"), 1),
    **dict.fromkeys(("eval_every", "seed", "label_seed"), 0),
}
_KINDS = {bool: (bool, "true or false"), dict: (Mapping, "an object"), str: (str, "text")}


def _require(name: str, value: Any) -> None:
    """A value that a field cannot hold is refused before it is trained on."""
    fits, expected = True, ""
    if name in _CHOICES:
        fits, expected = value in _CHOICES[name], f"one of {_CHOICES[name]}"
    elif name in _AT_LEAST:
        least = _AT_LEAST[name]
        fits, expected = type(value) is int and value >= least, f"a whole number, at least {least}"
    elif name == "tasks":
        fits, expected = value and len(set(value)) == len(value), "names of tasks, each once"
    elif name == "clip":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits, expected = number and 0 <= value < math.inf, "a norm, or 0 for none"
    elif name == "average_last":
        fits, expected = isinstance(value, int | float) and 0 <= value <= 1, "a share from 0 to 1"
    elif type(_DEFAULTS[name]) in _KINDS:
        kind, expected = _KINDS[type(_DEFAULTS[name])]
        fits = isinstance(value, kind)
    if not fits:
        raise ValueError(f"experiment: expected {name} to be {expected}, got {value!r:.40}")
