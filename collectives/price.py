"""A schedule's time on a topology: when each rank is ready goes in, when each is finished comes out.

Clocks are int64 picoseconds and follow the recurrence of ``step_times``. It depends on differences of clocks alone, so
the steps of a phase need not be walked one by one: ranks that are alike and ready together stay together; where each
passes to one neighbour, to both, or to all others, all steps are one maximum (``_shift_steps``, ``_spread_steps``,
``_meet_steps``); elsewhere, clocks that have come to move alike do so for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from chips.clock.time import PICOSECONDS_PER_SECOND
from collectives.schedule import Schedule
from collectives.step_times import Clocks, Costs, PhasePlan, StepTimes, plan, port_ps
from collectives.topology import Topology


def price(
    schedule: Schedule,
    topology: Topology,
    payload_bytes: int,
    *,
    ready_ps: Clocks | None = None,
    step_seconds: float = 0.0,
    reduce_seconds_per_byte: float = 0.0,
) -> Clocks:
    """When every rank has its result, int64 picoseconds, shape (ranks,).

    ``payload_bytes``: as ``Schedule.chunk_bytes`` counts it. ``ready_ps``: when every rank enters; None: all at 0.
    ``step_seconds``: software cost of a rank for every step; ``reduce_seconds_per_byte``: of adding what has arrived.
    Raises ValueError if topology and schedule differ in ranks, MissingLink if a message has no way.
    """
    phases, chunk_bytes = plan(schedule, topology), schedule.chunk_bytes(payload_bytes)
    costs = Costs(step_seconds, reduce_seconds_per_byte)
    if ready_ps is None and not schedule.streamed and all(phase.alike for phase in phases):
        # A message of its own takes a rank no longer to send than to have arrived at another that is alike.
        finish = sum(phase.count * phase.alike_ps(chunk_bytes, costs, False)[1] for phase in phases)
        return np.full(schedule.ranks, finish, dtype=np.int64)
    clocks = _first_clocks(schedule, ready_ps)
    for phase in phases:
        clocks = _phase_end(clocks, phase, chunk_bytes, costs, schedule.streamed)
    return (clocks + port_ps(schedule, phases, chunk_bytes))[:-1]


def price_by_step(
    schedule: Schedule,
    topology: Topology,
    payload_bytes: int,
    *,
    ready_ps: Clocks | None = None,
    step_seconds: float = 0.0,
    reduce_seconds_per_byte: float = 0.0,
) -> Iterator[Clocks]:
    """When every rank is ready, and then after every step that has messages; the last is what ``price`` gives."""
    costs = Costs(step_seconds, reduce_seconds_per_byte)
    yield from (clocks[:-1] for clocks, _ in walk(schedule, topology, payload_bytes, costs, ready_ps))


def walk(
    schedule: Schedule, topology: Topology, payload_bytes: int, costs: Costs, ready_ps: Clocks | None = None
) -> Iterator[tuple[Clocks, StepTimes | None]]:
    """Every step that has messages: the clocks of the ranks and then the switch's before it, and its durations; last
    the clocks after all steps and None.

    For pictures and traces.
    """
    phases, chunk_bytes = plan(schedule, topology), schedule.chunk_bytes(payload_bytes)
    clocks = _first_clocks(schedule, ready_ps)
    for phase in phases:
        step = phase.step_times(chunk_bytes, costs, schedule.streamed)
        for _ in range(phase.count):
            yield clocks, step
            clocks = _advance(clocks, step)
    yield clocks + port_ps(schedule, phases, chunk_bytes), None


class LinearCost(NamedTuple):
    """A schedule's time between ranks that are ready together: ``latency_seconds + seconds_per_byte * payload``."""

    latency_seconds: float
    seconds_per_byte: float


@cache
def linear_cost(algorithm: Callable[[int], Schedule], ranks: int, topology: Topology) -> LinearCost:
    """Two prices of ``algorithm(ranks)``, at nothing and at a large payload that its chunks divide."""
    schedule = algorithm(ranks)
    payload = schedule.chunks * 10**9
    latency, loaded = (int(price(schedule, topology, size).max()) for size in (0, payload))
    return LinearCost(latency / PICOSECONDS_PER_SECOND, (loaded - latency) / PICOSECONDS_PER_SECOND / payload)


def _first_clocks(schedule: Schedule, ready_ps: Clocks | None) -> Clocks:
    """The clocks of the ranks, and the switch's, which is ready with the first."""
    ready = np.zeros(schedule.ranks, dtype=np.int64) if ready_ps is None else np.asarray(ready_ps, dtype=np.int64)
    if ready.shape != (schedule.ranks,):
        raise ValueError(f"ready times have shape {ready.shape}; expected ({schedule.ranks},).")
    return np.append(ready, ready.min())


def _advance(clocks: Clocks, step: StepTimes) -> Clocks:
    after: Clocks = clocks + step.staying
    np.maximum.at(after, step.destination, clocks[step.source] + step.arriving)
    return after


def _phase_end(clocks: Clocks, phase: PhasePlan, chunk_bytes: int, costs: Costs, streamed: bool) -> Clocks:
    """The clocks after all steps of a phase, in the shortest way that gives what walking them would."""
    if phase.alike and phase.pattern == "complete":
        return _meet_steps(clocks, *phase.alike_ps(chunk_bytes, costs, streamed), phase.count)
    if phase.alike and phase.pattern == "two_ways":
        return _spread_steps(clocks, phase, *phase.alike_ps(chunk_bytes, costs, streamed))
    step = phase.step_times(chunk_bytes, costs, streamed)
    if phase.count == 1:
        return _advance(clocks, step)
    if phase.pattern == "permutation" and np.ptp(step.staying[:-1]) == 0:
        return _shift_steps(clocks, step, phase.count)
    return _walk_steps(clocks, step, phase.count)


def _walk_steps(clocks: Clocks, step: StepTimes, count: int) -> Clocks:
    """The recurrence, step by step; once all clocks that take part move alike they do so for ever, and it leaps."""
    involved = np.union1d(step.source, step.destination)
    for walked in range(count):
        after = _advance(clocks, step)
        moved = (after - clocks)[involved]
        clocks = after
        if np.ptp(moved) == 0:
            clocks[involved] += (count - walked - 1) * moved[0]
            return clocks
    return clocks


def _shift_steps(clocks: Clocks, step: StepTimes, count: int) -> Clocks:
    """The recurrence where every rank passes to one other and stays as long as all, all steps at once, exactly.

    After k steps rank r waits for the latest of the ranks up to k places before it, from each of whom j of the k
    steps were ``arriving`` on the way instead of ``staying``: a maximum over a window, doubled and lengthened bit by
    bit of k. Messages may take differently long, as those between the switches of a fat tree do.
    """
    ranks = len(clocks) - 1
    before, extra = np.empty(ranks, dtype=np.int64), np.empty(ranks, dtype=np.int64)
    staying = int(step.staying[0])
    before[step.destination], extra[step.destination] = step.source, step.arriving - staying
    # jump: the rank so many places before as the window reaches; way: what the messages from there take beyond staying
    window, jump, way = clocks[:ranks], np.arange(ranks), np.zeros(ranks, dtype=np.int64)
    for bit in f"{count:b}":
        window = np.maximum(window, window[jump] + way)
        jump, way = jump[jump], way + way[jump]
        if bit == "1":
            window = np.maximum(window, window[before] + extra)
            jump, way = jump[before], extra + way[before]
    return np.append(window + count * staying, clocks[ranks])


def _meet_steps(clocks: Clocks, staying: int, arriving: int, count: int) -> Clocks:
    """The recurrence where every rank passes to every other alike: each waits for the latest of the others."""
    times = clocks[:-1]
    for _ in range(count):
        last = int(np.argmax(times))
        others = np.full(len(times), times[last])
        others[last] = np.delete(times, last).max()
        times = np.maximum(times + staying, others + arriving)
    return np.append(times, clocks[-1])


def _spread_steps(clocks: Clocks, phase: PhasePlan, staying: int, arriving: int) -> Clocks:
    """The recurrence where every rank passes to the next and to the one before alike, all steps at once, exactly.

    A message takes no less than staying, so that whoever is heard of after k steps came by k messages, or by one less
    where the way there and back leaves one over: two maxima over every other rank of a window, doubled bit by bit.
    """
    ranks = len(clocks) - 1
    after, before = np.empty(ranks, dtype=np.int64), np.empty(ranks, dtype=np.int64)
    after[phase.source[:ranks]] = phase.destination[:ranks]
    before[phase.destination[:ranks]] = phase.source[:ranks]

    def heard(messages: int) -> Clocks:
        """The latest of the ranks that so many messages lead from, one after the other."""
        window, forward, back = clocks[:ranks], np.arange(ranks), np.arange(ranks)
        for bit in f"{messages:b}":
            window = np.maximum(window[forward], window[back])
            forward, back = forward[forward], back[back]
            if bit == "1":
                window = np.maximum(window[after], window[before])
                forward, back = after[forward], before[back]
        return window + messages * (arriving - staying)

    times = np.maximum(heard(phase.count), heard(phase.count - 1)) + phase.count * staying
    return np.append(times, clocks[ranks])
