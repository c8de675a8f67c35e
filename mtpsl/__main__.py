"""The command line: ``python -m mtpsl COMMAND``; ``--help`` teaches it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtpsl import commands
from mtpsl.commands import UsageError, nearest

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


PASSED_ON = {  # commands with an argument parser of their own
    "reproduce": "run all notebooks: every table and figure (see reproduce --help)",
}
TABLE = "hitts/table1, or table1"
PAPERS_SIZES = "the papers', 288 x 384 (NYUD-v2), 128 x 256 (Cityscapes)"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m mtpsl",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    summary = "tables, figures and notebooks, and how far they are"
    command = _add(known, "list", commands.list_everything, summary)
    _add_profile(command, "smoke")
    summary = "train what a table lacks and print it, or one experiment"
    command = _add(known, "run", commands.run, summary, "hitts/table1 --profile smoke --seeds 1")
    command.add_argument("table", nargs="?", help=TABLE)
    command.add_argument("--experiment", metavar="FILE", help="a run's experiment.json")
    _add_profile(command, "smoke")
    _add_running(command, seeds=1)
    command.add_argument("--force", action="store_true", help="train again what is done")
    summary = "predict a folder of pictures with a trained run: maps as PNG and .npy, and a sheet"
    example = "runs/1a2b3c4d5e6f ~/photos ~/predicted"
    command = _add(known, "predict", commands.predict, summary, example)
    command.add_argument("run", metavar="RUN", help="a run's folder, or its key")
    command.add_argument("pictures", metavar="PICTURES", help="a folder of .png and .jpg files")
    command.add_argument("out", metavar="OUT", help="a new folder")
    _add_device(command)
    summary = "a table from the recorded results; trains nothing"
    command = _add(known, "show", commands.show, summary, "hitts/table1")
    command.add_argument("table", help=TABLE)
    command.add_argument("--format", choices=("markdown", "html", "csv"), default="markdown")
    summary = "recompute the printed numbers that can be recomputed; list the errata"
    _add(known, "audit", commands.audit, summary)
    summary = "parameters and FLOPs of the papers' networks, beside the printed ones"
    command = _add(known, "cost", commands.cost, summary)
    command.add_argument("--json", action="store_true", help="exact numbers, for programs")
    summary = "check a data set, convert it, or say where it comes from"
    _add_data(known.add_parser("data", help=summary, description="Data sets."))
    summary = (
        "train what is not recorded yet, seed 0 of every row first; stop and start at any time"
    )
    example = "--only hitts/table1 --seeds 3 --jobs 2"
    command = _add(known, "records", commands.records, summary, example)
    _add_profile(command, "quick")
    _add_running(command, seeds=3)
    command.add_argument("--only", default="", help="parts of tables' names, comma-separated")
    for name, summary in PASSED_ON.items():
        known.add_parser(name, help=summary, add_help=False)
    return parser


def _add(
    known: Any, name: str, function: Any, summary: str, example: str = ""
) -> argparse.ArgumentParser:
    """A command that calls a function with its parsed arguments."""
    command = known.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  python -m mtpsl {name} {example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(function=function)
    return command


def _add_data(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "report on a stand-in or a folder: counts, ranges, classes, axes"
    command = _add(actions, "check", commands.data_check, summary)
    what = "rooms13, streets7, people21, or a folder: ~/nyuv2"
    command.add_argument("what", metavar="NAME_OR_PATH", help=what)
    every = "read every image of a folder, not only 32 of each split"
    command.add_argument("--all", action="store_true", help=every)
    sheet = "draw images and labels of the test split into a file"
    command.add_argument("--sheet", metavar="FILE.png", help=sheet)
    summary = "any layout -> the preprocessed .npy tree; stop and start at any time"
    command = _add(actions, "convert", commands.data_convert, summary)
    command.add_argument("source", metavar="SOURCE", help="a folder of NYUD-v2 or Cityscapes")
    command.add_argument("target", metavar="TARGET", help="a new folder, or one to go on with")
    command.add_argument("--height", type=int, help=f"default: {PAPERS_SIZES}")
    command.add_argument("--width", type=int, help="as --height")
    command.add_argument("--workers", type=int, default=1, help="processes; default: 1")
    summary = "where each data set is obtained, under which terms, and what to download"
    _add(actions, "sources", commands.data_sources, summary)


def _add_profile(command: argparse.ArgumentParser, default: str) -> None:
    what = "smoke (seconds a run), quick (minutes) or full (the paper's settings, for GPUs)"
    command.add_argument("--profile", default=default, help=f"{what}; default: %(default)s")


def _add_running(command: argparse.ArgumentParser, seeds: int) -> None:
    how_many = "how many, from 0; default: %(default)s"
    command.add_argument("--seeds", type=int, default=seeds, help=how_many)
    command.add_argument("--jobs", type=int, default=1, help="runs side by side; default: 1")
    _add_device(command)
    command.add_argument(
        "--data",
        default="",
        help="folder of NYUD-v2, Cityscapes or PASCAL-Context on disk, which replaces its "
        "stand-in, or the one that an experiment on your own data is about; default: none",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    which = "auto (a GPU where there is one), cpu, cuda or cuda:N"
    command.add_argument("--device", default="auto", help=which)


def check_arguments(args: argparse.Namespace) -> None:
    """What argparse does not look at."""
    for name in ("seeds", "jobs", "height", "width", "workers"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: expected at least 1, got {value}")
    if getattr(args, "data", ""):
        args.data = str(Path(args.data).expanduser().resolve())
        if not Path(args.data).is_dir():
            raise UsageError(f"--data: expected a folder, got {args.data}")
    try:
        if "profile" in args:
            from mtpsl.runs.profiles import get_profile

            get_profile(args.profile)
        if "device" in args:
            from mtpsl.runs.session import resolve_device

            resolve_device(args.device)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    (known,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    if argv and not argv[0].startswith("-") and argv[0] not in known.choices:
        hint = nearest(argv[0], known.choices)
        parser.error(f"expected one of {', '.join(known.choices)}, got {argv[0]!r}{hint}")
    if argv and argv[0] in PASSED_ON:
        from mtpsl.reproduce import main as passed_on

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
    except BrokenPipeError:  # of ``mtpsl list | head``: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get("MTPSL_TRACEBACK") == "1":
            raise
        print(f"mtpsl: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
