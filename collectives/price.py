"""A schedule's time on a topology: when each rank is ready goes in, when each is finished comes out.

Clocks are int64 picoseconds; a duration is computed in float seconds and rounded once. A step is the recurrence

    begin_r  = t_r + step
    finish_r = max(begin_r + sending_r, max over senders s of max(begin_r, begin_s + latency + transfer) + reduction_r)

where ``sending`` is until a rank's own messages have left and ``reduction`` adds all that came. It depends on
differences of clocks alone, so the steps of a phase need not be walked one by one: see ``_shift_steps``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.explained_time import PICOSECONDS_PER_SECOND, seconds_to_ps
from collectives.schedule import SWITCH, Messages, Schedule
from collectives.topology import Topology

Clocks = NDArray[np.int64]


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

    ``payload_bytes``: a rank's buffer, cut into the schedule's chunks (the last may be short; all are priced as full).
    ``ready_ps``: when every rank enters; None: all at 0. ``step_seconds``: software cost of a rank for every step;
    ``reduce_seconds_per_byte``: of adding what has arrived. Raises ValueError if topology and schedule differ in ranks.
    """
    if topology.ranks < schedule.ranks:
        raise ValueError(f"the schedule is for {schedule.ranks} ranks, the topology has {topology.ranks}.")
    ready = np.zeros(schedule.ranks, dtype=np.int64) if ready_ps is None else np.asarray(ready_ps, dtype=np.int64)
    if ready.shape != (schedule.ranks,):
        raise ValueError(f"ready times have shape {ready.shape}; expected ({schedule.ranks},).")
    chunk_bytes = -(-payload_bytes // schedule.chunks)
    # The switch is one more clock behind those of the ranks; it is ready first and has no port of its own.
    clocks = np.append(ready, ready.min())
    port_out, port_in = np.zeros(clocks.shape), np.zeros(clocks.shape)
    for phase in schedule.phases:
        messages = phase.messages(0)
        if phase.count == 0 or len(messages.source) == 0:
            continue
        size = float(messages.chunks * chunk_bytes)
        latency, transfer = topology.message_seconds(
            messages.source, messages.destination, np.full(messages.source.shape, size)
        )
        if schedule.streamed:
            port_out += phase.count * _busiest(messages.source, transfer, len(clocks))
            port_in += phase.count * _busiest(messages.destination, transfer, len(clocks))
            transfer = np.zeros_like(transfer)
        reduction = reduce_seconds_per_byte * size if messages.reduce else 0.0
        step = _step(messages, latency, transfer, reduction, step_seconds, len(clocks))
        clocks = _shift_steps(clocks, step, phase.count) if step.is_shift else _walk_steps(clocks, step, phase.count)
    return (clocks + seconds_to_ps(np.maximum(port_out, port_in)))[:-1]


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


def _busiest(ends: NDArray[np.int64], transfer: NDArray[np.float64], clocks: int) -> NDArray[np.float64]:
    """The slowest transfer of every rank at this end of its messages, seconds; the switch (-1) comes last."""
    busiest = np.zeros(clocks)
    np.maximum.at(busiest, ends, transfer)
    return busiest


def _taking_part(source: NDArray[np.int64], destination: NDArray[np.int64], clocks: int) -> NDArray[np.bool_]:
    part = np.zeros(clocks, dtype=np.bool_)
    part[source] = part[destination] = True
    return part


@dataclass(frozen=True)
class _Step:
    """One step in picoseconds.

    ``staying``: from a rank's beginning until it has sent and could have reduced, 0 if it takes no part;
    ``arriving``: from the sender's beginning until a message is there and reduced.
    """

    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    staying: Clocks
    arriving: Clocks

    @property
    def is_shift(self) -> bool:
        """Every rank sends one message and receives one, all alike: a permutation of equal steps."""
        ranks = len(self.staying) - 1
        return (
            len(self.source) == ranks
            and bool(np.all(np.bincount(self.source, minlength=ranks + 1)[:ranks] == 1))
            and bool(np.all(np.bincount(self.destination, minlength=ranks + 1)[:ranks] == 1))
            and int(np.ptp(self.arriving)) == 0
            and int(np.ptp(self.staying[:ranks])) == 0
        )


def _step(
    messages: Messages,
    latency: NDArray[np.float64],
    transfer: NDArray[np.float64],
    reduction: float,
    step_seconds: float,
    clocks: int,
) -> _Step:
    """The step that these messages make; ``reduction`` seconds a message, which a switch spends on the way."""
    source, destination = messages.source % clocks, messages.destination % clocks
    reducing = reduction * np.bincount(destination, minlength=clocks)
    reducing[SWITCH] = 0.0
    staying = np.maximum(_busiest(source, transfer, clocks), reducing)
    staying[_taking_part(source, destination, clocks)] += step_seconds
    arriving = step_seconds + latency + transfer + reducing[destination]
    return _Step(source, destination, seconds_to_ps(staying), seconds_to_ps(arriving))


def _walk_steps(clocks: Clocks, step: _Step, count: int) -> Clocks:
    """The recurrence, step by step; once all clocks that take part move alike they do so for ever, and it leaps."""
    involved = _taking_part(step.source, step.destination, len(clocks))
    for walked in range(count):
        after = clocks + step.staying
        np.maximum.at(after, step.destination, clocks[step.source] + step.arriving)
        moved = (after - clocks)[involved]
        clocks = after
        if np.ptp(moved) == 0:
            clocks[involved] += (count - walked - 1) * moved[0]
            return clocks
    return clocks


def _shift_steps(clocks: Clocks, step: _Step, count: int) -> Clocks:
    """The recurrence of a shift, all steps at once, exactly.

    After k steps rank r waits for the latest of the ranks up to k places before it, from each of whom j of the k
    steps were ``arriving`` instead of ``staying``: a maximum over a window, doubled and lengthened bit by bit of k.
    """
    ranks = len(clocks) - 1
    before = np.empty(ranks, dtype=np.int64)
    before[step.destination] = step.source
    staying = int(step.staying[0])
    extra = int(step.arriving[0]) - staying
    window, reach, jump = clocks[:ranks], 0, np.arange(ranks)  # jump: the rank ``reach`` places before
    for bit in f"{count:b}":
        window = np.maximum(window, window[jump] + reach * extra)
        reach, jump = 2 * reach, jump[jump]
        if bit == "1":
            window = np.maximum(window, window[before] + extra)
            reach, jump = reach + 1, before[jump]
    return np.append(window + count * staying, clocks[ranks])
