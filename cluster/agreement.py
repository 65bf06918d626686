"""Whether all ranks are at the same call: what each is at, and the sentence where they differ.

Every exchange between ranks tells every rank what every other asked for, before any values are summed: ranks that
differ would wait for each other for ever, or give different answers to different ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cluster.communicator import Gather, Request, Sum
from cluster.errors import ClusterError

NAMED_RANKS = 4  # of many that are alike


class Asked(NamedTuple):
    """One request, as far as it has to be alike on all ranks. ``shape``: None where ranks may differ in it."""

    operation: str
    dtype: str | None
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        of = [self.dtype, None if self.shape is None else f"shape {self.shape}"]
        return " of ".join([self.operation, *filter(None, of)])


Call = tuple[Asked, ...] | None  # what a rank asks for in one exchange; None where its program has ended


def call_of(requests: Sequence[Request]) -> Call:
    """What a rank asks for that makes ``requests`` together."""
    return tuple(_asked(request) for request in requests)


def named(call: Call) -> str:
    """What a rank is at, in words."""
    return "its end" if call is None else " and ".join(map(str, call))


def check_alike(calls: Sequence[Call], number: int) -> None:
    """Raise ClusterError where the ranks are not at the same call, their ``number``-th; ``calls``: of each, by rank."""
    if all(call == calls[0] for call in calls):
        return
    ranks: dict[Call, list[int]] = {}
    for rank, call in enumerate(calls):
        ranks.setdefault(call, []).append(rank)
    told = ", ".join(f"{_listed(alike)} at {named(call)}" for call, alike in ranks.items())
    raise ClusterError(f"The {len(calls)} ranks do not make the same calls; when they meet for call {number}, {told}.")


def _asked(request: Request) -> Asked:
    if isinstance(request, Sum):
        values = np.asarray(request.values)
        return Asked("AllReduce", str(values.dtype), values.shape)
    if isinstance(request, Gather):
        return Asked("AllGather", str(np.asarray(request.values).dtype), None)
    return Asked("a meeting of clocks", None, np.shape(request.time.ps) or None)


def _listed(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:NAMED_RANKS]))
    more = f" and {len(ranks) - NAMED_RANKS} more" if len(ranks) > NAMED_RANKS else ""
    return f"rank {shown} is" if len(ranks) == 1 else f"ranks {shown}{more} are"
