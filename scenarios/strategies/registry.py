"""The list of strategies: what each is called, and its function for each kind of chip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chips.clock.timeline import Time

# A strategy issues a whole pass on the clock: (clock, machine, step, launch) -> when its last kernel ends. The machine
# is the one of its kind of chip, so that no single signature fits all.
Strategy = Callable[..., Time]
Written = TypeVar("Written", bound=Callable[..., Any])

STRATEGIES: dict[str, dict[str, Strategy]] = {}


def strategy(name: str, kind: str) -> Callable[[Written], Written]:
    """Enter the function that follows as strategy ``name`` on chips of ``kind`` (``gpu`` or ``dataflow``)."""

    def enter(function: Written) -> Written:
        STRATEGIES.setdefault(name, {})[kind] = function
        return function

    return enter
