"""``loopline efficiency``: energy an operation against programmability, from scalar CPU to systolic array."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write


def efficiency(
    model: Annotated[str, typer.Option(help="The Llama whose decoder runs, by name or path.")] = "llama-3.1-8b",
    batch: Annotated[int, typer.Option(min=1, max=65536, help="Sequences of the larger decoder run.")] = 256,
    context: Annotated[int, typer.Option(min=1, max=2**24, help="Tokens in each sequence's cache.")] = 4096,
    node: Annotated[float, typer.Option("--node", min=2, max=100, help="Process node of all machines, nm.")] = 7.0,
    plot: Annotated[Path | None, typer.Option(help="Also draw it into this .png or .svg file.")] = None,
    json: Json = False,
) -> None:
    """What does an operation cost in energy, from a scalar CPU to a systolic array, and what must a programmer say?

    loopline efficiency

    loopline efficiency --plot efficiency.svg

    loopline efficiency --node 28 --json
    """
    from scenarios.anatomy.efficiency import efficiency as found_for

    check_files(plot=plot)
    records = found_for(model, batch=batch, context=context, nanometres=node)
    shown = [
        {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in record.items() if name != "say"}
        for record in records
    ]
    said = list(
        {record["machine"]: {"machine": record["machine"], "say": record["say"]} for record in records}.values()
    )
    show(records if json else shown, json=json, tables=[shown])
    if not json:
        print("\nWhat a program says, beside what it computes:")
        for line in said:
            print(f"  {line['machine']}: {line['say']}")
    if plot is not None:
        from results.pictures.energy.efficiency import efficiency as draw

        write(plot, draw(records, f"Energy an operation, all machines at {node:g} nm with HBM").save)
