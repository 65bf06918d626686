"""An AllReduce as a trace: a process a rank, what it sends and what it waits for, and an arrow for every wait."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import seconds_to_ps
from cluster.allreduce.ranks import Record
from collectives.links import links_of, make_schedule
from collectives.price import walk
from collectives.step_times import Clocks, StepTimes
from results.trace.events import Arrow, write_trace
from results.units import format_bytes
from scenarios.commands.machines.allreduce.view import number, whole

SEND, RECEIVE = "send", "receive"
Place = tuple[str, str, int]


class Slice(NamedTuple):
    """What a rank does in one step, as ``results.trace.events`` takes it."""

    engine: str
    name: str
    label: Hashable
    start_ps: int
    finish_ps: int


def write_trace_of(records: Sequence[Record], path: Path) -> None:
    """Write every AllReduce: of a schedule the messages between its ranks; of a library its kernel."""
    processes: dict[str, list[Slice]] = {}
    arrows: list[Arrow] = []
    for record in records:
        title = f"{record['chip']} x{record['count']} {record['algorithm']} {format_bytes(whole(record, 'bytes'))}"
        if record["is_schedule"]:
            ranks = _Ranks(title, record)
            processes |= ranks.processes
            arrows += ranks.arrows
        else:
            name = f"{record['algorithm']} ({record['runs_as']})"
            finish = seconds_to_ps(number(record, "seconds"))
            processes[title] = [Slice("chips", name, str(record["limiter"]), 0, finish)]
    write_trace(processes, path, arrows)


class _Ranks:
    """The ranks of one AllReduce as processes, and the arrows between them.

    In a step a rank sends from the moment it is ready. It waits for the message that comes last, from the moment when
    both its sender and it are ready.
    """

    def __init__(self, title: str, record: Record) -> None:
        links, payload = links_of(str(record["chip"]), whole(record, "count")), whole(record, "bytes")
        schedule = make_schedule(links, str(record["algorithm"]), payload)
        names = [*(f"rank {rank:02d}" for rank in range(links.count)), "switch"]
        self._names = [f"{title} {name}" for name in names]
        self._counts = np.zeros((len(names), 2), np.int64)
        self.processes: dict[str, list[Slice]] = {name: [] for name in self._names[:-1]}
        self.arrows: list[Arrow] = []
        steps = (step for step in schedule.steps() if len(step[2].source))
        done = np.zeros(len(names), np.int64)
        for clocks, times in walk(schedule, links.topology, payload, links.costs):
            if times is not None:
                phase, step, messages = next(steps)
                done = self._step(f"phase {phase}, step {step}", messages.reducing(), clocks, times)
            else:  # a streamed schedule: its steps were latency, and the bytes pass all along
                for rank in range(links.count):
                    self._add(rank, Slice(SEND, "stream", "stream", int(done[rank]), int(clocks[rank])))

    def _step(self, name: str, reducing: NDArray[np.bool_], clocks: Clocks, times: StepTimes) -> Clocks:
        """One step from ``clocks`` on; returns the clocks after it."""
        left, arrived = clocks + times.staying, clocks[times.source] + times.arriving
        sent = {
            rank: self._add(rank, Slice(SEND, name, "send", int(clocks[rank]), int(left[rank])))
            for rank in np.unique(times.source).tolist()
        }
        last = {int(times.destination[message]): message for message in np.argsort(arrived, kind="stable").tolist()}
        for rank, message in sorted(last.items()):
            source, label = int(times.source[message]), "reduce" if reducing[message] else "copy"
            begin = max(int(clocks[rank]), int(clocks[source]))
            received = self._add(rank, Slice(RECEIVE, name, label, begin, int(arrived[message])))
            sender = sent[source]
            if sender is not None and received is not None:
                self.arrows.append(Arrow(sender, received))
        after: Clocks = left.copy()
        np.maximum.at(after, times.destination, arrived)
        return after

    def _add(self, rank: int, task: Slice) -> Place | None:
        """Note a task, unless it takes no time; returns where an arrow finds it."""
        if task.start_ps >= task.finish_ps:
            return None
        self.processes.setdefault(self._names[rank], []).append(task)
        engine = (SEND, RECEIVE).index(task.engine)
        self._counts[rank, engine] += 1
        return self._names[rank], task.engine, int(self._counts[rank, engine]) - 1
