"""What the commands of ``python -m mtpsl`` do, each of its parsed arguments.

Heavy modules are imported where they are used, so that ``--help`` answers at once.
"""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtpsl import papers
from mtpsl.reproduce import UsageError, checkout, output_folder, runs_folder

if TYPE_CHECKING:
    from mtpsl.report.results import Results
    from mtpsl.report.tables import Table
    from mtpsl.runs.session import Session


# ------------------------------------------------------------------ commands


def list_everything(args: argparse.Namespace) -> int:
    """Tables with how many of their rows are recorded, figures, papers, notebooks."""
    root = checkout()
    figures, output = root / "figures", output_folder(args.profile, root)
    whole, drawn = [], []  # the papers of tables with every row recorded, and of recorded figures
    print("tables")
    for name, table in papers.tables().items():
        rows = [row for row in table.rows if row.experiments]
        results = recorded(table, figures)
        seeds = [len(results.of(row.name)) for row in rows] if results else []
        done = [n for n in seeds if n]
        whole += [table.paper] * (len(done) == len(rows))
        status = f"recorded {len(done)} of {len(rows)} rows"
        if done:
            least, most = min(done), max(done)
            span = f"{most} seed{'s'[: most > 1]}" if least == most else f"{least} to {most} seeds"
            status += f" at {results.profile}, {span}"
        print(f"  {name:<16} {table.title}\n{'':18} {status}")
    print("figures")
    for name, figure in papers.figures().items():
        profile = drawn_at(figures, name)
        drawn += [figure.paper] * bool(profile)
        states = [f"recorded at {profile}"] if profile else []
        if output != figures and (output / f"{name}.png").is_file():
            states.append(f"drawn at {args.profile}")
        print(f"  {name:<16} {figure.title}: {' and '.join(states) or 'not drawn yet'}")
    print("papers")
    for name, paper in papers.PAPERS.items():
        print(
            f"  {name:<16} {whole.count(name)} of {len(paper.tables)} tables with every row "
            f"recorded, {drawn.count(name)} of {len(paper.figures)} figures recorded"
        )
    print("notebooks")
    for path in sorted((root / "notebooks").glob("[0-9][0-9]*_*.py")):
        status = "built" if path.with_suffix(".ipynb").is_file() else "not built yet"
        print(f"  {path.stem:<16} {status}")
    return 0


def drawn_at(figures: Path, name: str) -> str:
    """The profile of a recorded figure; empty if there is none."""
    try:
        return json.loads((figures / f"{name}.json").read_text())["made_from"]["profile"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def run(args: argparse.Namespace) -> int:
    """A table, or the one experiment in a file."""
    if bool(args.table) == bool(args.experiment):
        raise UsageError("run: expected a table's name or --experiment FILE; see `mtpsl list`")
    return run_experiment(args) if args.experiment else run_table(args)


def run_experiment(args: argparse.Namespace) -> int:
    """What every worker process does; prints the key and the metrics as JSON."""
    from mtpsl import files
    from mtpsl.data import find_class
    from mtpsl.runs.data import bind_data
    from mtpsl.runs.experiment import read_experiment
    from mtpsl.runs.run import run

    if not Path(args.experiment).is_file():
        raise UsageError(f"--experiment: expected a file, got {args.experiment}")
    for option, default in {"profile": "smoke", "seeds": 1, "jobs": 1}.items():
        if getattr(args, option) != default:
            raise UsageError(
                f"--{option}: expected none with --experiment, which is one run and decides all "
                f"its numbers itself; change {args.experiment}"
            )
    asked = read_experiment(args.experiment)
    experiment = bind_data(asked, args.data)
    if args.data and not asked.data_version and find_class(experiment.dataset).stand_in:
        raise UsageError(
            f"--data: the experiment is on {asked.dataset}, which {args.data} is not; name the "
            f'data set in {args.experiment}, "dataset": "own" for a folder of your own'
        )
    session = make_session(args, Path.cwd())
    if args.force:
        session.store.forget(experiment.key)
    record = run(experiment, session)
    print(files.to_line({"key": record.key, "metrics": record.metrics}), end="")
    return 0


def run_table(args: argparse.Namespace) -> int:
    from mtpsl.report import records
    from mtpsl.report.render import render_markdown

    table = choose_table(args.table)
    if args.data:
        require_use(table, args.data)
    root = checkout()
    session = make_session(args, root)
    what = {"profile": args.profile, "seeds": range(args.seeds)}
    if records.train_missing([table], session, jobs=args.jobs, force=args.force, **what):
        print("some runs failed; the same command tries them again", file=sys.stderr)
        return 1
    computed = records.run_table(table, session, **what)
    print(render_markdown(table, recorded(table, root / "figures"), computed), end="")
    return 0


def require_use(table: "Table", data: str) -> None:
    """Refuses a folder of data that no row of the table is about."""
    from mtpsl.data import find_class, recognize
    from mtpsl.runs.data import bind_data

    experiments = [e for row in table.rows for e in row.experiments]
    bound = {bind_data(e, data).dataset for e in experiments}
    if bound and all(find_class(name).stand_in for name in bound):
        real = ", ".join(sorted({find_class(e.dataset).stands_for for e in experiments}))
        raise UsageError(f"--data: expected a folder of {real}, got {data}, of {recognize(data)}")


def show(args: argparse.Namespace) -> int:
    """A table from what is recorded; trains nothing."""
    from mtpsl.report import render

    table = choose_table(args.table)
    formats = {
        "markdown": render.render_markdown,
        "html": render.render_html,
        "csv": render.render_csv,
    }
    print(formats[args.format](table, recorded(table, checkout() / "figures"), None), end="")
    return 0


def audit(args: argparse.Namespace) -> int:
    """The papers' printed numbers, recomputed; 0 only if exactly the known errata remain."""
    from mtpsl.report import audit

    report = audit.audit()
    print(report.to_text())
    return 1 if report.problems else 0


def cost(args: argparse.Namespace) -> int:
    """Parameters and operations at the papers' size, beside the printed ones."""
    from mtpsl.report import costs

    print(json.dumps(list(costs.cost_rows()), indent=1) if args.json else costs.cost_text())
    return 0


def predict(args: argparse.Namespace) -> int:
    """What a trained network says of a folder of pictures."""
    from mtpsl.report.predict import predict_folder
    from mtpsl.runs.session import Session
    from mtpsl.runs.store import RunStore

    run, pictures, out = (Path(path).expanduser() for path in (args.run, args.pictures, args.out))
    run = run.resolve() if run.name in ("", "..") else run  # a run's folder from within
    is_key = len(run.parts) == 1 and not run.is_dir()
    store = RunStore(runs_folder(Path.cwd()) if is_key else run.absolute().parent)
    summary = predict_folder(run.name, Session(store, args.device), pictures, out)
    print(f"{out}: {len(summary['pictures'])} pictures; overview.png shows some of them")
    for entry in summary["pictures"]:
        for task, cut in entry["cut_off"].items():
            told = f"{cut['above']} pixels above and {cut['below']} below what 16 bits hold"
            print(f"{out / entry['folder'] / task}.png: {told}, which the .npy file keeps")
    return 0


def data_check(args: argparse.Namespace) -> int:
    from mtpsl.data import DATASETS
    from mtpsl.data.readers.report import check, write_sheet

    if args.what not in DATASETS and not Path(args.what).expanduser().exists():
        known = [name for name, kind in DATASETS.items() if kind.stand_in]
        hint = nearest(args.what, known)
        raise UsageError(
            f"data check: expected a folder or one of {known}, got {args.what!r}{hint}"
        )
    what = Path(args.what).expanduser()
    report, fine = check(what, read_all=args.all)
    print(report)
    if args.sheet:
        write_sheet(what, Path(args.sheet).expanduser())
        print(f"sheet of samples: {args.sheet}")
    return 0 if fine else 1


def data_convert(args: argparse.Namespace) -> int:
    """A data set in any layout as its preprocessed ``.npy`` tree."""
    from mtpsl.data.readers.convert import convert

    source, target = (Path(path).expanduser() for path in (args.source, args.target))
    if not source.exists():
        raise UsageError(f"SOURCE: expected a folder, got {args.source}")
    size = {"height": args.height, "width": args.width}
    show = os.environ.get("MTPSL_PROGRESS") != "0"
    done = convert(source, target, workers=args.workers, progress=show, **size)
    print(f"{target}: {done['written']} images written, {done['kept']} kept")
    return 0


def data_sources(args: argparse.Namespace) -> int:
    """Where the data sets come from, and under which terms."""
    from mtpsl.data.readers import sources_text

    print(sources_text())
    return 0


def records(args: argparse.Namespace) -> int:
    from mtpsl.report.records import fill_records

    root = checkout()
    failed = fill_records(
        choose_tables(args.only),
        output_folder(args.profile, root),
        make_session(args, root),
        profile=args.profile,
        seeds=range(args.seeds),
        jobs=args.jobs,
        others=papers.tables().values(),
    )
    if failed:
        print(f"{failed} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


# ------------------------------------------------------------------- lookups


def make_session(args: argparse.Namespace, root: Path) -> "Session":
    from mtpsl.runs.session import Session
    from mtpsl.runs.store import RunStore

    return Session(RunStore(runs_folder(root)), args.device, args.data)


def choose_table(name: str) -> "Table":
    """By ``paper/table``, or by the table's own name where only one paper has it."""
    known = papers.tables()
    fitting = [full for full in known if name in (full, full.partition("/")[2])]
    if len(fitting) == 1:
        return known[fitting[0]]
    if fitting:
        raise UsageError(f"table: expected one paper's, got {name!r}; say {' or '.join(fitting)}")
    raise unknown_table("table: expected one", name)


def choose_tables(only: str) -> list["Table"]:
    """Those whose name contains one of the comma-separated parts; all without any."""
    known = papers.tables()
    parts = only.replace(",", " ").split()
    for part in parts:
        if not any(part in name for name in known):
            raise unknown_table("--only: expected a part of one", part)
    return [t for name, t in known.items() if not parts or any(part in name for part in parts)]


def unknown_table(expected: str, name: str) -> UsageError:
    """What to raise where no table is called so; suggests the nearest, or names all of them."""
    known = papers.tables()
    hint = nearest(name, [*known, *(full.partition("/")[2] for full in known)])
    known = "that `mtpsl list` names" if hint else f"of {list(known)}"
    return UsageError(f"{expected} {known}, got {name!r}{hint}")


def recorded(table: "Table", folder: Path) -> "Results | None":
    """What the repository has; None, and a word on stderr, where that is damaged."""
    from mtpsl import files
    from mtpsl.report.results import load_recorded

    try:
        return load_recorded(folder / f"{table.key}.json", table)
    except FileNotFoundError:
        return None
    except files.Damaged as error:
        print(f"recorded results are damaged and left out: {error}", file=sys.stderr)
        return None


def nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
