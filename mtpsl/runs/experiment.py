"""An experiment is a value: everything that decides a number, and nothing else."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from mtpsl import NUMERICS, files
from mtpsl.data import find_class
from mtpsl.data.dataset import Augmentation
from mtpsl.data.labels import SETTINGS
from mtpsl.data.readers.own import Own, check_description
from mtpsl.data.region_providers import PROVIDERS
from mtpsl.data.supervision import require_threshold
from mtpsl.papers import backbone_builder, method_class
from mtpsl.registry import (
    AboveZero,
    Count,
    NonNegative,
    Positive,
    Range,
    Share,
    fits,
    in_words,
    look_up,
    require_known,
)
from mtpsl.tasks import Protocol
from mtpsl.training import SCHEDULES, Precision
from mtpsl.weighting import WEIGHTINGS

LabelSetting = Literal[
    "", "as_found", "full", "one_label", "random_labels", "few_shot", "ratio", "share"
]  # "": "as_found" on data of one's own, "one_label" elsewhere

# Test predictions are compared with labels at the size that the network sees; or at the size of
# the labels' files, to which predictions are resized.
ScoreSize = Literal["network", "file"]
Schedule = Literal["step", "poly", "cosine", "constant"]
Select = Literal["last", "best_on_test"]
Side = Annotated[int, Range(1, 2**14)]
WIDEST = 8  # times a backbone's own channels
NOTE = "//"  # begins the name of what is a remark in a file, and no field


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run. Equal experiments have equal keys, on every machine.

    The defaults are the HiTTs setting on NYUD-v2 [HiTTs, Sec. 4.1]; a profile scales them.
    """

    # data
    dataset: str = "rooms13"  # a key of ``mtpsl.data.DATASETS``; "own" for a folder of your own
    data_version: str = ""  # the generator's version, or the fingerprint of a folder on disk;
    # empty: whatever is there
    data_args: Mapping[str, Any] = field(default_factory=dict)  # what a folder of one's own says
    # of its tasks, filled in from its ``mtpsl.toml``; the tasks of all other data sets are known
    height: Side = 288  # of the images that the network sees, in pixels
    width: Side = 384  # likewise
    train_images: Positive = 795  # the first so many of the training split, at most all
    test_images: Positive = 654  # likewise of the test split
    tasks: tuple[str, ...] = ("semseg", "depth", "normals")  # what the network learns, each once
    protocol: Protocol = ""  # how a line of papers trains and measures them, see ``tasks.follow``
    label_setting: LabelSetting = ""  # which labels are kept, see ``data.labels.assign``; empty:
    # "as_found" on data of your own, "one_label" elsewhere
    label_args: Mapping[str, Any] = field(default_factory=dict)  # of the label setting
    label_seed: Count = 0  # which images lose which labels; the same for every ``seed``
    augment: bool = True  # random scale-crop; the released code's only augmentation
    augmentation: Augmentation = "scale_crop"  # what ``augment`` does; "turned" on PASCAL-Context,
    # "atrc" in the protocol of that name
    flip: bool = False  # mirrors every second training image
    regions: str = ""  # of training images: a key of ``region_providers.PROVIDERS``; empty: none
    region_args: Mapping[str, Any] = field(default_factory=dict)  # the provider's settings
    region_version: str = ""  # of the provider, or the fingerprint of the files that it reads

    # model and method
    backbone: str = "segnet"  # a key of ``mtpsl.models.BACKBONES``, or of a paper's
    width_factor: Annotated[float, Range(0, WIDEST, above=True)] = 1.0  # scales the backbone's
    # channels
    backbone_args: Mapping[str, Any] = field(default_factory=dict)  # such as pretrained weights
    method: str = "supervised"  # a key of ``mtpsl.papers.methods``
    method_args: Mapping[str, Any] = field(default_factory=dict)  # of the method
    teacher: "Experiment | None" = None  # two-stage methods: whose discoveries supervise this run
    thresholds: Mapping[str, float | str] = field(default_factory=dict)  # task -> confidence that
    # a pseudo label must exceed, or a share such as "50%"; the student's act on the teacher

    # optimization
    weighting: str = "uniform"  # a key of ``mtpsl.weighting.WEIGHTINGS``
    weighting_args: Mapping[str, Any] = field(default_factory=dict)  # of the weighting
    epochs: Positive = 400  # passes over the training images
    batch_size: Positive = 8  # images that a step sees
    accumulate: Positive = 1  # batches whose mean gradient makes one step
    clip: NonNegative = 0.0  # longest gradient of a step, as an L2 norm; 0: none, as in [XTC] and
    # [HiTTs]
    lr: AboveZero = 1e-4  # Adam's learning rate at the start
    weight_decay: NonNegative = 0.0  # Adam's L2 penalty
    schedule: Schedule = "step"  # how the learning rate falls, see ``mtpsl.training.SCHEDULES``
    schedule_args: Mapping[str, Any] = field(default_factory=dict)  # of the schedule
    average_last: Share = 0.0  # share of the last epochs whose weights are averaged
    precision: Precision = "fp32"  # "bf16" runs forward passes in it, for GPUs
    channels_last: bool = False  # how maps lie in memory; often faster

    # evaluation
    select: Select = "last"  # whose weights are kept; papers differ, ours is "last"
    select_reference: Mapping[str, float] = field(default_factory=dict)  # of "best_on_test", such
    # as ``papers.xtc.printed.SELECTION``; empty: each point gains over the best before it
    eval_every: Count = 0  # epochs between points of the learning curve; 0: none
    score_size: ScoreSize | None = None  # None: the data set's own choice, ``bind_data`` says which
    seed: Count = 0  # of weights, order and augmentation
    numerics: Positive = NUMERICS  # version of the code that decides numbers

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
        """The inverse of ``to_dict``; leaves out remarks, whose names begin with ``NOTE``.

        Raises:
            ValueError: If a field is unknown or holds what it cannot, naming it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"experiment: expected an object of fields, got {values!r:.40}")
        values = {name: v for name, v in values.items() if not name.startswith(NOTE)}
        hints = get_type_hints(cls, include_extras=True)
        if unknown := sorted(set(values) - set(hints)):
            raise ValueError(f"experiment: expected fields {sorted(hints)}, got {unknown}")
        if values.get("teacher") is not None:
            values["teacher"] = cls.from_dict(values["teacher"])
        for name, value in values.items():
            if not fits(value, hints[name]):
                expected = in_words(hints[name])
                raise ValueError(f"experiment: expected {name} to be {expected}, got {value!r:.40}")
        if "tasks" in values:
            values["tasks"] = tuple(values["tasks"])
            if not 0 < len(set(values["tasks"])) == len(values["tasks"]):
                got = f"{values['tasks']!r:.40}"
                raise ValueError(f"experiment: expected tasks to be names, each once, got {got}")
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
        experiment = Experiment.from_dict(json.loads(Path(path).read_text()))
        require_sound(experiment)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected an experiment as JSON, got {error}") from error
    return experiment


def require_sound(experiment: Experiment) -> None:
    """Refuses what would fail later, or would be read by nothing, before anything is built.

    Raises:
        ValueError: If a name is unknown, arguments do not fit what they go to, or something is
            said that nothing reads.
    """
    e, data = experiment, find_class(experiment.dataset)
    own = check_description(Path("data_args"), e.data_args) if data is Own else {}
    readers = {
        "method_args": method_class(e.method),
        "backbone_args": backbone_builder(e.backbone),
        "weighting_args": look_up("weighting", e.weighting, WEIGHTINGS),
        "schedule_args": SCHEDULES[e.schedule],
    }
    if data.stand_in or "file" not in e.label_args:  # which is the digest of a published split
        readers["label_args"] = SETTINGS[e.label_setting][0]
    if e.regions:
        readers["region_args"] = look_up("regions", e.regions, PROVIDERS).divide
    for what, function in readers.items():
        require_known(what, function, getattr(e, what))
    unread = {
        "thresholds": e.thresholds and not e.teacher and "a teacher, whose labels they cut",
        "region_args": e.region_args and not e.regions and "regions",
        "select_reference": e.select_reference and e.select == "last" and "select 'best_on_test'",
        "select": e.select != "last" and not e.eval_every and "eval_every, at least 1",
        "data_args": e.data_args and data is not Own and "dataset 'own'",
    }
    for what, needs in unread.items():
        if needs:
            got = f"{getattr(e, what)!r:.40}"
            raise ValueError(f"{what}: expected {needs}, with {got}; add that or leave {what} out")
    known = own or (() if data is Own else data.tasks.names)
    named = (*e.tasks, *e.thresholds) if known else e.thresholds
    if unknown := [name for name in named if name not in (known or e.tasks)]:
        raise ValueError(f"tasks: expected some of {[*known]}, got {unknown}")
    for name, tau in e.thresholds.items():
        require_threshold(name, tau)
    if e.teacher:
        require_sound(e.teacher)


_DEFAULTS = Experiment().to_dict()
