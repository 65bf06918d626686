"""Programs of a clock, recorded once and run for many points side by side.

Two points whose tasks wait for one another in the same way differ only in how long each task takes and what its time is
counted as. ``Recorder`` has the interface of a ``Timeline`` and notes what is issued on it, without any time;
``run_side_by_side`` issues the same on one clock with a lane for each point. The answer is that of the program itself,
to the picosecond. Bodies of loops are recorded once: a body issues the same tasks each time (``Timeline.loop``).

Not here: what programs are worth recording, or what their durations are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from chips.clock.periodic_loop import Body
from chips.clock.time import Breakdown, Duration, IntArray, Picoseconds, Time, steps
from chips.clock.timeline import Buffer, Engine, Timeline

FEW = 6  # fewer lanes take less time one after the other: an array's addition costs as much as several of numbers
START = -1  # the mark of time zero
PARTS = "parts"  # the one label of times whose parts are a table

Spent = dict[Hashable, Picoseconds]


class Count(NamedTuple):
    """How often a loop runs, on each lane if it is an array, and whether it is long enough to look for a period."""

    times: int | IntArray
    leaps: bool


class Replay:
    """A program while it runs: its clock, the times of its marks, its buffers, how often its loops run, how long its
    tasks take as what.
    """

    def __init__(
        self,
        clock: Timeline,
        counts: Sequence[Count],
        durations: Sequence[Picoseconds],
        labels: Sequence[Hashable],
    ) -> None:
        self.clock = clock
        self.counts = counts
        self.times: dict[int, Time] = {START: Time.zero}
        self.buffers: dict[int, Buffer] = {}
        self._durations = durations
        self._labels = labels

    def spending(self, first: int, count: int) -> tuple[Duration, Hashable]:
        """The duration and the label of a task that has ``count`` durations from the ``first`` on."""
        if count == 1:
            return self._durations[first], self._labels[first]
        return {self._labels[place]: self._durations[place] for place in range(first, first + count)}, None

    def at(self, marks: Sequence[int]) -> tuple[Time, ...]:
        """The times of these marks."""
        return tuple([self.times[mark] for mark in marks])


class _SideBySide(Replay):
    """A program on a clock of several lanes: the parts of its times are a table, a row for each number of a label."""

    def __init__(
        self, clock: Timeline, counts: Sequence[Count], durations: Sequence[Picoseconds], labels: Sequence[int]
    ) -> None:
        super().__init__(clock, counts, durations, labels)
        self._rows = labels
        self._shape = max(labels, default=0) + 1, clock.chips
        self._breakdowns: dict[tuple[int, int], Breakdown] = {}

    def spending(self, first: int, count: int) -> tuple[Duration, Hashable]:
        if (first, count) not in self._breakdowns:
            parts = np.zeros(self._shape, np.int64)
            for place in range(first, first + count):
                for _, ps in steps(self._durations[place], None, self.clock.chips):
                    parts[self._rows[place]] += ps
            self._breakdowns[first, count] = Breakdown(parts.sum(axis=0), parts)
        return self._breakdowns[first, count], PARTS


class Instruction(Protocol):
    """Something issued on a clock.

    Its fields are numbers of marks, buffers, counts and durations, so that equal is alike.
    """

    def run(self, replay: Replay) -> None:
        """Issue it."""


@dataclass(unsafe_hash=True, slots=True)
class _Engine:
    name: str

    def run(self, replay: Replay) -> None:
        replay.clock.engine(self.name)


@dataclass(unsafe_hash=True, slots=True)
class _Free:
    name: str
    result: int

    def run(self, replay: Replay) -> None:
        replay.times[self.result] = replay.clock.engine(self.name).free


@dataclass(unsafe_hash=True, slots=True)
class _Task:
    engine: str
    after: tuple[int, ...]
    first: int
    count: int
    result: int

    def run(self, replay: Replay) -> None:
        duration, label = replay.spending(self.first, self.count)
        engine = replay.clock.engine(self.engine)
        replay.times[self.result] = replay.clock.task(engine, duration, replay.at(self.after), label)


@dataclass(unsafe_hash=True, slots=True)
class _Join:
    marks: tuple[int, ...]
    result: int

    def run(self, replay: Replay) -> None:
        replay.times[self.result] = replay.clock.join(*replay.at(self.marks))


@dataclass(unsafe_hash=True, slots=True)
class _Barrier:
    after: tuple[int, ...]
    first: int
    count: int
    result: int

    def run(self, replay: Replay) -> None:
        duration, label = replay.spending(self.first, self.count)
        replay.times[self.result] = replay.clock.barrier(duration, label, after=replay.at(self.after))


@dataclass(unsafe_hash=True, slots=True)
class _Now:
    result: int

    def run(self, replay: Replay) -> None:
        replay.times[self.result] = replay.clock.now


@dataclass(unsafe_hash=True, slots=True)
class _Buffer:
    number: int
    depth: int

    def run(self, replay: Replay) -> None:
        replay.buffers[self.number] = replay.clock.buffer(self.depth)


@dataclass(unsafe_hash=True, slots=True)
class _Acquire:
    buffer: int
    result: int

    def run(self, replay: Replay) -> None:
        replay.times[self.result] = replay.buffers[self.buffer].acquire()


@dataclass(unsafe_hash=True, slots=True)
class _Release:
    buffer: int
    mark: int

    def run(self, replay: Replay) -> None:
        replay.buffers[self.buffer].release(replay.times[self.mark])


@dataclass(unsafe_hash=True, slots=True)
class _Loop:
    count: int
    body: tuple[Instruction, ...]
    carried: tuple[int, ...]
    given: tuple[int, ...]
    returned: tuple[int, ...]
    results: tuple[int, ...]

    def run(self, replay: Replay) -> None:
        def body(times: tuple[Time, ...]) -> tuple[Time, ...]:
            replay.times |= zip(self.given, times, strict=True)
            for instruction in self.body:
                instruction.run(replay)
            return replay.at(self.returned)

        count, leaps = replay.counts[self.count]
        finished = replay.clock.loop(count, body, replay.at(self.carried), leaps=leaps)
        replay.times |= zip(self.results, finished, strict=True)


@dataclass(frozen=True)
class Program:
    """What was issued: for each loop in it how often it runs, for each duration how long and counted as what.

    Counts and durations are ints, or int64 (lanes,). ``instructions`` are equal where two programs wait in the same
    way; ``result`` is the mark that is asked for.
    """

    instructions: tuple[Instruction, ...]
    result: int
    counts: tuple[Count, ...]
    durations: tuple[Picoseconds, ...]
    labels: tuple[Hashable, ...]
    lanes: int

    @property
    def structure(self) -> Hashable:
        """What programs that can run side by side have in common."""
        return self.instructions, self.result


class Mark(Time):
    """A time that will be known when the program runs; until then its number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__(0, {})
        self.number = number


class _RecordedEngine(Engine):
    """An engine of a recorder, whose ``free`` is a mark."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.name = name
        self._recorder = recorder

    @property
    def free(self) -> Time:  # type: ignore[override]
        mark = self._recorder.mark()
        self._recorder.note(_Free(self.name, mark.number))
        return mark


class _RecordedBuffer(Buffer):
    """A buffer of a recorder, known by its number."""

    def __init__(self, recorder: Recorder, number: int, depth: int) -> None:
        super().__init__(depth)
        self._recorder, self._number = recorder, number

    def acquire(self) -> Time:
        mark = self._recorder.mark()
        self._recorder.note(_Acquire(self._number, mark.number))
        return mark

    def release(self, time: Time) -> None:
        self._recorder.note(_Release(self._number, _number(time)))


class Recorder(Timeline):
    """A clock without time: it notes what is issued on it for points of ``lanes`` lanes; ``program`` is the record."""

    def __init__(self, lanes: int = 1) -> None:
        super().__init__(lanes)
        self._instructions: list[Instruction] = []
        self._counts: list[Count] = []
        self._durations: list[Picoseconds] = []
        self._labels: list[Hashable] = []
        self._marks = 0
        self._named: dict[str, _RecordedEngine] = {}
        self._numbered = 0

    def program(self, result: Time) -> Program:
        """All that was issued so far, up to the time ``result``."""
        return Program(
            tuple(self._instructions),
            _number(result),
            tuple(self._counts),
            tuple(self._durations),
            tuple(self._labels),
            self.chips,
        )

    def note(self, instruction: Instruction) -> None:
        """Add an instruction."""
        self._instructions.append(instruction)

    def mark(self) -> Mark:
        """A time that an instruction will give."""
        self._marks += 1
        return Mark(self._marks - 1)

    def engine(self, name: str) -> Engine:
        if name not in self._named:
            self._named[name] = _RecordedEngine(self, name)
            self.note(_Engine(name))
        return self._named[name]

    def buffer(self, depth: int) -> Buffer:
        number = self._numbered
        self._numbered += 1
        self.note(_Buffer(number, depth))
        return _RecordedBuffer(self, number, depth)

    def task(
        self,
        engine: Engine,
        duration: Duration,
        after: Sequence[Time] = (),
        label: Hashable = None,
        name: str = "",
        of: object = None,
    ) -> Time:
        first, count = self._spend(duration, label)
        mark = self.mark()
        self.note(_Task(engine.name, _numbers(after), first, count, mark.number))
        return mark

    def join(self, *times: Time) -> Time:
        mark = self.mark()
        self.note(_Join(_numbers(times), mark.number))
        return mark

    def across(self, time: Time, group: int | None = None) -> Time:
        raise NotImplementedError("Chips that meet share a clock already; only points of alike chips are recorded.")

    def barrier(
        self, duration: Duration = 0, label: Hashable = None, name: str = "", after: Sequence[Time] = ()
    ) -> Time:
        first, count = self._spend(duration, label)
        mark = self.mark()
        self.note(_Barrier(_numbers(after), first, count, mark.number))
        return mark

    @property
    def now(self) -> Time:
        mark = self.mark()
        self.note(_Now(mark.number))
        return mark

    def loop(
        self,
        count: int | IntArray,
        body: Body,
        carried: tuple[Time, ...] = (),
        name: str = "",
        leaps: bool = True,
    ) -> tuple[Time, ...]:
        given = tuple(self.mark() for _ in carried)
        outside, self._instructions = self._instructions, []
        self._counts.append(Count(count, leaps))
        number = len(self._counts) - 1
        returned = body(given)
        inside, self._instructions = tuple(self._instructions), outside
        results = tuple(self.mark() for _ in returned)
        self.note(_Loop(number, inside, _numbers(carried), _numbers(given), _numbers(returned), _numbers(results)))
        return results

    def _spend(self, duration: Duration, label: Hashable) -> tuple[int, int]:
        if isinstance(duration, Breakdown):
            raise TypeError("What is recorded names its labels; a table of parts has none.")
        spent = duration if isinstance(duration, Mapping) else {label: duration}
        first = len(self._durations)
        self._durations.extend(spent.values())
        self._labels.extend(spent)
        return first, len(spent)


def _number(time: Time) -> int:
    """The number of a mark; the zero of all clocks is ``START``."""
    return time.number if isinstance(time, Mark) else START


def _numbers(times: Sequence[Time]) -> tuple[int, ...]:
    return tuple([_number(time) for time in times])


def run_side_by_side(programs: Sequence[Program]) -> list[Spent]:
    """What each program's result was spent on, by label, on each of its lanes; all have one ``structure``.

    Labels may differ between programs: two tasks share a label on the common clock if they do in every program.
    """
    first, lanes = programs[0], sum(program.lanes for program in programs)
    if lanes < FEW:
        return [_one_by_one(program) for program in programs]
    kinds = list(zip(*(program.labels for program in programs), strict=True))
    numbers: dict[tuple[Hashable, ...], int] = {}
    labels = [numbers.setdefault(kind, len(numbers)) for kind in kinds]
    widths = [program.lanes for program in programs]
    durations = [_joined(row, widths) for row in zip(*(program.durations for program in programs), strict=True)]
    counts = [
        Count(_joined([each.times for each in row], widths), any(each.leaps for each in row))
        for row in zip(*(program.counts for program in programs), strict=True)
    ]
    replay = _SideBySide(Timeline(lanes, independent=True), counts, durations, labels)
    table = np.broadcast_to(_run(first, replay).path.get(PARTS, 0), (len(numbers), lanes))
    answers: list[Spent] = []
    begin = 0
    for which, width in enumerate(widths):
        answer: Spent = {}
        for kind, own in zip(numbers, table[:, begin : begin + width], strict=True):
            if own.any():
                answer[kind[which]] = answer.get(kind[which], 0) + own
        answers.append(answer)
        begin += width
    return answers


def _one_by_one(program: Program) -> Spent:
    """Every lane on a clock of its own."""
    alone = [
        _run(
            program,
            Replay(
                Timeline(),
                [Count(_of_lane(each.times, lane), each.leaps) for each in program.counts],
                [_of_lane(each, lane) for each in program.durations],
                program.labels,
            ),
        ).parts
        for lane in range(program.lanes)
    ]
    labels = dict.fromkeys(label for parts in alone for label in parts)
    return {label: np.array([parts.get(label, 0) for parts in alone], np.int64) for label in labels}


def _of_lane(numbers: int | IntArray, lane: int) -> int:
    return numbers if isinstance(numbers, int) else int(numbers[lane])


def _joined(numbers: Sequence[int | IntArray], widths: Sequence[int]) -> int | IntArray:
    """One count or duration of all programs on the lanes of all: an int where they agree."""
    if isinstance(numbers[0], int) and all(type(each) is int and each == numbers[0] for each in numbers):
        return numbers[0]
    if max(widths) == 1:
        return np.array([int(np.max(each)) for each in numbers], np.int64)
    return np.concatenate(
        [np.broadcast_to(np.asarray(each, np.int64), width) for each, width in zip(numbers, widths, strict=True)]
    )


def _run(program: Program, replay: Replay) -> Time:
    """Issue the program as ``replay`` says; the time of its result."""
    for instruction in program.instructions:
        instruction.run(replay)
    return replay.times[program.result]
