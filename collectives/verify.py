"""A schedule's result on real arrays: what the messages actually compute, and why a wrong schedule is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collectives.schedule import SWITCH, Messages, Schedule


class ScheduleError(ValueError):
    """A schedule does not do what a collective must; the message names the step."""


def execute(schedule: Schedule, payload: NDArray[np.generic]) -> NDArray[np.generic]:
    """Every rank's payload after the schedule: shape (ranks, elements) in and out, dtype kept.

    Chunks are cut as ``numpy.array_split`` does, so any number of elements will do. Raises ScheduleError, naming the
    step, for a rank or chunk that does not exist, for two messages that replace one chunk, and for a chunk that the
    switch is asked for before it has it.
    """
    if payload.shape[:1] != (schedule.ranks,):
        raise ValueError(f"the payload has {payload.shape[0]} ranks; the schedule is for {schedule.ranks}.")
    cuts = np.linspace(0, payload.shape[1], schedule.chunks + 1).astype(np.int64)
    held = np.concatenate([payload, np.zeros_like(payload[:1])])
    at_switch = np.zeros(schedule.chunks, dtype=np.bool_)
    for number, phase in enumerate(schedule.phases):
        for step in range(phase.count):
            place = f"{schedule.name}, phase {number}, step {step}"
            messages = phase.messages(step)
            _check(schedule, messages, at_switch, place)
            sent = held.copy()
            for source, destination, first in zip(
                messages.source, messages.destination, messages.first_chunk, strict=True
            ):
                part = slice(cuts[first], cuts[first + messages.chunks])
                if messages.reduce:
                    held[destination, part] += sent[source, part]
                else:
                    held[destination, part] = sent[source, part]
    return held[:-1]


def verify(schedule: Schedule) -> None:
    """Refuse an AllReduce that does not leave the sum of every chunk on every rank, each rank added exactly once.

    Executed on one vector a rank whose entries count contributions: rank r's own is 1 in column r of every chunk.
    Raises ScheduleError naming the rank and the chunk.
    """
    counts = np.tile(np.eye(schedule.ranks, dtype=np.int64)[:, None, :], (1, schedule.chunks, 1))
    result = execute(schedule, counts)
    wrong = np.argwhere(result != 1)
    if len(wrong):
        rank, chunk, origin = wrong[0]
        raise ScheduleError(
            f"{schedule.name}: rank {rank} ends with chunk {chunk} of rank {origin} added "
            f"{result[rank, chunk, origin]} times; expected once."
        )


def _check(schedule: Schedule, messages: Messages, at_switch: NDArray[np.bool_], place: str) -> None:
    ends = np.concatenate([messages.source, messages.destination])
    if np.any((ends >= schedule.ranks) | (ends < SWITCH)):
        raise ScheduleError(f"{place}: a message names rank {ends.max()}; there are {schedule.ranks}.")
    if np.any((messages.first_chunk < 0) | (messages.first_chunk + messages.chunks > schedule.chunks)):
        raise ScheduleError(f"{place}: a message names a chunk that does not exist; there are {schedule.chunks}.")
    chunks = messages.first_chunk[:, None] + np.arange(messages.chunks)
    if not np.all(at_switch[chunks[messages.source == SWITCH]]):
        raise ScheduleError(f"{place}: the switch is asked for a chunk before it has it.")
    at_switch[chunks[messages.destination == SWITCH]] = True
    written = messages.destination * schedule.chunks + messages.first_chunk
    if not messages.reduce and len(np.unique(written)) < len(written):
        raise ScheduleError(f"{place}: two messages replace the same chunk of one rank.")
