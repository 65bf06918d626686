"""``loopline fit``: does a fused decoder fit one kernel, who sits where on the chip, and how large may it be?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from scenarios.point import Point

HIDDEN = [2048, 4096, 8192, 16384]
MOST_DRAWN = 4


def fit(
    model: Annotated[
        str | None, typer.Argument(help="A model to place (of `loopline models`); without one, how large may it be?")
    ] = None,
    chips: Annotated[list[str], typer.Option("--chips", help="Chips of `loopline chips`, or TOML files.")] = [  # noqa: B006
        "sn40l",
        "sn10",
    ],
    count: Annotated[list[int], typer.Option("--count", help="Chips in the tensor-parallel group.")] = [1],  # noqa: B006
    phase: Annotated[str | None, typer.Option(help="decode | prefill | train (both passes); default: decode")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Sequences side by side; default: 1, or several without a model")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a sequence; default: 4096, or several")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of weights and products: bf16 | fp8 | ... (default: bf16)")
    ] = None,
    hidden: Annotated[
        list[int], typer.Option("--hidden", help="Without a model: hidden sizes to count kernels for.")
    ] = HIDDEN,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the mesh, or the limits, into this .png or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Place a fused decoder on a chip: units, links, rates, and the fewest kernels that hold it.

    On a GPU: what of a decoder the shared memory of a thread block cluster holds.

    loopline fit llama-2-7b --chips sn40l --count 8 --plot mesh.png

    loopline fit llama-2-7b --chips sn40l sn10 --phase prefill

    loopline fit llama-2-7b --chips h100 --phase prefill

    loopline fit --chips sn40l sn10 --count 1 8 --plot limits.png
    """
    from scenarios.anatomy.placed_kernels import largest_decoders
    from scenarios.point import make_point
    from scenarios.quantities import check_count

    check_files(plot=plot)
    for option, value in (("--batch", batch), ("--context", context), *(("--count", number) for number in count)):
        if value is not None:
            check_count(option, value)
    if model is None:
        _show_limits(largest_decoders(chips, count, hidden, phase, batch, context), plot, json=json)
        return
    given = {"phase": phase, "batch": batch, "context": context, "precision": precision}
    options = {name: value for name, value in given.items() if value is not None}
    _show_placed([make_point(model, chip, number, **options) for chip in chips for number in count], plot, json=json)


def _show_placed(points: list[Point], plot: Path | None, *, json: bool) -> None:
    from results.pictures.placement import plot_mesh
    from scenarios.anatomy.placed_kernels import mesh_picture, place_points, stage_records

    placed = place_points(points)
    several = len(placed.placements) > 1  # decoders, whose stages would be too many to read
    stages = [] if several else [stage_records(kernel) for _, found in placed.placements for kernel in found.sections]
    tables = [[_readable(record) for record in table] for table in (placed.records, placed.on_clusters, *stages)]
    show(placed.records + placed.on_clusters, json=json, tables=[table for table in tables if table])
    if plot is not None and placed.placements:
        drawn = [mesh_picture(name, found, kernel) for name, found in placed.placements for kernel in found.sections]
        left_out = len(drawn) - MOST_DRAWN
        note = f" (without {left_out} more kernels)" if left_out > 0 else ""
        write(plot, partial(plot_mesh, drawn[:MOST_DRAWN]), note)
    if not placed.placements and not placed.on_clusters:
        raise typer.Exit(1)


def _show_limits(records: list[dict[str, object]], plot: Path | None, *, json: bool) -> None:
    from results.pictures.placement import plot_limits
    from scenarios.anatomy.placed_kernels import limit_lines

    show(records, json=json)
    title = "How large a Llama decoder one kernel holds"
    write(plot, lambda path: plot_limits(limit_lines(records), path, title))


def _readable(record: dict[str, object]) -> dict[str, object]:
    """With times in units for reading, without the records of its stages."""
    from results.units import format_seconds

    return {
        name.removesuffix("_seconds").replace("seconds", "time"): format_seconds(value)
        if name.endswith("seconds") and isinstance(value, float)
        else value
        for name, value in record.items()
        if name != "stage_records"
    }
