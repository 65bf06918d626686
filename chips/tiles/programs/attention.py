"""FlashAttention: online softmax over blocks of keys, causal or not, one head or many."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chips.tiles.language import (
    Array,
    Tensor,
    Tile,
    TileError,
    buffer,
    cdiv,
    empty,
    exp,
    fill,
    load_tile,
    map,
    matmul,
    metapipe,
    reduce,
    same_sides,
    store_tile,
    transpose,
)


def flash_attention(
    q: Tensor, k: Tensor, v: Tensor, o: Tensor, head_dim: int, rows: int = 64, keys: int = 64, causal: bool = True
) -> None:
    """O = softmax(Q K' / sqrt(d)) V for every head; heads are side by side in the columns of all four tensors."""
    for head in metapipe(heads_in(q, head_dim), grid=True):
        for i in metapipe(cdiv(same_sides((q, 0), (o, 0)), rows), grid=True):
            queries = load_tile(q, (rows, head_dim), at=(i, head))
            result = attend(queries, k, v, i, head, head, keys, causal)
            store_tile(o, result, at=(i, head))


def heads_in(tensor: Tensor, head_dim: int) -> int:
    """Heads side by side in the columns of a tensor. Raises TileError where they are not whole."""
    if tensor.shape[1] % head_dim:
        raise TileError(
            f"'{tensor.name}' has {tensor.shape[1]} columns, which are not whole heads of {head_dim}; the nearest "
            f"multiples are {tensor.shape[1] // head_dim * head_dim} and {cdiv(tensor.shape[1], head_dim) * head_dim}."
        )
    return tensor.shape[1] // head_dim


def attend(
    queries: Tile, k: Tensor, v: Tensor, i: int, key_head: int, value_head: int, keys: int, causal: bool
) -> Tile:
    """One tile of queries, the ``i``-th, over all keys that it may see (Dao 2023, algorithm 1)."""
    rows, head_dim = queries.shape
    largest, total, output = empty((rows, 1)), empty((rows, 1)), empty((rows, head_dim))
    largest.write(fill((rows, 1), -1e30))
    total.write(fill((rows, 1), 0.0))
    output.write(fill((rows, head_dim), 0.0))
    tiles = cdiv(same_sides((k, 0), (v, 0)), keys)
    seen = min(cdiv((i + 1) * rows, keys), tiles) if causal else tiles
    for j in metapipe(seen):
        key = load_tile(k, (keys, head_dim), at=(j, key_head))
        value = load_tile(v, (keys, head_dim), at=(j, value_head))
        scores = matmul(queries, transpose(key))
        if causal and (j + 1) * keys > i * rows:
            scores = map(causal_mask(i * rows, j * keys), scores, operations=4)
        if (j + 1) * keys > k.shape[0]:
            scores = map(_inside(k.shape[0] - j * keys), scores, operations=2)
        before = largest.read()
        now = map(np.maximum, before, reduce(np.maximum, scores))
        # scale and subtract are one multiply-add
        weights = exp(map(_scaled_difference(head_dim), scores, now))
        keep = exp(map(_scaled_difference(head_dim), before, now))
        total.write(total.read() * keep + reduce(np.add, weights))
        largest.write(now)
        # the rescaling is a stage of its own: it waits for the block before, the softmax does not
        output.write(matmul(buffer(weights), value, add_to=output.read() * keep))
    return output.read() / total.read()


def _inside(count: int) -> Callable[..., Array]:
    def inside(scores: Array) -> Array:
        return np.where(np.arange(scores.shape[1]) < count, scores, -1e30)

    return inside


def causal_mask(first_query: int, first_key: int, hidden: float = -1e30) -> Callable[..., Array]:
    """What puts ``hidden`` where a query would see a later key, in a tile that begins with these two."""

    def causal(scores: Array) -> Array:
        query = first_query + np.arange(scores.shape[0])[:, None]
        key = first_key + np.arange(scores.shape[1])
        return np.where(key <= query, scores, hidden)

    return causal


def _scaled_difference(head_dim: int) -> Callable[..., Array]:
    def scaled_difference(scores: Array, largest: Array) -> Array:
        return np.asarray((scores - largest) * (1.0 / math.sqrt(head_dim)))

    return scaled_difference
