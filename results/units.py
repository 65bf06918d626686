"""Units for reading. Everything else in the project is in SI units; only what prints or draws asks here."""

from __future__ import annotations

import math

PICOSECONDS_PER_SECOND = 1e12
SECONDS_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
BINARY_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def seconds_unit(seconds: float) -> tuple[float, str]:
    """(size in seconds, name) of the largest unit in which ``seconds`` is at least 1; microseconds below that."""
    return next((unit for unit in SECONDS_UNITS if seconds >= unit[0]), SECONDS_UNITS[-1])


def format_seconds(seconds: float) -> str:
    """Three significant digits with the unit that suits: ``3.33 ms``; a dash for NaN."""
    if math.isnan(seconds):
        return "-"
    size, name = seconds_unit(seconds)
    return f"{three_digits(seconds / size)} {name}"


def format_bytes(size: int) -> str:
    """Whole binary units where they fit, else bytes: ``64 KiB``, ``39,742 B``."""
    for unit, name in BINARY_UNITS:
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} B"


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
