"""Errors broken down: families of tables, the columns that matter to each, and the values to group them by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.error_statistics import statistics_by, values_of
from scenarios.evidence.tables import Predictions

MOST_VALUES = 9  # a column of numbers with more values than this is broken down by powers of 4
POWER = 4
TIME = "measured time"
DECADES = ("under 10 us", "10 to 100 us", "100 us to 1 ms", "1 ms to 1 s", "1 s and more")
DECADE_ENDS = (1e-5, 1e-4, 1e-3, 1.0)


@dataclass(frozen=True)
class Family:
    """Tables of one kind: their title, the pattern of their names, and the columns that matter."""

    title: str
    pattern: str
    columns: tuple[str, ...]


FAMILIES = (
    Family("matrix products", r".*_gemm_.*", ("m", "n", "k", TIME)),
    Family("attention, prefill", r".*_attention_prefill_.*", ("batch_size", "tokens", "heads", "head_dim", TIME)),
    Family("attention, decode", r".*_attention_decode_.*", ("batch_size", "context", "head_dim", TIME)),
    Family("AllReduce", r".*_collectives, AllReduce .*", ("library", "n_chips", "bytes", TIME)),
    Family("other collectives", r".*_collectives, other operations", ("op", "n_chips", "bytes")),
    Family("published collectives", r"collectives_new", ("chip", "topology", "n_chips", "bytes")),
    Family("serving", r"serving_.*", ("concurrency", "tp_size", "input_tokens", "output_tokens")),
    Family("published inference", r"inference", ("chip,model,batch", "tp", "launch", "phase", "context", TIME)),
    Family("power of boards", r"energy_.*, watts", ("chip,model,task", "concurrency")),
    Family("joules a token", r"energy_.*, joules a token", ("chip,model,task", "concurrency")),
    Family("published training", r"training", ("model", "what", "recompute")),
)


def tables_of(family: Family, tables: Sequence[Predictions]) -> list[Predictions]:
    """Those of ``tables`` that belong to ``family``."""
    return [table for table in tables if re.fullmatch(family.pattern, table.table)]


def breakdown(tables: Sequence[Predictions], column: str) -> list[dict[str, str]]:
    """A record a value of ``column`` (or of several, with commas between), a cell a table."""
    cells: dict[str, dict[str, str]] = {}
    for table in tables:
        grouped = _groups(table, column)
        if grouped is None:
            continue
        values, labels = grouped
        for value, found in statistics_by(values, table.predicted, table.measured).items():
            cell = f"{percent_text(found.mean_ape)}, {found.bias:.2f} ({found.rows:,})"
            cells.setdefault(value, {"": labels.get(value, value)})[table.table] = cell
    names = [table.table for table in tables]
    ordered = sorted(cells, key=lambda value: (0, float(value), "") if _is_number(value) else (1, 0.0, value))
    return [{"": cells[value][""]} | {name: cells[value].get(name, "") for name in names} for value in ordered]


def _groups(table: Predictions, column: str) -> tuple[pd.Series, dict[str, str]] | None:
    """Values to group by, and how each reads: numbers of many values by powers of 4, times by decades.

    None where the table has no such column.
    """
    if column == TIME:
        decades = pd.Series(np.searchsorted(DECADE_ENDS, table.measured, side="right"))
        return decades, {str(number): text for number, text in enumerate(DECADES)}
    found = values_of(table.rows, column)
    if found is None:
        return None
    values = found.reset_index(drop=True)
    if not pd.api.types.is_numeric_dtype(values):
        return values.fillna("not said").astype(str), {}
    whole = values.astype(np.int64)
    if whole.nunique() <= MOST_VALUES:
        return whole, {str(value): f"{value:,}" for value in whole.unique()}
    size = _binary if column == "bytes" else "{:,}".format
    lowest = POWER ** np.floor(np.log(whole.clip(lower=1)) / np.log(POWER) + 1e-9).astype(np.int64)
    return lowest, {str(value): f"{size(value)} to below {size(POWER * value)}" for value in lowest.unique()}


def _binary(number: int) -> str:
    """A power of two of bytes: 4 KiB."""
    power = min(3, (int(number).bit_length() - 1) // 10)
    return f"{number >> 10 * power:,} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def percent_text(fraction: float) -> str:
    """A fraction as percentage with one digit; a dash for NaN."""
    return "-" if np.isnan(fraction) else f"{100 * fraction:.1f}%"
