"""Ranks as threads of this process: the simplest executor, and the one that every other must equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Barrier, BrokenBarrierError, Thread
from typing import TypeVar

import numpy as np

from chips.clock.time import latest
from cluster.communicator import Answer, Communicator, Gather, Meet, Request, sum_schedule
from collectives.verify import execute

Result = TypeVar("Result")


class Group:
    """Ranks that exchange by reference, in lock-step."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.reports: SimpleQueue[object] = SimpleQueue()
        self._barrier = Barrier(ranks)
        self._given: list[Sequence[Request]] = [()] * ranks

    def exchange(self, rank: int, requests: Sequence[Request]) -> list[Sequence[Request]]:
        """Every rank's requests, by rank. Raises BrokenBarrierError where another rank has failed."""
        self._given[rank] = requests
        self._barrier.wait()
        taken = list(self._given)
        self._barrier.wait()
        return taken

    def abandon(self) -> None:
        """A rank has failed: wake all that wait for it."""
        self._barrier.abort()


class ThreadCommunicator(Communicator):
    """One rank of a ``Group``."""

    def __init__(self, group: Group, rank: int) -> None:
        self.rank, self.ranks = rank, group.ranks
        self._group = group

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        return [self._answer(alike) for alike in zip(*self._group.exchange(self.rank, requests), strict=True)]

    def _answer(self, alike: Sequence[Request]) -> Answer:
        """The answer to one request, as every rank has made it."""
        mine = alike[self.rank]
        if isinstance(mine, Meet):
            return latest([request.time for request in alike if isinstance(request, Meet)])
        values = [np.asarray(request.values, np.float32) for request in alike if not isinstance(request, Meet)]
        if isinstance(mine, Gather):
            return [given.copy() for given in values]
        payload = np.stack([given.ravel() for given in values])
        return np.asarray(execute(sum_schedule(self.ranks), payload)[self.rank], np.float32).reshape(mine.values.shape)

    def report(self, item: object) -> None:
        if self.rank == 0:
            self._group.reports.put(item)


def run_local(
    program: Callable[..., Result], arguments: Sequence[object], count: int, on_report: Callable[[object], None]
) -> list[Result]:
    """``cluster.ranks.run_ranks`` with a thread a rank."""
    group = Group(count)
    results: dict[int, Result] = {}
    failures: list[BaseException] = []
    ended = object()

    def run(rank: int) -> None:
        try:
            results[rank] = program(ThreadCommunicator(group, rank), *arguments)
        except BaseException as failure:
            if not isinstance(failure, BrokenBarrierError):
                failures.append(failure)
            group.abandon()
        finally:
            group.reports.put(ended)

    threads = [Thread(target=run, args=(rank,), name=f"rank {rank}", daemon=True) for rank in range(count)]
    for thread in threads:
        thread.start()
    try:
        running = count
        while running:
            item = group.reports.get()
            if item is ended:
                running -= 1
            else:
                on_report(item)
    finally:
        group.abandon()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return [results[rank] for rank in range(count)]
