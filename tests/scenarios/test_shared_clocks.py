"""Points side by side on one clock: each the same, to the picosecond, as alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scenarios.memory import with_fitting_micro_batch
from scenarios.point import Point, make_point
from scenarios.pricing import Prices, price
from scenarios.shared_clocks import run_together
from scenarios.strategies import STRATEGIES


@settings(max_examples=12)
@given(
    chip=st.sampled_from(["h100", "a100", "b200", "sn40l", "sn10"]),
    strategy=st.sampled_from(list(STRATEGIES)),
    launch=st.sampled_from(["graph", "eager"]),
    count=st.sampled_from([1, 2, 8]),
    batch=st.sampled_from([1, 7, 40, 130]),
    contexts=st.lists(st.integers(1, 131072), min_size=24, max_size=32)
    | st.lists(st.integers(4000, 4200), min_size=24, max_size=32),
)
def test_side_by_side_is_one_by_one(
    chip: str, strategy: str, launch: str, count: int, batch: int, contexts: list[int]
) -> None:
    points = [
        make_point("llama-3.1-8b", chip, count, strategy=strategy, launch=launch, batch=batch, context=context)
        for context in contexts
    ]
    assert_as_alone(points)


@settings(max_examples=8)
@given(
    chip=st.sampled_from(["h100", "a100", "b200", "l40s"]),
    strategy=st.sampled_from(list(STRATEGIES)),
    count=st.sampled_from([1, 2, 8]),
    shapes=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8192)), min_size=24, max_size=32),
)
def test_prompts_side_by_side_are_one_by_one(
    chip: str, strategy: str, count: int, shapes: list[tuple[int, int]]
) -> None:
    points = [
        make_point("llama-3.1-8b", chip, count, phase="prefill", strategy=strategy, batch=batch, context=context)
        for batch, context in shapes
    ]
    assert_as_alone(points)


@settings(max_examples=6)
@given(
    chips=st.lists(st.sampled_from(["h100", "b200", "sn40l"]), min_size=1, max_size=2, unique=True),
    phase=st.sampled_from(["decode", "prefill", "train"]),
    strategy=st.sampled_from(list(STRATEGIES)),
    counts=st.lists(st.sampled_from([1, 2, 3, 4, 8]), min_size=1, max_size=2, unique=True),
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 4096)), min_size=30, max_size=40),
)
def test_many_points_of_any_shape_are_as_one_by_one(
    chips: list[str], phase: str, strategy: str, counts: list[int], shapes: list[tuple[int, int]]
) -> None:
    points = [
        make_point("llama-3.2-1b", chip, count, phase=phase, strategy=strategy, batch=batch, context=context)
        for chip in chips
        for count in counts
        for batch, context in shapes
    ]
    assert_as_alone(points)


def assert_as_alone(asked: list[Point]) -> None:
    points = [point for point in asked if with_fitting_micro_batch(point) is point]  # in micro-batches each runs alone
    singles = [price([point]) for point in points]
    alone = Prices(
        points,
        [replace(each, numbers=np.array([place])) for place, one in enumerate(singles) for each in one.together],
        {place: refusal for place, one in enumerate(singles) for refusal in one.refusals.values()},
    )
    pd.testing.assert_frame_equal(Prices(points, *run_together(points)).frame(), alone.frame(), check_exact=True)


@pytest.mark.parametrize("phase", ["prefill", "train", "request"])
def test_other_phases_come_in_the_order_asked(phase: str) -> None:
    points = [
        make_point("llama-3.2-1b", "h100", 1, phase=phase, context=context) for context in (256, 64, 128, 512, 96, 72)
    ]
    assert Prices(points, *run_together(points)).columns["context"].tolist() == [256, 64, 128, 512, 96, 72]


def test_points_of_which_none_fits_say_why_each() -> None:
    points = [make_point("llama-3.1-8b", "h100", 1, batch=4096, context=context) for context in (4096, 8192)]
    columns = Prices(points, *run_together(points)).columns
    assert not columns["fits"].any()
    assert all("needs" in reason for reason in columns["reason"])


@pytest.mark.parametrize(("slower", "faster"), [("h100", "h200"), ("a100-40gb", "a100")])
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_a_chip_that_only_has_faster_memory_is_never_slower(slower: str, faster: str, strategy: str) -> None:
    def seconds(chip: str) -> NDArray[np.float64]:
        points = [
            make_point("llama-3.1-8b", chip, count, strategy=strategy, batch=batch, context=context)
            for count in (1, 2, 8)
            for batch in (1, 4, 16, 64, 128)
            for context in (1024, 4096, 16384)
        ]
        return Prices(points, *run_together(points)).columns["seconds"]

    both = np.stack([seconds(slower), seconds(faster)])
    both = both[:, np.isfinite(both).all(axis=0)]
    assert both.shape[1] > 20
    assert (both[1] <= both[0]).all()
