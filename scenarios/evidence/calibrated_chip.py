"""The file of a calibrated chip: TOML that inherits the catalog's chip and states the constants that were fitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chips.spec import Gpu
from results.atomic_file import written_beside
from scenarios.evidence.calibration import Fit


def as_toml(chip: Gpu, inherits: str, name: str, fits: Sequence[Fit]) -> str:
    """The text. Every constant carries where it comes from, its 95% interval and the value that it replaces.

    ``inherits``: the chip as a file would name it. A family whose fit does not help on held-out rows is left out.
    """
    sections: dict[str, list[str]] = {}
    for fit in fits:
        rows = ", ".join(f"{error.fitted_rows:,} rows of {error.table}" for error in fit.errors)
        for constant in fit.constants if fit.helps else ():
            section, key = ".".join(constant.key[:-1]), constant.key[-1]
            sections.setdefault(section, []).append(
                f"{key} = {constant.value:.4g} # fitted to {rows}: {constant.low:.3g} to {constant.high:.3g} (95%); "
                f"{inherits}: {constant.before:.4g}"
            )
    lines = [
        f'inherits = "{inherits}"',
        f'name = "{name}"',
        f'title = "{chip.title}, calibrated"',
        "kernels_measured = true",
    ]
    for section, values in sections.items():
        lines += ["", f"[generation.{section}]", *values]
    return "\n".join(lines) + "\n"


def write_chip(text: str, path: Path) -> None:
    """Write the file. Raises OutputError where it cannot be written."""
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")
