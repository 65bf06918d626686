"""What the program of one rank sees of the others: who it is, and collectives in which all ranks take part together.

Here: the interface alone. Ranks that are threads of one process meet it in ``cluster.local``, MPI ranks in
``cluster.mpi``; ``cluster.ranks`` starts either, and ``cluster.together`` runs several programs on one rank. A sum of
floats depends on its order, so an AllReduce follows a schedule of ``collectives``: the same bits on every rank,
wherever the ranks live.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import Time
from collectives.algorithms import recursive_doubling
from collectives.schedule import Schedule

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sum:
    """A request for the sum of every rank's ``values``."""

    values: Float32


@dataclass(frozen=True, eq=False)
class Gather:
    """A request for every rank's ``values``."""

    values: Float32


@dataclass(frozen=True, eq=False)
class Meet:
    """A request for the latest of every rank's ``time``."""

    time: Time


Request = Sum | Gather | Meet
Answer = Float32 | list[Float32] | Time


class Communicator(ABC):
    """One rank's way to the others. Every rank must make the same calls in the same order."""

    rank: int
    ranks: int

    @abstractmethod
    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers to several requests in the same messages; every rank must make requests of the same kinds."""

    @abstractmethod
    def report(self, item: object) -> None:
        """Hand an intermediate result to whoever started the ranks; only what rank 0 reports arrives there."""

    def all_reduce(self, values: Float32) -> Float32:
        """The sum of every rank's ``values`` (same shape on all): the same bits on every rank and executor."""
        return cast(Float32, self.exchange([Sum(values)])[0])

    def all_gather(self, values: Float32) -> list[Float32]:
        """Every rank's ``values``, by rank."""
        return cast(list[Float32], self.exchange([Gather(values)])[0])

    def meet(self, time: Time) -> Time:
        """The latest of all ranks' simulated times, with the explanation of the first rank that has it."""
        return cast(Time, self.exchange([Meet(time)])[0])


def sum_schedule(ranks: int) -> Schedule:
    """How values are summed between ranks. Both partners of a step add the same two numbers, so all have the same bits.

    It moves its payload in one piece, so what else travels with it does not change the order of a sum. Not the schedule
    that a simulated machine is priced with: that is the choice of its library.
    """
    return recursive_doubling(ranks)
