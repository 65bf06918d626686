"""Small clocks whose times can be worked out by hand, leaps that must happen, and misuse that must be refused."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest

from chips.clock.time import LONGEST_PS, ClockError
from chips.clock.timeline import Buffer, Engine, Time, Timeline, seconds_to_ps

NOTHING: tuple[Time, ...] = ()


def load_and_multiply(clock: Timeline, tiles: Buffer, load: int, multiply: int) -> None:
    loaded = clock.task(clock.engine("HBM"), load, after=(tiles.acquire(),), label="load")
    tiles.release(clock.task(clock.engine("matrix"), multiply, after=(loaded,), label="matmul"))


def on_last_chip(time: Time) -> dict[Hashable, int]:
    """The parts of a time on the last chip; those of 0 ps, which other chips may bring in, are left out."""
    parts = {label: int(np.atleast_1d(spent)[-1]) for label, spent in time.parts.items()}
    return {label: spent for label, spent in parts.items() if spent}


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        pytest.param(1, 1_000_000 * (700 + 900), id="one slot: load and multiply take turns"),
        pytest.param(2, 700 + 1_000_000 * 900, id="two slots: loads hide behind the slower matrix unit"),
    ],
)
def test_buffer_depth_decides_whether_neighbours_overlap(depth: int, expected: int) -> None:
    clock = Timeline()
    tiles = clock.buffer(depth)

    def tile(_: tuple[Time, ...]) -> tuple[Time, ...]:
        load_and_multiply(clock, tiles, 700, 900)
        return ()

    clock.loop(1_000_000, tile)
    assert clock.now.ps == expected
    assert clock.now.parts == {"load": expected - 900_000_000, "matmul": 900_000_000}


def test_long_loop_runs_its_body_a_few_times_only() -> None:
    clock = Timeline()
    tiles = clock.buffer(3)
    bodies = 0

    def tile(_: tuple[Time, ...]) -> tuple[Time, ...]:
        nonlocal bodies
        bodies += 1
        load_and_multiply(clock, tiles, 700, 900)
        return ()

    clock.loop(10**15, tile)
    assert clock.now.ps == 700 + 900 * 10**15
    assert bodies < 20


@pytest.mark.parametrize("chips", [1, 2])
def test_overtaking_late_in_a_loop_is_met_exactly_and_without_unrolling(chips: int) -> None:
    """One engine starts a microsecond ahead and loses 1 ps each time: it is overtaken after a million iterations."""
    clock = Timeline(chips)
    ahead, faster, waits = clock.engine("ahead"), clock.engine("faster"), clock.engine("waits")
    clock.task(ahead, 1_000_000, label="lead")
    bodies = 0

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        nonlocal bodies
        bodies += 1
        both = clock.task(ahead, 10, label="slow"), clock.task(faster, 11, label="fast")
        return (clock.task(waits, 0, after=both, label="wait"),)

    (before,) = clock.loop(999_999, step, (Time.zero,))
    assert on_last_chip(before) == {"lead": 1_000_000, "slow": 9_999_990}
    clock.loop(2, step)
    assert on_last_chip(waits.free) == {"fast": 11 * 1_000_001}
    assert bodies < 40


@pytest.mark.parametrize("chips", [1, 2])
@pytest.mark.parametrize("lead", [500, 501, 502, 503])
def test_no_leap_goes_past_an_overtaking(chips: int, lead: int) -> None:
    """Loops that end about where one engine overtakes another by 3 ps a time, looked at 12 iterations into the past."""
    for count in range(150, 190):
        clock = Timeline(chips)
        ahead, faster = clock.engine("ahead"), clock.engine("faster")
        clock.task(ahead, lead, label="lead")

        def step(
            past: tuple[Time, ...], clock: Timeline = clock, ahead: Engine = ahead, faster: Engine = faster
        ) -> tuple[Time, ...]:
            both = clock.task(ahead, 10, label="slow"), clock.task(faster, 13, label="fast")
            return (clock.join(*both), *past[:-1])

        past = clock.loop(count, step, (Time.zero,) * 12)
        for time, end in zip(past, range(count, 0, -1), strict=False):
            slow = {"lead": lead, "slow": 10 * end}
            fast = {"fast": 13 * end}
            assert on_last_chip(time) == (slow if lead + 10 * end >= 13 * end else fast)


def test_overtaking_between_chips_is_met_exactly_and_without_unrolling() -> None:
    clock = Timeline(chips=2)
    matrix, link = clock.engine("matrix"), clock.engine("link")
    clock.task(matrix, np.array([1_000_000, 0]), label="lead")
    bodies = 0

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        nonlocal bodies
        bodies += 1
        met = clock.across(clock.task(matrix, np.array([10, 11]), label="matmul"))
        clock.task(link, 0, after=(met,), label="wait")
        return ()

    clock.loop(999_999, step)
    assert on_last_chip(link.free) == {"lead": 1_000_000, "matmul": 9_999_990}
    clock.loop(100_001, step)
    assert on_last_chip(link.free) == {"matmul": 11 * 1_100_000}
    assert bodies < 60


def test_loop_that_crosses_an_overtaking_leaps_before_and_after_it() -> None:
    clock = Timeline()
    far = clock.task(clock.engine("host"), 12_345_678, label="host")
    worker = clock.engine("worker")
    bodies = 0

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        nonlocal bodies
        bodies += 1
        worked = clock.task(worker, 10, label="work")
        return (clock.task(clock.engine("store"), 1, after=(worked, far), label="store"),)

    clock.loop(10_000_000, step)
    assert clock.engine("store").free.parts == {"work": 100_000_000, "store": 1}
    assert bodies < 60


def test_nested_loops_leap_on_both_levels() -> None:
    clock = Timeline()
    bodies = 0

    def layer(_: tuple[Time, ...]) -> tuple[Time, ...]:
        tiles = clock.buffer(2)

        def tile(_: tuple[Time, ...]) -> tuple[Time, ...]:
            nonlocal bodies
            bodies += 1
            load_and_multiply(clock, tiles, 700, 900)
            return ()

        clock.loop(10_000, tile)
        clock.barrier(5_000, label="launch")
        return ()

    clock.loop(32_000, layer)
    assert clock.now.ps == 32_000 * (700 + 10_000 * 900 + 5_000)
    assert clock.now.parts == {
        "load": 32_000 * 700,
        "matmul": 32_000 * 10_000 * 900,
        "launch": 32_000 * 5_000,
    }
    assert bodies < 200


def test_carried_times_pass_from_one_iteration_to_the_next() -> None:
    clock = Timeline()
    matrix, link = clock.engine("matrix"), clock.engine("link")

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        multiplied = clock.task(matrix, 100, after=carried, label="matmul")
        return (clock.task(link, 30, after=(multiplied,), label="allreduce"),)

    (done,) = clock.loop(1000, layer, (Time.zero,))
    assert done.parts == {"matmul": 100_000, "allreduce": 30_000}


def test_time_kept_behind_the_loops_back_is_refused_where_a_leap_would_go_wrong() -> None:
    clock = Timeline()
    kept = Time.zero
    clock.task(clock.engine("matrix"), 1_000, label="lead")

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        nonlocal kept
        clock.task(clock.engine("matrix"), 10, after=(kept,), label="matmul")
        kept = clock.task(clock.engine("HBM"), 11, label="load")
        return ()

    with pytest.raises(RuntimeError, match="return that time from the body"):
        clock.loop(10_000, step)


def test_straggler_holds_up_all_chips_where_they_meet() -> None:
    clock = Timeline(chips=3)
    matrix = clock.engine("matrix")
    multiplied = clock.task(matrix, np.array([100, 250, 100]), label="matmul")
    assert multiplied.ps.tolist() == [100, 250, 100]
    met = clock.across(multiplied)
    summed = clock.task(clock.engine("link"), 40, after=(met,), label="allreduce")
    assert summed.ps.tolist() == [290, 290, 290]
    assert {label: ps.tolist() for label, ps in summed.parts.items()} == {"matmul": [250] * 3, "allreduce": [40] * 3}


def test_task_may_belong_to_several_labels() -> None:
    clock = Timeline()
    done = clock.task(clock.engine("matrix"), {"matmul": 900, "fill": 100})
    assert (done.ps, done.parts) == (1000, {"matmul": 900, "fill": 100})


def test_first_argument_wins_a_tie() -> None:
    clock = Timeline()
    one = clock.task(clock.engine("one"), 5, label="one")
    other = clock.task(clock.engine("other"), 5, label="other")
    assert clock.join(one, other).parts == {"one": 5}
    assert clock.join(other, one).parts == {"other": 5}


def test_barrier_also_holds_engines_that_are_named_later() -> None:
    clock = Timeline()
    clock.task(clock.engine("matrix"), 100, label="matmul")
    opened = clock.barrier(20, label="launch", after=(Time(150, {"host": 150}),))
    assert opened.parts == {"host": 150, "launch": 20}
    assert clock.engine("matrix").free is clock.engine("link").free is clock.now


def test_record_holds_every_task_of_an_unrolled_loop() -> None:
    clock = Timeline(record=True)

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        clock.task(clock.engine("matrix"), {"matmul": 9, "fill": 1}, name="layer/down projection")
        return ()

    clock.loop(50, step)
    assert [(event.label, event.start_ps, event.finish_ps) for event in clock.events[-2:]] == [
        ("matmul", 490, 499),
        ("fill", 499, 500),
    ]
    assert len(clock.events) == 100
    assert {event.name for event in clock.events} == {"layer/down projection"}


def test_seconds_round_once_to_picoseconds() -> None:
    assert seconds_to_ps(1.7e-12 + 1e-6) == 1_000_002
    assert seconds_to_ps(np.float64(2.0)) == 2_000_000_000_000
    assert isinstance(seconds_to_ps(np.float64(2.0)), int)
    assert seconds_to_ps(np.array([1e-12, 3.4e-12])).tolist() == [1, 3]
    assert seconds_to_ps(np.array([1e-12])).dtype == np.int64


@pytest.mark.parametrize("duration", [-1, 1.5, np.array([3, -1]), np.array([0.5, 1.0]), {"matmul": -2}])
def test_negative_or_fractional_duration_is_refused(duration: object) -> None:
    clock = Timeline(chips=2)
    with pytest.raises(ValueError, match="whole number of picoseconds"):
        clock.task(clock.engine("matrix"), duration, label="matmul")  # type: ignore[arg-type]


@pytest.mark.parametrize("chips", [1, 2])
def test_duration_of_another_shape_than_the_chips_is_refused(chips: int) -> None:
    clock = Timeline(chips)
    with pytest.raises(ValueError, match=rf"shape \(3,\) in 'matmul' does not fit a clock for {chips} chips"):
        clock.task(clock.engine("matrix"), np.array([1, 2, 3]), label="matmul")


def test_buffer_refuses_what_its_depth_cannot_hold() -> None:
    buffer = Timeline().buffer(1)
    with pytest.raises(RuntimeError, match="no slot to release"):
        buffer.release(Time.zero)
    assert buffer.acquire() is Time.zero
    with pytest.raises(RuntimeError, match="All 1 slots of a buffer are taken"):
        buffer.acquire()
    with pytest.raises(ValueError, match="depth 0"):
        Timeline().buffer(0)
    with pytest.raises(ValueError, match="0 chips"):
        Timeline(chips=0)
    with pytest.raises(ValueError, match="-1 times"):
        Timeline().loop(-1, lambda carried: carried)


@pytest.mark.parametrize("seconds", [1e6, 1e300, np.inf, np.nan, np.array([1.0, 1e6]), np.array([np.nan])])
def test_a_duration_that_the_clock_cannot_tell_is_refused(seconds: float) -> None:
    with pytest.raises(ClockError, match=r"something would take .* s; the clock tells at most 288,230 s of one step"):
        seconds_to_ps(seconds)


def test_a_sum_beyond_the_clock_is_refused_instead_of_wrapping() -> None:
    clock = Timeline(chips=2)
    longest = np.array([0, LONGEST_PS])
    times = [clock.task(clock.engine("matrix"), longest, label="matmul") for _ in range(31)]
    assert np.max(times[-1].ps) == 31 * LONGEST_PS
    with pytest.raises(ClockError, match="ends after more than 9223372036854775807 ps"):
        clock.task(clock.engine("matrix"), longest, label="matmul")


def test_many_chips_refuse_to_run_past_int64_instead_of_wrapping() -> None:
    clock = Timeline(chips=2)

    def step(_: tuple[Time, ...]) -> tuple[Time, ...]:
        clock.task(clock.engine("matrix"), 10**9, label="matmul")
        return ()

    with pytest.raises(OverflowError, match="9223372036854775807"):
        clock.loop(10**12, step)
