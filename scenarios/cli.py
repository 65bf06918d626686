"""The command line: ``loopline``, its oldest commands, and the list of all. Parses and prints; computes nothing.

Results go to standard output or the file asked for, everything else to standard error. A user's mistake is answered
in one sentence and exit code 2. Imports stay inside the commands, so that help and errors come at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scenarios.commands import (
    accuracy,
    allreduce,
    bandwidth,
    calibrate,
    fit,
    generate,
    plot,
    report,
    roofline,
    run,
    schedule,
    sweep,
    systolic,
    tiles,
    tpu_v1,
)
from scenarios.completion import ASKED, prepare
from scenarios.executors import AddressOption, ExecutorOption, PlacementOption, make_executor
from scenarios.quiet import errors_only

if TYPE_CHECKING:
    from scenarios.point import Options

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
    "--strategy",
    "--shape",
    "--hidden",
    "--where",
    "--bytes",
    "--algorithm",
    "--late",
    "--set",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``loopline``. Always ends in SystemExit, with the exit code of the command."""
    from chips.spec import CatalogError
    from cluster.errors import ClusterError
    from results.atomic_file import OutputError
    from results.errors import ReadError, SchemaError
    from scenarios.errors import ScenarioError

    try:
        given = _spread(sys.argv[1:] if arguments is None else arguments)
        command = typer.main.get_command(app)
        if ASKED in os.environ:
            prepare(command, _spread)
        sys.exit(command(args=given, prog_name="loopline", standalone_mode=False))
    except (CatalogError, ClusterError, OutputError, ReadError, SchemaError, ScenarioError) as error:
        _refuse(str(error))
    except typer.TyperException as error:
        _refuse(error.format_message() if hasattr(error, "format_message") else str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only results and errors: no notes, no progress.")
    ] = False,
) -> None:
    if quiet:
        context.with_resource(errors_only(sys.stderr))


def _refuse(sentence: str) -> NoReturn:
    if sentence:  # empty where the parser has printed the help instead
        print(f"loopline: {sentence.rstrip('.')}.", file=sys.stderr)
    sys.exit(2)


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


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chips: Annotated[list[str], typer.Option("--chips", help="Chips of `loopline chips`, or paths of TOML files.")],
    count: Annotated[list[int], typer.Option("--count", help="Chips in the tensor-parallel group.")] = [1],  # noqa: B006
    phase: Annotated[str, typer.Option(help="decode | prefill | request | train")] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences side by side.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens of a sequence; a request's prompt and output.")] = 4096,
    output_tokens: Annotated[
        int | None, typer.Option(help="Output tokens of a request (default: half of the context).")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="per_operator | fused_decoder | kernel_loop (default: all)")
    ] = None,
    launch: Annotated[
        str, typer.Option(help="Who sequences launches: the host (eager, software) or the device (graph, hardware).")
    ] = "graph",
    framework: Annotated[
        str | None, typer.Option(help="What runs the model on GPUs: tensorrt-llm | vllm | sglang | pytorch | ...")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of weights and matrix products: bf16 | fp8 | int8")] = "bf16",
    variation: Annotated[
        str, typer.Option(help="How chips differ: clock=0.02,memory=0.01,seed=1,straggler=0.1@3,slow-link=1@2,failed=5")
    ] = "",
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    placement: PlacementOption = "pack",
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw stacked bars into this .png or .svg file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Also write a Perfetto trace: .json or .pftrace")] = None,
) -> None:
    """Price a model on chips, counts and strategies: where does the time go, and what do kernel boundaries cost?

    loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16 --phase decode --batch 1 --context 4096

    loopline compare llama-3.1-70b --chips h100 --count 8 --launch eager --plot eager.png

    loopline compare llama-3.1-8b --chips sn40l --count 8 --variation straggler=0.1@3
    """
    from contextlib import nullcontext

    from rich.console import Console

    from chips.spec import load_chip
    from results.plots import check_plot_path, plot_breakdown
    from results.table import print_comparison
    from results.trace import check_trace_path
    from scenarios import pricing
    from scenarios.point import Options
    from scenarios.strategies import STRATEGIES
    from scenarios.uncertainty import too_close

    form = run.output_form(csv=csv, json=json)
    if plot is not None:
        check_plot_path(plot)
    if trace is not None:
        check_trace_path(trace)

    strategies = strategy or list(STRATEGIES)
    options = Options(
        phase=phase,
        launch=launch,
        precision=precision,
        batch=batch,
        context=context,
        output_tokens=output_tokens,
        framework=framework,
        variation=variation,
    )
    where = make_executor(executor, address, placement)
    with nullcontext() if where.name == "local" else Console(stderr=True).status(f"ranks at work ({where.name})"):
        frame = pricing.compare(model, chips, count, strategy=strategies, executor=where, **options)
    near = too_close(frame, {chip.name: chip for chip in map(load_chip, chips)})
    print_comparison(frame, sys.stdout, form=form, too_close=near)
    if plot is not None:
        plot_breakdown(frame, plot)
        print(f"wrote {plot}", file=sys.stderr)
    if trace is not None:
        _write_trace(trace, model, chips, count, strategies, options)
    if not frame["fits"].any():
        print(f"loopline: nothing fits: {frame['reason'].iloc[0]}.", file=sys.stderr)
        raise typer.Exit(1)


def _write_trace(
    path: Path,
    model: str,
    chips: list[str],
    count: list[int],
    strategies: list[str],
    options: Options,
) -> None:
    from scenarios.point import make_point
    from scenarios.traced_points import write_points

    every = ((chip, number, name) for chip in chips for number in count for name in strategies)
    write_points((make_point(model, chip, number, strategy=name, **options) for chip, number, name in every), path)
    print(f"wrote {path}", file=sys.stderr)


@app.command("chips")
def chips_command(
    name: Annotated[str | None, typer.Argument(help="A chip: show its whole datasheet.")] = None,
    json: Json = False,
) -> None:
    """List the catalog with its key figures, or show one datasheet with the source of every number.

    loopline chips

    loopline chips sn40l
    """
    from chips.datasheet import datasheet, key_figures
    from results.table import print_records

    print_records(key_figures() if name is None else datasheet(name), sys.stdout, json=json)


@app.command("models")
def models_command(
    name: Annotated[str | None, typer.Argument(help="A model, or the path of a config.json.")] = None,
    json: Json = False,
) -> None:
    """List the models with their shapes, or show one with the tensor-parallel counts that divide it.

    loopline models llama-3.1-70b

    loopline models path/to/config.json --json
    """
    from results.table import print_records
    from scenarios.model import model_card, model_figures

    print_records(model_figures() if name is None else model_card(name), sys.stdout, json=json)


@app.command()
def validate(
    data: Annotated[Path | None, typer.Option(help="Folder of measured tables (default: the project's).")] = None,
    by: Annotated[str | None, typer.Option(help="Break each table down by this column.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="Also show this many of the worst rows of each table.")] = 0,
    json: Json = False,
) -> None:
    """Hold the simulator against measured kernels, collectives and published runs, and print its errors as they are.

    loopline validate

    loopline validate --by tp --worst 5
    """
    from scenarios.validate import render, to_json
    from scenarios.validate import validate as run

    results = run(data, by=by, worst=worst)
    if json:
        print(to_json(results))
    else:
        render(results, sys.stdout)


app.command("scenarios")(run.scenarios)
app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("allreduce")(allreduce.allreduce)
app.command("schedule")(schedule.schedule)
app.command("bandwidth")(bandwidth.bandwidth)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.command("roofline")(roofline.roofline)
app.command("tiles")(tiles.tiles)
app.command("accuracy")(accuracy.accuracy)
app.command("calibrate")(calibrate.calibrate)
app.command("systolic")(systolic.systolic)
app.command("tpu-v1")(tpu_v1.tpu_v1)
app.command("generate")(generate.generate)
app.command("fit")(fit.fit)
