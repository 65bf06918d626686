"""Ranks that are MPI processes: the communicator, the same under ``mpiexec`` and between Ray actors.

Values are summed by a schedule of ``collectives`` in point-to-point messages. What else ranks have to tell each other
at that moment, the simulated times of their clocks above all, travels in the same messages: each rank has a block
behind the values that only it fills, so that the sum of all is every rank's block.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from chips.clock.time import Time, latest
from cluster.communicator import Answer, Communicator, Float32, Meet, Request, Sum, sum_schedule
from collectives.mpi.run import run_on_mpi
from collectives.mpi.wait import Patience
from collectives.topology import Level, Topology

SILENT_SECONDS = 3600.0  # ranks may compute for long; one that dies is noticed by those who started it
SIZE_BYTES, SMALL_BYTES = 8, 2040  # of a block: the size of what a rank tells, and as much of that as fits
Block = NDArray[np.uint8]
Told = list[Float32 | Time]


class MpiCommunicator(Communicator):
    """One rank of an MPI communicator. Waiting ranks leave the cores to those that compute."""

    def __init__(self, world: MPI.Intracomm, on_report: Callable[[object], None]) -> None:
        self.rank, self.ranks = world.Get_rank(), world.Get_size()
        self._world = world
        self._on_report = on_report
        self._patience = Patience(world, SILENT_SECONDS)
        # Real messages take real time; simulated time is kept by the clocks that ``meet``, so these wires cost none.
        self._wires = Topology((Level("switch", self.ranks, bandwidth=1.0, latency=0.0),))

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        sums = [np.asarray(request.values, np.float32) for request in requests if isinstance(request, Sum)]
        told: Told = [_told(request) for request in requests if not isinstance(request, Sum)]
        summed, heard = self._carry(sums, told)
        answers: list[Answer] = []
        for request in requests:
            if isinstance(request, Sum):
                answers.append(summed.pop(0))
                continue
            by_rank = [items.pop(0) for items in heard]
            if isinstance(request, Meet):
                answers.append(latest([item for item in by_rank if isinstance(item, Time)]))
            else:
                answers.append([item for item in by_rank if isinstance(item, np.ndarray)])
        return answers

    def report(self, item: object) -> None:
        if self.rank == 0:
            self._on_report(item)

    def _carry(self, sums: list[Float32], told: Told) -> tuple[list[Float32], list[Told]]:
        """The sums over ranks, and what each rank has told."""
        if not told:
            return self._sum(sums), []
        mine = np.frombuffer(pickle.dumps(told, pickle.HIGHEST_PROTOCOL), np.uint8)
        block = np.zeros(SIZE_BYTES + SMALL_BYTES, np.uint8)
        block[:SIZE_BYTES].view(np.int64)[0] = mine.size
        block[SIZE_BYTES : SIZE_BYTES + mine.size] = mine[:SMALL_BYTES]
        blocks = np.zeros((self.ranks, block.size), np.uint8)
        if sums:
            blocks[self.rank] = block
            # As floats, because values are: whole numbers below 2**16 stay what they are when zeros are added.
            *summed, whole = self._sum([*sums, blocks.view(np.uint16).astype(np.float32)])
            blocks = whole.astype(np.uint16).view(np.uint8)
        else:
            summed = []
            self._patience.wait([self._world.Iallgather(block, blocks)], [-1], "telling times and values")
        sizes = blocks[:, :SIZE_BYTES].copy().view(np.int64).ravel()
        if sizes.max() <= SMALL_BYTES:
            return summed, [pickle.loads(given[SIZE_BYTES:].tobytes()) for given in blocks]
        return summed, self._gather_large(mine, sizes)

    def _sum(self, values: list[Float32]) -> list[Float32]:
        """The sum of each over ranks, all in the same messages."""
        payload = np.concatenate([each.ravel() for each in values])
        schedule = sum_schedule(self.ranks)
        carried = run_on_mpi(
            schedule, self._wires, self._world, payload, payload_bytes=0, timeout_seconds=SILENT_SECONDS
        )
        ends = np.cumsum([each.size for each in values])
        parts = np.split(np.asarray(carried.result, np.float32), ends[:-1])
        return [part.reshape(each.shape) for part, each in zip(parts, values, strict=True)]

    def _gather_large(self, mine: Block, sizes: NDArray[np.int64]) -> list[Told]:
        """What each rank has told, where that does not fit into the blocks."""
        items, starts = np.empty(int(sizes.sum()), np.uint8), np.cumsum(sizes) - sizes
        request = self._world.Iallgatherv(mine, (items, (sizes, starts), MPI.BYTE))
        self._patience.wait([request], [-1], "telling times and values")
        return [pickle.loads(items[start : start + size].tobytes()) for start, size in zip(starts, sizes, strict=True)]


def _told(request: Request) -> Float32 | Time:
    return request.time if isinstance(request, Meet) else np.asarray(request.values, np.float32)
