"""Balancing: units for the stage that limits, buffers for jitter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chips.pipeline.balance import balance, row_par_for, totals_by_depth, with_jitter
from chips.pipeline.metapipeline import Metapipeline, Stage, chain


def test_units_that_balance_the_slowest_stage() -> None:
    found = balance(chain("row", 1000, [10, 35, 12]))
    assert (found.stage, found.row_par) == ("s1", 3)
    assert found.total_ps == 57 + 999 * 35
    assert found.balanced_ps == 34 + 999 * 12


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=5), st.integers(1, 1000))
def test_units_found_reach_the_interval_and_one_fewer_does_not(works: list[int], interval: int) -> None:
    units = row_par_for(chain("row", 10, works), interval)
    for place, work in enumerate(works):
        needed = units[f"s{place}"]
        assert Stage("s", work, row_par=needed).duration_ps <= interval
        assert needed == 1 or Stage("s", work, row_par=needed - 1).duration_ps > interval


def test_deeper_buffers_absorb_jitter() -> None:
    """Without jitter they buy nothing; with it each slot buys less than the one before, and never below the mean."""
    steady = chain("row", 2000, [100, 100, 100])
    assert len(set(totals_by_depth(steady, [0, 1, 2]).values())) == 1
    totals = totals_by_depth(with_jitter(steady, 0.5, seed=7), [0, 1, 2, 4, 8])
    times = list(totals.values())
    assert times == sorted(times, reverse=True)
    assert times[0] > 1.05 * steady.total_ps
    assert times[0] - times[1] > times[1] - times[2] > 0


def test_jitter_is_the_same_for_the_same_seed() -> None:
    pipeline = chain("row", 50, [10, 20])
    assert with_jitter(pipeline, 0.3, 1).total_ps == with_jitter(pipeline, 0.3, 1).total_ps
    assert isinstance(with_jitter(pipeline, 0.3, 1), Metapipeline)
