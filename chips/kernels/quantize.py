"""What it costs to put 16-bit activations into 8 or 4 bits before a matrix product multiplies them.

Two kernels. With one scale for the whole tensor, found at run time, one reads all rows and finds the largest value
(``price_scale_search``) before the other writes the quantized ones (``price_quantize``). With a scale a row or a block
of values, or one known before (static), the second is enough. The product itself is ``matmul.price``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chips.kernels.kernel_time import LATENCY, KernelTime
from chips.kernels.vector import price_vector
from chips.spec import ELEMENT_BYTES, Gpu, Precision

Scales = Literal["static", "tensor", "row", "block"]
"""Of activations: one for all tensors, known before; one a tensor; one a row (token); one a block of a row."""
INPUT_BYTES = 2.0
SEARCH_OPERATIONS = 2.0  # a value: its magnitude, the larger of two
QUANTIZE_OPERATIONS = 4.0  # a value: scale, two bounds, convert


def price_scale_search(chip: Gpu, rows: ArrayLike, columns: ArrayLike) -> KernelTime:
    """The largest value of a 16-bit tensor [rows, columns], which becomes its scale: one kernel.

    A block reduces a row, and all blocks put theirs into one word of memory in turn (an atomic maximum a row), as
    vLLM's kernel does. Raises ValueError on sizes below 1.
    """
    rows, columns = _sizes(rows, columns)
    read = rows * columns * INPUT_BYTES
    time = price_vector(chip, read, 0.0, rows * columns * SEARCH_OPERATIONS)
    turns = rows * chip.generation.vector.atomic_cycles / chip.compute.highest_clock_hz
    limiter = np.where(turns > time.seconds, LATENCY, time.limiter)
    return replace(time, seconds=np.maximum(time.seconds, time.fill_drain_seconds + turns), limiter=limiter)


def price_quantize(
    chip: Gpu, rows: ArrayLike, columns: ArrayLike, *, precision: Precision = "fp8", scales: Scales = "tensor"
) -> KernelTime:
    """16-bit activations [rows, columns] into ``precision``: one kernel.

    With ``scales`` a row or a block, the kernel finds them itself before it writes. With "static" or "tensor" it is
    told. Raises ValueError on sizes below 1.
    """
    rows, columns = _sizes(rows, columns)
    values = rows * columns
    finds = scales in ("row", "block")
    operations = QUANTIZE_OPERATIONS + (SEARCH_OPERATIONS if finds else 0.0)
    return price_vector(chip, values * INPUT_BYTES, values * ELEMENT_BYTES[precision], values * operations)


def _sizes(rows: ArrayLike, columns: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sizes = np.broadcast_arrays(np.asarray(rows, np.float64), np.asarray(columns, np.float64))
    for name, value in zip(("rows", "columns"), sizes, strict=True):
        if not np.all(value >= 1.0):
            raise ValueError(f"{name} of a tensor to quantize is {value.min():g}; it must be at least 1.")
    return sizes[0], sizes[1]
