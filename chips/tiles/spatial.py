"""Tile programs on a dataflow chip: every stage has compute and memory units of its own, and all run at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from chips.clock.timeline import seconds_to_ps
from chips.pipeline.balance import in_turn, single_buffered
from chips.pipeline.metapipeline import Metapipeline, Stage
from chips.spec import Dataflow
from chips.tiles.compiler import ELEMENT_BYTES, Compiled, check_tiles, executions, moved_bytes, tile_bytes, total
from chips.tiles.language import Operation, TileError, Trace
from chips.tiles.stages import Body, Step, address_from, bodies


def compile_spatial(found: Trace, chip: Dataflow) -> Compiled:
    """Lay the stages of all loops out on ``chip``: PCUs by their share of the work, or by ``row_par``; PMUs by bytes.

    Loads and stores of all loops share the chip's memory, which bounds the whole. Raises TileError where tiles and
    buffers do not fit the PMUs, or stages the PCUs.
    """
    check_tiles(found, chip.on_chip.total_bytes, chip.title)
    parts = bodies(found)
    units = _allocate(found, parts, chip)
    pipelines: dict[int, Metapipeline] = {}
    for body in reversed(parts.values()):  # inner loops come after those around them
        pipelines[id(body.loop)] = _pipeline(body, chip, units, pipelines)
    buffered, largest = _buffer_bytes(parts, pipelines)
    if buffered > chip.on_chip.total_bytes:
        raise TileError(
            f"{largest}: the buffers of '{found.name}' take {buffered:,} bytes; {chip.title} has "
            f"{chip.on_chip.total_bytes:,}. The largest is filled here."
        )
    memory = total(found, moved_bytes)
    memory_seconds = memory / chip.streaming_bandwidth
    levels = max(pipelines[id(found.root)].levels.values()) + max(len(body.steps) for body in parts.values())
    fill = chip.timing.memory_latency + levels * chip.timing.stage_latency
    whole = pipelines[id(found.root)]
    seconds, alone, single = (
        max(pipeline.total_ps / 1e12, memory_seconds) + fill
        for pipeline in (whole, in_turn(whole), single_buffered(whole))
    )
    flop = total(found, lambda operation: operation.flop)
    innermost = [body for body in parts.values() if not any(step.inner for step in body.steps)]
    busiest = max(
        innermost, key=lambda body: pipelines[id(body.loop)].total_ps * executions(body.loop) / body.loop.iterations
    )
    shown = pipelines[id(busiest.loop)]
    rows = [
        _row(step, body, chip, units, pipelines, seconds)
        for body in parts.values()
        for step in body.steps
        if not step.inner
    ]
    computing = sum(units.values())
    engines = {
        "HBM": memory_seconds / seconds,
        "PCUs (of all)": sum(
            _work(operation, chip) * executions(operation.loop) for operation in found.operations
        ) / (chip.compute.units * seconds),
        "PCUs (allocated)": computing / chip.compute.units,
        "PMUs (allocated)": min(1.0, ceil(buffered / chip.on_chip.unit_bytes) / chip.on_chip.memory_units),
    }  # fmt: skip
    limiter = "HBM" if memory_seconds > whole.total_ps / 1e12 else shown.limiter
    named = _named(parts, units)
    return Compiled(
        found.name, chip.name, shown, seconds, engines, named, buffered, flop, memory, rows, limiter, alone, single
    )


def _work(operation: Operation, chip: Dataflow) -> float:
    """Seconds of an operation on one compute unit. The exponential is in the tail of every lane."""
    compute = chip.compute
    matrix = operation.flop / (compute.matrix_flop_per_clock["bf16"] * chip.timing.matrix_efficiency)
    vector = operation.vector / compute.vector_lanes + operation.exponentials / compute.special_functions_per_clock
    return (matrix + vector) / compute.clock_hz


def _clocks(operation: Operation, units: int, chip: Dataflow) -> float:
    """Clocks of an operation on so many compute units, each of which takes whole vectors of lanes, or whole blocks of a
    product: lanes x depth of its result, and of the depth of its sum what is left to it. Products reach an efficiency.
    """
    compute = chip.compute
    lanes, special = compute.vector_lanes, compute.special_functions_per_clock
    vectors = ceil(ceil(operation.vector / lanes) / units) + ceil(ceil(operation.exponentials / special) / units)
    if not operation.flop:
        return vectors
    rows, columns = operation.shape
    depth = max(1, compute.matrix_flop_per_clock["bf16"] // (2 * lanes))
    blocks = ceil(columns / lanes) * ceil(rows / depth)
    steps = ceil(operation.flop / (2 * rows * columns) / max(1, units // blocks))
    return vectors + ceil(blocks / units) * steps / chip.timing.matrix_efficiency


def _allocate(found: Trace, parts: dict[int, Body], chip: Dataflow) -> dict[int, int]:
    """Compute units of each stage, by its identity: what the program says, and the rest in proportion to the work."""
    steps = [(step, body) for body in parts.values() for step in body.steps if step.kind in ("matmul", "vector")]
    asked = {id(step): max(operation.row_par or 0 for operation in step.operations) for step, _ in steps}
    room = int(chip.compute.units * chip.timing.unit_share) - sum(asked.values())
    free = [(step, body) for step, body in steps if not asked[id(step)]]
    if room < len(free):
        place = steps[-1][0].operations[0].place
        raise TileError(
            f"{place}: the stages of '{found.name}' ask for more than the {chip.compute.units} compute units of "
            f"{chip.title}."
        )
    for (step, _), count in zip(free, _balanced(free, room, chip), strict=True):
        asked[id(step)] = count
    return asked


def _balanced(steps: Sequence[tuple[Step, Body]], room: int, chip: Dataflow) -> list[int]:
    """Units of each stage, ``room`` in all, so that the slowest is as fast as it can be."""

    def clocks(place: int, units: int) -> float:
        step, body = steps[place]
        return sum(_clocks(operation, units, chip) for operation in step.operations) * executions(body.loop)

    def fewest(place: int, most: float) -> int:
        """Units with which a stage takes so many clocks at most; more than there are if none do."""
        return bisect_left(range(1, room + 1), True, key=lambda units: clocks(place, units) <= most) + 1

    places = range(len(steps))
    least, most = 0.0, max((clocks(place, 1) for place in places), default=0.0)
    for _ in range(60):  # halves the interval that a stage may take, down to rounding
        middle = (least + most) / 2.0
        enough = sum(fewest(place, middle) for place in places) <= room
        least, most = (least, middle) if enough else (middle, most)
    units = [fewest(place, most) for place in places]
    # What is left over is too little for the slowest; others that get it are done sooner, which values may wait for.
    waiting = sorted(places, key=lambda place: -clocks(place, units[place]))
    for place in waiting:
        more = room - sum(units)
        units[place] = fewest(place, clocks(place, units[place] + more))
    return units


def _pipeline(body: Body, chip: Dataflow, units: dict[int, int], done: dict[int, Metapipeline]) -> Metapipeline:
    stages = tuple(_stage(step, chip, units, done) for step in body.steps)
    pursued = {step.name for step in body.steps if step.kind == "load" and address_from(step.operations[0])}
    latency = seconds_to_ps(chip.timing.memory_latency)
    buffers = tuple(
        replace(passed, latency_ps=latency) if passed.carried and passed.target in pursued else passed
        for passed, _ in body.passes
    )
    pipeline = Metapipeline(body.loop.place or "program", body.loop.iterations, stages, buffers)
    lags = _store_lags(body, pipeline)
    return replace(pipeline, stages=tuple(replace(stage, lag=lags.get(stage.name, 0)) for stage in stages))


def _store_lags(body: Body, pipeline: Metapipeline) -> dict[str, int]:
    """Iterations by which each store runs behind the loads on the port that they share.

    As many as stages lie between, so that loads do not wait until what they bring is stored; no more than the buffer
    before it holds. None where a load waits for a store.
    """
    levels = pipeline.levels
    loads = [levels[step.name] for step in body.steps if step.kind == "load"]
    lags: dict[str, int] = {}
    for step in body.steps:
        if step.kind == "store" and loads and levels[step.name] > max(loads):
            depths = [link.depth for link in pipeline.links if link.target == step.name and link.depth]
            lags[step.name] = min([levels[step.name] - 1, *(depth for depth in depths)])
    return lags


def _stage(step: Step, chip: Dataflow, units: dict[int, int], done: dict[int, Metapipeline]) -> Stage:
    if step.inner is not None:
        return Stage(step.name, done[id(step.inner)])
    if step.kind in ("load", "store"):
        operation = step.operations[0]
        seconds = moved_bytes(operation) / chip.streaming_bandwidth
        if operation.row_par:  # memory units over which the program spreads the tile; else as many as the memory needs
            ports = operation.row_par * chip.on_chip.port_bytes_per_clock
            seconds = max(seconds, tile_bytes(operation) / (ports * chip.compute.clock_hz))
        return Stage(step.name, seconds_to_ps(seconds), engine="HBM")
    clocks = sum(_clocks(operation, units[id(step)], chip) for operation in step.operations)
    return Stage(step.name, seconds_to_ps(clocks / chip.compute.clock_hz))


def _buffer_bytes(parts: dict[int, Body], pipelines: dict[int, Metapipeline]) -> tuple[int, str]:
    """Bytes of all buffers, and the line at which the largest is filled. A value lies there once for all readers."""
    kept: dict[tuple[int, str], int] = {}
    for body in parts.values():
        links = pipelines[id(body.loop)].links
        depths = {replace(link, depth=None, latency_ps=0): link.depth or 1 for link in links}
        for passed, elements in body.passes:
            key = (id(body), passed.source)
            depth = passed.depth or depths[replace(passed, depth=None)]
            kept[key] = max(kept.get(key, 0), depth * elements * ELEMENT_BYTES)
    if not kept:
        return 0, ""
    largest = max(kept, key=lambda key: kept[key])
    step = next(
        step for body in parts.values() if id(body) == largest[0] for step in body.steps if step.name == largest[1]
    )
    place = step.inner.place if step.inner else step.operations[0].place
    return sum(kept.values()), place


def _named(parts: dict[int, Body], units: dict[int, int]) -> dict[str, int]:
    return {
        f"{step.name} ({step.operations[0].place})": units[id(step)]
        for body in parts.values()
        for step in body.steps
        if id(step) in units
    }


def _row(
    step: Step, body: Body, chip: Dataflow, units: dict[int, int], pipelines: dict[int, Metapipeline], seconds: float
) -> dict[str, object]:  # fmt: skip
    stage = _stage(step, chip, units, pipelines)
    moved = round(sum(map(moved_bytes, step.operations)))
    spent = int(stage.duration_ps) / 1e12
    return {
        "stage": step.name,
        "line": step.operations[0].place,
        "engine": "HBM" if step.kind in ("load", "store") else "PCUs",
        "units": units.get(id(step)),
        "runs": executions(body.loop),
        "microseconds": spent * 1e6,
        "bytes": moved,
        "matrix_flop": sum(operation.flop for operation in step.operations),
        "busy": spent * executions(body.loop) / seconds,
    }
