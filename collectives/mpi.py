"""A schedule between MPI ranks: real payloads by point-to-point messages, each stamped with its sender's time.

Every rank calls ``run`` inside its own program, on any communicator of mpi4py. It keeps nothing but its own buffer and
its own simulated clock; all that it learns of the others comes in their messages. The result is that of
``verify.execute``, bit for bit, and the clock that of ``price``, to the picosecond. Waiting is in ``mpi_wait``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from chips.explained_time import seconds_to_ps
from collectives.mpi_wait import Patience, SilentRank
from collectives.schedule import SWITCH, Integers, Messages, Phase, Schedule
from collectives.step_times import Costs, PhasePlan, StepTimes, plan
from collectives.topology import Topology
from collectives.verify import contributed

__all__ = ["Carried", "SilentRank", "run"]

Bytes = NDArray[np.uint8]
MESSAGE_TAG = 32_002  # messages of schedules; MPI guarantees tags up to 32,767
STAMP_BYTES = 8  # the sender's clock at the beginning of the step, int64 picoseconds, in front of the payload
SWITCH_HOST = 0  # the rank that plays the switch, where the schedule has one, beside itself
LONG_AGO = np.iinfo(np.int64).min // 4  # the switch's clock until something reaches it


class Carried(NamedTuple):
    """What a rank has after a schedule: ``result``, its buffer, shape (elements,); ``finish_ps``, its clock."""

    result: NDArray[np.generic]
    finish_ps: int


def run(
    schedule: Schedule,
    topology: Topology,
    communicator: MPI.Intracomm,
    payload: NDArray[np.generic],
    ready_ps: int = 0,
    *,
    payload_bytes: int | None = None,
    step_seconds: float = 0.0,
    reduce_seconds_per_byte: float = 0.0,
    timeout_seconds: float = 60.0,
) -> Carried:
    """Carry out ``schedule`` as this rank of ``communicator``; all its ranks call it, each with its own buffer.

    ``payload``: this rank's buffer, shape (elements,), same length and dtype on all ranks; not changed. ``ready_ps``:
    this rank's clock when it enters. ``payload_bytes``, ``step_seconds``, ``reduce_seconds_per_byte``: as ``price``
    takes them; None prices the bytes of the buffer itself (another count serves types that NumPy lacks, or a cut-down
    buffer). Messages have tags 32,002 and 32,003 of the communicator.

    Raises ValueError if communicator, schedule and buffer do not fit together, and SilentRank once nothing has come for
    ``timeout_seconds`` because a rank died, hangs or computes for longer than that.
    """
    if communicator.Get_size() != schedule.ranks:
        raise ValueError(f"the schedule is for {schedule.ranks} ranks, the communicator has {communicator.Get_size()}.")
    if payload.ndim != 1:
        raise ValueError(f"the payload has shape {payload.shape}; expected one dimension.")
    rank = communicator.Get_rank()
    if payload_bytes is None:
        chunk_bytes = -(-payload.nbytes // schedule.chunks)
    else:
        chunk_bytes = schedule.chunk_bytes(payload_bytes)
    cuts = schedule.cuts(len(payload))
    own = np.where(np.repeat(contributed(schedule)[rank], np.diff(cuts)), payload, np.zeros_like(payload))
    ends = {rank: End(own, ready_ps)}
    if rank == SWITCH_HOST and _uses_switch(schedule):
        ends[SWITCH] = End(np.zeros_like(payload), LONG_AGO)
    plans = plan(schedule, topology)
    costs = Costs(step_seconds, reduce_seconds_per_byte)
    patience = Patience(communicator, timeout_seconds)
    for (number, phase), planned in zip(_phases_with_messages(schedule), plans, strict=True):
        times = planned.step_times(chunk_bytes, costs, schedule.streamed)
        for step in range(phase.count):
            place = f"{schedule.name}, phase {number}, step {step}"
            _step(communicator, phase.messages(step), times, ends, cuts, patience, place)
    me = ends[rank]
    return Carried(me.held, me.clock_ps + _port_ps(schedule, plans, chunk_bytes, rank))


class End:
    """A rank or the switch: what it holds, shape (elements,), and its clock, picoseconds."""

    def __init__(self, held: NDArray[np.generic], clock_ps: int) -> None:
        self.held = held
        self.clock_ps = clock_ps


def _phases_with_messages(schedule: Schedule) -> Iterator[tuple[int, Phase]]:
    """The phases for which there are plans, with their numbers in the schedule."""
    for number, phase in enumerate(schedule.phases):
        if phase.count and len(phase.messages(0).source):
            yield number, phase


def _uses_switch(schedule: Schedule) -> bool:
    return any(
        SWITCH in phase.messages(0).source or SWITCH in phase.messages(0).destination for phase in schedule.phases
    )


def _step(
    communicator: MPI.Intracomm,
    messages: Messages,
    times: StepTimes,
    ends: dict[int, End],
    cuts: Integers,
    patience: Patience,
    place: str,
) -> None:
    """One step of the ends that this process plays: all sends leave with what was held, then arrivals take effect.

    Between two processes, messages of a step are sent and received in the order of the schedule's arrays; MPI keeps it.
    """
    first, last = cuts[messages.first_chunk], cuts[messages.first_chunk + messages.sizes()]
    mine = np.array(list(ends))
    outgoing = np.flatnonzero(np.isin(messages.source, mine))
    incoming = np.flatnonzero(np.isin(messages.destination, mine))
    received: list[Bytes] = []
    requests: list[MPI.Request] = []
    for i in incoming:
        item_bytes = ends[int(messages.destination[i])].held.itemsize
        received.append(np.empty(STAMP_BYTES + int(last[i] - first[i]) * item_bytes, dtype=np.uint8))
        requests.append(communicator.Irecv(received[-1], _host(messages.source[i]), MESSAGE_TAG))
    for i in outgoing:
        sender = ends[int(messages.source[i])]
        message = _stamped(sender.held[first[i] : last[i]], sender.clock_ps)
        requests.append(communicator.Isend(message, _host(messages.destination[i]), MESSAGE_TAG))
    peers = [
        *(_host(end) for end in messages.source[incoming]),
        *(_host(end) for end in messages.destination[outgoing]),
    ]
    try:
        patience.wait(requests, peers, place)
    except SilentRank:
        for request in requests[: len(received)]:
            request.Cancel()  # or a late message would be written where its buffer was
        raise
    for end, state in ends.items():
        state.clock_ps += int(times.staying[end])
    reduce = messages.reducing()
    for i, message in zip(incoming, received, strict=True):
        receiver = ends[int(messages.destination[i])]
        sent_ps = int(message[:STAMP_BYTES].view(np.int64)[0])
        receiver.clock_ps = max(receiver.clock_ps, sent_ps + int(times.arriving[i]))
        values, part = message[STAMP_BYTES:].view(receiver.held.dtype), receiver.held[first[i] : last[i]]
        if reduce[i]:
            np.add(part, values, out=part)
        else:
            part[...] = values


def _host(end: np.int64) -> int:
    """The rank of the process that plays ``end``."""
    return SWITCH_HOST if end == SWITCH else int(end)


def _stamped(part: NDArray[np.generic], clock_ps: int) -> Bytes:
    """A message: the clock, then the values."""
    message = np.empty(STAMP_BYTES + part.nbytes, dtype=np.uint8)
    message[:STAMP_BYTES].view(np.int64)[0] = clock_ps
    message[STAMP_BYTES:] = part.view(np.uint8)
    return message


def _port_ps(schedule: Schedule, plans: tuple[PhasePlan, ...], chunk_bytes: int, rank: int) -> int:
    """Of a streamed schedule, for how long the busier of a rank's ports carries all phases; else 0."""
    if not schedule.streamed or not plans:
        return 0
    out, into = (
        sum(float(ports[side][rank]) for ports in (planned.port_seconds(chunk_bytes) for planned in plans))
        for side in (0, 1)
    )
    return seconds_to_ps(max(out, into))
