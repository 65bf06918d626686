"""The best of many candidates, exactly: priced in the order of their bounds, until no other can be better."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence

Score = tuple[float, ...]
ShowProgress = Callable[[int, int, int], None]
"""Told how many candidates there are, how many are decided, and how many of these were priced."""


def nobody(total: int, done: int, priced: int) -> None:
    """Told of progress."""


def shortlist(bounds: Sequence[Score], exact: Callable[[int], Score], keep: int) -> list[int]:
    """The numbers of candidates that may be among the ``keep`` best, in their order.

    ``bounds``: of each candidate a score that it cannot beat; smaller is better. ``exact`` is asked for few.
    """
    first = sorted(range(len(bounds)), key=bounds.__getitem__)[:keep]
    worst = max(map(exact, first), default=())
    return [number for number, bound in enumerate(bounds) if bound <= worst]


def best_of(
    bounds: Sequence[Score], exact: Callable[[int], Score], keep: int, on_progress: ShowProgress = nobody
) -> list[int]:
    """The numbers of the ``keep`` candidates with the smallest exact scores, smallest first; of equal ones the earlier.

    ``bounds`` and ``exact`` as for ``shortlist``; ``exact`` is asked once for each that may be among the best.
    """
    kept: list[tuple[Score, int]] = []
    priced = 0
    for number in sorted(range(len(bounds)), key=bounds.__getitem__):
        if len(kept) == keep and bounds[number] > kept[-1][0]:
            break
        insort(kept, (exact(number), number))
        del kept[keep:]
        priced += 1
        on_progress(len(bounds), priced, priced)
    on_progress(len(bounds), len(bounds), priced)
    return [number for _, number in kept]
