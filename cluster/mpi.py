"""Ranks that are MPI processes: the communicator, the same under ``mpiexec`` and between Ray actors."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from mpi4py import MPI

from chips.explained_time import Time, latest
from cluster.communicator import Float32, sum_schedule
from collectives.mpi import run
from collectives.mpi_wait import Patience
from collectives.topology import Level, Topology

SILENT_SECONDS = 3600.0  # ranks may compute for long; one that dies is noticed by those who started it
SIZE_BYTES, SMALL_BYTES = 8, 2040  # of an item: its size, and how much of it travels with that; a Time fits
Item = TypeVar("Item")


class MpiCommunicator:
    """One rank of an MPI communicator. Waiting ranks leave the cores to those that compute."""

    def __init__(self, world: MPI.Intracomm, on_report: Callable[[object], None]) -> None:
        self.rank, self.ranks = world.Get_rank(), world.Get_size()
        self._world = world
        self._on_report = on_report
        self._patience = Patience(world, SILENT_SECONDS)
        # Real messages take real time; simulated time is kept by the clocks that ``meet``, so these wires cost none.
        self._wires = Topology((Level("switch", self.ranks, bandwidth=1.0, latency=0.0),))

    def all_reduce(self, values: Float32) -> Float32:
        schedule = sum_schedule(self.ranks)
        carried = run(
            schedule, self._wires, self._world, values.ravel(), payload_bytes=0, timeout_seconds=SILENT_SECONDS
        )
        return np.asarray(carried.result, np.float32).reshape(values.shape)

    def all_gather(self, values: Float32) -> list[Float32]:
        return self._exchange(np.asarray(values, np.float32), "an AllGather")

    def meet(self, time: Time) -> Time:
        return latest(self._exchange(time, "a meeting of the clocks"))

    def report(self, item: object) -> None:
        if self.rank == 0:
            self._on_report(item)

    def _exchange(self, item: Item, doing: str) -> list[Item]:
        """Every rank's item, by rank: in one collective where all are small, else in a second one."""
        mine = np.frombuffer(pickle.dumps(item, pickle.HIGHEST_PROTOCOL), np.uint8)
        block = np.zeros(SIZE_BYTES + SMALL_BYTES, np.uint8)
        block[:SIZE_BYTES].view(np.int64)[0] = mine.size
        block[SIZE_BYTES : SIZE_BYTES + mine.size] = mine[:SMALL_BYTES]
        blocks = np.empty((self.ranks, block.size), np.uint8)
        self._patience.wait([self._world.Iallgather(block, blocks)], [-1], doing)
        sizes = blocks[:, :SIZE_BYTES].copy().view(np.int64).ravel()
        if sizes.max() <= SMALL_BYTES:
            return [pickle.loads(given[SIZE_BYTES:].tobytes()) for given in blocks]
        items, starts = np.empty(int(sizes.sum()), np.uint8), np.cumsum(sizes) - sizes
        self._patience.wait([self._world.Iallgatherv(mine, (items, (sizes, starts), MPI.BYTE))], [-1], doing)
        return [pickle.loads(items[start : start + size].tobytes()) for start, size in zip(starts, sizes, strict=True)]
