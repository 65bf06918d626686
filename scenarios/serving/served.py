"""Servers side by side: how long users of each wait, on every chip, count and number of clients."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TypedDict

from scenarios.bands import kernel_source
from scenarios.point import make_point
from scenarios.serving.load import serving_times


class ServedRecord(TypedDict):
    """One server. Seconds as a user waits for them; ``output_tokens_per_s``: of all clients; ``kernels``: whose
    were measured, as in ``results.schema``."""

    chip: str
    count: int
    concurrency: int
    first_token_seconds: float
    output_token_seconds: float
    output_tokens_per_s: float
    kernels: str


def serve(
    model: str,
    chips: Iterable[str],
    counts: Iterable[int] = (1,),
    concurrency: Iterable[int] = (8,),
    *,
    input_tokens: int = 1024,
    output_tokens: int = 256,
    requests: int | None = None,
    framework: str = "trtllm",
    precision: str | None = None,
    kv_precision: str | None = None,
) -> list[ServedRecord]:
    """A record for every GPU, count and ``concurrency``: seconds to the first and per output token, output tokens/s.

    What they mean, and what is not modelled, is told by ``serving_times``. Raises ScenarioError and CatalogError as it
    and ``make_point`` do.
    """
    records: list[ServedRecord] = []
    for chip, count, clients in product(chips, counts, concurrency):
        point = make_point(
            model, chip, count, context=1, framework=framework, precision=precision, kv_precision=kv_precision
        )
        served = serving_times(
            point, input_tokens=input_tokens, output_tokens=output_tokens, concurrency=clients, requests=requests
        )
        turn = served.time_to_first_token + (output_tokens - 1) * served.time_per_output_token
        records.append(
            ServedRecord(
                chip=point.chip.name,
                count=count,
                concurrency=clients,
                first_token_seconds=served.time_to_first_token,
                output_token_seconds=served.time_per_output_token,
                output_tokens_per_s=clients * output_tokens / turn,
                kernels=kernel_source(point.chip),
            )
        )
    return records
