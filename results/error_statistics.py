"""Error statistics of predictions against measurements. Reads no files and predicts nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorStatistics:
    """How far predictions are from measurements, as fractions (0.1 is 10 percent).

    ``rows`` counts all rows, ``unpredicted`` those among them without a prediction (NaN); the statistics are over the
    others and NaN if there are none. ``bias`` is the median of predicted / measured: above 1, predictions are slow.
    """

    rows: int
    mean_ape: float
    median_ape: float
    p90_ape: float
    bias: float
    unpredicted: int


def absolute_percentage_error(predicted: Floats, measured: Floats) -> Floats:
    """|predicted / measured - 1| of every row, a fraction; NaN where there is no prediction."""
    return np.abs(predicted / measured - 1)


def error_statistics(predicted: Floats, measured: Floats) -> ErrorStatistics:
    """Statistics over rows of predicted and measured times, both of shape (rows,), in the same unit."""
    known = np.isfinite(predicted)
    rows, unpredicted = len(measured), int(np.count_nonzero(~known))
    if unpredicted == rows:
        nan = float("nan")
        return ErrorStatistics(rows, nan, nan, nan, nan, unpredicted)
    errors = absolute_percentage_error(predicted[known], measured[known])
    return ErrorStatistics(
        rows=rows,
        mean_ape=float(np.mean(errors)),
        median_ape=float(np.median(errors)),
        p90_ape=float(np.quantile(errors, 0.9)),
        bias=float(np.median(predicted[known] / measured[known])),
        unpredicted=unpredicted,
    )


def values_of(rows: pd.DataFrame, columns: str) -> pd.Series | None:
    """The values of one column, or of several with commas between, joined in each row; None where one is missing."""
    names = [name.strip() for name in columns.split(",")]
    if not set(names) <= set(rows.columns):
        return None
    if len(names) == 1:
        return rows[names[0]]
    return rows[names].astype(str).agg(", ".join, axis=1)


def statistics_by(groups: pd.Series, predicted: Floats, measured: Floats) -> dict[str, ErrorStatistics]:
    """Statistics of every value of ``groups`` (shape (rows,)), in the order of the values."""
    positions = groups.reset_index(drop=True).groupby(groups.to_numpy(), dropna=False).indices
    return {str(value): error_statistics(predicted[rows], measured[rows]) for value, rows in positions.items()}


def worst_rows(predicted: Floats, measured: Floats, number: int) -> NDArray[np.intp]:
    """Positions of the ``number`` predicted rows with the largest error, the largest first."""
    errors = absolute_percentage_error(predicted, measured)
    known = np.flatnonzero(np.isfinite(errors))
    return known[np.argsort(-errors[known], kind="stable")][:number]
