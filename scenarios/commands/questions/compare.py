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
    energy: Annotated[bool, typer.Option("--energy", help="Also show joules: how many, and of what.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Also show joules, and what a million tokens cost.")] = False,
    dollars_per_chip_hour: Annotated[
        float | None, typer.Option(help="US dollars an hour of a chip, for --cost (default: a list price of 2025).")
    ] = None,
    dollars_per_kilowatt_hour: Annotated[
        float | None, typer.Option(help="US dollars a kilowatt hour, for --cost (default: US industry, 2024).")
    ] = None,
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

    loopline compare llama-3.1-8b --chips h100 --batch 32 --cost
    """
    from rich.console import Console

    from results.energy_table import print_energy
    from results.pictures.kinds import plot_breakdown
    from results.store import save
    from results.table import print_comparison
    from scenarios import pricing
    from scenarios.anatomy.trace import write_points
    from scenarios.bands import too_close
    from scenarios.cost import with_cost
    from scenarios.errors import ScenarioError
    from scenarios.strategies import STRATEGIES

    form = output_form(csv=csv, json=json)
    check_files(output=output, plot=plot, trace=trace)
    if not cost and (dollars_per_chip_hour is not None or dollars_per_kilowatt_hour is not None):
        raise ScenarioError(
            "--dollars-per-chip-hour and --dollars-per-kilowatt-hour are prices for --cost; give it too."
        )
    asked["strategy"] = asked["strategy"] or list(STRATEGIES)
    where = make_executor(executor, address, placement, timeout)
    with Console(stderr=True).status("pricing" if where.name == "local" else f"ranks at work ({where.name})"):
        points = list(pricing.grid(**asked))
        prices = pricing.price(points, executor=where).checked()
    frame = prices.frame()
    if cost:
        frame = with_cost(
            frame, dollars_per_chip_hour=dollars_per_chip_hour, dollars_per_kilowatt_hour=dollars_per_kilowatt_hour
        )
    near = too_close(frame, {point.chip.name: point.chip for point in points})
    print_comparison(frame, sys.stdout, form=form, too_close=near)
    if form == "table" and (energy or cost):
        print_energy(frame, sys.stdout)
    write(output, partial(save, frame))
    write(plot, partial(plot_breakdown, frame))
    write(trace, partial(write_points, prices))
    if not frame["fits"].any():
        print(f"loopline: nothing fits: {frame['reason'].iloc[0]}.", file=sys.stderr)
        raise typer.Exit(1)
