"""``loopline compare``: a model on chips, counts and strategies, as rows."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.executors import (
    AddressOption,
    ExecutorOption,
    PlacementOption,
    TimeoutOption,
    make_executor,
)
from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, Output, check_files, output_form, write


@takes()
def compare(
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    placement: PlacementOption = "pack",
    timeout: TimeoutOption = 60.0,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw stacked bars into this .png or .svg file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Also write a Perfetto trace: .json or .pftrace")] = None,
    **asked: Any,
) -> None:
    """Price a model on chips, counts and strategies: where does the time go, and what do kernel boundaries cost?

    loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16

    loopline compare llama-3.1-8b --chips h100 --launch eager --plot eager.png

    loopline compare llama-3.1-70b --chips b200 --count 8 --phase prefill --json

    loopline compare llama-3.1-8b --chips sn40l --count 8 -o rows.parquet

    loopline compare llama-3.1-8b --chips sn40l --count 8 --trace trace.pftrace
    """
    from rich.console import Console

    from results.pictures.kinds import plot_breakdown
    from results.store import save
    from results.table import print_comparison
    from scenarios import pricing
    from scenarios.anatomy.trace import write_points
    from scenarios.bands import too_close
    from scenarios.strategies import STRATEGIES

    form = output_form(csv=csv, json=json)
    check_files(output=output, plot=plot, trace=trace)
    asked["strategy"] = asked["strategy"] or list(STRATEGIES)
    where = make_executor(executor, address, placement, timeout)
    with Console(stderr=True).status("pricing" if where.name == "local" else f"ranks at work ({where.name})"):
        points = list(pricing.grid(**asked))
        prices = pricing.price(points, executor=where).checked()
    frame = prices.frame()
    near = too_close(frame, {point.chip.name: point.chip for point in points})
    print_comparison(frame, sys.stdout, form=form, too_close=near)
    write(output, partial(save, frame))
    write(plot, partial(plot_breakdown, frame))
    write(trace, partial(write_points, prices))
    if not frame["fits"].any():
        print(f"loopline: nothing fits: {frame['reason'].iloc[0]}.", file=sys.stderr)
        raise typer.Exit(1)
