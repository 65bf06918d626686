"""Number formats in which a chip keeps its tensors, computed with float32 in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scenarios.errors import ScenarioError

Float32 = NDArray[np.float32]
NumberFormat = Literal["bf16", "float32"]
NUMBER_FORMATS: dict[str, NumberFormat] = {name: name for name in get_args(NumberFormat)}


def number_format(name: str) -> NumberFormat:
    """The format of this name. Raises ScenarioError for another."""
    if name not in NUMBER_FORMATS:
        raise ScenarioError(f"--dtype '{name}' is unknown; expected {' or '.join(NUMBER_FORMATS)}.")
    return NUMBER_FORMATS[name]


def round_to_bfloat16(values: Float32) -> Float32:
    """Each value as the nearest bfloat16 (8 bits of significand), ties to even; same shape, NaN stays NaN.

    bfloat16 is the upper half of a float32, so that rounding is an addition on its bits.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half_less_one_if_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = ((bits + half_less_one_if_even) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), rounded)


def _keep(values: Float32) -> Float32:
    return values


def rounding(number_format: NumberFormat) -> Callable[[Float32], Float32]:
    """What happens to a tensor that is written to memory in this format."""
    return round_to_bfloat16 if number_format == "bf16" else _keep
