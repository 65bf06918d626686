"""FlashAttention's backward pass: scores again, then the gradients of values, keys and queries, in five products."""

from __future__ import annotations

import math
from collections.abc import Callable

from chips.tiles.language import (
    Array,
    Tensor,
    cdiv,
    empty,
    exp,
    fill,
    load_tile,
    map,
    matmul,
    metapipe,
    same_sides,
    store_tile,
    transpose,
)
from chips.tiles.programs.attention import causal_mask, heads_in


def flash_attention_backward(
    q: Tensor, k: Tensor, v: Tensor, gradient: Tensor, logarithms: Tensor, products: Tensor,
    dq: Tensor, dk: Tensor, dv: Tensor, head_dim: int, rows: int = 64, keys: int = 64, causal: bool = True,
) -> None:  # fmt: skip
    """Gradients of Q, K and V from that of O, every head (Dao 2023, algorithm 2); ``dq`` begins as zeros.

    ``logarithms``: of each query's sum of exponentials, and ``products``: the sum of O times its gradient over a
    query's row, shape (tokens, heads) both, which the forward pass and a kernel ahead have left. A tile of keys walks
    over blocks of queries. Sums of ``dq`` are read and written, in 16 bits as many bytes as one addition in fp32.
    """
    scale = 1.0 / math.sqrt(head_dim)
    blocks = cdiv(same_sides((q, 0), (gradient, 0), (dq, 0), (logarithms, 0), (products, 0)), rows)
    for head in metapipe(heads_in(q, head_dim), grid=True):
        for j in metapipe(cdiv(same_sides((k, 0), (v, 0), (dk, 0), (dv, 0)), keys), grid=True):
            key, value = (load_tile(tensor, (keys, head_dim), at=(j, head)) for tensor in (k, v))
            of_keys, of_values = empty((keys, head_dim)), empty((keys, head_dim))
            of_keys.write(fill((keys, head_dim), 0.0))
            of_values.write(fill((keys, head_dim), 0.0))
            first = min(j * keys // rows, blocks - 1) if causal else 0
            for step in metapipe(blocks - first):
                i = first + step
                queries, change = (load_tile(tensor, (rows, head_dim), at=(i, head)) for tensor in (q, gradient))
                logarithm, product = (load_tile(tensor, (rows, 1), at=(i, head)) for tensor in (logarithms, products))
                scores = matmul(queries, transpose(key))
                weights = exp(map(_scaled(scale), scores, logarithm))
                if causal and (j + 1) * keys > i * rows:
                    weights = map(causal_mask(i * rows, j * keys, hidden=0.0), weights, operations=4)
                of_values.write(matmul(transpose(weights), change, add_to=of_values.read()))
                of_weights = matmul(change, transpose(value))
                # subtract, multiply, and both operands of the products in 16 bits
                of_scores = map(_of_softmax(scale), weights, of_weights, product, operations=4)
                of_keys.write(matmul(transpose(of_scores), queries, add_to=of_keys.read()))
                before = load_tile(dq, (rows, head_dim), at=(i, head))
                store_tile(dq, matmul(of_scores, key, add_to=before), at=(i, head))
            store_tile(dk, of_keys.read(), at=(j, head))
            store_tile(dv, of_values.read(), at=(j, head))


def _scaled(scale: float) -> Callable[..., Array]:
    def scaled(scores: Array, logarithm: Array) -> Array:
        return scores * scale - logarithm

    return scaled


def _of_softmax(scale: float) -> Callable[..., Array]:
    def of_softmax(weights: Array, of_weights: Array, product: Array) -> Array:
        return weights * (of_weights - product) * scale

    return of_softmax
