"""Whole phases at once equal the recurrence walked step by step and message by message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.clock.time import seconds_to_ps
from chips.spec import load_chip
from collectives.algorithms import ALGORITHMS, COLLECTIVES, one_shot, ring
from collectives.price import linear_cost, price, price_by_step
from collectives.routing import route
from collectives.schedule import Schedule
from collectives.topology import Level, Topology, fat_tree, fully_connected, switched, topology_of, torus


def picoseconds(seconds) -> int:
    return int(seconds_to_ps(np.asarray(seconds)))


def walk(schedule, topology, payload, ready, step_seconds, gamma=0.0):
    """The recurrence of ``collectives.step_times`` in plain Python, for schedules that are not streamed."""
    clocks = [*(int(time) for time in ready), int(min(ready))]  # the switch last, so that it is at SWITCH = -1
    chunk_bytes = schedule.chunk_bytes(payload)
    for _, _, messages in schedule.steps():
        if not len(messages.source):
            continue
        ways = route(topology, messages.source, messages.destination, messages.sizes())
        transfer = chunk_bytes * ways.load / ways.bandwidth
        adding = gamma * chunk_bytes * messages.sizes() * messages.reducing() * (messages.destination >= 0)
        after = list(clocks)
        for i, (source, destination) in enumerate(zip(messages.source, messages.destination, strict=True)):
            reduction = adding[messages.destination == destination].sum()
            left = step_seconds + transfer[messages.source == source].max()
            came = step_seconds + ways.latency[i] + transfer[i] + reduction
            after[source] = max(after[source], clocks[source] + picoseconds(left))
            after[destination] = max(
                after[destination],
                clocks[source] + picoseconds(came),
                clocks[destination] + picoseconds(step_seconds + reduction),
            )
        clocks = after
    return clocks[:-1]


EVERY = [(operation, name) for operation, named in COLLECTIVES.items() for name in sorted(named) if name != "in_switch"]


def topologies(ranks: int) -> list[Topology]:
    """One of every kind with at least so many ranks."""
    half = -(-ranks // 2)
    return [
        switched(ranks, 100e9, 1e-6),
        fully_connected(ranks, 300e9, 2e-6),
        torus((ranks,), 100e9, 1e-6),
        torus((ranks,), 100e9, 1e-6, wraps=False),
        torus((2, half), 100e9, 1e-6),
        torus((2, 2, -(-ranks // 4)), 70e9, 5e-7),
        fat_tree((2, half), 100e9, 3e-7, oversubscription=3.0),
        fat_tree((2, 2, -(-ranks // 4)), 100e9, 3e-7, oversubscription=2.0),
        Topology((Level("fully_connected", 2, 300e9, 1e-6), Level("switch", half, 50e9, 4e-6))),
    ]


@settings(max_examples=150)
@given(
    which=st.sampled_from(EVERY),
    ranks=st.integers(2, 12),
    payload=st.integers(0, 10**7),
    step=st.floats(0, 1e-6),
    gamma=st.sampled_from([0.0, 1e-12, 1e-10]),
    data=st.data(),
)
def test_price_equals_the_recurrence_for_any_ready_times(which, ranks, payload, step, gamma, data):
    operation, name = which
    ready = np.array(data.draw(st.lists(st.integers(0, 10**8), min_size=ranks, max_size=ranks)))
    schedule, topology = COLLECTIVES[operation][name](ranks), data.draw(st.sampled_from(topologies(ranks)))
    options = {"ready_ps": ready, "step_seconds": step, "reduce_seconds_per_byte": gamma}
    priced = price(schedule, topology, payload, **options)
    # The order of float additions may differ by one picosecond a step.
    steps = sum(phase.count for phase in schedule.phases)
    np.testing.assert_allclose(priced, walk(schedule, topology, payload, ready, step, gamma), rtol=0, atol=steps)
    *_, last = price_by_step(schedule, topology, payload, **options)
    assert np.array_equal(priced, last)


@pytest.mark.parametrize(
    ("name", "topology"),
    [
        ("ring", fat_tree((8, 8), 50e9, 5e-7)),
        ("ring", fat_tree((8, 8), 50e9, 5e-7, oversubscription=2.0)),
        ("ring", fat_tree((4, 4, 4), 50e9, 5e-7, oversubscription=4.0)),
        ("ring", Topology((Level("switch", 8, 450e9, 1e-6), Level("switch", 8, 50e9, 3e-6)))),
        ("bidirectional_ring", switched(63, 50e9, 5e-7)),
        ("bidirectional_ring", torus((64,), 50e9, 5e-7)),
        ("bidirectional_ring", fat_tree((8, 8), 50e9, 5e-7)),
        ("two_shot", switched(33, 50e9, 5e-7)),
        ("one_shot", fully_connected(32, 50e9, 5e-7)),
    ],
)
def test_phases_of_large_groups_at_once_are_their_steps_walked(name, topology):
    """To the picosecond, for ranks that come within the time of a few steps, and one very late."""
    ranks = topology.ranks
    ready = np.random.default_rng(ranks).integers(0, 10**7, ranks)
    ready[5] = 10**9
    schedule, options = ALGORITHMS[name](ranks), {"ready_ps": ready, "reduce_seconds_per_byte": 1e-12}
    *_, walked = price_by_step(schedule, topology, 10**7, **options)
    assert np.array_equal(price(schedule, topology, 10**7, **options), walked)


@settings(max_examples=80)
@given(
    which=st.sampled_from([*EVERY, ("all_reduce", "in_switch")]),
    ranks=st.integers(1, 24),
    payload=st.integers(0, 10**7),
    gamma=st.sampled_from([0.0, 1e-12, 1e-10]),
)
def test_ranks_that_are_ready_together_need_no_clocks(which, ranks, payload, gamma):
    """The short cut for symmetric schedules is the general way, to the picosecond."""
    operation, name = which
    schedule, topology = COLLECTIVES[operation][name](ranks), switched(ranks, 100e9, 1e-6)
    options = {"step_seconds": 1e-7, "reduce_seconds_per_byte": gamma}
    short = price(schedule, topology, payload, **options)
    assert np.array_equal(short, price(schedule, topology, payload, ready_ps=np.zeros(ranks, np.int64), **options))


def test_ranks_that_only_send_do_not_wait_for_what_they_sent():
    """Alike as they are, the switch is not like them: the latency of their messages is its own to wait for."""
    to_switch, topology = ALGORITHMS["in_switch"](8).phases[0], switched(8, 100e9, 1e-6)
    finish = price(Schedule("to the switch", 8, 8, (to_switch,)), topology, 10**6)
    assert finish.tolist() == [picoseconds(10**6 / 100e9)] * 8


@settings(max_examples=40)
@given(name=st.sampled_from(sorted(ALGORITHMS)), ranks=st.integers(2, 12), late=st.integers(0, 10**9))
def test_a_straggler_delays_nobody_more_than_itself(name, ranks, late):
    topology = switched(ranks, 100e9, 1e-6)
    ready = np.zeros(ranks, dtype=np.int64)
    ready[ranks // 2] = late
    on_time = price(ALGORITHMS[name](ranks), topology, 2**20)
    delayed = price(ALGORITHMS[name](ranks), topology, 2**20, ready_ps=ready)
    assert np.all(delayed >= on_time)
    assert delayed.max() <= on_time.max() + late
    assert np.all(delayed > late), "nobody has the sum before the last rank has given its share"


def test_a_broadcast_does_not_wait_for_those_it_does_not_pass_through():
    topology, ready = switched(8, 100e9, 1e-6), np.zeros(8, dtype=np.int64)
    ready[7] = 10**9  # a leaf of the tree
    broadcast = COLLECTIVES["broadcast"]["binomial_tree"](8)
    on_time, delayed = price(broadcast, topology, 2**20), price(broadcast, topology, 2**20, ready_ps=ready)
    assert np.array_equal(on_time[:7], delayed[:7])
    assert delayed[7] == 10**9, "what it has not read yet waits in its buffer"


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


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(ALGORITHMS)), ranks=st.integers(2, 40), payload=st.integers(0, 10**8), data=st.data()
)
def test_no_all_reduce_beats_the_ports_of_its_ranks(name, ranks, payload, data):
    """Without a switch that adds, a rank sends 2 (p-1)/p n at least, whatever the algorithm; with one, n."""
    kinds = [
        switched(ranks, 100e9, 1e-6),
        fat_tree((2, -(-ranks // 2)), 100e9, 1e-6),
        fully_connected(ranks, 1e11, 1e-6),
    ]
    topology = data.draw(st.sampled_from(kinds[:1] if name == "in_switch" else kinds))
    bytes_sent = payload if name == "in_switch" else 2 * (ranks - 1) / ranks * payload
    assert price(ALGORITHMS[name](ranks), topology, payload).max() / 1e12 >= 1e-6 + bytes_sent / 100e9 * (1 - 1e-9)


def test_schedule_and_topology_must_agree():
    topology = Topology((Level("switch", 4, 1e9, 1e-6),))
    with pytest.raises(ValueError, match="schedule is for 8 ranks, the topology has 4"):
        price(ring(8), topology, 1)
    with pytest.raises(ValueError, match="expected \\(4,\\)"):
        price(ring(4), topology, 1, ready_ps=np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="a payload of -1 bytes was asked for; it cannot be negative"):
        price(ring(4), topology, -1)
    with pytest.raises(ValueError, match="no switch that could reduce"):
        price(ALGORITHMS["in_switch"](4), Topology((Level("ring", 4, 1e9, 1e-6),)), 1)
