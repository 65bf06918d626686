"""``loopline bandwidth``: HBM bandwidth over time, with kernel boundaries and without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, check_files, show, write


@takes(
    *("model", "chip", "count", "strategy", "phase", "batch", "context", "launch"),
    several=("strategy",),
    help={
        "count": "Chips in the tensor-parallel group.",
        "context": "Tokens of a sequence.",
    },
)
def bandwidth(
    layers: Annotated[int, typer.Option(help="Layers that the picture shows, from the middle of the pass.")] = 4,
    plot: Annotated[Path | None, typer.Option(help="Also draw it over time into this .png or .svg file.")] = None,
    json: Json = False,
    **asked: Any,
) -> None:
    """How busy is a chip's memory, and how long does it wait at kernel boundaries?

    loopline bandwidth llama-3.1-8b --chip sn40l --count 8 --plot bandwidth.svg

    loopline bandwidth llama-3.1-8b --chip h100 --launch eager --plot eager.png
    """
    from scenarios.anatomy.layers_bandwidth import bandwidth_over_layers
    from scenarios.point import make_point
    from scenarios.strategies import STRATEGIES

    check_files(plot=plot)
    points = [make_point(**asked | {"strategy": name}) for name in asked["strategy"] or STRATEGIES]
    found = [bandwidth_over_layers(point, layers) for point in points]
    records = [record for record, _ in found]
    show(records, json=json, tables=[[_readable(record) for record in records]])
    if plot is not None:
        from results.pictures.bandwidth import bandwidth as draw

        point = points[0]
        of = f"one of {point.count} {point.chip.name}" if point.count > 1 else point.chip.name
        setting = f"{point.phase}, batch {point.batch}, context {point.context}"
        write(
            plot, draw([window for _, window in found], f"{point.model.name}, {setting}: {layers} layers on {of}").save
        )


def _readable(record: dict[str, Any]) -> dict[str, object]:
    from results.units import format_quantity, format_seconds, percent

    return {
        "chips": f"{record['chip']} x{record['count']}",
        "strategy": record["strategy"],
        "launch mode": record["launch"],
        "time": format_seconds(record["seconds"]),
        "bytes of HBM": format_quantity(record["hbm_bytes"], "bytes"),
        "mean bandwidth": format_quantity(record["mean_bytes_per_s"], "bytes/s"),
        "of peak": percent(record["bandwidth_fraction"]),
        "busy": percent(record["busy_fraction"]),
    }
