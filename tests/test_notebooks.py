"""The notebooks' conventions: what is committed is what was built, run, and can be read aloud."""

import ast
import os
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from mtpsl import papers
from mtpsl.__main__ import make_parser
from mtpsl.report.render import render_html
from mtpsl.report.results import load_recorded
from mtpsl.reproduce import BATCH, build, built_from, parameters

FOLDER = Path(__file__).parents[1] / "notebooks"
FIGURES = FOLDER.parent / "figures"
SOURCES = sorted((FOLDER / "src").glob("*.py"))
NAMES = (
    "00_tour", "01_label_settings",
    "10_hitts_method", "11_hitts_tables", "11b_hitts_tables", "11c_hitts_tables",
    "12_hitts_figures", "12b_hitts_figures", "13_hitts_beyond",
    "20_xtc_method", "21_xtc_tables", "21b_xtc_tables", "22_xtc_figures", "23_xtc_storm",
    "30_rdc_method", "31_rdc_tables", "32_rdc_figures", "33_rdc_beyond",
    "40_tpkr_method", "41_tpkr_tables", "42_tpkr_figures", "43_tpkr_beyond",
    "90_all_tables", "99_your_own_data",
)  # fmt: skip
PARAMETERS = parameters(make_parser()[0].parse_args(["reproduce"]))
CODE_LINES, DEF_LINES = 12, 5
PRIVATE = re.compile(r"(?<![\w.])/(home|root|tmp|Users|var|private)/\w")  # paths of a machine

every_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def read(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(built_from(source), as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def outputs(notebook: nbformat.NotebookNode) -> list[tuple[str, nbformat.NotebookNode]]:
    """(source of its cell, output) for everything the notebook shows."""
    return [(cell.source, output) for cell in code_cells(notebook) for output in cell.outputs]


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What breaks the conventions that a reader would notice."""
    return [
        *about_parameters(notebook),
        *(said for cell in code_cells(notebook) for said in about_code(cell.source)),
        *about_outputs(notebook),
    ]


def about_parameters(notebook: nbformat.NotebookNode) -> list[str]:
    cells = code_cells(notebook)
    tagged = [i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", ())]
    if len(tagged) != 1:
        return [f"expected one cell tagged parameters, got {len(tagged)}"]
    (where,) = tagged
    declared = {}
    for node in ast.parse(cells[where].source).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Constant):
            return ["parameters: expected only lines such as `seed: int = 0`"]
        declared[ast.unparse(node.target)] = node.value.value
    if declared != PARAMETERS:
        return [f"parameters: expected {PARAMETERS}, got {declared}"]
    following = cells[where + 1].source if where + 1 < len(cells) else ""
    calls = [n for n in ast.walk(parse(following)) if isinstance(n, ast.Call)]
    setups = [n for n in calls if ast.unparse(n.func).split(".")[-1] == "setup"]
    given = {k.arg: ast.unparse(k.value) for n in setups for k in n.keywords}
    if given != {name: name for name in PARAMETERS}:
        return [f"the cell after the parameters must call setup with all of them, got {given}"]
    return []


def about_code(source: str) -> list[str]:
    found = []
    lines = [line for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
    if len(lines) > CODE_LINES:
        found.append(f"{len(lines)} code lines in a cell, more than {CODE_LINES}: {lines[0]}")
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= DEF_LINES:
            found.append(f"{node.name} is longer than {DEF_LINES} lines; it belongs in the package")
        if isinstance(node, ast.Attribute) and node.attr in ("zero_grad", "backward"):
            found.append("training belongs in the package")
    return found


def parse(source: str) -> ast.Module:
    """The cell's Python, without what only IPython understands."""
    return ast.parse("\n".join("" if line[:1] in "%!" else line for line in source.splitlines()))


def about_outputs(notebook: nbformat.NotebookNode) -> list[str]:
    found = []
    for source, output in outputs(notebook):
        first = source.splitlines()[0]
        data = output.get("data", {})
        words = output.get("text", "") + data.get("text/html", "") + data.get("text/plain", "")
        if output.output_type == "error":
            found.append(f"error in: {first}")
        if match := PRIVATE.search(words):
            found.append(f"a path of the machine, {words[match.start() :][:30]!r}, in: {first}")
        if "image/png" in data and not output.metadata.get("image/png", {}).get("alt"):
            found.append(f"a picture without alt text, use show(figure, alt=...) in: {first}")
    return found


def test_all_notebooks_are_there() -> None:
    assert tuple(source.stem for source in SOURCES) == NAMES
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@every_notebook
def test_is_built_from_its_source(source: Path) -> None:
    built, written = read(source), jupytext.read(source)
    assert [(c.cell_type, c.source) for c in built.cells] == [
        (c.cell_type, c.source) for c in written.cells
    ], f"run `make notebooks ONLY={source.stem}`"


@every_notebook
def test_was_run_from_top_to_bottom(source: Path) -> None:
    cells = code_cells(read(source))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    # nbval compares only cells that were run; a notebook that shows nothing tests nothing
    assert sum(bool(cell.outputs) for cell in cells) >= 3


@every_notebook
def test_keeps_the_conventions(source: Path) -> None:
    assert complaints(read(source)) == []


@every_notebook
def test_carries_no_metadata_of_a_run(source: Path) -> None:
    notebook = read(source)
    assert set(notebook.metadata) <= {"kernelspec", "jupytext"}
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}


def tables(html: str) -> dict[str, str]:
    """paper/name -> the HTML of that table alone, without its claims."""
    found = re.findall(r'<table id="T_(\w+)-(\w+)"(.*?)</table>', html, re.S)
    return {f"{paper}/{name}": inside for paper, name, inside in found}


def recorded_rows(table: str) -> dict[tuple[str, ...], tuple[str, ...] | None]:
    """(block, label) -> the recorded numbers of that row of a rendered table, None without."""
    head, *body = (
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.S)
    )
    source = head.index("")
    found, names = {}, ()
    for cells in body:
        names = tuple(cells[:source]) if any(cells[:source]) else names
        numbers = tuple(cells[source + 1 : -1])  # without the status
        found[names] = numbers if cells[source] == "recorded" else found.get(names)
    return found


@every_notebook
def test_shows_what_is_recorded(source: Path) -> None:
    known = papers.tables()
    for _, output in outputs(read(source)):
        for name, table in tables(output.get("data", {}).get("text/html", "")).items():
            path = FIGURES / f"{name}.json"
            results = load_recorded(path, known[name]) if path.exists() else None
            committed = recorded_rows(tables(render_html(known[name], results, None))[name])
            shown = recorded_rows(table)
            labels = {(row[-1], numbers) for row, numbers in committed.items()}
            floors = {r for r in shown if r not in committed and (r[-1], shown[r]) in labels}
            assert shown == {r: shown[r] if r in floors else committed.get(r) for r in shown}, (
                f"{name} was recorded again; run `make notebooks ONLY={source.stem}`"
            )


def test_recorded_rows_are_found_below_printed_ones() -> None:
    rows = (
        ("Setting", "Method", "", "mIoU", "Status"), ("One", "STL", "paper", "1", "x"),
        ("", "", "recorded", "2", ""), ("One", "Ours", "paper", "3", "x"),
        ("", "", "computed now", "4", ""), ("Full", "STL", "recorded", "5", "x"),
        ("Full", "Ours", "", "–", "not run"),
    )  # fmt: skip
    html = "".join(f"<tr a=b>{''.join(f'<td c>{c}</td>' for c in row)}</tr>" for row in rows)
    assert recorded_rows(html) == {
        ("One", "STL"): ("2",), ("One", "Ours"): None, ("Full", "STL"): ("5",),
        ("Full", "Ours"): None,
    }  # fmt: skip


def good() -> nbformat.NotebookNode:
    v4 = nbformat.v4
    values = "\n".join(f"{n}: {type(v).__name__} = {v!r}" for n, v in PARAMETERS.items())
    call = "session = setup(" + ", ".join(f"{n}={n}" for n in PARAMETERS) + ")"
    picture = v4.new_output("display_data", {"image/png": ""}, metadata={"image/png": {"alt": "A"}})
    return v4.new_notebook(
        cells=[
            v4.new_code_cell(values, metadata={"tags": ["parameters"]}),
            v4.new_code_cell(call),
            v4.new_code_cell("show(figure, alt='A')", outputs=[picture]),
        ]
    )


def test_the_conventions_can_be_kept_and_broken() -> None:
    assert complaints(good()) == []

    notebook = good()
    notebook.cells[0].source = notebook.cells[0].source.replace("seed: int = 0", "seed: int = 1")
    assert "parameters: expected" in complaints(notebook)[0]

    notebook = good()
    notebook.cells[1].source = "session = setup(profile=profile)"
    assert "must call setup with all of them" in complaints(notebook)[0]

    notebook = good()
    notebook.cells[2].outputs[0].metadata = {}
    assert "without alt text" in complaints(notebook)[0]

    notebook = good()
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="saved /home/me/x.png")]
    assert "a path of the machine" in complaints(notebook)[0]

    notebook = good()
    notebook.cells[2].source = "\n".join(f"x = {i}" for i in range(13))
    assert "13 code lines" in complaints(notebook)[0]

    notebook = good()
    notebook.cells[2].source = "loss.backward()"
    assert complaints(notebook) == ["training belongs in the package"]


def test_building_twice_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "src" / "00_small.py"
    source.parent.mkdir()
    source.write_text('# %% tags=["parameters"]\nseed: int = 0\n\n# %%\nprint(seed + 1)\n')
    environment = os.environ | BATCH
    assert build(source, environment) == ""
    first = built_from(source).read_bytes()
    assert build(source, environment) == ""
    assert built_from(source).read_bytes() == first
    notebook = read(source)
    assert notebook.cells[0].metadata == {"tags": ["parameters"]}
    assert notebook.cells[1].outputs[0].text == "1\n"

    stale = read(source)
    stale.cells[1].outputs[0].text = "what another version printed\n"
    nbformat.write(stale, built_from(source))
    assert build(source, environment) == ""
    assert built_from(source).read_bytes() == first

    source.write_text("# %%\nraise ValueError('expected to fail')\n")
    assert "ValueError: expected to fail" in build(source, environment)
