"""Memory-bound kernels: a start that small data never outgrows, then the slowest of memory, lanes and functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.kernels.kernel_time import LATENCY, MEMORY, VECTOR_UNIT
from chips.kernels.vector import price_vector
from chips.spec import chip_names, load_chip, load_gpu

GPUS = [name for name in chip_names() if load_chip(name).kind == "gpu"]
quantity = st.floats(0, 1e13)
passes = st.integers(1, 5)


@given(st.sampled_from(GPUS), quantity, quantity, quantity, quantity, passes)
def test_never_under_its_bounds(
    name: str, read: float, written: float, operations: float, functions: float, passes: int
) -> None:
    chip = load_gpu(name)
    time = price_vector(chip, read, written, operations, special_functions=functions, passes=passes)
    compute = chip.compute
    assert time.seconds >= time.bound_seconds
    assert time.seconds >= (read + written - chip.on_chip.l2_bytes) / chip.memory.bandwidth
    assert time.seconds >= operations / (compute.units * compute.vector_lanes * compute.clock_hz)
    assert time.seconds >= functions / (compute.units * compute.special_functions_per_clock * compute.clock_hz)
    assert 0.0 < time.fill_drain_seconds <= time.seconds


@given(st.sampled_from(GPUS), quantity, quantity, quantity, st.floats(1, 10), passes)
def test_more_of_anything_takes_no_less(
    name: str, read: float, written: float, operations: float, more: float, passes: int
) -> None:
    chip = load_gpu(name)
    time = price_vector(chip, read, written, operations, passes=passes).seconds
    assert price_vector(chip, more * read, written, operations, passes=passes).seconds >= time
    assert price_vector(chip, read, more * written, operations, passes=passes).seconds >= time
    assert price_vector(chip, read, written, more * operations, passes=passes).seconds >= time
    assert price_vector(chip, read, written, operations, passes=passes + 1).seconds > time


def test_one_token_costs_latency_and_no_bandwidth() -> None:
    """A hidden vector of 8 KB: a dependent chain of some hundred cycles a step, half to 1.5 us in all."""
    time = price_vector(load_gpu("h100"), 16384, 8192, 20000, special_functions=1)
    assert time.limiter == LATENCY
    assert 0.5e-6 < time.seconds < 1.5e-6


def test_long_copy_moves_what_a_copy_was_measured_to_move() -> None:
    """3010 GB/s on an H100 SXM (fast.cu)."""
    time = price_vector(load_gpu("h100"), 4e9, 4e9, 0)
    assert time.limiter == MEMORY
    assert 8e9 / time.seconds == pytest.approx(3010e9, rel=0.02)


def test_exponentials_limit_a_kernel_of_little_data() -> None:
    time = price_vector(load_gpu("h100"), 0, 0, 0, special_functions=1e10)
    assert time.limiter == VECTOR_UNIT
    assert time.seconds == pytest.approx(1e10 / (132 * 16 * 1.83e9), rel=0.01)


@given(st.lists(st.tuples(quantity, quantity, quantity, passes), min_size=1, max_size=10))
def test_arrays_equal_scalars(kernels: list[tuple[float, float, float, int]]) -> None:
    chip = load_gpu("a100")
    read, written, operations, passes = np.array(kernels).T
    together = price_vector(chip, read, written, operations, passes=passes)
    for at, (one_read, one_written, one_operations, one_passes) in enumerate(kernels):
        alone = price_vector(chip, one_read, one_written, one_operations, passes=one_passes)
        assert alone.seconds == together.seconds[at]
        assert alone.limiter == together.limiter[at]


def test_impossible_quantities_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^bytes_read of a vector kernel is -1; it must be at least 0\.$"):
        price_vector(load_gpu("h100"), -1, 0, 0)
    with pytest.raises(ValueError, match=r"^passes of a vector kernel is 0; it must be at least 1\.$"):
        price_vector(load_gpu("h100"), 1, 0, 0, passes=0)
