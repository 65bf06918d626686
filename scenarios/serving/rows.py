"""Predictions for rows of serving tables: which load generator, framework and precision a row tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chips.spec import CatalogError
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.framework import framework_named
from scenarios.point import make_point
from scenarios.serving.load_generator import generator_of
from scenarios.serving.server import Pools, serving_times
from scenarios.workload.hugging_face import stored_as
from scenarios.workload.model import load_model

SPLITS = {
    "attention_dp_size": "attention in data-parallel groups",
    "moe_ep_size": "experts in parallel",
}
"""Columns of serving tables that say how a model is split otherwise than by tensor parallelism."""
SERVING_COLUMNS = (
    *("chip", "backend", "backend_version", "model", "precision", "input_tokens", "output_tokens", "concurrency"),
    *("tp_size", "pp_size", *SPLITS, "moe_tp_size", "harness", "ttft_ms", "tpot_ms"),
)
"""All that a serving table may say; of a dense model ``moe_tp_size`` is ``tp_size`` again."""
FIRST_HARNESS = 2025
"""Of a table that names none."""
PRECISION_WORDS = {"fp16": "bf16", "fp4": "nvfp4"}
"""What tables call a precision, and what it is here."""


def predict_serving(row: Mapping[str, Any]) -> tuple[float, float]:
    """(time to first token, time per output token), seconds, of one row of a serving table.

    Its columns are ``SERVING_COLUMNS``. Raises Unpredictable for what is not modelled, with the reason.
    """
    for column, kind in SPLITS.items():
        if _number(row, column, 1.0) > 1:
            raise Unpredictable(kind)
    harness, backend = f"{_number(row, 'harness', FIRST_HARNESS):g}", str(row.get("backend", ""))
    generator = generator_of(harness, backend)
    if generator is None:
        raise Unpredictable(f"load generator '{harness}'")
    version = "" if _missing(row.get("backend_version")) else str(row["backend_version"])
    precision = None if _missing(row.get("precision")) else str(row["precision"])
    stored = stored_as(str(row["model"])) or PRECISION_WORDS.get(str(precision), precision)
    try:
        stored = load_model(str(row["model"])).fp8_checkpoint if stored == "fp8" else stored
        point = make_point(
            str(row["model"]),
            str(row["chip"]),
            int(row["tp_size"]),
            context=1,
            framework=framework_named(f"{backend} {version or harness}").name,
            precision=stored,
        )
        served = serving_times(
            point,
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            concurrency=int(row["concurrency"]),
            generator=generator.name,
            pools=Pools(stages=int(_number(row, "pp_size", 1.0)), over="link"),
        )
    except (ScenarioError, CatalogError) as refusal:
        raise Unpredictable(str(refusal)) from None
    return served.time_to_first_token, served.time_per_output_token


def _missing(value: object) -> bool:
    """Whether a table has nothing in a cell, or no such column."""
    return value is None or value != value or value == ""


def _number(row: Mapping[str, Any], column: str, otherwise: float) -> float:
    """A number of a row; ``otherwise`` where a table is without the column, or its cell is empty."""
    value = row.get(column)
    return otherwise if _missing(value) else float(value)  # type: ignore[arg-type]
