"""Joules are conserved: parts sum, order changes nothing, idle time costs static power, less never costs more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.spec import load_chip
from cluster import Cluster
from results.schema import CAUSE_JOULES, PART_JOULES
from results.words import PARTS
from scenarios.energy import step_joules, told
from scenarios.framework import default_framework
from scenarios.point import make_point
from scenarios.pricing import compare, price
from scenarios.workload.operators import Attention, Collective, Elementwise, MatrixProduct, Segment, Step

CHIPS = ("h100", "l40s", "sn40l", "sn10")
FRAMEWORK = default_framework("decode", None)
OPERATORS = (
    MatrixProduct("up", 16, 4096, 4096, "bf16"),
    Attention("attention", 16, 1, 2048, 8, 2, 128, 1024),
    Elementwise("norm", 1e6, 1e6, 4e6, 1e3),
    Collective("AllReduce", "all_reduce", 1e6),
)


@pytest.fixture(scope="module")
def rows():
    frames = [
        compare("llama-3.1-8b", ["h100", "sn40l"], [1, 4], **asked)
        for asked in ({"batch": 8}, {"phase": "prefill"}, {"phase": "request", "context": 256})
    ]
    parallel = "tensor=4,micro-batch=1,sequence,recompute=selective"
    frames.append(compare("llama-3.1-8b", ["h100"], 8, phase="train", batch=8, context=4096, parallel=parallel))
    return [row for frame in frames for _, row in frame[frame["fits"]].iterrows()]


def test_parts_and_causes_sum_to_the_joules_to_the_nanojoule(rows):
    assert len(rows) > 20
    for row in rows:
        for names in (PART_JOULES, CAUSE_JOULES):
            assert sum(round(row[name] * 1e9) for name in names) == round(row["joules"] * 1e9)


def test_no_chip_draws_less_than_its_static_power_or_more_than_its_limit(rows):
    for row in rows:
        chip = load_chip(row["chip"])
        static = chip.events.static_watts
        assert static < row["watts"] <= chip.power_watts * (1 + 1e-9)
        assert row["static_j"] == pytest.approx(static * row["seconds"] * row["working"])
        assert row["joules_low"] < row["joules"] < row["joules_high"]
        assert row["energy_delay"] == pytest.approx(row["joules"] * row["seconds"])
        assert row["joules_per_token"] * row["tokens_per_joule"] == pytest.approx(1)
        assert row["tokens_per_joule"] * row["watts"] * row["working"] == pytest.approx(row["tokens_per_s"])


@pytest.mark.parametrize("chip", CHIPS)
@given(order=st.permutations(range(len(OPERATORS))))
@settings(max_examples=5, deadline=None)
def test_the_order_of_operators_changes_no_joule(chip, order):
    cluster = Cluster(load_chip(chip), 4)
    straight, mixed = (
        step_joules(cluster, "kernel_loop", FRAMEWORK, Step((Segment(tuple(operators)),)))
        for operators in (OPERATORS, [OPERATORS[place] for place in order])
    )
    assert straight.keys() == mixed.keys()
    for part, joules in straight.items():
        np.testing.assert_array_equal(mixed[part], joules)


@pytest.mark.parametrize("chip", CHIPS)
@given(seconds=st.floats(1e-6, 1e3), waits=st.sampled_from(PARTS), working=st.integers(1, 1000))
@settings(max_examples=20, deadline=None)
def test_a_second_of_waiting_costs_exactly_static_power(chip, seconds, waits, working):
    events = load_chip(chip).events
    spent = step_joules(Cluster(load_chip(chip), 1), "kernel_loop", FRAMEWORK, Step((Segment(OPERATORS[:3]),)))
    busy = dict.fromkeys(PARTS, 0.0) | {"matmul": 1.0}
    longer = busy | {waits: busy[waits] + seconds}
    first, second = (told(events, working, parts, spent) for parts in (busy, longer))
    static = events.static_watts * working * seconds
    assert second.joules - first.joules == pytest.approx(static, rel=1e-9, abs=3e-9)
    idle = told(events, working, {"host": seconds}, {})
    assert idle.joules == idle.by_cause["static"] == pytest.approx(static, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("strategy", ["per_operator", "kernel_loop"])
def test_half_the_bytes_never_cost_more(chip, strategy):
    cluster = Cluster(load_chip(chip), 4)

    def joules(operator):
        spent = step_joules(cluster, strategy, FRAMEWORK, Step((Segment((operator,)),)))
        return float(sum(each.sum() for each in spent.values()))

    norm, reduce = OPERATORS[2], OPERATORS[3]
    for large in (1e5, 1e7, 1e9):
        assert joules(replace(norm, bytes_read=large / 2)) < joules(replace(norm, bytes_read=large))
        assert joules(replace(reduce, payload_bytes=large / 2)) < joules(replace(reduce, payload_bytes=large))
    product, attention = OPERATORS[:2]
    assert joules(replace(product, n=product.n // 2)) < joules(product)
    assert joules(replace(attention, context=attention.context // 2)) < joules(attention)


def test_fusing_saves_memory_traffic_where_activations_cross_memory_and_looping_saves_static_power():
    frame = compare("llama-3.1-8b", "sn40l", 8, phase="prefill", context=2048).set_index("strategy")
    assert frame.loc["fused_decoder", "hbm_j"] < frame.loc["per_operator", "hbm_j"]
    decode = compare("llama-3.1-8b", ["sn40l", "h100"], 8).set_index(["chip", "strategy"])
    for chip in ("sn40l", "h100"):
        fused, looped = (decode.loc[(chip, name)] for name in ("fused_decoder", "kernel_loop"))
        assert looped["static_j"] < fused["static_j"]
        assert looped["hbm_j"] == fused["hbm_j"]


def test_a_sweep_says_the_same_joules_as_its_points_alone():
    points = [
        make_point("llama-3.2-1b", chip, 2, strategy=strategy, batch=batch, context=context)
        for chip in ("h100", "sn40l")
        for strategy in ("per_operator", "kernel_loop")
        for batch in (1, 2, 8)
        for context in (128, 500, 512, 1000, 2048, 4096)
    ]
    together = price(points).columns
    for number, point in enumerate(points[::7]):
        alone = price([point]).columns
        for name in ("joules", *PART_JOULES, *CAUSE_JOULES):
            assert together[name][number * 7] == alone[name][0], name


def test_a_rack_of_sixteen_sn40l_draws_what_it_is_published_to():
    """SambaRack SN40L-16: 7 to 14.5 kW, typically 10, with two hosts of 64 cores; the sockets are most of it."""
    for asked in ({"batch": 64, "context": 2048}, {"phase": "prefill", "batch": 8, "context": 8192}):
        row = price([make_point("llama-3.1-70b", "sn40l", 16, strategy="kernel_loop", **asked)]).record()
        assert 3000 < row["watts"] * 16 < 10000
