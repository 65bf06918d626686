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

from chips.energy import DYNAMIC
from chips.kernels.kernel_time import LATENCY, MATRIX_UNIT, MEMORY, ON_CHIP_NETWORK, KernelTime
from chips.kernels.matmul.kernels import Products, fastest
from chips.kernels.matmul.tiles import (
    PIECE_BYTES,
    WHOLE_ROW_BYTES,
    Floats,
    Tiles,
    block_scaled_kernels,
    serving_kernels,
    tiles_of,
)
from chips.spec import ELEMENT_BYTES, Gpu, Precision

ARRAY_BYTES = 120e3
"""Of one array over all candidates of the shapes priced at once: below what an allocator fetches anew each time."""
VECTOR_STEP_BYTES = 512.0
"""Of a column of weights, that one load of a warp fetches: 16 bytes for each of 32 lanes."""
VECTOR_WARPS = 16.0
"""Warps on a streaming multiprocessor that each reduce a column in a product of one row; 8 to 64 fit alike."""
ProductLibrary = Literal["cublas", "cutlass", "deepgemm"]
_LIMITERS = np.array([MATRIX_UNIT, ON_CHIP_NETWORK, MEMORY, LATENCY])


def price_matmul(
    chip: Gpu,
    m: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    *,
    precision: Precision = "bf16",
    stored_bits: float | None = None,
    library: ProductLibrary = "cublas",
    count: ArrayLike = 1,
    weights_in_turn: ArrayLike = 0,
    exact: bool = False,
) -> KernelTime:
    """C[m,n] = A[m,k] B[k,n], ``count`` independent ones in one kernel; C is written in 16 bits.

    A, the activations, was written by the kernel before and lies in L2 as far as it fits. B, the weights, comes from
    HBM. ``weights_in_turn``: the call is repeated (a measurement) with so many different weights in turn: small ones
    are still in L2, and a short call is over before the power limit acts; 0: the load lasts. ``bound_seconds`` counts
    no bytes that L2 could hold so. ``exact``: FP8 products are added in fp32, as backward passes have it
    (``tiles_of``).
    ``stored_bits``: weights lie in memory in so many bits each, with their part of scales (AWQ, GPTQ: 4 or 8 and a
    scale of 16 for 128), and become ``precision``, 16 bits, on their way into the product: a kernel of Marlin's kind.
    ``library``: "cutlass" is the serving library's own FP8 kernels, which go by rows and columns; "deepgemm" the one
    of FP8 operands with a scale for each block, added in fp32. Neither splits k. Where rows of n or k values are no
    multiple of 16 bytes, cuBLAS runs other kernels, which copy them in pieces.
    FP8 and NVFP4 activations are quantized by kernels of their own (``chips.kernels.quantize``).
    Raises ValueError on a dimension or count below 1, CatalogError on a precision that the chip lacks.
    """
    given = [np.asarray(value, np.float64) for value in (m, n, k, count, weights_in_turn)]
    for name, value in zip(("m", "n", "k", "count"), given[:4], strict=True):
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
    if library == "deepgemm":
        groups = list(block_scaled_kernels(chip, flat[0], flat[1], flat[3]))
    elif library == "cutlass":
        groups = list(serving_kernels(chip, precision, flat[0], flat[1], exact=exact))
    else:
        groups = []
        for row_bytes, places in _by_row_bytes(flat, precision):
            tiles = tiles_of(chip, precision, exact=exact, stored_bits=stored_bits, row_bytes=row_bytes)
            chunk = max(1, int(ARRAY_BYTES / flat.itemsize / tiles.rows.size))
            groups += [(places[first : first + chunk], tiles) for first in range(0, max(places.size, 1), chunk)]
    parts, element, splits = [], ELEMENT_BYTES[precision], library == "cublas"
    for places, tiles in groups:
        rows, columns, depth, many, turns = flat[:, places]
        products = Products(chip, rows, columns, depth, many, element, weight_element, turns, splits)
        parts.append(_price(products, tiles, precision))
    back = np.argsort(np.concatenate([places for places, _ in groups]))
    *times, limiter, joules = (np.concatenate(field, axis=-1)[..., back] for field in zip(*parts, strict=True))
    seconds, fill, ramp, bound = (time.reshape(shape) for time in times)
    limited = _LIMITERS[limiter.astype(np.intp).reshape(shape)]
    return KernelTime(seconds, fill, ramp, bound, limited, joules.reshape(len(DYNAMIC), *shape))


def _price(
    products: Products, tiles: Tiles, precision: Precision
) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.intp], Floats]:
    """Seconds, fill and drain, the ramp of these, bound, index of the limiter and joules of every product."""
    chip, events = products.chip, products.chip.events
    kernel, by_tiles = fastest(products, tiles)
    start = products.start(tiles)
    vector_chain = _vector_chain(products)
    vector = start + vector_chain + kernel.hbm
    by_vector, seconds = vector < by_tiles, np.minimum(vector, by_tiles)
    fill = np.minimum(start + np.where(by_vector, 0.0, kernel.reduction + kernel.store), seconds)
    peak = chip.peak_flops(precision) * chip.compute.highest_clock_hz / chip.compute.clock_hz
    weights = np.where(products.weights_in_turn > 0.0, products.weight_bytes, 0.0)
    resting = np.minimum(products.output_bytes + products.activation_bytes + weights, chip.on_chip.l2_bytes)
    must_move = products.activation_bytes + products.weight_bytes + products.output_bytes - resting
    bound = np.maximum(products.flops / peak, must_move / chip.memory.bandwidth)
    work, l2, chain = (
        np.where(by_vector, other, value)
        for other, value in ((0.0, kernel.work), (0.0, kernel.l2), (vector_chain, kernel.chain))
    )
    limiter = _limiter(work, l2, kernel.hbm, start + chain)
    spent = events.joules(
        flops=np.where(by_vector, 0.0, kernel.worked),
        instructions=np.where(by_vector, products.flops / 2.0, 0.0),
        memory_bytes=kernel.read_bytes + products.output_bytes,
    )
    return seconds, fill, np.minimum(start, fill), bound, limiter, events.within_limit(spent, seconds)


def _by_row_bytes(flat: Floats, precision: Precision) -> list[tuple[float, NDArray[np.intp]]]:
    """Shapes by what their rows are multiples of, whichever of n and k an operand's rows have; all of NVFP4 are whole.

    ``flat``: m, n and k of the shapes, and what else there is of them.
    """
    row_bytes = np.full(flat.shape[1], WHOLE_ROW_BYTES)
    if precision != "nvfp4":
        element = ELEMENT_BYTES[precision]
        for least, otherwise in ((WHOLE_ROW_BYTES, PIECE_BYTES), (PIECE_BYTES, element)):
            row_bytes[(flat[1:3] * element % least).any(axis=0)] = otherwise
    if (row_bytes == WHOLE_ROW_BYTES).all():
        return [(WHOLE_ROW_BYTES, np.arange(flat.shape[1]))]
    return [(float(size), np.flatnonzero(row_bytes == size)) for size in np.unique(row_bytes)]


def _vector_chain(products: Products) -> Floats:
    """Seconds of dependent loads in the kernel for a single row (GEMV); infinite for more rows, or where there is none.

    Each warp reduces a column, one load after the other. It needs no tiles, no barriers and no sum over parts of k.
    """
    compute = products.chip.compute
    columns = np.ceil(products.count * products.n / (compute.units * VECTOR_WARPS))
    loads = np.ceil(products.k * products.weight_element / VECTOR_STEP_BYTES)
    cycles = columns * loads * products.chip.generation.matmul.vector_step_cycles
    single = (products.m == 1.0) & products.splits
    return np.where(single, cycles / compute.highest_clock_hz, np.inf)


def _limiter(work: Floats, l2: Floats, hbm: Floats, latency: Floats) -> NDArray[np.intp]:
    """Which engine is busiest; latency where start and chain of dependent steps take twice as long as any of them."""
    engines = np.stack([work, l2, hbm])
    return np.where(latency > 2.0 * engines.max(axis=0), _LIMITERS.size - 1, np.argmax(engines, axis=0))
