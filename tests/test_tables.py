"""Every experiment of every table builds and takes a step; golden losses watch ``NUMERICS``."""

from dataclasses import replace

import pytest
import torch
from properties import TASKS, assert_terms_are_finite_scalars, discovered_by, random_batch

from mtpsl import NUMERICS, papers
from mtpsl.data import find_class
from mtpsl.methods import Method
from mtpsl.papers import build_method
from mtpsl.runs.experiment import Experiment
from mtpsl.runs.profiles import PROFILES
from mtpsl.tasks import TaskSet

EXPERIMENTS = {
    (e.dataset, e.method, str(dict(e.method_args)), e.weighting, e.tasks, e.teacher is not None): e
    for table in papers.tables().values()
    for row in table.rows
    for e in row.experiments
}  # seeds and label settings do not change what is built

# Loss terms of the first step at 32x32, by method; they move only together with NUMERICS.
GOLDEN = {
    1: {
        "supervised": {"semseg": 0.938314, "depth": 0.758728, "normals": 0.258432},
        "hitts": {"semseg": 0.269769, "depth": 0.296678, "normals": 0.259289},
    },
    2: {
        "supervised": {"semseg": 0.938314, "depth": 0.758728, "normals": 0.258432},
        "hitts": {"semseg": 0.304549, "depth": 0.307141, "normals": 0.263848},
    },
}


def built(experiment: Experiment, tasks: TaskSet | None = None) -> Method:
    torch.manual_seed(0)
    tasks = tasks or find_class(experiment.dataset).tasks.subset(experiment.tasks)
    args = experiment.method_args
    method = build_method(experiment.method, tasks, experiment.backbone, 0.125, args)
    method.prepare([random_batch(tasks, images=6)])
    return method


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=map(str, range(len(EXPERIMENTS))))
def test_every_experiment_takes_a_step(experiment):
    method = built(experiment)
    batch = random_batch(method.tasks)
    if experiment.teacher:
        batch = replace(batch, discovered=discovered_by(built(experiment.teacher), batch))
    assert_terms_are_finite_scalars(method, batch)


@pytest.mark.parametrize("name", papers.tables())
def test_a_row_runs_or_says_why_not(name):
    for row in papers.tables()[name].rows:
        assert bool(row.experiments) != bool(row.why_not_run), row.name
        assert len(row.printed) == len(papers.tables()[name].columns), row.name


@pytest.mark.parametrize("profile", PROFILES)
def test_rows_of_a_table_differ_only_in_what_they_compare(profile):
    """One path for every method on a network: same data, size, schedule and seeds."""
    varies = {
        "tasks", "label_setting", "label_args", "method", "method_args", "teacher", "thresholds",
        "weighting", "regions", "region_args",
    }  # fmt: skip
    for table in papers.tables().values():
        settings = {
            str({k: v for k, v in PROFILES[profile](e).to_dict().items() if k not in ignored})
            for row in table.rows
            for ignored in [varies | ({"clip"} if "unclipped" in row.name else set())]
            for e in row.experiments
        }
        clipped = any("unclipped" in row.name for row in table.rows)
        networks = {
            (e.backbone, e.backbone_args.get("channels"))  # of which one is wider, to compare sizes
            for row in table.rows
            for e in row.experiments
        }
        assert len(settings) == len(networks) + clipped, table.name


@pytest.mark.parametrize("name", GOLDEN[NUMERICS])
def test_numbers_move_only_with_the_version(name):
    method = built(Experiment(method=name), TASKS)
    terms = method.training_step(random_batch(), progress=0.0)
    measured = {t: value.item() for t, value in terms.items()}
    assert measured == pytest.approx(GOLDEN[NUMERICS][name], rel=1e-3), (
        "the numbers moved: raise mtpsl.NUMERICS and add its golden losses"
    )
