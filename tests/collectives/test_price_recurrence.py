"""Whole phases at once equal the recurrence walked step by step and message by message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.explained_time import seconds_to_ps
from chips.spec import load_chip
from collectives.algorithms import ALGORITHMS, hierarchical, one_shot, ring
from collectives.price import linear_cost, price
from collectives.routing import route
from collectives.topology import Level, Topology, topology_of


def picoseconds(seconds) -> int:
    return int(seconds_to_ps(np.asarray(seconds)))


def walk(schedule, topology, payload, ready, step_seconds, gamma=0.0):
    """The recurrence of ``collectives.price`` in plain Python, for schedules that are not streamed."""
    clocks = [int(time) for time in ready]
    for phase in schedule.phases:
        for step in range(phase.count):
            messages = phase.messages(step)
            size = float(messages.chunks * -(-payload // schedule.chunks))
            ways = route(topology, messages.source, messages.destination, messages.sizes())
            latency, transfer = ways.latency, -(-payload // schedule.chunks) * ways.load / ways.bandwidth
            after = list(clocks)
            for i, (source, destination) in enumerate(zip(messages.source, messages.destination, strict=True)):
                incoming = np.count_nonzero(messages.destination == destination)
                reduction = gamma * size * incoming if messages.reduce else 0.0
                left = step_seconds + transfer[messages.source == source].max()
                came = step_seconds + latency[i] + transfer[i] + reduction
                after[source] = max(after[source], clocks[source] + picoseconds(left))
                after[destination] = max(
                    after[destination],
                    clocks[source] + picoseconds(came),
                    clocks[destination] + picoseconds(step_seconds + reduction),
                )
            clocks = after
    return clocks


shapes = st.sampled_from(["switch", "fully_connected", "ring"])


@settings(deadline=None, max_examples=80)
@given(
    algorithm=st.sampled_from(["ring", "one_shot", "two_shot", "recursive_doubling"]),
    shape=shapes,
    ranks=st.integers(2, 12),
    payload=st.integers(0, 10**7),
    latency=st.floats(0, 1e-5),
    step=st.floats(0, 1e-6),
    gamma=st.sampled_from([0.0, 1e-12, 1e-10]),
    data=st.data(),
)
def test_price_equals_the_recurrence_for_any_ready_times(algorithm, shape, ranks, payload, latency, step, gamma, data):
    ready = np.array(data.draw(st.lists(st.integers(0, 10**8), min_size=ranks, max_size=ranks)))
    schedule, topology = ALGORITHMS[algorithm](ranks), Topology((Level(shape, ranks, 100e9, latency),))
    priced = price(schedule, topology, payload, ready_ps=ready, step_seconds=step, reduce_seconds_per_byte=gamma)
    # The order of float additions may differ by one picosecond a step.
    steps = sum(phase.count for phase in schedule.phases)
    np.testing.assert_allclose(priced, walk(schedule, topology, payload, ready, step, gamma), rtol=0, atol=steps)


@settings(deadline=None, max_examples=30)
@given(node=st.integers(1, 5), nodes=st.integers(1, 5), payload=st.integers(0, 10**7), data=st.data())
def test_levels_and_unequal_links_equal_the_recurrence(node, nodes, payload, data):
    ranks = node * nodes
    ready = np.array(data.draw(st.lists(st.integers(0, 10**8), min_size=ranks, max_size=ranks)))
    topology = Topology((Level("ring", node, 300e9, 1e-6), Level("switch", nodes, 50e9, 4e-6)))
    for schedule in (hierarchical(ranks, node), ring(ranks)):
        assert price(schedule, topology, payload, ready_ps=ready).tolist() == walk(
            schedule, topology, payload, ready, 0
        )


@settings(deadline=None, max_examples=40)
@given(algorithm=st.sampled_from(sorted(ALGORITHMS)), ranks=st.integers(2, 12), late=st.integers(0, 10**9))
def test_a_straggler_delays_nobody_more_than_itself(algorithm, ranks, late):
    topology = Topology((Level("switch", ranks, 100e9, 1e-6),))
    ready = np.zeros(ranks, dtype=np.int64)
    ready[ranks // 2] = late
    on_time = price(ALGORITHMS[algorithm](ranks), topology, 2**20)
    delayed = price(ALGORITHMS[algorithm](ranks), topology, 2**20, ready_ps=ready)
    assert np.all(delayed >= on_time)
    assert delayed.max() <= on_time.max() + late
    assert np.all(delayed > late), "nobody has the sum before the last rank has given its share"


def test_equal_delay_for_all_shifts_all():
    topology = Topology((Level("ring", 6, 100e9, 1e-6),))
    base = price(ring(6), topology, 10**6)
    assert np.array_equal(price(ring(6), topology, 10**6, ready_ps=np.full(6, 12345)), base + 12345)


def test_a_hundred_thousand_ranks_equal_the_formula():
    ranks, payload = 100_000, 10**8
    topology = Topology((Level("switch", ranks, 100e9, 1e-6),))
    ready = np.zeros(ranks, dtype=np.int64)
    ready[17] = 10**9
    step = seconds_to_ps(1e-6 + payload // ranks / 100e9)
    assert price(ring(ranks), topology, payload, ready_ps=ready).max() == 10**9 + 2 * (ranks - 1) * step


def test_linear_cost_is_exact_between_its_points():
    link = load_chip("h100").link
    cost = linear_cost(one_shot, 8, topology_of(link, 8, 1e-6))
    payload = 2**20
    priced = price(one_shot(8), topology_of(link, 8, 1e-6), payload)[0] / 1e12
    assert cost.latency_seconds + cost.seconds_per_byte * payload == pytest.approx(priced, rel=1e-6)


def test_schedule_and_topology_must_agree():
    topology = Topology((Level("switch", 4, 1e9, 1e-6),))
    with pytest.raises(ValueError, match="schedule is for 8 ranks, the topology has 4"):
        price(ring(8), topology, 1)
    with pytest.raises(ValueError, match="expected \\(4,\\)"):
        price(ring(4), topology, 1, ready_ps=np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="no switch that could reduce"):
        price(ALGORITHMS["in_switch"](4), Topology((Level("ring", 4, 1e9, 1e-6),)), 1)
