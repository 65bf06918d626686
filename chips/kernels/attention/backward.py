"""The backward pass of attention: a tile of keys and values walks over blocks of queries, five products a block.

Scores and probabilities are computed again, then the gradients of values (P' dO), of probabilities (dO V'), of keys
(dS' Q) and of queries (dS K). Gradients of keys and values stay with the tile; those of queries are added up in fp32 in
the L2, block by block (Dao 2023, section 4.1; Shah et al. 2024, section 3). Belongs here: one tile of it, and how many.
"""

from __future__ import annotations

import numpy as np

from chips.generation import OVERLAPS, AttentionKernel
from chips.kernels.attention.plan import WorkItems
from chips.kernels.attention.shape import QUERY_BYTES, AttentionShape, Floats
from chips.kernels.attention.tiles import TileTime
from chips.kernels.kernel_time import MATRIX_UNIT, ON_CHIP_NETWORK, VECTOR_UNIT
from chips.kernels.matmul.tiles import SHARED_BYTES_PER_CLOCK
from chips.spec import Gpu

PRODUCTS = 5.0
KEYS = 128.0
"""Of a tile: gradients of keys and values, 128 by the head dimension each in fp32, lie in the registers of two or three
warpgroups."""
ELEMENTS, SYNCHRONOUS_ELEMENTS = 10_240.0, 8_192.0
MOST_QUERIES, LEAST_QUERIES, QUERY_STEP = 128.0, 64.0, 16.0
"""Of a block of queries: 80 queries of 128 in FlashAttention-3, 64 in FlashAttention-2, 128 of 64, 64 of wider heads
(flash_bwd_launch_template.h of both)."""
WARP_GRIDS = ((1.0, 8.0), (2.0, 4.0), (4.0, 2.0), (8.0, 1.0))
"""Rows and columns in which FlashAttention-2's eight warps lie over the result of a product."""
SOFTMAX_OPERATIONS = 5.0
"""Vector instructions a score beside the exponential: scale and subtract, subtract, multiply, two conversions; counted
in the algorithm."""
GRADIENT_BYTES = 4.0
"""A gradient of queries, in fp32."""


def backward_tiles(
    chip: Gpu, shape: AttentionShape, kernel: AttentionKernel
) -> tuple[WorkItems, TileTime, Floats, Floats]:
    """The tiles of a call, what each takes, the bytes that all read and add in the L2, and the scores they compute.

    Products and softmax of a block take turns: registers hold no other block meanwhile. Loads of queries and of the
    gradients of the output, and sums of gradients of queries, run beside them, up to ``traffic_overlap``. Where warps
    multiply from registers, products take as long as shared memory needs to bring their operands, if that is longer.
    """
    coefficients, compute = chip.generation.attention, chip.compute
    asynchronous = kernel in OVERLAPS
    efficiency = coefficients.matrix_efficiency if asynchronous else coefficients.synchronous_matrix_efficiency
    elements = ELEMENTS if asynchronous else SYNCHRONOUS_ELEMENTS
    queries = np.clip(np.floor(elements / shape.head_dim / QUERY_STEP) * QUERY_STEP, LEAST_QUERIES, MOST_QUERIES)
    tiles = np.ceil(shape.tokens / KEYS)
    items = shape.batch * shape.heads * tiles
    longest = np.ceil(shape.tokens / queries)
    # Of causal blocks those before a tile's first key are skipped; of those on the diagonal half is computed in vain.
    mean = np.minimum(longest * (tiles + 1.0) / (2.0 * tiles) + 0.5, longest) if shape.causal else longest

    scores = queries * KEYS
    matrix = 2.0 * PRODUCTS * scores * shape.head_dim / (compute.matrix_flop_per_clock["bf16"] * efficiency)
    if not asynchronous:
        matrix = np.maximum(matrix, _shared_bytes(queries, shape.head_dim) / SHARED_BYTES_PER_CLOCK)
    softmax = scores * (1.0 / compute.special_functions_per_clock + SOFTMAX_OPERATIONS / compute.vector_lanes)
    block_bytes = queries * shape.head_dim * (2.0 * QUERY_BYTES + GRADIENT_BYTES)
    load = block_bytes / coefficients.unit_bytes_per_clock
    computing = matrix + softmax
    block = computing + load - coefficients.traffic_overlap * np.minimum(computing, load)
    edges = 4.0 * KEYS * shape.head_dim * QUERY_BYTES / coefficients.unit_bytes_per_clock
    ends = coefficients.tile_latency + edges / compute.clock_hz

    limiter = np.where(softmax > matrix, VECTOR_UNIT, MATRIX_UNIT)
    limiter = np.where(load > computing, ON_CHIP_NETWORK, limiter)
    seconds = block / compute.clock_hz
    time = TileTime(seconds, seconds, seconds, ends, limiter)
    return WorkItems(items, longest, mean, mean < longest), time, items * mean * block_bytes, items * mean * scores


def _shared_bytes(queries: Floats, head_dim: Floats) -> Floats:
    """Of a block of queries, through the shared memory of a streaming multiprocessor: queries and gradients of the
    output come in, probabilities and gradients of scores are stored, and every warp reads its operands of each product.
    """
    stored = QUERY_BYTES * 2.0 * queries * (head_dim + KEYS)
    scores = _operand_bytes(queries, KEYS, head_dim)  # and gradients of probabilities
    of_keys = _operand_bytes(KEYS, head_dim, queries)  # and of values
    of_queries = _operand_bytes(queries, head_dim, KEYS)
    return stored + 2.0 * scores + 2.0 * of_keys + of_queries


def _operand_bytes(rows: Floats | float, columns: Floats | float, depth: Floats | float) -> Floats:
    """That all warps read (``ldmatrix``) for a product of ``rows`` and ``columns``, in the grid that reads least.

    Warps side by side read the same rows, and those below each other the same columns.
    """
    read = [rows * across + columns * down for down, across in WARP_GRIDS]
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*read)) * depth * QUERY_BYTES)
