"""Traces for ui.perfetto.dev: a process a chip, a track an engine, a slice a task, counters, and arrows between chips.

Two formats of the same trace, by the file's suffix: ``.pftrace``, Perfetto's own, and ``.json``, Google's "Trace Event
Format", which chrome://tracing reads too. Viewers count whole nanoseconds: a slice begins and ends at the whole
nanoseconds before its times, so that slices that meet still meet and none overlaps the next. The ``.json`` also holds
every slice's exact picoseconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from results.atomic_file import OutputError, written_beside
from results.step_series import StepSeries

Integers = NDArray[np.int64]
SUFFIXES = (".json", ".pftrace")


class TaskEvent(Protocol):
    """One task as it ran: on which engine, what it was, and when, in picoseconds (ints, or int64 arrays over chips)."""

    @property
    def engine(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def label(self) -> Hashable: ...
    @property
    def start_ps(self) -> int | NDArray[np.int64]: ...
    @property
    def finish_ps(self) -> int | NDArray[np.int64]: ...


@dataclass(frozen=True)
class Traced:
    """A group of chips in a trace: the tasks of one, which stands for all, or of each where times are arrays.

    ``chips``: how many to show where one stands for all. ``counters``: for each chip that is shown, its series.
    ``meeting``: the engine on which chips send to each other; a task on it gets an arrow from what its neighbour
    finished last before it.
    """

    tasks: Sequence[TaskEvent]
    chips: int = 1
    counters: Sequence[Sequence[StepSeries]] = ()
    meeting: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one task to another that waited for it: of each its process, its engine, and which of its tasks it is.

    Tasks are counted from 0 on each engine, in their order in time.
    """

    sender: tuple[str, str, int]
    receiver: tuple[str, str, int]


@dataclass(eq=False)
class Track:
    """The slices of one engine of one chip, in order; arrays of shape (slices,).

    ``name`` and ``category`` are indices of the trace's texts. ``sends`` and ``receives``: numbers of the arrows that
    begin and end at a slice, 0 for none.
    """

    process: int
    engine: str
    name: Integers
    category: Integers
    start_ps: Integers
    finish_ps: Integers
    sends: Integers = field(init=False)
    receives: Integers = field(init=False)

    def __post_init__(self) -> None:
        self.sends, self.receives = np.zeros_like(self.name), np.zeros_like(self.name)


@dataclass(frozen=True)
class Trace:
    """What either format writes: process names, tracks of slices, counters as (process, series), and all texts."""

    processes: list[str]
    tracks: list[Track]
    counters: list[tuple[int, StepSeries]]
    texts: list[str]


def check_trace_path(path: Path) -> None:
    """Raise OutputError in one sentence unless ``path`` has a suffix that a trace can have."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: a trace is a {' or a '.join(SUFFIXES)} file, not '{path.suffix or path.name}'.")


def write_trace(
    processes: Mapping[str, Iterable[TaskEvent] | Traced], path: Path, arrows: Sequence[Arrow] = ()
) -> None:
    """Write every group of chips by its name (such as ``h100 x8 kernel_loop``), whole or not at all.

    A list of tasks stands for one chip, or for each where times are arrays. ``arrows``: between the tasks of lists.
    Raises OutputError if ``path`` cannot be written, or is neither .json nor .pftrace.
    """
    from results.trace.chrome_json import json_lines
    from results.trace.perfetto import encoded

    check_trace_path(path)
    trace = gather(processes, arrows)
    with written_beside(path) as beside:
        if path.suffix.lower() == ".json":
            with beside.open("w", encoding="utf-8") as file:
                file.writelines(json_lines(trace))
        else:
            with beside.open("wb") as binary:
                binary.writelines(encoded(trace))


def gather(processes: Mapping[str, Iterable[TaskEvent] | Traced], arrows: Sequence[Arrow] = ()) -> Trace:
    """All slices by process and engine as arrays, with arrows between the chips of a group and those given."""
    trace = Trace([], [], [], [])
    numbers: dict[str, int] = {}
    for name, given in processes.items():
        traced = given if isinstance(given, Traced) else Traced(list(given))
        arrays = (task.finish_ps for task in traced.tasks if isinstance(task.finish_ps, np.ndarray))
        differing = max((times.size for times in arrays), default=1)
        chips = max(differing, traced.chips)
        groups = [list(_tracks(traced.tasks, chip, len(trace.processes) + chip, numbers)) for chip in range(chips)]
        if traced.meeting and chips > 1:
            _connect(groups, traced.meeting, _arrows(trace))
        for chip, series in enumerate(traced.counters):
            trace.counters.extend((len(trace.processes) + chip, each) for each in series)
        trace.processes.extend([name] if chips == 1 else [f"{name} chip {chip}" for chip in range(chips)])
        trace.tracks.extend(track for tracks in groups for track in tracks)
    trace.texts.extend(numbers)
    tracks = {(trace.processes[track.process], track.engine): track for track in trace.tracks}
    number = _arrows(trace)
    for arrow in arrows:
        (sender, sending, sent), (receiver, receiving, received) = arrow.sender, arrow.receiver
        sends = tracks[sender, sending].sends
        if sends[sent] == 0:
            number += 1
            sends[sent] = number
        tracks[receiver, receiving].receives[received] = sends[sent]
    # Readers keep the order of what is written for one time: there too an arrow begins before it ends.
    trace.tracks.sort(key=lambda track: bool(track.receives.any()))
    return trace


def _arrows(trace: Trace) -> int:
    """How many arrows there are so far."""
    return sum(int(np.count_nonzero(track.sends)) for track in trace.tracks)


def _tracks(tasks: Sequence[TaskEvent], chip: int, process: int, numbers: dict[str, int]) -> Iterator[Track]:
    by_engine: dict[str, list[TaskEvent]] = {}
    known: dict[tuple[str, Hashable], list[int]] = {}
    for task in tasks:
        by_engine.setdefault(task.engine, []).append(task)
    for engine, own in by_engine.items():
        for task in own:
            key = (task.name, task.label)
            if key not in known:
                known[key] = [numbers.setdefault(text, len(numbers)) for text in _texts(task)]
        name, category = np.array([known[task.name, task.label] for task in own], dtype=np.int64).T
        start = _of_chip([task.start_ps for task in own], chip)
        finish = _of_chip([task.finish_ps for task in own], chip)
        order = np.lexsort((finish, start))
        yield Track(process, engine, name[order], category[order], start[order], finish[order])


def _connect(groups: list[list[Track]], meeting: str, arrows: int) -> None:
    """Arrows, numbered after ``arrows``: to each task where chips meet, from what the chip before finished last.

    A task may be several slices in a row of one name; the arrow ends at the first.
    """
    for receiver, tracks in enumerate(groups):
        sending = [track for track in groups[receiver - 1] if track.engine != meeting]
        for track in tracks:
            if track.engine != meeting or not sending:
                continue
            first = np.flatnonzero(np.diff(track.name, prepend=-1))
            finishes = np.concatenate([each.finish_ps for each in sending])
            owner = np.repeat(np.arange(len(sending)), [each.finish_ps.size for each in sending])
            place = np.concatenate([np.arange(each.finish_ps.size) for each in sending])
            order = np.argsort(finishes, kind="stable")
            found = np.searchsorted(finishes[order], track.start_ps[first], side="right") - 1
            for slice_number, last in zip(first[found >= 0], order[found[found >= 0]], strict=True):
                sender = sending[owner[last]]
                if sender.sends[place[last]] == 0:
                    arrows += 1
                    sender.sends[place[last]] = arrows
                track.receives[slice_number] = sender.sends[place[last]]


def _texts(task: TaskEvent) -> tuple[str, str]:
    """Name and category; a label of several words becomes several categories."""
    category = ",".join(map(str, task.label)) if isinstance(task.label, tuple) else str(task.label)
    return task.name or category, category


def _of_chip(times: list[int | Integers], chip: int) -> Integers:
    """Times of one chip: a scalar is the same on all."""
    return np.array([ps if isinstance(ps, int) else np.atleast_1d(ps)[chip % np.size(ps)] for ps in times], np.int64)
