"""Matrix products: matrix-vector, the two-pipe product, the product cut over k as GPUs need it, and SwiGLU."""

from __future__ import annotations

import numpy as np

from chips.tiles.language import (
    Tensor,
    Tile,
    buffer,
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


def matrix_vector(a: Tensor, x: Tensor, y: Tensor, rows: int = 64) -> None:
    """y = A x, with x in every tile of rows: what decoding one token does."""
    vector = load_tile(x, x.shape, at=(0, 0))
    for i in metapipe(cdiv(same_sides((a, 0), (y, 0)), rows), grid=True):
        tile = load_tile(a, (rows, a.shape[1]), at=(i, 0))
        store_tile(y, matmul(tile, vector), at=(i, 0))


def matmul_two_pipes(
    a: Tensor, b: Tensor, c: Tensor, rows: int = 64, columns: int = 64, row_par: int | None = 4
) -> None:
    """C = A B: an outer pipe over rows of A, an inner one over columns of B, a buffer before the store."""
    for i in metapipe(cdiv(same_sides((a, 0), (c, 0)), rows), grid=True):
        left = load_tile(a, (rows, a.shape[1]), at=(i, 0))
        for j in metapipe(cdiv(same_sides((b, 1), (c, 1)), columns)):
            right = load_tile(b, (b.shape[0], columns), at=(0, j), row_par=row_par)
            product = buffer(matmul(left, right, row_par=row_par))
            store_tile(c, product, at=(i, j))


def matmul_over_k(
    a: Tensor, b: Tensor, c: Tensor, rows: int = 128, columns: int = 256, step: int = 64, shared_by: int = 1
) -> None:
    """C = A B with a third pipe over k, whose tiles fit a streaming multiprocessor's shared memory.

    ``shared_by``: thread blocks of a cluster that work on one tile of columns receive it at once.
    """
    for i in metapipe(cdiv(same_sides((a, 0), (c, 0)), rows), grid=True):
        for j in metapipe(cdiv(same_sides((b, 1), (c, 1)), columns), grid=True):
            total = empty((rows, columns))
            total.write(fill((rows, columns), 0.0))
            for k in metapipe(cdiv(same_sides((a, 1), (b, 0)), step)):
                left = load_tile(a, (rows, step), at=(i, k))
                right = load_tile(b, (step, columns), at=(k, j), shared_by=shared_by)
                total.write(matmul(left, right, add_to=total.read()))
            store_tile(c, total.read(), at=(i, j))


def swiglu(
    x: Tensor, gate: Tensor, up: Tensor, down: Tensor, y: Tensor, rows: int = 64, columns: int = 64
) -> None:  # fmt: skip
    """y = (silu(x gate) * (x up)) down: Llama's feed-forward network; its hidden tiles never leave the chip."""
    for i in metapipe(cdiv(same_sides((x, 0), (y, 0)), rows), grid=True):
        tokens = load_tile(x, (rows, x.shape[1]), at=(i, 0))
        store_tile(y, feed_forward(tokens, gate, up, down, columns), at=(i, 0))


def feed_forward(tokens: Tile, gate: Tensor, up: Tensor, down: Tensor, columns: int) -> Tile:
    """SwiGLU of one tile of tokens, over tiles of the hidden dimension."""
    rows, width = tokens.shape[0], down.shape[1]
    total = empty((rows, width))
    total.write(fill((rows, width), 0.0))
    for j in metapipe(cdiv(same_sides((gate, 1), (up, 1), (down, 0)), columns)):
        gates = matmul(tokens, load_tile(gate, (gate.shape[0], columns), at=(0, j)))
        ups = matmul(tokens, load_tile(up, (up.shape[0], columns), at=(0, j)))
        silu = gates / (exp(gates * -1.0) + 1.0)
        hidden = silu * ups
        total.write(matmul(hidden, load_tile(down, (columns, width), at=(j, 0)), add_to=total.read()))
    return total.read()


def difference_products(x: Tensor, mean: Tensor, y: Tensor) -> None:
    """Gaussian discriminant analysis in four stages: row, difference, outer product, sum."""
    width = x.shape[1]
    centre = load_tile(mean, (1, width), at=(0, 0))
    total = empty((width, width))
    total.write(fill((width, width), 0.0))
    for i in metapipe(x.shape[0]):
        row = load_tile(x, (1, width), at=(i, 0))
        difference = buffer(row - centre)
        product = buffer(matmul(transpose(difference), difference))
        total.write(map(np.add, total.read(), product))
    store_tile(y, total.read(), at=(0, 0))
