"""The command line: ``python -m mtpsl COMMAND``; ``--help`` teaches it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mtpsl.commands import COMMANDS, GROUPS
from mtpsl.places import UsageError, nearest

DESCRIPTION = "Multi-task dense prediction from partially labeled data: four papers, one protocol."
EPILOG = """\
start here:
  python -m mtpsl list                      what can be reproduced, and how far it is
  python -m mtpsl run hitts/table1          train every row of a table: seconds a row at smoke
  python -m mtpsl show hitts/table1         printed and recorded numbers, and which claims hold
  python -m mtpsl reproduce                 every notebook, table and figure

then:
  python -m mtpsl run hitts/table1 --profile quick --seeds 3 --jobs 2
  python -m mtpsl new own --data ~/my-images > experiment.json
  python -m mtpsl run --experiment experiment.json --data ~/my-images
  python -m mtpsl data sources              where data sets come from, and under which terms
  python -m mtpsl data check ~/nyuv2        what is in a folder, before training on it
  python -m mtpsl data convert ~/NYUD_MT ~/nyuv2
  python -m mtpsl predict runs/1a2b3c4d5e6f ~/photos ~/predicted
  python -m mtpsl records --device cuda --jobs 4

Runs are kept in runs/ of a checkout, and elsewhere in your data folder (~/.local/share/mtpsl on
Linux), or in MTPSL_RUNS, under a key that says everything that decides a number, so nothing is
trained twice and an interrupted command goes on where it stopped. Generated images are kept in
your cache folder (~/.cache/mtpsl on Linux), or in MTPSL_CACHE. Recorded results are in figures/
of a checkout, or in MTPSL_FIGURES. MTPSL_PROGRESS=0 hides progress bars; MTPSL_TRACEBACK=1 shows
where an error comes from.

exit status: 0 done, 1 something failed, 2 bad usage
"""


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of all commands, and the names that may come first."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m mtpsl", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw
    )
    first = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    groups = {"": first}
    for name, (function, options, example) in COMMANDS.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            of_group = first.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = of_group.add_subparsers(dest="action", metavar="ACTION", required=True)
        summary = function.__doc__.partition("\n")[0].rstrip(".")
        made = groups[group].add_parser(
            last,
            help=summary[0].lower() + summary[1:],
            description=summary,
            epilog=f"example:\n  python -m mtpsl {name} {example}" if example else None,
            formatter_class=raw,
        )
        for names, how in options:
            made.add_argument(*names, **how)
        made.set_defaults(function=function)
    return parser, first.choices


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses what argparse does not look at."""
    for name in ("seeds", "jobs", "height", "width", "workers"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: expected at least 1, got {value}")
    if getattr(args, "data", ""):
        folder = Path(args.data).expanduser()
        if not folder.is_dir():
            raise UsageError(f"--data: expected a folder, got {args.data}")
        args.data = str(folder.resolve())
    if "what" in args and not Path(args.what).expanduser().exists():
        from mtpsl.data import DATASETS

        known = [name for name, kind in DATASETS.items() if kind.stand_in]
        if args.what not in known:
            got = f"{args.what!r}{nearest(args.what, known)}"
            raise UsageError(f"data check: expected a folder or one of {known}, got {got}")
    try:
        if "profile" in args:
            from mtpsl.runs.profiles import get_profile

            get_profile(args.profile)
        if "device" in args:
            from mtpsl.runs.store import resolve_device

            resolve_device(args.device)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser, known = make_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        hint = nearest(argv[0], known)
        parser.error(f"expected one of {', '.join(known)}, got {argv[0]!r}{hint}")
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
    except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
        if os.environ.get("MTPSL_TRACEBACK") == "1":
            raise
        print(f"mtpsl: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
