"""The price of a schedule equals the textbook's alpha-beta-gamma formulas and ASTRA-sim's closed forms."""

from __future__ import annotations

from math import ceil, floor, log2

import numpy as np
import pytest

from collectives.algorithms import ALGORITHMS, COLLECTIVES, hierarchical, in_switch, one_shot, ring, two_shot
from collectives.algorithms.swing import swing
from collectives.algorithms.torus import torus_2d, torus_3d
from collectives.algorithms.trees import double_binary_tree
from collectives.price import price
from collectives.topology import Level, Topology, fat_tree, fully_connected, switched, torus

ALPHA, BANDWIDTH, GAMMA = 1.5e-6, 200e9, 1 / 800e9
BETA = 1 / BANDWIDTH


def switch(ranks: int, shape: str = "switch") -> Topology:
    return Topology((Level(shape, ranks, BANDWIDTH, ALPHA),))


def seconds(schedule, topology, payload, **options) -> float:
    finish = price(schedule, topology, payload, **options)
    assert np.ptp(finish) == 0, "symmetric ranks finish together"
    return int(finish[0]) / 1e12


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 13, 16])
def test_all_reduce_costs_what_the_textbook_says(ranks):
    n = ranks * 2**16
    rest = (ranks - 1) / ranks
    expected = {
        ring: 2 * (ranks - 1) * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
        one_shot: ALPHA + (ranks - 1) * n * (BETA + GAMMA),
        two_shot: 2 * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
        in_switch: 4 * ALPHA + (1 + 1 / ranks) * n * BETA,
    }
    for algorithm, formula in expected.items():
        time = seconds(algorithm(ranks), switch(ranks), n, reduce_seconds_per_byte=GAMMA)
        assert time == pytest.approx(formula, rel=1e-6), algorithm.__name__


@pytest.mark.parametrize("ranks", [2, 4, 8, 16, 32])
def test_all_reduce_between_a_power_of_two_costs_what_the_textbook_says(ranks):
    n, steps, rest = ranks * 2**16, int(log2(ranks)), (ranks - 1) / ranks
    expected = {
        "recursive_doubling": steps * (ALPHA + n * BETA + n * GAMMA),
        "halving_doubling": 2 * steps * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
        "bruck": 2 * steps * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
        "swing": 2 * steps * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
        "binomial_tree": 2 * steps * (ALPHA + n * BETA) + steps * n * GAMMA,
    }
    for name, formula in expected.items():
        time = price(ALGORITHMS[name](ranks), switch(ranks), n, reduce_seconds_per_byte=GAMMA).max() / 1e12
        assert time == pytest.approx(formula, rel=1e-6), name


@pytest.mark.parametrize("ranks", [3, 5, 6, 7, 13, 24, 33])
def test_all_reduce_between_other_numbers_costs_at_most_what_the_textbook_says(ranks):
    """Ranks that do not fold, and leaves, send early: some latencies and sums pass while others still wait."""
    n, low, high, rest = ranks * 2**16, floor(log2(ranks)), ceil(log2(ranks)), (ranks - 1) / ranks
    at_most = {
        "recursive_doubling": (low + 2) * (ALPHA + n * BETA) + (low + 1) * n * GAMMA,
        "halving_doubling": (2 * low + 2) * ALPHA + (2 * rest + 2) * n * BETA + (1 + rest) * n * GAMMA,
        "swing": (2 * low + 2) * ALPHA + (2 * rest + 2) * n * BETA + (1 + rest) * n * GAMMA,
        "binomial_tree": 2 * high * (ALPHA + n * BETA) + high * n * GAMMA,
        "bruck": 2 * high * ALPHA + 2 * rest * n * BETA + rest * n * GAMMA,
    }
    for name, formula in at_most.items():
        time = price(ALGORITHMS[name](ranks), switch(ranks), n, reduce_seconds_per_byte=GAMMA).max() / 1e12
        # Chunks of halving are n / 2**low, cut from a payload that they need not divide.
        assert max(2 * rest * n * BETA, formula / 2) <= time <= formula * (1 + 1e-6) + 1e-9, name


@pytest.mark.parametrize("ranks", [3, 8, 9])  # of 2 ranks either is the shorter way to the other
def test_both_directions_of_a_ring_halve_its_bandwidth_term(ranks):
    n = 2 * ranks * 2**16
    formula = 2 * (ranks - 1) * ALPHA + (ranks - 1) / ranks * n * BETA
    assert seconds(ALGORITHMS["bidirectional_ring"](ranks), torus((ranks,), BANDWIDTH, ALPHA), n) == pytest.approx(
        formula, rel=1e-6
    )


@pytest.mark.parametrize(("algorithm", "sides"), [(torus_2d, (4, 4)), (torus_2d, (8, 8)), (torus_3d, (4, 4, 4))])
def test_a_torus_uses_all_links_of_a_rank_at_once(algorithm, sides):
    ranks, dimensions = int(np.prod(sides)), len(sides)
    n = ranks * 2 * dimensions * 2**12
    steps = sum(2 * (side - 1) for side in sides)
    formula = steps * ALPHA + 2 * (ranks - 1) / ranks * n * BETA / (2 * dimensions)
    assert seconds(algorithm(ranks, sides), torus(sides, BANDWIDTH, ALPHA), n) == pytest.approx(formula, rel=1e-6)


@pytest.mark.parametrize("sides", [(4, 4), (8, 8), (16, 16), (4, 4, 4)])
def test_swing_has_the_congestion_of_its_paper(sides):
    """A message of step s goes delta(s / D) hops and shares each with as many (arXiv 2401.09356)."""
    ranks, dimensions = int(np.prod(sides)), len(sides)
    n, steps = ranks * 2 * dimensions * 2**12, int(log2(ranks))
    delta = [(2 ** (s // dimensions + 1) - (-1) ** (s // dimensions + 1)) // 3 for s in range(steps)]
    congestion = sum(distance / 2 ** (s + 1) for s, distance in enumerate(delta))
    formula = 2 * sum(delta) * ALPHA + 2 * n * congestion * BETA / (2 * dimensions)
    assert seconds(swing(ranks, sides), torus(sides, BANDWIDTH, ALPHA), n) == pytest.approx(formula, rel=1e-6)


@pytest.mark.parametrize("ranks", [2, 4, 7, 8, 32, 64])
@pytest.mark.parametrize("pieces", [1, 16, 64])
def test_double_binary_tree_is_its_depth_and_a_step_a_piece(ranks, pieces):
    n, depth = pieces * 2**20, floor(log2(ranks)) + 1
    time = price(double_binary_tree(ranks, pieces), switch(ranks), n).max() / 1e12
    steps = 2 * depth - 1 + pieces
    # Every port carries at most three messages of one tree and one of the other in a step, each n / (2 pieces).
    assert time <= steps * (ALPHA + 2 * n / pieces * BETA)
    # Leaves send the whole of their half and interior ranks three halves, except where one rank is all there is.
    assert time >= pieces * ALPHA + (2 if ranks > 3 else 1) * n * BETA * 0.99


@pytest.mark.parametrize("ranks", [3, 8])
def test_full_mesh_costs_direct_algorithms_no_more_than_a_switch(ranks):
    for algorithm in (one_shot, two_shot):
        mesh, switched = (
            price(algorithm(ranks), switch(ranks, shape), 2**20) for shape in ("fully_connected", "switch")
        )
        np.testing.assert_allclose(mesh, switched, atol=2)


def test_recursive_doubling_on_a_ring_pays_for_hops_and_shared_links():
    ranks, n = 8, 2**20
    expected = sum(2**step * ALPHA + 2**step * n * BETA for step in range(3))
    # At distance p/2 both ways round are as long, and all go clockwise: every link carries p/2 messages.
    time = seconds(ALGORITHMS["recursive_doubling"](ranks), switch(ranks, "ring"), n)
    assert time == pytest.approx(expected, rel=1e-6)


def test_hierarchical_costs_the_sum_of_its_levels():
    g, k, n, alpha_x, beta_x = 8, 4, 2**22, 5e-6, 1 / 50e9
    topology = Topology((Level("switch", g, BANDWIDTH, ALPHA), Level("switch", k, 1 / beta_x, alpha_x)))
    inside = 2 * (g - 1) * ALPHA + 2 * (g - 1) / g * n * BETA
    between = 2 * (k - 1) * alpha_x + 2 * (k - 1) / k * n / g * beta_x
    assert seconds(hierarchical(g * k, g), topology, n) == pytest.approx(inside + between, rel=1e-6)


def test_oversubscribed_uplinks_slow_flat_algorithms_and_not_hierarchical_ones():
    """64 ranks, 8 a leaf switch, uplinks of a quarter: what leaves a leaf counts."""
    n = 64 * 2**20
    tree = fat_tree((8, 8), BANDWIDTH, ALPHA, oversubscription=4.0)
    uplink = 8 * BANDWIDTH / 4
    two_shot_time = seconds(two_shot(64), tree, n)
    # 8 ranks send 56 of 64 chunks each to other leaves.
    assert two_shot_time == pytest.approx(2 * 3 * ALPHA + 2 * 8 * 56 / 64 * n / uplink, rel=1e-6)
    # A ring in the order of ranks leaves each leaf once, hierarchical sends 1/8 of the payload from all 8 ranks.
    assert price(ring(64), tree, n).max() / 1e12 < seconds(hierarchical(64, 8), tree, n) < two_shot_time


@pytest.mark.parametrize("ranks", [2, 3, 8, 12])
def test_other_collectives_cost_what_the_textbook_says(ranks):
    n, rest, high = ranks**2 * 2**12, (ranks - 1) / ranks, ceil(log2(ranks))
    pieces = 16
    expected = {
        ("reduce_scatter", "ring"): (ranks - 1) * ALPHA + rest * n * (BETA + GAMMA),
        ("all_gather", "ring"): (ranks - 1) * ALPHA + rest * n * BETA,
        ("reduce_scatter", "bruck"): high * ALPHA + rest * n * (BETA + GAMMA),
        ("all_gather", "bruck"): high * ALPHA + rest * n * BETA,
        ("reduce_scatter", "direct"): ALPHA + rest * n * (BETA + GAMMA),
        ("all_gather", "direct"): ALPHA + rest * n * BETA,
        # A rank that only sends need not wait for latency: it is paid once a hop, not once a step.
        ("broadcast", "ring"): (ranks - 1) * ALPHA + (ranks - 2 + pieces) * n / pieces * BETA,
        ("all_to_all", "pairwise"): (ranks - 1) * ALPHA + rest * n * BETA,
        ("all_to_all", "direct"): ALPHA + rest * n * BETA,
        ("send_receive", "ring"): ALPHA + n * BETA,
    }
    if ranks == 2**high:
        expected["all_to_all", "bruck"] = high * (ALPHA + n / 2 * BETA)
        expected["broadcast", "binomial_tree"] = high * (ALPHA + n * BETA)
    for (operation, name), formula in expected.items():
        finish = price(COLLECTIVES[operation][name](ranks), switch(ranks), n, reduce_seconds_per_byte=GAMMA)
        assert finish.max() / 1e12 == pytest.approx(formula, rel=1e-6), (operation, name)


@pytest.mark.parametrize(("operation", "name"), [(o, n) for o, named in COLLECTIVES.items() for n in named])
def test_one_rank_and_no_bytes(operation, name):
    algorithm = COLLECTIVES[operation][name]
    assert price(algorithm(1), switch(1), 2**20).tolist() == [0]
    nothing = price(algorithm(8), switch(8), 0)
    steps = sum(phase.count for phase in algorithm(8).phases)
    assert 0 < nothing.max() <= steps * 1.5e6, "no bytes cost the latency of the steps alone"


# Published results of ASTRA-sim: 50 "GB/s" (of 2**30), 500 ns, endpoint delay 10 ns, the buffer in 4 splits, three
# passes over the local memory a reduction. (algorithm, shape, ranks, bytes a split, memory GB/s, steps, result in ns)
RATE, LATENCY, DELAY, SPLITS = 50 * 2**30, 500e-9, 10e-9, 4
PUBLISHED = {
    "AllReduce, ring of 8, slow memory": (ring, "ring", 8, 2**18, 50, 14, 117780),
    "AllReduce, ring of 4": (ring, "ring", 4, 2**18, 1600, 6, 43000),
    "AllReduce, ring of 8": (ring, "ring", 8, 2**18, 1600, 14, 64440),
    "AllReduce, ring of 16": (ring, "ring", 16, 2**18, 1600, 30, 99640),
    "ReduceScatter, ring of 4": (COLLECTIVES["reduce_scatter"]["ring"], "ring", 4, 2**18, 1600, 3, 22240),
    # The payload of an AllGather counts every rank's input there, the whole result here.
    "AllGather, ring of 16": (COLLECTIVES["all_gather"]["ring"], "ring", 16, 16 * 2**18, 1600, 15, 323560),
    "tutorial, next to nothing on a ring of 8": (ring, "ring", 8, 8, 1600, 14, 28600),
    "tutorial, next to nothing on a full mesh of 8": (two_shot, "fully_connected", 8, 8, 1600, 2, 4120),
}


@pytest.mark.parametrize("row", PUBLISHED)
def test_astra_sim_published_results(row):
    """ASTRA-sim truncates every step to whole nanoseconds and every pass of a reduction, so may be less."""
    algorithm, shape, ranks, split, memory, steps, published = PUBLISHED[row]
    # Its full mesh gives every pair the whole bandwidth, so a rank here has p-1 times as much.
    rate = RATE * (ranks - 1) if shape == "fully_connected" else RATE
    topology = Topology((Level(shape, ranks, rate, LATENCY),))
    time = price(algorithm(ranks), topology, split, step_seconds=DELAY, reduce_seconds_per_byte=3 / (memory * 1e9))
    nanoseconds = SPLITS * (10 + time[0] / 1000)
    truncated = SPLITS * (steps + 3 * steps)
    assert published <= nanoseconds <= published + truncated
    assert nanoseconds == pytest.approx(published, rel=3e-3)


@pytest.mark.parametrize("ranks", [4, 16, 64, 1024])
@pytest.mark.parametrize("n", [2**16, 2**22, 2**30])
def test_astra_sim_closed_forms(ranks, n):
    """Its three single-dimension AllReduces, S (d + sum of steps (sigma + d)), without truncation and reduction."""
    split = n // SPLITS
    halves = [split / 2**step for step in range(1, int(log2(ranks)) + 1)]
    # A step of recursive halving is one message, so a link of its own for it has the rate of ASTRA-sim's mesh.
    forms = [
        (ring, torus((ranks,), RATE, LATENCY), 2 * (ranks - 1) * [split / ranks]),
        (ALGORITHMS["halving_doubling"], switched(ranks, RATE, LATENCY), 2 * halves),
    ]
    if ranks <= 64:
        forms.append((two_shot, fully_connected(ranks, RATE * (ranks - 1), LATENCY), 2 * [split / ranks]))
    for algorithm, topology, sizes in forms:
        time = price(algorithm(ranks), topology, split, step_seconds=DELAY)
        formula = sum(LATENCY + size / RATE + DELAY for size in sizes)
        assert time[0] / 1e12 == pytest.approx(formula, rel=1e-6)
