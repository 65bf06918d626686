"""Questions asked of frames: answers that closed forms, brute force and plain arithmetic give too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frame_rows import row, unfit
from hypothesis import given, settings
from hypothesis import strategies as st

import loopline as ll
from results.errors import SchemaError
from results.schema import frame


def curve(ratios, **changes):
    """Looped and per-operator rows along the batch: the looped take a second, the others ``ratios`` of it."""
    looped = [row(1.0, batch=batch, strategy="kernel_loop", **changes) for batch in ratios]
    return frame(
        looped + [row(ratio, batch=batch, strategy="per_operator", **changes) for batch, ratio in ratios.items()]
    )


def test_selected_rows_have_the_values_and_no_others():
    rows = curve({1: 3.0, 8: 2.0, 64: 1.0})
    left = ll.select(rows, {"batch": ["1", "64"], "strategy": ["kernel_loop"]})
    assert left["batch"].tolist() == [1, 64]
    assert set(left["strategy"]) == {"kernel_loop"}
    with pytest.raises(SchemaError, match="no row has batch 2; there are batch 1, 8, 64"):
        ll.select(rows, {"batch": ["2"]})
    with pytest.raises(SchemaError, match="no column 'colour'"):
        ll.select(rows, {"colour": ["red"]})


def test_a_pivot_holds_every_value_in_the_frames_order():
    rows = frame([row(1 / count, chip=chip, count=count) for chip in ("sn40l", "h100") for count in (8, 1)])
    wide = ll.pivot(rows, "count", "chip")
    assert list(wide.index) == [8, 1]
    assert list(wide.columns) == ["sn40l", "h100"]
    assert wide.loc[8, "h100"] == 1 / 8


def test_rows_that_would_share_a_cell_are_refused_with_what_tells_them_apart():
    rows = frame([row(1.0, batch=1), row(1.0, batch=2)])
    with pytest.raises(SchemaError, match="differ in batch"):
        ll.pivot(rows, "chip", "strategy")
    with pytest.raises(SchemaError, match="no column 'colour'"):
        ll.pivot(rows, "colour")


def test_a_speedup_is_the_ratio_to_the_equal_row_of_the_baseline():
    rows = pd.concat([curve({1: 3.0, 8: 2.0}), curve({1: 5.0}, chip="sn40l", launch="hardware")], ignore_index=True)
    faster = ll.speedups(rows)
    looped = faster.loc[faster["strategy"] == "kernel_loop"]
    assert list(looped["speedup"]) == [3.0, 2.0, 5.0]
    assert (faster.loc[faster["strategy"] == "per_operator", "speedup"] == 1).all()


def test_another_chip_as_baseline_is_matched_whatever_it_calls_its_launch():
    rows = pd.concat([curve({1: 3.0}), curve({1: 5.0}, chip="sn40l", launch="hardware")], ignore_index=True)
    faster = ll.speedups(rows, {"chip": "h100", "strategy": "per_operator"})
    assert list(faster["speedup"]) == [3.0, 1.0, 3.0, 3.0 / 5.0]


def test_rows_without_a_baseline_have_no_speedup_and_a_baseline_that_is_nowhere_is_refused():
    rows = frame([row(1.0, strategy="kernel_loop"), row(1.0, batch=2, strategy="per_operator")])
    assert ll.speedups(rows)["speedup"].isna().tolist() == [True, False]
    with pytest.raises(SchemaError, match="no row is the baseline: chip tpu"):
        ll.speedups(rows, {"chip": "tpu"})


@settings(max_examples=40)
@given(st.floats(0.2, 2.0), st.floats(1.5, 30.0))
def test_the_crossover_of_a_power_law_is_its_closed_form(power, start):
    ratios = {batch: start * batch**-power for batch in (1, 4, 16, 64, 256, 1024)}
    found = ll.crossovers(curve(ratios), "batch", worth=1.2)
    if ratios[1024] >= 1.2:
        assert found["change"].tolist() == ["always"]
    else:
        assert found["change"].tolist() == ["stops"]
        assert found["crossover"].iloc[0] == pytest.approx((start / 1.2) ** (1 / power), rel=1e-6)


def test_a_curve_that_comes_back_has_a_row_a_turn_and_one_that_never_pays_says_so():
    found = ll.crossovers(curve({1: 2.0, 2: 1.0, 4: 3.0}), "batch")
    assert found["change"].tolist() == ["stops", "starts"]
    assert (found["crossover"] > found["before"]).all()
    assert (found["crossover"] < found["after"]).all()
    assert ll.crossovers(curve({1: 1.0, 2: 1.01}), "batch")["change"].tolist() == ["never"]


ratios = st.dictionaries(st.integers(1, 200), st.sampled_from([0.5, 1.0, 1.04, 1.06, 2.0]), min_size=1, max_size=6)


@settings(max_examples=25)
@given(st.lists(ratios, min_size=1, max_size=5), st.randoms())
def test_curves_side_by_side_have_the_crossovers_that_each_has_alone(curves, random):
    each = [curve(ratios, count=count) for count, ratios in enumerate(curves, 1)]
    together = pd.concat(each)
    shuffled = together.iloc[random.sample(range(len(together)), k=len(together))].reset_index(drop=True)
    found = ll.crossovers(shuffled, "batch")
    for count, alone in enumerate(each, 1):
        of_one = found.loc[found["count"] == count].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_one, ll.crossovers(alone, "batch"))


def test_without_the_fast_one_there_are_no_curves():
    assert ll.crossovers(curve({1: 2.0, 2: 1.0}), "batch", fast="fused_decoder").empty


values = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))


@settings(max_examples=40)
@given(st.lists(values, min_size=1, max_size=20))
def test_the_front_is_what_comparing_every_pair_leaves(points):
    rows = frame([row(1 / speed, batch=batch, count=count) for speed, batch, count in points])
    costs = np.array([(-rows["tokens_per_s_user"]), (-rows["tokens_per_s"]), rows["count"]]).T
    beaten = [any((other <= own).all() and (other < own).any() for other in costs) for own in costs]
    pd.testing.assert_frame_equal(ll.pareto_front(rows), rows.loc[[not each for each in beaten]])


def test_what_does_not_fit_is_on_no_front():
    rows = frame([unfit(), row(1.0)])
    assert ll.pareto_front(rows).index.tolist() == [1]


def test_efficiency_is_ideal_at_the_first_count_that_fits_and_falls_with_lost_time():
    rows = frame([unfit(count=1), row(1.0, count=2), row(0.5, count=4), row(0.5, count=8)])
    scaled = ll.scaling(rows)
    assert scaled["scaling_efficiency"].tolist()[1:] == [1.0, 1.0, 0.5]
    assert scaled["ideal_speedup"].tolist()[1:] == [1.0, 2.0, 4.0]
    assert np.isnan(scaled["scaling_efficiency"].iloc[0])
    assert ll.scaling(frame([unfit()]))["scaling_speedup"].isna().all()


def test_questions_leave_the_frame_as_it_was():
    rows = curve({1: 3.0, 8: 1.0})
    before = rows.copy()
    for ask in (ll.speedups, ll.crossovers, ll.pareto_front, ll.scaling):
        ask(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_crossovers_come_in_the_order_of_the_frame():
    counts = [2**power for power in range(8)]
    rows = frame(
        [
            row(strategy=strategy, count=count, batch=batch, seconds=seconds)
            for count in counts
            for batch in (1, 2, 4)
            for strategy, seconds in (("per_operator", 4), ("kernel_loop", 2))
        ]
    )
    assert ll.crossovers(rows, "batch")["count"].tolist() == counts
