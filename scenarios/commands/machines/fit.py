"""``loopline fit``: does a fused decoder fit one kernel, who sits where on the chip, and how large may it be?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.placement import ClusterKernel, FusedProgram, PlacedKernel, Placement
    from chips.spec import Dataflow
    from results.pictures.placement import MeshPicture
    from scenarios.point import Point

DECODE_BATCHES = (1, 64, 1024, 8192)
PREFILL_CONTEXTS = (1024, 4096, 8192, 32768, 131072)
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
    phase: Annotated[
        str | None, typer.Option(help="decode | prefill | train (its forward pass); default: decode")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Sequences side by side; default: 1, or several without a model")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a sequence; default: 4096, or several")] = None,
    precision: Annotated[str, typer.Option(help="Of a model's weights: bf16 | fp8 | int8")] = "bf16",
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
    from scenarios.point import make_point
    from scenarios.quantities import check_count

    check_files(plot=plot)
    for option, value in (("--batch", batch), ("--context", context), *(("--count", number) for number in count)):
        if value is not None:
            check_count(option, value)
    if model is None:
        _limits(chips, count, phase, batch, context, hidden, plot, json)
    else:
        given = {"phase": phase, "batch": batch, "context": context, "precision": precision}
        options = {name: value for name, value in given.items() if value is not None}
        points = [make_point(model, chip, number, **options) for chip in chips for number in count]
        _model(points, plot, json)


def _model(points: list[Point], plot: Path | None, json: bool) -> None:
    """A model's decoder on every chip and count."""
    from chips.spec import Gpu
    from results.pictures.placement import plot_mesh
    from scenarios.anatomy.placement import cluster_decoder, place_decoder
    from scenarios.errors import DoesNotFit

    placed: list[tuple[str, Placement]] = []
    records: list[dict[str, object]] = []
    on_clusters: list[dict[str, object]] = []
    for point in points:
        start: dict[str, object] = {"chip": point.chip.name, "count": point.count}
        if isinstance(point.chip, Gpu):
            on_clusters += [start | record for record in _cluster_records(cluster_decoder(point))]
            continue
        try:
            placement = place_decoder(point)
        except DoesNotFit as refusal:
            records.append(start | {"reason": str(refusal)})
            continue
        placed.append((f"{point.model.name} {point.phase} on {point.chip.name} x{point.count}", placement))
        for number, kernel in enumerate(placement.sections, 1):
            record = start | {"kernel": f"{number} of {len(placement.sections)}"} | _record(kernel)
            records.append(record | ({"stage_records": _stages(kernel)} if json else {}))
    tables = [[_readable(record) for record in table] for table in (records, on_clusters, *_stage_tables(placed))]
    show(records + on_clusters, json=json, tables=[table for table in tables if table])
    if plot is not None and placed:
        drawn = [_picture(name, found, kernel) for name, found in placed for kernel in found.sections]
        left_out = len(drawn) - MOST_DRAWN
        note = f" (without {left_out} more kernels)" if left_out > 0 else ""
        write(plot, partial(plot_mesh, drawn[:MOST_DRAWN]), note)
    if not placed and not on_clusters:
        raise typer.Exit(1)


def _readable(record: dict[str, object]) -> dict[str, object]:
    """With times in units for reading."""
    from results.units import format_seconds

    return {
        name.removesuffix("_seconds").replace("seconds", "time"): format_seconds(value)
        if name.endswith("seconds") and isinstance(value, float)
        else value
        for name, value in record.items()
    }


def _stage_tables(placed: list[tuple[str, Placement]]) -> list[list[dict[str, object]]]:
    """The stages of every kernel, where only one decoder was placed."""
    return [_stages(kernel) for kernel in placed[0][1].sections] if len(placed) == 1 else []


def _cluster_records(tiles: list[tuple[int, list[ClusterKernel]]]) -> list[dict[str, object]]:
    """A record a kernel of thread block clusters."""
    return [
        {
            "tokens": rows,
            "kernel": f"{number} of {len(kernels)}",
            "stages": _span(kernel.program),
            "cluster_units": kernel.units,
            "shared_bytes": kernel.needed_bytes,
            "in_shared_memory": kernel.fits,
            "exchange_seconds": kernel.exchange_seconds,
            "as_kernels_seconds": kernel.boundary_seconds,
        }
        for rows, kernels in tiles
        for number, kernel in enumerate(kernels, 1)
    ]


def _span(program: FusedProgram) -> str:
    first, last = program.stages[0].name, program.stages[-1].name
    return first if first == last else f"{first} to {last}"


def _record(kernel: PlacedKernel) -> dict[str, object]:
    program = kernel.program
    return {
        "mapping": "weight stream" if program.control == "in turn" else "token stream",
        "stages": _span(program),
        "pcus": kernel.allocation.compute_units,
        "pcu_share": kernel.compute_share,
        "pmus": kernel.allocation.memory_units,
        "pmu_share": kernel.memory_share,
        "busiest_link": float(kernel.link_use.max()),
        "passes": program.passes,
        "pass_seconds": kernel.pass_seconds,
        "launch_seconds": kernel.launch_seconds,
        "seconds": kernel.seconds,
        "limited_by": kernel.limiter,
    }


def _stages(kernel: PlacedKernel) -> list[dict[str, object]]:
    """A record a stage: its units, the seconds of a pass that each limit sets, and its rate."""
    return [
        {
            "stage": rate.name,
            "pcus": share.compute_units,
            "cut": f"{share.cuts[0]} x {share.cuts[1]}",
            "operand_pmus": share.operand_units,
            "buffer_pmus": sum(
                len(slots)
                for buffer, slots in zip(kernel.program.buffers, kernel.allocation.buffer_slots, strict=True)
                if buffer.source == index
            ),
            "compute_seconds": rate.compute,
            "memory_seconds": rate.memory,
            "mesh_seconds": rate.mesh,
            "chip_link_seconds": rate.link,
            "passes_per_second": 1 / rate.seconds,
            "limited_by": rate.limiter,
        }
        for index, (rate, share) in enumerate(zip(kernel.rates, kernel.allocation.shares, strict=True))
    ]


def _limits(
    chips: list[str],
    counts: list[int],
    phase: str | None,
    batch: int | None,
    context: int | None,
    hidden: list[int],
    plot: Path | None,
    json: bool,
) -> None:
    """How large a Llama's decoder may be, and how many kernels larger ones take."""
    from results.pictures.placement import plot_limits
    from scenarios.anatomy.placement import limits
    from scenarios.errors import ScenarioError

    if phase not in (None, "decode", "prefill"):
        raise ScenarioError(f"--phase {phase}: without a model it is decode or prefill.")
    cases = [
        ("decode", size, context or 4096)
        for size in ([batch] if batch else DECODE_BATCHES)
        if phase in (None, "decode")
    ]  # fmt: skip
    cases += [
        ("prefill", batch or 1, size)
        for size in ([context] if context else PREFILL_CONTEXTS)
        if phase in (None, "prefill")
    ]
    specs = [_dataflow(chip) for chip in chips]
    records = [record for count in counts for record in limits(specs, count, hidden, cases)]
    show(records, json=json)
    if plot is None:
        return
    panels: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for record in records:
        decode = record["phase"] == "decode"
        axis = "decode: batch" if decode else "prefill: tokens of a sequence"
        for mapping in ("weight_stream", "token_stream"):
            name = f"{record['chip']} x{record['count']}, {mapping.replace('_', ' ')}"
            size, largest = record["batch" if decode else "context"], record[mapping]
            if isinstance(size, int) and isinstance(largest, int) and largest:
                panels.setdefault(axis, {}).setdefault(name, []).append((size, largest))
    write(plot, lambda path: plot_limits(panels, path, "How large a Llama decoder one kernel holds"))


def _dataflow(name: str) -> Dataflow:
    from chips.spec import Dataflow, load_chip
    from scenarios.errors import ScenarioError

    chip = load_chip(name)
    if not isinstance(chip, Dataflow):
        raise ScenarioError(f"{chip.name} lays no kernels out in space; choose a dataflow chip, or name a model.")
    return chip


def _picture(name: str, placement: Placement, kernel: PlacedKernel) -> MeshPicture:
    """A memory unit is its stage's by what it holds: the stage's operand, or what the stage writes."""
    import numpy as np

    from results.pictures.placement import MeshPicture

    memory = [
        np.concatenate(
            [operand]
            + [
                cells
                for buffer, cells in zip(kernel.program.buffers, kernel.positions.buffer, strict=True)
                if max(buffer.source, 0) == index
            ]
        )
        for index, operand in enumerate(kernel.positions.operand)
    ]
    number = placement.sections.index(kernel) + 1
    title = f"{name}, kernel {number} of {len(placement.sections)}" if not placement.fits else name
    return MeshPicture(
        f"{title}: {kernel.compute_share:.0%} of compute units, {kernel.memory_share:.0%} of memory units",
        [stage.name for stage in kernel.program.stages],
        kernel.positions.compute,
        memory,
        kernel.mesh.is_compute,
        kernel.link_use,
    )
