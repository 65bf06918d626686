"""What a matrix product costs on a GPU, as its library (cuBLAS) runs it.

A kernel is a metapipeline: operand tiles come from HBM through L2 to the streaming multiprocessors, are multiplied,
and result tiles are stored. Work items (``matmul_tiles``) fill the chip in waves; HBM and L2 are shared by all. Few
tiles with a long inner dimension are split over it and reduced at the end. The library picks the fastest of its
kernels. Where the power limit does not allow the highest clock, the clock follows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.kernels.kernel_time import LATENCY, MATRIX_UNIT, MEMORY, ON_CHIP_NETWORK, KernelTime
from chips.kernels.matmul_tiles import ACCUMULATOR_BYTES, OUTPUT_BYTES, STEP_BYTES, Floats, tiles_of
from chips.spec import ELEMENT_BYTES, Gpu, Precision

CHUNK = 256
"""Shapes priced at once, so that all their candidates stay in the cache of the processor that runs this."""
_LIMITERS = np.array([MATRIX_UNIT, ON_CHIP_NETWORK, MEMORY, LATENCY])


def price_matmul(
    chip: Gpu,
    m: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    *,
    precision: Precision = "bf16",
    count: ArrayLike = 1,
    resident_weights: bool = False,
) -> KernelTime:
    """C[m,n] = A[m,k] B[k,n], ``count`` independent ones in one kernel; C is written in 16 bits.

    ``resident_weights``: the same call ran just before (a repeated measurement), so that operands may still lie in
    L2; else they come from HBM. Raises ValueError on a dimension or count below 1, CatalogError on a precision that
    the chip lacks.
    """
    given = [np.asarray(value, np.float64) for value in (m, n, k, count)]
    for name, value in zip(("m", "n", "k", "count"), given, strict=True):
        if not (value >= 1.0).all():
            raise ValueError(f"{name} of a matrix product is {value.min():g}; it must be at least 1.")
    chip.peak_flops(precision)
    shape = np.broadcast_shapes(*(value.shape for value in given))
    flat = np.stack([np.broadcast_to(value, shape).reshape(-1) for value in given])
    parts = [
        _price(chip, flat[:, start : start + CHUNK], precision, resident_weights)
        for start in range(0, max(flat.shape[1], 1), CHUNK)
    ]
    seconds, fill, bound, limiter = (np.concatenate(field).reshape(shape) for field in zip(*parts, strict=True))
    return KernelTime(seconds, fill, bound, _LIMITERS[limiter.astype(np.intp)])


def _price(
    chip: Gpu, dimensions: Floats, precision: Precision, resident_weights: bool
) -> tuple[Floats, Floats, Floats, NDArray[np.intp]]:
    """Seconds, fill and drain, bound and index of the limiter; rows of ``dimensions``: m, n, k and count of shapes."""
    m, n, k, count = dimensions
    coefficients, compute = chip.generation.matmul, chip.compute
    clock, tiles = compute.highest_clock_hz, tiles_of(chip, precision)
    element = ELEMENT_BYTES[precision]

    # Shapes are axis 0, tile shapes axis 1, splits of k axis 2: into one, two and four parts, and into as many as
    # fill the chip once, alone or with all the tiles that fit side by side.
    steps = np.ceil(k * element / STEP_BYTES)[:, None, None]
    result_tiles = count[:, None] * np.ceil(m[:, None] / tiles.rows) * np.ceil(n[:, None] / tiles.columns)
    filling = np.floor(compute.units / result_tiles)
    fuller = np.floor(compute.units * tiles.resident / result_tiles)
    ones = np.ones_like(filling)
    split = np.clip(np.stack([ones, 2.0 * ones, 4.0 * ones, filling, fuller], axis=2), 1.0, np.ceil(steps / 4.0))
    split = np.minimum(split, coefficients.most_splits)
    steps_each = np.ceil(steps / split)
    items = result_tiles[:, :, None] * split

    # One streaming multiprocessor: its share of the items, as fast as its engines, or as its chains of dependent
    # steps where few items run side by side.
    per_unit = np.ceil(items / compute.units)
    resident, store = tiles.resident[:, None], tiles.store[:, None]
    busiest = np.maximum(tiles.multiply, tiles.feed)[:, None]
    work = per_unit * (steps_each * busiest + store)
    rounds = np.ceil(per_unit / resident)
    chain = rounds * (steps_each * np.maximum(busiest, coefficients.step_cycles) + store + coefficients.item_cycles)
    on_unit = np.maximum(work, chain) / clock

    # The whole chip: L2 delivers every operand tile, and takes and returns the partial sums of splits.
    l2_rate = coefficients.l2_bytes_per_clock * clock
    l2 = items * steps_each * tiles.load_bytes[:, None] / l2_rate
    outputs = (count * m * n)[:, None, None]
    was_split = split > 1.0
    partial = 2.0 * ACCUMULATOR_BYTES * outputs * split / l2_rate
    reduction = np.where(was_split, coefficients.reduction_seconds + partial, 0.0)

    operand_bytes = count * (m + n) * k * element
    resident_bytes = coefficients.resident_share * chip.on_chip.l2_bytes if resident_weights else 0.0
    hbm_bytes = np.maximum(operand_bytes - resident_bytes, 0.0) + count * m * n * OUTPUT_BYTES
    hbm = (hbm_bytes / (chip.memory.bandwidth * coefficients.memory_efficiency))[:, None, None]

    longest = np.maximum(np.maximum(on_unit, l2), hbm)
    steady = longest + coefficients.exposed * (on_unit + l2 + hbm - longest)
    whole = (steady + reduction).reshape(m.size, -1)
    best = np.argmin(whole, axis=1)[:, None]

    def chosen(value: Floats) -> Floats:
        flat = np.broadcast_to(value, items.shape).reshape(m.size, -1)
        return np.take_along_axis(flat, best, axis=1)[:, 0]

    flops = 2.0 * count * m * n * k
    start = coefficients.startup_seconds + coefficients.memory_latency_cycles / clock
    unit_seconds, l2_seconds, hbm_seconds = chosen(on_unit), chosen(l2), hbm[:, 0, 0]
    seconds = start + np.take_along_axis(whole, best, axis=1)[:, 0]
    seconds += unit_seconds * (_slowdown(chip, flops * element / 2.0, hbm_bytes, seconds) - 1.0)

    fill = start + chosen(reduction) + chosen((store + coefficients.item_cycles) / clock)
    peak = chip.peak_flops(precision) * clock / compute.clock_hz
    kept_bytes = chip.on_chip.l2_bytes if resident_weights else 0.0
    compulsory = np.maximum(operand_bytes + count * m * n * OUTPUT_BYTES - kept_bytes, 0.0)
    bound = np.maximum(flops / peak, compulsory / chip.memory.bandwidth)
    multiply = chosen(per_unit * steps_each * tiles.multiply[:, None] / clock)
    waiting = np.stack([multiply, l2_seconds, hbm_seconds, unit_seconds + start])
    waiting[3] = np.where(chosen(chain) > chosen(work), waiting[3], start)
    return seconds, np.minimum(fill, seconds), bound, np.argmax(waiting, axis=0)


def _slowdown(chip: Gpu, flops: Floats, hbm_bytes: Floats, seconds: Floats) -> Floats:
    """How much longer a cycle is than at the highest clock, so that power stays within the limit.

    Power is a static share and the energy of operations and bytes. Dynamic power goes with the cube of the clock,
    since the voltage follows it. ``flops`` are counted in 16-bit operations.
    """
    coefficients = chip.generation.matmul
    dynamic = (flops * coefficients.joules_per_flop + hbm_bytes * coefficients.joules_per_byte) / seconds
    allowed = chip.power_watts * (1.0 - coefficients.static_power_share)
    return np.maximum(1.0, dynamic / allowed) ** (1.0 / 3.0)
