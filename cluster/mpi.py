"""Ranks that are MPI processes: the communicator, the same under ``mpiexec`` and between Ray actors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from chips.explained_time import Time, latest
from cluster.communicator import Float32, sum_schedule
from collectives.mpi import run
from collectives.topology import Level, Topology

SILENT_SECONDS = 3600.0  # ranks may compute for long; one that dies is noticed by those who started it


class MpiCommunicator:
    """One rank of an MPI communicator."""

    def __init__(self, world: MPI.Intracomm, on_report: Callable[[object], None]) -> None:
        self.rank, self.ranks = world.Get_rank(), world.Get_size()
        self._world = world
        self._wires = Topology((Level("switch", self.ranks, bandwidth=1.0, latency=0.0),))
        self._on_report = on_report

    def all_reduce(self, values: Float32) -> Float32:
        carried = run(
            sum_schedule(self.ranks), self._wires, self._world, values.ravel(), timeout_seconds=SILENT_SECONDS
        )
        return np.asarray(carried.result, np.float32).reshape(values.shape)

    def all_gather(self, values: Float32) -> list[Float32]:
        return [np.asarray(given, np.float32) for given in self._world.allgather(values)]

    def meet(self, time: Time) -> Time:
        return latest(self._world.allgather(time))

    def report(self, item: object) -> None:
        if self.rank == 0:
            self._on_report(item)
