"""Where to cut a program that one kernel cannot hold: the fewest kernels, and among those the cheapest cuts."""

from __future__ import annotations

from functools import partial

from chips.placement.allocation import fits
from chips.placement.program import FusedProgram, with_shares
from chips.spec import Dataflow


def sections(program: FusedProgram, chip: Dataflow) -> list[FusedProgram]:
    """``program`` in the fewest runs of stages that each fit one kernel; a stage too large alone is cut itself.

    Among cuts into as many, those with the least time: every section loads what it holds, and its work spreads over the
    whole chip, however little it is. Raises TooLarge where a stage fits in no kernel.
    """
    if fits(program, chip):
        return [program]
    program = with_shares(program, partial(fits, chip=chip))
    count = len(program.stages)
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)]  # up to each stage: kernels, seconds, where the last one begins
    for last in range(1, count + 1):
        choices = []
        for first in range(last - 1, -1, -1):
            part = program.part(first, last)
            if not fits(part, chip):
                break  # one stage more only needs more
            kernels, seconds, _ = best[first]
            choices.append((kernels + 1, seconds + _least_seconds(part, chip), first))
        best.append(min(choices))
    parts: list[FusedProgram] = []
    last = count
    while last:
        first = best[last][2]
        parts.insert(0, program.part(first, last))
        last = first
    return parts


def _least_seconds(part: FusedProgram, chip: Dataflow) -> float:
    """A section's work spread evenly over all units, or its traffic with memory, whichever is longer."""
    loaded = sum(stage.operand.loaded_bytes for stage in part.stages if stage.operand)
    streamed = sum(stage.operand.streamed_bytes for stage in part.stages if stage.operand) + part.memory_bytes
    work = part.passes * sum(stage.unit_seconds for stage in part.stages) / chip.compute.units
    bandwidth = chip.memory.bandwidth * chip.timing.memory_efficiency
    return loaded / bandwidth + max(work, part.passes * streamed / bandwidth)
