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
from chips.kernels.matmul.kernels import missing_bytes
from chips.kernels.vector import price_vector
from chips.spec import ELEMENT_BYTES, Gpu, Precision

Scales = Literal["static", "tensor", "row", "block"]
"""Of activations: one for all tensors, known before; one a tensor; one a row (token); one a block of a row."""
Quantizer = Literal["vllm", "trtllm"]
Floats = NDArray[np.float64]
INPUT_BYTES = ELEMENT_BYTES["bf16"]
ROW_VALUES = 2048.0
"""Of a row, that a block of vLLM's kernels takes in one step [inferred from where times step]."""
ROW_STEP_CYCLES = 400.0
"""Of such a step, during which a streaming multiprocessor takes no other row's: fitted to measured/h100_gemm_fp8,
b200_gemm_fp8 and l40s_gemm_fp8 alike (70% of their shapes)."""
BLOCK_STEP_CYCLES = 178.0
"""The same where each block of a row gets a scale: fitted to measured/b200_gemm_nvfp4 (70% of its shapes), where a row
of up to 512 values takes 0.62 ns."""
SEARCH_OPERATIONS = 2.0  # a value: its magnitude, the larger of two
QUANTIZE_OPERATIONS = 4.0  # a value: scale, two bounds, convert
SEARCH_KERNELS: dict[Quantizer, int] = {"vllm": 1, "trtllm": 7}
"""That find one scale. vLLM's reads the tensor and puts the largest value of each row into one word of memory in turn;
TensorRT-LLM's are small ones but for one, which make a scale of its maximum step by step [inferred: on Hopper,
Blackwell and Ada alike, the passes of a single row take as long as eight small kernels]."""
REACHED: dict[Quantizer, float] = {"vllm": 1.0, "trtllm": 0.6}
"""Of the bandwidth that other kernels reach; fitted to measured/h100_gemm_fp8, and 0.5 to 0.7 on Blackwell and Ada."""


def price_scale_search(chip: Gpu, rows: ArrayLike, columns: ArrayLike, *, library: Quantizer = "vllm") -> KernelTime:
    """The largest value of a 16-bit tensor [rows, columns], which becomes its scale: one kernel.

    Where it takes several (``SEARCH_KERNELS``), the gaps between them in a graph are in it. Raises ValueError on sizes
    below 1.
    """
    rows, columns = _sizes(rows, columns)
    values = rows * columns
    by_rows = library == "vllm"
    stepping = _stepping(chip, rows, columns, ROW_STEP_CYCLES if by_rows else 0.0)
    time = _pass(chip, values * INPUT_BYTES, 0.0 * values, values * SEARCH_OPERATIONS, stepping, REACHED[library])
    turns = rows * chip.generation.vector.atomic_cycles / chip.compute.highest_clock_hz if by_rows else 0.0 * rows
    small = (SEARCH_KERNELS[library] - 1) * (time.fill_drain_seconds + chip.generation.launch.graph_gap)
    seconds = time.seconds + turns + small
    return replace(
        time,
        seconds=seconds,
        fill_drain_seconds=time.fill_drain_seconds + small,
        limiter=np.where(2.0 * (turns + small) > seconds, LATENCY, time.limiter),
    )


def price_quantize(
    chip: Gpu,
    rows: ArrayLike,
    columns: ArrayLike,
    *,
    precision: Precision = "fp8",
    scales: Scales = "tensor",
    library: Quantizer = "vllm",
) -> KernelTime:
    """16-bit activations [rows, columns] into ``precision``: one kernel.

    With ``scales`` a row or a block, the kernel finds them itself before it writes. With "static" or "tensor" it is
    told. NVFP4's scales are put into the order of the matrix unit's tiles by a small kernel after it, which is in the
    price [inferred: both and the product take as long as three kernels]. Raises ValueError on sizes below 1.
    """
    rows, columns = _sizes(rows, columns)
    values = rows * columns
    finds = scales in ("row", "block")
    operations = QUANTIZE_OPERATIONS + (SEARCH_OPERATIONS if finds else 0.0)
    written = values * ELEMENT_BYTES[precision]
    cycles = BLOCK_STEP_CYCLES if scales == "block" else ROW_STEP_CYCLES if library == "vllm" else 0.0
    stepping = _stepping(chip, rows, columns, cycles)
    time = _pass(chip, values * INPUT_BYTES, written, values * operations, stepping, REACHED[library])
    if precision != "nvfp4":
        return time
    ordered = time.fill_drain_seconds + chip.generation.launch.graph_gap
    return replace(time, seconds=time.seconds + ordered, fill_drain_seconds=time.fill_drain_seconds + ordered)


def _stepping(chip: Gpu, rows: Floats, columns: Floats, cycles: float) -> Floats:
    """Seconds of all steps but the first on one multiprocessor, each of so many cycles, where a block takes a row."""
    steps = np.ceil(rows / chip.compute.units) * np.ceil(columns / ROW_VALUES)
    seconds: Floats = (steps - 1.0) * cycles / chip.compute.highest_clock_hz
    return seconds


def _pass(chip: Gpu, read: Floats, written: Floats, operations: Floats, stepping: Floats, reached: float) -> KernelTime:
    """Once over a tensor, read from its start while L2 holds its end: of a large one, nothing is found there.

    It lasts as long as its bytes take, at the share ``reached`` of what other kernels do, or its steps.
    """
    vector, moved = chip.generation.vector, read + written
    kept = vector.resident_share * chip.on_chip.l2_bytes
    gone = missing_bytes(moved, kept) - np.maximum(moved - kept, 0.0)
    time = price_vector(chip, read, written, operations)
    again = gone / (chip.memory.bandwidth * vector.memory_efficiency)
    busy = (time.seconds - time.fill_drain_seconds + again) / reached
    steady = np.maximum(busy, stepping)
    joules = time.joules + chip.events.joules(memory_bytes=gone)
    return replace(time, seconds=time.fill_drain_seconds + steady, joules=joules)


def _sizes(rows: ArrayLike, columns: ArrayLike) -> tuple[Floats, Floats]:
    sizes = np.broadcast_arrays(np.asarray(rows, np.float64), np.asarray(columns, np.float64))
    for name, value in zip(("rows", "columns"), sizes, strict=True):
        if not np.all(value >= 1.0):
            raise ValueError(f"{name} of a tensor to quantize is {value.min():g}; it must be at least 1.")
    return sizes[0], sizes[1]
