"""The fitted constants for readers: value, meaning, source, and how firmly the measured tables hold each one.

Fitted is what the trailing comment in the catalog says is fitted; the meaning is the docstring of the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import BaseModel, ValidationError

from chips.catalog_file import Key
from chips.datasheet import read_sources
from chips.generation import GpuGeneration
from chips.spec import CATALOG, Gpu, load_gpu
from results.error_statistics import absolute_percentage_error
from results.units import three_digits
from scenarios.evidence.kernel_tables import KernelTable, read_kernel_table
from scenarios.framework import CATALOG as FRAMEWORKS

MEASURED = {"hopper": "h100", "ampere": "a100", "blackwell": "b200", "ada": "l40s"}
"""Generations that were fitted, and the chip whose tables they saw."""
TABLES = {"matmul": "_gemm_", "attention": "_attention_", "collective": "_collectives", "energy": "_gemm_"}
SAMPLE = 25  # every so-manieth row of a table of kernels
TOLERATED = 1.05  # growth of the mean error
FACTORS = (1.02, 1.05, 1.1, 1.2, 1.5, 2.0)


@dataclass(frozen=True)
class Sample:
    """Tables of one chip, kernels shortened."""

    chip: Gpu
    tables: tuple[KernelTable, ...]

    def mean_error(self, family: str, generation: GpuGeneration) -> float:
        """Mean error of the family's tables, a fraction, with the coefficients of ``generation``; NaN without any."""
        chip = self.chip.model_copy(update={"generation": generation})
        errors = [
            absolute_percentage_error(table.predict(chip, table.rows), table.measured)
            for table in self.tables
            if TABLES[family] in table.path.stem
        ]
        return float(np.mean(np.concatenate(errors))) if errors else float("nan")


def fitted_constants(folder: Path) -> list[dict[str, str]]:
    """A record a fitted constant of each measured generation; ``folder`` holds the tables for the intervals."""
    records = []
    for name, chip in MEASURED.items():
        generation = load_gpu(chip).generation
        sample = _sample(chip, folder)
        for key, value, source in read_sources(CATALOG / "generations" / f"{name}.toml"):
            if not source.startswith("fitted") or key[0] not in TABLES or not isinstance(value, int | float):
                continue
            records.append(
                {
                    "generation": name,
                    "constant": ".".join(key),
                    "value": _short(value),
                    "interval": _interval(sample, generation, key, float(value)),
                    "meaning": _meaning(key),
                    "source": source,
                }
            )
    return records


def framework_constants() -> list[dict[str, str]]:
    """A record a fitted constant of a framework."""
    return [
        {"framework": key[0], "constant": key[1], "value": _short(value), "source": source}
        for key, value, source in read_sources(FRAMEWORKS)
        if source.startswith("fitted") and isinstance(value, float)
    ]


def _sample(chip: str, folder: Path) -> Sample | None:
    """The chip's tables, kernels shortened; None where ``folder`` has none."""
    paths = sorted([*folder.glob(f"{chip}_*.parquet"), *folder.glob(f"measured/{chip}_*.parquet")])
    tables = [read_kernel_table(path) for path in paths if any(part in path.stem for part in TABLES.values())]
    shortened = [
        table if table.family == "collectives" else replace(table, rows=table.rows.iloc[::SAMPLE]) for table in tables
    ]
    return Sample(load_gpu(chip), tuple(shortened)) if shortened else None


def _interval(sample: Sample | None, generation: GpuGeneration, key: Key, value: float) -> str:
    most = float("nan") if sample is None else TOLERATED * sample.mean_error(key[0], generation)
    if sample is None or np.isnan(most):
        return ""

    def tolerated(factors: Iterator[float]) -> tuple[float, bool]:
        """The last factor before the error is too large, and whether there is such a limit."""
        last = 1.0
        for factor in factors:
            changed = _with(generation, key, value * factor)
            if changed is None or sample.mean_error(key[0], changed) > most:
                return last, True
            last = factor
        return last, False

    lower, limited_below = tolerated(1 / factor for factor in FACTORS)
    upper, limited_above = tolerated(iter(FACTORS))
    low, high = _short(value * lower), _short(value * upper)
    return f"{'' if limited_below else 'below '}{low} to {'' if limited_above else 'beyond '}{high}"


def _with(generation: GpuGeneration, key: Key, value: float) -> GpuGeneration | None:
    """The generation with one coefficient changed; None where its field does not take the value."""
    data = generation.model_dump()
    place = reduce(lambda table, part: table[part], key[:-1], data)
    place[key[-1]] = round(value) if isinstance(place[key[-1]], int) else value
    try:
        return GpuGeneration.model_validate(data)
    except ValidationError:
        return None


def _meaning(key: Key) -> str:
    """What the coefficient's field says of itself."""
    owner: type[BaseModel] = GpuGeneration
    for part in key[:-1]:
        owner = cast(type[BaseModel], owner.model_fields[part].annotation)
    said = owner.model_fields[key[-1]].description or ""
    return " ".join(said.split()).rstrip(".")


def _short(value: object) -> str:
    number = float(str(value))
    return three_digits(number) if 1e-3 <= abs(number) < 1e5 else f"{number:.3g}"
