"""Schedules held against a question: proved to be their collective, priced, and where a straggler is felt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import PICOSECONDS_PER_SECOND, IntArray
from collectives.algorithms import COLLECTIVES
from collectives.collective_time import Operation
from collectives.errors import CollectiveError
from collectives.price import price, price_by_step
from collectives.schedule import Schedule
from collectives.step_times import Costs, plan
from collectives.topology import Topology
from collectives.tuned import tuned
from collectives.verify import verify

VERIFIED_BITS = 2**31  # ranks**2 * chunks up to which a schedule is proved: a quarter of a gibibyte of sets


class Question(NamedTuple):
    """What every algorithm is asked. ``ready_ps``: when each rank is ready, shape (ranks,)."""

    links: Topology
    payload_bytes: int
    costs: Costs
    ready_ps: IntArray


@dataclass(frozen=True)
class Proof:
    """What is known of one schedule.

    ``sent_bytes``: by the rank that sends most; ``first_seconds``: when the first rank is done, ``seconds``: the last;
    ``lateness_seconds``: how much earlier the last would be done if all were ready at 0. ``verified``: ``yes``, or
    ``too large`` to be.
    """

    algorithm: str
    ranks: int
    bytes: int
    steps: int
    chunks: int
    sent_bytes: int
    first_seconds: float
    seconds: float
    lateness_seconds: float
    verified: str


class StepClocks(NamedTuple):
    """Of one schedule, when each rank is done with each step: seconds, shape (steps + 1, ranks).

    The first row is when it was ready. ``working``: for how long it is busy itself in each step, seconds, shape
    (steps, ranks); ``reduces``: whether anything is added in the step, shape (steps,).
    """

    name: str
    clocks: NDArray[np.float64]
    working: NDArray[np.float64]
    reduces: NDArray[np.bool_]


def algorithms_of(operation: str, algorithms: Sequence[str] | None = None) -> tuple[Operation, list[str]]:
    """The operation and its algorithms, all or those asked for. Raises CollectiveError for one that is not known."""
    kind = next((known for known in COLLECTIVES if known == operation), None)
    if kind is None:
        raise CollectiveError(f"--operation {operation}: expected {', '.join(COLLECTIVES)}.")
    known = COLLECTIVES[kind]
    for name in algorithms or ():
        if name not in known:
            raise CollectiveError(f"algorithm '{name}' is not known; {operation} has {', '.join(sorted(known))}.")
    return kind, list(algorithms) if algorithms else sorted(known)


def prove(operation: Operation, algorithm: str, question: Question) -> tuple[Schedule, Proof]:
    """The algorithm set up for the question, proved, and what it costs.

    Raises CollectiveError where it cannot run on these links; ScheduleError, naming the step, where it is no such
    collective.
    """
    links, payload, costs, ready = question
    try:
        made = tuned(operation, algorithm, len(ready), links, payload, costs)
    except ValueError as error:
        raise CollectiveError(str(error)) from None
    provable = made.ranks**2 * made.chunks <= VERIFIED_BITS
    if provable:
        verify(made, links)
    finish = price(made, links, payload, ready_ps=ready, **costs._asdict())
    together = price(made, links, payload, **costs._asdict())
    return made, Proof(
        algorithm=algorithm,
        ranks=made.ranks,
        bytes=payload,
        steps=sum(phase.count for phase in made.phases),
        chunks=made.chunks,
        sent_bytes=_most_sent(made, payload),
        first_seconds=int(finish.min()) / PICOSECONDS_PER_SECOND,
        seconds=int(finish.max()) / PICOSECONDS_PER_SECOND,
        lateness_seconds=int(finish.max() - together.max()) / PICOSECONDS_PER_SECOND,
        verified="yes" if provable else "too large",
    )


def step_clocks(made: Schedule, question: Question) -> StepClocks:
    """When every rank does what, step by step."""
    links, payload, costs, ready = question
    clocks = np.stack([*price_by_step(made, links, payload, ready_ps=ready, **costs._asdict())])
    working, reduces = [np.zeros((0, made.ranks))], []
    for phase in plan(made, links):
        times = phase.step_times(made.chunk_bytes(payload), costs, made.streamed)
        working.append(np.tile(times.staying[:-1], (phase.count, 1)))
        reduces += [bool(phase.added.any())] * phase.count
    return StepClocks(
        made.name,
        clocks / PICOSECONDS_PER_SECOND,
        np.concatenate(working) / PICOSECONDS_PER_SECOND,
        np.asarray(reduces, dtype=np.bool_),
    )


def _most_sent(made: Schedule, payload_bytes: int) -> int:
    """Bytes that leave the rank that sends most."""
    sent = np.zeros(made.ranks + 1)
    for phase in made.phases:
        if phase.count:
            messages = phase.messages(0)
            np.add.at(sent, messages.source, phase.count * messages.sizes())
    return int(sent[:-1].max()) * made.chunk_bytes(payload_bytes)
