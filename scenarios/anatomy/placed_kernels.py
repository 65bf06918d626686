"""What is told of decoders on chips: records of placed kernels, of their stages, of the limits; the mesh for a picture.

How a decoder is placed is in ``placement``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from chips.placement import ClusterKernel, FusedProgram, PlacedKernel, Placement
from chips.spec import Dataflow, Gpu, load_chip
from results.pictures.placement import MeshPicture
from scenarios.anatomy.placement import cluster_decoder, limits, place_decoder
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import Point

Record = dict[str, object]
DECODE_BATCHES = (1, 64, 1024, 8192)
PREFILL_CONTEXTS = (1024, 4096, 8192, 32768, 131072)


class Placed(NamedTuple):
    """Decoders of several points.

    ``records``: one a kernel in space, or the reason why there is none; ``on_clusters``: one a kernel of thread block
    clusters; ``placements``: by what a picture calls them.
    """

    records: list[Record]
    on_clusters: list[Record]
    placements: list[tuple[str, Placement]]


def place_points(points: Iterable[Point]) -> Placed:
    """One decoder of every point on its chip: laid out in space, of a training step forward and backward, or on a GPU's
    thread block clusters.

    Times in seconds, memory in bytes; ``stage_records``: of the kernel's stages. Raises ScenarioError for a chip that
    has neither.
    """
    placed = Placed([], [], [])
    for point in points:
        start: Record = {"chip": point.chip.name, "count": point.count}
        if isinstance(point.chip, Gpu):
            placed.on_clusters.extend(start | record for record in cluster_records(cluster_decoder(point)))
            continue
        _place(placed, point, start, point.phase)
        if point.phase == "train":
            _place(placed, point, start, "backward")
    return placed


def _place(placed: Placed, point: Point, start: Record, way: str) -> None:
    """The decoder of a pass among ``placed``."""
    try:
        placement = place_decoder(point, backward=way == "backward")
    except DoesNotFit as refusal:
        placed.records.append(start | {"reason": str(refusal)})
        return
    placed.placements.append((f"{point.model.name} {way} on {point.chip.name} x{point.count}", placement))
    own = start | ({"direction": "backward" if way == "backward" else "forward"} if point.phase == "train" else {})
    for number, kernel in enumerate(placement.sections, 1):
        record = own | {"kernel": f"{number} of {len(placement.sections)}"} | _kernel_record(kernel)
        placed.records.append(record | {"stage_records": stage_records(kernel)})


def cluster_records(tiles: list[tuple[int, list[ClusterKernel]]]) -> list[dict[str, object]]:
    """A record a kernel of ``cluster_decoder``."""
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


def _kernel_record(kernel: PlacedKernel) -> dict[str, object]:
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


def _span(program: FusedProgram) -> str:
    first, last = program.stages[0].name, program.stages[-1].name
    return first if first == last else f"{first} to {last}"


def stage_records(kernel: PlacedKernel) -> list[dict[str, object]]:
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


def largest_decoders(
    chips: Sequence[str],
    counts: Sequence[int],
    hidden: Sequence[int],
    phase: str | None = None,
    batch: int | None = None,
    context: int | None = None,
) -> list[Record]:
    """How large a Llama's decoder may be on chips of the catalog, as ``placement.limits`` tells it.

    Where ``phase``, ``batch`` or ``context`` is None, several. Raises ScenarioError for another phase than decode and
    prefill, and for a chip that lays no kernels out in space.
    """
    if phase not in (None, "decode", "prefill"):
        raise ScenarioError(f"--phase {phase}: without a model it is decode or prefill.")
    batches, contexts = ([batch] if batch else DECODE_BATCHES), ([context] if context else PREFILL_CONTEXTS)
    cases = [("decode", size, context or 4096) for size in batches if phase != "prefill"]
    cases += [("prefill", batch or 1, size) for size in contexts if phase != "decode"]
    specs = [_dataflow(chip) for chip in chips]
    return [record for count in counts for record in limits(specs, count, hidden, cases)]


def limit_lines(records: Iterable[Record]) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Records of ``largest_decoders`` for ``plot_limits``: by axis and line, (batch or context, hidden size)."""
    panels: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for record in records:
        decode = record["phase"] == "decode"
        axis = "decode: batch" if decode else "prefill: tokens of a sequence"
        for mapping in ("weight_stream", "token_stream"):
            name = f"{record['chip']} x{record['count']}, {mapping.replace('_', ' ')}"
            size, largest = record["batch" if decode else "context"], record[mapping]
            if isinstance(size, int) and isinstance(largest, int) and largest:
                panels.setdefault(axis, {}).setdefault(name, []).append((size, largest))
    return panels


def mesh_picture(name: str, placement: Placement, kernel: PlacedKernel) -> MeshPicture:
    """A memory unit is its stage's by what it holds: the stage's operand, or what the stage writes."""
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


def _dataflow(name: str) -> Dataflow:
    chip = load_chip(name)
    if not isinstance(chip, Dataflow):
        raise ScenarioError(f"{chip.name} lays no kernels out in space; choose a dataflow chip, or name a model.")
    return chip
