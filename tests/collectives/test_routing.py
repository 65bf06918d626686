"""What messages share on their ways: routes equal walking every message link by link."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectives.routing import MissingLink, route
from collectives.schedule import SWITCH
from collectives.topology import Level, Topology, fat_tree, fully_connected, switched, torus


def links_walked(topology: Topology, source: int, destination: int) -> tuple[float, list[tuple]]:
    """(latency, names of the links) of one message in a torus, a mesh or a fat tree, one link after the other."""
    sizes = [level.size for level in topology.levels]
    units = [prod(sizes[:height]) for height in range(len(sizes))]
    if topology.levels[0].shape == "switch":
        top = max(height for height, unit in enumerate(units) if source // unit != destination // unit)
        ports = [(0, "out", source), (0, "in", destination)]
        shared = [(height, "up", source // units[height]) for height in range(1, top + 1)]
        shared += [(height, "down", destination // units[height]) for height in range(1, top + 1)]
        return topology.levels[top].latency, ports + shared
    latency, names, at = 0.0, [], source
    for height, level in enumerate(topology.levels):
        unit = units[height]
        goal = destination // unit % level.size
        place = at // unit % level.size
        around = (goal - place) % level.size
        step = 1 if (goal > place if level.shape == "line" else around <= level.size - around) else -1
        while place != goal:
            names.append((height, step, at))
            after = (place + step) % level.size
            at, place = at + (after - place) * unit, after
            latency += level.latency
    return latency, names


tori = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda sides: torus(tuple(sides), 1e9, 1e-6))
meshes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(
    lambda sides: torus(tuple(sides), 1e9, 1e-6, wraps=False)
)
trees = st.builds(
    lambda radices, over: fat_tree(tuple(radices), 1e9, 1e-7, oversubscription=over),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from([1.0, 2.0, 3.0]),
)


@settings(max_examples=200)
@given(topology=st.one_of(tori, meshes, trees), seed=st.integers(0, 2**16), count=st.integers(1, 30))
def test_routes_equal_walking_every_link(topology, seed, count):
    random = np.random.default_rng(seed)
    source, destination = random.integers(0, topology.ranks, (2, count))
    different = source != destination
    source, destination = source[different], destination[different]
    sizes = random.integers(1, 5, len(source))
    walked = [links_walked(topology, *ends) for ends in zip(source.tolist(), destination.tolist(), strict=True)]
    load: defaultdict[tuple, int] = defaultdict(int)
    for (_, names), size in zip(walked, sizes, strict=True):
        for name in names:
            load[name] += size
    ways = route(topology, source, destination, sizes)
    np.testing.assert_allclose(ways.latency, [latency for latency, _ in walked])
    slowest = [max(load[name] / topology.levels[name[0]].bandwidth for name in names) for _, names in walked]
    np.testing.assert_allclose(ways.load / ways.bandwidth, slowest)


@pytest.mark.parametrize(
    ("ends", "nanoseconds"), [((0, 1), 4932), ((0, 2), 10265), ((0, 16), 23531)], ids=["ring", "full mesh", "switch"]
)
def test_astra_sim_unit_test_of_three_dimensions(ends, nanoseconds):
    """[Ring 2 200 GB/s 50 ns, FullyConnected 8 100 500, Switch 4 50 2000], 1 MiB; a switch there is two links."""
    gib = 2**30
    levels = (
        Level("ring", 2, 200 * gib, 50e-9),
        Level("fully_connected", 8, 7 * 100 * gib, 500e-9),
        Level("switch", 4, 50 * gib, 2 * 2000e-9),
    )
    ways = route(Topology(levels), np.array([ends[0]]), np.array([ends[1]]), np.array([2**20]))
    assert int((ways.latency + ways.load / ways.bandwidth)[0] * 1e9) == nanoseconds


@pytest.mark.parametrize(
    ("topology", "nanoseconds"),
    [
        (torus((8,), 50 * 2**30, 500e-9), 21031),
        (fully_connected(8, 7 * 50 * 2**30, 500e-9), 20031),
        (switched(8, 50 * 2**30, 2 * 500e-9), 20531),
    ],
    ids=["ring", "full mesh", "switch"],
)
def test_astra_sim_unit_tests_of_one_dimension(topology, nanoseconds):
    ways = route(topology, np.array([1]), np.array([4]), np.array([2**20]))
    assert int((ways.latency + ways.load / ways.bandwidth)[0] * 1e9) == nanoseconds


def test_uplinks_are_shared_by_all_ranks_below_them():
    tree = fat_tree((4, 2), 100e9, 1e-7, oversubscription=2.0)
    near = np.array([0, 1, 2, 3])
    ways = route(tree, near, near + 4, np.ones(4, dtype=np.int64))
    # Four messages over uplinks of half the four ports together.
    np.testing.assert_allclose(ways.load / ways.bandwidth, 4 / (4 * 50e9))
    np.testing.assert_allclose(ways.latency, 3e-7)
    alone = route(tree, near[:1], near[:1] + 4, np.ones(1, dtype=np.int64))
    np.testing.assert_allclose(alone.load / alone.bandwidth, 1 / 100e9)


def test_messages_inside_a_leaf_share_its_ports_with_messages_that_leave_it():
    tree = fat_tree((4, 2), 100e9, 1e-7)
    ways = route(tree, np.array([0, 0]), np.array([1, 5]), np.ones(2, dtype=np.int64))
    np.testing.assert_allclose(ways.load / ways.bandwidth, 2 / 100e9)


def test_full_bisection_has_no_contention_above_the_ports():
    tree = fat_tree((4, 4, 4), 100e9, 1e-7)
    rank = np.random.default_rng(0).permutation(64)
    ways = route(tree, np.arange(64), rank, np.ones(64, dtype=np.int64))
    assert np.all((ways.load / ways.bandwidth)[rank != np.arange(64)] <= 1 / 100e9)


def test_ways_that_do_not_exist_are_refused():
    def refused(topology: Topology, source: int, destination: int) -> str:
        with pytest.raises(MissingLink) as error:
            route(topology, np.array([source]), np.array([destination]), np.array([1]))
        return str(error.value)

    alone = Topology((Level("ring", 4, 1e9, 1e-6, forwarding=False), Level("ring", 4, 1e9, 1e-6, forwarding=False)))
    assert "no link from rank 0 to rank 2: on a ring" in refused(alone, 0, 2)
    assert "no link from rank 0 to rank 5" in refused(alone, 0, 5)
    assert "rank 16 has no link at all: the topology has 16 ranks" in refused(alone, 0, 16)
    assert "ring level has no switch that could reduce" in refused(alone, 0, SWITCH)
    assert "tree" not in refused(fat_tree((4, 2), 1e9, 1e-6), 5, SWITCH)
    assert "fully_connected level has no switch" in refused(fully_connected(4, 1e9, 1e-6), 0, SWITCH)


def test_every_direction_of_a_ring_is_a_link_of_its_own():
    rank = np.arange(6)
    both = route(
        torus((6,), 1e9, 1e-6),
        np.tile(rank, 2),
        np.concatenate([(rank + 1) % 6, (rank - 1) % 6]),
        np.ones(12, dtype=np.int64),
    )
    assert Counter(both.load.tolist()) == {1.0: 12}
