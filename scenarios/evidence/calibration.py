"""Calibration: the physical constants of a chip, fitted to a user's own measured kernels.

Belongs here: which constants each family of tables can tell, and what a fit wins on rows that it has not seen. The fit
itself is in ``scenarios.evidence.least_squares``, the tables are in ``scenarios.evidence.kernel_tables``, the file that
fits become in ``scenarios.evidence.calibrated_chip``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chips.spec import CatalogError, Gpu
from results.error_statistics import ErrorStatistics, error_statistics
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.evidence.held_out import held_out_for_calibration, shape_columns
from scenarios.evidence.kernel_tables import Floats, KernelTable
from scenarios.evidence.least_squares import FittedConstant, fit_constants, with_constants

if TYPE_CHECKING:
    import pandas as pd

LEAST_SHAPES = 4
MOST_ROWS = 1500
FAMILIES = ("launch", "stream", "gemm", "attention", "collectives")

# The constants that measurements of a family can tell. The others are counted in an algorithm, taken from a
# microbenchmark, or the library's choice.
CONSTANTS: dict[str, tuple[str, ...]] = {
    "gemm": (
        "matmul.matrix_efficiency",
        "matmul.memory_efficiency",
        "matmul.in_flight_bytes",
        "matmul.write_efficiency",
        "matmul.activation_share",
        "matmul.weight_share",
        "matmul.startup_seconds",
        "matmul.step_cycles",
        "matmul.vector_step_cycles",
        "matmul.load_bytes_per_clock",
        "matmul.store_bytes_per_clock",
        "matmul.l2_bytes_per_clock",
        "matmul.reduction_seconds",
        "matmul.partial_bytes_per_clock",
        "matmul.exposed",
        "matmul.wait_seconds",
        "matmul.serving_startup_seconds",
        "matmul.serving_step_cycles",
        "vector.atomic_cycles",
        "energy.joules_per_flop",
    ),
    "attention": (
        "attention.matrix_efficiency",
        "attention.synchronous_matrix_efficiency",
        "attention.overlap",
        "attention.l2_bytes_per_clock",
        "attention.unit_bytes_per_clock",
        "attention.memory_efficiency",
        "attention.resident_share",
        "attention.kernel_latency",
        "attention.tile_latency",
        "attention.helper_seconds",
        "attention.tail",
        "attention.traffic_overlap",
        "attention.reduction_step",
        "attention.plan_step",
        "attention.cache_write_latency",
        "attention.values_per_clock",
        "attention.fp8_cache.kernel_latency",
        "attention.fp8_cache.tile_latency",
        "attention.fp8_cache.reduction_step",
        "energy.joules_per_instruction",
    ),
    "collectives": (
        "collective.sync",
        "collective.link_efficiency",
        "collective.host_efficiency",
        "collective.peer_efficiency",
        "collective.multicast_efficiency",
        "collective.copy_bandwidth",
        "collective.channel_bandwidth",
        "collective.nvls_step",
        "collective.nvls_efficiency",
        "collective.exchange_step",
        *(f"collective.{name}.{part}" for name in ("ll", "ll128") for part in ("startup", "hop", "bandwidth")),
        "collective.simple.startup",
        "collective.simple.hop",
        "launch.host_collective",
    ),
    "stream": ("vector.startup_seconds", "vector.memory_efficiency", "vector.l2_bytes_per_clock"),
    "launch": ("launch.graph_gap", "launch.stream_gap", "launch.host_operator"),
}


@dataclass(frozen=True)
class TableError:
    """Errors of one table's held-out rows, with the catalog's constants and with the fitted ones."""

    table: str
    fitted_rows: int
    before: ErrorStatistics
    after: ErrorStatistics


@dataclass(frozen=True)
class Fit:
    """The constants of one family and the errors of its tables; ``unseen``: constants that no row depends on.

    ``helps``: whether the error on held-out rows falls. Where it does not, ``chip`` keeps the catalog's constants.
    """

    family: str
    constants: tuple[FittedConstant, ...]
    unseen: tuple[str, ...]
    errors: tuple[TableError, ...]

    @property
    def helps(self) -> bool:
        """Mean error over all held-out rows of the family, after against before."""
        before, after = (
            sum(getattr(error, when).mean_ape * getattr(error, when).rows for error in self.errors)
            for when in ("before", "after")
        )
        return bool(after < before)


def calibrate(chip: Gpu, tables: Sequence[KernelTable], progress: Callable[[str], None] = lambda _: None) -> list[Fit]:
    """Fit each family of ``tables``; launches first, because their gap is part of every other measurement.

    The split into fitted and held-out rows is by shape and always the same. ``progress`` is called with the name of
    each family. Raises ScenarioError for a table with too few shapes, or one that cannot be predicted on this chip.
    """
    fits: list[Fit] = []
    for family in FAMILIES:
        of_family = [table for table in tables if table.family == family]
        if of_family:
            progress(family)
            fits.append(_fit_family(chip, family, of_family))
            chip = calibrated(chip, fits[-1:])
    return fits


def calibrated(chip: Gpu, fits: Sequence[Fit]) -> Gpu:
    """The chip with the constants of those ``fits`` that help."""
    return with_constants(
        chip, {constant.key: constant.value for fit in fits if fit.helps for constant in fit.constants}
    )


def _fit_family(chip: Gpu, family: str, tables: Sequence[KernelTable]) -> Fit:
    unseen = [_held_out(table) for table in tables]
    samples = [_sample(table.rows[~rows]) for table, rows in zip(tables, unseen, strict=True)]
    measured = np.concatenate([sample["us"].to_numpy(np.float64) * 1e-6 for sample in samples])

    def predict(on: Gpu) -> Floats:
        return np.concatenate([_predict(table, on, rows) for table, rows in zip(tables, samples, strict=True)])

    candidates = [tuple(name.split(".")) for name in CONSTANTS[family]]
    constants = fit_constants(chip, candidates, predict, measured)
    fitted = {constant.name for constant in constants}
    after = with_constants(chip, {constant.key: constant.value for constant in constants})
    errors = [_error(table, rows, chip, after) for table, rows in zip(tables, unseen, strict=True)]
    return Fit(family, constants, tuple(name for name in CONSTANTS[family] if name not in fitted), tuple(errors))


def _error(table: KernelTable, unseen: NDArray[np.bool_], before: Gpu, after: Gpu) -> TableError:
    measured = table.measured[unseen]
    then, now = (error_statistics(_predict(table, on, table.rows[unseen]), measured) for on in (before, after))
    return TableError(table.path.name, int(np.count_nonzero(~unseen)), then, now)


def _held_out(table: KernelTable) -> NDArray[np.bool_]:
    columns = shape_columns(table.path.stem)
    shapes = table.rows[columns]
    different = len(shapes.drop_duplicates())
    if different < LEAST_SHAPES:
        raise ScenarioError(
            f"{table.path}: has {different} different shapes (columns {', '.join(columns)}); a calibration that holds "
            f"some of them out needs at least {LEAST_SHAPES}."
        )
    return held_out_for_calibration(shapes)


def _sample(rows: pd.DataFrame) -> pd.DataFrame:
    """At most ``MOST_ROWS`` of the rows, evenly spread: enough for a dozen constants, and quick."""
    positions = np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(np.intp)
    return rows.iloc[np.unique(positions)]


def _predict(table: KernelTable, chip: Gpu, rows: pd.DataFrame) -> Floats:
    try:
        return table.predict(chip, rows)
    except (CatalogError, Unpredictable, ValueError) as refusal:
        raise ScenarioError(f"{table.path}: cannot be predicted on {chip.name}: {refusal}") from None


def as_records(fits: Sequence[Fit]) -> dict[str, list[dict[str, object]]]:
    """Two lists: ``constants`` (SI units), and ``errors`` (fractions) of held-out rows."""
    constants: list[dict[str, object]] = [
        {"family": fit.family, "constant": constant.name, "before": constant.before, "fitted": constant.value}
        | {"low": constant.low, "high": constant.high, "used": fit.helps}
        for fit in fits
        for constant in fit.constants
    ]
    errors: list[dict[str, object]] = [
        {"family": fit.family, "table": error.table, "fitted_rows": error.fitted_rows}
        | {"held_out_rows": error.before.rows, "mean_ape_before": error.before.mean_ape}
        | {"mean_ape_after": error.after.mean_ape, "bias_before": error.before.bias, "bias_after": error.after.bias}
        for fit in fits
        for error in fit.errors
    ]
    return {"constants": constants, "errors": errors}
