"""Speed of pricing attention: one call as a simulation point asks for it, and a table of calls at once."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.kernels.attention.price import price_attention_decode, price_attention_prefill
from chips.spec import Gpu, load_gpu

CALLS = 100_000


@pytest.fixture
def h100() -> Gpu:
    return load_gpu("h100")


@pytest.fixture
def sizes() -> tuple[np.ndarray, ...]:
    """Batch, tokens, heads, kv_heads and head_dim of random calls."""
    random = np.random.default_rng(0)
    kv_heads = 2 ** random.integers(0, 4, CALLS)
    return (
        2 ** random.integers(0, 8, CALLS),
        2 ** random.integers(0, 15, CALLS),
        kv_heads * random.integers(1, 9, CALLS),
        kv_heads,
        random.choice([64, 128, 192, 256, 512], CALLS),
    )


def test_one_decode(benchmark: BenchmarkFixture, h100: Gpu) -> None:
    assert benchmark(price_attention_decode, h100, 1, 4096, 32, 8, 128).seconds > 0


def test_many_decodes(benchmark: BenchmarkFixture, h100: Gpu, sizes: tuple[np.ndarray, ...]) -> None:
    assert benchmark(price_attention_decode, h100, *sizes).seconds.shape == (CALLS,)


def test_many_prefills(benchmark: BenchmarkFixture, h100: Gpu, sizes: tuple[np.ndarray, ...]) -> None:
    batch, tokens, *heads = sizes
    assert benchmark(price_attention_prefill, h100, batch, tokens, tokens, *heads).seconds.shape == (CALLS,)
