"""What ranks tell those who started them while they run, and noticing that one tells nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple

from cluster.errors import ClusterError

LOOK_SECONDS = 0.1  # how often is looked for what does not tell of itself
BEAT_SECONDS = 1.0  # between two signs of life
ALLOWED_SECONDS = 5.0  # beyond the time-out: ranks that wait for a silent one know more about it, and say it by then


class News(NamedTuple):
    """What a rank tells: its process's number; that it is up, lives, is gone; a report, its result, what it raised."""

    rank: int
    kind: Literal["process", "up", "alive", "gone", "report", "result", "raised"]
    item: Any


class Watch:
    """When each of ``ranks`` was heard last. ``processes``: the numbers of those that have told theirs, by rank."""

    def __init__(self, ranks: int, timeout_seconds: float) -> None:
        self.ranks = ranks
        self.processes: dict[int, int] = {}
        self._timeout = timeout_seconds
        self._heard: dict[int, float] = {}

    def heard(self, rank: int) -> None:
        """A rank has told something."""
        self._heard[rank] = time.monotonic()

    def name(self, rank: int) -> str:
        """A rank, for a sentence about it."""
        process = f" (process {self.processes[rank]})" if rank in self.processes else ""
        return f"Rank {rank} of {self.ranks}{process}"

    def check(self, but: Container[int]) -> None:
        """Raise ClusterError where a rank that was heard once has been silent for too long, ``but`` some ranks."""
        now = time.monotonic()
        for rank, last in self._heard.items():
            if rank not in but and now - last > self._timeout + ALLOWED_SECONDS:
                raise ClusterError(f"{self.name(rank)} died or hangs: it gave no sign of life for {now - last:.0f} s.")


def results_told(
    news: SimpleQueue[News],
    watch: Watch,
    on_report: Callable[[object], None],
    look: Callable[[], None],
    hear: Callable[[News], None] = lambda told: None,
) -> list[Any]:
    """The results of all ranks, by rank, as they tell them; raises what one of them raises.

    ``on_report`` hears each report, ``hear`` all that is neither that nor an end. ``look`` is called while nothing
    comes, to raise what is wrong then. Raises ClusterError for a rank that is silent.
    """
    results: dict[int, Any] = {}
    while len(results) < watch.ranks:
        try:
            told = news.get(timeout=LOOK_SECONDS)
        except Empty:
            watch.check(but=results)
            look()
            continue
        watch.heard(told.rank)
        if told.kind == "report":
            on_report(told.item)
        elif told.kind == "raised":
            raise told.item
        elif told.kind == "result":
            results[told.rank] = told.item
        elif told.rank not in results:
            hear(told)
    return [results[rank] for rank in range(watch.ranks)]
