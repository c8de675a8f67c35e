"""Pages of text: their commands exist, code runs, links lead somewhere, numbers are recorded."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mtpsl import papers
from mtpsl.__main__ import main
from mtpsl.models._torchvision import import_torchvision
from mtpsl.report.ledger import judge
from mtpsl.report.results import read_recorded

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path: path.read_text() for path in PAGES}
README, API, TREE = (TEXTS[ROOT / n] for n in ("README.md", "docs/api.md", "docs/tree.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHEAP = ("list", "audit", "cost")  # subcommands that are run, not only looked up


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    """Every different command of the pages' console blocks, and those of make in running text."""
    found = [line for t in TEXTS.values() for b in blocks(t, "console") for line in b.splitlines()]
    assert all(line.startswith("$ ") for line in found)
    found = [line[2:] for line in found]
    if program == "make":
        found += [c for t in TEXTS.values() for c in re.findall(r"`(make [^`]*)`", t)]
    keep = (c for c in found if c.startswith(program) and "<" not in c and "NN" not in c)
    return list(dict.fromkeys(keep))


@pytest.mark.parametrize("command", commands("make"))
def test_make_knows_the_target_and_the_variables(command: str) -> None:
    words = [*shlex.split(command), "-n", "--no-print-directory"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"\b([A-Z_]+)=", command):
        assert re.search(rf"\b{name}\b", makefile), name


@pytest.mark.parametrize("command", commands("python -m mtpsl"))
def test_the_command_line_knows_the_command(
    command: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, _, *words = shlex.split(command)
    names = words[:2] if words[0] == "data" else words[:1]
    with pytest.raises(SystemExit) as end:
        main([*names, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, f"{option} is not in the help of {' '.join(names)}"
    if words[0] in CHEAP:
        monkeypatch.chdir(ROOT)
        assert main(words) == 0 and capsys.readouterr().out


def test_is_short_and_the_two_commands_come_first() -> None:
    assert len(README.split()) <= 1000
    assert blocks(README, "console")[0] == "$ make reproduce\n$ make test\n"


# ------------------------------------------------------------------ code


def loader() -> list:
    """Three batches of two images: classes of both, depth of neither, normals of the first."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(3, 64, 64, generator=generator), dim=0)
    ids = torch.randint(13, (2, 64, 64), generator=generator)
    labels = {"semseg": ids, "depth": None, "normals": [normals, None]}
    torch.manual_seed(0)
    return [(torch.rand(2, 3, 64, 64, generator=generator), labels)] * 3


def assert_teaches(terms: dict[str, torch.Tensor]) -> None:
    assert set(terms) == {"semseg", "depth", "normals", "cross_task", "regularizer"}
    assert all(term.isfinite() for term in terms.values())
    assert terms["depth"] == 0 and all(terms[n] > 0 for n in set(terms) - {"depth"})


def test_one_loss_joins_a_loop_of_your_own() -> None:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Conv2d(3, 512, 8, stride=8)
            self.heads = torch.nn.ModuleDict(
                {name: torch.nn.Conv2d(3, n, 1) for name, n in (("semseg", 13), ("normals", 3))}
            )
            self.heads["depth"] = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            maps = {name: head(x) for name, head in self.heads.items()}
            maps["normals"] = torch.nn.functional.normalize(maps["normals"], dim=1)
            return maps, self.encoder(x)

    (code,) = blocks(README, "python")
    seen = {"loader": loader(), "network": Network()}
    seen["optimizer"] = torch.optim.Adam(seen["network"].parameters(), lr=1e-4)
    exec(compile(code, "README.md", "exec"), seen)
    assert_teaches(seen["terms"])
    assert any(p.grad is not None and p.grad.any() for p in seen["cross_task"].parameters())
    assert seen["network"].heads["depth"].weight.grad.any()  # of a task without a label


def test_the_whole_loop_of_your_own_runs() -> None:
    code, _ = blocks(API, "python")
    import_torchvision("models.resnet")  # as "Troubleshooting" says
    seen = {"loader": loader()}
    exec(compile(code, "docs/api.md", "exec"), seen)
    assert_teaches(seen["terms"])
    without = [n for n, p in seen["encoder"].named_parameters() if not p.grad.abs().sum() > 0]
    assert without == []


def test_the_code_with_our_engine_runs(capsys: pytest.CaptureFixture) -> None:
    _, code = blocks(API, "python")
    assert len(code.splitlines()) <= 12
    exec(compile(code, "docs/api.md", "exec"), {})
    measured = ast.literal_eval(capsys.readouterr().out.replace("nan", "None"))
    assert {"semseg/miou", "depth/abs_err", "normals/mean_err"} <= set(measured)


# ----------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken(text: str, folder: Path, own: set[str]) -> list[str]:
    """Relative links of a Markdown text in ``folder`` that lead nowhere."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "code", text, flags=re.DOTALL)
    found = []
    for link in re.findall(r"\]\(([^()\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path
        if path and not target.is_file():
            found.append(link)
        elif anchor and (not path or target.suffix == ".md"):
            if anchor not in (anchors(target.read_text()) if path else own):
                found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_of_the_page_resolve(path: Path) -> None:
    assert broken(TEXTS[path], path.parent, anchors(TEXTS[path])) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_the_notebook_resolve(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert broken(text, path.parent, anchors(text)) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One, *two*\n")
    text = "[`a`](a.md) [b](a.md#one-two) ![c](c.png) [d](a.md#three) [e](#here) `[f](g)` [h](x:i)"
    assert broken(text, tmp_path, {"here"}) == ["c.png", "a.md#three"]


def test_files_named_in_running_text_exist() -> None:
    for path, text in TEXTS.items():
        for name in re.findall(r"`((?:mtpsl|tests|notebooks|figures)/[\w./]+\.\w+)`", text):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def test_the_map_names_functions_that_exist() -> None:
    named = re.findall(r"`(mtpsl/[\w/]+\.py)`: `(\w+)`", TREE)
    assert len(named) >= 10
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, name


def test_every_notebook_and_page_is_linked() -> None:
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in README, path.name
        assert f"(../notebooks/{path.name})" in TEXTS[ROOT / "docs/notebooks.md"], path.name
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.bib")]:
        assert f"(docs/{path.name})" in README, path.name
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    missing = [t for t in targets if f"make {t}" not in TEXTS[ROOT / "docs/install.md"]]
    assert missing == []


def test_all_four_papers_can_be_cited() -> None:
    bibtex = (ROOT / "docs" / "papers.bib").read_text()
    keys = re.findall(r"^@\w+\{(\w+),$", bibtex, re.MULTILINE)
    assert keys == ["zhang2024hitts", "li2022xtc", "li2024rdc", "oh2026tpkr"]
    assert bibtex.count("{") == bibtex.count("}")
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    titles = sorted(re.findall(r"^  title += \{(.*)\},$", bibtex, re.MULTILINE))
    assert sorted(reference["title"] for reference in references) == titles


# --------------------------------------------------------------- numbers


def test_what_is_recorded_is_what_the_readme_says() -> None:
    for paper in (p for p in papers.PAPERS.values() if p.key):
        runnable, done = 0, 0
        for table in paper.tables.values():
            rows = [row for row in table.rows if row.experiments]
            results = read_recorded(ROOT / "figures", table)
            runnable += len(rows)
            done += sum(bool(results.of(row.name)) for row in rows) if results else 0
        (line,) = [s for s in README.splitlines() if s.startswith(f"| [{paper.key}](https")]
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2] == str(len(paper.tables)), f"{paper.key}: {len(paper.tables)} tables"
        assert cells[5] == f"{done} of {runnable}", f"{paper.key}: write {done} of {runnable}"


def test_what_is_decided_is_what_the_readme_says() -> None:
    board = np.load(ROOT / "figures" / "companion" / "scoreboard.npz")
    printed, states = board["printed"].tolist(), []
    for table in (t for t in papers.tables().values() if papers.PAPERS[t.paper].key):
        verdicts = judge(table, read_recorded(ROOT / "figures", table))
        states += [verdict.state for verdict in verdicts]
    assert f"draw {len(states)} sentences" in README and len(printed) == len(states)
    words = f"{states.count('not tested')} of {len(states)} sentences are not tested"
    assert words in README, f"write: {words}"
    assert f"{states.count('holds')} hold" in README, f"write: {states.count('holds')} hold"
    words = f"contradict {printed.count('contradicts')} of the {len(states)} sentences"
    assert words in README, f"write: {words}"


def test_every_finding_quotes_a_recorded_number() -> None:
    part = README.partition("## What we found")[2].partition("\n## ")[0]
    findings = re.findall(r"^\d\. .*$", part, re.MULTILINE)
    quoted = {n for f in findings for n in re.findall(r"\d+\.\d+", f)}
    pages = [p.read_text().splitlines() for p in (ROOT / "figures").glob("*/*.md")]
    lines = [line for page in pages for line in page if re.search(r"\| (recorded \||holds:)", line)]
    recorded = set(re.findall(r"\d+\.\d+", "\n".join(lines)))
    assert len(findings) == 5 and quoted and quoted <= recorded, sorted(quoted - recorded)
