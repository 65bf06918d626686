"""A collective as data: phases of steps, each a set of messages that carry chunks, to copy or to reduce.

The payload of a rank is cut into equal chunks. All messages of a step leave together; a rank begins its next step
when its own have left and those for it have come. Belongs here: the data alone. What a schedule costs is in
``price``, what it computes in ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Messages:
    """The messages of one step; arrays over messages.

    Message i carries ``chunks`` consecutive chunks from ``first_chunk[i]`` on, and ``destination[i]`` adds them to its
    own (``reduce``) or replaces its own. ``topology.SWITCH`` as an end is the switch.
    """

    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    first_chunk: NDArray[np.int64]
    chunks: int
    reduce: bool


@dataclass(frozen=True)
class Phase:
    """``count`` steps, ``messages(step)`` for each from 0: the same pairs and sizes, only the chunks move on.

    So a phase is priced from its first step, however many it has and however many ranks take part.
    """

    count: int
    messages: Callable[[int], Messages]


@dataclass(frozen=True)
class Schedule:
    """Phases in order. ``streamed``: the payload flows through all phases at once in small pieces (as through a
    switch that reduces), so that latencies add up but links carry the bytes of all phases together."""

    name: str
    ranks: int
    chunks: int
    phases: tuple[Phase, ...]
    streamed: bool = False


def once(
    source: NDArray[np.int64], destination: NDArray[np.int64], first_chunk: NDArray[np.int64], chunks: int, reduce: bool
) -> Phase:
    """A phase of a single step."""
    messages = Messages(source, destination, first_chunk, chunks, reduce)
    return Phase(1, lambda step: messages)
