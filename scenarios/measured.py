"""Measured and published tables: which files they are, what their columns mean, and what the simulator predicts.

Belongs here: one reader for every schema, from a checked frame to predicted seconds. The statistics over them are in
``results.accuracy``, the command in ``scenarios.validate``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from chips.generation import GpuGeneration
from chips.spec import CatalogError, Gpu, Precision, load_chip
from scenarios.errors import ScenarioError, Unpredictable

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
PRECISIONS: dict[str, Precision] = {
    "bf16": "bf16",
    "fp16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
}  # fp16 runs at the rate of bf16
OPERATIONS = {"alltoall": "all_to_all"}


@dataclass(frozen=True)
class Predictions:
    """One table: its rows as read, measured and predicted seconds (NaN where there is none), and a reason a row."""

    table: str
    rows: pd.DataFrame
    measured: Floats
    predicted: Floats
    reasons: list[str]


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
        for pattern, predict in READERS.items():
            match = re.fullmatch(pattern, path.stem)
            if match and path.suffix in (".parquet", ".csv"):
                found += 1
                known: dict[str, Any] = match.groupdict()
                if known.get("chip") in coefficients_of:
                    known["generation"] = coefficients_of[known["chip"]]
                yield path, partial(predict, path, **known)
    if not found:
        raise ScenarioError(f"{folder}: holds no table whose name is known, such as h100_gemm_bf16.parquet.")


def _read(path: Path, numbers: tuple[str, ...], words: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table whose columns are checked: ``numbers`` are finite and above 0, ``words`` are there."""
    import pandas as pd

    try:
        rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}.") from None
    for column in numbers + words:
        if column not in rows:
            raise ScenarioError(f"{path}: column '{column}' is missing; it has {', '.join(map(str, rows.columns))}.")
    for column in numbers:
        values = pd.to_numeric(rows[column], errors="coerce")
        known = values.to_numpy(np.float64)
        wrong = np.flatnonzero(~(np.isfinite(known) & (known > 0)))
        if wrong.size:
            found = f"row {wrong[0] + 1}, column '{column}' is '{rows[column].iloc[wrong[0]]}'"
            raise ScenarioError(f"{path}: {found}; expected a number above 0.")
        rows[column] = values
    return rows.reset_index(drop=True)


def _gpu(name: str, generation: GpuGeneration | None = None) -> Gpu:
    chip = load_chip(name)
    if not isinstance(chip, Gpu):
        raise CatalogError(f"{name} is no GPU; kernels of a library are priced for GPUs.")
    return chip if generation is None else chip.model_copy(update={"generation": generation})


def _kernels(path: Path, rows: pd.DataFrame, predict: Callable[[pd.DataFrame], Floats]) -> list[Predictions]:
    """A table of kernels, predicted whole; if a shape in it cannot be, row by row, with the reasons."""
    measured = rows["us"].to_numpy(np.float64) * 1e-6
    predicted, reasons = np.full(len(rows), np.nan), [""] * len(rows)
    try:
        predicted = predict(rows)
    except (CatalogError, Unpredictable) as refusal:
        reasons = [str(refusal)] * len(rows)
    except ValueError:
        for number in range(len(rows)):
            try:
                predicted[number] = predict(rows.iloc[[number]])[0]
            except ValueError as refusal:
                reasons[number] = str(refusal)
    return [Predictions(path.stem, rows, measured, predicted, reasons)]


def _gemm(path: Path, chip: str, precision: str, generation: GpuGeneration | None = None) -> list[Predictions]:
    from chips.kernels.matmul import price_matmul

    rows = _read(path, ("m", "n", "k", "us"))

    def predict(rows: pd.DataFrame) -> Floats:
        gpu = _gpu(chip, generation)
        shape = (rows[name].to_numpy() for name in ("m", "n", "k"))
        time = price_matmul(gpu, *shape, precision=_precision(precision), resident_weights=True)
        return time.seconds + gpu.generation.launch.graph_gap

    return _kernels(path, rows, predict)


def _attention(
    path: Path, chip: str, phase: str, precision: str, generation: GpuGeneration | None = None
) -> list[Predictions]:
    from chips.kernels.attention import price_attention_decode, price_attention_prefill

    shape = ("batch_size", "tokens", "context", "heads", "kv_heads", "head_dim")
    rows = _read(path, (*shape, "us"))

    def predict(rows: pd.DataFrame) -> Floats:
        gpu, number = _gpu(chip, generation), _precision(precision)
        batch, tokens, context, heads, kv_heads, head_dim = (rows[name].to_numpy() for name in shape)
        if phase == "decode":
            time = price_attention_decode(
                gpu, batch, context, heads, kv_heads, head_dim, precision=number, resident=True
            )
        else:
            time = price_attention_prefill(
                gpu, batch, tokens, context, heads, kv_heads, head_dim, precision=number, resident=True
            )
        return time.seconds + gpu.generation.launch.graph_gap

    return _kernels(path, rows, predict)


def _collectives(path: Path, chip: str, generation: GpuGeneration | None = None) -> list[Predictions]:
    """Four tables: AllReduce under a graph, of NCCL, and issued eagerly; and the other operations."""
    from collectives.collective_time import Library, Mode, Operation
    from collectives.library import measured_seconds

    rows = _read(path, ("n_chips", "bytes", "us"), ("library", "mode", "op"))
    predicted, reasons = np.full(len(rows), np.nan), np.full(len(rows), "", dtype=object)
    for (library, mode, operation, ranks), same in rows.groupby(["library", "mode", "op", "n_chips"]):
        try:
            predicted[same.index] = measured_seconds(
                _gpu(chip, generation),
                cast(Operation, OPERATIONS.get(str(operation), str(operation))),
                int(str(ranks)),
                same["bytes"].to_numpy(np.float64),
                library=cast(Library, library),
                mode=cast(Mode, mode),
            )
        except (CatalogError, KeyError, ValueError) as refusal:
            reasons[same.index] = str(refusal)
    kind = np.where(rows["op"] != "all_reduce", "other operations", "AllReduce " + rows["mode"].astype(str))
    kind = np.where(kind == "AllReduce stream", "AllReduce " + rows["library"].astype(str), kind)
    measured = rows["us"].to_numpy(np.float64) * 1e-6
    return [
        Predictions(f"{path.stem}, {name}", rows[chosen], measured[chosen], predicted[chosen], list(reasons[chosen]))
        for name in dict.fromkeys(kind)
        for chosen in [kind == name]
    ]


def _inference(path: Path) -> list[Predictions]:
    from scenarios.predict import predict_inference

    numbers = ("n_chips", "tp", "batch", "input_tokens", "output_tokens", "seconds")
    rows = _read(path, numbers, ("chip", "model", "launch", "phase"))
    predicted, reasons = _row_by_row(rows, predict_inference, 1)
    return [Predictions(path.stem, rows, rows["seconds"].to_numpy(np.float64), predicted[:, 0], reasons)]


def _training(path: Path) -> list[Predictions]:
    from scenarios.predict import predict_training

    numbers = ("tp", "pp", "cp", "dp", "seq_len", "global_batch", "micro_batch", "seconds")
    rows = _read(path, numbers, ("chip", "model", "precision", "recompute", "what", "source"))
    predicted, reasons = _row_by_row(rows, predict_training, 1)
    return [Predictions(path.stem, rows, rows["seconds"].to_numpy(np.float64), predicted[:, 0], reasons)]


def _serving(path: Path) -> list[Predictions]:
    """Two tables of the same rows: time to first token, and time per output token."""
    from scenarios.predict import predict_serving

    numbers = ("input_tokens", "output_tokens", "concurrency", "tp_size", "ttft_ms", "tpot_ms")
    rows = _read(path, numbers, ("chip", "model"))
    predicted, reasons = _row_by_row(rows, predict_serving, 2)
    return [
        Predictions(f"{path.stem}, {name}", rows, rows[f"{name}_ms"].to_numpy(np.float64) * 1e-3, values, reasons)
        for name, values in zip(("ttft", "tpot"), predicted.T, strict=True)
    ]


def _row_by_row(
    rows: pd.DataFrame, predict: Callable[..., float | tuple[float, float]], width: int
) -> tuple[Floats, list[str]]:
    predicted, reasons = np.full((len(rows), width), np.nan), [""] * len(rows)
    for number, row in enumerate(rows.to_dict("records")):
        try:
            predicted[number] = predict(row)
        except (CatalogError, ScenarioError, Unpredictable) as refusal:
            reasons[number] = str(refusal)
    return predicted, reasons


def _precision(name: str) -> Precision:
    if name not in PRECISIONS:
        raise Unpredictable(f"precision '{name}'; known are {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


READERS: dict[str, Callable[..., list[Predictions]]] = {
    r"(?P<chip>.+)_gemm_(?P<precision>\w+)": _gemm,
    r"(?P<chip>.+)_attention_(?P<phase>prefill|decode)_(?P<precision>\w+)": _attention,
    r"(?P<chip>.+)_collectives": _collectives,
    r"serving_.+": _serving,
    r"inference": _inference,
    r"training": _training,
}
