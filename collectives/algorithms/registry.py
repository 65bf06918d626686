"""The register of algorithms by operation and name."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import TypeVar

from collectives.collective_time import Operation
from collectives.schedule import Schedule

Algorithm = Callable[..., Schedule]
COLLECTIVES: dict[Operation, dict[str, Algorithm]] = {}
Function = TypeVar("Function", bound=Algorithm)


def algorithm(operation: Operation, name: str | None = None) -> Callable[[Function], Function]:
    """Register a function from a number of ranks to its schedule, under ``name`` or its own.

    Schedules never change, so one that was made is kept, and with it what was planned for it.
    """

    def register(function: Function) -> Function:
        kept: Function = update_wrapper(lru_cache(maxsize=64)(function), function)  # type: ignore[assignment]
        COLLECTIVES.setdefault(operation, {})[name or function.__name__] = kept
        return kept

    return register
