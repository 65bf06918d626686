"""The strategies: what each is called, its function for each kind of chip, and the traits that others ask about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from chips.clock.timeline import Time
from chips.spec import ChipBase, Dataflow, Gpu
from scenarios.errors import DoesNotFit

Written = TypeVar("Written", bound=Callable[..., Any])


@dataclass(frozen=True)
class Strategy:
    """A strategy on one ``kind`` of chip.

    ``issue`` issues a whole pass on the clock: (clock, group, step, launch) -> when its last kernel ends. The group
    is that of its kind of chip, so that no single signature fits all. ``fuses``: whether operators share a kernel:
    residual adds ride with normalisations, and launches are those of a persistent kernel. ``streams``: whether all that
    crosses HBM is a task on an engine of its own, or part of the kernel that needs it. ``loops``: whether one launch
    is for all decoders.
    """

    name: str
    kind: str
    issue: Callable[..., Time]
    fuses: bool
    streams: bool
    loops: bool = False


STRATEGIES: dict[str, dict[str, Strategy]] = {}
"""By name, in the order in which they are declared, and kind of chip."""


def strategy(name: str, kind: str, *, fuses: bool, streams: bool, loops: bool = False) -> Callable[[Written], Written]:
    """Enter the function that follows as strategy ``name`` on chips of ``kind`` (``gpu`` or ``dataflow``)."""

    def enter(function: Written) -> Written:
        STRATEGIES.setdefault(name, {})[kind] = Strategy(name, kind, function, fuses, streams, loops)
        return function

    return enter


def strategy_on(chip: ChipBase, name: str) -> Strategy:
    """The strategy of this name as it is written for such chips. Raises DoesNotFit where it is not."""
    if not isinstance(chip, Gpu | Dataflow):
        raise DoesNotFit(f"{chip.name} computes products; a decoder needs softmax, normalisation and a KV cache")
    if chip.kind not in STRATEGIES[name]:
        raise DoesNotFit(f"{name} is not written for {chip.kind} chips such as {chip.name}")
    return STRATEGIES[name][chip.kind]
