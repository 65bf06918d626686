"""The clock gives what the recurrence and an independent discrete-event simulation give, on random programs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timeline_programs import ENGINES, SINK, Program, issue, of_chip, programs, uneven_programs
from timeline_references import Recurrence, Simulation, UnderTest, pipeline

from chips.clock.timeline import Time, Timeline

quick = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
few = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])


def assert_equals_the_recurrence(program: Program) -> None:
    under_test, recurrence = UnderTest(program.chips), Recurrence(program.chips)
    times, expected = issue(program, under_test), issue(program, recurrence)
    assert [under_test.explained(time) for time in times] == expected
    assert under_test.explained(under_test.clock.now) == recurrence.now()
    for name, free in recurrence.free.items():
        assert under_test.explained(under_test.clock.engine(name).free) == free


@quick
@given(programs(most_iterations=150))
def test_one_chip_equals_the_unrolled_recurrence(program: Program) -> None:
    assert_equals_the_recurrence(program)


@few
@given(programs(most_iterations=4000, depth=1))
def test_thousands_of_iterations_equal_the_unrolled_recurrence(program: Program) -> None:
    assert_equals_the_recurrence(program)


@few
@given(programs(most_iterations=2000, depth=3))
def test_nested_loops_equal_the_unrolled_recurrence(program: Program) -> None:
    assert_equals_the_recurrence(program)


@quick
@given(programs(chips=3, most_iterations=80))
def test_several_chips_equal_the_unrolled_recurrence(program: Program) -> None:
    assert_equals_the_recurrence(program)


@quick
@given(program=uneven_programs(most_iterations=150), independent=st.booleans())
def test_chips_that_loop_another_number_of_times_are_each_as_alone(program: Program, independent: bool) -> None:
    assert_as_alone(program, independent)


@few
@given(program=uneven_programs(most_iterations=3000, depth=3), independent=st.booleans())
def test_chips_that_loop_thousands_of_times_are_each_as_alone(program: Program, independent: bool) -> None:
    assert_as_alone(program, independent)


def assert_as_alone(program: Program, independent: bool) -> None:
    together = UnderTest(3, independent=independent)
    times = issue(program, together)
    for chip in range(3):
        recurrence = Recurrence(1)
        expected = issue(of_chip(program, chip), recurrence)
        assert [together.explained(time)[chip] for time in times] == [alone for (alone,) in expected]
        assert together.explained(together.clock.now)[chip] == recurrence.now()[0]


@pytest.mark.parametrize("chips", [1, 2])
def test_discrete_event_simulation_agrees(chips: int) -> None:
    @quick
    @given(programs(chips=chips, most_iterations=40))
    def agrees(program: Program) -> None:
        under_test, simulation = UnderTest(chips), Simulation(chips, (*ENGINES, SINK))
        times, moments = issue(program, under_test), issue(program, simulation)
        expected = simulation.run(moments)
        assert [tuple(ps for ps, _ in under_test.explained(time)) for time in times] == expected
        for (name, chip), idle_since in simulation.idle_since.items():
            assert under_test.explained(under_test.clock.engine(name).free)[chip][0] == idle_since

    agrees()


@quick
@given(st.data(), st.lists(st.integers(0, 50), min_size=2, max_size=5), st.integers(0, 200))
def test_pipeline_takes_as_long_as_one_of_simpy_processes(
    data: st.DataObject, durations: list[int], items: int
) -> None:
    depths = [data.draw(st.integers(1, 4)) for _ in durations[1:]]
    clock = Timeline()
    stages = [clock.engine(f"stage {index}") for index in range(len(durations))]
    buffers = [clock.buffer(depth) for depth in depths]

    def item(_: tuple[Time, ...]) -> tuple[Time, ...]:
        passed = Time.zero
        for index, (stage, duration) in enumerate(zip(stages, durations, strict=True)):
            room = (buffers[index].acquire(),) if index < len(buffers) else ()
            passed = clock.task(stage, duration, after=(passed, *room))
            if index > 0:
                buffers[index - 1].release(passed)
        return ()

    clock.loop(items, item)
    assert clock.now.ps == pipeline(durations, depths, items)


@quick
@given(programs(chips=2, most_iterations=60))
def test_parts_sum_to_the_whole(program: Program) -> None:
    under_test = UnderTest(program.chips)
    for time in [*issue(program, under_test), under_test.clock.now]:
        assert all(ps == sum(parts.values()) for ps, parts in under_test.explained(time))


@quick
@given(programs(most_iterations=60))
def test_recording_changes_no_time_and_no_engine_does_two_things_at_once(program: Program) -> None:
    silent, recorded = UnderTest(1), UnderTest(1, record=True)
    times, same = issue(program, silent), issue(program, recorded)
    assert [silent.explained(time) for time in times] == [recorded.explained(time) for time in same]
    assert silent.clock.events == []
    for name in (*ENGINES, SINK, "barrier"):
        events = [event for event in recorded.clock.events if event.engine == name]
        assert all(event.start_ps <= event.finish_ps for event in events)
        assert all(one.finish_ps <= other.start_ps for one, other in itertools.pairwise(events))
