"""Ranks as threads of this process: the simplest executor, and the one that every other must equal to the last bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Barrier, BrokenBarrierError, Thread
from typing import TypeVar

import numpy as np

from chips.clock.time import latest
from cluster.agreement import Call, call_of, check_alike, named
from cluster.communicator import Answer, Communicator, Gather, Meet, Request, sum_schedule
from cluster.errors import ClusterError, check_sendable, raised_by
from collectives.verify import execute

Result = TypeVar("Result")
END_SECONDS = 1.0  # for threads to end when one of them has failed; what is at work for longer is left alone


class Group:
    """Ranks that exchange by reference, in lock-step."""

    def __init__(self, ranks: int, timeout_seconds: float) -> None:
        self.ranks = ranks
        self.reports: SimpleQueue[object] = SimpleQueue()
        self._timeout = timeout_seconds
        self._barrier = Barrier(ranks)
        self._abandoned = False
        self._given: list[Sequence[Request]] = [()] * ranks
        self._calls: list[Call] = [None] * ranks
        self._counts = [0] * ranks

    def gather(self, rank: int, call: Call, requests: Sequence[Request] = ()) -> list[Sequence[Request]]:
        """Every rank's requests, by rank, as long as none of them has called ``leave``.

        Raises BrokenBarrierError where another rank has failed, ClusterError where the ranks are at different calls or
        one has not come to this one in time.
        """
        self._given[rank], self._calls[rank] = requests, call
        self._counts[rank] += 1
        self._meet(rank)
        check_alike(self._calls, self._counts[rank])
        return list(self._given)

    def leave(self, rank: int) -> None:
        """This rank has what it asked for; what ranks have given may change when all of them have."""
        self._meet(rank)

    def abandon(self) -> None:
        """A rank has failed: wake all that wait for it."""
        self._abandoned = True
        self._barrier.abort()

    def _meet(self, rank: int) -> None:
        try:
            self._barrier.wait(self._timeout)
        except BrokenBarrierError:
            if self._abandoned:
                raise
            missing = [other for other, count in enumerate(self._counts) if count < self._counts[rank]]
            who = f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} of {self.ranks}"
            raise ClusterError(
                f"{who} hang{'s' * (len(missing) == 1)}: nothing came for {self._timeout:g} s, and rank {rank} waits "
                f"in {named(self._calls[rank])}."
            ) from None


class ThreadCommunicator(Communicator):
    """One rank of a ``Group``."""

    def __init__(self, group: Group, rank: int) -> None:
        self.rank, self.ranks = rank, group.ranks
        self._group = group

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        given = self._group.gather(self.rank, call_of(requests), requests)
        answers = [self._answer(alike) for alike in zip(*given, strict=True)]
        self._group.leave(self.rank)
        return answers

    def _answer(self, alike: Sequence[Request]) -> Answer:
        """The answer to one request, as every rank has made it."""
        mine = alike[self.rank]
        if isinstance(mine, Meet):
            return latest([request.time for request in alike if isinstance(request, Meet)])
        values = [np.asarray(request.values, np.float32) for request in alike if not isinstance(request, Meet)]
        if isinstance(mine, Gather):
            return [given.copy() for given in values]
        payload = np.stack([given.ravel() for given in values])
        return np.asarray(execute(sum_schedule(self.ranks), payload)[self.rank], np.float32).reshape(values[0].shape)

    def report(self, item: object) -> None:
        if self.rank == 0:
            check_sendable(item, "reports", self.rank)
            self._group.reports.put(item)


def run_local(
    program: Callable[..., Result],
    arguments: Sequence[object],
    count: int,
    on_report: Callable[[object], None],
    timeout_seconds: float,
) -> list[Result]:
    """``cluster.ranks.run_ranks`` with a thread a rank."""
    group = Group(count, timeout_seconds)
    results: dict[int, Result] = {}
    failures: list[Exception] = []
    ended = object()

    def run(rank: int) -> None:
        try:
            result = program(ThreadCommunicator(group, rank), *arguments)
            check_sendable(result, "returns", rank)
            group.gather(rank, None)
            results[rank] = result
        except BaseException as failure:
            if not isinstance(failure, BrokenBarrierError):
                failures.append(raised_by(failure, rank, count))
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
            if item is not ended:
                on_report(item)
            elif failures:
                break
            else:
                running -= 1
    finally:
        group.abandon()
        until = time.monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    if failures:
        raise failures[0]
    return [results[rank] for rank in range(count)]
