"""The commands of ``python -m mtpsl``: each a function of its arguments, which stand above it.

The first line of its docstring is its help. Heavy modules are imported where they are used, so
that ``--help`` answers at once.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtpsl import papers, places
from mtpsl.lookups import choose_table, choose_tables
from mtpsl.places import UsageError

if TYPE_CHECKING:
    from mtpsl.runs.store import Session

GROUPS = {"data": "check a data set, convert it, or say where it comes from"}

Option = tuple[tuple[str, ...], dict[str, Any]]  # arguments of ``add_argument``
Function = Callable[[argparse.Namespace], int]
COMMANDS: dict[str, tuple[Function, tuple[Option, ...], str]] = {}  # with options and an example


def command(name: str, *options: Option, example: str = "") -> Callable[[Function], Function]:
    """Lists a function as a command; a name such as ``data check`` belongs to a group."""

    def add(function: Function) -> Function:
        COMMANDS[name] = function, options, example
        return function

    return add


def option(*names: str, **how: Any) -> Option:
    return names, how


def profile(default: str) -> Option:
    what = "smoke (seconds per run), quick (minutes) or full (the paper's settings, for GPUs)"
    return option("--profile", default=default, help=f"{what}; default: %(default)s")


def running(seeds: int, jobs: int = 1) -> tuple[Option, ...]:
    """How many runs, where, and on which data."""
    count = "how many, from 0; default: %(default)s"
    return (
        option("--seeds", type=int, default=seeds, help=count),
        option("--jobs", type=int, default=jobs, help="side by side; default: %(default)s"),
        DEVICE,
        DATA,
    )


DEVICE = option(
    "--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N"
)
DATA = option(
    "--data",
    default="",
    help="NYUD-v2, Cityscapes or PASCAL-Context, which replaces its stand-in, or your own folder",
)
ONLY = option("--only", default="", help="parts of names, comma-separated")
FORCE = option("--force", action="store_true", help="do again what is done, with data read anew")
TABLE = "hitts/table1, or table1"
SIZE = tuple(option(s, type=int, help="default: as in the papers") for s in ("--height", "--width"))


# ------------------------------------------------------------------ commands


@command("list", profile("smoke"))
def list_everything(args: argparse.Namespace) -> int:
    """Tables, figures and notebooks, and how far they are."""
    from mtpsl.report.results import read_recorded
    from mtpsl.reproduce import built_from, select

    root = places.find_checkout()
    figures, output = places.figures_folder(), places.output_folder(args.profile)
    whole, drawn = [], []  # the papers of tables with every row recorded, and of recorded figures
    print("tables")
    for name, table in papers.tables().items():
        rows = [row for row in table.rows if row.experiments]
        results = read_recorded(figures, table)
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
        at = drawn_at(figures, name)
        drawn += [figure.paper] * bool(at)
        states = [f"recorded at {at}"] if at else []
        if output != figures and (output / f"{name}.png").is_file():
            states.append(f"drawn at {args.profile}")
        print(f"  {name:<16} {figure.title}: {' and '.join(states) or 'not drawn yet'}")
    print("papers")
    for name, paper in papers.PAPERS.items():
        print(
            f"  {name:<16} {whole.count(name)} of {len(paper.tables)} tables with every row "
            f"recorded, {drawn.count(name)} of {len(paper.figures)} figures recorded"
        )
    print("notebooks" if root else "notebooks: only in a checkout")
    for source in select(root, "") if root else ():
        status = "built" if built_from(source).is_file() else "not built yet"
        print(f"  {source.stem:<16} {status}")
    return 0


def drawn_at(figures: Path, name: str) -> str:
    """The profile of a recorded figure; empty if there is none."""
    try:
        return json.loads((figures / f"{name}.json").read_text())["made_from"]["profile"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@command(
    "run",
    option("table", nargs="?", help=TABLE),
    option("--experiment", metavar="FILE", help="a run's experiment.json, or one of `mtpsl new`"),
    profile("smoke"),
    *running(seeds=1),
    FORCE,
    option("--brief", action="store_true", help="start without saying what it will take"),
    example="hitts/table1 --profile smoke --seeds 1",
)
def run(args: argparse.Namespace) -> int:
    """Train what a table lacks and print it, or one experiment."""
    if bool(args.table) == bool(args.experiment):
        raise UsageError("run: expected a table's name or --experiment FILE; see `mtpsl list`")
    return run_experiment(args) if args.experiment else run_table(args)


def run_experiment(args: argparse.Namespace) -> int:
    """What every worker process does; prints the key and the metrics as JSON."""
    from mtpsl import distributed, files
    from mtpsl.data import find_class
    from mtpsl.runs.data import bind_data, forget_data
    from mtpsl.runs.experiment import read_experiment
    from mtpsl.runs.plan import announce
    from mtpsl.runs.run import run

    if not Path(args.experiment).is_file():
        raise UsageError(f"--experiment: expected a file, got {args.experiment}")
    for name, default in {"profile": "smoke", "seeds": 1, "jobs": 1}.items():
        if getattr(args, name) != default:
            raise UsageError(
                f"--{name}: expected none with --experiment, which is one run and decides all "
                f"its numbers itself; change {args.experiment}"
            )
    asked, session = read_experiment(args.experiment), make_session(args)
    if args.force:
        forget_data(session)
    experiment = bind_data(asked, args.data)
    if args.data and not asked.data_version and find_class(experiment.dataset).stand_in:
        raise UsageError(
            f"--data: the experiment is on {asked.dataset}, which {args.data} is not; name the "
            f'data set in {args.experiment}, "dataset": "own" for a folder of your own'
        )
    if args.force:
        session.store.forget(experiment.key)
    with distributed.joined(session.torch_device) as device:
        if distributed.is_first() and not (args.brief or session.store.load(experiment.key)):
            for line in announce(experiment, session):
                print(line, file=sys.stderr)
        record = run(experiment, replace(session, device=device))
        if distributed.is_first():
            said = {"key": record.key, "metrics": record.metrics, "by_class": record.by_class}
            print(files.to_line(said), end="")
    return 0


@command(
    "new",
    option("dataset", choices=("own", "rooms13", "streets7", "people21")),
    profile("quick"),
    DEVICE,
    DATA,
    example="own --data ~/my-images > experiment.json",
)
def new(args: argparse.Namespace) -> int:
    """Write a small experiment to begin with, with remarks and how long it takes."""
    from mtpsl.runs.plan import new_experiment, new_text

    if args.data and args.dataset != "own":
        raise UsageError(f"--data: expected none with {args.dataset}, got {args.data}; say own")
    experiment = new_experiment(args.dataset, args.data, args.profile)
    print(new_text(experiment, make_session(args)), end="")
    return 0


def run_table(args: argparse.Namespace) -> int:
    """Refuses a folder of data that no row of the table is about."""
    from mtpsl.data import find_class, recognize
    from mtpsl.report import records
    from mtpsl.report.render import render_markdown
    from mtpsl.report.results import read_recorded
    from mtpsl.runs.data import bind_data

    table = choose_table(args.table)
    experiments = [e for row in table.rows for e in row.experiments] if args.data else []
    bound = {bind_data(e, args.data).dataset for e in experiments}
    if bound and all(find_class(name).stand_in for name in bound):
        real = ", ".join(sorted({find_class(e.dataset).stands_for for e in experiments}))
        found = f"{args.data}, of {recognize(args.data)}"
        raise UsageError(f"--data: expected a folder of {real}, got {found}")
    session, what = make_session(args), {"profile": args.profile, "seeds": range(args.seeds)}
    if records.train_missing([table], session, jobs=args.jobs, force=args.force, **what):
        print("some runs failed; the same command tries them again", file=sys.stderr)
        return 1
    computed = records.run_table(table, session, **what)
    print(render_markdown(table, read_recorded(places.figures_folder(), table), computed), end="")
    return 0


@command(
    "predict",
    option("run", metavar="RUN", help="a run's folder, or its key"),
    option("pictures", metavar="PICTURES", help="a folder of .png and .jpg files"),
    option("out", metavar="OUT", help="a new folder"),
    DEVICE,
    example="runs/1a2b3c4d5e6f ~/photos ~/predicted",
)
def predict(args: argparse.Namespace) -> int:
    """Predict a folder of pictures with a trained run: maps as PNG and .npy, and a sheet."""
    from mtpsl.report.predict import predict_folder
    from mtpsl.runs.store import RunStore, Session

    run, pictures, out = (Path(path).expanduser() for path in (args.run, args.pictures, args.out))
    run = run.resolve() if run.name in ("", "..") else run  # a run's folder from within
    is_key = len(run.parts) == 1 and not run.is_dir()
    store = RunStore(places.runs_folder() if is_key else run.absolute().parent)
    summary = predict_folder(run.name, Session(store, args.device), pictures, out)
    print(f"{out}: {len(summary['pictures'])} pictures; overview.png shows some of them")
    for entry in summary["pictures"]:
        for task, cut in entry["cut_off"].items():
            told = f"{cut['above']} pixels above and {cut['below']} below what 16 bits hold"
            print(f"{out / entry['folder'] / task}.png: {told}, which the .npy file keeps")
    return 0


@command(
    "show",
    option("table", help=TABLE),
    option("--format", choices=("markdown", "html", "csv"), default="markdown"),
    option("--per-class", action="store_true", help="the IoU of each class below it"),
    option("--forest", metavar="FILE.png", help="draw the gain of each of its sentences"),
    example="hitts/table1",
)
def show(args: argparse.Namespace) -> int:
    """A table from the recorded results; trains nothing."""
    from mtpsl.report import evidence, render, results

    table = choose_table(args.table)
    recorded = results.read_recorded(places.figures_folder(), table)
    print(getattr(render, f"render_{args.format}")(table, recorded, None), end="")
    if args.per_class:
        print(f"\n{render.render_by_class(table, recorded)}", end="")
    if args.forest:
        evidence.draw_forest(evidence.forest(table, recorded)).savefig(args.forest)
    return 0


@command("audit")
def audit(args: argparse.Namespace) -> int:
    """Recompute the printed numbers that can be recomputed; list the errata."""
    from mtpsl.report import audit

    report = audit.audit()
    print(report.to_text())
    return 1 if report.problems else 0  # exactly the known errata remain


@command("cost", option("--json", action="store_true", help="exact numbers, for programs"))
def cost(args: argparse.Namespace) -> int:
    """Parameters and FLOPs of the papers' networks, beside the printed ones."""
    from mtpsl.report import tables

    print(json.dumps(tables.cost_rows(), indent=1) if args.json else tables.cost_text())
    return 0


@command(
    "data check",
    option("what", metavar="NAME_OR_PATH", help="rooms13, streets7, people21, or a folder"),
    option("--all", action="store_true", help="read every image, not only 32 of each split"),
    option("--sheet", metavar="FILE.png", help="draw images and labels of the test split"),
    option("--regions", metavar="PROVIDER", help="report on regions of training images instead"),
    option("--region-args", metavar="JSON", type=json.loads, help="such as '{\"scale\": 200}'"),
    *SIZE,
)
def data_check(args: argparse.Namespace) -> int:
    """Report on a stand-in or a folder: counts, ranges, classes, axes."""
    from mtpsl.data.readers.region_report import check_regions
    from mtpsl.data.readers.report import check, write_sheet

    what, sheet = Path(args.what).expanduser(), args.sheet and Path(args.sheet).expanduser()
    if args.regions:
        how = {"height": args.height, "width": args.width, "images": None if args.all else 32}
        print(check_regions(what, args.regions, args.region_args, sheet=sheet, **how))
        return 0
    report, fine = check(what, read_all=args.all)
    print(report)
    if sheet:
        write_sheet(what, sheet)
        print(f"sheet of samples: {args.sheet}")
    return 0 if fine else 1


@command(
    "data convert",
    option("source", metavar="SOURCE", help="a folder of NYUD-v2 or Cityscapes"),
    option("target", metavar="TARGET", help="a new folder, or one to go on with"),
    *SIZE,
    option("--workers", type=int, default=1, help="processes; default: 1"),
)
def data_convert(args: argparse.Namespace) -> int:
    """Any layout -> the preprocessed .npy tree; stop and start at any time."""
    from mtpsl.data.readers.convert import convert

    source, target = (Path(path).expanduser() for path in (args.source, args.target))
    if not source.exists():
        raise UsageError(f"SOURCE: expected a folder, got {args.source}")
    bar = os.environ.get("MTPSL_PROGRESS") != "0"
    size = {"height": args.height, "width": args.width}
    done = convert(source, target, workers=args.workers, progress=bar, **size)
    print(f"{target}: {done['written']} images written, {done['kept']} kept")
    return 0


@command("data sources")
def data_sources(args: argparse.Namespace) -> int:
    """Where each data set is obtained, under which terms, and what to download."""
    from mtpsl.data.readers import sources_text

    print(sources_text())
    return 0


@command(
    "records",
    profile("quick"),
    *running(seeds=3),
    ONLY,
    option("--plan", metavar="FOLDER", default="", help="write missing runs there; train none"),
    example="--only hitts/table1 --seeds 3 --jobs 2",
)
def records(args: argparse.Namespace) -> int:
    """Train what is not recorded yet, seed 0 of every row first; stop and start at any time."""
    from mtpsl.report.records import fill_records

    root = places.checkout()
    session, how = make_session(args), {"profile": args.profile, "seeds": range(args.seeds)}
    how |= {"jobs": args.jobs, "others": papers.tables().values(), "plan_folder": args.plan}
    folder = places.output_folder(args.profile, root)
    failed = fill_records(choose_tables(args.only), folder, session, **how)
    if failed:
        print(f"{failed} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


@command(
    "reproduce",
    profile("smoke"),
    *running(seeds=1, jobs=min(4, os.cpu_count() or 1)),
    ONLY,
    FORCE,
    option("--build", action="store_true", help="make the committed .ipynb instead"),
)
def reproduce(args: argparse.Namespace) -> int:
    """Run all notebooks: every table and figure. What is done stays done."""
    from mtpsl import data, reproduce

    root = places.checkout()
    if args.data:
        data.require_recognized(args.data)
    if args.build:
        return reproduce.build_all(root, args.only)
    expected = reproduce.register(places.output_folder(args.profile, root))
    return reproduce.reproduce(args, root, expected)


def make_session(args: argparse.Namespace) -> "Session":
    from mtpsl.runs.store import RunStore, Session

    return Session(RunStore(places.runs_folder()), args.device, args.data)
