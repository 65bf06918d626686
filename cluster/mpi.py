"""Ranks that are MPI processes: the communicator, the same under ``mpiexec`` and between Ray actors.

In an exchange every rank first tells every other what it asks for, and with it what is only gathered, the simulated
times of clocks above all. Then, all being at the same call, values are summed by a schedule of ``collectives`` in
point-to-point messages.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from chips.clock.time import Time, latest
from cluster.agreement import Call, call_of, check_alike, named
from cluster.communicator import Answer, Communicator, Float32, Meet, Request, Sum, sum_schedule
from cluster.errors import check_sendable
from collectives.mpi.run import run_on_mpi
from collectives.mpi.wait import Patience
from collectives.topology import Level, Topology

SIZE_BYTES, SMALL_BYTES = 8, 2040  # of a block: the size of what a rank tells, and as much of that as fits
Block = NDArray[np.uint8]
Told = list[Float32 | Time]


class MpiCommunicator(Communicator):
    """One rank of an MPI communicator. Waiting ranks leave the cores to those that compute.

    Every exchange raises ClusterError on all ranks where they are not at the same call, and SilentRank once nothing has
    come for ``timeout_seconds``.
    """

    def __init__(self, world: MPI.Intracomm, on_report: Callable[[object], None], timeout_seconds: float) -> None:
        self.rank, self.ranks = world.Get_rank(), world.Get_size()
        self._world = world
        self._on_report = on_report
        self._timeout = timeout_seconds
        self._patience = Patience(world, timeout_seconds)
        self._calls = 0
        # Real messages take real time; simulated time is kept by the clocks that ``meet``, so these wires cost none.
        self._wires = Topology((Level("switch", self.ranks, bandwidth=1.0, latency=0.0),))

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        heard = self._tell(call_of(requests), [_told(request) for request in requests if not isinstance(request, Sum)])
        summed = self._sum([np.asarray(request.values, np.float32) for request in requests if isinstance(request, Sum)])
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

    def end(self) -> None:
        """The program of this rank has ended; so must have those of the others."""
        self._tell(None, [])

    def report(self, item: object) -> None:
        if self.rank == 0:
            check_sendable(item, "reports", self.rank)
            self._on_report(item)

    def _tell(self, call: Call, told: Told) -> list[Told]:
        """What each rank has told, once all are at the same call."""
        self._calls += 1
        mine = np.frombuffer(pickle.dumps((call, told), pickle.HIGHEST_PROTOCOL), np.uint8)
        block = np.zeros(SIZE_BYTES + SMALL_BYTES, np.uint8)
        block[:SIZE_BYTES].view(np.int64)[0] = mine.size
        block[SIZE_BYTES : SIZE_BYTES + mine.size] = mine[:SMALL_BYTES]
        blocks = np.empty((self.ranks, block.size), np.uint8)
        self._patience.wait([self._world.Iallgather(block, blocks)], [-1], named(call))
        sizes = blocks[:, :SIZE_BYTES].copy().view(np.int64).ravel()
        if sizes.max() <= SMALL_BYTES:
            heard = [pickle.loads(given[SIZE_BYTES:].tobytes()) for given in blocks]
        else:
            heard = self._gather_large(mine, sizes)
        check_alike([call for call, _ in heard], self._calls)
        return [told for _, told in heard]

    def _sum(self, values: list[Float32]) -> list[Float32]:
        """The sum of each over ranks, all in the same messages."""
        if not values:
            return []
        payload = np.concatenate([each.ravel() for each in values])
        schedule = sum_schedule(self.ranks)
        carried = run_on_mpi(
            schedule, self._wires, self._world, payload, payload_bytes=0, timeout_seconds=self._timeout
        )
        ends = np.cumsum([each.size for each in values])
        parts = np.split(np.asarray(carried.result, np.float32), ends[:-1])
        return [part.reshape(each.shape) for part, each in zip(parts, values, strict=True)]

    def _gather_large(self, mine: Block, sizes: NDArray[np.int64]) -> list[tuple[Call, Told]]:
        """The same where it does not fit into the blocks."""
        items, starts = np.empty(int(sizes.sum()), np.uint8), np.cumsum(sizes) - sizes
        request = self._world.Iallgatherv(mine, (items, (sizes, starts), MPI.BYTE))
        self._patience.wait([request], [-1], "telling times and values")
        return [pickle.loads(items[start : start + size].tobytes()) for start, size in zip(starts, sizes, strict=True)]


def _told(request: Request) -> Float32 | Time:
    return request.time if isinstance(request, Meet) else np.asarray(request.values, np.float32)
