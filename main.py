"""The command line: poses for a video, photos or a camera, or a report on what this machine can run.

Only arguments are read here, with the standard library alone (the options stand in engine/options.py); everything else
is imported once it is needed, so that `--help` is quick and a missing package ends in one line that says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from engine.options import Options

VERSION = "0.1.0"

EXIT_FAILURE = 1
"""Something unexpected: a fault of the program."""
EXIT_BAD_INPUT = 2
"""A person can put it right: the one line on stderr says how."""
EXIT_SOME_FAILED = 3
"""Of several sources some could not be processed; the others were."""
EXIT_INTERRUPTED = 130
"""Ctrl-C before the end of a file; what was read until then is written and whole. On a live source it is 0."""

EPILOG = """\
examples:
  PROGRAM --video demo
  PROGRAM --video walk.mp4 --output walk_pose.mp4 --poses walk.jsonl
  PROGRAM --video 0 --output none --poses ws://127.0.0.1:8765
  PROGRAM --video walk.mp4 --attention left_wrist
  PROGRAM --video day1.mp4 day2.mp4 clips/*.mov --output results
  PROGRAM --video 0 --duration 10
  PROGRAM --doctor

Ctrl-C ends a run early; what was done until then is kept as a whole file.
Exit codes: 0 done; 1 a fault of the program; 2 something to put right (one line says what); 3 some of several sources
failed; 130 stopped by Ctrl-C (143 by SIGTERM).
"""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the whole usage is one `--help` away."""

    def error(self, message: str) -> NoReturn:
        from engine.errors import one_line

        self.exit(EXIT_BAD_INPUT, f"error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Every option of the program, from the table in engine/options.py."""
    from engine.option_table import add_options
    from engine.options import GROUPS, WHAT, Options
    from engine.system.installation import program_command

    parser = OneLineParser(
        prog=program_command().removeprefix("python "),
        description="Human pose in real time, with a look into what the network attends to.",
        epilog=EPILOG.replace("PROGRAM", program_command()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for title in GROUPS:
        group: argparse._ActionsContainer = parser.add_argument_group(title) if title else parser
        if title == WHAT:
            group = group.add_mutually_exclusive_group()
        add_options(group, Options, title)
        if title == WHAT:
            group.add_argument("--version", action="version", version=f"kcam-pose {VERSION}")
    return parser


def read_options(argv: Sequence[str] | None) -> Options:
    """The options of a command line; ends the program where they do not fit each other."""
    from engine.option_table import options_of
    from engine.options import BENCHMARK, OUTPUT, WINDOW, Options

    parser = build_parser()
    given: dict[str, Any] = vars(parser.parse_args(argv))
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    options = Options(**given, given=frozenset(given))
    if options.benchmark and len(options.video) > 1:
        parser.error("--benchmark measures on one --video")
    if options.benchmark and (options.doctor or options.source is not None):
        parser.error("--benchmark goes with neither --doctor nor --source")
    for option in ("allow_remote", "allow_origin"):
        if option in given and not any(text.strip().lower().startswith("ws:") for text in options.poses):
            parser.error(f"--{option.replace('_', '-')} is about --poses ws://HOST:PORT, which is not given")
    for item in options_of(Options):  # none is silently ignored
        if item.name not in given:
            continue
        if item.group == BENCHMARK and not options.benchmark:
            parser.error(f"{item.flag} needs --benchmark")
        if item.group == OUTPUT and item.name != "overwrite" and (options.benchmark or not options.video):
            parser.error(f"{item.flag} needs --video" + (" and no --benchmark" if options.benchmark else ""))
        if item.group == WINDOW and (options.video or options.benchmark or options.doctor):
            parser.error(f"{item.flag} goes with none of --video, --benchmark and --doctor")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the checkout runs under whatever `python` is
        print("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0], file=sys.stderr)
        return EXIT_BAD_INPUT
    from engine.system.console import any_character

    any_character()
    options = read_options(argv)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error, options.verbose)


def _run(options: Options) -> int:
    if options.offline:
        os.environ["KCAM_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"  # child processes inherit it
    if options.doctor:
        from engine.doctor import run_doctor

        return run_doctor()
    if options.benchmark:
        from engine.benchmark.command import run_benchmark

        return run_benchmark(options)
    if options.video:
        from engine.output.run_many import run_sources

        return run_sources(options)
    from app.launch import launch

    return launch(options)


def _report(error: Exception, verbose: bool) -> int:
    """One line for a person, the traceback when it is wanted."""
    from engine.errors import EngineError, one_line
    from engine.system.entry import from_outside
    from engine.system.missing import explain_import_error

    if verbose:
        traceback.print_exception(error)
    if from_outside(error):
        raise error
    if isinstance(error, EngineError):
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:  # a file or folder that may not be read
        print(f"error: {one_line(error.filename2 or error.filename)}: {error.strerror}", file=sys.stderr)
        return EXIT_BAD_INPUT
    advice = explain_import_error(error) if isinstance(error, ImportError) else None
    if advice is not None:
        print(f"error: {advice}", file=sys.stderr)
        return EXIT_BAD_INPUT
    hint = "" if verbose else " (a fault of the program; --verbose shows where)"
    print(f"error: {type(error).__name__}: {one_line(error)}{hint}", file=sys.stderr)
    return EXIT_FAILURE


def command() -> int:
    """The installed command `kcam-pose`; ends as `python main.py` does."""
    from engine.system.entry import run_command

    return run_command(main)


if __name__ == "__main__":
    from engine.system.entry import run_command

    raise SystemExit(run_command(main))
