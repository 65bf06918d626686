"""What a user types for a quantity: ``8``, ``64KiB``, ``20us``. Inside the project all are bytes and seconds."""

from __future__ import annotations

import re
from fractions import Fraction

from scenarios.errors import ScenarioError

LARGEST_BYTES = 2**40
BANDWIDTHS = (1e6, 1e18)  # bytes/s, as a datasheet's
LONGEST_SECONDS = 1e4
LARGEST_SIZE = 2**24  # of a model's widths and layers, far beyond any
LARGEST_COUNT = 2**31 - 1  # products of two stay within the int64 columns of a frame
NUMBER = r"(\d{1,30}(?:\.\d{0,30})?(?:e[+-]?\d{1,3})?)"
BYTES = re.compile(NUMBER + r"\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
SIZES = "such as 65536, 64KiB, 1.5MiB, 1MB or 1e9"
SECONDS = re.compile(NUMBER + r"\s*(ns|us|ms|s)?", re.IGNORECASE)
SECOND_UNITS = {None: 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def check_count(option: str, value: int, most: int = LARGEST_COUNT) -> None:
    """Raise ScenarioError unless ``value``, given as ``option``, is a number of things: 1, 2, ... ``most``."""
    if value < 1:
        raise ScenarioError(f"{option} is {value}; it must be at least 1.")
    if value > most:
        raise ScenarioError(f"{option} is {value}; it can be at most {most}.")


def number_within(place: str, value: object, limits: tuple[float, float]) -> float:
    """``value``, which stands at ``place`` of a file. Raises ScenarioError unless it is a number within ``limits``."""
    least, most = limits
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    raise ScenarioError(f"{place} is {value!r:.80}; expected a number from {least:g} to {most:g}.")


def parse_bytes(text: str) -> int:
    """Bytes, 1 or more and whole, as ``_size`` reads them. Raises ScenarioError."""
    size = _size(text)
    if size is None or size.denominator != 1:
        raise ScenarioError(f"--bytes {text:.80}: expected a whole number of bytes, {SIZES}.")
    if size < 1:
        raise ScenarioError(f"--bytes {text:.80}: at least 1 byte is sent.")
    if size > LARGEST_BYTES:
        raise ScenarioError(f"--bytes {text:.80}: at most 1TiB.")
    return int(size)


def parse_bandwidth(text: str, option: str) -> float:
    """Bytes/s, as sizes are read: ``50e9``, ``50GB``, ``50GB/s``. Raises ScenarioError naming ``option``."""
    size = _size(text.removesuffix("/s"))
    least, most = BANDWIDTHS
    if size is None or not least <= size <= most:
        raise ScenarioError(f"{option} {text:.80}: expected bytes a second from {least:g} to {most:g}, such as 50GB.")
    return float(size)


def _size(text: str) -> Fraction | None:
    """Bytes: KiB, MiB, GiB, TiB are powers of 1024, KB, MB, GB, TB of 1000, and B may be left out; None for others."""
    found = BYTES.fullmatch(text.strip())
    if found is None:
        return None
    number, prefix, binary = found.groups(default="")
    unit: int = (1024 if binary else 1000) ** POWERS[prefix.upper()]
    return Fraction(number) * unit


def parse_seconds(text: str, option: str) -> float:
    """Seconds, with or without a unit: ``20us``, ``1.5ms``, ``2e-6``. Raises ScenarioError naming ``option``."""
    found = SECONDS.fullmatch(text.strip())
    seconds = float(found[1]) * SECOND_UNITS[found[2] and found[2].lower()] if found else LONGEST_SECONDS + 1
    if seconds > LONGEST_SECONDS:
        raise ScenarioError(f"{option} {text:.80}: expected a time, such as 20us, 1.5ms or 2e-6.")
    return seconds
