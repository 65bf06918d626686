"""Units for reading. Everything else in the project is in SI units; only what prints or draws asks here."""

from __future__ import annotations

import math

PICOSECONDS_PER_SECOND = 1e12
NANOJOULES_PER_JOULE = 1e9
JOULE_UNITS = ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"))
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
ABBREVIATIONS = {"bytes": "B", "bytes/s": "B/s"}
SECONDS_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
BYTE_UNITS = tuple(
    (base**power, f"{prefix}{unit}")
    for base, unit in ((1024, "iB"), (1000, "B"))
    for power, prefix in enumerate("KMGT", start=1)
)


def seconds_unit(seconds: float) -> tuple[float, str]:
    """(size in seconds, name) of the largest unit in which ``seconds`` is at least 1; microseconds below that."""
    return next((unit for unit in SECONDS_UNITS if seconds >= unit[0]), SECONDS_UNITS[-1])


def format_seconds(seconds: float) -> str:
    """Three significant digits with the unit that suits: ``3.33 ms``; a dash for NaN."""
    if math.isnan(seconds):
        return "-"
    size, name = seconds_unit(seconds)
    return f"{three_digits(seconds / size)} {name}"


def format_joules(joules: float) -> str:
    """Three significant digits with the unit that suits: ``2.85 J``; a dash for NaN."""
    if math.isnan(joules):
        return "-"
    size, name = joules_unit(joules)
    return f"{three_digits(joules / size)} {name}"


def joules_unit(joules: float) -> tuple[float, str]:
    """(size in joules, name) of the largest unit in which ``joules`` is at least 1; millijoules below that."""
    return next((unit for unit in JOULE_UNITS if joules >= unit[0]), JOULE_UNITS[-1])


def format_bytes(size: int) -> str:
    """In the unit of which there are the fewest whole ones: ``64 KiB``, ``80 MB``, ``39,742 B``."""
    whole = [(size // unit, name) for unit, name in BYTE_UNITS if size and size % unit == 0]
    number, name = min(whole, default=(size, "B"), key=lambda found: found[0])
    return f"{number:,} {name}"


def format_quantity(value: float, unit: str) -> str:
    """Three significant digits with the unit and the prefix that suits: ``3.35 TB/s``, ``20.5 kFLOP``, ``0.590 us``."""
    if unit == "s":
        return format_seconds(value)
    size, prefix = next((each for each in PREFIXES if abs(value) >= each[0]), PREFIXES[-1])
    return f"{three_digits(value / size)} {prefix}{ABBREVIATIONS.get(unit, unit)}"


def three_digits(value: float) -> str:
    """Three significant digits without an exponent, thousands separated: ``0.0123``, ``3.33``, ``41.0``, ``12,300``."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def percent(fraction: float) -> str:
    """A fraction as percentage: ``7.3%`` below ten, ``21%`` above; a dash for NaN."""
    if math.isnan(fraction):
        return "-"
    return f"{100 * fraction:.1f}%" if 0 < fraction < 0.0995 else f"{100 * fraction:.0f}%"
