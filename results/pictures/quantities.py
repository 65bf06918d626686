"""What pictures of frames are drawn of, seconds or joules: its parts and their colours, its words, its units."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from results.errors import SchemaError
from results.pictures.canvas.palette import CAUSE_COLOURS, PART_COLOURS
from results.units import joules_unit, seconds_unit


class Quantity(NamedTuple):
    """A column of a frame, as pictures tell it.

    ``parts``: the columns that it is the sum of, with their titles and colours. ``unit``: size and name of the unit
    that suits a value; ``symbol``: of the SI unit. ``of_each``: whether a token's is told of a single sequence, not of
    the batch. ``ratio``: how the speed-up of it reads. ``gained``: the column of what less of it gives, and its title.
    """

    word: str
    parts: dict[str, tuple[str, str]]
    unit: Callable[[float], tuple[float, str]]
    symbol: str
    of_each: bool
    ratio: str
    gained: tuple[str, str]


QUANTITIES = {
    "seconds": Quantity(
        "time", PART_COLOURS, seconds_unit, "s", False, "times as fast", ("tokens_per_s_chip", "tokens/s a chip")
    ),
    "joules": Quantity(
        "energy", CAUSE_COLOURS, joules_unit, "J", True, "times less", ("tokens_per_joule", "tokens a joule")
    ),
}


def quantity(of: str) -> Quantity:
    """The one of that column. Raises SchemaError for another one."""
    if of not in QUANTITIES:
        raise SchemaError(f"there is no picture of {of}; there are {', '.join(QUANTITIES)}.")
    return QUANTITIES[of]
