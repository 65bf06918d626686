"""The tiles of attention kernels on one chip: their shape, and what a block of keys costs them.

A work item is a tile of query rows of one head. It walks over blocks of keys: scores = Q K', softmax, output += P V.
The matrix unit computes both products; the vector lanes and the exponential unit compute the softmax between them.
Belongs here: one tile. How many there are is in ``plan``, how they fill the chip in ``price``. Rules
follow the published kernels, which are named in ``kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chips.generation import OVERLAPS, AttentionKernel
from chips.kernels.attention.kernels import products_in
from chips.kernels.attention.shape import QUERY_BYTES, AttentionShape, Floats
from chips.kernels.kernel_time import MATRIX_UNIT, ON_CHIP_NETWORK, VECTOR_UNIT
from chips.kernels.matmul.tiles import SHARED_BYTES_PER_CLOCK
from chips.spec import ELEMENT_BYTES, Gpu

WARPGROUP_ROWS = 64.0
NARROW_HEAD = 96.0
INSTRUCTION_ROWS = 16.0
"""Of queries, that one ``mma.sync`` multiplies."""
LONGEST_KEY_BLOCK = 128.0
KEY_STEP = 16.0
FLASH_ATTENTION_2_KEYS, WIDEST_HEAD = 16_384.0, 256.0
"""Keys times head dimension of a block: 256 keys of 64, 128 of 128, 64 of 256 (flash_fwd_launch_template.h, split). Of
wider heads, for which it and FlashInfer have no such kernels, the shortest blocks."""
COMPILED_FOR_SHARED_BYTES, COMPILED_FOR_REGISTER_BYTES = 232_448.0, 262_144.0
"""Of a streaming multiprocessor, that libraries made their tiles for Hopper and Blackwell for (as many bytes of tensor
memory as of registers): a chip with more runs the same tiles."""
FLASHINFER_KEYS = 64.0
"""Its blocks are a multiple: four warps, 16 keys each."""
WARP_ROWS = (16.0, 64.0)
"""FlashInfer's tiles: one warp's rows, or those of four."""
TRITON_KEYS = 32.0
"""A block of vLLM's Triton kernel, and one page of the cache."""
TRITON_CONVERTING = 2.6
"""Conversions of FlashInfer, which converts values in pairs, in the time of one of Triton; fitted to vLLM attention of
head dimension 192, L40S and B200 FP8 caches."""
GROUPED_ROWS = (8.0, 64.0)
"""TensorRT-LLM's decode tiles: a power of two that holds the query heads of a key-value head."""


@dataclass(frozen=True)
class AttentionTile:
    """Tile of one kernel: ``rows`` of queries by ``keys``, and ``resident`` tiles on a streaming multiprocessor.

    ``granule``: rows that are computed at least, and in multiples; ``columns``: thread blocks that share an item's
    values; ``key_operands``: keys are the operand that the matrix unit reads row by row, not queries.
    """

    rows: Floats
    keys: Floats
    resident: Floats
    granule: Floats
    columns: Floats
    key_operands: NDArray[np.bool_]

    def computed(self, query_rows: Floats) -> Floats:
        """Rows that the matrix instructions of a tile compute, where one head has ``query_rows``."""
        whole: Floats = np.ceil(np.minimum(query_rows, self.rows) / self.granule) * self.granule
        return np.minimum(whole, self.rows)


def choose_tile(chip: Gpu, shape: AttentionShape, kernel: AttentionKernel) -> AttentionTile:
    """The tile that the library has compiled for this head dimension; a smaller one where the chip cannot hold it."""
    match kernel:
        case "flash_attention_2":
            return _in_turn(chip, shape)
        case "flash_attention_3":
            return _warpgroups(chip, shape)
        case "flashinfer":
            return _converting(chip, shape)
        case "triton":
            packed = shape.tokens * shape.group
            rows = np.where(packed <= INSTRUCTION_ROWS, INSTRUCTION_ROWS, WARPGROUP_ROWS)
            return _tile(shape, rows, np.full_like(rows, TRITON_KEYS), 2.0, INSTRUCTION_ROWS)
        case "trtllm_gen":
            return _in_tensor_memory(chip, shape)


def _tile(
    shape: AttentionShape,
    rows: Floats | float,
    keys: Floats,
    resident: Floats | float = 1.0,
    granule: Floats | float = 1.0,
) -> AttentionTile:
    zero = np.zeros_like(shape.head_dim)
    return AttentionTile(zero + rows, zero + keys, zero + resident, zero + granule, zero + 1.0, zero > 0)


def _in_turn(chip: Gpu, shape: AttentionShape) -> AttentionTile:
    """FlashAttention-2: 64 query rows, one stage of keys and values, and a second such tile where shared memory holds
    it."""
    row_bytes = shape.head_dim * QUERY_BYTES
    shared = chip.on_chip.shared_bytes
    room = (shared / row_bytes - WARPGROUP_ROWS) / 2.0
    longest = np.where(shape.head_dim <= WIDEST_HEAD, FLASH_ATTENTION_2_KEYS / shape.head_dim, KEY_STEP)
    keys = np.minimum(longest, np.maximum(np.floor(room / KEY_STEP), 1.0) * KEY_STEP)
    most = np.clip(np.floor(shared / ((WARPGROUP_ROWS + 2.0 * keys) * row_bytes)), 1.0, 2.0)
    return _tile(shape, WARPGROUP_ROWS, keys, most, WARPGROUP_ROWS)


def _warpgroups(chip: Gpu, shape: AttentionShape) -> AttentionTile:
    """FlashAttention-3 (hopper/tile_size.h): two key-value stages beside two warpgroups of 64 query rows, three for
    narrow heads; as many of them as leave scores and output in two thirds of the registers."""
    row_bytes = shape.head_dim * QUERY_BYTES
    shared = min(chip.on_chip.shared_bytes, COMPILED_FOR_SHARED_BYTES)
    registers = min(chip.on_chip.register_bytes, COMPILED_FOR_REGISTER_BYTES)
    most = np.where(shape.head_dim <= NARROW_HEAD, 3.0, 2.0)
    rows = np.full_like(shape.head_dim, WARPGROUP_ROWS)
    keys = _key_block((shared / row_bytes - rows) / 4.0)
    for warpgroups in (2.0, 3.0):
        more_rows = warpgroups * WARPGROUP_ROWS
        beside_output = registers * 2.0 / 3.0 / (4.0 * more_rows) - shape.head_dim
        more_keys = _key_block(np.minimum((shared / row_bytes - more_rows) / 4.0, beside_output))
        fits = (beside_output >= KEY_STEP) & (warpgroups <= most)
        rows, keys = np.where(fits, more_rows, rows), np.where(fits, more_keys, keys)
    return _tile(shape, rows, keys, 1.0, WARPGROUP_ROWS)


def _in_tensor_memory(chip: Gpu, shape: AttentionShape) -> AttentionTile:
    """TensorRT-LLM on Blackwell: two tiles of 128 queries for heads of up to 128, else one, as tensor memory holds
    scores and output; where one does not fit, several thread blocks share its values and each computes all scores.

    A single token's queries are few, so keys take their place: the matrix unit reads 128 of them at once, in two steps.
    """
    least, most = GROUPED_ROWS
    keys = np.full_like(shape.head_dim, LONGEST_KEY_BLOCK)
    lines = min(chip.on_chip.tensor_bytes or chip.on_chip.register_bytes, COMPILED_FOR_REGISTER_BYTES)
    lines /= 4.0 * LONGEST_KEY_BLOCK
    two = (shape.head_dim <= LONGEST_KEY_BLOCK) & (2.0 * (keys + shape.head_dim) <= lines)
    rows = np.where(two, 2.0, 1.0) * LONGEST_KEY_BLOCK
    prefill = replace(
        _tile(shape, rows, keys, 1.0, LONGEST_KEY_BLOCK), columns=np.ceil(shape.head_dim / (lines - LONGEST_KEY_BLOCK))
    )
    grouped = np.clip(np.exp2(np.ceil(np.log2(shape.group))), least, most)
    decode = replace(_tile(shape, grouped, 2.0 * keys, 1.0, least), key_operands=np.ones(keys.shape, bool))
    return _where(shape.tokens == 1, decode, prefill)


def _converting(chip: Gpu, shape: AttentionShape) -> AttentionTile:
    """FlashInfer: one warp's query rows where they hold the heads that share keys, else four warps'; two tiles beside
    each other where half of the shared memory holds 128 keys and their values, else one alone."""
    few, many = WARP_ROWS
    rows = np.where(shape.tokens * shape.group <= few, few, many)
    key_bytes = 2.0 * shape.head_dim * shape.kv_bytes
    beside, alone = (
        (chip.on_chip.shared_bytes / tiles - rows * shape.head_dim * QUERY_BYTES) / key_bytes for tiles in (2.0, 1.0)
    )
    resident = np.where(beside >= LONGEST_KEY_BLOCK, 2.0, 1.0)
    room = np.floor(np.where(resident > 1, beside, alone) / FLASHINFER_KEYS) * FLASHINFER_KEYS
    longest = np.where(shape.head_dim <= WIDEST_HEAD, LONGEST_KEY_BLOCK, FLASHINFER_KEYS)
    return _tile(shape, rows, np.clip(room, FLASHINFER_KEYS, longest), resident, INSTRUCTION_ROWS)


def _key_block(room: Floats) -> Floats:
    """Keys a block: a multiple of the matrix instruction's depth, at most 128."""
    return np.clip(np.floor(room / KEY_STEP) * KEY_STEP, KEY_STEP, LONGEST_KEY_BLOCK)


def _where(condition: NDArray[np.bool_], one: AttentionTile, other: AttentionTile) -> AttentionTile:
    names = AttentionTile.__dataclass_fields__
    return AttentionTile(*(np.where(condition, getattr(one, name), getattr(other, name)) for name in names))


def _softmax_clocks(chip: Gpu) -> float:
    """Clock cycles a score: the special function unit and the vector lanes take turns."""
    coefficients, compute = chip.generation.attention, chip.compute
    return 1.0 / compute.special_functions_per_clock + coefficients.softmax_operations / compute.vector_lanes


def _converting_clocks(
    chip: Gpu, shape: AttentionShape, tile: AttentionTile, kernel: AttentionKernel
) -> tuple[Floats | float, Floats | float]:
    """Clock cycles of a block of FP8 keys and values, by warps that load and by warps that compute.

    FlashAttention-3's loading warps transpose values, beside the products; those of wide heads in several passes. Where
    products are bf16, the computing warps convert keys and values before; in FlashInfer each for its own rows.
    """
    rate = chip.generation.attention.values_per_clock
    if shape.kv_precision == "bf16" or rate is None or kernel == "trtllm_gen":
        return 0.0, 0.0
    values = tile.keys * shape.head_dim / rate
    if kernel == "flash_attention_3":
        return values * np.maximum(shape.head_dim / LONGEST_KEY_BLOCK, 1.0), 0.0
    return 0.0, 2.0 * values * (TRITON_CONVERTING if kernel == "triton" else tile.rows / INSTRUCTION_ROWS)


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
    chip: Gpu, shape: AttentionShape, tile: AttentionTile, query_rows: Floats, kernel: AttentionKernel
) -> TileTime:
    """What a tile costs where one head has ``query_rows`` rows (a tile holds at most ``tile.rows`` of them).

    Matrix and softmax are two engines. A tile alone takes them in turn (FlashAttention-2). Warpgroups that hand the
    matrix unit to each other (FlashAttention-3), or a second resident tile, hide the shorter of the two behind the
    longer, up to ``overlap``. Keys and values come from the L2 at the rate of one streaming multiprocessor among
    others. At its ends a tile loads its queries and first keys, fills the pipeline with one block in turn, masks the
    block on the diagonal and stores its output.
    """
    coefficients, compute = chip.generation.attention, chip.compute
    overlaps = kernel in OVERLAPS
    efficiency = coefficients.matrix_efficiency if overlaps else coefficients.synchronous_matrix_efficiency
    used_rows = np.minimum(query_rows, tile.rows)
    scores = tile.computed(query_rows) * tile.keys
    element_clocks = shape.head_dim / coefficients.unit_bytes_per_clock
    key_clocks = element_clocks * shape.kv_bytes

    products = products_in(chip, kernel, shape.kv_precision)
    flop = 2.0 * (1.0 + 1.0 / tile.columns) * scores * shape.head_dim
    matrix = flop / (compute.matrix_flop_per_clock[products] * efficiency)
    reads = 2.0 * tile.keys * shape.head_dim * ELEMENT_BYTES[products] / SHARED_BYTES_PER_CLOCK
    matrix = np.where(tile.key_operands, np.maximum(matrix, reads), matrix)
    softmax = scores * _softmax_clocks(chip)
    ahead, in_line = _converting_clocks(chip, shape, tile, kernel)
    load = 2.0 * tile.keys * key_clocks
    side_by_side = matrix + softmax - coefficients.overlap * np.minimum(matrix, softmax)
    computing = np.maximum(side_by_side if overlaps else matrix + softmax, ahead) + in_line
    in_turn = np.maximum(matrix + softmax + ahead + in_line, load)
    overlapped = np.maximum(np.maximum(side_by_side, ahead) + in_line, load)
    block = overlapped if overlaps else in_turn
    shared = np.where(tile.resident > 1, overlapped, block) * tile.resident

    masks = (shape.tokens > 1) & shape.causal
    mask = np.where(masks, scores * coefficients.mask_operations / compute.vector_lanes, 0.0)
    edges = 2.0 * used_rows * element_clocks * QUERY_BYTES + np.minimum(tile.keys, shape.context) * key_clocks
    ends = coefficients.tile_latency + (edges + mask + in_turn - block) / compute.clock_hz
    limiter = np.where(softmax > matrix, VECTOR_UNIT, MATRIX_UNIT)
    limiter = np.where(load >= block, ON_CHIP_NETWORK, limiter)
    own_load = load * coefficients.unit_bytes_per_clock / chip.generation.matmul.load_bytes_per_clock
    alone = np.where(load >= block, np.maximum(own_load, computing), block)
    clock = compute.clock_hz
    return TileTime(block / clock, shared / clock, alone / clock, ends, limiter)
