"""Serving under load on real chips: measured rows, memory, and what a framework's scheduler adds."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from chips.spec import load_chip
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.framework import framework_named
from scenarios.model import load_model
from scenarios.serving import predict_serving, serving_times

MEASURED = Path(__file__).parent.parent / "reference" / "measured" / "serving_llama.csv"
ROW = {"chip": "h100", "model": "meta-llama/Llama-3.1-8B-Instruct", "tp_size": 2, "pp_size": 1}
ROW |= {"input_tokens": 1024, "output_tokens": 256, "backend": "trtllm"}


def times(**changes):
    asked = {"input_tokens": 1024, "output_tokens": 128, "concurrency": 8} | changes
    chip, ranks = load_chip(asked.pop("chip", "h100")), asked.pop("ranks", 1)
    framework = framework_named(asked.pop("framework", "trtllm"))
    return serving_times(load_model(asked.pop("model", "llama-3.1-8b")), chip, ranks, framework, **asked)


def test_measured_times_are_met_at_every_degree_of_tensor_parallelism_and_every_low_concurrency():
    first, token = defaultdict(list), defaultdict(list)
    for row in csv.DictReader(MEASURED.open()):
        seconds = predict_serving({name: row[name].removesuffix(".0") for name in row})
        errors = [
            abs(ours * 1e3 / float(row[name]) - 1) for ours, name in zip(seconds, ("ttft_ms", "tpot_ms"), strict=True)
        ]
        first[float(row["concurrency"])].append(errors[0])
        token[float(row["tp_size"])].append(errors[1])
    assert all(np.mean(errors) < 0.08 for errors in token.values())
    assert all(np.mean(first[concurrency]) < limit for concurrency, limit in {8: 0.08, 16: 0.08, 32: 0.15}.items())


def test_pipeline_parallel_serving_is_counted_not_guessed():
    with pytest.raises(Unpredictable, match="pipeline-parallel"):
        predict_serving(ROW | {"pp_size": 2, "concurrency": 1})


def test_more_concurrent_requests_take_longer_a_token():
    tokens = [predict_serving(ROW | {"concurrency": number})[1] for number in (1, 8, 64)]
    assert tokens == sorted(tokens)


def test_host_work_for_every_request_delays_every_token():
    row = ROW | {"tp_size": 8, "output_tokens": 512}
    few, many = (predict_serving(row | {"concurrency": number})[1] for number in (8, 32))
    assert many - few > 24 * framework_named("trtllm").host_request_seconds > 0


def test_no_more_requests_run_than_the_cache_has_room_for():
    """Llama 3.1 8B leaves 57 GB of an H100 for keys and values: 12 sequences of 36,000 tokens."""
    served = times(input_tokens=35_000, output_tokens=1000, concurrency=64, requests=64)
    assert 8 < served.running < 13
    assert served.time_to_first_token > 10 * served.time_per_output_token


def test_a_benchmark_of_one_round_is_mostly_its_start():
    """Who sends once waits for half of all prompts; in later rounds the prompts come one by one."""
    once, often = (times(concurrency=32, requests=number, ranks=2) for number in (32, 640))
    assert once.time_to_first_token > 2 * often.time_to_first_token


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": 3}, "counts that divide"),
        ({"model": "llama-3.1-70b"}, "no room"),
        ({"concurrency": 0}, "--concurrency"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(changes, words):
    with pytest.raises(ScenarioError, match=words):
        times(**changes)
