"""A tile program as a fused program: the stages of all its loops, laid out side by side, to be placed like a decoder.

One pass is one iteration of its busiest loop. Stages of other loops do their share of work in it. Loads and stores are
no stages: their bytes cross off-chip memory and lie in buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from chips.placement.program import OUTSIDE, Buffer, FusedProgram, Operand, Stage
from chips.placement.unit import ComputeUnit, product_stage, vector_stage
from chips.spec import Dataflow

if TYPE_CHECKING:
    from chips.tiles.language import Shape
    from chips.tiles.stages import Step


def tile_program(program: Callable[..., None], chip: Dataflow, **shapes: Shape) -> FusedProgram:
    """``program`` of the tile language for tensors of ``shapes``, ready for ``place``.

    Raises TileError on the program's mistakes, with file and line.
    """
    from chips.tiles.compiler import executions, moved_bytes, total
    from chips.tiles.language import TileError, trace
    from chips.tiles.stages import bodies

    found = trace(program, **shapes)
    parts = bodies(found)
    computing = [(step, body) for body in parts.values() for step in body.steps if step.kind in ("matmul", "vector")]
    if not computing:
        raise TileError(f"'{found.name}' computes nothing: it only moves tiles.")
    passes = max(executions(body.loop) for _, body in computing)
    numbers = {id(step): number for number, (step, _) in enumerate(computing)}
    stages = []
    for step, body in computing:
        stage = _stage(step, ComputeUnit.of(chip))
        stages.append(replace(stage, block_seconds=stage.block_seconds * executions(body.loop) / passes))

    def inside(step: Step) -> list[int]:
        """The numbers of the stages that a step consists of: itself, or those of the loop it is."""
        if step.inner is None:
            return [numbers[id(step)]] if id(step) in numbers else []
        return [number for each in parts[id(step.inner)].steps for number in inside(each)]

    buffers: dict[tuple[int, str], Buffer] = {}
    for body in parts.values():
        steps = {step.name: step for step in body.steps}
        for passed, elements in body.passes:
            source = max(inside(steps[passed.source]), default=OUTSIDE)
            # What goes back to an earlier stage is a value carried to the next iteration, which its writer holds.
            readers = {number for number in inside(steps[passed.target]) if number > source}
            key = id(body), passed.source
            before = buffers[key].readers if key in buffers else ()
            size = 2.0 * elements
            rate = executions(body.loop) / passes
            every = tuple(sorted({*before, *readers}))
            buffers[key] = Buffer(passed.source, size * rate, size, source, every, max(every, default=max(source, 0)))
    kept = tuple(buffer for buffer in buffers.values() if buffer.source != OUTSIDE or buffer.readers)
    memory = total(found, moved_bytes)
    return FusedProgram(found.name, tuple(stages), kept, "pipelined", passes, memory / passes)


def _stage(step: Step, unit: ComputeUnit) -> Stage:
    """One execution of a step."""
    if step.kind == "matmul":
        operation = step.operations[0]
        rows, columns = operation.shape
        depth = operation.flop // (2 * rows * columns)
        # Rows may go to several units: each has a copy of the wide operand, which is one tile and small.
        turns = unit.turns(rows)
        operand = Operand(2.0 * turns * depth * columns, 1)
        return product_stage(unit, step.name, rows / turns, columns, depth, copies=turns, operand=operand)
    elements = max(operation.shape[0] * operation.shape[1] for operation in step.operations)
    return vector_stage(
        unit,
        step.name,
        elements,
        2.0 * sum(operation.vector for operation in step.operations),  # an instruction takes a lane for a clock
        sum(operation.exponentials for operation in step.operations),
        2.0 * elements,
    )
