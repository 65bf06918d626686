"""Algorithms set up for the links at hand are never slower than as they come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectives.algorithms import ALGORITHMS, COLLECTIVES, hierarchical
from collectives.algorithms.torus import torus_3d
from collectives.price import price
from collectives.step_times import Costs
from collectives.topology import Level, Topology, fat_tree, switched, torus
from collectives.tuned import tuned
from collectives.verify import verify


@settings(max_examples=40)
@given(
    operation=st.sampled_from(sorted(COLLECTIVES)),
    ranks=st.integers(1, 24),
    payload=st.integers(0, 10**8),
    data=st.data(),
)
def test_tuning_is_correct_and_never_slower_on_a_switch(operation, ranks, payload, data):
    name = data.draw(st.sampled_from(sorted(COLLECTIVES[operation])))
    topology = switched(ranks, 50e9, 1e-6)
    made = tuned(operation, name, ranks, topology, payload, Costs(1e-7, 1e-12))
    verify(made, topology)
    options = Costs(1e-7, 1e-12)._asdict()
    # Where the payload is shorter than the usual pieces it is cut into fewer.
    usual = COLLECTIVES[operation][name](ranks)
    assert price(made, topology, payload, **options).max() <= price(usual, topology, payload, **options).max()


def test_pieces_grow_with_the_payload():
    topology = switched(64, 50e9, 1e-6)
    chunks = [tuned("all_reduce", "double_binary_tree", 64, topology, size).chunks for size in (0, 10**4, 10**6, 10**9)]
    assert chunks == sorted(chunks)
    assert chunks[0] < chunks[-1]


def test_nodes_and_sides_are_those_of_the_levels():
    nodes = Topology((Level("switch", 4, 450e9, 1e-6), Level("switch", 6, 50e9, 3e-6)))
    assert tuned("all_reduce", "hierarchical", 24, nodes, 2**20) is hierarchical(24, node_ranks=4)
    assert tuned("all_reduce", "torus_3d", 24, torus((2, 3, 4), 1e9, 1e-6), 2**20) is torus_3d(24, sides=(2, 3, 4))


@pytest.mark.parametrize("topology", [torus((3, 8), 1e9, 1e-6), fat_tree((4, 6), 1e9, 1e-6), torus((24,), 1e9, 1e-6)])
def test_where_nothing_fits_algorithms_choose_for_themselves(topology):
    for name in ("swing", "torus_3d"):
        assert tuned("all_reduce", name, 24, topology, 2**20).chunks == ALGORITHMS[name](24).chunks
