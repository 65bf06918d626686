"""The kernels that a GPU's library has for a matrix product: their tile shapes, and what a tile costs.

A work item is one tile of the result over one part of the inner dimension k. It walks over k in steps of 64 or
128 bytes: load two operand tiles, multiply, accumulate in registers; at its end it stores its tile. Belongs here:
what one work item needs from one streaming multiprocessor. How items fill the chip and share its memories is in
``kernels``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chips.catalog_file import CatalogError
from chips.generation import ServingTile
from chips.spec import ELEMENT_BYTES, Gpu, Precision

Floats = NDArray[np.float64]

SHARED_BYTES_PER_CLOCK = 128.0
"""What the shared memory of a streaming multiprocessor delivers (127 measured: Luo et al., arXiv 2402.13499)."""
ACCUMULATOR_BYTES = 4.0
OUTPUT_BYTES = 2.0
SCALED_VALUES = 16.0
"""Of NVFP4, that share a scale of one byte: those of a step are copied into tensor memory before it multiplies."""
SCALED_SIDE = 128
"""Of a tile of the kernel whose operands have a scale for each block: its scales lie in rows of 128 (PTX ISA)."""
ROWS_TOGETHER = 4.0
"""Rows of activations of which the serving library's fastest kernel takes a multiple."""
INSTRUCTION_SIDE = 64.0
"""One side of a tile is a multiple of it: what four warps read of one operand in a matrix instruction."""
NARROW_SIDE = 128.0
"""A longer side comes only with one at least half as long: with 64 x 256 among the tiles, the A100's measured times are
met less well, the H100's alike.
"""

BLOCK_ROWS, BLOCK_COLUMNS = (64.0, 128.0), np.arange(16.0, 129.0, 8.0)
"""Of the tiles of the kernel whose operands have a scale for each block of 128 values (DeepGEMM, get_best_configs
[recalled]): 64 rows as long as these hold all."""

WHOLE_ROW_BYTES = 16.0
"""Rows of operands that are a multiple of it are copied in bulk to the matrix unit (TMA, wgmma), and 16 bytes a lane:
NVIDIA's matrix multiplication guide asks for it, the CUDA programming guide for tensor maps requires it."""
PIECE_BYTES = 4.0
"""What an asynchronous copy takes at least (cp.async, PTX ISA); rows of no multiple come through registers."""
SINGLE_VALUES = 16.0
"""A clock, of such rows, that 32 lanes of a multiprocessor load one by one, and store into shared memory."""
DEQUANTIZE_OPERATIONS = 2.0
"""Vector instructions a weight, two of which lie in one register: mask and merge, subtract, scale, for each place of a
word [inferred from Marlin's algorithm: Frantar et al., arXiv 2408.11743]."""


@dataclass(frozen=True)
class Tiles:
    """Every tile shape that fits; fields are arrays over tile shapes, or alike for all. Times are in clock cycles.

    ``rows``, ``columns``: of the result. ``resident``: tiles side by side on one streaming multiprocessor.
    ``multiply``: the matrix unit, a step over k. ``feed``: shared memory to the matrix unit and L2 to shared memory.
    ``step``: a step over k where no other tile runs beside it. ``store``: the tile's result to L2. ``load_bytes``: of
    both operands a step, as they leave L2. ``startup_seconds``: of the kernels that have them. ``result_rate``: bytes a
    clock that the whole chip takes of results.
    """

    rows: Floats
    columns: Floats
    resident: Floats
    multiply: Floats
    feed: Floats
    step: Floats
    store: Floats
    load_bytes: Floats
    startup_seconds: float
    result_rate: float = np.inf


def tiles_of(
    chip: Gpu,
    precision: Precision,
    *,
    exact: bool = False,
    stored_bits: float | None = None,
    row_bytes: float = WHOLE_ROW_BYTES,
) -> Tiles:
    """The tile shapes of this chip: sides that its generation's library compiles, as far as the registers hold them.

    Half of the registers accumulate. Thread block clusters receive one operand once for two tiles (multicast).
    Raises CatalogError where these hold none.
    ``exact``: where the matrix unit's sums of FP8 products are short, vector lanes add them to the tile at every step.
    ``stored_bits``: of a weight in memory, where these are fewer: vector lanes make 16-bit weights of those of each
    tile, and warps hand both operands to the matrix unit from their registers.
    ``row_bytes``: what rows of operands are multiples of, where it is less than the copies in bulk need: warps hand
    them to the matrix unit from their registers, and rows of odd values wait there for each other.
    """
    coefficients, on_chip = chip.generation.matmul, chip.on_chip
    sides = np.array(coefficients.tile_sides, np.float64)
    rows, columns = (side.ravel() for side in np.meshgrid(sides, sides))
    whole = (rows % INSTRUCTION_SIDE == 0.0) | (columns % INSTRUCTION_SIDE == 0.0)
    longer, shorter = np.maximum(rows, columns), np.minimum(rows, columns)
    compiled = whole & (longer <= np.maximum(NARROW_SIDE, 2.0 * shorter))
    fits = (rows * columns * ACCUMULATOR_BYTES <= on_chip.register_bytes / 2.0) & compiled
    if not fits.any():
        raise CatalogError(
            f"{chip.name}: half of on_chip.register_bytes, {on_chip.register_bytes:g}, holds no tile of the sides that "
            f"generation.matmul.tile_sides names, {', '.join(map(str, coefficients.tile_sides))}."
        )
    return tiles_like(
        chip, precision, rows[fits], columns[fits], exact=exact, stored_bits=stored_bits, row_bytes=row_bytes
    )


def tiles_like(
    chip: Gpu,
    precision: Precision,
    rows: Floats,
    columns: Floats,
    *,
    exact: bool = False,
    stored_bits: float | None = None,
    row_bytes: float = WHOLE_ROW_BYTES,
) -> Tiles:
    """Tiles of these ``rows`` and ``columns``, arrays over tile shapes; the rest as ``tiles_of``."""
    coefficients, on_chip = chip.generation.matmul, chip.on_chip
    longer, shorter = np.maximum(rows, columns), np.minimum(rows, columns)
    along = np.where(longer % INSTRUCTION_SIDE == 0.0, longer, shorter)
    across = rows + columns - along

    depth = coefficients.step_bytes / ELEMENT_BYTES[precision]
    rate = chip.compute.matrix_flop_per_clock[precision] * coefficients.matrix_efficiency
    by_warps = stored_bits is not None or row_bytes < WHOLE_ROW_BYTES
    if by_warps:
        rate = min(rate, on_chip.warp_matrix_flop_per_clock * ELEMENT_BYTES["bf16"] / ELEMENT_BYTES[precision])
    multiply = 2.0 * rows * columns * depth / rate
    if precision == "nvfp4":
        multiply += (rows + columns) * depth / SCALED_VALUES / SHARED_BYTES_PER_CLOCK
    if row_bytes < PIECE_BYTES:
        multiply += (rows + columns) * depth / SINGLE_VALUES
    if exact and precision == "fp8" and coefficients.short_fp8_sums:
        multiply += rows * columns / chip.compute.vector_lanes
    instruction_rows = np.minimum(coefficients.instruction_rows, along)
    operand_reads = along / instruction_rows * (instruction_rows + across) * coefficients.step_bytes
    shrunk = 1.0 if stored_bits is None else stored_bits / 16.0
    loaded = (rows + columns * shrunk) * coefficients.step_bytes
    load = loaded - (longer / 2.0 * coefficients.step_bytes if on_chip.cluster_units > 1 and not by_warps else 0.0)
    if stored_bits is not None:
        multiply = np.maximum(multiply, columns * depth * DEQUANTIZE_OPERATIONS / chip.compute.vector_lanes)
    feed = np.maximum(operand_reads / SHARED_BYTES_PER_CLOCK, load / coefficients.load_bytes_per_clock)
    store = rows * columns * OUTPUT_BYTES / coefficients.store_bytes_per_clock
    resident = np.clip(np.floor(on_chip.shared_bytes / (coefficients.stages * loaded)), 1.0, coefficients.most_resident)
    step = np.maximum(np.maximum(multiply, feed), coefficients.step_cycles)
    return Tiles(rows, columns, resident, multiply, feed, step, store, load, coefficients.startup_seconds)


def serving_kernels(
    chip: Gpu, precision: Precision, m: Floats, n: Floats, *, exact: bool = False
) -> Iterator[tuple[NDArray[np.intp], Tiles]]:
    """The serving library's own kernels: each one's tile, and which products, of ``m`` rows and ``n`` columns, it runs.

    Each of the tiles waits for its operands at every step.
    """
    coefficients = chip.generation.matmul
    scaled = precision == "nvfp4"
    kernels = (ServingTile(rows=SCALED_SIDE, columns=SCALED_SIDE),) if scaled else coefficients.serving_tiles
    takes = [(m <= (kernel.most_rows or np.inf)) & (n <= (kernel.most_columns or np.inf)) for kernel in kernels[:-1]]
    chosen = np.argmax([*takes, np.ones(m.shape, bool)], axis=0)
    odd = (m % ROWS_TOGETHER != 0) & (not scaled)
    largest = max(kernel.rows * kernel.columns for kernel in kernels)
    start = coefficients.serving_startup_seconds
    for number, slower in sorted(set(zip(chosen.tolist(), odd.tolist(), strict=True))):
        kernel = kernels[number]
        sides = (np.array([float(side)]) for side in (kernel.rows, kernel.columns))
        tiles = tiles_like(chip, precision, *sides, exact=exact)
        slowed = slower and kernel.rows * kernel.columns == largest
        multiply = tiles.multiply * (coefficients.serving_odd_rows if slowed else 1.0)
        step = np.maximum(multiply + coefficients.serving_step_cycles, tiles.feed)
        store = tiles.store + (kernel.wait_cycles or 0.0)
        rate = coefficients.serving_store_bytes_per_clock * (kernel.store_share or 1.0)
        yield (
            np.flatnonzero((chosen == number) & (odd == slower)),
            replace(tiles, multiply=multiply, step=step, store=store, result_rate=rate, startup_seconds=start),
        )


def block_scaled_kernels(chip: Gpu, m: Floats, n: Floats, count: Floats) -> Iterator[tuple[NDArray[np.intp], Tiles]]:
    """The kernel of FP8 products with a scale for each block of 128: its tile by shape, and which products take it.

    It has one tile on a streaming multiprocessor and no parts of k: of its tiles the library takes those of the fewest
    waves, and of these the ones that fill the last wave best (DeepGEMM, DeepSeek 2025).
    """
    units = chip.compute.units
    rows = np.where(m <= BLOCK_ROWS[0], *BLOCK_ROWS)
    tiles = (count * np.ceil(m / rows))[:, None] * np.ceil(n[:, None] / BLOCK_COLUMNS)
    waves = np.ceil(tiles / units)
    best = np.argmin(waves - tiles / (units * tiles.max()), axis=1)
    columns = BLOCK_COLUMNS[best]
    coefficients = chip.generation.matmul
    for size in np.unique(np.stack([rows, columns]), axis=1).T:
        like = tiles_like(chip, "fp8", size[:1], size[1:], exact=True)
        step = np.maximum(like.multiply + coefficients.serving_step_cycles, like.feed)
        places = np.flatnonzero((rows == size[0]) & (columns == size[1]))
        yield places, replace(like, resident=np.ones(1), multiply=step, step=step)
