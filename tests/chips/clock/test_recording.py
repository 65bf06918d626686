"""Recorded programs: side by side on one clock, each as it runs by itself, to the picosecond and the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chips.clock.recording import Recorder, run_side_by_side
from chips.clock.time import Breakdown, Duration
from chips.clock.timeline import Time, Timeline

DURATIONS = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


def layers(clock: Timeline, durations: Sequence[int], count: int, names: Sequence[str]) -> Time:
    """A program that uses all that a clock has: engines, a buffer, mappings, joins, barriers, loops inside loops."""
    load, compute, tail, gap, issue = durations
    hbm, matrix, tiles = clock.engine("HBM"), clock.engine("matrix"), clock.buffer(2)
    host = clock.engine("host")
    clock.task(host, issue, label=names[0])

    def tile(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        loaded = clock.task(hbm, load, after=(tiles.acquire(),), label=names[1])
        used = clock.task(matrix, {names[2]: compute, names[1]: 1}, after=(loaded, carried[0]))
        tiles.release(used)
        return carried

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        clock.loop(count, tile, carried)
        ready = clock.task(clock.engine("link"), tail, after=(clock.now,), label=names[3])
        return (clock.barrier(gap, label=names[0], after=(ready,)),)

    (ready,) = clock.loop(20, layer, (host.free,))
    return clock.join(ready, clock.task(matrix, 0, after=(Time.zero,)))


def alone(durations: Sequence[int], count: int, names: Sequence[str]) -> dict[object, int]:
    parts = layers(Timeline(), durations, count, names).parts
    return {label: int(ps) for label, ps in parts.items() if np.any(ps)}


@given(
    points=st.lists(DURATIONS, min_size=1, max_size=12), counts=st.lists(st.integers(0, 60), min_size=12, max_size=12)
)
def test_programs_side_by_side_are_each_as_alone(points: list[list[int]], counts: list[int]) -> None:
    # Every other program counts its load and its compute as the same: labels need not agree.
    names = [["launch", "load", "compute", "link"], ["launch", "work", "work 2", "work"]]
    programs = []
    for number, (durations, count) in enumerate(zip(points, counts, strict=False)):
        clock = Recorder()
        programs.append(clock.program(layers(clock, durations, count, names[number % 2])))
    assert len({program.structure for program in programs}) == 1
    for number, answer in enumerate(run_side_by_side(programs)):
        found = {label: int(np.asarray(ps).item()) for label, ps in answer.items() if np.any(ps)}
        assert found == alone(points[number], counts[number], names[number % 2])


def test_a_table_of_parts_explains_a_time_as_labels_do() -> None:
    spent = np.array([[3, 0, 5], [1, 2, 0]])
    table, labels = Timeline(3, independent=True), Timeline(3, independent=True)

    def program(clock: Timeline, duration: Duration, label: str) -> Time:
        other = clock.task(clock.engine("other"), np.array([40, 0, 400]), label=label)
        (ready,) = clock.loop(100, lambda times: (clock.task(clock.engine("one"), duration, times, label),), (other,))
        return ready

    by_row = program(table, Breakdown(spent.sum(axis=0), spent), "table")
    by_label = program(labels, {"first": spent[0], "second": spent[1]}, "other")
    assert np.array_equal(by_row.ps, by_label.ps)
    started = by_label.path["other"]
    rows = np.stack([by_label.path["first"], by_label.path["second"]])
    assert np.array_equal(by_row.path["table"], rows + started)


def test_a_program_may_have_lanes_of_its_own() -> None:
    names = ["launch", "load", "compute", "link"]
    loads, clock = np.array([10, 700, 300, 5, 900]), Recorder(5)
    recorded = clock.program(layers(clock, [loads, 90, 40, 7, 3], 3, names))  # type: ignore[list-item]
    single = Recorder()
    beside = single.program(layers(single, [44, 1, 2, 3, 4], 3, names))
    for programs in ([recorded], [recorded, beside]):
        answer = run_side_by_side(programs)[0]
        for lane, load in enumerate(loads.tolist()):
            found = {label: int(np.broadcast_to(ps, 5)[lane]) for label, ps in answer.items()}
            assert {label: ps for label, ps in found.items() if ps} == alone([load, 90, 40, 7, 3], 3, names)


def test_programs_that_wait_otherwise_have_another_structure() -> None:
    one, other = Recorder(), Recorder()
    programs = []
    for clock, waits in ((one, True), (other, False)):
        hbm, matrix = clock.engine("HBM"), clock.engine("matrix")
        loaded = clock.task(hbm, 5)
        programs.append(clock.program(clock.task(matrix, 5, after=(loaded,) if waits else ())))
    assert programs[0].structure != programs[1].structure
