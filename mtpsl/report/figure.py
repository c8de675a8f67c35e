"""What a figure is: the runs it compares, the arrays it shows and what it says in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from matplotlib.figure import Figure as Drawing

from mtpsl import papers
from mtpsl.report.arrays import Arrays, Material
from mtpsl.runs.experiment import Experiment

CURVE_POINTS = 20  # of a learning curve, before the profile scales it


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a paper: the runs it compares, what it says in words, where it comes from.

    A role is ``"ours"``, or ``"streets/ours"`` in a figure of several data sets, whose arrays are
    computed part by part (``figure_arrays.in_parts``).
    """

    name: str
    paper: str  # "hitts"; empty for a picture of this package's own
    title: str
    source: str  # "[HiTTs, Fig. 7]"
    caption: str  # one sentence under the figure
    alt: str  # one sentence instead of the figure
    arrays: Callable[[Material], Arrays]
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
        rows = {
            role: papers.tables()[table].row(row).experiments
            for role, (table, row) in self.runs.items()
        }
        rows |= {role: (experiment,) for role, experiment in self.own.items()}
        found = {}
        for role, (experiment,) in rows.items():
            if self.curves:
                every = max(1, experiment.epochs // CURVE_POINTS)
                experiment = experiment.replace(eval_every=every)
            found[role] = profile(experiment).with_seed(seed)
        return found
