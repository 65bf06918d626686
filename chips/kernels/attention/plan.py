"""How the library cuts one attention call into work items: tiles of queries, blocks of keys, splits of the context.

Belongs here: counts. What an item costs is in ``tiles``, how long all take in ``price``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips.generation import AttentionKernel
from chips.kernels.attention.kernels import PACKS
from chips.kernels.attention.shape import AttentionShape, Floats
from chips.kernels.attention.tiles import WARPGROUP_ROWS, AttentionTile
from chips.spec import Gpu

FULL_ENOUGH = 0.8
NEARLY_BEST = 0.85
ASSUMED_RESIDENT = 2.0
"""Blocks on a streaming multiprocessor that FlashAttention-2 and FlashInfer count on wherever they run."""
SCHEDULING_MARGIN = 1.1
"""FlashAttention-3 (flash_prepare_scheduler): blocks that a streaming multiprocessor may have beyond its share."""
LEAST_PART_KEYS = {"trtllm_gen": 512.0, "flashinfer": 128.0}
"""Keys that a part of a context has at least: two steps of TensorRT-LLM's kernel; FlashInfer's least chunk."""
TRITON_PARTS, TRITON_MOST_SPLIT = 16.0, 128.0
"""vLLM (unified_attention): 16 parts of a context, empty or not, where there are up to 128 items."""
CHUNK = 8192


@dataclass(frozen=True)
class WorkItems:
    """How many thread blocks share a call, and the blocks of keys or queries that each walks over.

    ``items``: of the whole call. ``longest`` and ``mean``: blocks of an item; ``uneven``: items differ in them, as
    causal tiles and empty splits do, and parts of one context hardly do. Arrays over calls.
    """

    items: Floats
    longest: Floats
    mean: Floats
    uneven: NDArray[np.bool_]


@dataclass(frozen=True)
class AttentionPlan(WorkItems):
    """Work items of a forward call: tiles times ``splits`` of the context, over the batch.

    ``query_rows``: rows of one of ``row_heads`` heads that tiles cut up. ``planned``: the library lays out its splits
    in a kernel ahead. ``partial_rows``: rows of a head that each split leaves for the reduction. Arrays over calls.
    """

    row_heads: Floats
    query_rows: Floats
    splits: Floats
    planned: NDArray[np.bool_]
    partial_rows: Floats


def plan_attention(chip: Gpu, shape: AttentionShape, tile: AttentionTile, kernel: AttentionKernel) -> AttentionPlan:
    """Cut up a call as the kernel's library does.

    Queries that share a key-value head fill a tile together, where the kernel packs them, and single tokens in all.
    FlashAttention-3 splits contexts where the call is planned (few query tokens) or has many blocks; FlashAttention-2
    for single tokens of grouped queries; the others single tokens, into no more parts than fill the chip once.
    """
    coefficients = chip.generation.attention
    decode = shape.tokens == 1
    packed = np.where(decode | (kernel in PACKS), shape.group, 1.0)
    row_heads, query_rows = shape.heads / packed, shape.tokens * packed
    tiles = np.ceil(query_rows / tile.rows)
    longest = np.ceil(shape.context / tile.keys)
    mean = _blocks_a_head(shape, tile, tiles, longest, packed) / tiles
    items = shape.batch * row_heads * tiles * tile.columns
    slots = np.full_like(items, float(chip.compute.units))
    twice = ASSUMED_RESIDENT * slots

    planned = padded = np.zeros(items.shape, bool)
    match kernel:
        case "flash_attention_2":
            may_split = decode & (shape.group > 1)
            splits = split_context(items, longest, may_split, twice, coefficients.most_splits)
        case "flash_attention_3":
            planned = shape.batch * shape.tokens <= coefficients.planned_tokens
            may_split = planned | (longest > coefficients.unsplit_blocks)
            splits = split_context(items, longest, may_split, slots, coefficients.most_splits)
            # Ahead of the kernel FlashAttention-3 deals all blocks out evenly; no more parts than that needs are run.
            blocks_a_unit = np.ceil(SCHEDULING_MARGIN * items * longest / slots)
            splits = np.minimum(splits, np.ceil(longest / blocks_a_unit))
            # The kernel of head dimensions that leave one warpgroup a tile runs every planned split, empty or not, and
            # stores whole tiles.
            padded = planned & decode & (tile.rows <= WARPGROUP_ROWS)
            splits = np.where(padded, float(coefficients.most_splits), splits)
        case "trtllm_gen" | "flashinfer":
            most = np.minimum(slots, coefficients.most_splits) if kernel == "trtllm_gen" else twice
            fills = np.clip(np.floor(most / items), 1.0, np.ceil(shape.context / LEAST_PART_KEYS[kernel]))
            splits = np.where(decode, np.minimum(fills, coefficients.most_splits), 1.0)
        case "triton":
            padded = decode & (items <= TRITON_MOST_SPLIT)
            splits = np.where(padded, TRITON_PARTS, 1.0)
    return AttentionPlan(
        items * splits,
        np.ceil(longest / splits),
        np.minimum(mean / splits, np.ceil(longest / splits)),
        (mean < longest) | padded,
        row_heads,
        query_rows,
        splits,
        planned,
        np.where(padded, tiles * tile.rows, query_rows),
    )


def _blocks_a_head(
    shape: AttentionShape, tile: AttentionTile, tiles: Floats, longest: Floats, packed: Floats
) -> Floats:
    """Blocks of keys over all tiles of one head; a causal tile skips those beyond its last query."""
    if not shape.causal:
        return tiles * longest
    tokens_a_tile = np.minimum(tile.rows / packed, shape.tokens)
    common = np.gcd(np.maximum(tokens_a_tile, 1.0).astype(np.int64), tile.keys.astype(np.int64))
    rounding_up = 0.5 * (1.0 - common / tile.keys)
    keys_of_earlier = shape.context - shape.tokens + tokens_a_tile * tiles / 2.0
    return (tiles - 1.0) * np.minimum(keys_of_earlier / tile.keys + rounding_up, longest) + longest


def split_context(tiles: Floats, blocks: Floats, may_split: NDArray[np.bool_], slots: Floats, most: int) -> Floats:
    """Parts into which the context of every tile is split, so that ``tiles`` fill the ``slots`` of the chip.

    The rule of Flash-Decoding: no split where tiles fill 80% of the slots; else the fewest parts whose waves are
    within 85% as full as the fullest. A part has at least one of the ``blocks``.
    """
    splits = np.ones(np.shape(tiles))
    candidates = may_split & (blocks > 1) & (tiles < FULL_ENOUGH * slots)
    found = [
        _fewest_parts(
            tiles[candidates][at : at + CHUNK],
            blocks[candidates][at : at + CHUNK],
            slots[candidates][at : at + CHUNK],
            most,
        )
        for at in range(0, int(np.sum(candidates)), CHUNK)
    ]
    if found:
        splits[candidates] = np.concatenate(found)
    return splits


def _fewest_parts(tiles: Floats, blocks: Floats, slots: Floats, most: int) -> Floats:
    parts = np.arange(1.0, 1.0 + min(most, blocks.max()))
    blocks_a_part = np.ceil(blocks[:, None] / parts)
    shorter = np.ones(blocks_a_part.shape, bool)
    shorter[:, 1:] = blocks_a_part[:, 1:] < blocks_a_part[:, :-1]
    waves = tiles[:, None] * parts / slots[:, None]
    fullness = np.where(shorter, waves / np.ceil(waves), 0.0)
    best = fullness.max(axis=1, keepdims=True)
    return np.asarray(parts[np.argmax(fullness >= NEARLY_BEST * best, axis=1)])
