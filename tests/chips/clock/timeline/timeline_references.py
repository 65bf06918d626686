"""Three clocks for the programs of ``timeline_programs``: the one under test and two that owe it nothing.

``Recurrence`` evaluates finish = max(engine free, inputs ready) + duration in plain dictionaries, every iteration.
``Simulation`` knows no recurrence: engines, buffers and barriers are SimPy processes that wait for events.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy
from timeline_programs import Barrier, Clock, Task

from chips.clock.timeline import Buffer, Time, Timeline

Parts = dict[object, int]
Explained = tuple[tuple[int, Parts], ...]
"""(picoseconds, parts) on each chip."""


class UnderTest(Clock[Time]):
    """A ``Timeline``; counts how often loop bodies really run."""

    def __init__(self, chips: int, record: bool = False, independent: bool = False) -> None:
        self.clock = Timeline(chips, record, independent=independent)
        self.chips = chips
        self.buffers: list[Buffer] = []
        self.bodies = 0

    def zero(self) -> Time:
        return Time.zero

    def task(self, task: Task, after: list[Time]) -> Time:
        steps = {label: ps[0] if self.chips == 1 else np.array(ps) for label, ps in task.steps}
        engine = self.clock.engine(task.engine)
        if len(steps) > 1:
            return self.clock.task(engine, steps, after)
        ((label, duration),) = steps.items()
        return self.clock.task(engine, duration, after, label)

    def make_buffer(self, depth: int) -> int:
        self.buffers.append(self.clock.buffer(depth))
        return len(self.buffers) - 1

    def drop_buffers(self, kept: int) -> None:
        del self.buffers[kept:]

    def acquire(self, buffer: int) -> Time | None:
        return self.buffers[buffer].acquire() if self.buffers[buffer].slots else None

    def release(self, buffer: int, time: Time) -> None:
        if len(self.buffers[buffer].slots) < self.buffers[buffer].depth:
            self.buffers[buffer].release(time)

    def join(self, times: list[Time]) -> Time:
        return self.clock.join(*times)

    def across(self, time: Time) -> Time:
        return self.clock.across(time)

    def barrier(self, barrier: Barrier, after: list[Time]) -> Time:
        return self.clock.barrier(barrier.duration, barrier.label, after=after)

    def loop(
        self,
        count: int | tuple[int, ...],
        body: Callable[[tuple[Time, ...]], tuple[Time, ...]],
        carried: tuple[Time, ...],
    ) -> tuple[Time, ...]:
        def counted(times: tuple[Time, ...]) -> tuple[Time, ...]:
            self.bodies += 1
            return body(times)

        return self.clock.loop(count if isinstance(count, int) else np.array(count), counted, carried)

    def explained(self, time: Time) -> Explained:
        """A time in the form of ``Recurrence``; parts of 0 ps are left out."""
        return tuple(
            (_on(time.ps, chip), {label: _on(ps, chip) for label, ps in time.parts.items() if _on(ps, chip)})
            for chip in range(self.chips)
        )


def _on(ps: Any, chip: int) -> int:
    return int(ps[chip]) if isinstance(ps, np.ndarray) else ps


class Recurrence(Clock[Explained]):
    """The recurrence itself, a chip at a time, with nothing left out."""

    def __init__(self, chips: int) -> None:
        self.chips = chips
        self.free: dict[str, Explained] = {}
        self.order: list[str] = []
        self.last_barrier = self.zero()
        self.buffers: list[list[Explained]] = []
        self.depths: list[int] = []

    def zero(self) -> Explained:
        return ((0, {}),) * self.chips

    def task(self, task: Task, after: list[Explained]) -> Explained:
        finish = self.join([self.free.get(task.engine, self.last_barrier), *after])
        for label, durations in task.steps:
            finish = tuple(
                (ps + duration, parts | ({label: parts.get(label, 0) + duration} if duration else {}))
                for (ps, parts), duration in zip(finish, durations, strict=True)
            )
        self.free[task.engine] = finish
        return finish

    def make_buffer(self, depth: int) -> int:
        self.buffers.append([self.zero()] * depth)
        self.depths.append(depth)
        return len(self.buffers) - 1

    def drop_buffers(self, kept: int) -> None:
        del self.buffers[kept:], self.depths[kept:]

    def acquire(self, buffer: int) -> Explained | None:
        return self.buffers[buffer].pop(0) if self.buffers[buffer] else None

    def release(self, buffer: int, time: Explained) -> None:
        if len(self.buffers[buffer]) < self.depths[buffer]:
            self.buffers[buffer].append(time)

    def join(self, times: list[Explained]) -> Explained:
        return tuple(max((time[chip] for time in times), key=lambda it: it[0]) for chip in range(self.chips))

    def across(self, time: Explained) -> Explained:
        return (max(time, key=lambda it: it[0]),) * self.chips

    def now(self) -> Explained:
        return self.join([self.last_barrier, *self.free.values()])

    def barrier(self, barrier: Barrier, after: list[Explained]) -> Explained:
        start = self.join([self.now(), *after])
        label, duration = barrier.label, barrier.duration
        finish = tuple(
            (ps + duration, parts | ({label: parts.get(label, 0) + duration} if duration else {}))
            for ps, parts in start
        )
        self.last_barrier = finish
        self.free = {name: finish for name in self.free}
        return finish


Moments = tuple[simpy.Event, ...]
"""What happens at a time, on each chip."""


class Simulation(Clock[Moments]):
    """A discrete-event simulation: engines serve their queues in order, a buffer is a row of stores."""

    def __init__(self, chips: int, engines: tuple[str, ...]) -> None:
        self.world = simpy.Environment()
        self.chips = chips
        self.queues = {(name, chip): simpy.Store(self.world) for name in engines for chip in range(chips)}
        self.idle_since = dict.fromkeys(self.queues, 0)
        for key in self.queues:
            self.world.process(self._serve(key))
        self.turns: list[list[tuple[simpy.Store, ...]]] = []
        """Of each buffer: a store (on each chip) for every turn of a slot, filled when the slot falls free for it."""
        self.acquired: list[int] = []
        self.depths: list[int] = []

    def _serve(self, key: tuple[str, int]) -> Generator[simpy.Event, Any, None]:
        while True:
            inputs, duration, done = yield self.queues[key].get()
            yield self.world.all_of(inputs)
            yield self.world.timeout(duration)
            self.idle_since[key] = self.world.now
            done.succeed(self.world.now)

    def zero(self) -> Moments:
        return tuple(self.world.event().succeed(0) for _ in range(self.chips))

    def _enqueue(self, engine: str, chip: int, inputs: list[simpy.Event], duration: int) -> simpy.Event:
        done = self.world.event()
        self.queues[engine, chip].put((inputs, duration, done))
        return done

    def task(self, task: Task, after: list[Moments]) -> Moments:
        return tuple(
            self._enqueue(task.engine, chip, [time[chip] for time in after], sum(ps[chip] for _, ps in task.steps))
            for chip in range(self.chips)
        )

    def make_buffer(self, depth: int) -> int:
        self.depths.append(depth)
        self.turns.append([self._turn() for _ in range(depth)])
        for stores in self.turns[-1]:
            for store in stores:
                store.put("free")
        self.acquired.append(0)
        return len(self.turns) - 1

    def _turn(self) -> tuple[simpy.Store, ...]:
        return tuple(simpy.Store(self.world, 1) for _ in range(self.chips))

    def drop_buffers(self, kept: int) -> None:
        del self.turns[kept:], self.acquired[kept:], self.depths[kept:]

    def acquire(self, buffer: int) -> Moments | None:
        turn = self.acquired[buffer]
        if turn == len(self.turns[buffer]):
            return None
        self.acquired[buffer] += 1
        return self._stamped([store.get() for store in self.turns[buffer][turn]])

    def release(self, buffer: int, time: Moments) -> None:
        if len(self.turns[buffer]) - self.acquired[buffer] == self.depths[buffer]:
            return
        self.turns[buffer].append(self._turn())
        for store, event in zip(self.turns[buffer][-1], time, strict=True):
            self.world.process(self._put_when(store, event))

    def _put_when(self, store: simpy.Store, event: simpy.Event) -> Generator[simpy.Event, Any, None]:
        yield event
        yield store.put("free")

    def join(self, times: list[Moments]) -> Moments:
        return self._stamped([self.world.all_of([time[chip] for time in times]) for chip in range(self.chips)])

    def across(self, time: Moments) -> Moments:
        return self._stamped([self.world.all_of(list(time))] * self.chips)

    def barrier(self, barrier: Barrier, after: list[Moments]) -> Moments:
        reached = {key: self._enqueue(*key, [], 0) for key in self.queues}
        open_again = []
        for chip in range(self.chips):
            waits = [event for (_, where), event in reached.items() if where == chip]
            waits.extend(time[chip] for time in after)
            open_again.append(self.world.process(self._pass(waits, barrier.duration)))
        for name, chip in self.queues:
            self._enqueue(name, chip, [open_again[chip]], 0)
        return tuple(open_again)

    def _pass(self, waits: list[simpy.Event], duration: int) -> Generator[simpy.Event, Any, int]:
        yield self.world.all_of(waits)
        yield self.world.timeout(duration)
        return int(self.world.now)

    def _stamped(self, events: list[Any]) -> Moments:
        """The same moments as events whose value is when they happened."""
        return tuple(self.world.process(self._pass([event], 0)) for event in events)

    def run(self, times: list[Moments]) -> list[tuple[int, ...]]:
        """Let it all happen; returns when each of ``times`` came, on each chip."""
        self.world.run()
        return [tuple(int(event.value) for event in time) for time in times]


def pipeline(durations: list[int], depths: list[int], items: int) -> int:
    """When the last of ``items`` leaves a pipeline of SimPy processes with bounded buffers between them.

    A stage takes an item from the buffer before it and a free slot of the one behind it, works, passes the item on, and
    gives its input slot back. ``depths`` has one entry less than ``durations``.
    """
    world = simpy.Environment()
    free = [simpy.Store(world) for _ in depths]
    full = [simpy.Store(world) for _ in depths]
    for store, depth in zip(free, depths, strict=True):
        for _ in range(depth):
            store.put("slot")

    def stage(index: int) -> Generator[simpy.Event, Any, None]:
        for _ in range(items):
            if index > 0:
                yield full[index - 1].get()
            if index < len(depths):
                yield free[index].get()
            yield world.timeout(durations[index])
            if index > 0:
                free[index - 1].put("slot")
            if index < len(depths):
                full[index].put("item")

    for index in range(len(durations)):
        world.process(stage(index))
    world.run()
    return int(world.now)
