"""The backward pass of attention: a tile of keys and values walks over blocks of queries, five products a block.

Scores and probabilities are computed again, then the gradients of values (P' dO), of probabilities (dO V'), of keys
(dS' Q) and of queries (dS K). Gradients of keys and values stay with the tile; those of queries are added up in fp32 in
the L2, block by block (Dao 2023, section 4.1; Shah et al. 2024, section 3). Belongs here: one tile of it, and how many.
"""

from __future__ import annotations

import numpy as np

from chips.generation import OVERLAPS, AttentionKernel
from chips.kernels.attention.plan import AttentionPlan
from chips.kernels.attention.shape import QUERY_BYTES, AttentionShape, Floats
from chips.kernels.attention.tiles import TileTime
from chips.kernels.kernel_time import MATRIX_UNIT, ON_CHIP_NETWORK, VECTOR_UNIT
from chips.spec import Gpu

PRODUCTS = 5.0
KEYS = 128.0
"""Of a tile: gradients of keys and values, 128 by the head dimension each in fp32, lie in the registers of two or three
warpgroups."""
ELEMENTS, MOST_QUERIES, LEAST_QUERIES, QUERY_STEP = 10_240.0, 128.0, 64.0, 16.0
"""Of a block of queries: 80 queries of 128, 128 of 64, 64 of wider heads (FlashAttention-3,
flash_bwd_launch_template.h)."""
SOFTMAX_OPERATIONS = 5.0
"""Vector instructions a score beside the exponential: scale and subtract, subtract, multiply, two conversions; counted
in the algorithm."""
GRADIENT_BYTES = 4.0
"""A gradient of queries, in fp32."""


def backward_tiles(
    chip: Gpu, shape: AttentionShape, kernel: AttentionKernel
) -> tuple[AttentionPlan, TileTime, Floats, Floats]:
    """The tiles of a call, what each takes, the bytes that all read and add in the L2, and the scores they compute.

    Products and softmax of a block take turns: registers hold no other block meanwhile. Loads of queries and of the
    gradients of the output, and sums of gradients of queries, run beside them, up to ``traffic_overlap``.
    """
    coefficients, compute = chip.generation.attention, chip.compute
    efficiency = coefficients.matrix_efficiency if kernel in OVERLAPS else coefficients.synchronous_matrix_efficiency
    queries = np.clip(np.floor(ELEMENTS / shape.head_dim / QUERY_STEP) * QUERY_STEP, LEAST_QUERIES, MOST_QUERIES)
    tiles = np.ceil(shape.tokens / KEYS)
    items = shape.batch * shape.heads * tiles
    longest = np.ceil(shape.tokens / queries)
    # Of causal blocks those before a tile's first key are skipped; of those on the diagonal half is computed in vain.
    mean = np.minimum(longest * (tiles + 1.0) / (2.0 * tiles) + 0.5, longest) if shape.causal else longest

    scores = queries * KEYS
    matrix = 2.0 * PRODUCTS * scores * shape.head_dim / (compute.matrix_flop_per_clock["bf16"] * efficiency)
    softmax = scores * (1.0 / compute.special_functions_per_clock + SOFTMAX_OPERATIONS / compute.vector_lanes)
    block_bytes = queries * shape.head_dim * (2.0 * QUERY_BYTES + GRADIENT_BYTES)
    load = block_bytes / coefficients.unit_bytes_per_clock
    computing = matrix + softmax
    block = computing + load - coefficients.traffic_overlap * np.minimum(computing, load)
    edges = 4.0 * KEYS * shape.head_dim * QUERY_BYTES / coefficients.unit_bytes_per_clock
    ends = coefficients.tile_latency + edges / compute.clock_hz

    no = np.zeros(items.shape, bool)
    one = np.ones_like(items)
    plan = AttentionPlan(shape.heads, shape.tokens, items, one, longest, mean, mean < longest, no, False, shape.tokens)
    limiter = np.where(softmax > matrix, VECTOR_UNIT, MATRIX_UNIT)
    limiter = np.where(load > computing, ON_CHIP_NETWORK, limiter)
    seconds = block / compute.clock_hz
    time = TileTime(seconds, seconds, seconds, ends, limiter)
    return plan, time, items * mean * block_bytes, items * mean * scores
