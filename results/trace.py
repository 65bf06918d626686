"""Traces for Perfetto and chrome://tracing: one process a chip, one track an engine, one slice a task.

The format is Google's "Trace Event Format": complete events (``ph`` X) with times in microseconds. Times here are
written with six decimals, so that no picosecond is lost.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from results.atomic_file import written_beside

PICOSECONDS_PER_MICROSECOND = 1e6
TraceEvent = dict[str, object]


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


def write_trace(processes: Mapping[str, Iterable[TaskEvent]], path: Path) -> None:
    """Write the events of every process (its name, such as ``h100 x8 kernel_loop``) as one trace file.

    Events whose times are arrays over chips become a process for each chip. Raises OutputError if ``path`` cannot be
    written.
    """
    events = list(trace_events(processes))
    with written_beside(path) as beside:
        beside.write_text(json.dumps({"displayTimeUnit": "ns", "traceEvents": events}))


def trace_events(processes: Mapping[str, Iterable[TaskEvent]]) -> Iterator[TraceEvent]:
    """All entries of the trace: names of processes and tracks, and a complete event a task and chip."""
    first = 1
    for name, tasks in processes.items():
        listed = list(tasks)
        chips = max((np.size(task.finish_ps) for task in listed), default=1)
        for chip in range(chips):
            title = name if chips == 1 else f"{name} chip {chip}"
            yield from _one_chip(first + chip, title, listed, chip)
        first += chips


def _one_chip(process: int, title: str, tasks: list[TaskEvent], chip: int) -> Iterator[TraceEvent]:
    yield _named("process_name", process, 0, title)
    tracks = {engine: number for number, engine in enumerate(dict.fromkeys(task.engine for task in tasks), start=1)}
    for engine, track in tracks.items():
        yield _named("thread_name", process, track, engine)
    for task in tasks:
        start, finish = _of_chip(task.start_ps, chip), _of_chip(task.finish_ps, chip)
        yield {
            "ph": "X",
            "name": task.name or _categories(task.label),
            "cat": _categories(task.label),
            "pid": process,
            "tid": tracks[task.engine],
            "ts": start / PICOSECONDS_PER_MICROSECOND,
            "dur": (finish - start) / PICOSECONDS_PER_MICROSECOND,
        }


def _categories(label: Hashable) -> str:
    """What the time was spent on; a label of several words becomes several categories."""
    return ",".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _named(kind: str, process: int, track: int, name: str) -> TraceEvent:
    return {"ph": "M", "name": kind, "pid": process, "tid": track, "args": {"name": name}}


def _of_chip(ps: int | NDArray[np.int64], chip: int) -> int:
    """A time of one chip: a scalar is the same on all."""
    times = np.atleast_1d(ps)
    return int(times[chip % times.size])
