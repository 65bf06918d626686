"""``loopline sweep``: all points of a scenario into a folder, with a progress bar on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from scenarios.commands.executors import AddressOption, FreshOption, PoolOption, WorkersOption
from scenarios.commands.output import show
from scenarios.commands.progress import points_bar
from scenarios.commands.questions.run import Changes, File


def sweep(
    scenario: File,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")],
    changes: Changes = None,
    executor: PoolOption = "processes",
    address: AddressOption = None,
    workers: WorkersOption = None,
    fresh: FreshOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Price all points of a scenario into a folder of Parquet files. Stop it at any moment; the same command goes on.

    loopline sweep half-the-bandwidth -o sweep/

    loopline sweep mine.toml -o mine/ --executor ray --address 10.0.0.1:6379

    loopline sweep what-fits -o fits/ --set 'batch={from=1, to=64, step=1}'
    """
    from scenarios.sweeps.scenario_file import load_scenario
    from scenarios.sweeps.sweep import sweep as run

    loaded = load_scenario(scenario, changes or ())
    begin = perf_counter()
    try:
        with points_bar() as advance:
            progress = run(
                loaded,
                output,
                executor=executor,
                workers=workers,
                address=address,
                fresh=fresh,
                on_progress=lambda progress: advance(progress.total, progress.done, progress.priced),
            )
    except KeyboardInterrupt:
        print(f"loopline: stopped; what is priced is kept in {output}, and the same command goes on.", file=sys.stderr)
        raise
    seconds = perf_counter() - begin
    if progress.damaged:
        print(f"loopline: damaged, and priced again: {', '.join(progress.damaged)}.", file=sys.stderr)
    summary = {
        "folder": str(output),
        "points": progress.total,
        "kept": progress.kept,
        "priced": progress.priced,
        "seconds": round(seconds, 3),
        "points_per_s": round(progress.priced / seconds),
    }
    show([summary], json=json)
