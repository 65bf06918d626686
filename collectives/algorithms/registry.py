"""The register of algorithms by operation and name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar, cast

from collectives.collective_time import Operation
from collectives.schedule import Schedule

Algorithm = Callable[..., Schedule]
COLLECTIVES: dict[Operation, dict[str, Algorithm]] = {}
Function = TypeVar("Function", bound=Algorithm)


def algorithm(operation: Operation, name: str | None = None) -> Callable[[Function], Function]:
    """Register a function from a number of ranks to its schedule, under ``name`` or its own.

    Schedules never change, so one that was made is kept, and with it what was planned for it. Fewer ranks than one are
    refused with ValueError.
    """

    def register(function: Function) -> Function:
        @lru_cache(maxsize=64)
        @wraps(function)
        def kept(ranks: int, *choices: object, **named: object) -> Schedule:
            if ranks < 1:
                raise ValueError(f"a collective of {ranks} ranks was asked for; at least 1 is needed.")
            return function(ranks, *choices, **named)

        COLLECTIVES.setdefault(operation, {})[name or function.__name__] = kept
        return cast(Function, kept)

    return register
