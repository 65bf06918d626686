"""``loopline compare``: a model on chips, counts and strategies, as rows."""

from __future__ import annotations

import sys
from functools import partial
from math import prod
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
from scenarios.commands.output import (
    Csv,
    DollarsAKilowattHour,
    DollarsAnHour,
    Json,
    Output,
    check_files,
    output_form,
    show,
    write,
)
from scenarios.commands.ranking import ranking
from scenarios.inputs import INPUTS

MOST_COMPARED = 500  # rows


@takes(several=tuple(row.name for row in INPUTS if not row.argument and row.kind is not bool))
def compare(
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    placement: PlacementOption = "pack",
    timeout: TimeoutOption = 60.0,
    csv: Csv = False,
    json: Json = False,
    energy: Annotated[bool, typer.Option("--energy", help="Also show joules: how many, and of what.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="Also show joules, and what a million tokens cost.")] = False,
    dollars_per_chip_hour: DollarsAnHour = None,
    dollars_per_kilowatt_hour: DollarsAKilowattHour = None,
    sort: Annotated[
        str | None, typer.Option(help="One table, the best first: time | throughput | chips | joules | cost")
    ] = None,
    best: Annotated[int | None, typer.Option(help="Only so many of the best (at --sort time, unless given).")] = None,
    at_least: Annotated[
        list[str] | None, typer.Option("--at-least", help="Only rows with so much: --at-least tokens_per_s_user=50")
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option("--at-most", help="Only rows with no more: --at-most count=8 seconds=0.02")
    ] = None,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Also how uncertain constants move the rows; --plot, --json are of that."),
    ] = False,
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

    loopline compare llama-3.1-8b --chips h100 --batch 1 16 --precision bf16 fp8

    loopline compare llama-3.1-8b --chips h100 h200 --batch 1 64 --best 5

    loopline compare llama-3.1-8b --chips h100 --count 8 --sensitivity
    """
    from rich.console import Console

    from results.energy_table import print_energy
    from results.pictures.kinds import plot_breakdown, plot_sensitivity
    from results.store import save
    from results.table import print_comparison
    from results.views.sensitivity import print_sensitivities
    from scenarios import pricing
    from scenarios.anatomy.boundary import with_boundaries
    from scenarios.anatomy.sensitivity import MOVED, check_points, sensitivities
    from scenarios.anatomy.trace import write_points
    from scenarios.bands import too_close
    from scenarios.cost import with_cost
    from scenarios.errors import ScenarioError
    from scenarios.planning.ranking import check_goal, ranked, read_limit, with_shares, within
    from scenarios.quantities import check_count
    from scenarios.strategies import STRATEGIES

    form = output_form(csv=csv, json=json)
    check_files(output=output, plot=plot, trace=trace)
    if best is not None:
        check_count("--best", best)
    goal = "time" if sort is None and best is not None else sort
    if goal is not None:
        check_goal(goal, "--sort")
    limits = [read_limit(text, "--at-least", least=True) for text in at_least or ()]
    limits += [read_limit(text, "--at-most", least=False) for text in at_most or ()]
    costs = cost or goal == "cost"
    if not costs and (dollars_per_chip_hour is not None or dollars_per_kilowatt_hour is not None):
        raise ScenarioError(
            "--dollars-per-chip-hour and --dollars-per-kilowatt-hour are prices for --cost; give it too."
        )
    if sensitivity and form == "csv":
        raise ScenarioError("--sensitivity is a table, or with --json records; --csv has the rows alone.")
    given = {name: value for name, value in asked.items() if value not in (None, [])}
    rows = prod(len(value) for value in given.values() if isinstance(value, list))
    rows *= 1 if "strategy" in given else len(STRATEGIES)
    if rows > MOST_COMPARED:
        raise ScenarioError(
            f"these lists combine to {rows:,} rows, compare takes {MOST_COMPARED}; as lists of a scenario file, "
            "`loopline run` takes 20,000 and `loopline sweep` any number (docs/scenarios.md)."
        )
    where = make_executor(executor, address, placement, timeout)
    with Console(stderr=True).status("pricing" if where.name == "local" else f"ranks at work ({where.name})"):
        points = list(pricing.grid(**given))
        if sensitivity:
            check_points(points)
        prices = pricing.price(points, executor=where).checked()
        frame = with_boundaries(prices.frame(), points)
        records = sensitivities(**given) if sensitivity else []
    if costs:
        frame = with_cost(
            frame, dollars_per_chip_hour=dollars_per_chip_hour, dollars_per_kilowatt_hour=dollars_per_kilowatt_hour
        )
    if frame["fits"].any() and (limits or goal):
        frame = within(frame, limits)
        frame = frame if goal is None else with_shares(ranked(frame, goal).head(best or len(frame)), prices.points)
    kept = set(frame[list(MOVED)].itertuples(index=False, name=None))
    moved = [record for record in records if tuple(record[name] for name in MOVED) in kept]
    near = too_close(frame, {point.chip.name: point.chip for point in points})
    if sensitivity and form == "json":
        show(moved, json=True)
    elif goal is not None and form == "table" and frame["fits"].any():
        lists = [name for name, value in given.items() if isinstance(value, list) and len(value) > 1]
        show(ranking(frame, ["strategy", *lists]), json=False)
    else:
        print_comparison(frame, sys.stdout, form=form, too_close=near)
    if form == "table" and (energy or cost):
        print_energy(frame, sys.stdout)
    if form == "table" and sensitivity:
        print_sensitivities(moved, sys.stdout)
    write(output, partial(save, frame))
    write(plot, partial(plot_sensitivity, moved, frame) if moved else partial(plot_breakdown, frame))
    write(trace, partial(write_points, prices))
    if not frame["fits"].any():
        print(f"loopline: nothing fits: {frame['reason'].iloc[0]}.", file=sys.stderr)
        raise typer.Exit(1)
