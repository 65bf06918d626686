"""The tiles of FlashAttention on one chip: their shape, and what a block of keys costs them.

A work item is a tile of query rows of one head. It walks over blocks of keys: scores = Q K', softmax, output += P V.
The matrix unit computes both products; the vector lanes and the exponential unit compute the softmax between them.
Belongs here: one tile. How many there are is in ``plan``, how they fill the chip in ``price``. Rules
follow the published kernels: Dao 2023 (arXiv 2307.08691) and Shah et al. 2024 (arXiv 2407.08608).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips.kernels.attention.shape import QUERY_BYTES, AttentionShape, Floats
from chips.kernels.kernel_time import MATRIX_UNIT, ON_CHIP_NETWORK, VECTOR_UNIT
from chips.spec import Gpu

WARPGROUP_ROWS = 64.0
LEAST_KEY_BLOCK = 64.0
LONGEST_KEY_BLOCK = 128.0
KEY_STEP = 16.0


@dataclass(frozen=True)
class AttentionTile:
    """Tile of one kernel: ``rows`` of queries by ``keys``, and ``resident`` tiles on a streaming multiprocessor."""

    rows: Floats
    keys: Floats
    resident: Floats


def choose_tile(chip: Gpu, shape: AttentionShape, asynchronous: bool) -> AttentionTile:
    """The tile that the library compiles for this head dimension: what shared memory and registers hold.

    Asynchronous (FlashAttention-3): two key-value stages beside the query tile, as many query rows, in warpgroups of
    64, as leave scores and output in two thirds of the registers, or in tensor memory, whose instructions take 128
    (FlashAttention-4). In turn (FlashAttention-2): 64 query rows, one stage, and a second tile on the same streaming
    multiprocessor where both still have 64 keys.
    """
    row_bytes = shape.head_dim * QUERY_BYTES
    on_chip = chip.on_chip
    shared = on_chip.shared_bytes
    rows = np.full_like(shape.head_dim, WARPGROUP_ROWS)
    if not asynchronous:
        alone, beside = (_key_block((shared / tiles / row_bytes - rows) / 2.0) for tiles in (1.0, 2.0))
        keys = np.where(beside >= LEAST_KEY_BLOCK, beside, alone)
        resident = np.clip(np.floor(shared / ((rows + 2.0 * keys) * row_bytes)), 1.0, 2.0)
        return AttentionTile(rows, keys, resident)
    keys = _key_block((shared / row_bytes - rows) / 4.0)
    accumulators = on_chip.tensor_bytes or on_chip.register_bytes * 2.0 / 3.0
    for warpgroups in (2.0, 4.0) if on_chip.tensor_bytes else (2.0, 3.0):
        more_rows = warpgroups * WARPGROUP_ROWS
        more_keys = _key_block((shared / row_bytes - more_rows) / 4.0)
        fits = more_rows * (more_keys + shape.head_dim) * 4.0 <= accumulators
        rows, keys = np.where(fits, more_rows, rows), np.where(fits, more_keys, keys)
    return AttentionTile(rows, keys, np.ones_like(rows))


def _key_block(room: Floats) -> Floats:
    """Keys a block: a multiple of the matrix instruction's depth, at most 128."""
    return np.clip(np.floor(room / KEY_STEP) * KEY_STEP, KEY_STEP, LONGEST_KEY_BLOCK)


def _softmax_clocks(chip: Gpu) -> float:
    """Clock cycles a score. The special function unit and the vector lanes take turns, or, where lanes compute a share
    of the exponentials, both work all the time."""
    coefficients, compute = chip.generation.attention, chip.compute
    exponential = 1.0 / compute.special_functions_per_clock
    lanes = coefficients.softmax_operations / compute.vector_lanes
    if coefficients.exponential_operations is None:
        return exponential + lanes
    on_lanes = coefficients.exponential_operations / compute.vector_lanes
    share = max(exponential - lanes, 0.0) / (exponential + on_lanes)
    return max((1.0 - share) * exponential, lanes + share * on_lanes)


def instruction_rows(tile: AttentionTile, query_rows: Floats) -> Floats:
    """Rows that a tile's matrix instructions compute, where one head has ``query_rows``."""
    whole: Floats = np.ceil(np.minimum(query_rows, tile.rows) / WARPGROUP_ROWS) * WARPGROUP_ROWS
    return np.minimum(whole, tile.rows)


@dataclass(frozen=True)
class TileTime:
    """Seconds of one tile on a streaming multiprocessor, and what its blocks wait for.

    ``block``: a block of keys in the steady state; ``shared``: the same where ``resident`` tiles share the streaming
    multiprocessor; ``alone``: the same where no other one loads from the L2; ``ends``: what a tile adds before its
    first and after its last block.
    """

    block: Floats
    shared: Floats
    alone: Floats
    ends: Floats
    limiter: NDArray[np.str_]


def time_tile(
    chip: Gpu, shape: AttentionShape, tile: AttentionTile, query_rows: Floats, asynchronous: bool
) -> TileTime:
    """What a tile costs where one head has ``query_rows`` rows (a tile holds at most ``tile.rows`` of them).

    Matrix and softmax are two engines. A tile alone takes them in turn (FlashAttention-2). Warpgroups that hand the
    matrix unit to each other (FlashAttention-3), or a second resident tile, hide the shorter of the two behind the
    longer, up to ``overlap``. Keys and values come over the L2, of which every streaming multiprocessor has its
    share. At its ends a tile loads its queries and first keys, fills the pipeline with one block in turn, masks the
    block on the diagonal and stores its output.
    """
    coefficients, compute = chip.generation.attention, chip.compute
    efficiency = coefficients.matrix_efficiency if asynchronous else coefficients.synchronous_matrix_efficiency
    used_rows = np.minimum(query_rows, tile.rows)
    scores = instruction_rows(tile, query_rows) * tile.keys
    element_clocks = shape.head_dim * compute.units / coefficients.l2_bytes_per_clock
    key_clocks = element_clocks * shape.kv_bytes

    matrix = 4.0 * scores * shape.head_dim / (compute.matrix_flop_per_clock["bf16"] * efficiency)
    softmax = scores * _softmax_clocks(chip)
    load = 2.0 * tile.keys * key_clocks
    side_by_side = matrix + softmax - coefficients.overlap * np.minimum(matrix, softmax)
    computing = side_by_side if asynchronous else matrix + softmax
    in_turn = np.maximum(matrix + softmax, load)
    overlapped = np.maximum(side_by_side, load)
    block = overlapped if asynchronous else in_turn
    shared = np.where(tile.resident > 1, overlapped, block) * tile.resident

    masks = (shape.tokens > 1) & shape.causal
    mask = np.where(masks, scores * coefficients.mask_operations / compute.vector_lanes, 0.0)
    edges = 2.0 * used_rows * element_clocks * QUERY_BYTES + np.minimum(tile.keys, shape.context) * key_clocks
    ends = coefficients.tile_latency + (edges + mask + in_turn - block) / compute.clock_hz
    limiter = np.where(softmax > matrix, VECTOR_UNIT, MATRIX_UNIT)
    limiter = np.where(load >= block, ON_CHIP_NETWORK, limiter)
    own_load = load * coefficients.l2_bytes_per_clock / compute.units / chip.generation.matmul.load_bytes_per_clock
    alone = np.where(load >= block, np.maximum(own_load, computing), block)
    clock = compute.clock_hz
    return TileTime(block / clock, shared / clock, alone / clock, ends, limiter)
