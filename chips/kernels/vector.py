"""What memory-bound kernels cost on a GPU: normalisation, rotary embedding, activation, residual, gather, sampling.

None of them uses the matrix unit. A kernel reads, computes on the vector lanes and writes, all at once, after a
start-up that a few kilobytes never outgrow: blocks start, a load comes back, rows are reduced, a store leaves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from chips.kernels.kernel_time import LATENCY, MEMORY, ON_CHIP_NETWORK, VECTOR_UNIT, KernelTime
from chips.spec import Gpu


def price_vector(
    chip: Gpu,
    bytes_read: ArrayLike,
    bytes_written: ArrayLike,
    operations: ArrayLike,
    *,
    special_functions: ArrayLike = 0,
    passes: ArrayLike = 1,
) -> KernelTime:
    """A kernel on vectors: ``bytes_read`` and ``bytes_written`` in all its ``passes`` over the data together.

    ``operations``: lane instructions (a multiply-add is one). ``special_functions``: exponentials, sines, roots.
    ``passes``: dependent load-reduce-store chains (1 where a row is reduced and rewritten from registers, 2 where a
    second look at the data needs the whole reduction first). What fits in L2 was left there by the kernel before.
    Raises ValueError on a negative quantity or fewer passes than one.
    """
    given = (bytes_read, bytes_written, operations, special_functions, passes)
    arrays = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in given))
    names = ("bytes_read", "bytes_written", "operations", "special_functions", "passes")
    for name, value, least in zip(names, arrays, (0, 0, 0, 0, 1), strict=True):
        if not np.all(value >= least):
            raise ValueError(f"{name} of a vector kernel is {value.min():g}; it must be at least {least}.")
    read, written, lane_operations, functions, chains = arrays

    coefficients = chip.generation.vector
    compute = chip.compute
    total = read + written
    in_l2 = np.minimum(total, coefficients.resident_share * chip.on_chip.l2_bytes)
    from_hbm = total - in_l2
    memory = from_hbm / (chip.memory.bandwidth * coefficients.memory_efficiency)
    l2 = in_l2 / (coefficients.l2_bytes_per_clock * compute.clock_hz)
    lanes = lane_operations / (compute.units * compute.vector_lanes * compute.clock_hz)
    special = functions / (compute.units * compute.special_functions_per_clock * compute.clock_hz)

    # The first load of a kernel misses what other chips or the host wrote; later passes hit L2.
    first_load = np.where(from_hbm > 0, coefficients.memory_latency_cycles, coefficients.l2_latency_cycles)
    chain = coefficients.reduction_cycles + coefficients.l2_latency_cycles
    latency = first_load + chains * chain + (chains - 1.0) * coefficients.l2_latency_cycles
    start = coefficients.startup_seconds + latency / compute.clock_hz
    busy = np.maximum(np.maximum(memory + l2, lanes), special)
    bound = np.maximum(
        np.maximum(total - chip.on_chip.l2_bytes, 0.0) / chip.memory.bandwidth, np.maximum(lanes, special)
    )
    limiter = np.where(memory >= l2, MEMORY, ON_CHIP_NETWORK)
    limiter = np.where(np.maximum(lanes, special) > memory + l2, VECTOR_UNIT, limiter)
    limiter = np.where(start > busy, LATENCY, limiter)
    start = start + 0.0 * busy
    joules = chip.events.joules(instructions=lane_operations + functions, memory_bytes=from_hbm, chip_bytes=in_l2)
    return KernelTime(start + busy, start, start, bound, limiter, joules)
