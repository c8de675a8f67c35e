"""A paper is one folder: a toy outside this package goes from a row to a number and back.

Its folder is named in ``MTPSL_PAPERS``; no other file is touched.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PAPER = {
    "__init__": '''
        """A toy of a paper."""

        from mtpsl.papers import Paper

        PAPER = Paper(
            name="toy",
            key="Toy",
            title="One Layer Is Enough",
            methods={"one_layer": "method.OneLayer"},
        )
    ''',
    "method": '''
        """One layer [Toy]."""

        from torch import nn

        from mtpsl.methods.base import Method, supervised_terms


        class OneLayer(Method):
            """Sees every pixel alone [Toy, Eq. 1]; leaves the backbone that it is given aside."""

            learns_from_unlabeled = False

            def __init__(self, tasks, backbone, *, size: int = 1) -> None:
                super().__init__()
                self.tasks = tasks
                self.layers = nn.ModuleDict(
                    {t.name: nn.Conv2d(3, t.channels, size, padding=size // 2) for t in tasks}
                )

            def predict(self, images):
                return {name: layer(images) for name, layer in self.layers.items()}

            def training_step(self, *views, progress):
                (batch,) = views
                return supervised_terms(self.tasks, self.predict(batch.images), batch)
    ''',
    "tables": '''
        """[Toy, Table 1]."""

        from mtpsl.report.tables import Claim, Row, Table
        from mtpsl.runs.experiment import Experiment

        ERROR = "depth/abs_err"
        BASE = Experiment(
            method="one_layer",
            tasks=("depth",),
            height=32,
            width=64,
            width_factor=0.125,
            label_setting="full",
        )
        NINE, FIVE = (BASE.replace(method_args={"size": size}) for size in (3, 5))
        TABLE1 = Table(
            name="table1",
            paper="toy",
            title="One layer, smaller or larger",
            source="[Toy, Table 1]",
            columns=(ERROR, "cost/params", "cost/flops"),
            rows=(
                Row(name="One", label="One", experiments=(BASE,), printed=(0.75, 4e-6, 1.0)),
                Row(
                    name="Nine",
                    label="Nine",
                    experiments=(NINE,),
                    printed=(0.5, float("nan"), float("nan")),
                ),
            ),
            claims=(Claim(text="Nine see more", better="Nine", worse="One", columns=(ERROR,)),),
        )
        TABLES = {"table1": TABLE1}
        COSTS = (Row(name="Five", label="Five", experiments=(FIVE,)),)
    ''',
    "figures": '''
        """[Toy, Fig. 1]."""

        import numpy as np
        from matplotlib.figure import Figure as Drawing

        from mtpsl.report.figure import Figure


        def weights(material):
            layer = material.methods["one"].layers["depth"]
            return {"weights": layer.weight.detach().numpy().flatten()}


        def draw(arrays):
            drawing = Drawing(figsize=(2, 2))
            drawing.add_subplot().bar(np.arange(3), arrays["weights"])
            return drawing


        FIGURES = (
            Figure(
                name="fig1",
                paper="toy",
                title="What one layer looks at",
                source="[Toy, Fig. 1]",
                caption="Three weights.",
                alt="Three bars.",
                arrays=weights,
                draw=draw,
                runs={"one": ("toy/table1", "One")},
            ),
        )
    ''',
    "printed": '''
        """[Toy] says one third and prints two cells."""

        from mtpsl.papers.toy.tables import TABLE1
        from mtpsl.report.audit import Erratum, PaperAudit, quoted


        def audit():
            one, nine = (TABLE1.row(name).printed[0] for name in ("One", "Nine"))
            checks = (
                quoted("[Toy], a third", 33.33, 100 * (one - nine) / one),
                quoted("[Toy], a half", 50, 100 * (one - nine) / one),
            )
            slip = Erratum("[Toy], a half", "a third is called a half", "Table 1", remains=True)
            return PaperAudit(checks=checks, errata=(slip,))
    ''',
}
NOTEBOOK = """
# %% tags=["parameters"]
profile: str = "smoke"
data_root: str = ""
device: str = "auto"
seed: int = 0
use_cache: bool = True

# %%
from mtpsl import papers
from mtpsl.notebook import setup

session = setup(profile=profile, data_root=data_root, device=device, seed=seed, use_cache=use_cache)
table = papers.tables()["toy/table1"]
session.write(table, *session.results(table))
session.figure("toy/fig1")
"""

MARK = "<that was it>"
CALL = f"""
import json, sys
from mtpsl.__main__ import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0, arguments
    print({MARK!r}, flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> SimpleNamespace:
    """A checkout with one notebook, and the toy's folder elsewhere."""
    root, elsewhere = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("papers")
    (elsewhere / "toy").mkdir()
    for name, text in PAPER.items():
        lines = [line.removeprefix(" " * 8) for line in text.strip("\n").split("\n")]
        (elsewhere / "toy" / f"{name}.py").write_text("\n".join(lines))
    (root / "notebooks" / "src").mkdir(parents=True)
    (root / "notebooks/src/70_toy.py").write_text(NOTEBOOK)
    (root / "pyproject.toml").touch()
    environment = os.environ | {
        "MTPSL_PAPERS": str(elsewhere),
        "MTPSL_RUNS": str(root / "runs"),
        "MTPSL_CACHE": str(root / "cache"),
        "MTPSL_PROGRESS": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }

    def call(*commands: str) -> list[str]:
        """What each command prints, all in one process, which costs seconds to start."""
        arguments = [command.split() for command in commands]
        command = [sys.executable, "-c", CALL, json.dumps(arguments)]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split(MARK)[:-1]

    return SimpleNamespace(root=root, call=call)


def test_it_is_listed_run_and_recorded(place) -> None:
    listed, computed, _ = place.call(
        "list", "run toy/table1 --device cpu", "records --only toy/ --profile smoke --seeds 1"
    )
    assert "toy/table1       One layer, smaller or larger" in listed
    assert "toy/fig1         What one layer looks at: not drawn yet" in listed
    assert "0 of 1 tables with every row recorded, 0 of 1 figures recorded" in listed
    assert "computed now" in computed and "Nine see more" in computed
    assert (place.root / "runs/smoke/toy/table1.json").is_file()


def test_it_is_shown_counted_and_audited(place) -> None:
    (place.root / "figures/toy").mkdir(parents=True)
    (place.root / "runs/smoke/toy/table1.json").rename(place.root / "figures/toy/table1.json")
    listed, shown, counted, costs, audited = place.call(
        "list", "show toy/table1", "cost --json", "cost", "audit"
    )
    assert "recorded 2 of 2 rows at smoke, 1 seed" in listed
    assert "1 of 1 tables with every row recorded" in listed
    assert "recorded" in shown
    rows = {row["name"]: row for row in json.loads(counted) if row["table"] == "toy/table1"}
    assert {name: row["params"] for name, row in rows.items()} == {"One": 4, "Nine": 28, "Five": 76}
    assert (rows["One"]["printed_params_m"], rows["Five"]["printed_params_m"]) == (4e-6, None)
    assert "[Toy, Table 1]: one image of 32x64" in costs
    assert "Known errata of [Toy]" in audited and "a third is called a half" in audited


def test_its_tables_and_figures_are_reproduced(place) -> None:
    told, listed, again = place.call(
        "reproduce --only toy --device cpu --jobs 1",
        "list",
        "reproduce --only toy --device cpu --jobs 1",
    )
    assert "ok 70_toy" in told
    made = {path.name for path in (place.root / "runs/smoke/toy").iterdir()}
    assert {"table1.md", "table1.csv", "fig1.png", "fig1.json", "fig1.npz"} <= made
    assert "toy/fig1         What one layer looks at: drawn at smoke" in listed
    assert "nothing changed" in again
