"""Joules of events: what the tables say, what a power limit allows, and totals against published watts."""

from __future__ import annotations

import numpy as np
import pytest

from chips.energy import DYNAMIC, process_energy
from chips.kernels.attention.price import price_attention_decode
from chips.kernels.matmul.price import price_matmul
from chips.kernels.vector import price_vector
from chips.spec import chip_names, load_chip, load_gpu

EVENTS = {
    "flops": 3e9,
    "instructions": 2e8,
    "memory_bytes": 5e7,
    "chip_bytes": 4e7,
    "link_bytes": 1e6,
    "register_bytes": 2e8,
}


def test_a_node_between_the_published_ones_lies_between_them():
    assert process_energy(45).fp32_add == pytest.approx(0.9e-12)
    assert process_energy(7).fp32_add == pytest.approx(0.38e-12)
    for smaller, larger in zip(process_energy(5), process_energy(7), strict=True):
        assert smaller < larger
    for smaller, larger in zip(process_energy(7), process_energy(28), strict=True):
        assert smaller < larger


@pytest.mark.parametrize("name", chip_names())
def test_events_are_linear_and_every_kind_of_them_costs(name):
    events = load_chip(name).events
    whole = events.joules(**EVENTS)
    apart = sum(events.joules(**{kind: count}) for kind, count in EVENTS.items())
    assert whole.shape == (len(DYNAMIC),)
    np.testing.assert_allclose(whole, apart)
    for kind, count in EVENTS.items():
        alone = events.joules(**{kind: count})
        assert alone.min() >= 0, kind
        assert alone.sum() > 0, kind
        np.testing.assert_allclose(events.joules(**{kind: count / 2}), alone / 2)


@pytest.mark.parametrize("name", chip_names())
def test_no_work_draws_more_than_the_limit_and_a_little_work_draws_what_it_takes(name):
    events = load_chip(name).events
    joules = events.joules(flops=1e15, memory_bytes=1e9)
    seconds = np.array([1e-3, 1.0, 1e3, 1e6])
    for second in seconds:
        drawn = events.within_limit(joules, second)
        assert drawn.sum() <= max((events.power_watts - events.static_watts) * second, joules[DYNAMIC.index("hbm")]) * (
            1 + 1e-12
        )
        assert drawn[DYNAMIC.index("hbm")] == joules[DYNAMIC.index("hbm")]
    np.testing.assert_array_equal(events.within_limit(joules, 1e6), joules)


def test_a_long_product_draws_the_limit_and_its_clock_is_the_one_that_this_allows():
    chip = load_gpu("h100")
    time = price_matmul(chip, 8192, 8192, 8192)
    watts = time.joules.sum() / time.seconds + chip.events.static_watts
    assert watts == pytest.approx(chip.power_watts, rel=0.02)
    free = chip.model_copy(update={"power_watts": 1e6})
    assert price_matmul(free, 8192, 8192, 8192).seconds < time.seconds


@pytest.mark.parametrize("name", ["h100", "a100", "l40s"])
def test_kernels_that_do_more_take_more_joules(name):
    chip = load_gpu(name)
    products = price_matmul(chip, [16, 64, 256, 1024, 8192], 4096, 4096).joules.sum(axis=0)
    assert (np.diff(products) > 0).all()
    assert price_matmul(chip, 64, 4096, 4096).joules.sum() == pytest.approx(products[1])
    contexts = price_attention_decode(chip, 8, [512, 2048, 8192], 32, 8, 128).joules.sum(axis=0)
    assert (np.diff(contexts) > 0).all()
    halves = price_vector(chip, [1e9, 5e8], 0.0, 1e8).joules.sum(axis=0)
    assert halves[1] < halves[0]


def test_published_watts_of_gpus_that_read_at_full_rate():
    """A GH200 draws 572 W at 3.76 TB/s; an L40S 210 W at 844 GB/s, 294 W with 13.7 TFLOP/s of fp32 beside it."""
    gh200, l40s = load_chip("gh200").events, load_chip("l40s").events
    assert gh200.static_watts + gh200.joules(memory_bytes=3.76e12).sum() == pytest.approx(572, rel=0.02)
    assert l40s.static_watts + l40s.joules(memory_bytes=844e9).sum() == pytest.approx(210, rel=0.05)
    both = l40s.joules(memory_bytes=844e9, instructions=13.7e12 / 2).sum()
    assert l40s.static_watts + both == pytest.approx(294, rel=0.06)


def test_the_clock_falls_with_the_cube_root_of_power_down_to_the_lowest_voltage_and_then_with_power():
    events = load_gpu("h100").events
    allowed, least = events.power_watts - events.static_watts, events.least_voltage
    asked = np.array([0.5, 1.0, 1.5, least**-3, 4.0, 8.0])
    stretch = 1.0 + events.slower_clock(np.ones(6), asked * allowed, np.ones(6), 0.0)
    assert stretch == pytest.approx([1.0, 1.0, 1.5 ** (1 / 3), 1 / least, 4.0 * least**2, 8.0 * least**2])


@pytest.mark.parametrize(("tera", "megahertz"), [(27.1, 2430), (32.1, 2370)])
def test_an_l40s_at_its_limit_of_353_watts_runs_at_the_clock_that_was_measured(tera, megahertz):
    events = load_chip("l40s").events._replace(power_watts=353.0)
    joules = events.joules(memory_bytes=841e9, instructions=tera * 1e12 / 2 * 2520 / megahertz).sum()
    slower = events.slower_clock(np.array(1.0), np.array(joules), np.array(1.0), 0.0)
    assert 2520 / (1 + slower) == pytest.approx(megahertz, rel=0.03)
