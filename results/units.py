"""Units for reading. Everything else in the project is in SI units; only what prints or draws asks here."""

from __future__ import annotations

import math

PICOSECONDS_PER_SECOND = 1e12
NANOJOULES_PER_JOULE = 1e9
JOULE_UNITS = ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"))
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
