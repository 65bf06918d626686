"""Tiles that end beyond their tensors: every shipped program computes all of it, whatever the shapes and tiles."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tile_programs import attention_of, decoder_example, feed_forward_of, norm_of, softmax_of

from chips.spec import Dataflow, Gpu, load_chip
from chips.tiles import TileError, compile_program, run
from chips.tiles.compiler import Compiled
from chips.tiles.programs.attention import flash_attention
from chips.tiles.programs.decoder import llama_decoder
from chips.tiles.programs.linear import difference_products, matmul_over_k, matmul_two_pipes, matrix_vector, swiglu
from chips.tiles.programs.rows import rms_norm, softmax

sizes = st.integers(1, 70)
tiles = st.integers(1, 40)


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(prod(shape)).standard_normal(shape)


@settings(max_examples=30)
@given(sizes, sizes, sizes, tiles, tiles, tiles)
def test_matrix_products(m: int, n: int, k: int, rows: int, columns: int, step: int) -> None:
    a, b = some(m, k), some(k, n)
    for program in (
        lambda a, b, c: matmul_two_pipes(a, b, c, rows, columns),
        lambda a, b, c: matmul_over_k(a, b, c, rows, columns, step),
    ):
        c = np.zeros((m, n))
        run(program, a=a, b=b, c=c)
        np.testing.assert_allclose(c, a @ b, rtol=1e-9, atol=1e-9)
    x, y = some(k, 1), np.zeros((m, 1))
    run(lambda a, x, y: matrix_vector(a, x, y, rows), a=a, x=x, y=y)
    np.testing.assert_allclose(y, a @ x, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(sizes, sizes, tiles)
def test_programs_over_rows(m: int, n: int, rows: int) -> None:
    x, weight = some(m, n), some(1, n)
    o, y = np.zeros((m, n)), np.zeros((m, n))
    run(lambda x, o: softmax(x, o, rows), x=x, o=o)
    run(lambda x, weight, y: rms_norm(x, weight, y, rows), x=x, weight=weight, y=y)
    np.testing.assert_allclose(o, softmax_of(x))
    np.testing.assert_allclose(y, norm_of(x, weight))


@settings(max_examples=30)
@given(sizes, sizes, sizes, tiles, tiles)
def test_swiglu(m: int, n: int, hidden: int, rows: int, columns: int) -> None:
    x, gate, up, down, y = some(m, n), some(n, hidden), some(n, hidden), some(hidden, n), np.zeros((m, n))
    run(lambda **tensors: swiglu(**tensors, rows=rows, columns=columns), x=x, gate=gate, up=up, down=down, y=y)
    np.testing.assert_allclose(y, feed_forward_of(x, gate, up, down), rtol=1e-7, atol=1e-7)


@settings(max_examples=30)
@given(sizes, tiles, tiles, st.booleans(), st.integers(1, 3))
def test_flash_attention(tokens: int, rows: int, keys: int, causal: bool, heads: int) -> None:
    q, k, v, o = (some(tokens, 8 * heads) * scale for scale in (1.0, 1.1, 0.9, 0.0))
    run(
        lambda **tensors: flash_attention(**tensors, head_dim=8, rows=rows, keys=keys, causal=causal),
        q=q, k=k, v=v, o=o,
    )  # fmt: skip
    for head in range(heads):
        part = slice(8 * head, 8 * head + 8)
        np.testing.assert_allclose(o[:, part], attention_of(q[:, part], k[:, part], v[:, part], causal), rtol=1e-7)


@settings(max_examples=20)
@given(sizes, st.integers(1, 40))
def test_difference_products(m: int, n: int) -> None:
    x, mean, y = some(m, n), some(1, n), np.zeros((n, n))
    run(difference_products, x=x, mean=mean, y=y)
    np.testing.assert_allclose(y, (x - mean).T @ (x - mean), rtol=1e-7, atol=1e-7)


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 70), tiles, tiles, tiles)
def test_llama_decoder(tokens: int, width: int, hidden: int, rows: int, keys: int, columns: int) -> None:
    tensors, expected = decoder_example(tokens, width, hidden)
    run(lambda **given: llama_decoder(**given, head_dim=8, rows=rows, keys=keys, columns=columns), **tensors)
    np.testing.assert_allclose(tensors["y"], expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=25)
@given(st.sampled_from(["h100", "a100", "sn40l"]), st.tuples(*[st.integers(1, 600)] * 3))
def test_a_masked_tile_takes_the_clocks_of_a_whole_one_and_its_own_bytes(chip: str, size: tuple[int, int, int]) -> None:
    spec = load_chip(chip)
    assert isinstance(spec, Gpu | Dataflow)

    def compiled(m: int, n: int, k: int) -> Compiled:
        return compile_program(lambda a, b, c: matmul_over_k(a, b, c, 128, 128, 64), spec, a=(m, k), b=(k, n), c=(m, n))

    m, n, k = size
    rows, columns, steps = (-(-side // tile) for side, tile in zip(size, (128, 128, 64), strict=True))
    found, whole = compiled(m, n, k), compiled(rows * 128, columns * 128, steps * 64)
    assert found.flop == whole.flop == 2 * rows * columns * steps * 128 * 128 * 64
    moved = m * k + k * n + m * n if isinstance(spec, Gpu) else m * k * columns + k * n * rows + m * n
    assert found.memory_bytes == pytest.approx(2 * moved, abs=1)
    assert found.seconds <= whole.seconds
    computing = [
        [row["microseconds"] for row in each.stages if row["stage"] in ("consumers", "matmul")]
        for each in (found, whole)
    ]
    assert computing[0] == computing[1]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"a": (64, 100), "b": (99, 64), "c": (64, 64)}, "'b' has 99 rows where 'a' has 100 columns; they must agree"),
        ({"a": (64, 100), "b": (100, 64), "c": (65, 64)}, "'c' has 65 rows where 'a' has 64 rows; they must agree"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(shapes: dict[str, tuple[int, int]], words: str) -> None:
    with pytest.raises(TileError, match=words):
        run(matmul_over_k, **{name: np.zeros(shape) for name, shape in shapes.items()})


def test_heads_are_whole() -> None:
    with pytest.raises(TileError, match="'q' has 20 columns, which are not whole heads of 8"):
        run(lambda **tensors: flash_attention(**tensors, head_dim=8), **{name: np.zeros((8, 20)) for name in "qkvo"})
