"""Metapipelines: schedules equal the clock's, closed forms equal schedules, depths are what the theory says."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.clock.timeline import Time, Timeline
from chips.pipeline.metapipeline import Buffer, Metapipeline, Stage, chain

works = st.lists(st.integers(0, 30), min_size=1, max_size=5)


@st.composite
def graphs(draw: st.DrawFn, lagging: bool = True) -> Metapipeline:
    """Forks, joins, skips, loop-carried values, shared engines, lags: anything that does not deadlock by itself."""
    durations = draw(works)
    count = draw(st.integers(1, 12))
    names = [f"s{place}" for place in range(len(durations))]
    lags = sorted(draw(st.integers(0, 2 if lagging else 0)) for _ in names)
    engines = [draw(st.sampled_from(["", "", "matrix"])) for _ in names]
    stages = tuple(
        Stage(name, work, engine=engine, lag=lag)
        for name, work, engine, lag in zip(names, durations, engines, lags, strict=True)
    )
    buffers = []
    for place in range(1, len(names)):
        for source in draw(st.sets(st.integers(0, place - 1), max_size=2)):
            depth = draw(st.integers(1, 3)) + lags[place] - lags[source]
            buffers.append(Buffer(names[source], names[place], depth))
    if lags[0] == lags[-1] and draw(st.booleans()):
        carried = draw(st.integers(1, 2))
        buffers.append(Buffer(names[-1], names[0], carried + draw(st.integers(1, 2)), carried))
    return Metapipeline("any", count, stages, tuple(buffers))


def finishes_on_clock(pipeline: Metapipeline) -> list[list[int]]:
    """Finish of every stage and iteration as tasks on ``chips.clock.timeline``, issued slot by slot."""
    clock = Timeline()
    done: dict[tuple[str, int], Time] = {}
    for slot in range(pipeline.iterations + max(stage.lag for stage in pipeline.stages)):
        for stage in sorted(pipeline.stages, key=lambda stage: stage.lag):
            i = slot - stage.lag
            if not 0 <= i < pipeline.iterations:
                continue
            waits = [(stage.name, i - 1)]
            waits += [(link.source, i - link.carried) for link in pipeline.links if link.target == stage.name]
            waits += [
                (link.target, i - (link.depth or 1) + link.carried)
                for link in pipeline.links
                if link.source == stage.name
            ]
            work = int(np.broadcast_to(stage.duration_ps, (pipeline.iterations,))[i])
            after = [done[event] for event in waits if event[1] >= 0]
            done[stage.name, i] = clock.task(clock.engine(stage.engine or stage.name), work, after=after)
    return [[int(done[stage.name, i].ps) for i in range(pipeline.iterations)] for stage in pipeline.stages]


@given(graphs())
def test_every_iteration_is_when_the_clock_says(pipeline: Metapipeline) -> None:
    schedule = pipeline.schedule()
    assert schedule.finish_ps.tolist() == finishes_on_clock(pipeline)
    spent = np.array([[stage.duration_ps] for stage in pipeline.stages])
    assert np.array_equal(schedule.finish_ps - schedule.start_ps, np.broadcast_to(spent, schedule.start_ps.shape))


@given(graphs())
def test_total_is_the_last_finish_of_the_schedule(pipeline: Metapipeline) -> None:
    last = int(pipeline.schedule().finish_ps.max())
    assert pipeline.recurrence_ps == last
    assert pipeline.total_ps == last


@given(works, st.integers(1, 15), st.data())
def test_closed_form_of_a_row_of_stages_is_its_schedule(durations: list[int], count: int, data: st.DataObject) -> None:
    """Depth 1 or more between neighbours, values that skip stages with the default depth or more."""
    names = [f"s{place}" for place in range(len(durations))]
    stages = tuple(Stage(name, work) for name, work in zip(names, durations, strict=True))
    buffers = [Buffer(first, second, data.draw(st.sampled_from([None, 1, 2, 3]))) for first, second in pairwise(names)]
    if len(names) > 2:
        source = data.draw(st.integers(0, len(names) - 3))
        buffers.append(Buffer(names[source], names[data.draw(st.integers(source + 2, len(names) - 1))]))
    pipeline = Metapipeline("row", count, stages, tuple(buffers))
    assert pipeline.closed_form_ps == pipeline.schedule().finish_ps.max()


@given(works, st.integers(1, 12))
def test_closed_forms_of_other_controls_are_their_schedules(durations: list[int], count: int) -> None:
    stages = tuple(Stage(f"s{place}", work) for place, work in enumerate(durations))
    sequential = Metapipeline("row", count, stages, control="sequential")
    streaming = Metapipeline("row", count, stages, control="streaming")
    assert sequential.closed_form_ps == sequential.schedule().finish_ps.max() == count * sum(durations)
    assert streaming.closed_form_ps == streaming.schedule().finish_ps.max() == count * max(durations)


@given(works, st.integers(1, 12), st.data())
def test_streaming_stages_start_on_first_elements(durations: list[int], count: int, data: st.DataObject) -> None:
    latencies = [data.draw(st.integers(0, work)) for work in durations]
    stages = tuple(
        Stage(f"s{place}", work, latency_ps=latency)
        for place, (work, latency) in enumerate(zip(durations, latencies, strict=True))
    )
    pipeline = Metapipeline("row", count, stages, control="streaming")
    starts = pipeline.schedule().start_ps[:, 0].tolist()
    assert starts == [sum(latencies[:place]) for place in range(len(stages))]
    assert pipeline.total_ps == pipeline.schedule().finish_ps.max()
    assert pipeline.total_ps <= Metapipeline("row", count, stages).total_ps


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 20))
def test_fill_plus_intervals_plus_drain(durations: list[int], count: int) -> None:
    pipeline = chain("row", count, durations)
    slowest = durations.index(max(durations))
    fill, drain = sum(durations[:slowest]), sum(durations[slowest:])
    assert pipeline.total_ps == fill + (count - 1) * max(durations) + drain
    assert pipeline.initiation_interval_ps == max(durations)
    assert pipeline.limiter == f"s{slowest}"


@given(graphs(lagging=False))
def test_interval_is_what_an_iteration_costs_in_the_long_run(pipeline: Metapipeline) -> None:
    """Over a period of the recurrence's cycles (at most a few stages and slots: 2520 has every such divisor)."""
    long = Metapipeline("long", 2520 * 20, pipeline.stages, pipeline.buffers)
    longer = Metapipeline("longer", 2520 * 21, pipeline.stages, pipeline.buffers)
    assert longer.recurrence_ps - long.recurrence_ps == 2520 * pipeline.initiation_interval_ps


def test_depth_one_makes_neighbours_alternate() -> None:
    schedule = chain("turns", 4, [5, 7], depth=1).schedule()
    assert schedule.start_ps.tolist() == [[0, 12, 24, 36], [5, 17, 29, 41]]
    assert chain("turns", 4, [5, 7], depth=1).limiter == "buffer from s0 to s1 (depth 1)"


@pytest.mark.parametrize("skipped", [0, 1, 2, 3])
def test_value_that_skips_stages_needs_stage_distance_plus_one(skipped: int) -> None:
    """Equal stages in a row; the first also feeds the last. One slot fewer than Spatial's rule slows the pipeline."""
    row = chain("row", 100, [10] * (skipped + 2))
    distance = skipped + 1

    def total(depth: int | None) -> int:
        buffers = (*row.links, Buffer("s0", f"s{distance}", depth))
        return Metapipeline("skip", 100, row.stages, buffers).recurrence_ps

    assert total(distance + 1) == total(None) == row.total_ps
    assert total(distance) > row.total_ps
    slow = Metapipeline("skip", 100, row.stages, (*row.links, Buffer("s0", f"s{distance}", distance)))
    assert slow.initiation_interval_ps == Fraction(10 * (distance + 1), distance)


def test_fork_and_join_take_the_longer_branch() -> None:
    stages = (Stage("load", 4), Stage("left", 9), Stage("right", 2), Stage("add", 3))
    buffers = (Buffer("load", "left"), Buffer("load", "right"), Buffer("left", "add"), Buffer("right", "add"))
    pipeline = Metapipeline("diamond", 10, stages, buffers)
    assert pipeline.levels == {"load": 0, "left": 1, "right": 1, "add": 2}
    assert pipeline.total_ps == 4 + 9 + 3 + 9 * 9


def test_inner_pipeline_fills_and_drains_in_every_outer_iteration() -> None:
    inner = chain("inner", 8, [3, 5, 2])
    assert inner.total_ps == 10 + 7 * 5
    outer = Metapipeline("outer", 6, (Stage("load", 20), Stage("inner", inner), Stage("store", 4)))
    assert outer.total_ps == 20 + 45 + 4 + 5 * 45
    deeper = Metapipeline("whole", 3, (Stage("outer", outer), Stage("end", 1)))
    assert deeper.total_ps == outer.total_ps * 3 + 1


def test_software_pipelining_hides_a_stage_between_two_on_one_engine() -> None:
    """Scores, softmax, product: in program order the matrix engine waits for every softmax; with a lag it does not."""

    def attention(lag: int) -> Metapipeline:
        stages = (
            Stage("scores", 10, engine="matrix"),
            Stage("softmax", 8),
            Stage("product", 10, engine="matrix", lag=lag),
        )
        return Metapipeline("attention", 100, stages)

    assert attention(0).initiation_interval_ps == 28
    assert attention(1).initiation_interval_ps == 20
    assert attention(1).limiter == "matrix"
    assert attention(1).total_ps == attention(1).schedule().finish_ps.max() == 100 * 20


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_durations_may_change_every_iteration(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    stages = tuple(Stage(name, random.integers(0, 20, count)) for name in "abc")
    pipeline = Metapipeline("jitter", count, stages)
    assert pipeline.schedule().finish_ps.tolist() == finishes_on_clock(pipeline)


def test_mistakes_are_answered_with_the_name_and_the_number() -> None:
    with pytest.raises(ValueError, match="names the stage 'c'"):
        Metapipeline("p", 1, (Stage("a", 1), Stage("b", 1)), (Buffer("a", "c"),))
    with pytest.raises(ValueError, match="depth 0"):
        Buffer("a", "b", 0)
    with pytest.raises(ValueError, match="deadlock"):
        _ = Metapipeline("p", 2, (Stage("a", 1), Stage("b", 1)), (Buffer("a", "b"), Buffer("b", "a"))).total_ps
    with pytest.raises(ValueError, match="sequential control has no lags"):
        Metapipeline("p", 2, (Stage("a", 1), Stage("b", 1, lag=1)), control="sequential")
    with pytest.raises(ValueError, match="row_par 0"):
        Stage("a", 1, row_par=0)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Metapipeline("p", 2, (Stage("a", np.arange(3)),))
