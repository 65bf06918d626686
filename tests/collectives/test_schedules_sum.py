"""Schedules executed on real arrays leave the sum on every rank; wrong schedules are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectives.algorithms import ALGORITHMS, hierarchical
from collectives.schedule import SWITCH, Messages, Schedule, once
from collectives.verify import ScheduleError, execute, verify


@pytest.mark.parametrize("ranks", range(1, 20))
@pytest.mark.parametrize("algorithm", ALGORITHMS.values())
def test_each_rank_is_added_exactly_once(algorithm, ranks):
    verify(algorithm(ranks))


@pytest.mark.parametrize(("ranks", "node"), [(1, 1), (4, 4), (8, 4), (12, 3), (24, 8), (5, 1)])
def test_hierarchical_adds_each_rank_exactly_once(ranks, node):
    verify(hierarchical(ranks, node))


@settings(deadline=None, max_examples=60)
@given(
    algorithm=st.sampled_from(sorted(ALGORITHMS)),
    ranks=st.integers(1, 11),
    elements=st.integers(0, 40),
    dtype=st.sampled_from([np.int64, np.float32, np.float64]),
    seed=st.integers(0, 2**16),
)
def test_result_is_the_sum_for_any_size_and_type(algorithm, ranks, elements, dtype, seed):
    payload = np.random.default_rng(seed).integers(-100, 100, (ranks, elements)).astype(dtype)
    result = execute(ALGORITHMS[algorithm](ranks), payload)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.broadcast_to(payload.sum(axis=0, dtype=dtype), payload.shape))


def _pair(source: list[int], destination: list[int], first: list[int], reduce: bool) -> Schedule:
    phase = once(np.array(source), np.array(destination), np.array(first), 1, reduce)
    return Schedule("wrong", 2, 1, (phase,))


def test_a_sum_that_misses_a_rank_is_refused():
    with pytest.raises(ScheduleError, match="rank 0 ends with chunk 0 of rank 1 added 0 times"):
        verify(_pair([0], [1], [0], reduce=True))


def test_a_rank_added_twice_is_refused():
    both = once(np.array([0, 1]), np.array([1, 0]), np.array([0, 0]), 1, True)
    with pytest.raises(ScheduleError, match="wrong, phase 1, step 0: rank 1 adds chunk 0 of rank 0 a second time"):
        verify(Schedule("wrong", 2, 1, (both, both)))


def test_a_rank_that_does_not_exist_is_refused_with_its_step():
    with pytest.raises(ScheduleError, match="wrong, phase 0, step 0: a message names rank 5; there are 2"):
        verify(_pair([0], [5], [0], reduce=True))


def test_a_chunk_that_does_not_exist_is_refused():
    with pytest.raises(ScheduleError, match="chunk that does not exist"):
        verify(_pair([0], [1], [1], reduce=True))


def test_a_switch_asked_before_it_has_the_chunk_is_refused():
    with pytest.raises(ScheduleError, match="the switch sends chunk 0, which never arrives there"):
        verify(_pair([SWITCH], [1], [0], reduce=False))


def test_two_messages_that_replace_one_chunk_are_refused():
    with pytest.raises(ScheduleError, match="two messages replace"):
        verify(_pair([0, 1], [1, 1], [0, 0], reduce=False))


def test_payload_of_other_ranks_is_refused():
    with pytest.raises(ValueError, match="payload has 3 ranks; the schedule is for 2"):
        execute(ALGORITHMS["ring"](2), np.zeros((3, 4)))


@pytest.mark.parametrize("algorithm", [*ALGORITHMS.values(), lambda ranks: hierarchical(ranks, 3)])
def test_steps_of_a_phase_differ_in_chunks_alone(algorithm):
    def pairs(messages: Messages):
        return messages.source.tolist(), messages.destination.tolist(), messages.chunks, messages.reduce

    for phase in algorithm(9).phases:
        assert all(pairs(phase.messages(step)) == pairs(phase.messages(0)) for step in range(phase.count))
