"""How many units each stage gets: compute units in proportion to its work, memory units for what it holds and reads.

The time of the slowest stage is made as short as the units allow. Units come in whole numbers and so do the blocks
that each of them takes: what is left over at the end is less than the next shorter time would need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from chips.placement.program import Buffer, FusedProgram, Stage
from chips.placement.unit import ComputeUnit
from chips.spec import Dataflow

LANE_BYTES = 2  # operands in the lanes are bf16
SUM_BYTES = 4  # partial sums are fp32
ROUNDING = 1e-9  # a time may be just that of a whole number of blocks
HALVINGS = 40  # of the interval in which the slowest stage's time lies: to a relative 1e-12


@dataclass(frozen=True)
class Share:
    """What one stage gets. ``cuts``: (along the result, along the depth), whose product are its compute units.

    ``seconds``: of a pass, on these units. ``operand_units``: memory units of its wide operand.
    """

    cuts: tuple[int, int]
    seconds: float
    operand_units: int

    @property
    def compute_units(self) -> int:
        return self.cuts[0] * self.cuts[1]


@dataclass(frozen=True)
class Allocation:
    """Units of every stage and every buffer, in the program's order.

    ``buffer_slots``: the memory units of each buffer, numbered from 0 among all that hold buffers; buffers that do not
    live at the same time may share some.
    """

    shares: tuple[Share, ...]
    buffer_slots: tuple[tuple[int, ...], ...]

    @property
    def compute_units(self) -> int:
        return sum(share.compute_units for share in self.shares)

    @property
    def memory_units(self) -> int:
        return sum(share.operand_units for share in self.shares) + self.buffer_units

    @property
    def buffer_units(self) -> int:
        """Memory units that hold buffers."""
        return max((slot for slots in self.buffer_slots for slot in slots), default=-1) + 1


def allocate(program: FusedProgram, chip: Dataflow) -> Allocation | None:
    """The allocation with the fastest slowest stage; None where ``program`` does not fit one kernel on ``chip``."""
    if not fits(program, chip):
        return None
    choices = [_cuts(stage) for stage in program.stages]
    alone = [stage.unit_seconds for stage in program.stages]
    least, most = 0.0, max(alone + [_port_seconds(buffer, chip) for buffer in program.buffers])
    best = _within(program, chip, choices, most)
    assert best is not None  # one unit a stage: what ``fits`` has seen
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        tried = _within(program, chip, choices, middle)
        if tried is None:
            least = middle
        else:
            best, most = tried, middle
    return best


def fits(program: FusedProgram, chip: Dataflow) -> bool:
    """Whether ``program`` fits one kernel: one compute unit a stage, and memory units for all that it must hold.

    How fast that would be is not asked.
    """
    shares = [Share((1, 1), stage.unit_seconds, _operand_units(stage, 1, chip)) for stage in program.stages]
    return (
        len(shares) <= chip.compute.units
        and _used(program, shares, chip, inf).memory_units <= chip.on_chip.memory_units
    )


def _cuts(stage: Stage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every number of parts along the result that makes the largest part smaller, and the blocks in that part."""
    blocks = stage.blocks[0]
    root = int(blocks**0.5) + 1
    parts = np.unique(np.concatenate((np.arange(1, root + 1), -(-blocks // np.arange(1, root + 1)))))
    return parts, -(-blocks // parts)


def _within(
    program: FusedProgram,
    chip: Dataflow,
    choices: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    seconds: float,
) -> Allocation | None:
    """The fewest units with which no stage takes longer than ``seconds``; None where the chip has fewer."""
    shares = []
    for stage, (parts, blocks) in zip(program.stages, choices, strict=True):
        share = _fewest(stage, parts, blocks, seconds * (1 + ROUNDING), chip)
        if share is None:
            return None
        shares.append(share)
    found = _used(program, shares, chip, seconds)
    enough = found.compute_units <= chip.compute.units and found.memory_units <= chip.on_chip.memory_units
    return found if enough else None


def _fewest(
    stage: Stage, parts: NDArray[np.int64], blocks: NDArray[np.int64], seconds: float, chip: Dataflow
) -> Share | None:
    """The fewest compute units on which ``stage`` takes at most ``seconds``, with the least cuts in depth."""
    deepest, block, join = stage.blocks[1], stage.block_seconds, sum_seconds(stage, chip)
    whole = blocks * deepest * block <= seconds
    with np.errstate(divide="ignore", invalid="ignore"):
        deep = np.floor(np.minimum((seconds / blocks - join) / block, deepest))
        cut = np.where(deep >= 1, np.ceil(deepest / np.maximum(deep, 1)), np.inf)
    across = np.where(whole, 1, np.maximum(cut, 2))
    units = parts * across
    least = units.min()
    if not np.isfinite(least):
        return None
    chosen = int(np.flatnonzero(units == least)[-1])
    cuts = int(parts[chosen]), int(across[chosen])
    taken = int(blocks[chosen]) * (ceil(deepest / cuts[1]) * block + (join if cuts[1] > 1 else 0.0))
    return Share(cuts, taken, _operand_units(stage, cuts[0] * cuts[1], chip))


def sum_seconds(stage: Stage, chip: Dataflow) -> float:
    """What a cut along the depth costs for a block of the result: partial sums (fp32) of the unit before come in."""
    port = chip.on_chip.port_bytes_per_clock * chip.compute.clock_hz
    return stage.rows * chip.compute.vector_lanes * SUM_BYTES / port


def _operand_units(stage: Stage, units: int, chip: Dataflow) -> int:
    """Memory units of a wide operand: one port for every compute unit that it feeds, and room for what is resident.

    A streamed operand needs room for two tiles a unit, which a memory unit always has.
    """
    if stage.operand is None:
        return 0
    ports = units * chip.compute.vector_lanes * LANE_BYTES / chip.on_chip.port_bytes_per_clock
    return max(ceil(ports), ceil(stage.operand.resident_bytes / chip.on_chip.unit_bytes))


def _used(program: FusedProgram, shares: Sequence[Share], chip: Dataflow, seconds: float) -> Allocation:
    unit = ComputeUnit.of(chip)
    needed = [_buffer_units(program, buffer, shares, chip, unit, seconds) for buffer in program.buffers]
    return Allocation(tuple(shares), _slots(program, needed))


def _buffer_units(
    program: FusedProgram,
    buffer: Buffer,
    shares: Sequence[Share],
    chip: Dataflow,
    unit: ComputeUnit,
    seconds: float,
) -> int:
    """Memory units of a buffer: room for its copies, ports for all of it to pass in the slowest stage's
    ``seconds``, and a narrow port for each part of it that a product reads by itself."""
    on_chip = chip.on_chip
    narrow = unit.depth * LANE_BYTES / on_chip.port_bytes_per_clock
    ports = [_port_seconds(buffer, chip) / seconds] + [
        narrow * shares[reader].cuts[1] * min(shares[reader].cuts[0], program.stages[reader].copies)
        for reader in buffer.readers
        if program.stages[reader].operand
    ]
    return max(1, ceil(program.copies(buffer) * buffer.held_bytes / on_chip.unit_bytes), ceil(max(ports)))


def _port_seconds(buffer: Buffer, chip: Dataflow) -> float:
    """How long one memory unit's port would take for all that passes through a buffer."""
    return buffer.num_bytes / (chip.on_chip.port_bytes_per_clock * chip.compute.clock_hz)


def _slots(program: FusedProgram, needed: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The memory units of every buffer, numbered from 0 among those that hold buffers.

    In a pipeline all buffers live at once. Where stages take turns, a unit is free again after its last reader.
    """
    slots: list[tuple[int, ...]] = [()] * len(needed)
    live: list[tuple[int, tuple[int, ...]]] = []
    free: list[int] = []
    taken = 0
    for index in sorted(range(len(needed)), key=lambda index: program.buffers[index].source):
        buffer = program.buffers[index]
        if program.control == "in turn":
            free += [slot for last, held in live if last < buffer.source for slot in held]
            live = [(last, held) for last, held in live if last >= buffer.source]
        reused, free = free[: needed[index]], free[needed[index] :]
        fresh = range(taken, taken + needed[index] - len(reused))
        taken += len(fresh)
        slots[index] = (*reused, *fresh)
        live.append((buffer.until, slots[index]))
    return tuple(slots)
