"""What attention costs on a GPU: prefill, decode over a KV cache, and the backward pass of training.

The published kernels (``kernels``), priced as every kernel: tiles of query rows over blocks of keys as work items on
the streaming multiprocessors, waves, and the traffic of keys and values. Includes what the serving library runs beside
the kernel: the write of new keys and values into the cache, and the reduction over the splits of a long context.
Sources: Dao 2023 (arXiv 2307.08691), Shah et al. 2024 (arXiv 2407.08608), Dao et al. 2023 (Flash-Decoding).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.energy import WARP_OPERAND_BYTES, ZEROS
from chips.generation import OVERLAPS, AttentionKernel
from chips.kernels.attention.backward import PRODUCTS, backward_tiles
from chips.kernels.attention.kernels import INTERLEAVES, products_in, with_cache_in, without_kernel
from chips.kernels.attention.plan import AttentionPlan, WorkItems, plan_attention
from chips.kernels.attention.shape import AttentionShape, Floats
from chips.kernels.attention.tiles import TileTime, choose_tile, time_tile
from chips.kernels.kernel_time import LATENCY, MEMORY, ON_CHIP_NETWORK, KernelTime
from chips.spec import ELEMENT_BYTES, Gpu, KvPrecision

BACKWARD_PRODUCTS = PRODUCTS / 2.0
CACHE_WRITE_THREADS = 512.0
RESIDENT_THREADS = 2048.0
SPLIT_OUTPUT_BYTES = 4.0
LINE_BYTES = 128.0
"""Of the L2."""
TILES_BESIDE = 2.0
"""On a streaming multiprocessor, of kernels over a cache whose heads lie side by side."""
GATHERED = 0.8
"""Of the L2's rate, that gathers of cache pages reach: in vLLM attention on an H100, 3480 of 4472 bytes a clock."""
POWER_WINDOW = 8e-3
"""Seconds in which a benchmark's call meets the power limit: on an H100, 1 ms runs at full clock and 30 ms does not."""


def price_attention_prefill(
    chip: Gpu,
    batch: ArrayLike,
    tokens: ArrayLike,
    context: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    kv_precision: KvPrecision = "bf16",
    causal: bool = True,
    kernel: AttentionKernel | None = None,
    resident: bool = False,
    writes_cache: bool = True,
) -> KernelTime:
    """Attention of ``tokens`` new queries a sequence over ``context`` keys (the new ones included, at its end).

    ``kernel``: another one than the generation's library runs.
    ``resident``: the same call ran just before, a few times: what fits in L2 need not come from HBM, and a short one is
    over before the power limit acts; otherwise the load lasts.
    ``writes_cache``: a kernel ahead writes the new keys and values into the KV cache (not in training, nor where
    another one does). ``kv_precision``: of the keys and values there; queries and output are bf16.
    Raises ValueError on sizes below 1, heads that are no multiple of kv_heads, or context below tokens.
    """
    shape = AttentionShape.check(batch, tokens, context, heads, kv_heads, head_dim, kv_precision, causal)
    return _price(chip, shape, kernel, resident, writes_cache)


def price_attention_decode(
    chip: Gpu,
    batch: ArrayLike,
    context: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    kv_precision: KvPrecision = "bf16",
    resident: bool = False,
    writes_cache: bool = True,
    shares_keys: bool = True,
) -> KernelTime:
    """Attention of one query token a sequence over ``context`` keys, with the reduction over splits.

    ``resident``: the same call ran just before, so that keys and values that fit in L2 need not come from HBM.
    ``writes_cache``: a kernel ahead writes the new key and value into the KV cache (not where another one does).
    ``kv_precision``: of the keys and values there; queries and output are bf16.
    ``shares_keys``: one block serves all query heads that share keys, and a context is split over several; else each
    head has one block, which reads them anew on vector lanes (TensorRT-LLM's masked multi-head attention).
    Raises ValueError on sizes below 1 or heads that are no multiple of kv_heads.
    """
    shape = AttentionShape.check(batch, 1, context, heads, kv_heads, head_dim, kv_precision, True)
    if not shares_keys:
        return _price_by_heads(chip, shape, resident, writes_cache)
    return _price(chip, shape, None, resident, writes_cache)


def price_attention_backward(
    chip: Gpu,
    batch: ArrayLike,
    tokens: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    head_dim: ArrayLike,
    *,
    causal: bool = True,
    kernel: AttentionKernel | None = None,
) -> KernelTime:
    """Backward pass of attention in training: 5 matrix products where forward has 2 (Dao 2023, section 4.1).

    A kernel before it multiplies output and its gradient and clears the gradients of queries, one after it converts
    these from fp32. ``kernel``: another one than the generation's library runs.
    Raises ValueError on sizes below 1 or heads that are no multiple of kv_heads.
    """
    shape = AttentionShape.check(batch, tokens, tokens, heads, kv_heads, head_dim, "bf16", causal)
    coefficients = chip.generation.attention
    kernel = kernel or coefficients.kernel
    plan, time, read, scores = backward_tiles(chip, shape, kernel)
    bound = _bound(chip, shape, kernel, False) * BACKWARD_PRODUCTS
    # Queries, output and gradients of both, those of queries in fp32; keys, values and theirs.
    moved = 3.0 * shape.query_bytes + 2.0 * shape.new_bytes
    fresh = _byte_seconds(chip, moved, True)
    compute = np.maximum(
        _waves(chip, plan, time, np.ones_like(plan.items)),
        time.ends + read / (coefficients.l2_bytes_per_clock * chip.compute.clock_hz),
    )
    steady = _overlap(chip, compute - time.ends, moved * fresh)
    joules = _joules(chip, shape, kernel, scores) * BACKWARD_PRODUCTS
    steady = steady + chip.events.slower_clock(compute - time.ends, joules.sum(axis=0), time.ends + steady, 0.0)
    start = coefficients.kernel_latency + _helper(chip) + 1.5 * shape.query_bytes * fresh
    drain = time.ends + _helper(chip) + 1.5 * shape.query_bytes * fresh
    limiter = np.where(moved * fresh > compute, MEMORY, time.limiter)
    return _kernel_time(start, drain, steady, bound, limiter, joules, chip)


@dataclass(frozen=True)
class _Memory:
    """Seconds of a call's traffic. New keys, values and queries were just written: they lie in L2 if it holds them.

    ``attention``: all that the kernel itself moves; ``queries``: queries and output; ``new``: new keys and values.
    """

    attention: Floats
    queries: Floats
    new: Floats

    @classmethod
    def of(cls, chip: Gpu, shape: AttentionShape, kernel: AttentionKernel, resident: bool) -> _Memory:
        footprint = 2.0 * shape.new_bytes + shape.query_bytes + shape.cached_bytes
        fresh = _byte_seconds(chip, footprint, True)
        queries, new = shape.query_bytes * fresh, shape.new_bytes * fresh
        cached = shape.cached_bytes * _byte_seconds(chip, footprint, resident)
        return cls(queries + new + cached * _lines(chip, shape, kernel), queries, new)


def _lines(chip: Gpu, shape: AttentionShape, kernel: AttentionKernel) -> Floats:
    """Bytes of lines that come with each byte asked for: a narrow FP8 row of one head shares its line with the next
    head's, whose turn, where not all heads run at once, comes when the L2 holds it no more."""
    if kernel not in INTERLEAVES:
        return np.ones_like(shape.head_dim)
    rows_a_line = np.maximum(LINE_BYTES / (shape.head_dim * shape.kv_bytes), 1.0)
    lost = 1.0 - _kept(chip, rows_a_line * shape.cached_bytes / shape.kv_heads)
    at_once = np.minimum(TILES_BESIDE * chip.compute.units / (shape.batch * shape.kv_heads), 1.0)
    apart = shape.kv_heads > 1
    return 1.0 + apart * (rows_a_line - 1.0) * lost * (1.0 - at_once)


def _kept(chip: Gpu, footprint: Floats) -> Floats:
    """The part of a footprint that the L2 still holds when it is used again.

    What is used in turn pushes out what comes next, so of twice the L2's share nothing is left.
    """
    share = chip.generation.attention.resident_share * chip.on_chip.l2_bytes
    return np.clip(2.0 - footprint / share, 0.0, 1.0)


def _byte_seconds(chip: Gpu, footprint: Floats, resident: bool) -> Floats:
    """Seconds a byte: from HBM, or from L2 as far as a ``resident`` footprint fits its share of it."""
    coefficients = chip.generation.attention
    hbm = chip.memory.bandwidth * coefficients.memory_efficiency
    l2 = coefficients.l2_bytes_per_clock * chip.compute.clock_hz
    kept = _kept(chip, footprint) * resident
    return np.asarray(kept / np.maximum(l2, hbm) + (1.0 - kept) / hbm)


def _compute(
    chip: Gpu, shape: AttentionShape, kernel: AttentionKernel
) -> tuple[AttentionPlan, Floats, Floats, NDArray[np.str_], Floats]:
    """The plan, the ends of a tile, all tiles on all streaming multiprocessors (seconds), what blocks wait for, and the
    scores that they compute, of rows and keys beyond a call's own too.
    """
    tile = choose_tile(chip, shape, kernel)
    plan = plan_attention(chip, shape, tile, kernel)
    time = time_tile(chip, shape, tile, plan.query_rows, kernel)
    compute = _waves(chip, plan, time, tile.resident)
    if np.any(tile.resident > 1):
        # Where tiles side by side would take longer than one after the other, they are as good as one after the other.
        compute = np.minimum(compute, _waves(chip, plan, time, np.ones_like(tile.resident)))
    blocks = plan.items * plan.mean
    read = 2.0 * blocks * tile.keys * shape.head_dim * shape.kv_bytes
    l2 = chip.generation.attention.l2_bytes_per_clock * chip.compute.clock_hz
    compute = np.maximum(compute, time.ends + read / l2)
    scores = blocks * tile.computed(plan.query_rows) * tile.keys
    return plan, time.ends, compute, time.limiter, scores


def _waves(chip: Gpu, plan: WorkItems, time: TileTime, resident: Floats) -> Floats:
    """Seconds of all items, ``resident`` of them at once on a streaming multiprocessor.

    Items of one length go in whole waves, of which the last leaves more of the L2 to each of its few, and none a
    neighbour where they are no more than streaming multiprocessors. Causal items differ, are balanced, and leave a
    tail.
    """
    units = chip.compute.units
    beside = (resident > 1) & (plan.items > units)
    block = np.where(beside, time.shared, time.block)
    longest = time.ends + plan.longest * block
    waves = np.maximum(np.ceil(plan.items / (units * resident)), 1.0)
    last = plan.items / (units * resident) - (waves - 1.0)
    fewer = np.where(resident > 1, np.where(last * resident > 1, block, time.block), last * block)
    last_block = np.where(waves > 1, np.clip(fewer, np.minimum(time.alone, time.block), block), block)
    whole = (waves - 1.0) * longest + time.ends + plan.longest * last_block
    mean = time.ends + plan.mean * block
    balanced = plan.items / (units * resident) * mean + chip.generation.attention.tail * longest
    uneven = plan.uneven & (waves > 1)
    return np.where(uneven, np.clip(balanced, longest, waves * longest), whole)


def _overlap(chip: Gpu, compute: Floats, memory: Floats) -> Floats:
    return compute + memory - chip.generation.attention.traffic_overlap * np.minimum(compute, memory)


def _helper(chip: Gpu) -> float:
    """A small kernel beside attention, with the gap that it adds."""
    return chip.generation.launch.graph_gap + chip.generation.attention.helper_seconds


def _copy(chip: Gpu) -> float:
    """A kernel that copies a few kilobytes, with its gap: a trip to L2 and back."""
    vector = chip.generation.vector
    trips = 2.0 * vector.l2_latency_cycles / chip.compute.clock_hz
    return chip.generation.launch.graph_gap + vector.startup_seconds + trips


def _price(
    chip: Gpu, shape: AttentionShape, kernel: AttentionKernel | None, resident: bool, writes_cache: bool
) -> KernelTime:
    on_cache = with_cache_in(chip, shape.kv_precision)
    kernel = kernel or on_cache.generation.attention.kernel
    time = _price_kernel(on_cache, shape, kernel, resident, writes_cache)
    others = without_kernel(shape, kernel)
    if not np.any(others):
        return time
    other = _price_kernel(chip, shape, "triton", resident, writes_cache)
    names = KernelTime.__dataclass_fields__
    return KernelTime(*(np.where(others, getattr(other, name), getattr(time, name)) for name in names))


def _price_kernel(
    chip: Gpu, shape: AttentionShape, kernel: AttentionKernel, resident: bool, writes_cache: bool
) -> KernelTime:
    coefficients = chip.generation.attention
    bound = _bound(chip, shape, kernel, resident)
    memory = _Memory.of(chip, shape, kernel, resident)
    write = _cache_write(chip, shape, memory) if writes_cache else 0.0
    # FlashAttention-2 copies the output of grouped single tokens back, and where they do not lie side by side in
    # memory it first brings queries together and then outputs apart.
    grouped = (shape.tokens == 1) & (shape.group > 1) & (kernel == "flash_attention_2")
    apart = grouped & (shape.kv_heads > 1) & (shape.batch > 1)
    reordering = grouped * _copy(chip) + apart * 2.0 * (_helper(chip) + memory.queries)
    plan, ends, compute, limiter, scores = _compute(chip, shape, kernel)
    steady = _overlap(chip, compute - ends, memory.attention)
    start = coefficients.kernel_latency + plan.planned * shape.batch * coefficients.plan_step + write
    drain = ends + _reduction(chip, shape, plan, kernel) + reordering
    joules, window = _joules(chip, shape, kernel, scores), POWER_WINDOW if resident else 0.0
    # Products, softmax and traffic draw power together.
    steady = steady + chip.events.slower_clock(compute - ends, joules.sum(axis=0), start + drain + steady, window)
    limiter = np.where(memory.attention > compute, MEMORY, limiter)
    return _kernel_time(start, drain, steady, bound, limiter, joules, chip)


def _price_by_heads(chip: Gpu, shape: AttentionShape, resident: bool, writes_cache: bool) -> KernelTime:
    """Decode attention with a block for each query head of each sequence, however long its context.

    Of the blocks that share keys the first brings them to L2, where the others find them. A streaming multiprocessor
    has its share of the L2 whether or not all of them have a block.
    """
    coefficients = chip.generation.attention
    memory = _Memory.of(chip, shape, coefficients.kernel, resident)
    idle = np.maximum(chip.compute.units / (shape.batch * shape.heads), 1.0)
    rate = GATHERED * chip.generation.vector.l2_bytes_per_clock * chip.compute.clock_hz
    reads = shape.group * shape.cached_bytes / rate
    start = coefficients.kernel_latency + (_cache_write(chip, shape, memory) if writes_cache else 0.0)
    return _kernel_time(
        start,
        np.full_like(reads, coefficients.tile_latency),
        np.maximum(memory.attention, reads * idle),
        _bound(chip, shape, chip.generation.attention.kernel, resident),
        np.where(memory.attention >= reads * idle, MEMORY, ON_CHIP_NETWORK),
        chip.events.joules(
            instructions=shape.flops / 2.0 + shape.scores * _score_instructions(chip),
            memory_bytes=shape.moved_bytes,
            chip_bytes=(shape.group - 1.0) * shape.cached_bytes,
        ),
        chip,
    )


def _joules(chip: Gpu, shape: AttentionShape, kernel: AttentionKernel, computed: Floats) -> Floats:
    """What products, softmax and traffic take at the highest clock, by cause; rows and keys that fill up tiles too."""
    scores = shape.scores * (1.0 - ZEROS) + np.maximum(computed, shape.scores) * ZEROS
    flops = 4.0 * shape.head_dim * scores * ELEMENT_BYTES[products_in(chip, kernel, shape.kv_precision)] / 2.0
    # Where the matrix unit reads shared memory itself, an operation's own joules are those of its operands there.
    from_registers = kernel not in OVERLAPS and chip.reads_shared_operands
    return chip.events.joules(
        flops=flops,
        instructions=scores * _score_instructions(chip),
        memory_bytes=shape.moved_bytes,
        register_bytes=flops * WARP_OPERAND_BYTES if from_registers else 0.0,
    )


def _score_instructions(chip: Gpu) -> float:
    """Of a score's softmax, the exponential among them."""
    return chip.generation.attention.softmax_operations + 1.0


def _cache_write(chip: Gpu, shape: AttentionShape, memory: _Memory) -> Floats:
    """A kernel in which a thread block a new token scatters its keys and values into the pages of the cache."""
    threads = np.minimum(shape.kv_heads * shape.head_dim, CACHE_WRITE_THREADS)
    token_waves = shape.batch * shape.tokens * threads / (RESIDENT_THREADS * chip.compute.units)
    return _helper(chip) + token_waves * chip.generation.attention.cache_write_latency + 2.0 * memory.new


def _reduction(chip: Gpu, shape: AttentionShape, plan: AttentionPlan, kernel: AttentionKernel) -> Floats:
    """Partial outputs of the splits, stored in fp32, padded rows too; a second kernel adds those of real rows.

    It loads part after part, but for vLLM's in Triton, which loads all at once.
    """
    coefficients = chip.generation.attention
    row_bytes = shape.batch * plan.row_heads * plan.splits * shape.head_dim * SPLIT_OUTPUT_BYTES
    partial = row_bytes * (plan.partial_rows + np.minimum(plan.query_rows, plan.partial_rows))
    traffic = partial * _byte_seconds(chip, partial, True)
    steps = coefficients.reduction_step * (1.0 if kernel == "triton" else plan.splits)
    return np.where(plan.splits > 1, _helper(chip) + steps + traffic, 0.0)


def _bound(chip: Gpu, shape: AttentionShape, kernel: AttentionKernel, resident: bool) -> Floats:
    """Products over the matrix peak, or bytes that L2 cannot hold over the HBM bandwidth."""
    unpadded = shape.unpadded / shape.head_dim
    fresh = unpadded * (2.0 * shape.new_bytes + shape.query_bytes)
    all_bytes = unpadded * shape.moved_bytes
    l2 = chip.on_chip.l2_bytes
    from_hbm = np.maximum(all_bytes - (l2 if resident else np.minimum(l2, fresh)), 0.0)
    peak = chip.peak_flops(products_in(chip, kernel, shape.kv_precision))
    return np.maximum(unpadded * shape.flops / peak, from_hbm / chip.memory.bandwidth)


def _kernel_time(
    ramp: Floats | float,
    drain: Floats,
    steady: Floats,
    bound: Floats,
    limiter: NDArray[np.str_],
    joules: Floats,
    chip: Gpu,
) -> KernelTime:
    fill_drain = ramp + drain
    limiter = np.where(fill_drain > steady, LATENCY, limiter)
    ramp = np.broadcast_to(ramp, fill_drain.shape)
    seconds = np.asarray(fill_drain + steady)
    spent = chip.events.within_limit(joules, seconds)
    return KernelTime(seconds, np.asarray(fill_drain), ramp, np.asarray(bound), limiter, spent)
