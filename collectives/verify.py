"""A schedule's result on real arrays, and the proof that it is a collective: why a wrong schedule is refused.

``execute`` moves real numbers. ``verify`` moves sets instead, of the ranks whose part a chunk holds: so it sees a part
that is added twice, a chunk that is passed on before it arrives, and what is missing at the end, for any payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectives.routing import MissingLink, route
from collectives.schedule import SWITCH, Integers, Messages, Schedule
from collectives.topology import Topology
from results.errors import LooplineError

Sets = NDArray[np.uint64]  # sets of ranks, 64 a word, in the last axis


class ScheduleError(LooplineError, ValueError):
    """A schedule does not do what a collective must; the message names the step."""


class Entries(NamedTuple):
    """The chunks that move in a step, one entry each, in the order of the messages."""

    source: Integers
    destination: Integers
    chunk: Integers
    reduce: NDArray[np.bool_]


def execute(schedule: Schedule, payload: NDArray[np.generic]) -> NDArray[np.generic]:
    """Every rank's buffer after the schedule: shape (ranks, elements) in and out, dtype kept.

    Chunks are cut as ``numpy.array_split`` does, so any number of elements will do. What a rank does not contribute
    to the operation (``contributed``) counts as 0. Sums are added in the order of the messages. Raises ScheduleError,
    naming the step, for a rank or chunk that does not exist and for two messages that replace one chunk.
    """
    if payload.shape[:1] != (schedule.ranks,):
        raise ValueError(f"the payload has {payload.shape[0]} ranks; the schedule is for {schedule.ranks}.")
    cuts = schedule.cuts(payload.shape[1])
    lengths = np.diff(cuts)
    width = int(lengths.max())
    # All chunks get one width, so that a step is a few operations on whole arrays.
    element = np.arange(payload.shape[1]) + np.repeat(np.arange(schedule.chunks) * width - cuts[:-1], lengths)
    flat = np.zeros((schedule.ranks + 1, schedule.chunks * width), dtype=payload.dtype)
    flat[:-1, element] = np.where(np.repeat(contributed(schedule), lengths, axis=1), payload, np.zeros_like(payload))
    held = flat.reshape(schedule.ranks + 1, schedule.chunks, width)
    for number, step, messages in schedule.steps():
        entries = _entries(schedule, messages, _place(schedule, number, step))
        sent = held[entries.source, entries.chunk]
        for now in _in_turn(schedule, entries):
            at = entries.destination[now], entries.chunk[now]
            held[at] = np.where(entries.reduce[now, None], held[at] + sent[now], sent[now])
    result: NDArray[np.generic] = flat[:-1, element]
    return result


def verify(schedule: Schedule, topology: Topology | None = None) -> None:
    """Refuse a schedule that is not the collective it says: every part of every chunk there, each added exactly once.

    Raises ScheduleError naming the step for a part added twice; a chunk that is sent before it arrives, or by ranks
    that wait for each other; a rank that sends to itself; a step that differs from the first of its phase; and, with
    ``topology``, a message between ranks that no link joins. Otherwise names the rank and chunk where a part lacks.
    Takes ranks**2 * chunks bits.
    """
    holds = _own_parts(schedule)
    early = ""
    for number, phase in enumerate(schedule.phases):
        for step in range(phase.count):
            place, messages = _place(schedule, number, step), phase.messages(step)
            entries = _entries(schedule, messages, place)
            if step == 0:
                first = messages
                _check_links(messages, topology, place)
            elif not _same_shape(first, messages):
                raise ScheduleError(
                    f"{place}: its pairs, sizes or sums differ from those of the first step of its phase."
                )
            sent = holds[entries.source, entries.chunk]
            absent = ~sent.any(axis=-1)
            if np.any(absent):
                raise ScheduleError(_why_absent(schedule, number, step, entries, holds, int(np.argmax(absent))))
            early = early or _passed_on_early(schedule, entries, sent, place)
            for now in _in_turn(schedule, entries):
                _take(entries, now, sent, holds, place)
    _check_end(schedule, holds, early)


def contributed(schedule: Schedule) -> NDArray[np.bool_]:
    """Which chunks of a rank go into the operation, shape (ranks, chunks)."""
    rank, chunk = np.arange(schedule.ranks)[:, None], np.arange(schedule.chunks)
    match schedule.operation:
        case "all_reduce" | "reduce_scatter":
            return np.ones((schedule.ranks, schedule.chunks), dtype=np.bool_)
        case "broadcast":
            return np.broadcast_to(rank == 0, (schedule.ranks, schedule.chunks))
        case _:
            return np.asarray(rank == chunk * schedule.ranks // schedule.chunks)


def required(schedule: Schedule) -> NDArray[np.bool_]:
    """Which chunks of a rank the operation defines at its end, shape (ranks, chunks)."""
    ranks = schedule.ranks
    rank, chunk = np.arange(ranks)[:, None], np.arange(schedule.chunks)
    owner = chunk * ranks // schedule.chunks
    match schedule.operation:
        case "reduce_scatter":
            return np.asarray(owner == rank)
        case "all_to_all":
            return np.asarray(chunk % ranks == rank)
        case "send_receive":
            return np.asarray(owner == (rank - 1) % ranks)
        case _:
            return np.ones((ranks, schedule.chunks), dtype=np.bool_)


def _entries(schedule: Schedule, messages: Messages, place: str) -> Entries:
    """The chunks that move, if they may."""
    sizes = messages.sizes()
    if np.any(sizes < 1):
        raise ScheduleError(f"{place}: a message carries {sizes.min()} chunks; at least 1 is needed.")
    index = np.repeat(np.arange(len(sizes)), sizes)
    offset = np.arange(len(index)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chunk = messages.first_chunk[index] + offset
    entries = Entries(messages.source[index], messages.destination[index], chunk, messages.reducing()[index])
    _check(schedule, entries, place)
    return entries


def _in_turn(schedule: Schedule, entries: Entries) -> Iterator[Integers]:
    """Entries in rounds, so that in each round every chunk of a rank is written once: the first writer first."""
    written = (entries.destination + 1) * schedule.chunks + entries.chunk
    order = np.argsort(written, kind="stable")
    starts = np.flatnonzero(np.diff(written[order], prepend=-1))
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    for now in range(int(turn.max(initial=-1)) + 1):
        yield np.flatnonzero(turn == now)


def _place(schedule: Schedule, number: int, step: int) -> str:
    return f"{schedule.name}, phase {number}, step {step}"


def _check(schedule: Schedule, entries: Entries, place: str) -> None:
    ends = np.concatenate([entries.source, entries.destination])
    if np.any((ends >= schedule.ranks) | (ends < SWITCH)):
        stranger = ends[(ends >= schedule.ranks) | (ends < SWITCH)][0]
        raise ScheduleError(f"{place}: a message names rank {stranger}; there are {schedule.ranks}.")
    if np.any((entries.chunk < 0) | (entries.chunk >= schedule.chunks)):
        raise ScheduleError(f"{place}: a message names a chunk that does not exist; there are {schedule.chunks}.")
    alone = entries.source == entries.destination
    if np.any(alone):
        raise ScheduleError(f"{place}: deadlock: rank {entries.source[alone][0]} waits for a message from itself.")
    _, chunk, writers = np.unique(
        (entries.destination + 1) * schedule.chunks + entries.chunk, return_inverse=True, return_counts=True
    )
    clash = ~entries.reduce & (writers[chunk] > 1)
    if np.any(clash):
        i = int(np.argmax(clash))
        raise ScheduleError(
            f"{place}: two messages replace chunk {entries.chunk[i]} of rank {entries.destination[i]}, or one replaces "
            "what another adds to."
        )


def _check_links(messages: Messages, topology: Topology | None, place: str) -> None:
    if topology is None or not len(messages.source):
        return
    try:
        route(topology, messages.source, messages.destination, messages.sizes())
    except MissingLink as missing:
        raise ScheduleError(f"{place}: {missing}") from missing


def _same_shape(first: Messages, other: Messages) -> bool:
    return (
        np.array_equal(first.source, other.source)
        and np.array_equal(first.destination, other.destination)
        and np.array_equal(first.sizes(), other.sizes())
        and np.array_equal(first.reducing(), other.reducing())
    )


def _own_parts(schedule: Schedule) -> Sets:
    """What every rank, and last the switch, holds at the start: its own part of what it contributes."""
    holds = np.zeros((schedule.ranks + 1, schedule.chunks, -(-schedule.ranks // 64)), dtype=np.uint64)
    rank, chunk = np.nonzero(contributed(schedule))
    holds[rank, chunk, rank // 64] = np.uint64(1) << (rank % 64).astype(np.uint64)
    return holds


def _take(entries: Entries, now: Integers, sent: Sets, holds: Sets, place: str) -> None:
    """What arrives in one round: sets are replaced or, if they share no rank, united."""
    at = entries.destination[now], entries.chunk[now]
    before = np.where(entries.reduce[now, None], holds[at], np.uint64(0))
    twice = (before & sent[now]).any(axis=-1)
    if np.any(twice):
        i = int(np.argmax(twice))
        raise ScheduleError(
            f"{place}: rank {at[0][i]} adds chunk {at[1][i]} of rank {_first((before & sent[now])[i])} a second time."
        )
    holds[at] = before | sent[now]


def _passed_on_early(schedule: Schedule, entries: Entries, sent: Sets, place: str) -> str:
    """The first copy of a sum that lacks a part: what is wrong with a schedule whose end lacks it."""
    if schedule.operation not in ("all_reduce", "reduce_scatter"):
        return ""
    lacking = ~entries.reduce & (np.bitwise_count(sent).sum(axis=-1) < schedule.ranks)
    if not np.any(lacking):
        return ""
    i = int(np.argmax(lacking))
    missing = _first(~sent[i])
    chunk, source = entries.chunk[i], _name(int(entries.source[i]))
    return f"; {place}: {source} passes on chunk {chunk} before the part of rank {missing} has arrived"


def _why_absent(schedule: Schedule, number: int, step: int, entries: Entries, holds: Sets, i: int) -> str:
    """Why entry i has nothing to send: it waits in a circle, is sent too early, or never comes."""
    chunk = int(entries.chunk[i])
    waiting = [int(entries.source[i])]
    place = _place(schedule, number, step)
    what = f"{place}: {_name(waiting[0])} sends chunk {chunk}"
    while True:
        supplier = entries.source[(entries.destination == waiting[-1]) & (entries.chunk == chunk)]
        if not len(supplier):
            break
        if holds[supplier[0], chunk].any():
            return f"{what} before it arrives, in that same step, from {_name(int(supplier[0]))}."
        waiting.append(int(supplier[0]))
        if waiting[-1] in waiting[:-1]:
            circle = ", ".join(_name(end) for end in waiting[waiting.index(waiting[-1]) :])
            return f"{place}: deadlock: each waits for chunk {chunk} from the next: {circle}."
    for later, at, messages in schedule.steps():
        coming = _entries(schedule, messages, _place(schedule, later, at))
        if (later, at) > (number, step) and np.any((coming.destination == waiting[0]) & (coming.chunk == chunk)):
            return f"{what} before it arrives, in phase {later}, step {at}."
    return f"{what}, which never arrives there."


def _check_end(schedule: Schedule, holds: Sets, early: str) -> None:
    """Every chunk that is required holds the parts of all who contribute to it, and of nobody else."""
    given = contributed(schedule)
    whole = np.zeros(holds.shape[1:], dtype=np.uint64)
    for rank in range(schedule.ranks):
        whole[given[rank], rank // 64] |= np.uint64(1) << np.uint64(rank % 64)
    wrong = np.argwhere((holds[:-1] ^ whole).any(axis=-1) & required(schedule))
    if not len(wrong):
        return
    rank, chunk = (int(place) for place in wrong[0])
    origin = _first(holds[rank, chunk] ^ whole[chunk])
    there = int(holds[rank, chunk, origin // 64]) >> origin % 64 & 1
    raise ScheduleError(
        f"{schedule.name}: rank {rank} ends with chunk {chunk} of rank {origin} added {there} times; expected "
        f"{'never' if there else 'once'}{early}."
    )


def _first(members: Sets) -> int:
    """The smallest rank of a set."""
    word = int(np.argmax(members != 0))
    value = int(members[word])
    return 64 * word + (value & -value).bit_length() - 1


def _name(end: int) -> str:
    return "the switch" if end == SWITCH else f"rank {end}"
