"""``loopline plan``: of all ways to train or to serve a model on given chips, the best."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.executors import AddressOption, FreshOption, PoolOption, WorkersOption
from scenarios.commands.input_options import takes
from scenarios.commands.output import (
    Csv,
    DollarsAKilowattHour,
    DollarsAnHour,
    Json,
    check_files,
    output_form,
    show,
    write,
)
from scenarios.commands.progress import points_bar
from scenarios.commands.ranking import ranking


@takes(
    *("model", "chip", "strategy", "context", "launch", "framework", "collectives", "sharding", "method"),
    several=("chip", "strategy"),
    help={
        "strategy": "per_operator | fused_decoder | kernel_loop (default: in training per_operator, else all)",
        "context": "Tokens of a sequence.",
    },
)
def plan(
    count: Annotated[
        list[int] | None,
        typer.Option("--count", help="Chips in all; in serving of a group (default: all that links join)."),
    ] = None,
    global_batch: Annotated[
        int | None, typer.Option(help="Sequences of a training step; without it, the model is served.")
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option(help="Sequences side by side in serving (default: 1, 2, 4, ... 1024).")
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(help="Of weights and matrix products: bf16 | fp8 | ... (default: the model's own)"),
    ] = None,
    stages: Annotated[
        list[int] | None, typer.Option(help="Stages of pipelines that serve (default: 1, no pipelines).")
    ] = None,
    goal: Annotated[str, typer.Option(help="time | throughput | chips | joules | cost (docs/plan.md)")] = "time",
    dollars_per_chip_hour: DollarsAnHour = None,
    dollars_per_kilowatt_hour: DollarsAKilowattHour = None,
    tokens_per_s_user: Annotated[float, typer.Option(help="Only what gives each user at least so many.")] = 0.0,
    keep: Annotated[int, typer.Option(help="How many of the best to list.")] = 10,
    executor: PoolOption = "processes",
    address: AddressOption = None,
    workers: WorkersOption = None,
    fresh: FreshOption = False,
    csv: Csv = False,
    json: Json = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Save all rows that were priced: .parquet, .csv or .json; or keep them in a folder while they are "
            "priced: the same command goes on after a stop.",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw speed against memory or chips: .png or .svg")] = None,
    **asked: Any,
) -> None:
    """Which layouts train a model fastest, and which chips serve it best?

    loopline plan llama-3.1-70b --chips h100 --count 512 --global-batch 1024

    loopline plan llama-3.1-70b --chips h200 --goal chips --tokens-per-s-user 50

    loopline plan llama-3.1-8b --chips h100 sn40l --goal joules --plot plan.png

    loopline plan gpt-175b --chips h100 --count 512 --global-batch 512 -o plan/
    """
    from results.store import save
    from results.table import print_comparison
    from scenarios.errors import ScenarioError
    from scenarios.planning.plan import Storage
    from scenarios.planning.plan import plan as planned

    form = output_form(csv=csv, json=json)
    folder, output = (output, None) if output is not None and not output.suffix else (None, output)
    check_files(output=output, plot=plot)
    if folder is None and (executor != "processes" or address is not None or workers is not None or fresh):
        raise ScenarioError("--executor, --address, --workers and --fresh say how a folder is filled: -o FOLDER.")
    storage = None if folder is None else Storage(folder, executor, workers, address, fresh)
    with points_bar() as advance:
        found = planned(
            **asked,
            precision=precisions,
            count=count,
            global_batch=global_batch,
            batch=batches,
            stages=stages or 1,
            goal=goal,
            dollars_per_chip_hour=dollars_per_chip_hour,
            dollars_per_kilowatt_hour=dollars_per_kilowatt_hour,
            tokens_per_s_user=tokens_per_s_user,
            keep=keep,
            storage=storage,
            on_progress=advance,
        )
    best = found.frame.head(keep)
    if form == "table":
        chosen = ["parallel"] if global_batch is not None else ["strategy", "precision", "batch"]
        show(ranking(best, chosen), json=False)
        print(f"{found.considered:,} points, {found.fitting:,} fit, {len(found.frame):,} priced and able.")
    else:
        print_comparison(best, sys.stdout, form=form)
    write(output, partial(save, found.frame))
    if plot is not None:
        from results.pictures.planning.plan import plan as draw

        write(plot, draw(found.frame, keep).save)
