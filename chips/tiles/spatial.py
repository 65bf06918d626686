"""Tile programs on a dataflow chip: every stage has compute and memory units of its own, and all run at once."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from chips.clock.timeline import seconds_to_ps
from chips.pipeline.metapipeline import Metapipeline, Stage
from chips.spec import Dataflow
from chips.tiles.compiler import ELEMENT_BYTES, Compiled, check_tiles, executions, tile_bytes, total
from chips.tiles.language import Operation, TileError, Trace
from chips.tiles.stages import Body, Step, bodies


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
    memory = total(found, lambda operation: tile_bytes(operation) if operation.kind in ("load", "store") else 0)
    memory_seconds = memory / chip.streaming_bandwidth
    levels = max(pipelines[id(found.root)].levels.values()) + max(len(body.steps) for body in parts.values())
    fill = chip.timing.memory_latency + levels * chip.timing.stage_latency
    seconds = max(pipelines[id(found.root)].total_ps / 1e12, memory_seconds) + fill
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
    limiter = "HBM" if memory_seconds > pipelines[id(found.root)].total_ps / 1e12 else shown.limiter
    named = _named(parts, units)
    return Compiled(found.name, chip.name, shown, seconds, engines, named, buffered, flop, memory, rows, limiter)


def _work(operation: Operation, chip: Dataflow) -> float:
    """Seconds of an operation on one compute unit. The exponential is in the tail of every lane."""
    compute = chip.compute
    matrix = operation.flop / (compute.matrix_flop_per_clock["bf16"] * chip.timing.matrix_efficiency)
    vector = operation.vector / compute.vector_lanes + operation.exponentials / compute.special_functions_per_clock
    return (matrix + vector) / compute.clock_hz


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
    works = [
        sum(_work(operation, chip) for operation in step.operations) * executions(body.loop) for step, body in free
    ]
    for (step, _), count in zip(free, _balanced(works, room), strict=True):
        asked[id(step)] = count
    return asked


def _balanced(works: list[float], room: int) -> list[int]:
    """Units of each stage, ``room`` in all, so that the slowest is as fast as it can be."""
    least, most = sum(works) / room if works else 0.0, sum(works)
    for _ in range(60):  # halves the interval that a stage may take, down to rounding
        middle = (least + most) / 2.0
        enough = sum(max(1, ceil(work / middle)) for work in works) <= room if middle else True
        least, most = (least, middle) if enough else (middle, most)
    return [max(1, ceil(work / most)) if most else 1 for work in works]


def _pipeline(body: Body, chip: Dataflow, units: dict[int, int], done: dict[int, Metapipeline]) -> Metapipeline:
    stages = tuple(_stage(step, chip, units, done) for step in body.steps)
    buffers = tuple(passed for passed, _ in body.passes)
    return Metapipeline(body.loop.place or "program", body.loop.iterations, stages, buffers)


def _stage(step: Step, chip: Dataflow, units: dict[int, int], done: dict[int, Metapipeline]) -> Stage:
    if step.inner is not None:
        return Stage(step.name, done[id(step.inner)])
    if step.kind in ("load", "store"):
        operation = step.operations[0]
        rate = chip.streaming_bandwidth
        if operation.row_par:  # memory units over which the program spreads the tile; else as many as the memory needs
            ports = operation.row_par * chip.on_chip.port_bytes_per_clock
            rate = min(rate, ports * chip.compute.clock_hz)
        engine = "HBM reads" if step.kind == "load" else ""
        return Stage(step.name, seconds_to_ps(tile_bytes(operation) / rate), engine=engine)
    work = sum(_work(operation, chip) for operation in step.operations)
    return Stage(step.name, seconds_to_ps(work / units[id(step)]))


def _buffer_bytes(parts: dict[int, Body], pipelines: dict[int, Metapipeline]) -> tuple[int, str]:
    """Bytes of all buffers, and the line at which the largest is filled. A value lies there once for all readers."""
    kept: dict[tuple[int, str], int] = {}
    for body in parts.values():
        depths = {replace(link, depth=None): link.depth or 1 for link in pipelines[id(body.loop)].links}
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
    moved = sum(tile_bytes(operation) for operation in step.operations if step.kind in ("load", "store"))
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
