"""Servers side by side: how long users of each wait, on every chip, count, strategy and number of clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from chips.spec import Gpu, load_chip
from results.served import PERCENTILES, served_frame
from scenarios.bands import kernel_source
from scenarios.point import make_point
from scenarios.serving.iteration import Speculation
from scenarios.serving.outcome import Served
from scenarios.serving.server import ONE_ENGINE, Pools, limits_of, serving_times

GPU_FRAMEWORK = "trtllm"
"""The server whose time to first token is measured best."""


class Side(NamedTuple):
    """A server: its row of ``results.served``, and all that it did."""

    row: Mapping[str, Any]
    served: Served


def serve(
    model: str,
    chips: Iterable[str],
    counts: Iterable[int] = (1,),
    concurrency: Iterable[int] = (8,),
    strategies: Iterable[str] = ("per_operator",),
    **asked: Any,
) -> pd.DataFrame:
    """A row for every chip, count, strategy and ``concurrency``, with the columns of ``results.served``.

    ``asked``: see ``servers``. Raises ScenarioError and CatalogError as ``serving_times`` and ``make_point`` do.
    """
    return served_frame([side.row for side in servers(model, chips, counts, concurrency, strategies, **asked)])


def servers(
    model: str,
    chips: Iterable[str],
    counts: Iterable[int] = (1,),
    concurrency: Iterable[int] = (8,),
    strategies: Iterable[str] = ("per_operator",),
    *,
    input_tokens: int = 1024,
    output_tokens: int = 256,
    framework: str | None = None,
    launch: str | None = None,
    precision: str | None = None,
    kv_precision: str | None = None,
    arrivals: str = "closed",
    limits: str | None = None,
    speculation: Speculation | None = None,
    pools: Pools = ONE_ENGINE,
    **load: Any,
) -> list[Side]:
    """The same with all that each server did. ``limits``: as ``limits_of`` reads them; ``load``: see ``load_of``.

    ``framework``: None: ``trtllm`` on GPUs. A stream of requests that waits for nobody has no clients: ``concurrency``
    then counts for nothing.
    """
    kept = {} if limits is None else limits_of(limits)
    closed = arrivals.startswith("closed")
    clients = list(concurrency) if closed else [1]
    sides = []
    for chip, count, strategy, several in product(chips, counts, strategies, clients):
        serves = framework or (GPU_FRAMEWORK if isinstance(load_chip(chip), Gpu) else None)
        options = {"framework": serves, "launch": launch, "precision": precision, "kv_precision": kv_precision}
        point = make_point(model, chip, count, strategy=strategy, context=1, **options)
        served = serving_times(
            point,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=several,
            arrivals=arrivals,
            speculation=speculation,
            pools=pools,
            **load,
        )
        row: dict[str, object] = {
            "chip": point.chip.name,
            "count": count,
            "model": point.model.name,
            "strategy": strategy,
            "launch": point.launch,
            "framework": point.framework.name if point.chip.has_framework else "",
            "precision": point.precision,
            "kv_precision": point.kv_precision,
            "arrivals": arrivals,
            "concurrency": several if closed else 0,
            "engines": pools.engines,
            "decoders": pools.decoders,
            "stages": pools.stages,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "kernels": kernel_source(point.chip),
        }
        sides.append(Side(row | _seen(served, kept), served))
    return sides


def _seen(served: Served, limits: Mapping[str, float]) -> dict[str, object]:
    seen: dict[str, object] = {
        "requests": len(served.requests),
        "first_token_seconds": served.time_to_first_token,
        "output_token_seconds": served.time_per_output_token,
        "request_seconds": served.end_to_end,
    }
    for name, what in (
        ("first_token", "ttft"),
        ("output_token", "tpot"),
        ("between_tokens", "itl"),
        ("request", "e2e"),
    ):
        seen |= {f"{name}_p{percent}_s": served.percentile(what, percent) for percent in PERCENTILES}
    return seen | {
        "output_tokens_per_s": served.output_tokens_per_s,
        "requests_per_s": served.requests_per_s,
        "goodput_per_s": served.served_well(limits),
        "running": served.running,
        "evictions": served.evictions,
        "seconds": served.seconds,
    }
