"""The tiles of FlashAttention on one chip: their shape, what a block of keys costs, and how work items fill the chip.

A work item is a tile of query rows of one head. It walks over blocks of keys: scores = Q K', softmax, output += P V.
The matrix unit computes both products; the vector lanes and the exponential unit compute the softmax between them.
Belongs here: what prefill, decode and training share. Tile rules follow the published kernels: Dao 2023 (arXiv
2307.08691) and Shah et al. 2024 (arXiv 2407.08608). Sizes are arrays over shapes; times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips.spec import ELEMENT_BYTES, Gpu, Precision

Floats = NDArray[np.float64]

WARPGROUP_ROWS = 64.0
LONGEST_KEY_BLOCK = 128.0
KEY_STEP = 16.0


@dataclass(frozen=True)
class AttentionTile:
    """Tile of one kernel: ``rows`` of queries by ``keys``, and ``resident`` tiles on a streaming multiprocessor."""

    rows: Floats
    keys: Floats
    resident: Floats


def choose_tile(chip: Gpu, head_dim: Floats, precision: Precision, asynchronous: bool) -> AttentionTile:
    """The tile that the library compiles for this head dimension: what shared memory and registers hold.

    Asynchronous (FlashAttention-3): two key-value stages beside the query tile, as many query rows, in warpgroups of
    64, as leave scores and output in two thirds of the registers. In turn (FlashAttention-2): 64 query rows, one
    stage, and a second tile on the same streaming multiprocessor where it fits.
    """
    row_bytes = head_dim * ELEMENT_BYTES[precision]
    shared = chip.on_chip.shared_bytes
    if not asynchronous:
        rows = np.full_like(head_dim, WARPGROUP_ROWS)
        keys = _key_block((shared - rows * row_bytes) / (2.0 * row_bytes))
        resident = np.clip(np.floor(shared / ((rows + 2.0 * keys) * row_bytes)), 1.0, 2.0)
        return AttentionTile(rows, keys, resident)
    rows = np.full_like(head_dim, WARPGROUP_ROWS)
    keys = _key_block((shared - rows * row_bytes) / (4.0 * row_bytes))
    for more_rows in (2.0 * WARPGROUP_ROWS, 3.0 * WARPGROUP_ROWS):
        more_keys = _key_block((shared - more_rows * row_bytes) / (4.0 * row_bytes))
        fits = more_rows * (more_keys + head_dim) * 4.0 <= chip.on_chip.register_bytes * 2.0 / 3.0
        rows, keys = np.where(fits, more_rows, rows), np.where(fits, more_keys, keys)
    return AttentionTile(rows, keys, np.ones_like(head_dim))


def _key_block(room: Floats) -> Floats:
    """Keys a block: a multiple of the matrix instruction's depth, at least one, at most 128."""
    return np.clip(np.floor(room / KEY_STEP) * KEY_STEP, KEY_STEP, LONGEST_KEY_BLOCK)


def block_seconds(
    chip: Gpu, tile: AttentionTile, used_rows: Floats, head_dim: Floats, precision: Precision, asynchronous: bool
) -> tuple[Floats, Floats]:
    """Time of one block of keys on a streaming multiprocessor: alone, and when ``tile.resident`` tiles share it.

    Matrix and softmax are two engines. One tile computed in turn waits for their sum; warpgroups that take turns
    (asynchronous), or a second resident tile, hide the shorter one behind the longer, up to ``overlap``.
    """
    coefficients = chip.generation.attention
    efficiency = coefficients.matrix_efficiency if asynchronous else coefficients.synchronous_matrix_efficiency
    rows = np.ceil(np.minimum(used_rows, tile.rows) / KEY_STEP) * KEY_STEP
    if asynchronous:
        rows = np.ceil(rows / WARPGROUP_ROWS) * WARPGROUP_ROWS
    scores = rows * tile.keys
    compute = chip.compute
    matrix = 4.0 * scores * head_dim / (compute.matrix_flop_per_clock[precision] * efficiency)
    softmax = scores * (
        1.0 / compute.special_functions_per_clock + coefficients.softmax_operations / compute.vector_lanes
    )
    load = 2.0 * tile.keys * head_dim * ELEMENT_BYTES[precision] * compute.units / coefficients.l2_bytes_per_clock
    longer, shorter = np.maximum(matrix, softmax), np.minimum(matrix, softmax)
    paired = np.maximum(longer + (1.0 - coefficients.overlap) * shorter, load) / compute.clock_hz
    alone = np.maximum(matrix + softmax, load) / compute.clock_hz
    shared = np.where(tile.resident > 1.0, paired, alone)
    if asynchronous:
        return np.where(rows > WARPGROUP_ROWS, paired, alone), np.where(rows > WARPGROUP_ROWS, paired, alone)
    return alone, shared
