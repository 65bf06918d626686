"""What a quantity of a datasheet can be: its unit, with limits far around any chip, within which all times are times.

Beyond them a kernel lasts longer than the clock can tell, or a number is no longer one.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Len, Predicate

MOST_LETTERS = 100

Name = Annotated[str, Len(1, MOST_LETTERS), Predicate(str.isprintable)]
Seconds = Annotated[float, Ge(0), Le(10)]
"""0: what takes no time."""
Bytes = Annotated[float, Ge(1), Le(1e18)]
BytesOrNone = Annotated[float, Ge(0), Le(1e18)]
WholeBytes = Annotated[int, Ge(1), Le(2**50)]
Bandwidth = Annotated[float, Ge(1e6), Le(1e18)]
"""bytes/s."""
Hertz = Annotated[float, Ge(1e6), Le(1e12)]
Cycles = Annotated[float, Gt(0), Le(1e6)]
Operations = Annotated[float, Gt(0), Le(1e6)]
PerClock = Annotated[float, Ge(1e-3), Le(1e9)]
"""what a unit or a chip does or moves in one clock: operations, bytes."""
Watts = Annotated[float, Ge(1e-3), Le(1e9)]
Joules = Annotated[float, Gt(0), Le(1e-3)]
"""of one operation or one byte."""
Nanometres = Annotated[float, Ge(0.1), Le(1e4)]
Count = Annotated[int, Ge(1), Le(2**24)]
Few = Annotated[int, Ge(1), Le(2**10)]
"""of what is tried one by one."""
Fraction = Annotated[float, Ge(1e-3), Le(1)]
FractionOrNone = Annotated[float, Ge(0), Le(1)]
Factor = Annotated[float, Ge(1), Le(1e3)]
"""by how much longer, or more, than something else."""


def name_from(words: str) -> str:
    """A name made of ``words`` that nobody meant to be one, such as those of a folder."""
    return "".join(letter if letter.isprintable() else "?" for letter in words[:MOST_LETTERS]) or "?"
