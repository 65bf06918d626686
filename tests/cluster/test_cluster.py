"""Clusters: what is refused, how chips differ, and that differing chips meet where they communicate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips import load_chip
from cluster import Cluster, Slow, Slowdown, Variation

CHIP = load_chip("h100")


def whole(*factors):
    return Slowdown.whole_chips(np.array(factors))


@pytest.mark.parametrize(("count", "slowdown", "words"), [(0, None, "0 chips"), (2, whole(1.0, 1.0, 1.0), "3 chips")])
def test_an_impossible_cluster_is_refused(count, slowdown, words):
    with pytest.raises(ValueError, match=words):
        Cluster(CHIP, count, slowdown=slowdown)


def test_a_chip_is_never_faster_than_its_datasheet():
    with pytest.raises(ValueError, match=r"0\.5 is faster"):
        whole(1.0, 0.5)


def test_alike_chips_collapse_to_one_lane():
    assert Cluster(CHIP, 1000).start_clock().chips == 1
    assert Cluster(CHIP, 3, slowdown=whole(1.0, 1.0, 1.0)).start_clock().chips == 3


def test_a_slow_chip_holds_up_the_others_only_where_they_meet():
    cluster = Cluster(CHIP, 3, slowdown=whole(1.0, 1.5, 1.0))
    clock = cluster.start_clock()
    done = clock.task(clock.engine("compute"), cluster.stretch(1000, "clock"), label="work")
    assert list(done.ps) == [1000, 1500, 1000]
    assert list(cluster.meet(clock, done).ps) == [1500, 1500, 1500]


def test_passes_side_by_side_meet_each_for_itself():
    cluster = Cluster(CHIP, 2, slowdown=whole(1.0, 1.5)).side_by_side(3)
    clock = cluster.start_clock()
    work = np.repeat(np.array([100, 200, 300]), 2)
    done = clock.task(clock.engine("compute"), cluster.stretch(work, "clock"), label="work")
    assert list(done.ps) == [100, 150, 200, 300, 300, 450]
    met = cluster.meet(clock, done)
    assert list(met.ps) == [150, 150, 300, 300, 450, 450]
    assert list(met.parts["work"]) == list(met.ps)


def test_the_slowest_link_sets_the_pace_of_all():
    slowdown = Variation(slow_links=(Slow(2, 1.0),)).slowdown(range(4))
    linked = Cluster(CHIP, 4, slowdown=slowdown).linked(CHIP)
    assert linked.link.bandwidth == CHIP.link.bandwidth / 2
    assert Cluster(CHIP, 4).linked(CHIP) is CHIP


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 2**31))
def test_a_chip_is_the_same_in_every_cluster(few, more, seed):
    variation = Variation(clock=0.02, memory=0.05, seed=seed)
    small, large = variation.slowdown(range(few)), variation.slowdown(range(few + more))
    assert np.array_equal(small.clock, large.clock[:few])
    assert np.array_equal(small.memory, large.memory[:few])
    assert (large.clock >= 1.0).all()


def test_variation_has_the_spread_that_was_asked_for():
    drawn = Variation(clock=0.02, seed=1).slowdown(range(20_000)).clock - 1.0
    assert np.sqrt(np.mean(drawn**2)) == pytest.approx(0.02, rel=0.02)


slow = st.lists(st.builds(Slow, st.integers(0, 99), st.sampled_from([0.05, 0.1, 0.25, 1.0, 3.5])), max_size=3)


@given(
    st.builds(
        Variation,
        clock=st.sampled_from([0.01, 0.02]),
        memory=st.sampled_from([0.0, 0.125]),
        seed=st.integers(0, 9),
        stragglers=slow.map(lambda ones: tuple(sorted(ones, key=lambda one: (one.chip, one.fraction)))),
        slow_links=slow.map(lambda ones: tuple(sorted(ones, key=lambda one: (one.chip, one.fraction)))),
        failed=st.sets(st.integers(0, 99), max_size=3).map(lambda chips: tuple(sorted(chips))),
    )
)
def test_a_variation_survives_being_written_and_read(variation):
    assert Variation.parse(str(variation)) == variation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clok=0.1", "'clok=0.1' is not understood; expected"),
        ("straggler=0.1", "'straggler=0.1' is not understood"),
        ("straggler=0.1@x", "is not understood"),
        ("clock=-0.1", "must be 0 or more"),
        ("memory=nan", "must be 0 or more"),
    ],
)
def test_a_variation_that_is_not_understood_is_answered_in_one_sentence(text, words):
    with pytest.raises(ValueError, match=words):
        Variation.parse(text)
