"""How commands give their results: the options that say so, at which prices too, and what is done about them.

Files are checked before the work begins. Results go to standard output; that a file was written, to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from results.table import Form

Records = Sequence[Mapping[str, object]]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DollarsAnHour = Annotated[
    float | None,
    typer.Option("--dollars-per-chip-hour", help="US dollars an hour of a chip (default: a list price of 2025)."),
]
DollarsAKilowattHour = Annotated[
    float | None,
    typer.Option("--dollars-per-kilowatt-hour", help="US dollars a kilowatt hour (default: US industry, 2024)."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Also save the rows: .parquet, .csv or .json")]


def output_form(*, csv: bool, json: bool) -> Form:
    """What ``--csv`` and ``--json`` ask for. Raises ScenarioError where both are given."""
    from scenarios.errors import ScenarioError

    if csv and json:
        raise ScenarioError("--csv and --json are two forms of one output; give one of them.")
    return "json" if json else "csv" if csv else "table"


def check_files(
    *, output: Path | None = None, plot: Path | None = None, trace: Path | None = None, pictures: Sequence[str] = ()
) -> None:
    """Raise OutputError for a file that could not be written, or whose suffix is not of its kind.

    ``output`` holds rows; ``plot`` is a picture with one of the suffixes ``pictures`` (default: those of all pictures).
    """
    from results.pictures.kinds import check_plot_path
    from results.store import check_path
    from results.trace.events import check_trace_path

    if output is not None:
        check_path(output)
    if plot is not None:
        check_plot_path(plot, *pictures)
    if trace is not None:
        check_trace_path(trace)


def show(records: Records, *, json: bool, tables: Sequence[Records] | None = None, least: Sequence[str] = ()) -> None:
    """Print records: as JSON, or as tables to read, which are the records themselves where none are given.

    ``least``: keys in the order in which a narrow terminal leaves them out (``results.table.print_records``).
    """
    from results.table import print_records

    for table in [records] if json or tables is None else tables:
        print_records(table, sys.stdout, json=json, least=least)


def write(path: Path | None, writer: Callable[[Path], object], note: str = "") -> None:
    """Let ``writer`` write the file, if it is asked for, and say so, with a ``note`` behind it."""
    if path is not None:
        writer(path)
        print(f"wrote {path}{note}", file=sys.stderr)
