"""A schedule between MPI ranks: real payloads by point-to-point messages, each stamped with its sender's time.

Every rank calls ``run`` inside its own program, on any communicator of mpi4py. It keeps nothing but its own buffer and
its own simulated clock; all that it learns of the others comes in their messages. The result is that of
``verify.execute``, bit for bit, and the clock that of ``price``, to the picosecond. What a rank does in each step is in
``program``, waiting is in ``wait``.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from collectives.mpi.program import LONG_AGO, SWITCH_HOST, Leg, Step, program
from collectives.mpi.silent_rank import SilentRank
from collectives.mpi.wait import Patience
from collectives.schedule import SWITCH, Schedule
from collectives.step_times import Costs
from collectives.topology import Topology

__all__ = ["Carried", "SilentRank", "run_on_mpi"]

Bytes = NDArray[np.uint8]
MESSAGE_TAG = 32_002  # messages of schedules; MPI guarantees tags up to 32,767
ALIGNMENT = 64  # bytes, of messages in memory
STAMP_BYTES = 8  # the sender's clock at the beginning of the step, int64 picoseconds, in front of the payload


class Carried(NamedTuple):
    """What a rank has after a schedule: ``result``, its buffer, shape (elements,); ``finish_ps``, its clock."""

    result: NDArray[np.generic]
    finish_ps: int


def run_on_mpi(
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
    todo = program(schedule, topology, chunk_bytes, Costs(step_seconds, reduce_seconds_per_byte), rank, len(payload))
    held = payload.copy()
    held[todo.not_contributed] = 0
    ends = {rank: End(held, ready_ps)}
    if rank == SWITCH_HOST:
        ends[SWITCH] = End(np.zeros_like(payload), LONG_AGO)
    patience = Patience(communicator, timeout_seconds)
    # Messages of all steps use the same memory: new memory costs more than what it takes to fill it.
    room = np.empty(max((_room_bytes(step, held.itemsize) for step in todo.steps), default=0), dtype=np.uint8)
    for step in todo.steps:
        received = _exchange(communicator, patience, ends, step, room)
        for end, staying_ps in step.staying_ps:
            ends[end].clock_ps += staying_ps
        for leg, message in zip(step.incoming, received, strict=True):
            ends[leg.end].take(message, leg)
    return Carried(held, ends[rank].clock_ps + todo.port_ps)


class End:
    """A rank or the switch: what it holds, shape (elements,), and its clock, picoseconds."""

    def __init__(self, held: NDArray[np.generic], clock_ps: int) -> None:
        self.held = held
        self.clock_ps = clock_ps

    def write(self, message: Bytes, leg: Leg) -> None:
        """Fill a message: the clock, then a part of what is held."""
        message[:STAMP_BYTES].view(np.int64)[0] = self.clock_ps
        message[STAMP_BYTES:] = self.held[leg.part].view(np.uint8)

    def take(self, message: Bytes, leg: Leg) -> None:
        """A message takes effect: the clock waits for it, its values are added or replace what was held."""
        self.clock_ps = max(self.clock_ps, int(message[:STAMP_BYTES].view(np.int64)[0]) + leg.arriving_ps)
        values, held = message[STAMP_BYTES:].view(self.held.dtype), self.held[leg.part]
        if leg.reduce:
            np.add(held, values, out=held)
        else:
            held[...] = values


def _exchange(
    communicator: MPI.Intracomm, patience: Patience, ends: dict[int, End], step: Step, room: Bytes
) -> list[Bytes]:
    """Send what this process's ends hold now, receive what is for them; returns when all has left and come.

    ``room``: memory for all messages of the step.
    """
    lengths = [_message_bytes(leg, ends[leg.end].held.itemsize) for leg in (*step.incoming, *step.outgoing)]
    starts = [0, *accumulate(map(_aligned, lengths))]
    messages = [room[start : start + length] for start, length in zip(starts, lengths, strict=False)]
    incoming, outgoing = messages[: len(step.incoming)], messages[len(step.incoming) :]
    receiving = [
        communicator.Irecv(message, leg.peer, MESSAGE_TAG) for leg, message in zip(step.incoming, incoming, strict=True)
    ]
    sending = []
    for leg, message in zip(step.outgoing, outgoing, strict=True):
        ends[leg.end].write(message, leg)
        sending.append(communicator.Isend(message, leg.peer, MESSAGE_TAG))
    try:
        patience.wait([*receiving, *sending], [leg.peer for leg in (*step.incoming, *step.outgoing)], step.place)
    except SilentRank:
        for request in receiving:
            request.Cancel()  # or a late message would be written where its buffer was
        raise
    return incoming


def _message_bytes(leg: Leg, item_bytes: int) -> int:
    elements: int = leg.part.stop - leg.part.start
    return STAMP_BYTES + elements * item_bytes


def _aligned(length: int) -> int:
    """Rounded up, so that what comes behind begins where any number may."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def _room_bytes(step: Step, item_bytes: int) -> int:
    return sum(_aligned(_message_bytes(leg, item_bytes)) for leg in (*step.incoming, *step.outgoing))
