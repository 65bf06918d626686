"""The command line: ``loopline`` and the list of its commands, which are modules of ``scenarios.commands``.

Results go to standard output or the file asked for, everything else to standard error. A user's mistake is answered
in one sentence and exit code 2. Imports stay inside the commands, so that help and errors come at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from scenarios.commands.completion import ASKED, prepare
from scenarios.commands.machines import bandwidth, fit, roofline, schedule, systolic, tiles, tpu_v1, training
from scenarios.commands.machines.allreduce import command as allreduce
from scenarios.commands.mistakes import told
from scenarios.commands.questions import catalog, compare, plot, report, run, serve, sweep
from scenarios.commands.quiet import errors_only
from scenarios.commands.reality import accuracy, calibrate, generate, validate

QUIET = ("--quiet", "-q")

app = typer.Typer(
    help="What kernel boundaries cost when a cluster of AI accelerators runs Llama, and what removing them wins.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Options that take one or more values after a single mention: --count 1 2 4 8
SEVERAL = (
    "--chips",
    "--count",
    "--ranks",
    "--concurrency",
    "--strategy",
    "--shape",
    "--hidden",
    "--where",
    "--bytes",
    "--algorithm",
    "--late",
    "--set",
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``loopline``. Always ends in SystemExit, with the exit code of the command."""
    from chips.spec import CatalogError
    from cluster.errors import ClusterError
    from results.atomic_file import OutputError
    from results.errors import ReadError, SchemaError
    from scenarios.errors import ScenarioError

    words = sys.argv[1:] if arguments is None else arguments
    try:
        given = _spread(_quiet_first(words))
        command = typer.main.get_command(app)
        if ASKED in os.environ:
            prepare(command, _spread)
        sys.exit(command(args=given, prog_name="loopline", standalone_mode=False))
    except (CatalogError, ClusterError, OutputError, ReadError, SchemaError, ScenarioError) as error:
        _refuse(str(error))
    except typer.TyperException as error:
        _refuse(told(error, words))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[
        bool,
        typer.Option(*QUIET, help="Of every command: only results and errors, no notes, no progress."),
    ] = False,
) -> None:
    if quiet:
        context.with_resource(errors_only(sys.stderr))


def _refuse(sentence: str) -> NoReturn:
    if sentence:  # empty where the parser has printed the help instead
        print(f"loopline: {sentence if sentence.endswith('?') else sentence.rstrip('.') + '.'}", file=sys.stderr)
    sys.exit(2)


def _quiet_first(arguments: list[str]) -> list[str]:
    """``--quiet`` belongs to every command, wherever it stands."""
    quiet = [argument for argument in arguments if argument in QUIET]
    return quiet + [argument for argument in arguments if argument not in QUIET]


def _spread(arguments: list[str]) -> list[str]:
    """Repeat an option of ``SEVERAL`` before each of its values, which is how the parser takes them."""
    spread: list[str] = []
    option, valued = "", True
    for argument in [*arguments, "--"]:
        if not argument.startswith("-"):
            spread += [option, argument] if option else [argument]
            valued = True
            continue
        if not valued:
            spread.append(option)  # left without a value, for the parser to complain
        option = argument if argument in SEVERAL else ""
        valued = not option
        if valued:
            spread.append(argument)
    return spread[:-1]


QUESTIONS, MACHINES, TRUST = "Ask", "Look inside of a machine", "Hold it against reality"
app.command("compare", rich_help_panel=QUESTIONS)(compare.compare)
app.command("scenarios", rich_help_panel=QUESTIONS)(run.scenarios)
app.command("run", rich_help_panel=QUESTIONS)(run.run)
app.command("serve", rich_help_panel=QUESTIONS)(serve.serve)
app.command("sweep", rich_help_panel=QUESTIONS)(sweep.sweep)
app.command("plot", rich_help_panel=QUESTIONS)(plot.plot)
app.command("report", rich_help_panel=QUESTIONS)(report.report)
app.command("chips", rich_help_panel=QUESTIONS)(catalog.chips)
app.command("models", rich_help_panel=QUESTIONS)(catalog.models)
app.command("bandwidth", rich_help_panel=MACHINES)(bandwidth.bandwidth)
app.command("roofline", rich_help_panel=MACHINES)(roofline.roofline)
app.command("training", rich_help_panel=MACHINES)(training.training)
app.command("allreduce", rich_help_panel=MACHINES)(allreduce.allreduce)
app.command("schedule", rich_help_panel=MACHINES)(schedule.schedule)
app.command("fit", rich_help_panel=MACHINES)(fit.fit)
app.command("tiles", rich_help_panel=MACHINES)(tiles.tiles)
app.command("systolic", rich_help_panel=MACHINES)(systolic.systolic)
app.command("tpu-v1", rich_help_panel=MACHINES)(tpu_v1.tpu_v1)
app.command("generate", rich_help_panel=TRUST)(generate.generate)
app.command("validate", rich_help_panel=TRUST)(validate.validate)
app.command("accuracy", rich_help_panel=TRUST)(accuracy.accuracy)
app.command("calibrate", rich_help_panel=TRUST)(calibrate.calibrate)
