"""Who sits where: the units of an allocation as coordinates on the mesh, and what then flows over every link.

Compute units follow each other along the mesh in program order, each stage with as much room as it needs of either
kind. Memory units then take the places that bring their bytes nearest to who reads them: a linear assignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from chips.placement.allocation import LANE_BYTES, SUM_BYTES, Allocation
from chips.placement.mesh import Cells, Mesh
from chips.placement.program import OUTSIDE, FusedProgram, Stage
from chips.placement.routing import Messages
from chips.spec import Dataflow


@dataclass(frozen=True)
class Positions:
    """Coordinates of every unit in use, each shape (n, 2).

    ``compute``, ``operand``: of every stage's compute units, and of its operand's memory units; ``buffer``: of every
    buffer's memory units. Compute units that share a part of the depth, and so their input, follow each other.
    """

    compute: tuple[Cells, ...]
    operand: tuple[Cells, ...]
    buffer: tuple[Cells, ...]


def positions(program: FusedProgram, allocation: Allocation, mesh: Mesh, width: int) -> Positions:
    """A place for every unit of ``allocation``, stage after stage along strips of ``width`` columns."""
    from scipy.optimize import linear_sum_assignment  # takes longer to import than to run

    compute = _compute_cells(program, allocation, mesh.walk(compute=True, width=width))
    wanted, weights = _wanted(program, allocation, compute)
    free = mesh.walk(compute=False, width=width)
    # Squares, because a long way crosses more of the others'.
    distance = np.abs(wanted[:, None, :] - free[None, :, :]).sum(axis=2) ** 2 * weights[:, None]
    chosen = free[linear_sum_assignment(distance)[1]]
    ends = np.cumsum([share.operand_units for share in allocation.shares])
    operand = tuple(np.split(chosen[: ends[-1]], ends[:-1]))
    slots = chosen[ends[-1] :]
    return Positions(compute, operand, tuple(slots[list(held)] for held in allocation.buffer_slots))


def _compute_cells(program: FusedProgram, allocation: Allocation, walk: Cells) -> tuple[Cells, ...]:
    """Stages along the walk over the mesh; where memory units need more room, their compute units stand apart."""
    taken = np.array([share.compute_units for share in allocation.shares])
    held = np.array([share.operand_units for share in allocation.shares])
    for buffer, slots in zip(program.buffers, allocation.buffer_slots, strict=True):
        held[max(buffer.source, 0)] += len(slots)
    # Room beyond a stage's own compute units goes to those whose memory units need it.
    more = np.maximum(held - taken, 0)
    spare = len(walk) - taken.sum()
    starts = np.concatenate(([0], np.cumsum(taken + more * min(1.0, spare / max(more.sum(), 1)))))
    cells = []
    for index, units in enumerate(taken):
        room = starts[index + 1] - starts[index]
        cells.append(walk[(starts[index] + np.arange(units) * (room / units)).astype(int)])
    return tuple(cells)


def _wanted(
    program: FusedProgram, allocation: Allocation, compute: tuple[Cells, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where every memory unit would best lie, and by how many bytes: operands first, then the slots of buffers."""
    places: list[NDArray[np.float64]] = []
    weights: list[NDArray[np.float64]] = []
    for stage, share, cells in zip(program.stages, allocation.shares, compute, strict=True):
        if stage.operand is None:
            continue
        places.append(cells[np.arange(share.operand_units) % len(cells)].astype(float))
        read = stage.operand.num_bytes * stage.operand.turns / share.operand_units
        weights.append(np.full(share.operand_units, read))
    slots = np.zeros((allocation.buffer_units, 2))
    moved = np.zeros(allocation.buffer_units)
    for buffer, held in zip(program.buffers, allocation.buffer_slots, strict=True):
        # Near the first to read it, or to its writer where only the next decoder does.
        reader = compute[buffer.readers[0] if buffer.readers else buffer.source]
        size = buffer.num_bytes / max(len(held), 1)
        for number, slot in enumerate(held):
            slots[slot] += size * reader[(2 * number + 1) * len(reader) // (2 * len(held))]
            moved[slot] += size
    places.append(slots / np.maximum(moved, 1e-9)[:, None])
    weights.append(moved)
    return np.concatenate(places), np.maximum(np.concatenate(weights), 1e-9)


def stage_messages(
    program: FusedProgram, allocation: Allocation, found: Positions, mesh: Mesh, chip: Dataflow
) -> list[Messages]:
    """What is sent in one pass, by the stage that asks for it."""
    return [_Streams(program, allocation, found, mesh, chip, index).messages() for index in range(len(program.stages))]


@dataclass(frozen=True)
class _Streams:
    """All that flows for one stage in a pass."""

    program: FusedProgram
    allocation: Allocation
    found: Positions
    mesh: Mesh
    chip: Dataflow
    index: int

    @property
    def stage(self) -> Stage:
        return self.program.stages[self.index]

    @property
    def units(self) -> Cells:
        return self.found.compute[self.index]

    def messages(self) -> Messages:
        sent = Messages()
        if self.stage.operand:
            self._operand(sent)
            self._product_inputs(sent)
            self._partial_sums(sent)
        for buffer, cells in zip(self.program.buffers, self.found.buffer, strict=True):
            if self.index in buffer.readers and not self.stage.operand:
                self._spread(sent, cells, self.units, buffer.num_bytes)
            if self.index in buffer.readers and buffer.source == OUTSIDE:
                self._spread(sent, self.mesh.gateways(cells), cells, buffer.num_bytes)
            if buffer.source == self.index:
                self._spread(sent, self._by_depth()[-1], cells, buffer.num_bytes)
                if self.stage.exchange:
                    self._spread(sent, cells, self.mesh.gateways(cells), self.stage.exchange.num_bytes)
                    self._spread(sent, self.mesh.gateways(cells), cells, self.stage.exchange.num_bytes)
        return sent

    def _operand(self, sent: Messages) -> None:
        """Memory to memory units if it streams, and from memory units to the lanes in every turn."""
        operand, cells = self.stage.operand, self.found.operand[self.index]
        assert operand is not None
        if operand.streamed_bytes:
            sent.send(self.mesh.gateways(cells), cells, operand.streamed_bytes / len(cells))
        fed = self.units[np.arange(len(cells)) % len(self.units)]
        sent.send(cells, fed, operand.num_bytes * operand.turns / len(cells))

    def _product_inputs(self, sent: Messages) -> None:
        """The narrow operand: each part of its depth to all units that multiply it, by multicast.

        A unit with several blocks of the result reads it once for each. Independent copies have their own.
        """
        stage, (across, deep) = self.stage, self.allocation.shares[self.index].cuts
        lanes = self.chip.compute.vector_lanes
        blocks = ceil(stage.blocks[0] / across)
        num_bytes = blocks * stage.rows * lanes * ceil(stage.blocks[1] / deep) * LANE_BYTES
        held = [
            cells
            for buffer, cells in zip(self.program.buffers, self.found.buffer, strict=True)
            if self.index in buffer.readers
        ]
        if not held:
            return
        slots = np.concatenate(held)
        groups = min(across, stage.copies)
        for part, units in enumerate(self._by_depth()):
            for group in range(groups):
                own = units[group * across // groups : (group + 1) * across // groups]
                sent.multicast(slots[(part * groups + group) % len(slots)], own, num_bytes)

    def _partial_sums(self, sent: Messages) -> None:
        """Where the depth is cut, partial sums pass from unit to unit, and the last has the result."""
        stage, units = self.stage, self._by_depth()
        blocks = ceil(stage.blocks[0] / units.shape[1])
        num_bytes = blocks * stage.rows * self.chip.compute.vector_lanes * SUM_BYTES
        sent.send(units[:-1].reshape(-1, 2), units[1:].reshape(-1, 2), num_bytes)

    def _by_depth(self) -> Cells:
        """The stage's compute units, shape (cut along the depth, cut along the result, 2)."""
        across, deep = self.allocation.shares[self.index].cuts
        return self.units.reshape(deep, across, 2)

    @staticmethod
    def _spread(sent: Messages, sources: Cells, targets: Cells, num_bytes: float) -> None:
        """``num_bytes`` in equal parts between two sets of units."""
        parts = np.arange(max(len(sources), len(targets)))
        sent.send(sources[parts % len(sources)], targets[parts % len(targets)], num_bytes / len(parts))
