"""What a matrix product costs on a GPU, as its library (cuBLAS) runs it.

A kernel is a metapipeline: operand tiles come from HBM through L2 to the streaming multiprocessors, are multiplied,
and result tiles are stored. Work items (``tiles``) fill the chip in waves; HBM and L2 are shared by all. The
operands in flight are a queue of finite depth between HBM and the chip: where both are alike busy, both wait. Few
tiles with a long inner dimension are split over it and reduced at the end. A single row has a kernel of its own, and
on an A100 so have small products. The library picks the fastest of its kernels. Where the power limit does not allow
the highest clock, the clock follows it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.energy import DYNAMIC, ZEROS
from chips.kernels.kernel_time import LATENCY, MATRIX_UNIT, MEMORY, ON_CHIP_NETWORK, KernelTime
from chips.kernels.matmul.tiles import (
    ACCUMULATOR_BYTES,
    OUTPUT_BYTES,
    Floats,
    Tiles,
    serving_kernels,
    tiles_of,
)
from chips.spec import ELEMENT_BYTES, Gpu, Precision

ARRAY_BYTES = 120e3
"""Of one array over all candidates of the shapes priced at once: below what an allocator fetches anew each time."""
FEW_SPLITS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
"""Parts of k that even out the last wave where there are almost as many tiles as the chip takes at once."""
FILLING_SPLITS = 2  # and as many as fill the chip once, with one or with all resident tiles
POWER_WINDOW = 0.75e-3
"""Seconds in which a benchmark's repeated call meets the power limit: on an H100, 60 us do not and 2 ms do."""
VECTOR_STEP_BYTES = 512.0
"""Of a column of weights, that one load of a warp fetches: 16 bytes for each of 32 lanes."""
VECTOR_WARPS = 16.0
"""Warps on a streaming multiprocessor that each reduce a column in a product of one row; 8 to 64 fit alike."""
INSTRUCTION_BYTES = 32.0
"""Of a row of an operand tile, that one matrix instruction takes: 16 elements of 16 bits (mma and wgmma, PTX ISA)."""
SMALL_PRODUCT = 2.0**21
"""Multiply-adds below which the library takes a slower kernel on an A100: times step down there, whatever the shape."""
Library = Literal["cublas", "cutlass"]
_LIMITERS = np.array([MATRIX_UNIT, ON_CHIP_NETWORK, MEMORY, LATENCY])


def price_matmul(
    chip: Gpu,
    m: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    *,
    precision: Precision = "bf16",
    stored_bits: float | None = None,
    library: Library = "cublas",
    count: ArrayLike = 1,
    weights_in_turn: int = 0,
    exact: bool = False,
) -> KernelTime:
    """C[m,n] = A[m,k] B[k,n], ``count`` independent ones in one kernel; C is written in 16 bits.

    A, the activations, was written by the kernel before and lies in L2 as far as it fits. B, the weights, comes from
    HBM. ``weights_in_turn``: the call is repeated (a measurement) with so many different weights in turn: small ones
    are still in L2, and a short call is over before the power limit acts; 0: the load lasts. ``bound_seconds`` counts
    no bytes that L2 could hold so. ``exact``: FP8 products are added in fp32, as backward passes have it, and products
    with a scale for each block of operands (``tiles_of``).
    ``stored_bits``: weights lie in memory in so many bits each, with their part of scales (AWQ, GPTQ: 4 or 8 and a
    scale of 16 for 128), and become ``precision``, 16 bits, on their way into the product: a kernel of Marlin's kind.
    ``library``: "cutlass" is the serving library's own FP8 kernel, whose tile goes by the rows alone, and which never
    splits k. FP8 and NVFP4 activations are quantized by kernels of their own (``chips.kernels.quantize``).
    Raises ValueError on a dimension or count below 1, CatalogError on a precision that the chip lacks.
    """
    given = [np.asarray(value, np.float64) for value in (m, n, k, count)]
    for name, value in zip(("m", "n", "k", "count"), given, strict=True):
        valid = (value >= 1.0) & np.isfinite(value)
        if not valid.all():
            raise ValueError(f"{name} of a matrix product is {value[~valid].flat[0]:g}; it must be at least 1.")
    chip.peak_flops(precision)
    if stored_bits is not None and (precision != "bf16" or not 1.0 <= stored_bits <= 16.0):
        raise ValueError(
            f"weights of {stored_bits:g} bits become 16-bit ones in a product; it was asked for in {precision}."
        )
    shape = np.broadcast_shapes(*(value.shape for value in given))
    flat = np.stack([np.broadcast_to(value, shape).reshape(-1) for value in given])
    weight_element = ELEMENT_BYTES[precision] if stored_bits is None else stored_bits / 8.0
    if library == "cutlass":
        kernels = list(serving_kernels(chip, precision, flat[0], exact=exact))
        parts = [
            _price(chip, flat[:, places], precision, weight_element, weights_in_turn, tiles, splits=False)
            for places, tiles in kernels
        ]
        back = np.argsort(np.concatenate([places for places, _ in kernels]))
    else:
        tiles, back = tiles_of(chip, precision, exact=exact, stored_bits=stored_bits), np.arange(flat.shape[1])
        candidates = tiles.rows.size * (FEW_SPLITS.size + FILLING_SPLITS)
        chunk = max(1, int(ARRAY_BYTES / flat.itemsize / candidates))
        parts = [
            _price(chip, flat[:, start : start + chunk], precision, weight_element, weights_in_turn, tiles)
            for start in range(0, max(flat.shape[1], 1), chunk)
        ]
    *times, limiter, joules = (np.concatenate(field, axis=-1)[..., back] for field in zip(*parts, strict=True))
    seconds, fill, ramp, bound = (time.reshape(shape) for time in times)
    limited = _LIMITERS[limiter.astype(np.intp).reshape(shape)]
    return KernelTime(seconds, fill, ramp, bound, limited, joules.reshape(len(DYNAMIC), *shape))


def _price(
    chip: Gpu,
    dimensions: Floats,
    precision: Precision,
    weight_element: float,
    weights_in_turn: int,
    tiles: Tiles,
    *,
    splits: bool = True,
) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.intp], Floats]:
    """Seconds, fill and drain, the ramp of these, bound, index of the limiter and joules of every shape.

    Rows of ``dimensions``: m, n, k and count of the shapes. ``weight_element``: bytes of a weight in memory.

    Every kernel of the library is priced for every shape: shapes are axis 0, tile shapes axis 1, splits of k axis 2.
    """
    m, n, k, count = dimensions
    coefficients, clock = chip.generation.matmul, chip.compute.highest_clock_hz
    element, units = ELEMENT_BYTES[precision], chip.compute.units
    activation_bytes, weight_bytes = count * m * k * element, count * n * k * weight_element
    output_bytes = count * m * n * OUTPUT_BYTES

    result_tiles = count[:, None] * np.ceil(m[:, None] / tiles.rows) * np.ceil(n[:, None] / tiles.columns)
    steps = np.ceil(k * element / coefficients.step_bytes)[:, None, None]
    split = _splits(chip, result_tiles, steps, tiles.resident) if splits else np.ones((*result_tiles.shape, 1))
    steps_each = np.ceil(steps / split)
    items = result_tiles[:, :, None] * split

    # One streaming multiprocessor: its share of the items, as fast as its engines, or as its chains of dependent
    # steps where few items run side by side. A last wave lasts as long as a full one: with fewer items side by side,
    # each waits for its own operands.
    resident = tiles.resident[:, None]
    rounds = np.ceil(items / (units * resident))
    per_unit = np.where(rounds > 1.0, rounds * resident, np.ceil(items / units))
    busiest, store = np.maximum(tiles.multiply, tiles.feed)[:, None], tiles.store[:, None]
    work = per_unit * (steps_each * busiest + store) / clock
    chain = rounds * (steps_each * tiles.step[:, None] + store) / clock
    on_unit = np.maximum(work, chain)

    # The whole chip: L2 delivers every operand tile, HBM what L2 does not hold, and takes the result. What the kernel
    # before has written still leaves L2 while this one starts, as its own result will.
    start = tiles.startup_seconds + coefficients.memory_latency_cycles / clock
    l2_rate = coefficients.l2_bytes_per_clock * clock
    l2 = items * steps_each * tiles.load_bytes[:, None] / l2_rate
    l2 = l2 + (output_bytes / (tiles.result_rate * clock))[:, None, None]
    kept = coefficients.activation_share * chip.on_chip.l2_bytes
    kept_weights = coefficients.weight_share * chip.on_chip.l2_bytes / weights_in_turn if weights_in_turn else 0.0
    once_bytes = _missing(activation_bytes, kept) + _missing(weight_bytes, kept_weights)
    again_bytes = _panel_bytes(items, count, tiles, units, split) * (k * (element + weight_element) / 2)[:, None, None]
    outgrown = (activation_bytes + weight_bytes > kept)[:, None, None]
    read_bytes = np.maximum(once_bytes[:, None, None], np.where(outgrown, again_bytes, 0.0))
    written = _missing(output_bytes, coefficients.output_share * chip.on_chip.l2_bytes)
    write_seconds = written / (chip.memory.bandwidth * coefficients.write_efficiency)
    hbm = read_bytes / chip.streaming_bandwidth + np.maximum(write_seconds - start, 0.0)[:, None, None]

    # Partial sums of a split k are written and read back.
    partial_bytes = ACCUMULATOR_BYTES * (count * m * n)[:, None, None] * split
    partial_rate = coefficients.partial_bytes_per_clock * clock
    reduction = np.where(split > 1.0, coefficients.reduction_seconds + 2.0 * partial_bytes / partial_rate, 0.0)

    on_chip = np.maximum(on_unit, l2)
    longest = np.maximum(on_chip, hbm)
    waits = unhidden(chip, on_unit + l2 + hbm - longest) + starved(chip, on_chip, hbm)
    whole = start + _small_product(chip, dimensions)[:, None, None] + longest + waits + reduction
    flops, events = 2.0 * count * m * n * k, chip.events
    tile_flops = items * steps_each * (coefficients.step_bytes / element * tiles.rows * tiles.columns * 2.0)[:, None]
    worked = (flops[:, None, None] * (1.0 - ZEROS) + tile_flops * ZEROS) * element / 2.0
    moved = read_bytes + output_bytes[:, None, None]
    joules = worked * events.flop.sum() + moved * events.memory_byte.sum()
    whole += events.slower_clock(on_unit, joules, whole, POWER_WINDOW if weights_in_turn else 0.0)

    kernels = tiles.rows.size * split.shape[2]
    best = np.argmin(whole.reshape(m.size, kernels), axis=1)[:, None]

    def chosen(value: Floats) -> Floats:
        every = np.broadcast_to(value, items.shape).reshape(m.size, kernels)
        return np.take_along_axis(every, best, axis=1)[:, 0]

    vector_chain, memory, by_tiles = _vector_chain(chip, dimensions, weight_element), chosen(hbm), chosen(whole)
    vector = start + vector_chain + memory if splits else np.full(m.size, np.inf)
    by_vector, seconds = vector < by_tiles, np.minimum(vector, by_tiles)
    fill = np.minimum(start + np.where(by_vector, 0.0, chosen(reduction) + chosen(store) / clock), seconds)
    peak = chip.peak_flops(precision) * clock / chip.compute.clock_hz
    may_rest = output_bytes + activation_bytes + (weight_bytes if weights_in_turn else 0.0)
    must_move = activation_bytes + weight_bytes + output_bytes - np.minimum(may_rest, chip.on_chip.l2_bytes)
    bound = np.maximum(flops / peak, must_move / chip.memory.bandwidth)
    work, l2, chain = (
        np.where(by_vector, other, chosen(value)) for other, value in ((0.0, work), (0.0, l2), (vector_chain, chain))
    )
    limiter = _limiter(work, l2, memory, start + chain)
    spent = events.joules(
        flops=np.where(by_vector, 0.0, chosen(worked)),
        instructions=np.where(by_vector, flops / 2.0, 0.0),
        memory_bytes=chosen(moved),
    )
    return seconds, fill, np.minimum(start, fill), bound, limiter, events.within_limit(spent, seconds)


def _vector_chain(chip: Gpu, dimensions: Floats, element: float) -> Floats:
    """Seconds of dependent loads in the kernel for a single row (GEMV); infinite for more rows.

    Each warp reduces a column, one load after the other. It needs no tiles, no barriers and no sum over parts of k.
    """
    m, n, k, count = dimensions
    columns = np.ceil(count * n / (chip.compute.units * VECTOR_WARPS))
    cycles = columns * np.ceil(k * element / VECTOR_STEP_BYTES) * chip.generation.matmul.vector_step_cycles
    return np.where(m > 1.0, np.inf, cycles / chip.compute.highest_clock_hz)


def _small_product(chip: Gpu, dimensions: Floats) -> Floats:
    """Seconds that small products last longer, in a kernel that the library takes for them; not those of few rows."""
    m, n, k, count = dimensions
    coefficients = chip.generation.matmul
    small = (count * m * n * k < SMALL_PRODUCT) & (np.minimum(m, n) > min(coefficients.tile_sides))
    return np.where(small, coefficients.small_product_seconds, 0.0)


def _splits(chip: Gpu, result_tiles: Floats, steps: Floats, resident: Floats) -> Floats:
    """Parts of k that the library tries: a few, and as many as fill the chip once, with one or all resident tiles."""
    coefficients, units = chip.generation.matmul, chip.compute.units
    filling = np.floor(units / result_tiles)[:, :, None]
    fuller = np.floor(units * resident / result_tiles)[:, :, None]
    few = np.broadcast_to(FEW_SPLITS, (*result_tiles.shape, FEW_SPLITS.size))
    split = np.concatenate([few, filling, fuller], axis=2)
    possible: Floats = np.clip(
        split, 1.0, np.clip(np.floor(steps / coefficients.least_steps), 1.0, coefficients.most_splits)
    )
    return possible


def _panel_bytes(items: Floats, count: Floats, tiles: Tiles, units: int, split: Floats) -> Floats:
    """Rows and columns of operands that waves of tiles read, each wave anew; nothing where one wave takes a product.

    The tiles of a wave lie side by side in a square, as the library's order of blocks has them, so that they share
    rows of one operand and columns of the other; the next wave finds those of the last one gone from L2.
    """
    each = items / count[:, None, None]
    wave = np.minimum(each, units * tiles.resident[:, None])
    square = 2.0 * np.sqrt(wave * (tiles.rows * tiles.columns)[:, None])
    panels: Floats = np.where(each > wave, items / wave * square / split, 0.0)
    return panels


def unhidden(chip: Gpu, others: Floats) -> Floats:
    """Seconds that the busiest engine waits for the others, which work for ``others`` seconds together beside it."""
    coefficients = chip.generation.matmul
    waiting: Floats = coefficients.exposed * others + np.sqrt(coefficients.wait_seconds * others)
    return np.minimum(waiting, others)


def starved(chip: Gpu, on_chip: Floats, hbm: Floats) -> Floats:
    """Seconds lost where HBM and what it feeds are about equally busy: ``on_chip`` and ``hbm`` seconds of work.

    The operand tiles in flight are a buffer of finitely many instructions' operands, now and then full or empty. The
    busier side then works (1 - u^K) / (1 - u^(K+1)) of the time, with u the lesser over the greater time and K the
    buffer's places, one of them in use: the M/M/1/K queue (Kleinrock 1975, Queueing Systems I, section 3.6).
    """
    coefficients = chip.generation.matmul
    places = 1 + round(coefficients.stages * coefficients.step_bytes / INSTRUCTION_BYTES)
    greater = np.maximum(on_chip, hbm)
    ratio = np.minimum(on_chip, hbm) / greater
    power, powers = np.ones_like(ratio), np.zeros_like(ratio)
    for _ in range(places):
        powers += power
        power *= ratio
    lost: Floats = greater * power / powers
    return lost


def _limiter(work: Floats, l2: Floats, hbm: Floats, latency: Floats) -> NDArray[np.intp]:
    """Which engine is busiest; latency where start and chain of dependent steps take twice as long as any of them."""
    engines = np.stack([work, l2, hbm])
    return np.where(latency > 2.0 * engines.max(axis=0), _LIMITERS.size - 1, np.argmax(engines, axis=0))


def _missing(operand_bytes: Floats, kept_bytes: float) -> Floats:
    """Bytes of an operand that come from HBM although L2 keeps ``kept_bytes``: none of one that fits.

    Of a larger one, the least recently used rows are gone when they come up again: at twice the size nothing is left.
    """
    return np.clip(2.0 * (operand_bytes - kept_bytes), 0.0, operand_bytes)
