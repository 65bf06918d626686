"""What attention costs on a GPU: prefill, decode over a KV cache, and the backward pass of training.

FlashAttention as DESIGN.md prices a kernel: tiles of query rows over blocks of keys as work items on the streaming
multiprocessors, waves, and the traffic of keys and values. Includes what the serving library runs beside the kernel:
the write of new keys and values into the cache, and the reduction over the splits of a long context.
Sources: Dao 2023 (arXiv 2307.08691), Shah et al. 2024 (arXiv 2407.08608), Dao et al. 2023 (Flash-Decoding).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from chips.kernels.attention_tiles import Floats, block_seconds, choose_tile
from chips.kernels.kernel_time import LATENCY, MATRIX_UNIT, MEMORY, KernelTime
from chips.spec import ELEMENT_BYTES, Gpu, Precision


def price_attention_prefill(
    chip: Gpu,
    batch: ArrayLike,
    tokens: ArrayLike,
    context: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    precision: Precision = "bf16",
    causal: bool = True,
    asynchronous: bool | None = None,
    resident: bool = False,
) -> KernelTime:
    """Attention of ``tokens`` new queries a sequence over ``context`` keys (the new ones included, at its end).

    ``asynchronous`` overrides whether the kernel overlaps matrix unit and softmax (default: as the generation's
    library does). ``resident``: the same call ran just before, so that what fits in L2 need not come from HBM.
    Raises ValueError on sizes below 1, heads that are no multiple of kv_heads, or context below tokens.
    """
    shape = _sizes(batch, tokens, context, heads, kv_heads, head_dim)
    return _forward(chip, *shape, precision, causal, asynchronous, resident)


def price_attention_decode(
    chip: Gpu,
    batch: ArrayLike,
    context: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    precision: Precision = "bf16",
    resident: bool = False,
) -> KernelTime:
    """Attention of one query token a sequence over ``context`` keys, with the reduction over splits.

    ``resident``: the same call ran just before, so that keys and values that fit in L2 need not come from HBM.
    Raises ValueError on sizes below 1 or heads that are no multiple of kv_heads.
    """
    shape = _sizes(batch, 1, context, heads, kv_heads, head_dim)
    return _forward(chip, *shape, precision, True, None, resident)


def price_attention_backward(
    chip: Gpu,
    batch: ArrayLike,
    tokens: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    precision: Precision = "bf16",
    causal: bool = True,
) -> KernelTime:
    """Backward pass of attention in training: 5 matrix products where forward has 2 (Dao 2023, section 4.1).

    The scores are computed again, so every engine of a block does 2.5 times the forward work.
    """
    shape = _sizes(batch, tokens, tokens, heads, kv_heads, head_dim)
    forward = _forward(chip, *shape, precision, causal, None, False)
    scale = 2.5
    return KernelTime(
        forward.seconds * scale, forward.fill_drain_seconds * scale, forward.bound_seconds * scale, forward.limiter
    )


def _sizes(*sizes: ArrayLike) -> tuple[Floats, ...]:
    """The arguments as float arrays of one shape, checked."""
    batch, tokens, context, heads, kv_heads, head_dim = np.broadcast_arrays(*(np.asarray(s, np.float64) for s in sizes))
    names = ("batch", "tokens", "context", "heads", "kv_heads", "head_dim")
    for name, size in zip(names, (batch, tokens, context, heads, kv_heads, head_dim), strict=True):
        if not np.all(size >= 1):
            raise ValueError(f"attention {name} is {size.min():g}; it must be at least 1.")
    if np.any(heads % kv_heads):
        at = np.flatnonzero(heads % kv_heads)[0]
        raise ValueError(
            f"attention has {heads.flat[at]:g} heads over {kv_heads.flat[at]:g} kv_heads; heads must be a multiple."
        )
    if np.any(context < tokens):
        at = np.flatnonzero(context < tokens)[0]
        raise ValueError(
            f"attention context is {context.flat[at]:g}; it holds the {tokens.flat[at]:g} new tokens, so at least that."
        )
    return batch, tokens, context, heads, kv_heads, head_dim


def _forward(
    chip: Gpu,
    batch: Floats,
    tokens: Floats,
    context: Floats,
    heads: Floats,
    kv_heads: Floats,
    head_dim: Floats,
    precision: Precision,
    causal: bool,
    asynchronous: bool | None,
    resident: bool,
) -> KernelTime:
    coefficients = chip.generation.attention
    gap = chip.generation.launch.graph_gap
    overlapped = coefficients.asynchronous if asynchronous is None else asynchronous
    units = float(chip.compute.units)
    element = ELEMENT_BYTES[precision]
    group = heads / kv_heads

    # Queries of one key-value head fill a tile together: always in FlashAttention-3, one token at a time in 2.
    decode = tokens == 1
    packed = np.where(decode | overlapped, group, 1.0)
    rows, row_heads = tokens * packed, heads / packed
    tile = choose_tile(chip, head_dim, precision, overlapped)
    tiles = np.ceil(rows / tile.rows)
    longest = np.ceil(context / tile.keys)
    if causal:
        step = np.minimum(tile.rows / packed, tokens)
        uneven = 0.5 * (1.0 - np.gcd(np.maximum(step, 1).astype(np.int64), tile.keys.astype(np.int64)) / tile.keys)
        earlier = (tiles - 1.0) * ((context - tokens) / tile.keys + uneven + step * tiles / (2.0 * tile.keys))
        blocks = np.minimum(earlier, (tiles - 1.0) * longest) + longest
    else:
        blocks = tiles * longest
    items = batch * row_heads * tiles
    all_blocks = batch * row_heads * blocks

    # Split the context where the tiles alone leave streaming multiprocessors idle.
    may_split = (longest > coefficients.unsplit_blocks) if overlapped else decode & (group > 1) & (longest > 1)
    may_split = np.where(decode, longest > 1, may_split) if overlapped else may_split
    may_split = may_split & (items < 0.8 * units * tile.resident)
    per_split = np.where(may_split, np.maximum(np.ceil(1.1 * all_blocks / (units * tile.resident)), 1.0), longest)
    per_split = np.minimum(per_split, longest)
    splits = np.ceil(longest / per_split)
    is_split = splits > 1
    work_items = items * splits

    alone, shared = block_seconds(chip, tile, rows, head_dim, precision, overlapped)
    together = np.minimum(np.ceil(work_items / units), tile.resident)
    block = np.where(together > 1.0, shared * tile.resident, alone)
    slots = units * tile.resident
    even = np.where(tiles > 1.0, np.ceil(all_blocks / slots), np.ceil(work_items / slots) * per_split)
    tail = np.where((tiles > 1) & ~is_split, coefficients.tail * per_split, 0.0)
    tail = np.where(work_items > slots, tail, 0.0)
    chain = np.maximum(per_split, even + tail)
    waves = np.maximum(np.ceil(work_items / slots), 1.0)
    compute = chain * block
    turnover = waves * coefficients.tile_latency

    # Traffic: keys and values once a sequence, queries and output once.
    kv_bytes = 2.0 * batch * kv_heads * context * head_dim * element
    q_bytes = 2.0 * batch * heads * tokens * head_dim * element
    hbm = chip.memory.bandwidth * coefficients.memory_efficiency
    l2 = coefficients.l2_bytes_per_clock * chip.compute.clock_hz
    total = kv_bytes + q_bytes
    capacity = coefficients.resident_share * chip.on_chip.l2_bytes
    kept = np.clip(2.0 - total / capacity, 0.0, 1.0) if resident else np.zeros_like(total)
    memory = total * (1.0 - kept) / hbm + total * kept / l2

    partial_bytes = 2.0 * batch * heads * tokens * splits * head_dim * 4.0
    reduction = np.where(is_split, gap + coefficients.helper_seconds + partial_bytes / l2, 0.0)
    copies = decode & (group > 1) & (kv_heads > 1) & (batch > 1) & (not overlapped)
    reordering = np.where(copies, 2.0 * (gap + coefficients.helper_seconds + 0.5 * q_bytes / l2), 0.0)
    cache_write = coefficients.helper_seconds + gap + 4.0 * batch * tokens * kv_heads * head_dim * element / hbm
    start = coefficients.kernel_latency + cache_write
    steady = np.maximum(compute + turnover - coefficients.tile_latency, memory)
    seconds = start + coefficients.tile_latency + steady + reduction + reordering

    keys = tokens * (context - 0.5 * (tokens - 1.0)) if causal else tokens * context
    matrix_bound = 4.0 * batch * heads * head_dim * keys / chip.peak_flops(precision)
    bound_bytes = np.maximum(total - (chip.on_chip.l2_bytes if resident else 0.0), 0.0)
    bound = np.maximum(matrix_bound, bound_bytes / chip.memory.bandwidth)
    limiter = np.where(compute > memory, MATRIX_UNIT, MEMORY)
    limiter = np.where(steady < start, LATENCY, limiter)
    return KernelTime(seconds, seconds - steady, bound, limiter)
