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
FEW_SPLITS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
LEAST_STEPS = 4.0
"""Steps over k that a part has at least: the depth of the pipeline of operand tiles."""
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

    # Shapes are axis 0, tile shapes axis 1, splits of k axis 2: into a few parts, and into as many as fill the chip
    # once, alone or with all the tiles that fit side by side.
    steps = np.ceil(k * element / STEP_BYTES)[:, None, None]
    result_tiles = count[:, None] * np.ceil(m[:, None] / tiles.rows) * np.ceil(n[:, None] / tiles.columns)
    filling = np.floor(compute.units / result_tiles)
    fuller = np.floor(compute.units * tiles.resident / result_tiles)
    few = np.broadcast_to(FEW_SPLITS, (*filling.shape, FEW_SPLITS.size))
    split = np.concatenate([few, filling[:, :, None], fuller[:, :, None]], axis=2)
    split = np.clip(split, 1.0, np.ceil(steps / LEAST_STEPS))
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
    chain = rounds * (steps_each * np.maximum(busiest, coefficients.step_cycles) + store)
    on_unit = np.maximum(work, chain) / clock

    # The whole chip: L2 delivers every operand tile, and takes and returns the partial sums of splits.
    read_rate = chip.memory.bandwidth * coefficients.memory_efficiency
    write_rate = chip.memory.bandwidth * coefficients.write_efficiency
    l2_rate = coefficients.l2_bytes_per_clock * clock
    l2 = items * steps_each * tiles.load_bytes[:, None] / l2_rate
    outputs = (count * m * n)[:, None, None]
    was_split = split > 1.0
    partial_bytes = ACCUMULATOR_BYTES * outputs * split
    spilled = _missing(partial_bytes, coefficients.activation_share * chip.on_chip.l2_bytes)
    partial = 2.0 * (partial_bytes / l2_rate + spilled / read_rate)
    reduction = np.where(was_split, coefficients.reduction_seconds + partial, 0.0)

    operand_bytes = count * (m + n) * k * element
    output_bytes = count * m * n * OUTPUT_BYTES
    read_bytes = _missing(count * m * k * element, coefficients.activation_share * chip.on_chip.l2_bytes)
    kept_weights = coefficients.weight_share * chip.on_chip.l2_bytes if resident_weights else 0.0
    read_bytes = read_bytes + _missing(count * n * k * element, kept_weights)
    hbm = (read_bytes / read_rate + output_bytes / write_rate)[:, None, None]

    start = coefficients.startup_seconds + coefficients.memory_latency_cycles / clock
    longest = np.maximum(np.maximum(on_unit, l2), hbm)
    hidden = (1.0 - coefficients.exposed) * (on_unit + l2 + hbm - longest)
    whole = start + on_unit + l2 + hbm - hidden + reduction
    flops = 2.0 * count * m * n * k
    joules = flops * coefficients.joules_per_flop * element / 2.0
    joules += (read_bytes + output_bytes) * coefficients.joules_per_byte
    whole += on_unit * (_slowdown(chip, joules[:, None, None] / whole) - 1.0)

    kernels = tiles.rows.size * split.shape[2]
    best = np.argmin(whole.reshape(m.size, kernels), axis=1)[:, None]

    def chosen(value: Floats) -> Floats:
        every = np.broadcast_to(value, items.shape).reshape(m.size, kernels)
        return np.take_along_axis(every, best, axis=1)[:, 0]

    seconds = chosen(whole)
    fill = start + chosen(reduction) + chosen(store) / clock
    peak = chip.peak_flops(precision) * clock / compute.clock_hz
    may_rest = output_bytes + (operand_bytes if resident_weights else count * m * k * element)
    must_move = operand_bytes + output_bytes - np.minimum(may_rest, chip.on_chip.l2_bytes)
    bound = np.maximum(flops / peak, must_move / chip.memory.bandwidth)

    waits = np.stack([chosen(work), chosen(l2) * clock, hbm[:, 0, 0] * clock, start * clock + chosen(chain)])
    waits[3] = np.where(waits[3] > 2.0 * waits[:3].max(axis=0), waits[3], 0.0)
    return seconds, np.minimum(fill, seconds), bound, np.argmax(waits, axis=0)


def _missing(operand_bytes: Floats, kept_bytes: float) -> Floats:
    """Bytes of an operand that come from HBM although L2 keeps ``kept_bytes``: none of one that fits.

    Of a larger one, the least recently used rows are gone when they come up again: at twice the size nothing is left.
    """
    return np.clip(2.0 * (operand_bytes - kept_bytes), 0.0, operand_bytes)


def _slowdown(chip: Gpu, dynamic_watts: Floats) -> Floats:
    """How much longer a cycle is than at the highest clock, so that power stays within the limit.

    ``dynamic_watts``: what the kernel would draw at the highest clock, beside the static share. Dynamic power goes
    with the cube of the clock, since the voltage follows it.
    """
    allowed = chip.power_watts * (1.0 - chip.generation.matmul.static_power_share)
    return np.cbrt(np.maximum(1.0, dynamic_watts / allowed))
