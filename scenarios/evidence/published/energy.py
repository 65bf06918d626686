"""Predictions for servers whose boards' power was measured: a row of a table in, watts, joules and seconds a token out.

A server under load is taken as its steady state: all running requests decode side by side at the mean of the contexts
that they pass through, and each request has been a prompt once. Prompt lengths that a row does not tell are
``PROMPT_TOKENS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any, NamedTuple

from chips.spec import CatalogError, load_chip
from scenarios.errors import DoesNotFit, ScenarioError, Unpredictable
from scenarios.framework import Framework, framework_named
from scenarios.outcome import Record
from scenarios.point import make_point
from scenarios.pricing import price

PROMPT_TOKENS = 300
"""Of chats and of questions with four answers: some hundred [inferred]; nobody publishes them."""


class Steady(NamedTuple):
    """A server in its steady state: watts of all its chips, joules a token, seconds an output token of a request, in
    which prompts of others are read too.
    """

    watts: float
    joules_per_token: float
    time_per_output_token: float


def predict_energy(row: Mapping[str, Any]) -> Steady:
    """One row of ``energy_vllm.csv``. Raises Unpredictable for what the simulator has no model for."""
    if int(row.get("pp_size", 1)) != 1 or int(row["n_chips"]) != int(row["tp_size"]):
        raise Unpredictable(f"{row['n_chips']:g} chips in tensor-parallel groups of {row['tp_size']:g}")
    told = float(row.get("input_tokens", float("nan")))
    prompt, output = PROMPT_TOKENS if isnan(told) else int(told), round(float(row["output_tokens"]))
    running = max(1, round(float(row["concurrency"])))
    token = _priced(row, phase="decode", batch=running, context=prompt + output // 2)
    first = _priced(row, phase="prefill", batch=1, context=prompt)
    # While a request has all its output tokens, each of those that run beside it has its prompt read once.
    seconds, joules = (output * _number(token, name) + running * _number(first, name) for name in ("seconds", "joules"))
    hosted = output * running * _framework(row).host_request_seconds
    # While chips wait for the host, they draw what they always do.
    waiting_watts = _number(token, "count") * load_chip(str(row["chip"])).events.static_watts
    seconds, joules = seconds + hosted, joules + hosted * waiting_watts
    return Steady(joules / seconds, joules / (running * output), seconds / output)


def _priced(row: Mapping[str, Any], **asked: Any) -> Record:
    framework = _framework(row).name
    try:
        point = make_point(str(row["model"]), str(row["chip"]), int(row["tp_size"]), framework=framework, **asked)
        prices = price([point])
        for refused in prices.refusals.values():
            raise refused
        return prices.record()
    except (ScenarioError, CatalogError, DoesNotFit) as refusal:
        raise Unpredictable(str(refusal)) from None


def _framework(row: Mapping[str, Any]) -> Framework:
    return framework_named(str(row.get("backend", "")))


def _number(record: Record, name: str) -> float:
    value = record[name]
    assert isinstance(value, int | float)
    return value
