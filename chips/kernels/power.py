"""The clock that a chip's power limit allows. How many joules a kernel's work takes is the kernel's own affair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chips.spec import Gpu

Floats = NDArray[np.float64]


def slower_clock(chip: Gpu, busy: Floats, joules: Floats, seconds: Floats, window: float) -> Floats:
    """Seconds that ``busy`` of ``seconds`` take longer because ``joules`` in them would exceed the power limit.

    The limit is one of an average: a call as short as ``window`` meets half of it, a load that lasts (0) all.
    """
    met = seconds / (seconds + window)
    slower: Floats = busy * (clock_stretch(chip, joules / seconds) - 1.0) * met
    return slower


def clock_stretch(chip: Gpu, dynamic_watts: Floats) -> Floats:
    """How much longer a cycle is than at the highest clock, so that power stays within the limit.

    ``dynamic_watts``: what the kernel would draw at the highest clock, beside the static share. Dynamic power goes
    with the cube of the clock, since the voltage follows it.
    """
    allowed = chip.power_watts * (1.0 - chip.generation.matmul.static_power_share)
    return np.cbrt(np.maximum(1.0, dynamic_watts / allowed))
