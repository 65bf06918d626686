"""The GPU's side of placement: what of a fused program the thread blocks of a cluster hold in their shared memory.

A cluster takes one tile of tokens through stages in turn. Tensors between stages lie in the shared memory of all its
streaming multiprocessors, each with the part of the result that it has computed; a product needs all of its input, so
the others' parts come over the SM-to-SM network. Weights stream into a few tiles of every multiprocessor.
"""

from __future__ import annotations

from dataclasses import dataclass

from chips.placement.program import FusedProgram
from chips.spec import Gpu


@dataclass(frozen=True)
class ClusterKernel:
    """Stages of a program as one kernel of thread block clusters.

    ``needed_bytes``: of shared memory at most at a time, weight tiles included; ``fits``: whether the cluster has them
    (a stage that does not fit alone is an ordinary kernel, its tensors in global memory). ``exchange_seconds``: what
    the tensors inside cost over the SM-to-SM network; ``boundary_seconds``: what they would cost if every stage were a
    kernel of its own, written to and read back through the L2 with a kernel boundary each.
    """

    program: FusedProgram
    units: int
    needed_bytes: float
    fits: bool
    exchange_seconds: float
    boundary_seconds: float


def cluster_kernels(program: FusedProgram, chip: Gpu, units: int | None = None) -> list[ClusterKernel]:
    """``program``, with stages in turn, as the fewest kernels whose tensors lie in one cluster's shared memory.

    ``units``: streaming multiprocessors of a cluster (default: the chip's portable size). An exchange with other chips
    ends a kernel. To take as many stages as fit, kernel after kernel, gives the fewest: a part of what fits, fits.
    """
    units = units or chip.on_chip.cluster_units
    store = units * chip.on_chip.shared_bytes
    kernels: list[ClusterKernel] = []
    first, count = 0, len(program.stages)
    while first < count:
        last = first + 1
        while (
            last < count
            and program.stages[last - 1].exchange is None
            and _needed_bytes(program.part(first, last + 1), chip, units) <= store
        ):
            last += 1
        part = program.part(first, last)
        needed = _needed_bytes(part, chip, units)
        kernels.append(ClusterKernel(part, units, needed, needed <= store, *_passing_seconds(part, chip, units)))
        first = last
    return kernels


def _needed_bytes(part: FusedProgram, chip: Gpu, units: int) -> float:
    """Most bytes that lie in the cluster at a time: live tensors, and the weight tiles in flight."""
    live = [
        sum(buffer.held_bytes for buffer in part.buffers if buffer.source <= place <= buffer.until)
        for place in range(len(part.stages))
    ]
    tiles = units * chip.generation.matmul.in_flight_bytes if any(stage.operand for stage in part.stages) else 0.0
    return max(live) + tiles


def _passing_seconds(part: FusedProgram, chip: Gpu, units: int) -> tuple[float, float]:
    """A tile's tensors between the stages of one kernel: over the SM-to-SM network, and instead through the L2.

    Element-wise stages work on the part that their multiprocessor has computed itself; the copies of a product (the
    heads of attention) are dealt out to the multiprocessors. Through the L2 every cluster of the chip passes its own
    tile at the same time.
    """
    clock = chip.compute.clock_hz
    network = clock * chip.on_chip.cluster_bytes_per_clock
    vector, matmul = chip.generation.vector, chip.generation.matmul
    cache = clock * min(matmul.load_bytes_per_clock, matmul.l2_bytes_per_clock / chip.compute.units)
    exchanged = boundary = 0.0
    for buffer in part.buffers:
        readers = [reader for reader in buffer.readers if reader > buffer.source >= 0]
        for reader in readers:
            stage = part.stages[reader]
            groups = min(units, stage.copies) if stage.operand else units
            read, own = buffer.num_bytes / groups, buffer.num_bytes / units
            if read > own:
                exchanged += (read - own) / network + chip.on_chip.cluster_latency_cycles / clock
            boundary += read / cache + vector.l2_latency_cycles / clock
        if readers:
            boundary += buffer.num_bytes / units / cache + chip.generation.launch.graph_gap
    return exchanged, boundary
