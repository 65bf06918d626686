"""Random programs for clocks, as data, and the walk that issues one on any clock.

A program names times by how far back they were made: 0 is the latest time in scope. An acquire that finds no free slot,
and a release that finds none taken, are left out; every clock counts slots alike, so all leave out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

LABELS = ("matmul", "attention", "launch", ("allreduce", "link"))
ENGINES = ("HBM", "matrix", "vector", "link")
SINK = "sink"
"""Waits for the others and is waited for by none: they keep their own rates, and it sees who overtakes whom."""
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    engine: str
    steps: tuple[tuple[object, tuple[int, ...]], ...]
    """(label, picoseconds on each chip); more than one step is a duration that belongs to several labels."""
    after: tuple[int, ...]


@dataclass(frozen=True)
class Acquire:
    buffer: int


@dataclass(frozen=True)
class Release:
    buffer: int
    time: int


@dataclass(frozen=True)
class Join:
    times: tuple[int, ...]


@dataclass(frozen=True)
class Across:
    time: int


@dataclass(frozen=True)
class Barrier:
    duration: int
    label: object
    after: tuple[int, ...]


@dataclass(frozen=True)
class Loop:
    count: int | tuple[int, ...]
    """The same on all chips, or that of each."""
    buffers: tuple[int, ...]
    """Depths of the buffers that are made anew each time the loop is met."""
    carried: tuple[int, ...]
    body: tuple[Operation, ...]
    returned: tuple[int, ...]


Operation = Task | Acquire | Release | Join | Across | Barrier | Loop


@dataclass(frozen=True)
class Program:
    chips: int
    buffers: tuple[int, ...]
    operations: tuple[Operation, ...]


class Clock(Protocol[T]):
    """What a program runs on. ``T`` is that clock's notion of a time."""

    def zero(self) -> T: ...
    def task(self, task: Task, after: list[T]) -> T: ...
    def make_buffer(self, depth: int) -> int: ...
    def drop_buffers(self, kept: int) -> None: ...
    def acquire(self, buffer: int) -> T | None: ...
    def release(self, buffer: int, time: T) -> None: ...
    def join(self, times: list[T]) -> T: ...
    def across(self, time: T) -> T: ...
    def barrier(self, barrier: Barrier, after: list[T]) -> T: ...
    def loop(
        self, count: int | tuple[int, ...], body: Callable[[tuple[T, ...]], tuple[T, ...]], carried: tuple[T, ...]
    ) -> tuple[T, ...]:
        assert isinstance(count, int)
        for _ in range(count):
            carried = body(carried)
        return carried


def issue(program: Program, clock: Clock[T]) -> list[T]:
    """Issue a whole program; returns the times that it made outside loops, in order."""
    for depth in program.buffers:
        clock.make_buffer(depth)
    scope = [clock.zero()]
    _issue(program.operations, clock, scope, len(program.buffers))
    return scope


def _issue(operations: tuple[Operation, ...], clock: Clock[T], scope: list[T], buffers: int) -> None:
    def time(back: int) -> T:
        return scope[-1 - back % len(scope)]

    def times(backs: tuple[int, ...]) -> list[T]:
        return [time(back) for back in backs]

    for operation in operations:
        match operation:
            case Task():
                scope.append(clock.task(operation, times(operation.after)))
            case Acquire():
                slot = clock.acquire(operation.buffer % buffers) if buffers else None
                if slot is not None:
                    scope.append(slot)
            case Release():
                if buffers:
                    clock.release(operation.buffer % buffers, time(operation.time))
            case Join():
                scope.append(clock.join(times(operation.times)))
            case Across():
                scope.append(clock.across(time(operation.time)))
            case Barrier():
                scope.append(clock.barrier(operation, times(operation.after)))
            case Loop():
                for depth in operation.buffers:
                    clock.make_buffer(depth)
                inside = buffers + len(operation.buffers)

                def body(
                    carried: tuple[T, ...], loop: Loop = operation, inside: int = inside, outside: int = len(scope)
                ) -> tuple[T, ...]:
                    inner = [*scope[:outside], *carried]
                    _issue(loop.body, clock, inner, inside)
                    return tuple(inner[-1 - back % len(inner)] for back in loop.returned)

                scope.extend(clock.loop(operation.count, body, tuple(times(operation.carried))))
                clock.drop_buffers(buffers)


SHORT = (0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 23)
"""Durations so small and so alike that ties, near ties and nearly equal rates are common."""


def programs(chips: int = 1, most_iterations: int = 60, depth: int = 2) -> st.SearchStrategy[Program]:
    """Programs with loops nested up to ``depth`` deep; an innermost body runs up to ``most_iterations`` times."""
    return st.randoms(use_true_random=True).map(lambda random: Draw(random, chips).program(most_iterations, depth))


@dataclass(frozen=True)
class Draw:
    """Random pieces of programs, from a seed: long bodies that interact are rare among Hypothesis' own draws."""

    random: Random
    chips: int

    def program(self, iterations: int, depth: int) -> Program:
        buffers = tuple(self.random.choices((1, 1, 2, 2, 3, 4), k=self.random.randint(1, 3)))
        # Engines start apart, as far as loops can catch up: so winners of maxima change late in them.
        leads = tuple(Task(engine, ((LABELS[0], self.durations(range(4 * iterations))),), ()) for engine in ENGINES)
        loops = [self.loop(iterations, depth) for _ in range(self.random.randint(1, 2))]
        return Program(self.chips, buffers, (*leads, loops[0], *self.pieces(1, 0), *loops[1:]))

    def loop(self, iterations: int, depth: int) -> Loop:
        count = self.random.choice((iterations, iterations - 1, self.random.randint(0, iterations)))
        if depth > 1:
            count = int(count ** (1 / depth))
        carried = self.backs(0, 3)
        buffers = tuple(self.random.choices((1, 2, 3), k=self.random.choice((0, 0, 1, 2))))
        body = self.pieces(iterations // max(1, count), depth - 1)
        if self.random.random() < 0.6:
            body = (*body, Task(SINK, ((LABELS[0], self.durations((0, 1))),), self.backs(2, 4)))
        return Loop(count, buffers, carried, body, tuple(self.back() for _ in carried))

    def pieces(self, iterations: int, depth: int) -> tuple[Operation, ...]:
        """A few pieces in a row: tasks, two stages with a buffer between them, loops, and seldom something else."""
        operations: list[Operation] = []
        loops = 0
        for _ in range(self.random.randint(2, 8)):
            draw = self.random.random()
            if depth and not loops and draw < 0.4:
                operations.append(self.loop(iterations, depth))
                loops += 1
            elif draw < 0.7:
                operations.append(self.task())
            elif draw < 0.9:
                buffer = self.random.randrange(4)
                operations.extend((Acquire(buffer), self.task(), self.task(), Release(buffer, 0)))
            else:
                operations.append(self.seldom())
        return tuple(operations)

    def task(self) -> Task:
        labels = self.random.sample(LABELS, self.random.choice((1, 1, 1, 2)))
        steps = tuple((label, self.durations(SHORT)) for label in labels)
        return Task(self.random.choice(ENGINES), steps, self.backs(0, self.random.choice((0, 1, 1, 2))))

    def seldom(self) -> Operation:
        kinds: list[Callable[[], Operation]] = [
            lambda: Join(self.backs(1, 3)),
            lambda: Across(self.back()),
            lambda: Across(self.back()),
            lambda: Barrier(self.random.choice(SHORT), self.random.choice(LABELS), self.backs(0, 2)),
            lambda: Acquire(self.random.randrange(4)),
            lambda: Release(self.random.randrange(4), self.back()),
        ]
        return self.random.choice(kinds)()

    def durations(self, among: Sequence[int]) -> tuple[int, ...]:
        if self.random.random() < 0.4:
            return (self.random.choice(among),) * self.chips
        return tuple(self.random.choices(among, k=self.chips))

    def back(self) -> int:
        return self.random.choice((0, 0, 1, 2, 3, self.random.randrange(12)))

    def backs(self, least: int, most: int) -> tuple[int, ...]:
        return tuple(self.back() for _ in range(self.random.randint(least, most)))


class UnevenDraw(Draw):
    """Pieces whose loops run another number of times on each chip; chips do not meet, and slots taken come back."""

    def loop(self, iterations: int, depth: int) -> Loop:
        loop = super().loop(iterations, depth)
        assert isinstance(loop.count, int)
        return replace(loop, count=tuple(self.random.choice((loop.count, loop.count // 2, 0, 1, 7)) for _ in range(3)))

    def seldom(self) -> Operation:
        kinds: list[Callable[[], Operation]] = [
            lambda: Join(self.backs(1, 3)),
            lambda: Barrier(self.random.choice(SHORT), self.random.choice(LABELS), self.backs(0, 2)),
        ]
        return self.random.choice(kinds)()


def uneven_programs(most_iterations: int, depth: int = 2) -> st.SearchStrategy[Program]:
    """Programs of three chips that loop another number of times each."""
    return st.randoms(use_true_random=True).map(lambda random: UnevenDraw(random, 3).program(most_iterations, depth))


def of_chip(program: Program, chip: int) -> Program:
    """What one chip of a program does by itself."""
    return replace(program, chips=1, operations=tuple(_of_chip(operation, chip) for operation in program.operations))


def _of_chip(operation: Operation, chip: int) -> Operation:
    match operation:
        case Task(steps=steps):
            return replace(operation, steps=tuple((label, (durations[chip],)) for label, durations in steps))
        case Loop(count=count, body=body):
            own = count if isinstance(count, int) else count[chip]
            return replace(operation, count=own, body=tuple(_of_chip(inner, chip) for inner in body))
        case _:
            return operation
