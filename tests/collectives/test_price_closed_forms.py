"""The price of a schedule equals the textbook's alpha-beta-gamma formulas and ASTRA-sim's closed forms."""

from __future__ import annotations

from math import floor, log2

import numpy as np
import pytest

from collectives.algorithms import hierarchical, in_switch, one_shot, recursive_doubling, ring, two_shot
from collectives.price import price
from collectives.topology import Level, Topology

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


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 13, 16])
def test_recursive_doubling_costs_what_the_textbook_says(ranks):
    n, power = ranks * 2**16, floor(log2(ranks))
    fold = 0 if ranks == 2**power else 1
    time = price(recursive_doubling(ranks), switch(ranks), n, reduce_seconds_per_byte=GAMMA).max() / 1e12
    formula = (power + 2 * fold) * (ALPHA + n * BETA) + (power + fold) * n * GAMMA
    if fold:
        # Ranks that do not fold send early: their latency and the sums of early arrivals pass while partners fold.
        assert formula - power * (ALPHA + n * GAMMA) <= time <= formula
    else:
        assert time == pytest.approx(formula, rel=1e-6)


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
    assert seconds(recursive_doubling(ranks), switch(ranks, "ring"), n) == pytest.approx(expected, rel=1e-6)


def test_hierarchical_costs_the_sum_of_its_levels():
    g, k, n, alpha_x, beta_x = 8, 4, 2**22, 5e-6, 1 / 50e9
    topology = Topology((Level("switch", g, BANDWIDTH, ALPHA), Level("switch", k, 1 / beta_x, alpha_x)))
    inside = 2 * (g - 1) * ALPHA + 2 * (g - 1) / g * n * BETA
    between = 2 * (k - 1) * alpha_x + 2 * (k - 1) / k * n / g * beta_x
    assert seconds(hierarchical(g * k, g), topology, n) == pytest.approx(inside + between, rel=1e-6)


def test_one_rank_and_no_bytes():
    for algorithm in (ring, one_shot, two_shot, in_switch, recursive_doubling):
        assert price(algorithm(1), switch(1), 2**20).tolist() == [0]
    assert seconds(ring(4), switch(4), 0) == pytest.approx(6 * ALPHA)


@pytest.mark.parametrize(
    ("algorithm", "shape", "ranks", "n", "memory", "splits", "published"),
    [
        (ring, "ring", 8, 2**20, 50, 4, 117780),
        (ring, "ring", 4, 2**20, 1600, 4, 43000),
        (ring, "ring", 8, 2**20, 1600, 4, 64440),
        (ring, "ring", 16, 2**20, 1600, 4, 99640),
    ],
)
def test_astra_sim_published_all_reduce(algorithm, shape, ranks, n, memory, splits, published):
    """ASTRA-sim: 50 "GB/s" (of 2**30), 500 ns, endpoint delay 10 ns, the buffer in 4 splits, 3 passes a reduction.

    It truncates every step to whole nanoseconds, so a step may be one and a reduction three longer here.
    """
    topology = Topology((Level(shape, ranks, 50 * 2**30, 500e-9),))
    time = price(
        algorithm(ranks), topology, n // splits, step_seconds=10e-9, reduce_seconds_per_byte=3 / (memory * 1e9)
    )
    nanoseconds = splits * (10 + time[0] / 1000)
    truncated = splits * (2 * (ranks - 1) * 1 + (ranks - 1) * 3)
    assert published <= nanoseconds <= published + truncated


@pytest.mark.parametrize("ranks", [4, 8, 32])
def test_astra_sim_direct_closed_form(ranks):
    """Its full mesh gives every pair the whole bandwidth, so a rank here has p-1 times as much."""
    rate, n, splits = 50 * 2**30, 2**22, 4
    topology = Topology((Level("fully_connected", ranks, rate * (ranks - 1), 500e-9),))
    chunk = n // splits
    time = price(two_shot(ranks), topology, chunk, step_seconds=10e-9)
    sigma = 500 + chunk / ranks / rate * 1e9
    assert time[0] / 1000 == pytest.approx(2 * (sigma + 10), rel=1e-6)
