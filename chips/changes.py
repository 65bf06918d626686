"""Names of chips that nobody builds: ``h100{memory.bandwidth=6.7e12}`` is one with other values in its datasheet.

A name says all that it takes to make the chip again, in any process. Here: how such names are read and written, and
the several that one with a range of values stands for. No datasheet is read here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from math import isfinite
from typing import NamedTuple

from chips.catalog_file import CatalogError

Value = str | int | float | bool
MOST_VALUES = 1000
"""Of one range."""
MOST_CHANGES = 20
"""Of one chip."""
SHORT_POWER = 5
"""Of ten, up to which a number is written without an exponent."""
KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


class ChangedName(NamedTuple):
    """A chip's name or path, and the values that stand in place of its datasheet's, by their keys."""

    base: str
    changes: dict[str, Value]

    def __str__(self) -> str:
        if not self.changes:
            return self.base
        return f"{self.base}{{{','.join(f'{key}={_written(value)}' for key, value in self.changes.items())}}}"


def read_name(name: str) -> ChangedName:
    """A name that stands for one chip. Raises CatalogError where a change cannot be read, or stands for several."""
    base, values = _read(name)
    for key, found in values.items():
        if len(found) > 1:
            raise CatalogError(f"{name} stands for {len(found)} chips, one for each {key}; one is expected here.")
    return ChangedName(base, {key: found[0] for key, found in values.items()})


def names_of(name: str, changes: Mapping[str, Sequence[Value]] | None = None) -> list[str]:
    """The names of all chips that ``name`` stands for, with these values in place of its datasheet's, too.

    All are combined, the last key changes fastest. Raises CatalogError where a change cannot be read.
    """
    base, values = _read(name)
    values |= changes or {}
    if len(values) > MOST_CHANGES:
        raise CatalogError(f"{base}: {len(values)} values are changed; at most {MOST_CHANGES}, or write a TOML file.")
    return [str(ChangedName(base, dict(zip(values, each, strict=True)))) for each in product(*values.values())]


def read_values(key: str, text: str) -> list[Value]:
    """What the text behind a key's "=" stands for: a value, the values of FROM..TO*N, or of a list.

    Raises CatalogError where it is no range that has values.
    """
    if ".." not in text:
        found = _toml(text)
        listed = isinstance(found, list) and found and all(isinstance(each, int | float | str) for each in found)
        return list(found) if isinstance(found, list) and listed else [_value(text)]
    first, _, rest = text.partition("..")
    last, _, number = rest.partition("*")
    ends = [_value(first), _value(last)]
    if not number.isdecimal() or not all(isinstance(end, int | float) and isfinite(end) for end in ends):
        raise CatalogError(f"'{key}={text}' is no range; expected FROM..TO*N, as in 3.35e12..6.7e12*5: N values.")
    if len(number) > 4 or not 2 <= int(number) <= MOST_VALUES:
        raise CatalogError(f"'{key}={text}' has {number:.9} values; expected 2 to {MOST_VALUES}.")
    return list(_between(float(ends[0]), float(ends[1]), int(number)))


def _between(first: float, last: float, number: int) -> Iterator[float]:
    """Equal steps, both ends among them."""
    for place in range(number):
        yield float(f"{first + (last - first) * (place / (number - 1)):.12g}")


def _read(name: str) -> tuple[str, dict[str, Sequence[Value]]]:
    base, brace, inside = name.partition("{")
    if not brace:
        return name.strip(), {}
    if not base.strip() or not inside.endswith("}"):
        raise CatalogError(f"'{name}' is no name of a chip; expected CHIP{{KEY=VALUE,KEY=VALUE}}.")
    values: dict[str, Sequence[Value]] = {}
    for change in inside[:-1].split(","):
        key, _, text = (part.strip() for part in change.partition("="))
        if not KEY.fullmatch(key) or not text or "{" in text:
            raise CatalogError(f"'{name}': '{change}' is no change; expected KEY=VALUE, as in memory.bandwidth=6.7e12.")
        if key in values:
            raise CatalogError(f"'{name}': {key} is changed twice.")
        values[key] = read_values(key, text)
    return base.strip(), values


def _value(text: str) -> Value:
    """A number, true or false; else the text itself."""
    found = _toml(text)
    return found if isinstance(found, int | float | str) else text


def _toml(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return None


def _written(value: Value) -> str:
    """As short as it can be read again."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) or not isfinite(value):
        return str(value)
    number = Decimal(repr(value)).normalize()
    power = number.adjusted()
    return f"{number:f}" if -SHORT_POWER < power < SHORT_POWER else f"{number.scaleb(-power):f}e{power}"
