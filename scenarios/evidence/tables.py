"""Measured and published tables: which files they are, and what the simulator predicts for every row.

Belongs here: the tables of a folder, and readers of published runs. What tables of kernels look like is in
``scenarios.evidence.kernel_tables``, the statistics over all of them in ``results.error_statistics``, the command in
``scenarios.evidence.validation``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from chips.generation import GpuGeneration
from chips.spec import CatalogError, Gpu, load_gpu
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.evidence.kernel_tables import (
    SUFFIXES,
    Floats,
    chip_of,
    read_columns,
    read_kernel_table,
    unread_columns,
)

if TYPE_CHECKING:
    import pandas as pd

    from scenarios.evidence.published.runs import Row
    from scenarios.pricing import Prices


Unit = Literal["s", "W", "J"]


@dataclass(frozen=True)
class Predictions:
    """One table: its rows as read, measured and predicted values (NaN where there is none), and a reason a row.

    ``unit``: of the values, seconds, watts or joules.
    ``runs``: of published runs, what each predicted row was priced as. ``unread``: columns that no prediction reads.
    """

    table: str
    rows: pd.DataFrame
    measured: Floats
    predicted: Floats
    reasons: list[str]
    runs: list[Prices] = field(default_factory=list)
    unread: tuple[str, ...] = ()
    unit: Unit = "s"


def read_tables(
    folder: Path, coefficients_of: Mapping[str, GpuGeneration] = MappingProxyType({})
) -> Iterator[tuple[Path, Callable[[], list[Predictions]]]]:
    """Every table in ``folder`` and its subfolders measured/ and published/, with the function that predicts it.

    ``coefficients_of``: chips whose kernels and collectives are priced with other coefficients than their own, to see
    what a datasheet alone would have told, or how much a coefficient matters.
    Raises ScenarioError if the folder does not exist or holds no table.
    """
    if not folder.is_dir():
        raise ScenarioError(f"{folder}: no such folder of measured tables.")
    folders = (folder, folder / "measured", folder / "published")
    files = [path for place in folders if place.is_dir() for path in sorted(place.iterdir())]
    found = 0
    for path in files:
        chip = chip_of(path)
        if chip is not None:
            found += 1
            yield path, partial(_kernels, path, coefficients_of.get(chip))
            continue
        for pattern, predict in READERS.items():
            if path.suffix in SUFFIXES and re.fullmatch(pattern, path.stem):
                found += 1
                yield path, partial(predict, path)
    if not found:
        raise ScenarioError(f"{folder}: holds no table whose name is known, such as h100_gemm_bf16.parquet.")


def _gpu(name: str, generation: GpuGeneration | None) -> Gpu:
    chip = load_gpu(name)
    return chip if generation is None else chip.model_copy(update={"generation": generation})


def _kernels(path: Path, generation: GpuGeneration | None = None) -> list[Predictions]:
    """A table of kernels, predicted whole; if a shape in it cannot be, row by row, with the reasons."""
    table = read_kernel_table(path)
    rows = table.rows
    predicted, reasons = np.full(len(rows), np.nan), [""] * len(rows)
    try:
        gpu = _gpu(str(chip_of(path)), generation)
        predicted = table.predict(gpu, rows)
    except (CatalogError, Unpredictable) as refusal:
        reasons = [str(refusal)] * len(rows)
    except ValueError:
        for number in range(len(rows)):
            try:
                predicted[number] = table.predict(gpu, rows.iloc[[number]])[0]
            except ValueError as refusal:
                reasons[number] = str(refusal)
    whole = Predictions(path.stem, rows, table.measured, predicted, reasons, unread=table.unread)
    return _by_kind(whole) if table.family == "collectives" else [whole]


def _by_kind(table: Predictions) -> list[Predictions]:
    """Four tables: AllReduce under a graph, of NCCL, and issued eagerly; and the other operations."""
    rows = table.rows
    kind = np.where(rows["op"] != "all_reduce", "other operations", "AllReduce " + rows["mode"].astype(str))
    kind = np.where(kind == "AllReduce stream", "AllReduce " + rows["library"].astype(str), kind)
    reasons = np.array(table.reasons, dtype=object)
    return [
        Predictions(
            f"{table.table}, {name}",
            rows[chosen],
            table.measured[chosen],
            table.predicted[chosen],
            list(reasons[chosen]),
            unread=table.unread,
        )
        for name in dict.fromkeys(kind)
        for chosen in [kind == name]
    ]


def _inference(path: Path) -> list[Predictions]:
    from scenarios.evidence.published.runs import price_inference

    numbers = ("n_chips", "tp", "batch", "input_tokens", "output_tokens", "seconds")
    rows = read_columns(path, numbers, ("chip", "model", "launch", "phase"))
    runs: list[Prices] = []

    def predict(row: Row) -> float:
        runs.append(price_inference(row))
        return sum(outcome.seconds for outcome in runs[-1].outcomes)

    predicted, reasons = _row_by_row(rows, predict, 1)
    return [Predictions(path.stem, rows, rows["seconds"].to_numpy(np.float64), predicted[:, 0], reasons, runs)]


def _training(path: Path) -> list[Predictions]:
    from scenarios.evidence.published.runs import predict_training

    numbers = ("tp", "pp", "cp", "dp", "seq_len", "global_batch", "micro_batch", "seconds")
    rows = read_columns(path, numbers, ("chip", "model", "precision", "recompute", "what", "source"))
    predicted, reasons = _row_by_row(rows, predict_training, 1)
    return [Predictions(path.stem, rows, rows["seconds"].to_numpy(np.float64), predicted[:, 0], reasons)]


def _collectives(path: Path) -> list[Predictions]:
    from scenarios.evidence.published.collectives import predict_collective, published_seconds

    rows = read_columns(path, ("n_chips",), ("chip", "topology", "library", "mode", "op", "bytes", "us", "busbw_gbps"))
    predicted, reasons = _row_by_row(rows, predict_collective, 1)
    measured, _ = _row_by_row(rows, published_seconds, 1)
    return [Predictions(path.stem, rows, measured[:, 0], predicted[:, 0], reasons)]


def _serving(path: Path) -> list[Predictions]:
    """Two tables of the same rows: time to first token, and time per output token."""
    from scenarios.serving.rows import SERVING_COLUMNS, predict_serving

    numbers = ("input_tokens", "output_tokens", "concurrency", "tp_size", "ttft_ms", "tpot_ms")
    rows = read_columns(path, numbers, ("chip", "model"))
    # The most clients first: what a server with room for them asks for has what the others do.
    order = np.argsort(-rows["concurrency"].to_numpy(np.float64), kind="stable")
    predicted, reasons = np.full((len(rows), 2), np.nan), np.full(len(rows), "", object)
    predicted[order], reasons[order] = _row_by_row(rows.iloc[order], predict_serving, 2)
    return [
        Predictions(
            f"{path.stem}, {name}",
            rows,
            rows[f"{name}_ms"].to_numpy(np.float64) * 1e-3,
            values,
            reasons.tolist(),
            unread=unread_columns(rows, SERVING_COLUMNS),
        )
        for name, values in zip(("ttft", "tpot"), predicted.T, strict=True)
    ]


def _energy(path: Path) -> list[Predictions]:
    """Three tables of the same rows: watts of all chips, joules a token, and time per output token."""
    from scenarios.evidence.published.energy import predict_energy

    numbers = ("n_chips", "tp_size", "concurrency", "output_tokens", "watts_all", "joules_per_output_token", "tpot_ms")
    rows = read_columns(path, numbers, ("chip", "model", "backend"))
    predicted, reasons = _row_by_row(rows, predict_energy, 3)
    measured = rows[["watts_all", "joules_per_output_token", "tpot_ms"]].to_numpy(np.float64) * (1.0, 1.0, 1e-3)
    quantities: tuple[tuple[str, Unit], ...] = (("watts", "W"), ("joules a token", "J"), ("tpot", "s"))
    return [
        Predictions(f"{path.stem}, {name}", rows, measured[:, place], predicted[:, place], reasons, unit=unit)
        for place, (name, unit) in enumerate(quantities)
    ]


def _row_by_row(
    rows: pd.DataFrame, predict: Callable[..., float | tuple[float, ...]], width: int
) -> tuple[Floats, list[str]]:
    predicted, reasons = np.full((len(rows), width), np.nan), [""] * len(rows)
    for number, row in enumerate(rows.to_dict("records")):
        try:
            predicted[number] = predict(row)
        except (CatalogError, ScenarioError, Unpredictable) as refusal:
            reasons[number] = str(refusal)
    return predicted, reasons


READERS: dict[str, Callable[[Path], list[Predictions]]] = {
    r"serving_.+": _serving,
    r"energy_.+": _energy,
    r"inference": _inference,
    r"training": _training,
    r"collectives_new": _collectives,
}
