"""Tile programs on a GPU: thread blocks of a producer warp, consumer warps and a store on streaming multiprocessors.

The producer's copies (TMA) run ahead as far as shared memory holds tiles; consumers compute; the store drains beside
the next work item. Iterations of the grid's loops are work items, dealt out in waves. L2 and HBM are shared by all.
The pipeline is ThunderKittens' (arXiv 2410.20399), the coefficients are the generation's. What one step takes of a
block's warps, alone or beside other resident blocks, is in ``chips.tiles.warps``.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod

import numpy as np

from chips.clock.timeline import seconds_to_ps
from chips.kernels.attention.price import POWER_WINDOW as ATTENTION_WINDOW
from chips.kernels.matmul.kernels import POWER_WINDOW, unhidden
from chips.pipeline.balance import in_turn, single_buffered
from chips.pipeline.metapipeline import Buffer, Metapipeline, Stage
from chips.spec import Gpu
from chips.tiles.compiler import Compiled, check_tiles, executions, moved_bytes, tile_bytes, total
from chips.tiles.language import Loop, Operation, TileError, Trace
from chips.tiles.stages import address_from
from chips.tiles.warps import Warps, cycles_of, two_iterations_fit, warps_of


def compile_gpu(found: Trace, chip: Gpu, asynchronous: bool) -> Compiled:
    """Run ``found`` on ``chip``'s streaming multiprocessors, one launch, its outermost loops one after the other.

    A short launch is over before the power limit acts, as the measured kernels of its kind are. Raises TileError where
    tiles do not fit shared memory or registers.
    """
    check_tiles(
        found, int(chip.on_chip.shared_bytes), f"the shared memory of a streaming multiprocessor of {chip.title}"
    )
    coefficients = chip.generation.matmul
    clock = chip.compute.highest_clock_hz
    mixed = any(operation.flop for operation in found.operations) and any(
        operation.exponentials for operation in found.operations
    )
    if mixed:
        clock = chip.compute.clock_hz  # at which attention's coefficients hold
    built = [_phase(loop, beside, chip, clock, asynchronous) for loop, beside in _phases(found)]
    loads = total(
        found, lambda operation: moved_bytes(operation) / _shared_by(operation, chip) if operation.kind == "load" else 0
    )
    stores = total(found, lambda operation: moved_bytes(operation) if operation.kind == "store" else 0)
    unique = sum(prod(tensor.shape) * 2 for tensor in found.tensors if not tensor.stores)
    memory = unique + stores
    hbm = unique / chip.streaming_bandwidth + stores / (chip.memory.bandwidth * coefficients.write_efficiency)
    l2 = loads / (coefficients.l2_bytes_per_clock * clock)
    on_units = sum(pipeline.total_ps for pipeline, _, _ in built) / 1e12
    start = coefficients.startup_seconds + coefficients.memory_latency_cycles / clock
    ends = sum(waves for _, waves, _ in built) * chip.generation.attention.tile_latency if mixed else 0.0
    flop = total(found, lambda operation: operation.flop)
    joules = chip.events.joules(flops=flop, memory_bytes=memory).sum(axis=0)
    window = ATTENTION_WINDOW if mixed else POWER_WINDOW

    def whole(on_units: float) -> float:
        """Seconds in all, of so many on the streaming multiprocessors."""
        longest = max(on_units, l2, hbm)
        took = start + ends + longest + float(unhidden(chip, np.array(on_units + l2 + hbm - longest)))
        return took + float(chip.events.slower_clock(np.array(on_units), joules, np.array(took), window))

    seconds = whole(on_units)
    alone, single = (
        whole(sum(change(pipeline).total_ps for pipeline, _, _ in built) / 1e12)
        for change in (in_turn, single_buffered)
    )

    cycles = cycles_of(
        found.operations,
        chip,
        asynchronous,
        coefficients.instruction_rows,
        lambda operation: executions(operation.loop),
    )
    spread = chip.compute.units * clock * seconds
    engines = {
        "matrix unit": flop / (chip.compute.units * chip.compute.matrix_flop_per_clock["bf16"] * clock * seconds),
        "vector and exponential units": cycles.vector / spread,
        "copy engine": cycles.load / spread,
        "store": cycles.store / spread,
        "L2": l2 / seconds,
        "HBM": hbm / seconds,
    }
    shown, _, taken = max(built, key=lambda phase: phase[0].total_ps)
    inner = [stage.work for stage in shown.stages if isinstance(stage.work, Metapipeline)]
    picture = max(inner, key=lambda pipeline: pipeline.total_ps) if inner else shown
    rows = [_row(stage, picture) for stage in picture.stages]
    limiter = {on_units: picture.limiter, l2: "L2", hbm: "HBM"}[max(on_units, l2, hbm)]
    return Compiled(
        found.name, chip.name, picture, seconds, engines, {}, taken, flop, memory, rows, limiter, alone, single
    )


def _shared_by(operation: Operation, chip: Gpu) -> int:
    """Thread blocks that a load serves at once: as many as the program says and a cluster holds."""
    return min(operation.shared_by, chip.on_chip.cluster_units)


def _row(stage: Stage, pipeline: Metapipeline) -> dict[str, object]:
    spent = int(stage.duration_ps)
    return {
        "stage": stage.name,
        "runs": pipeline.iterations,
        "microseconds": spent / 1e6,
        "busy": spent * pipeline.iterations / pipeline.total_ps,
    }


def _phases(found: Trace) -> list[tuple[Loop, list[Operation]]]:
    """The outermost loops, each with the operations before it that are in no loop; the last with those after it."""
    loops = [item for item in found.root.body if isinstance(item, Loop)]
    if not loops:
        return [(Loop(1, None, found.name, grid=True, body=found.root.body), [])]
    beside: list[list[Operation]] = [[] for _ in loops]
    at = 0
    for item in found.root.body:
        if isinstance(item, Operation):
            beside[min(at, len(loops) - 1)].append(item)
        else:
            at += 1
    return list(zip(loops, beside, strict=True))


def _phase(
    loop: Loop, beside: list[Operation], chip: Gpu, clock: float, asynchronous: bool
) -> tuple[Metapipeline, int, int]:
    """One outermost loop: the pipeline of a streaming multiprocessor, its waves of blocks, its bytes of shared memory.

    Operations between the grid's loops are done by every thread block. A loop that no thread blocks share runs on one.
    """
    if not loop.grid:
        alone = Loop(1, None, loop.place, body=[*beside, loop])
        warps = warps_of([*beside, *_within(loop)], 1, chip, asynchronous)
        pipeline, taken = _block([], alone, 1, int(chip.on_chip.shared_bytes), chip, clock, asynchronous, warps)
        return pipeline, 1, taken
    grid = [loop]
    while len(inner := [item for item in grid[-1].body if isinstance(item, Loop) and item.grid]) == 1 and grid[-1].grid:
        grid.append(inner[0])
    rounds = ceil(prod(each.iterations for each in grid) / chip.compute.units)
    outer = [*beside, *(item for each in grid[:-1] for item in each.body if isinstance(item, Operation))]
    warps = warps_of([*beside, *_within(loop)], rounds, chip, asynchronous)
    pipeline, taken = _block(outer, grid[-1], rounds, int(chip.on_chip.shared_bytes), chip, clock, asynchronous, warps)
    return pipeline, ceil(rounds / warps.resident), taken


def _within(loop: Loop) -> list[Operation]:
    """All operations of a loop and of the loops in it."""
    return [operation for item in loop.body for operation in (_within(item) if isinstance(item, Loop) else [item])]


def _block(
    outer: list[Operation],
    loop: Loop,
    rounds: int,
    room: int,
    chip: Gpu,
    clock: float,
    asynchronous: bool,
    warps: Warps,
) -> tuple[Metapipeline, int]:
    """Load, compute and store of ``rounds`` iterations, with inner loops as stages between, and the bytes of its tiles.

    Innermost loads run ahead as deep as the ``room`` in shared memory allows, up to the generation's stages; around an
    inner loop they are double-buffered if there is room left, else single.
    """
    operations = [*outer, *(item for item in loop.body if isinstance(item, Operation))]
    cycles = cycles_of(operations, chip, asynchronous, warps.rows, lambda _: 1)
    loads = [operation for operation in operations if operation.kind == "load"]
    held = sum(tile_bytes(operation) for operation in loads)
    if held > room:
        raise TileError(
            f"{loads[0].place}: the tiles loaded together take {held:,} bytes; {room:,} of the shared memory of "
            f"{chip.title} are left for them."
        )
    inner = [
        _block([], item, item.iterations, room - held, chip, clock, asynchronous, warps)
        for item in loop.body
        if isinstance(item, Loop)
    ]
    stages: list[Stage] = []
    if loads:
        names = ", ".join(dict.fromkeys(operation.name.removeprefix("load ") for operation in loads))
        stages.append(Stage(f"load {names}", seconds_to_ps(cycles.load / clock), engine="copy"))
    stages += [Stage(f"loop {number}", pipeline) for number, (pipeline, _) in enumerate(inner, 1)]
    beside = two_iterations_fit(operations, chip)
    if computing := cycles.consumers(chip, asynchronous, warps.resident, beside):
        # A step of one thread block takes its barriers and dependent instructions at least.
        least = chip.generation.matmul.step_cycles if cycles.matrix else 0.0
        stages.append(Stage("consumers", seconds_to_ps(max(computing, least) / clock)))
    if cycles.store:
        stages.append(Stage("store", seconds_to_ps(cycles.store / clock)))
    within = max((taken for _, taken in inner), default=0)
    most = 2 if inner else chip.generation.matmul.stages
    depth = min(most, (room - within) // held) if held else 2
    buffers = tuple(
        Buffer(first.name, second.name, depth if first.engine == "copy" else 2) for first, second in pairwise(stages)
    )
    buffers += _addresses(loads, stages, chip)
    return Metapipeline(loop.place or "program", rounds, tuple(stages), buffers), within + depth * held


def _addresses(loads: list[Operation], stages: list[Stage], chip: Gpu) -> tuple[Buffer, ...]:
    """What loads whose address is a value of the iteration before wait for: it, and then the memory."""
    sources = [source for load in loads for source in address_from(load)]
    if not sources:
        return ()
    latency = seconds_to_ps(chip.generation.matmul.memory_latency_cycles / chip.compute.highest_clock_hz)
    kinds = {stages[0].name if source.kind == "load" else "consumers" for source in sources}
    return tuple(Buffer(kind, stages[0].name, carried=1, latency_ps=latency) for kind in sorted(kinds))
