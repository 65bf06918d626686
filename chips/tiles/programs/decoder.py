"""One whole Llama decoder as a tile program: norms, projections, rotary positions, grouped attention, SwiGLU."""

from __future__ import annotations

import numpy as np

from chips.tiles.language import Tensor, Tile, cdiv, empty, load_tile, map, matmul, metapipe, store_tile
from chips.tiles.programs.attention import attend, heads_in
from chips.tiles.programs.linear import feed_forward
from chips.tiles.programs.rows import normalised


def llama_decoder(
    x: Tensor, norm_1: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, norm_2: Tensor, gate: Tensor, up: Tensor,
    down: Tensor, cos: Tensor, sin: Tensor, q: Tensor, k: Tensor, v: Tensor, mixed: Tensor, y: Tensor,
    head_dim: int, rows: int = 64, keys: int = 64, columns: int = 64,
) -> None:  # fmt: skip
    """y = h + SwiGLU(norm(h)) with h = x + attention(norm(x)) wo; ``q``, ``k``, ``v`` and ``mixed`` hold heads."""
    width, group = x.shape[1], wq.shape[1] // wk.shape[1]
    first_weight = load_tile(norm_1, (1, width), at=(0, 0))
    for i in metapipe(cdiv(x.shape[0], rows), grid=True):
        normal = normalised(load_tile(x, (rows, width), at=(i, 0)), first_weight)
        angles = [load_tile(table, (rows, head_dim), at=(i, 0)) for table in (cos, sin)]
        for head in metapipe(heads_in(wq, head_dim)):
            query = matmul(normal, load_tile(wq, (width, head_dim), at=(0, head)))
            store_tile(q, rotated(query, angles[0], angles[1]), at=(i, head))
        for head in metapipe(heads_in(wk, head_dim)):
            key = matmul(normal, load_tile(wk, (width, head_dim), at=(0, head)))
            store_tile(k, rotated(key, angles[0], angles[1]), at=(i, head))
            store_tile(v, matmul(normal, load_tile(wv, (width, head_dim), at=(0, head))), at=(i, head))
    for head in metapipe(heads_in(wk, head_dim), grid=True):
        for member in metapipe(group, grid=True):
            for i in metapipe(cdiv(x.shape[0], rows), grid=True):
                queries = load_tile(q, (rows, head_dim), at=(i, head * group + member))
                result = attend(queries, k, v, i, head, head, keys, causal=True)
                store_tile(mixed, result, at=(i, head * group + member))
    second_weight = load_tile(norm_2, (1, width), at=(0, 0))
    for i in metapipe(cdiv(x.shape[0], rows), grid=True):
        residual = empty((rows, width))
        residual.write(load_tile(x, (rows, width), at=(i, 0)))
        for head in metapipe(wo.shape[0] // head_dim):
            attended = load_tile(mixed, (rows, head_dim), at=(i, head))
            weights = load_tile(wo, (head_dim, width), at=(head, 0))
            residual.write(matmul(attended, weights, add_to=residual.read()))
        hidden = residual.read()
        store_tile(y, hidden + feed_forward(normalised(hidden, second_weight), gate, up, down, columns), at=(i, 0))


def rotated(tile: Tile, cos: Tile, sin: Tile) -> Tile:
    """Rotary position embedding of one head: x cos + rotate_half(x) sin."""
    return tile * cos + map(_rotate_half, tile) * sin


def _rotate_half(values: np.ndarray) -> np.ndarray:
    half = values.shape[1] // 2
    return np.concatenate([-values[:, half:], values[:, :half]], axis=1)
