"""Schedules executed on real arrays give what the collective asks; wrong schedules are refused by their step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collectives.algorithms import ALGORITHMS, COLLECTIVES, hierarchical
from collectives.algorithms.swing import swing
from collectives.algorithms.torus import by_dimension, torus_3d
from collectives.schedule import SWITCH, Messages, Phase, Schedule, once
from collectives.topology import Level, Topology, fat_tree, switched, torus
from collectives.verify import ScheduleError, contributed, execute, required, verify

EVERY = [(operation, name) for operation, named in COLLECTIVES.items() for name in named]


def test_every_operation_and_every_algorithm_is_found():
    assert set(COLLECTIVES) == {
        "all_reduce",
        "reduce_scatter",
        "all_gather",
        "broadcast",
        "all_to_all",
        "send_receive",
    }
    assert set(ALGORITHMS) == {
        "ring",
        "bidirectional_ring",
        "recursive_doubling",
        "halving_doubling",
        "binomial_tree",
        "double_binary_tree",
        "one_shot",
        "two_shot",
        "in_switch",
        "bruck",
        "torus_2d",
        "torus_3d",
        "hierarchical",
        "swing",
    }


@pytest.mark.parametrize(("operation", "name"), EVERY)
def test_each_part_arrives_exactly_once_for_any_number_of_ranks(operation, name):
    for ranks in (*range(1, 20), 24, 31, 32, 33):
        schedule = COLLECTIVES[operation][name](ranks)
        assert (schedule.ranks, schedule.operation) == (ranks, operation)
        verify(schedule)


@pytest.mark.parametrize("name", ["ring", "halving_doubling", "swing", "double_binary_tree", "bruck", "hierarchical"])
def test_each_part_arrives_exactly_once_between_a_hundred_ranks(name):
    verify(ALGORITHMS[name](100))


@pytest.mark.parametrize(("ranks", "node"), [(1, 1), (4, 4), (8, 4), (12, 3), (24, 8), (5, 1), (5, 5)])
def test_hierarchical_adds_each_part_once(ranks, node):
    verify(hierarchical(ranks, node))


@settings(max_examples=40)
@given(sides=st.lists(st.integers(1, 4), min_size=1, max_size=4), turn=st.sampled_from([1, -1]), data=st.data())
def test_dimensions_of_any_sides_in_any_order_add_each_part_once(sides, turn, data):
    order = tuple(data.draw(st.permutations(range(len(sides)))))
    ranks = int(np.prod(sides))
    verify(Schedule("dimensions", ranks, ranks, by_dimension(tuple(sides), order, turn)))


@pytest.mark.parametrize("sides", [(8,), (4, 2), (2, 4), (2, 2, 2), (16, 4), (4, 4, 4)])
def test_swing_adds_each_part_once_on_any_torus(sides):
    verify(swing(int(np.prod(sides)), sides))


@pytest.mark.parametrize(("operation", "name"), EVERY)
def test_there_is_at_least_one_rank(operation, name):
    with pytest.raises(ValueError, match="a collective of 0 ranks was asked for; at least 1 is needed"):
        COLLECTIVES[operation][name](0)


def test_there_is_at_least_one_piece():
    with pytest.raises(ValueError, match="in 0 pieces was asked for"):
        ALGORITHMS["double_binary_tree"](8, pieces=0)


def test_sides_must_make_the_ranks():
    with pytest.raises(ValueError, match="5 ranks do not fill nodes of 4"):
        hierarchical(5, 4)
    with pytest.raises(ValueError, match="torus_3d of 9 ranks needs 3 sides that make 9, not 2 x 2 x 2"):
        torus_3d(9, (2, 2, 2))
    with pytest.raises(ValueError, match="swing on 12 ranks needs sides that are powers of two and make 8"):
        swing(12, (4, 3))


def expected(schedule: Schedule, payload: np.ndarray) -> np.ndarray:
    """What the operation says of every element, by NumPy alone."""
    chunk = np.repeat(np.arange(schedule.chunks), np.diff(schedule.cuts(payload.shape[1])))
    given = np.where(contributed(schedule)[:, chunk], payload, np.zeros_like(payload))
    return np.broadcast_to(given.sum(axis=0, dtype=payload.dtype), payload.shape)


@settings(max_examples=150)
@given(
    which=st.sampled_from(EVERY),
    ranks=st.integers(1, 13),
    elements=st.integers(0, 300),
    dtype=st.sampled_from([np.int8, np.int64, np.float16, np.float32, np.float64, np.complex64]),
    seed=st.integers(0, 2**16),
)
def test_result_is_the_operation_for_any_size_and_type(which, ranks, elements, dtype, seed):
    operation, name = which
    schedule = COLLECTIVES[operation][name](ranks)
    payload = np.random.default_rng(seed).integers(-8, 8, (ranks, elements)).astype(dtype)
    result = execute(schedule, payload)
    assert result.dtype == dtype
    chunk = np.repeat(np.arange(schedule.chunks), np.diff(schedule.cuts(elements)))
    defined = required(schedule)[:, chunk]
    np.testing.assert_array_equal(result[defined], expected(schedule, payload)[defined])


@pytest.mark.parametrize("name", ["recursive_doubling", "ring", "two_shot", "double_binary_tree", "in_switch"])
def test_all_ranks_have_the_same_bits(name):
    # Where each sum is made once and copied, or both partners add the same two numbers, rounding is the same too.
    payload = np.random.default_rng(1).standard_normal((8, 1000)).astype(np.float32)
    result = execute(ALGORITHMS[name](8), payload)
    assert np.array_equal(result, np.broadcast_to(result[0], result.shape))


def test_sums_are_added_in_the_order_of_the_messages():
    payload = np.random.default_rng(3).standard_normal((300, 1)).astype(np.float32)
    source = np.random.default_rng(4).permutation(np.arange(2, 300))
    root = source % 2
    total = payload[:2, 0].copy()
    for rank in source:
        total[rank % 2] += payload[rank, 0]
    stars = Schedule("two stars", 300, 1, (once(source, root, np.zeros_like(root), 1, reduce=True),))
    assert execute(stars, payload)[:2, 0].tolist() == total.tolist()
    exact = [payload[root::2].sum(dtype=np.float64) for root in (0, 1)]
    assert total.tolist() != np.float32(exact).tolist(), "the order shows in how it rounds"


@settings(max_examples=40)
@given(elements=st.integers(0, 100), chunks=st.integers(1, 30))
def test_chunks_are_cut_as_numpy_cuts(elements, chunks):
    cuts = Schedule("none", 1, chunks, ()).cuts(elements)
    assert [len(part) for part in np.array_split(np.arange(elements), chunks)] == np.diff(cuts).tolist()


@settings(max_examples=120)
@given(which=st.sampled_from(EVERY), ranks=st.integers(2, 9), data=st.data())
def test_a_schedule_that_lacks_a_message_is_refused(which, ranks, data):
    """Whatever single message is lost, in whatever step, the schedule is no longer the collective."""
    operation, name = which
    schedule = COLLECTIVES[operation][name](ranks)
    steps = [messages for _, _, messages in schedule.steps() if len(messages.source)]
    at = data.draw(st.integers(0, len(steps) - 1))
    lost = data.draw(st.integers(0, len(steps[at].source) - 1))
    # What a rank writes back to the switch for all to have is the very sum that it has just read there.
    assume(steps[at].destination[lost] != SWITCH or steps[at].reducing()[lost])
    steps[at] = _without(steps[at], lost)
    broken = Schedule(name, ranks, schedule.chunks, tuple(map(_fixed, steps)), operation=operation)
    with pytest.raises(ScheduleError):
        verify(broken)


@settings(max_examples=60)
@given(name=st.sampled_from(sorted(ALGORITHMS)), ranks=st.integers(2, 9), data=st.data())
def test_a_sum_that_comes_twice_is_refused(name, ranks, data):
    schedule = ALGORITHMS[name](ranks)
    steps = [messages for _, _, messages in schedule.steps() if len(messages.source)]
    adding = [i for i, messages in enumerate(steps) if np.any(messages.reducing() & (messages.destination != SWITCH))]
    if not adding:  # the switch alone adds
        adding = [0]
    at = data.draw(st.sampled_from(adding))
    steps.insert(at, steps[at])
    with pytest.raises(ScheduleError, match=r"second time|replace"):
        verify(Schedule(name, ranks, schedule.chunks, tuple(map(_fixed, steps))))


def _fixed(messages: Messages) -> Phase:
    return Phase(1, lambda step: messages)


def _without(messages: Messages, lost: int) -> Messages:
    kept = np.arange(len(messages.source)) != lost
    arrays = (messages.source, messages.destination, messages.first_chunk, messages.sizes(), messages.reducing())
    return Messages(*(array[kept] for array in arrays))


def _wrong(ranks: int, *steps: tuple[list[int], list[int], list[int], bool], **options) -> Schedule:
    phases = tuple(once(np.array(source), np.array(to), np.array(first), 1, adds) for source, to, first, adds in steps)
    return Schedule("wrong", ranks, options.pop("chunks", 1), phases, **options)


REFUSED = {
    "rank 0 ends with chunk 0 of rank 1 added 0 times; expected once": _wrong(2, ([0], [1], [0], True)),
    "wrong, phase 1, step 0: rank 0 adds chunk 0 of rank 0 a second time": _wrong(
        2, ([0, 1], [1, 0], [0, 0], True), ([1], [0], [0], True)
    ),
    "wrong, phase 0, step 0: a message names rank 5; there are 2": _wrong(2, ([0], [5], [0], True)),
    "wrong, phase 0, step 0: a message names rank -2; there are 2": _wrong(2, ([-2], [1], [0], True)),
    "wrong, phase 0, step 0: a message names a chunk that does not exist; there are 1": _wrong(
        2, ([0], [1], [1], True)
    ),
    "wrong, phase 0, step 0: two messages replace chunk 0 of rank 2": _wrong(3, ([0, 1], [2, 2], [0, 0], False)),
    "wrong, phase 0, step 0: deadlock: rank 1 waits for a message from itself": _wrong(
        2, ([0, 1], [1, 1], [0, 0], True)
    ),
    "wrong, phase 0, step 0: the switch sends chunk 0, which never arrives there": _wrong(
        2, ([SWITCH], [1], [0], False)
    ),
    # Rank 0 passes on its sum when only rank 1 has been added to it.
    "phase 1, step 0: rank 0 passes on chunk 0 before the part of rank 2 has arrived": _wrong(
        3, ([1], [0], [0], True), ([0, 0], [1, 2], [0, 0], False)
    ),
    # A chain in which rank 1 does not wait for what rank 0 sends it.
    "wrong, phase 0, step 0: rank 1 sends chunk 0 before it arrives, in that same step, from rank 0": _wrong(
        3, ([0, 1], [1, 2], [0, 0], False), operation="broadcast"
    ),
    "wrong, phase 0, step 0: rank 1 sends chunk 0 before it arrives, in phase 1, step 0": _wrong(
        3, ([1], [2], [0], False), ([0], [1], [0], False), operation="broadcast"
    ),
    "wrong, phase 0, step 0: rank 1 sends chunk 0, which never arrives there": _wrong(
        3, ([1], [2], [0], False), operation="broadcast"
    ),
    "wrong, phase 0, step 0: deadlock: each waits for chunk 0 from the next: rank 1, rank 2, rank 1": _wrong(
        3, ([1, 2], [2, 1], [0, 0], False), operation="broadcast"
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_wrong_schedule_is_refused_and_its_step_named(sentence):
    with pytest.raises(ScheduleError) as refused:
        verify(REFUSED[sentence])
    assert sentence in str(refused.value)


def test_a_message_carries_at_least_one_chunk():
    empty = once(np.array([0]), np.array([1]), np.array([0]), 0, reduce=True)
    with pytest.raises(ScheduleError, match="wrong, phase 0, step 0: a message carries 0 chunks"):
        verify(Schedule("wrong", 2, 1, (empty,)))


def test_steps_of_a_phase_must_be_priced_alike():
    def messages(step: int) -> Messages:
        return Messages(np.array([step]), np.array([1 - step]), np.array([0]), 1, reduce=step == 0)

    with pytest.raises(ScheduleError, match="wrong, phase 0, step 1: its pairs, sizes or sums differ"):
        verify(Schedule("wrong", 2, 1, (Phase(2, messages),)))


def test_links_that_are_not_there_are_named_with_their_step():
    ring_of_6 = Topology((Level("ring", 6, 1e9, 1e-6, forwarding=False),))
    line_of_6 = Topology((Level("line", 6, 1e9, 1e-6, forwarding=False),))
    verify(ALGORITHMS["ring"](6), ring_of_6)
    for schedule, topology, sentence in (
        (ALGORITHMS["ring"](6), line_of_6, "ring, phase 0, step 0: there is no link from rank 5 to rank 0"),
        (
            ALGORITHMS["recursive_doubling"](6),
            ring_of_6,
            "recursive_doubling, phase 1, step 0: there is no link from rank 1 to rank 3",
        ),
        (ALGORITHMS["in_switch"](6), ring_of_6, "in_switch, phase 0, step 0: a ring level has no switch"),
        (ALGORITHMS["ring"](8), ring_of_6, "ring, phase 0, step 0: rank 7 has no link at all"),
        (ALGORITHMS["in_switch"](8), fat_tree((4, 2), 1e9, 1e-6), "rank 7 has no link to the switch that reduces"),
    ):
        with pytest.raises(ScheduleError, match=sentence):
            verify(schedule, topology)


def test_torus_schedules_need_no_forwarding():
    links = torus((3, 4, 2), 1e9, 1e-6)
    neighbours_only = Topology(tuple(replace(level, forwarding=False) for level in links.levels))
    verify(torus_3d(24, (3, 4, 2)), neighbours_only)
    with pytest.raises(ScheduleError, match="no link from rank 2 to rank 3"):
        verify(ALGORITHMS["ring"](24), neighbours_only)


def test_payload_of_other_ranks_is_refused():
    with pytest.raises(ValueError, match="payload has 3 ranks; the schedule is for 2"):
        execute(ALGORITHMS["ring"](2), np.zeros((3, 4)))


def test_a_thousand_ranks_are_verified_on_a_switch():
    verify(ALGORITHMS["halving_doubling"](512), switched(512, 1e9, 1e-6))
