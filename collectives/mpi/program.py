"""What one MPI rank has to do for a schedule, step by step: which elements go where, and how long its clock takes.

Worked out once for a schedule, a topology and a length of the buffer, from what ``step_times`` says of all ranks; needs
no MPI. One rank also plays the switch where a schedule has one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectives.schedule import SWITCH, Integers, Messages, Schedule
from collectives.step_times import Costs, StepTimes, plan, port_ps
from collectives.topology import Topology
from collectives.verify import contributed

SWITCH_HOST = 0  # the rank that plays the switch beside itself
LONG_AGO = np.iinfo(np.int64).min // 4  # the switch's clock until something reaches it, picoseconds


class Leg(NamedTuple):
    """A message as one process sees it: the end that it plays, the rank of the other's process, the elements.

    ``arriving_ps``: from the sender's clock at the beginning of the step until the message has taken effect.
    """

    end: int
    peer: int
    part: slice
    reduce: bool
    arriving_ps: int


class Step(NamedTuple):
    """One step of one process: what comes and what leaves, in the order of the schedule, which MPI keeps between two.

    ``staying_ps``: (end, picoseconds) that pass for each end it plays, whatever comes. ``place``: for errors.
    """

    incoming: list[Leg]
    outgoing: list[Leg]
    staying_ps: list[tuple[int, int]]
    place: str


class Program(NamedTuple):
    """All steps in which a process has a part, where its ends' clocks move.

    ``not_contributed``: shape (elements,), what of its buffer counts as 0 (see ``verify.contributed``). ``port_ps``:
    what is left at the end of a streamed schedule, until the busier of the rank's ports has carried all phases.
    """

    steps: list[Step]
    not_contributed: NDArray[np.bool_]
    port_ps: int


@lru_cache(maxsize=32)
def program(
    schedule: Schedule, topology: Topology, chunk_bytes: int, costs: Costs, rank: int, elements: int
) -> Program:
    """What ``rank`` does with a buffer of ``elements``; ``chunk_bytes`` is what each chunk is priced as.

    Raises ValueError if the topology has too few ranks, MissingLink if a message has no way.
    """
    plans = plan(schedule, topology)
    cuts = schedule.cuts(elements)
    mine = np.array([rank, SWITCH] if rank == SWITCH_HOST else [rank])
    with_messages = [
        (number, phase) for number, phase in enumerate(schedule.phases) if phase.count and len(phase.messages(0).source)
    ]
    steps = []
    for (number, phase), planned in zip(with_messages, plans, strict=True):
        times = planned.step_times(chunk_bytes, costs, schedule.streamed)
        staying = [(int(end), int(times.staying[end])) for end in mine]
        for step in range(phase.count):
            messages = phase.messages(step)
            incoming = _legs(messages, messages.destination, messages.source, mine, times, cuts)
            outgoing = _legs(messages, messages.source, messages.destination, mine, times, cuts)
            if incoming or outgoing:
                place = f"{schedule.name}, phase {number}, step {step}"
                steps.append(Step(incoming, outgoing, staying, place))
    not_contributed = np.repeat(~contributed(schedule)[rank], np.diff(cuts))
    return Program(steps, not_contributed, int(port_ps(schedule, plans, chunk_bytes)[rank]))


def _legs(
    messages: Messages, here: Integers, there: Integers, mine: Integers, times: StepTimes, cuts: Integers
) -> list[Leg]:
    """The messages that have one of my ends ``here``."""
    sizes, reduce = messages.sizes(), messages.reducing()
    return [
        Leg(
            end=int(here[i]),
            peer=SWITCH_HOST if there[i] == SWITCH else int(there[i]),
            part=slice(int(cuts[messages.first_chunk[i]]), int(cuts[messages.first_chunk[i] + sizes[i]])),
            reduce=bool(reduce[i]),
            arriving_ps=int(times.arriving[i]),
        )
        for i in np.flatnonzero(np.isin(here, mine))
    ]
