"""``loopline roofline``: the operators of a model as points under the limits of chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, check_files, show, write


@takes(
    *("model", "chip", "count", "phase", "batch", "context", "precision", "kv_precision"),
    "beyond_context",
    several=("chip",),
    help={"count": "Chips in the tensor-parallel group.", "context": "Tokens of a sequence."},
)
def roofline(
    plot: Annotated[Path | None, typer.Option(help="Also draw them into this .png or .svg file.")] = None,
    json: Json = False,
    **asked: Any,
) -> None:
    """Which operators are bound by memory, which by arithmetic, and how close does each come to its roof?

    loopline roofline llama-3.1-8b --chips h100 sn40l --plot roofline.svg

    loopline roofline llama-3.1-8b --chips h100 --phase prefill --json
    """
    from scenarios.anatomy.rooflines import operator_rooflines, roofs
    from scenarios.point import make_point

    check_files(plot=plot)
    chips = asked.pop("chips")
    points = [make_point(chip=chip, **asked) for chip in chips]
    found = [(point, operator_rooflines(point)) for point in points]
    rows = [record for _, records in found for record in records]
    show(rows, json=json, tables=[[_readable(record) for record in rows]], least=("calls", "part"))
    if plot is not None:
        import pandas as pd

        from results.pictures.roofline import roofline as draw

        panels = [
            (
                point.chip.name if point.count == 1 else f"{point.chip.name}, one of {point.count}",
                pd.DataFrame(records),
                roofs(point),
            )
            for point, records in found
        ]
        one = points[0]
        setting = f"{one.phase}, {one.precision}, batch {one.batch}, context {one.context}"
        write(plot, draw(panels, f"{one.model.name}, {setting}").save)


def _readable(record: dict[str, Any]) -> dict[str, object]:
    from results.units import format_quantity, format_seconds, percent, three_digits

    return {
        "chips": f"{record['chip']} x{record['count']}",
        "operator": record["operator"],
        "part": record["part"].removesuffix("_s"),
        "calls": record["calls"],
        "FLOP": format_quantity(record["flop"], "FLOP"),
        "bytes moved": format_quantity(record["moved_bytes"], "bytes"),
        "FLOP a byte": three_digits(record["flop_per_byte"]),
        "time": format_seconds(record["seconds"]),
        "reached": format_quantity(record["flop_per_s"], "FLOP/s"),
        "its roof": format_quantity(record["roof_flop_per_s"], "FLOP/s"),
        "of its roof": percent(record["roof_fraction"]),
    }
