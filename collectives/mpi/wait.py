"""Waiting between MPI ranks: without burning a core, and never for ever.

A rank that waits polls, first often, then ever more rarely, so that many ranks can share few cores. When nothing has
come for the time-out, the waiting ranks tell each other that they are alive; whoever does not is the one that died or
hangs. Belongs here: how to wait, and finding who is silent. What is waited for is up to the caller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from mpi4py import MPI

from collectives.mpi.silent_rank import SilentRank

ALIVE_TAG = 32_003  # messages of a diagnosis; MPI guarantees tags up to 32,767
EAGER_POLLS = 2000  # before the first sleep, where every rank has a core of its own
CROWDED_POLLS = 20  # where ranks share cores
SLEEP_SHARE = 0.25  # of the time waited so far: so sleeping delays what comes by at most a quarter
LONGEST_SLEEP = 0.02
ANSWER_SECONDS = 2.0  # how long the living have to say so


class Patience:
    """How one rank waits on one communicator: at most ``timeout_seconds`` without anything happening."""

    def __init__(self, communicator: MPI.Intracomm, timeout_seconds: float) -> None:
        self._communicator = communicator
        self._timeout = timeout_seconds
        self._rank, self._ranks = communicator.Get_rank(), communicator.Get_size()
        crowded = ranks_on_this_machine(self._ranks, MPI.COMM_WORLD.Get_size()) > (os.cpu_count() or 1)
        self._polls = CROWDED_POLLS if crowded else EAGER_POLLS

    def wait(self, requests: Sequence[MPI.Request], peers: Sequence[int], doing: str) -> None:
        """Until all ``requests`` are done; request i needs rank ``peers[i]``, or everyone where it is negative.

        ``doing``: what this rank is at, for the sentence. Raises SilentRank after the time-out without progress, or
        when another rank has run out of patience.
        """
        left = dict(enumerate(requests))
        polls, since = 0, time.monotonic()
        while left:
            places = list(left)
            done = MPI.Request.Testsome([left[place] for place in places])
            if done is None:
                return
            for index in done:
                del left[places[index]]
            if done:
                polls, since = 0, time.monotonic()
                continue
            polls += 1
            if polls < self._polls:
                os.sched_yield()
                continue
            waited = time.monotonic() - since
            others_gave_up = self._communicator.Iprobe(MPI.ANY_SOURCE, ALIVE_TAG)
            if waited > self._timeout or others_gave_up:
                raise self._diagnose(sorted({peers[place] for place in left}), doing)
            time.sleep(min(LONGEST_SLEEP, SLEEP_SHARE * waited))

    def meet(self, doing: str) -> None:
        """Until all ranks are here."""
        self.wait([self._communicator.Ibarrier()], [-1], doing)

    def _diagnose(self, waits_for: list[int], doing: str) -> SilentRank:
        """Tell all others that this rank is alive, hear who else is, and conclude."""
        others = [rank for rank in range(self._ranks) if rank != self._rank]
        # Requests are kept until the end, or their buffers would go while messages are on their way.
        said = [self._communicator.isend((waits_for, doing), rank, ALIVE_TAG) for rank in others]
        alive = {self._rank: (waits_for, doing)}
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until and len(alive) < self._ranks:
            status = MPI.Status()
            if self._communicator.Iprobe(MPI.ANY_SOURCE, ALIVE_TAG, status):
                alive[status.Get_source()] = self._communicator.recv(source=status.Get_source(), tag=ALIVE_TAG)
            else:
                time.sleep(LONGEST_SLEEP)
        for request in said:
            request.Test()
        return SilentRank(_sentence(alive, self._ranks, self._timeout), speaks=self._rank == min(alive))


def _sentence(alive: dict[int, tuple[list[int], str]], ranks: int, timeout: float) -> str:
    silent = [rank for rank in range(ranks) if rank not in alive]
    if not silent:
        first = min(alive)
        return (
            f"all {ranks} ranks live, yet nothing came for {timeout:g} s: rank {first} waits in {alive[first][1]}; "
            "the ranks do not carry out the same schedule, or need a longer time-out."
        )
    waiting = next((rank for rank, (peers, _) in sorted(alive.items()) if set(peers) & set(silent)), min(alive))
    named = ", ".join(map(str, silent))
    return (
        f"rank{'s' * (len(silent) > 1)} {named} of {ranks} died or hang{'s' * (len(silent) == 1)}: nothing came for "
        f"{timeout:g} s, and rank {waiting} waits in {alive[waiting][1]}."
    )


def ranks_on_this_machine(ranks: int, started_together: int) -> int:
    """As the process manager says (MPICH's, Open MPI's), or all of them.

    What it says holds for those that it ``started_together``, not for ranks that have joined since.
    """
    for name in ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"):
        if os.environ.get(name, "").isdigit() and started_together >= ranks:
            return int(os.environ[name])
    return ranks
