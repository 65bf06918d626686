"""A collective as data: phases of steps, each a set of messages that carry chunks, to copy or to reduce.

All messages of a step leave together, with what their senders held before the step; a rank begins its next step when
its own have left and those for it have come. Messages to one rank take effect in the order of their arrays, so that
every executor rounds a sum alike. Belongs here: the data alone. What a schedule costs is in ``price``, what it
computes in ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collectives.collective_time import Operation

Integers = NDArray[np.int64]
SWITCH = -1  # the switch itself as the source or the destination of a message


@dataclass(frozen=True, eq=False)
class Messages:
    """The messages of one step; arrays over messages.

    Message i carries the ``chunks[i]`` chunks from ``first_chunk[i]`` on, and ``destination[i]`` adds them to its own
    (``reduce[i]``) or replaces its own; one number or flag stands for all messages. ``SWITCH`` as an end is the switch.
    Two messages of a step may have the same ends: they carry chunks that are not neighbours.
    """

    source: Integers
    destination: Integers
    first_chunk: Integers
    chunks: int | Integers
    reduce: bool | NDArray[np.bool_]

    def sizes(self) -> Integers:
        """How many chunks each message carries, shape (messages,)."""
        return np.broadcast_to(np.asarray(self.chunks, dtype=np.int64), self.source.shape)

    def reducing(self) -> NDArray[np.bool_]:
        """Whether each message is added at its destination, shape (messages,)."""
        return np.broadcast_to(np.asarray(self.reduce, dtype=np.bool_), self.source.shape)


@dataclass(frozen=True)
class Phase:
    """``count`` steps, ``messages(step)`` for each from 0: the same pairs and sizes, only the chunks move on.

    So a phase is priced from its first step, however many it has and however many ranks take part.
    """

    count: int
    messages: Callable[[int], Messages]


@dataclass(frozen=True)
class Schedule:
    """Phases in order, for ``ranks`` ranks whose buffers are cut into ``chunks`` equal chunks, numbered alike on all.

    What ``operation`` asks, with rank ``c // (chunks / ranks)`` as the owner of chunk c:

    * all_reduce: every rank ends with the sum of every chunk;  reduce_scatter: with the sums of the chunks it owns
    * all_gather: every rank ends with every chunk of its owner;  send_receive: with those of the rank before it
    * broadcast: every rank ends with every chunk of rank 0
    * all_to_all: chunk ``o * ranks + d`` starts on rank o and ends on rank d

    ``streamed``: the payload flows through all phases at once in small pieces (as through a switch that reduces), so
    that latencies add up but links carry the bytes of all phases together.
    """

    name: str
    ranks: int
    chunks: int
    phases: tuple[Phase, ...]
    streamed: bool = False
    operation: Operation = "all_reduce"

    def chunk_bytes(self, payload_bytes: int) -> int:
        """Bytes of a chunk, rounded up (the last may be short; all are priced as full).

        ``payload_bytes`` as nccl-tests counts it: the buffer of a rank for all_reduce, broadcast and send_receive,
        the total of all ranks for all_gather and reduce_scatter, what a rank sends in all for all_to_all. Raises
        ValueError for a negative payload.
        """
        if payload_bytes < 0:
            raise ValueError(f"a payload of {payload_bytes} bytes was asked for; it cannot be negative.")
        own = self.ranks if self.operation in ("all_to_all", "send_receive") else 1
        return -(-payload_bytes * own // self.chunks)

    def cuts(self, elements: int) -> Integers:
        """Where chunks begin and end in ``elements`` elements, shape (chunks + 1,), as ``numpy.array_split`` cuts."""
        short, longer = divmod(elements, self.chunks)
        number = np.arange(self.chunks + 1)
        return number * short + np.minimum(number, longer)

    def steps(self) -> Iterator[tuple[int, int, Messages]]:
        """(number of the phase, number of the step in it, messages) of every step in order."""
        for number, phase in enumerate(self.phases):
            for step in range(phase.count):
                yield number, step, phase.messages(step)


def once(
    source: Integers,
    destination: Integers,
    first_chunk: Integers,
    chunks: int | Integers,
    reduce: bool | NDArray[np.bool_],
) -> Phase:
    """A phase of a single step."""
    messages = Messages(source, destination, first_chunk, chunks, reduce)
    return Phase(1, lambda step: messages)
