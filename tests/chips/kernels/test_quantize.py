"""Activations are quantized by kernels of their own, and weights of few bits become 16 bits on their way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chips.kernels.matmul.price import price_matmul
from chips.kernels.quantize import ROW_STEP_CYCLES, price_quantize, price_scale_search
from chips.spec import load_gpu

ROWS = np.array([1, 16, 256, 4096, 16384])


@pytest.mark.parametrize("name", ["h100", "a100", "b200", "l40s"])
def test_quantizing_takes_no_less_than_its_bytes_and_more_rows_and_columns_take_no_less(name: str) -> None:
    chip = load_gpu(name)
    for price in (price_scale_search, price_quantize):
        times = [price(chip, ROWS, columns) for columns in (32, 2048, 8192)]
        assert not any(time.beats_bound.any() for time in times)
        assert all((np.diff(time.seconds) >= 0).all() for time in times)
        assert (np.diff([time.seconds for time in times], axis=0) >= 0).all()


def test_rows_take_turns_at_the_word_that_holds_the_scale() -> None:
    chip = load_gpu("h100")
    few, many = price_scale_search(chip, [8192, 16384], 32).seconds
    turn = chip.generation.vector.atomic_cycles / chip.compute.highest_clock_hz
    steps = (math.ceil(16384 / 132) - math.ceil(8192 / 132)) * ROW_STEP_CYCLES / chip.compute.highest_clock_hz
    assert many - few == pytest.approx(8192 * turn + steps, rel=0.05)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="columns of a tensor to quantize is 0"):
        price_quantize(load_gpu("h100"), 1, 0)


@pytest.mark.parametrize("name", ["h100", "a100", "b200", "l40s"])
def test_stored_weights_stream_in_fewer_bytes_and_multiply_no_faster(name: str) -> None:
    chip = load_gpu(name)
    unlimited = chip.model_copy(update={"power_watts": 1e6})
    few, many = (
        [price_matmul(unlimited, m, 8192, 8192, stored_bits=bits) for m in (1, 8192)] for bits in (None, 4.125)
    )
    assert few[0].seconds > many[0].seconds
    if name != "l40s":  # whose L2 holds large products up, as far as operands are 16 bits
        assert few[1].seconds <= many[1].seconds * 1.02
    assert not any(time.beats_bound.any() for time in many)
    eight = price_matmul(unlimited, 1, 8192, 8192, stored_bits=8.125).seconds
    assert many[0].seconds < eight < few[0].seconds


def test_stored_weights_are_multiplied_in_16_bits_only() -> None:
    with pytest.raises(ValueError, match=r"weights of 4\.125 bits become 16-bit ones"):
        price_matmul(load_gpu("h100"), 1, 64, 64, precision="fp8", stored_bits=4.125)
