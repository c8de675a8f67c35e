"""The command line: ``python -m mtpsl COMMAND``; ``--help`` teaches it."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where they are used, so that --help answers at once
    from mtpsl.experiments.results import Results
    from mtpsl.experiments.spec import Table

DESCRIPTION = "Multi-task dense prediction from partially labeled data: four papers, one protocol."
EPILOG = """\
start here:
  python -m mtpsl list                      what can be reproduced, and how far it is
  python -m mtpsl run hitts/table1          train every row of a table: seconds a row at smoke
  python -m mtpsl show hitts/table1         printed and recorded numbers, and which claims hold
  python -m mtpsl reproduce                 every notebook, table and figure

then:
  python -m mtpsl run hitts/table1 --profile quick --seeds 3 --jobs 2
  python -m mtpsl run --experiment runs/1a2b3c4d5e6f/experiment.json
  python -m mtpsl data sources              where data sets come from, and under which terms
  python -m mtpsl data check ~/nyuv2        what is in a folder, before training on it
  python -m mtpsl data convert ~/NYUD_MT ~/nyuv2
  python -m mtpsl predict runs/1a2b3c4d5e6f ~/photos ~/predicted
  python -m mtpsl records --device cuda --jobs 4

Runs are kept in runs/ (or MTPSL_RUNS) under a key that says everything that decides a number, so
nothing is trained twice and an interrupted command goes on where it stopped. Generated images are
kept in ~/.cache/mtpsl (or MTPSL_CACHE). MTPSL_PROGRESS=0 hides progress bars; MTPSL_TRACEBACK=1
shows where an error comes from.

exit status: 0 done, 1 something failed, 2 bad usage
"""


class UsageError(Exception):
    """Something was asked for that does not exist; the message says what does."""


# ------------------------------------------------------------------ commands


def list_everything(args: argparse.Namespace) -> int:
    """Tables with how many of their rows are recorded, figures, notebooks."""
    from mtpsl.experiments.figures import FIGURES
    from mtpsl.experiments.notebooks import output_folder

    root = checkout()
    output = output_folder(args.profile, root)
    print("tables")
    for name, table in tables().items():
        rows = [row for row in table.rows if row.experiments]
        results = recorded(table, root / "figures")
        seeds = [len(results.of(row.name)) if results else 0 for row in rows]
        done = sum(n > 0 for n in seeds)
        status = f"recorded {done} of {len(rows)} rows"
        if done:
            status += f" at {results.profile}, {min(n for n in seeds if n)} to {max(seeds)} seeds"
        print(f"  {name:<16} {table.title}\n{'':18} {status}")
    print("figures")
    for name, figure in FIGURES.items():
        path = output / f"{name}.png"
        status = "drawn" if path.is_file() else "not drawn yet"
        print(f"  {name:<16} {figure.title}: {status}")
    print("notebooks")
    for path in sorted((root / "notebooks").glob("[0-9][0-9]*_*.py")):
        status = "built" if path.with_suffix(".ipynb").is_file() else "not built yet"
        print(f"  {path.stem:<16} {status}")
    return 0


def run(args: argparse.Namespace) -> int:
    """A table, or the one experiment in a file."""
    if bool(args.table) == bool(args.experiment):
        raise UsageError("run: expected a table's name or --experiment FILE; see `mtpsl list`")
    return run_experiment(args) if args.experiment else run_table(args)


def run_experiment(args: argparse.Namespace) -> int:
    """What every worker process does; prints the key and the metrics as JSON."""
    from mtpsl.experiments.notebooks import runs_folder
    from mtpsl.experiments.run import run
    from mtpsl.experiments.train import bind_data, read_experiment
    from mtpsl.records import RunStore

    if not Path(args.experiment).is_file():
        raise UsageError(f"--experiment: expected a file, got {args.experiment}")
    experiment = bind_data(read_experiment(args.experiment), args.data)
    store = RunStore(runs_folder(Path.cwd()))
    if args.force:
        store.forget(experiment.key)
    record = run(experiment, store, device=args.device, data_root=args.data)
    print(json.dumps({"key": record.key, "metrics": record.metrics}))
    return 0


def run_table(args: argparse.Namespace) -> int:
    from mtpsl.experiments import run as runner
    from mtpsl.experiments.notebooks import runs_folder
    from mtpsl.experiments.render import render_markdown
    from mtpsl.records import RunStore

    table = choose_table(args.table)
    if args.data:
        require_use(table, args.data)
    root = checkout()
    store = RunStore(runs_folder(root))
    what = {"profile": args.profile, "seeds": range(args.seeds)}
    where = {"device": args.device, "data_root": args.data}
    if runner.train_missing([table], store, jobs=args.jobs, force=args.force, **what, **where):
        print("some runs failed; the same command tries them again", file=sys.stderr)
        return 1
    computed = runner.run_table(table, store, **what, **where)
    print(render_markdown(table, recorded(table, root / "figures"), computed), end="")
    return 0


def require_use(table: "Table", data: str) -> None:
    """Refuses a folder of data that no row of the table is about."""
    from mtpsl.data import find_class, recognize
    from mtpsl.experiments.train import REAL, bind_data

    wanted = {e.dataset for row in table.rows for e in row.experiments}
    bound = {bind_data(e, data).dataset for row in table.rows for e in row.experiments}
    if bound and all(find_class(name).stand_in for name in bound):
        real = ", ".join(sorted(REAL.get(name, name) for name in wanted))
        raise UsageError(f"--data: expected a folder of {real}, got {data}, of {recognize(data)}")


def show(args: argparse.Namespace) -> int:
    """A table from what is recorded; trains nothing."""
    from mtpsl.experiments import render

    table = choose_table(args.table)
    formats = {
        "markdown": render.render_markdown,
        "html": render.render_html,
        "csv": render.render_csv,
    }
    print(formats[args.format](table, recorded(table, checkout() / "figures"), None), end="")
    return 0


def audit(args: argparse.Namespace) -> int:
    from mtpsl.experiments import audit

    return audit.main()


def cost(args: argparse.Namespace) -> int:
    """Parameters and operations at the paper's size, beside [HiTTs, Table 8]."""
    from mtpsl.experiments import costs

    print(json.dumps(list(costs.cost_rows()), indent=1) if args.json else costs.cost_text())
    return 0


def predict(args: argparse.Namespace) -> int:
    """What a trained network says of a folder of pictures."""
    from mtpsl.experiments.notebooks import runs_folder
    from mtpsl.plots.predicted import predict_folder
    from mtpsl.records import RunStore

    run, pictures, out = (Path(path).expanduser() for path in (args.run, args.pictures, args.out))
    is_key = len(run.parts) == 1 and not run.is_dir()
    store = RunStore(runs_folder(Path.cwd()) if is_key else run.absolute().parent)
    summary = predict_folder(run.name, store, pictures, out, device=args.device)
    print(f"{out}: {len(summary['pictures'])} pictures; overview.png shows some of them")
    for entry in summary["pictures"]:
        for task, cut in entry["cut_off"].items():
            told = f"{cut['above']} pixels above and {cut['below']} below what 16 bits hold"
            print(f"{out / entry['folder'] / task}.png: {told}, which the .npy file keeps")
    return 0


def data_check(args: argparse.Namespace) -> int:
    from mtpsl.data import DATASETS
    from mtpsl.data.check import check, write_sheet

    if args.what not in DATASETS and not Path(args.what).expanduser().exists():
        known = [name for name, kind in DATASETS.items() if kind.stand_in]
        hint = _nearest(args.what, known)
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
    from mtpsl.data.convert import convert

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
    from mtpsl.data.sources import sources_text

    print(sources_text())
    return 0


def records(args: argparse.Namespace) -> int:
    from mtpsl.experiments.notebooks import output_folder, runs_folder
    from mtpsl.experiments.run import fill_records
    from mtpsl.records import RunStore

    root = checkout()
    failed = fill_records(
        choose_tables(args.only),
        output_folder(args.profile, root),
        RunStore(runs_folder(root)),
        profile=args.profile,
        seeds=range(args.seeds),
        jobs=args.jobs,
        device=args.device,
        data_root=args.data,
    )
    if failed:
        print(f"{failed} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


# ------------------------------------------------------------------- lookups


def tables() -> Mapping[str, "Table"]:
    """``paper/table`` -> table, for all papers."""
    from mtpsl.experiments.register import TABLES

    return TABLES


def choose_table(name: str) -> "Table":
    """By ``paper/table``, or by the table's own name where only one paper has it."""
    known = tables()
    fitting = [full for full in known if name in (full, full.partition("/")[2])]
    if len(fitting) == 1:
        return known[fitting[0]]
    if fitting:
        raise UsageError(f"table: expected one paper's, got {name!r}; say {' or '.join(fitting)}")
    words = [*known, *(full.partition("/")[2] for full in known)]
    hint = _nearest(name, words)
    expected = "one that `mtpsl list` names" if hint else f"one of {list(known)}"
    raise UsageError(f"table: expected {expected}, got {name!r}{hint}")


def choose_tables(only: str) -> list["Table"]:
    """Those whose name contains one of the comma-separated parts; all without any."""
    known = tables()
    parts = only.replace(",", " ").split()
    for part in parts:
        if not any(part in name for name in known):
            hint = _nearest(part, [*known, *(name.partition("/")[2] for name in known)])
            expected = "a name that `mtpsl list` shows" if hint else str(list(known))
            raise UsageError(f"--only: expected a part of {expected}, got {part!r}{hint}")
    return [t for name, t in known.items() if not parts or any(part in name for part in parts)]


def recorded(table: "Table", folder: Path) -> "Results | None":
    """What the repository has; None, and a word on stderr, where that is damaged."""
    from mtpsl import files
    from mtpsl.experiments.results import load_recorded

    try:
        return load_recorded(folder / table.paper / f"{table.name}.json", table)
    except FileNotFoundError:
        return None
    except files.Damaged as error:
        print(f"recorded results are damaged and left out: {error}", file=sys.stderr)
        return None


def checkout() -> Path:
    from mtpsl.experiments import notebooks

    try:
        return notebooks.checkout()
    except notebooks.UsageError as error:
        raise UsageError(str(error)) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


# -------------------------------------------------------------- command line

PASSED_ON = {  # commands with an argument parser of their own
    "reproduce": "run all notebooks: every table and figure (see reproduce --help)",
    "bench": "time and memory of a training step (see bench --help)",
}


def make_parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m mtpsl", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, function: Any, summary: str, example: str = "") -> argparse.ArgumentParser:
        epilog = f"example:\n  python -m mtpsl {example}" if example else None
        command = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog, formatter_class=raw
        )
        command.set_defaults(function=function)
        return command

    command = add("list", list_everything, "tables, figures and notebooks, and how far they are")
    _add_profile(command, "smoke")
    command = add(
        "run",
        run,
        "train what a table lacks and print it, or one experiment",
        "run hitts/table1 --profile smoke --seeds 1",
    )
    command.add_argument("table", nargs="?", help="hitts/table1, or table1")
    command.add_argument("--experiment", metavar="FILE", help="a run's experiment.json")
    _add_profile(command, "smoke")
    _add_running(command, seeds=1)
    command.add_argument("--force", action="store_true", help="train again what is done")
    summary = "predict a folder of pictures with a trained run: maps as PNG and .npy, and a sheet"
    command = add("predict", predict, summary, "predict runs/1a2b3c4d5e6f ~/photos ~/predicted")
    command.add_argument("run", metavar="RUN", help="a run's folder, or its key")
    command.add_argument("pictures", metavar="PICTURES", help="a folder of .png and .jpg files")
    command.add_argument("out", metavar="OUT", help="a new folder")
    _add_device(command)
    summary = "a table from the recorded results; trains nothing"
    command = add("show", show, summary, "show hitts/table1")
    command.add_argument("table", help="hitts/table1, or table1")
    command.add_argument("--format", choices=("markdown", "html", "csv"), default="markdown")
    add("audit", audit, "recompute the printed numbers that can be recomputed; list the errata")
    command = add("cost", cost, "parameters and FLOPs beside the printed ones of HiTTs Table 8")
    command.add_argument("--json", action="store_true", help="exact numbers, for programs")
    summary = "check a data set, convert it, or say where it comes from"
    command = commands.add_parser("data", help=summary, description="Data sets.")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "report on a stand-in or a folder: counts, ranges, classes, axes"
    command = actions.add_parser("check", help=summary, description=summary)
    command.add_argument(
        "what", metavar="NAME_OR_PATH", help="rooms13, streets7, people21, or a folder: ~/nyuv2"
    )
    command.add_argument(
        "--all", action="store_true", help="read every image of a folder, not only 32 of each split"
    )
    command.add_argument(
        "--sheet", metavar="FILE.png", help="draw images and labels of the test split into a file"
    )
    command.set_defaults(function=data_check)
    summary = "any layout -> the preprocessed .npy tree; stop and start at any time"
    command = actions.add_parser("convert", help=summary, description=summary)
    command.add_argument("source", metavar="SOURCE", help="a folder that `data check` knows")
    command.add_argument("target", metavar="TARGET", help="a new folder, or one to go on with")
    sizes = "default: the papers', 288 x 384 (NYUD-v2), 128 x 256 (Cityscapes), 512 x 512 (PASCAL)"
    command.add_argument("--height", type=int, help=sizes)
    command.add_argument("--width", type=int, help="as --height")
    command.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    command.set_defaults(function=data_convert)
    summary = "where each data set is obtained, under which terms, and what to download"
    command = actions.add_parser("sources", help=summary, description=summary)
    command.set_defaults(function=data_sources)
    command = add(
        "records",
        records,
        "train what is not recorded yet, seed 0 of every row first; stop and start at any time",
        "records --only hitts/table1 --seeds 3 --jobs 2",
    )
    _add_profile(command, "quick")
    _add_running(command, seeds=3)
    command.add_argument("--only", default="", help="parts of tables' names, comma-separated")
    for name, summary in PASSED_ON.items():
        commands.add_parser(name, help=summary, add_help=False)
    return parser


def _add_profile(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument(
        "--profile",
        default=default,
        help="smoke (seconds a run), quick (minutes) or full (the paper's settings, for GPUs); "
        "default: %(default)s",
    )


def _add_running(command: argparse.ArgumentParser, seeds: int) -> None:
    command.add_argument(
        "--seeds", type=int, default=seeds, help="how many, from 0; default: %(default)s"
    )
    command.add_argument("--jobs", type=int, default=1, help="runs side by side; default: 1")
    _add_device(command)
    command.add_argument(
        "--data",
        default="",
        help="folder of NYUD-v2, Cityscapes or PASCAL-Context on disk, which replaces its "
        "stand-in, or the one that an experiment on your own data is about; default: none",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N"
    )


def check_arguments(args: argparse.Namespace) -> None:
    """What argparse does not look at."""
    if "profile" in args:
        from mtpsl.experiments.profiles import PROFILES

        if args.profile not in PROFILES:
            hint = _nearest(args.profile, PROFILES)
            raise UsageError(
                f"--profile: expected one of {list(PROFILES)}, got {args.profile!r}{hint}"
            )
    for name in ("seeds", "jobs", "height", "width", "workers"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: expected at least 1, got {value}")
    if getattr(args, "data", ""):
        args.data = str(Path(args.data).expanduser().resolve())
        if not Path(args.data).is_dir():
            raise UsageError(f"--data: expected a folder, got {args.data}")
    if "device" in args:
        from mtpsl.experiments.run import resolve_device

        try:
            resolve_device(args.device)
        except ValueError as error:
            raise UsageError(f"--{error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    if argv and not argv[0].startswith("-") and argv[0] not in commands.choices:
        hint = _nearest(argv[0], commands.choices)
        parser.error(f"expected one of {', '.join(commands.choices)}, got {argv[0]!r}{hint}")
    if argv and argv[0] in PASSED_ON:
        if argv[0] == "bench":
            from mtpsl.benchmark import main as passed_on
        else:
            from mtpsl.experiments.reproduce import main as passed_on
        return passed_on(argv[1:])
    args = parser.parse_args(argv)
    try:
        check_arguments(args)
        return args.function(args)
    except UsageError as error:
        print(f"mtpsl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nmtpsl: interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("MTPSL_TRACEBACK") == "1":
            raise
        print(f"mtpsl: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
