"""Every shipped tile program computes what NumPy computes, on random input, whatever its tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.tiles import run
from chips.tiles.programs.attention import flash_attention
from chips.tiles.programs.attention_backward import flash_attention_backward
from chips.tiles.programs.decoder import llama_decoder
from chips.tiles.programs.linear import difference_products, matmul_over_k, matmul_two_pipes, matrix_vector, swiglu
from chips.tiles.programs.lists import linked_list, stream
from chips.tiles.programs.rows import rms_norm, softmax

random = np.random.default_rng(149)


def some(*shape: int) -> np.ndarray:
    return random.standard_normal(shape)


def softmax_of(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def norm_of(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5) * weight


def feed_forward_of(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    gates = x @ gate
    return (gates / (1.0 + np.exp(-gates)) * (x @ up)) @ down


def attention_of(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    scores = q @ k.T / np.sqrt(q.shape[1])
    if causal:
        scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
    return softmax_of(scores) @ v


def test_matrix_vector() -> None:
    a, x, y = some(256, 96), some(96, 1), np.zeros((256, 1))
    run(matrix_vector, a=a, x=x, y=y)
    np.testing.assert_allclose(y, a @ x)


@pytest.mark.parametrize("program", [matmul_two_pipes, lambda a, b, c: matmul_over_k(a, b, c, 64, 64, 32)])
def test_matrix_products(program) -> None:  # type: ignore[no-untyped-def]
    a, b, c = some(128, 96), some(96, 192), np.zeros((128, 192))
    run(program, a=a, b=b, c=c)
    np.testing.assert_allclose(c, a @ b, rtol=1e-10, atol=1e-10)


def test_softmax() -> None:
    x, o = some(128, 80) * 30, np.zeros((128, 80))
    run(softmax, x=x, o=o)
    np.testing.assert_allclose(o, softmax_of(x))


def test_rms_norm() -> None:
    x, weight, y = some(128, 80), some(1, 80), np.zeros((128, 80))
    run(rms_norm, x=x, weight=weight, y=y)
    np.testing.assert_allclose(y, norm_of(x, weight))


def test_difference_products() -> None:
    x, mean, y = some(50, 12), some(1, 12), np.zeros((12, 12))
    run(difference_products, x=x, mean=mean, y=y)
    np.testing.assert_allclose(y, (x - mean).T @ (x - mean))


def test_swiglu() -> None:
    x, gate, up, down, y = some(64, 32), some(32, 128), some(32, 128), some(128, 32), np.zeros((64, 32))
    run(swiglu, x=x, gate=gate, up=up, down=down, y=y)
    np.testing.assert_allclose(y, feed_forward_of(x, gate, up, down))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("rows", "keys"), [(64, 64), (64, 32), (32, 64), (128, 128)])
def test_flash_attention(causal: bool, rows: int, keys: int) -> None:
    q, k, v, o = some(128, 48), some(128, 48), some(128, 48), np.zeros((128, 48))
    run(
        lambda **tensors: flash_attention(**tensors, head_dim=16, rows=rows, keys=keys, causal=causal),
        q=q,
        k=k,
        v=v,
        o=o,
    )
    for head in range(3):
        part = slice(16 * head, 16 * head + 16)
        np.testing.assert_allclose(o[:, part], attention_of(q[:, part], k[:, part], v[:, part], causal))


def decoder_example(tokens: int, width: int, hidden: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Tensors of a decoder with four query heads of 8 on two key-value heads, and what NumPy makes of them."""
    head, heads, groups = 8, 4, 2
    x, norm_1, norm_2 = some(tokens, width), some(1, width), some(1, width)
    wq, wk, wv = some(width, heads * head), some(width, groups * head), some(width, groups * head)
    wo, gate, up, down = some(heads * head, width), some(width, hidden), some(width, hidden), some(hidden, width)
    angles = np.arange(tokens)[:, None] / 10000 ** (np.arange(head // 2) / (head // 2))
    angles = np.concatenate([angles, angles], axis=1)
    cos, sin = np.cos(angles), np.sin(angles)

    def rotate(values: np.ndarray) -> np.ndarray:
        first, second = values[:, : head // 2], values[:, head // 2 :]
        return values * cos + np.concatenate([-second, first], axis=1) * sin

    normal = norm_of(x, norm_1)
    mixed = []
    for number in range(heads):
        own, shared = slice(number * head, (number + 1) * head), slice(number // 2 * head, (number // 2 + 1) * head)
        query, key = rotate(normal @ wq[:, own]), rotate(normal @ wk[:, shared])
        mixed.append(attention_of(query, key, normal @ wv[:, shared], causal=True))
    hidden_state = x + np.concatenate(mixed, axis=1) @ wo
    expected = hidden_state + feed_forward_of(norm_of(hidden_state, norm_2), gate, up, down)
    scratch = {name: np.zeros((tokens, size * head)) for name, size in {"q": 4, "k": 2, "v": 2, "mixed": 4}.items()}
    tensors = {
        "x": x, "norm_1": norm_1, "wq": wq, "wk": wk, "wv": wv, "wo": wo, "norm_2": norm_2, "gate": gate, "up": up,
        "down": down, "cos": cos, "sin": sin, "y": np.zeros((tokens, width)), **scratch,
    }  # fmt: skip
    return tensors, expected


def test_llama_decoder() -> None:
    tensors, expected = decoder_example(64, 32, 64)
    run(lambda **given: llama_decoder(**given, head_dim=8, rows=32, keys=16, columns=16), **tensors)
    np.testing.assert_allclose(tensors["y"], expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=20)
@given(st.integers(1, 50), st.integers(1, 30))
def test_a_stream_and_a_linked_list_add_up_rows(length: int, width: int) -> None:
    """A list goes round through all rows, in any order; one that goes in circles takes its rows again."""
    nodes = some(length, width)
    order = random.permutation(length)
    order = np.roll(order, -int(np.flatnonzero(order == 0)[0]))
    following = np.zeros((length, 1))
    following[order, 0] = np.roll(order, -1)
    for program in (stream, linked_list):
        total = np.zeros((1, width))
        run(program, nodes=nodes, following=following, total=total)
        np.testing.assert_allclose(total[0], nodes.sum(axis=0), rtol=1e-9, atol=1e-9)
    total = np.zeros((1, width))
    run(linked_list, nodes=nodes, following=np.zeros((length, 1)), total=total)
    np.testing.assert_allclose(total[0], length * nodes[0], rtol=1e-9, atol=1e-9)


def attention_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, gradient: np.ndarray, causal: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of q, k and v by the whole matrix, each query's logarithm of its sum, and O times its gradient."""
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf) if causal else scores
    largest = scores.max(axis=1, keepdims=True)
    sums = np.exp(scores - largest).sum(axis=1, keepdims=True)
    weights = np.exp(scores - largest) / sums
    product = (gradient * (weights @ v)).sum(axis=1, keepdims=True)
    of_scores = weights * (gradient @ v.T - product) / np.sqrt(q.shape[1])
    return of_scores @ k, of_scores.T @ q, weights.T @ gradient, largest + np.log(sums), product


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(1, 3))
def test_flash_attention_backward(tokens: int, rows: int, keys: int, causal: bool, heads: int) -> None:
    q, k, v, gradient = (some(tokens, 8 * heads) for _ in range(4))
    parts = [slice(8 * head, 8 * head + 8) for head in range(heads)]
    each = [attention_gradients(q[:, part], k[:, part], v[:, part], gradient[:, part], causal) for part in parts]
    expected = [np.concatenate(values, axis=1) for values in zip(*each, strict=True)]
    found = [np.zeros_like(q) for _ in range(3)]
    run(
        lambda **tensors: flash_attention_backward(**tensors, head_dim=8, rows=rows, keys=keys, causal=causal),
        q=q, k=k, v=v, gradient=gradient, logarithms=expected[3], products=expected[4],
        dq=found[0], dk=found[1], dv=found[2],
    )  # fmt: skip
    for ours, numpys in zip(found, expected, strict=False):
        np.testing.assert_allclose(ours, numpys, rtol=1e-7, atol=1e-9)
