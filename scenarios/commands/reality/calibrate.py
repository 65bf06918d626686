"""``loopline calibrate``: fit a chip's physical constants to measured tables and write a chip that uses them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, write

if TYPE_CHECKING:
    from scenarios.evidence.calibration import Fit


def calibrate(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Measured tables, such as mine_gemm_bf16.csv: see docs/calibrate.md.", metavar="TABLE..."),
    ],
    chip: Annotated[str, typer.Option(help="The chip of `loopline chips`, or a TOML file, that was measured.")],
    name: Annotated[str | None, typer.Option(help="Name of the new chip (default: CHIP-calibrated).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The TOML file to write (default: NAME.toml).")
    ] = None,
    json: Json = False,
) -> None:
    """Fit a chip's physical constants to your own measurements, and write a chip that inherits the catalog's.

    Rows are split by shape: constants are fitted on one part, errors are those of the other, before and after.

    loopline calibrate mine_gemm_bf16.csv mine_launch.csv --chip h100 -o mine.toml

    loopline compare llama-3.1-8b --chips h100 mine.toml --count 8
    """
    from rich.console import Console

    from chips.spec import load_gpu
    from scenarios.evidence.calibrated_chip import as_toml, write_chip
    from scenarios.evidence.calibration import calibrate as fit
    from scenarios.evidence.kernel_tables import read_kernel_table

    known = load_gpu(chip)
    title = name or f"{known.name}-calibrated"
    path = output or Path(f"{title}.toml")
    read = [read_kernel_table(table) for table in tables]
    for table in read:
        for column in table.unread:
            print(f"{table.path}: column '{column}' is unknown and not read", file=sys.stderr)
    with Console(stderr=True).status("fitting") as status:
        fits = fit(known, read, lambda family: status.update(f"fitting {family}"))
    inherits = str(Path(chip).resolve()) if chip.endswith(".toml") else chip
    text = as_toml(known, inherits, title, fits)
    _print(fits, json)
    for found in fits:
        if not found.helps:
            print(f"{found.family}: not better on held-out rows, the constants of {chip} are kept", file=sys.stderr)
    write(path, partial(write_chip, text))


def _print(fits: list[Fit], json: bool) -> None:
    from json import dumps

    from results.table import print_records
    from scenarios.evidence.breakdown import percent_text
    from scenarios.evidence.calibration import as_records

    errors = [(fit, error) for fit in fits for error in fit.errors]
    constants = [(fit, constant) for fit in fits for constant in fit.constants]
    if json:
        print(dumps(as_records(fits), indent=1))
        return
    print_records(
        [
            {
                "constant": constant.name,
                "catalog": f"{constant.before:.4g}",
                "fitted": f"{constant.value:.4g}",
                "95% interval": f"{constant.low:.3g} to {constant.high:.3g}",
            }
            for _, constant in constants
        ],
        sys.stdout,
    )
    print()
    print_records(
        [
            {
                "table": error.table,
                "fitted rows": error.fitted_rows,
                "held-out rows": error.before.rows,
                "their mean error before": percent_text(error.before.mean_ape),
                "after": percent_text(error.after.mean_ape),
                "bias before": f"{error.before.bias:.3f}",
                "after ": f"{error.after.bias:.3f}",
            }
            for _, error in errors
        ],
        sys.stdout,
    )
    for fit in fits:
        if fit.unseen:
            print(f"\nno {fit.family} row depends on {', '.join(fit.unseen)}: kept")
