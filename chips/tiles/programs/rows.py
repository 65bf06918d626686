"""Programs over rows: softmax in its four named values, and RMSNorm."""

from __future__ import annotations

import numpy as np

from chips.tiles.language import (
    Tensor,
    Tile,
    buffer,
    cdiv,
    exp,
    load_tile,
    map,
    metapipe,
    reduce,
    same_sides,
    store_tile,
)


def softmax(x: Tensor, o: Tensor, rows: int = 64) -> None:
    """o = exp(x - m) / r, with m the largest of a row and r the sum of its exponentials, each a stage of its own."""
    for i in metapipe(cdiv(same_sides((x, 0), (o, 0)), rows), grid=True):
        tile = load_tile(x, (rows, x.shape[1]), at=(i, 0))
        m = buffer(reduce(np.maximum, tile))
        e = buffer(exp(tile - m))
        r = buffer(reduce(np.add, e))
        store_tile(o, e / r, at=(i, 0))


def rms_norm(x: Tensor, weight: Tensor, y: Tensor, rows: int = 64) -> None:
    """y = x / root mean square(x) * weight."""
    scale = load_tile(weight, (1, x.shape[1]), at=(0, 0))
    for i in metapipe(cdiv(same_sides((x, 0), (y, 0)), rows), grid=True):
        tile = load_tile(x, (rows, x.shape[1]), at=(i, 0))
        store_tile(y, normalised(tile, scale), at=(i, 0))


def normalised(tile: Tile, weight: Tile) -> Tile:
    """RMSNorm of one tile of whole rows."""
    squares = reduce(np.add, tile * tile)
    root = map(_inverse_root, squares * (1.0 / tile.shape[1]), operations=2)
    return tile * root * weight


def _inverse_root(mean_square: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / np.sqrt(mean_square + 1e-5))
