"""``loopline validate``: hold the simulator against measured tables and print its errors as they are."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from results.error_statistics import ErrorStatistics, error_statistics, statistics_by, values_of, worst_rows
from results.table import print_records
from results.units import format_quantity
from scenarios.errors import ScenarioError
from scenarios.evidence.tables import Predictions, Unit, read_tables

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(__file__).parent / "data"
Record = dict[str, object]


@dataclass(frozen=True)
class TableResult:
    """Errors of one table; ``reasons`` counts why rows could not be predicted, ``by`` and ``worst`` if asked for.

    ``unit``: of what is measured and predicted, seconds, watts or joules. ``unread``: columns that no prediction reads.
    """

    table: str
    statistics: ErrorStatistics
    reasons: dict[str, int]
    by: dict[str, ErrorStatistics]
    worst: list[Record]
    unit: Unit
    unread: tuple[str, ...]


def validate(data: Path | None = None, *, by: str | None = None, worst: int = 0) -> list[TableResult]:
    """Predict every row of every table in ``data`` (default: the project's own tables).

    ``by``: also break each table down by this column, or columns with commas between, if it has them. ``worst``: also
    return so many of the worst rows.
    Raises ScenarioError in one sentence for a missing or malformed file, or a column that no table has.
    """
    predictions = _predict_all(data or DATA)
    if by is not None and all(values_of(table.rows, by) is None for table in predictions):
        known = sorted({str(column) for table in predictions for column in table.rows})
        raise ScenarioError(f"--by {by}: no table has this column; they have {', '.join(known)}.")
    return [_result(table, by, worst) for table in predictions]


def _predict_all(folder: Path) -> list[Predictions]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    tables = list(read_tables(folder))
    steps = track(tables, "predicting", console=console, disable=not sys.stderr.isatty(), transient=True)
    return [prediction for _, predict in steps for prediction in predict()]


def _result(table: Predictions, by: str | None, worst: int) -> TableResult:
    groups: dict[str, ErrorStatistics] = {}
    values = None if by is None else values_of(table.rows, by)
    if values is not None:
        groups = statistics_by(values, table.predicted, table.measured)
    positions = worst_rows(table.predicted, table.measured, worst)
    return TableResult(
        table.table,
        error_statistics(table.predicted, table.measured),
        dict(Counter(reason for reason in table.reasons if reason)),
        groups,
        [_row(table, int(position)) for position in positions],
        table.unit,
        table.unread,
    )


def _row(table: Predictions, position: int) -> Record:
    row: pd.Series = table.rows.iloc[position]
    measured, predicted = float(table.measured[position]), float(table.predicted[position])
    shape = {str(name): _plain(value) for name, value in row.items() if name not in ("us", "seconds", "source")}
    return shape | {"measured": measured, "predicted": predicted, "ratio": predicted / measured}


def to_json(results: list[TableResult]) -> str:
    """A list of objects: table, rows, mean_ape, median_ape, p90_ape, bias, unpredicted, reasons, by, worst, unread.

    Errors are fractions; ``unpredicted`` counts rows.
    """
    records = [
        {"table": result.table}
        | _statistics(result.statistics)
        | {
            "reasons": result.reasons,
            "by": [{"value": value} | _statistics(group) for value, group in result.by.items()],
            "worst": result.worst,
            "unread": list(result.unread),
        }
        for result in results
    ]
    return json.dumps(records, indent=1, allow_nan=False)


def _statistics(statistics: ErrorStatistics) -> Record:
    return {name: _plain(value) for name, value in asdict(statistics).items()}


def _plain(value: object) -> object:
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def render(results: list[TableResult], stream: TextIO) -> None:
    """Print the errors as tables for a reader: percentages, then why rows were not predicted, groups, worst rows."""
    print_records([{"table": result.table} | _percentages(result.statistics) for result in results], stream)
    for result in results:
        for reason, count in result.reasons.items():
            print(f"{result.table}: {count} not predictable: {reason}", file=stream)
        for column in result.unread:
            print(f"{result.table}: column '{column}' is unknown and not read", file=stream)
    for result in results:
        if result.by:
            print(f"\n{result.table}", file=stream)
            print_records([{"value": value} | _percentages(group) for value, group in result.by.items()], stream)
        if result.worst:
            print(f"\n{result.table}: worst rows", file=stream)
            print_records([_readable(row, result.unit) for row in result.worst], stream)


def _percentages(statistics: ErrorStatistics) -> Record:
    def percent(value: float) -> str:
        return "-" if math.isnan(value) else f"{100 * value:.1f}%"

    return {
        "rows": statistics.rows,
        "mean error": percent(statistics.mean_ape),
        "median": percent(statistics.median_ape),
        "90th percentile": percent(statistics.p90_ape),
        "bias": "-" if math.isnan(statistics.bias) else f"{statistics.bias:.3f}",
        "unpredicted": statistics.unpredicted,
    }


def _readable(row: Record, unit: Unit) -> Record:
    values = {name: format_quantity(float(str(row[name])), unit) for name in ("measured", "predicted")}
    return row | values | {"ratio": f"{float(str(row['ratio'])):.2f}"}
