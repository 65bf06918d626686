"""What a user types for a quantity: ``8``, ``64KiB``, ``20us``. Inside the project all are bytes and seconds."""

from __future__ import annotations

import re

from scenarios.errors import ScenarioError

LARGEST_BYTES = 2**40
LARGEST_SIZE = 2**24  # of a model's widths and layers, far beyond any
LARGEST_COUNT = 2**31 - 1  # products of two stay within the int64 columns of a frame
BYTES = re.compile(r"(\d+)\s*(?:([kKMGT])(i?))?B?")
POWERS = {None: 0, "K": 1, "M": 2, "G": 3, "T": 4}
SECONDS = re.compile(r"(\d+(?:\.\d*)?(?:e-?\d+)?)\s*(ns|us|ms|s)?")
SECOND_UNITS = {None: 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def check_count(option: str, value: int) -> None:
    """Raise ScenarioError unless ``value``, given as ``option``, is a number of things: 1, 2, ..."""
    if value < 1:
        raise ScenarioError(f"{option} is {value}; it must be at least 1.")
    if value > LARGEST_COUNT:
        raise ScenarioError(f"{option} is {value}; it can be at most {LARGEST_COUNT}.")


def number_within(place: str, value: object, limits: tuple[float, float]) -> float:
    """``value``, which stands at ``place`` of a file. Raises ScenarioError unless it is a number within ``limits``."""
    least, most = limits
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    raise ScenarioError(f"{place} is {value!r:.80}; expected a number from {least:g} to {most:g}.")


def parse_bytes(text: str) -> int:
    """Bytes, 1 or more: KiB, MiB, GiB, TiB are powers of 1024, KB, MB, GB, TB of 1000. Raises ScenarioError."""
    found = BYTES.fullmatch(text.strip())
    if found is None:
        raise ScenarioError(f"--bytes {text}: expected a whole number of bytes, such as 65536, 64KiB or 1MB.")
    number, prefix, binary = found.groups()
    size: int = int(number) * (1024 if binary else 1000) ** POWERS[prefix and prefix.upper()]
    if size < 1:
        raise ScenarioError(f"--bytes {text}: at least 1 byte is sent.")
    if size > LARGEST_BYTES:
        raise ScenarioError(f"--bytes {text}: at most 1TiB.")
    return size


def parse_seconds(text: str, option: str) -> float:
    """Seconds, with or without a unit: ``20us``, ``1.5ms``, ``2e-6``. Raises ScenarioError naming ``option``."""
    found = SECONDS.fullmatch(text.strip())
    if found is None:
        raise ScenarioError(f"{option} {text}: expected a time, such as 20us, 1.5ms or 2e-6.")
    return float(found[1]) * SECOND_UNITS[found[2]]
