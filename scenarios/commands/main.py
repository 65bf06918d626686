"""The command line: ``loopline``, whose commands are those of ``scenarios.commands.registry``.

Results go to standard output or the file asked for, everything else to standard error. A user's mistake is answered
in one sentence and exit code 2. Imports stay inside the commands, so that help and errors come at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from contextlib import suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated, NoReturn

import typer

from results.errors import LooplineError
from scenarios.commands.completion import ASKED, spread_words
from scenarios.commands.mistakes import told
from scenarios.commands.quiet import errors_only
from scenarios.commands.registry import HELP_NAMES, LazyCommands, spread_line
from scenarios.commands.streams import prepare_streams, unwritten

QUIET = ("--quiet", "-q")

app = typer.Typer(
    help="What kernel boundaries cost when a cluster of AI accelerators runs Llama, and what removing them wins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
    cls=LazyCommands,
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``loopline``. Always ends in SystemExit, with the exit code of the command."""
    words = sys.argv[1:] if arguments is None else arguments
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if current_thread() is main_thread() and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    prepare_streams()
    try:
        sys.exit(_run(words))
    except LooplineError as error:
        _refuse(str(error))
    except typer.TyperException as error:
        _refuse(told(error, words))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except OSError as error:
        _refuse(unwritten(error), 0 if error.errno == errno.EPIPE else 2)


def _run(words: list[str]) -> int:
    """The exit code of the command, once all that it prints is written. Raises OSError where it cannot be."""
    command = typer.main.get_command(app)
    if ASKED in os.environ:
        spread_words(spread_line)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            code: int | None = command(args=_quiet_first(words), prog_name="loopline", standalone_mode=False)
    except SystemExit as ended:  # the parser's, who takes a closed pipe for a code of its own
        if isinstance(ended.__context__, OSError):
            raise ended.__context__ from None
        raise
    finally:
        sys.stdout.flush()
    return code or 0


def _note(message: Warning | str, *where: object, **more: object) -> None:
    """A warning as a sentence, without the line of code that gave it."""
    print(f"note: {message}", file=sys.stderr)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """What is asked to end leaves nothing behind, as after Ctrl-C; the exit code is a shell's for that signal."""
    sys.exit(128 + number)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"loopline {version('loopline')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[
        bool,
        typer.Option(*QUIET, help="Of every command: only results and errors, no notes, no progress."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if quiet:
        context.with_resource(errors_only(sys.stderr))


def _refuse(sentence: str, code: int = 2) -> NoReturn:
    with suppress(OSError):  # where there is nobody to tell, the code still tells
        if sentence:  # empty where the parser has printed the help instead
            print(f"loopline: {sentence if sentence.endswith('?') else sentence.rstrip('.') + '.'}", file=sys.stderr)
    sys.exit(code)


def _quiet_first(arguments: list[str]) -> list[str]:
    """``--quiet`` belongs to every command, wherever it stands."""
    quiet = [argument for argument in arguments if argument in QUIET]
    return quiet + [argument for argument in arguments if argument not in QUIET]
