"""Where to cut a program that one kernel cannot hold: the fewest kernels, and among those the cheapest cuts."""

from __future__ import annotations

from functools import partial

from chips.placement.allocation import allocate, fits
from chips.placement.program import FusedProgram, with_shares
from chips.spec import Dataflow


def sections(program: FusedProgram, chip: Dataflow) -> list[FusedProgram]:
    """``program`` in the fewest runs of stages that each fit one kernel; a stage too large alone is cut itself.

    Among cuts into as many, those whose kernels take least together, the loads of the mesh's links apart. Raises
    TooLarge where a stage fits in no kernel.
    """
    if fits(program, chip):
        return [program]
    program, needed = _shared(program, chip)
    count = len(program.stages)
    best: list[tuple[float, list[FusedProgram]]] = [(0.0, []) for _ in range(count + 1)]  # from each stage to the end
    for first in range(count - 1, -1, -1):
        choices = []
        for last in range(first + 1, count + 1):
            part = program.part(first, last)
            if not fits(part, chip):
                break  # one stage more only needs more
            if needed[first] == needed[last] + 1:
                seconds, rest = best[last]
                choices.append((seconds + _seconds(part, chip), [part, *rest]))
        best[first] = min(choices, key=lambda choice: choice[0])
    return best[0][1]


def kernel_count(program: FusedProgram, chip: Dataflow) -> int:
    """How many ``sections`` there are, found faster. Raises TooLarge."""
    return 1 if fits(program, chip) else _shared(program, chip)[1][0]


def _shared(program: FusedProgram, chip: Dataflow) -> tuple[FusedProgram, list[int]]:
    """``program`` with stages that are too large cut, and how many kernels it takes from each stage to the end."""
    program = with_shares(program, partial(fits, chip=chip))
    count = len(program.stages)
    needed = [0] * (count + 1)
    for first in range(count - 1, -1, -1):
        last = first + 1
        while last < count and fits(program.part(first, last + 1), chip):
            last += 1
        needed[first] = needed[last] + 1  # a kernel that holds more leaves less to the others
    return program, needed


def _seconds(part: FusedProgram, chip: Dataflow) -> float:
    """A section's passes at the pace of its slowest stage or of off-chip memory, and what it loads before them."""
    found = allocate(part, chip)
    assert found is not None  # it fits
    times = [share.seconds for share in found.shares]
    work = max(times) if part.control == "pipelined" else sum(times)
    operands = [stage.operand for stage in part.stages if stage.operand]
    loaded = sum(operand.loaded_bytes for operand in operands)
    streamed = sum(operand.streamed_bytes for operand in operands) + part.memory_bytes
    bandwidth = chip.streaming_bandwidth
    return loaded / bandwidth + part.passes * max(work, streamed / bandwidth)
