"""``loopline scenarios`` and ``loopline run``: questions as files, and their answers."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import Csv, Json, Output, check_files, output_form, show, write
from scenarios.commands.progress import points_bar

MOST_RUN = 20_000  # points; more take minutes, and a sweep keeps what it has priced

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a key of the file: --set 'count=[1, 8]' sample.points=100"),
]
File = Annotated[str, typer.Argument(help="A scenario of `loopline scenarios`, or the path of a .toml file.")]


def scenarios(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of scenario files.")] = False,
    json: Json = False,
) -> None:
    """List the shipped scenarios: a question each, and how many points answer it.

    loopline scenarios

    loopline scenarios --schema > scenario.schema.json   # for an editor
    """
    from json import dumps

    from scenarios.sweeps.scenario_file import load_scenario, points_of, scenario_names
    from scenarios.sweeps.scenario_schema import scenario_schema

    if schema:
        print(dumps(scenario_schema(), indent=1))
        return
    loaded = {name: load_scenario(name) for name in scenario_names()}
    records = [
        {"scenario": name, "points": len(points_of(scenario)), "question": scenario.question}
        for name, scenario in loaded.items()
    ]
    show(records, json=json)


def run(
    scenario: File,
    changes: Changes = None,
    csv: Csv = False,
    json: Json = False,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw stacked bars into this .png or .svg file.")] = None,
) -> None:
    """Price all points of a scenario and print them. Many points: `loopline sweep`, which can be stopped.

    loopline run launches-or-looping

    loopline run allreduce-share --set 'batch=[1, 8]' -o share.parquet
    """
    from results.pictures.kinds import plot_breakdown
    from results.store import save
    from results.table import print_comparison
    from scenarios.errors import ScenarioError
    from scenarios.sweeps.run import run as priced
    from scenarios.sweeps.scenario_file import load_scenario, points_of

    form = output_form(csv=csv, json=json)
    check_files(output=output, plot=plot)
    loaded = load_scenario(scenario, changes or ())
    points = points_of(loaded)
    if len(points) > MOST_RUN:
        raise ScenarioError(f"{scenario} has {len(points):,} points; `loopline sweep {scenario} -o FOLDER` keeps them.")
    with points_bar() as advance:
        rows = priced(points, advance)
    if form == "table":
        print(f"{loaded.question}\n")
    print_comparison(rows, sys.stdout, form=form)
    write(output, partial(save, rows))
    write(plot, partial(plot_breakdown, rows))
