"""``loopline roofline``: the operators of a model as points under the limits of chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write


def roofline(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chips: Annotated[list[str], typer.Option("--chips", help="Chips of `loopline chips`, or paths of TOML files.")],
    count: Annotated[int, typer.Option(help="Chips in the tensor-parallel group.")] = 1,
    phase: Annotated[str, typer.Option(help="decode | prefill | request | train")] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences side by side.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 4096,
    precision: Annotated[str, typer.Option(help="Of weights and matrix products: bf16 | fp8 | int8")] = "bf16",
    plot: Annotated[Path | None, typer.Option(help="Also draw them into this .png or .svg file.")] = None,
    json: Json = False,
) -> None:
    """Which operators are bound by memory, which by arithmetic, and how close does each come to its roof?

    loopline roofline llama-3.1-8b --chips h100 sn40l --plot roofline.svg

    loopline roofline llama-3.1-8b --chips h100 --phase prefill --json
    """
    from scenarios.anatomy.rooflines import operator_rooflines, roofs
    from scenarios.point import Options, make_point

    check_files(plot=plot)
    options = Options(phase=phase, batch=batch, context=context, precision=precision)
    points = [make_point(model, chip, count, **options) for chip in chips]
    found = [(point, operator_rooflines(point)) for point in points]
    show([record for _, records in found for record in records], json=json)
    if plot is not None:
        import pandas as pd

        from results.pictures.roofline import roofline as draw

        panels = [
            (
                point.chip.name if count == 1 else f"{point.chip.name}, one of {count}",
                pd.DataFrame(records),
                roofs(point),
            )
            for point, records in found
        ]
        title = f"{points[0].model.name}, {phase}, {precision}, batch {batch}, context {context}"
        write(plot, draw(panels, title).save)
