"""``loopline fit``: does a fused decoder fit one kernel, who sits where on the chip, and how large may it be?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chips.placement import PlacedKernel, Placement
    from chips.spec import Dataflow

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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Place a fused decoder on a chip: units, links, rates, and the fewest kernels that hold it.

    loopline fit llama-2-7b --chips sn40l --count 8 --plot mesh.png

    loopline fit llama-2-7b --chips sn40l sn10 --phase prefill

    loopline fit --chips sn40l sn10 --count 1 8 --plot limits.png
    """
    from results.plots import check_plot_path

    if plot is not None:
        check_plot_path(plot)
    if model is None:
        _limits(chips, count, phase, batch, context, hidden, plot, json)
    else:
        _model(model, chips, count, phase or "decode", batch or 1, context or 4096, precision, plot, json)


def _model(
    model: str,
    chips: list[str],
    counts: list[int],
    phase: str,
    batch: int,
    context: int,
    precision: str,
    plot: Path | None,
    json: bool,
) -> None:
    """A model's decoder on every chip and count."""
    from results.placement_plot import plot_mesh
    from results.table import print_records
    from scenarios.errors import DoesNotFit
    from scenarios.fit import place_decoder
    from scenarios.point import make_point

    placed: list[tuple[str, Placement]] = []
    records: list[dict[str, object]] = []
    for chip in chips:
        for count in counts:
            point = make_point(model, chip, count, phase=phase, batch=batch, context=context, precision=precision)
            try:
                placement = place_decoder(point)
            except DoesNotFit as refusal:
                records.append({"chip": chip, "count": count, "reason": str(refusal)})
                continue
            placed.append((f"{point.model.name} {phase} on {chip} x{count}", placement))
            for number, kernel in enumerate(placement.sections, 1):
                place = f"{number} of {len(placement.sections)}"
                records.append({"chip": chip, "count": count, "kernel": place} | _record(kernel))
    if json:
        stages = [
            [_stages(kernel) for kernel in placement.sections]
            for _, placement in placed
        ]  # fmt: skip
        flat = iter([each for placement in stages for each in placement])
        print_records(
            [record | ({} if "reason" in record else {"stage_records": next(flat)}) for record in records],
            sys.stdout,
            json=True,
        )
    else:
        print_records(records, sys.stdout)
        if len(placed) == 1:
            for kernel in placed[0][1].sections:
                print_records(_stages(kernel), sys.stdout)
    if plot is not None and placed:
        drawn = [
            _picture(name, number, kernel) for name, found in placed for number, kernel in enumerate(found.sections)
        ]
        plot_mesh(drawn[:MOST_DRAWN], plot)
        left_out = len(drawn) - MOST_DRAWN
        print(f"wrote {plot}" + (f" (without {left_out} more kernels)" if left_out > 0 else ""), file=sys.stderr)
    if not placed:
        raise typer.Exit(1)


def _record(kernel: PlacedKernel) -> dict[str, object]:
    program = kernel.program
    return {
        "mapping": "weight stream" if program.control == "in turn" else "token stream",
        "stages": f"{program.stages[0].name} to {program.stages[-1].name}",
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
            "compute_us": rate.compute * 1e6,
            "memory_us": rate.memory * 1e6,
            "mesh_us": rate.mesh * 1e6,
            "chip_link_us": rate.link * 1e6,
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
    from results.placement_plot import plot_limits
    from results.table import print_records
    from scenarios.errors import ScenarioError
    from scenarios.fit import limits

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
    print_records(records, sys.stdout, json=json)
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
    plot_limits(panels, plot, "How large a Llama decoder one kernel holds")
    print(f"wrote {plot}", file=sys.stderr)


def _dataflow(name: str) -> Dataflow:
    from chips.spec import Dataflow, load_chip
    from scenarios.errors import ScenarioError

    chip = load_chip(name)
    if not isinstance(chip, Dataflow):
        raise ScenarioError(f"{chip.name} lays no kernels out in space; choose a dataflow chip.")
    return chip


def _picture(name: str, number: int, kernel: PlacedKernel):  # type: ignore[no-untyped-def]
    import numpy as np

    from results.placement_plot import MeshPicture

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
    section = f", kernel {number + 1}" if number or kernel.program.name.count(" to ") else ""
    title = f"{name}{section}: {kernel.compute_share:.0%} of compute units, {kernel.memory_share:.0%} of memory units"
    return MeshPicture(
        title,
        [stage.name for stage in kernel.program.stages],
        kernel.positions.compute,
        memory,
        kernel.mesh.is_compute,
        kernel.link_use,
    )
