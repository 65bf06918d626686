"""The price of a kernel, with its explanation and its physical bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Limiter = np.str_
MATRIX_UNIT, VECTOR_UNIT, MEMORY, ON_CHIP_NETWORK, LATENCY = (
    "matrix unit",
    "vector unit",
    "HBM",
    "on-chip network",
    "dependency",
)
ROUNDING = 1e-9
"""What sums in another order can put below a bound, relative to it."""


@dataclass(frozen=True)
class KernelTime:
    """What kernels cost; every field is an array over shapes (the broadcast of the arguments).

    ``seconds``: the whole kernel without the gap to the kernel before it.
    ``fill_drain_seconds``: the share of it in which the pipeline fills (prologue, first loads) or drains (last tile,
    final reduction), so that no engine is in its steady state. ``ramp_seconds``: the share of that before the steady
    state: blocks start and the first bytes come.
    ``bound_seconds``: no chip with this datasheet can be faster: operations over peak, bytes over HBM bandwidth.
    ``limiter``: what the steady state waits for: one of the five names in this module.
    ``joules``: what its events take, by cause on axis 0 (``chips.energy.DYNAMIC``), at the clock that it runs at.
    """

    seconds: NDArray[np.float64]
    fill_drain_seconds: NDArray[np.float64]
    ramp_seconds: NDArray[np.float64]
    bound_seconds: NDArray[np.float64]
    limiter: NDArray[np.str_]
    joules: NDArray[np.float64]

    @property
    def beats_bound(self) -> NDArray[np.bool_]:
        """Where a kernel is faster than any can be, which is an error of its price."""
        return np.asarray(self.seconds < self.bound_seconds * (1.0 - ROUNDING))

    def __getitem__(self, place: int) -> KernelTime:
        """One of several kernels."""
        return KernelTime(
            np.asarray(self.seconds[place]),
            np.asarray(self.fill_drain_seconds[place]),
            np.asarray(self.ramp_seconds[place]),
            np.asarray(self.bound_seconds[place]),
            np.asarray(self.limiter[place]),
            self.joules[:, place],
        )
