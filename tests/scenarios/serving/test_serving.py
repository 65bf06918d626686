"""Serving under load on real chips: measured rows, memory, a framework's scheduler, and the command that asks."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import chips
from chips.spec import CatalogError
from scenarios.assignment import assign
from scenarios.commands.main import main
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.evidence.validation import DATA
from scenarios.framework import framework_named
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.serving.iteration import Iteration, speculation_of
from scenarios.serving.rows import predict_serving
from scenarios.serving.server import Pools, serving_times

CATALOG = Path(chips.__file__).parent / "catalog"
MEASURED = DATA / "measured" / "serving_llama.csv"
ROW = {"chip": "h100", "model": "meta-llama/Llama-3.1-8B-Instruct", "tp_size": 2, "pp_size": 1}
ROW |= {"input_tokens": 1024, "output_tokens": 256, "backend": "trtllm"}


def times(**changes):
    asked = {"input_tokens": 1024, "output_tokens": 128, "concurrency": 8} | changes
    model, ranks = asked.pop("model", "llama-3.1-8b"), asked.pop("ranks", 1)
    return serving_times(make_point(model, asked.pop("chip", "h100"), ranks, framework="trtllm"), **asked)


def test_measured_times_are_met_at_every_degree_of_tensor_parallelism_and_every_low_concurrency():
    first, token = defaultdict(list), defaultdict(list)
    rows = [row for row in csv.DictReader(MEASURED.open()) if "Llama-3.1-8B" in row["model"]]
    for row in rows[::3]:
        seconds = predict_serving({name: row[name].removesuffix(".0") for name in row})
        errors = [
            abs(ours * 1e3 / float(row[name]) - 1) for ours, name in zip(seconds, ("ttft_ms", "tpot_ms"), strict=True)
        ]
        first[float(row["concurrency"])].append(errors[0])
        token[float(row["tp_size"])].append(errors[1])
    assert all(np.mean(errors) < 0.08 for errors in token.values())
    assert all(np.mean(first[concurrency]) < limit for concurrency, limit in {8: 0.08, 16: 0.08, 32: 0.15}.items())


@pytest.mark.parametrize("speculation", [None, speculation_of("mtp", 2, 0.7)], ids=["", "multi-token prediction"])
def test_iterations_priced_beside_others_take_what_they_take_alone(speculation):
    """Decodes at several contexts, and prompts with what is cached before them: to the last bit."""
    point = make_point("llama-3.1-8b", "h100", 2, framework="vllm", precision="fp8")
    together = Iteration(point, assign(point).shard, speculation, most=20, longest=3000)
    together.decode(20, 1500.0)
    together.mixed([(1500, 0)], 5, 800.0)
    together.mixed([(600, 500), (300, 0)], 12, 2000.0)
    nodes = sorted(together.known)
    assert {len({node[place] for node in nodes}) > 2 for place in (0, 1, 3, 4)} == {True}
    alone = Iteration(point, assign(point).shard, speculation)
    assert all(alone._price(*node) == together.known[node] for node in nodes[::23])


def test_a_server_of_fp8_weights_answers_as_fast_as_measured():
    """vLLM with Llama 3.1 70B on 2, 4 and 8 H100; as bf16, the same rows are a quarter off."""
    rows = [row for row in pd.read_csv(MEASURED).to_dict("records") if row["harness"] == 2026]
    errors = {}
    for precision in ("fp8", "bf16"):
        times = [predict_serving({**row, "precision": precision})[1] * 1e3 for row in rows[::6]]
        ratios = [ours / float(row["tpot_ms"]) for ours, row in zip(times, rows[::6], strict=True)]
        errors[precision] = np.mean(np.abs(np.array(ratios) - 1))
    assert errors["fp8"] < 0.06 < 0.15 < errors["bf16"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attention_dp_size": 4.0}, "attention in data-parallel groups"),
        ({"moe_ep_size": 8}, "experts in parallel"),
        ({"harness": 2031}, "load generator '2031'"),
        ({"precision": "fp3"}, "--precision 'fp3' is unknown"),
    ],
)
def test_what_is_not_modelled_is_counted_not_guessed(changes, told):
    with pytest.raises(Unpredictable, match=told):
        predict_serving(ROW | {"concurrency": 1} | changes)


def test_a_model_whose_name_says_fp8_is_in_fp8():
    row = ROW | {"concurrency": 8, "model": "meta-llama/Llama-3.1-8B-Instruct-FP8", "attention_dp_size": float("nan")}
    said = predict_serving(row | {"model": ROW["model"], "precision": "fp8"})
    assert predict_serving(row) == predict_serving(row | {"precision": "bf16"}) == said
    assert said[1] < 0.85 * predict_serving(ROW | {"concurrency": 8})[1]


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
    with pytest.raises((ScenarioError, CatalogError), match=words):
        times(**changes)


def test_the_command_prints_a_row_a_question_and_reads_a_chip_of_the_users_own(capsys, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text((CATALOG / "h100.toml").read_text().replace('name = "h100"', 'name = "mine"', 1))
    arguments = ["serve", "llama-3.1-8b", "--chips", "h100", str(mine), "--count", "2", "--concurrency", "8", "16"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--output-tokens", "64", "--json"])
    assert not end.value.code
    rows = json.loads(capsys.readouterr().out)
    assert [(row["chip"], row["concurrency"]) for row in rows] == [("h100", 8), ("h100", 16), ("mine", 8), ("mine", 16)]
    served = times(ranks=2, output_tokens=64, concurrency=8)
    assert rows[0]["first_token_seconds"] == rows[2]["first_token_seconds"] == served.time_to_first_token
    assert rows[1]["output_token_seconds"] > rows[0]["output_token_seconds"] == served.time_per_output_token


def test_every_server_is_met_in_its_time_to_first_token():
    """Rows of three servers and both load generators, whose schedulers differ: none is off by half on the median."""
    table = pd.read_csv(MEASURED)
    table = table[(table.concurrency <= 32) & (table.backend_version != "0.5.8.post1")]
    for _, rows in table.groupby(["backend", "harness"]):
        shown = rows.iloc[:: max(1, len(rows) // 6)].to_dict("records")
        ratios = [predict_serving(row)[0] * 1e3 / row["ttft_ms"] for row in shown]
        assert 0.75 < np.median(ratios) < 1.3


def test_a_looped_kernel_serves_decoding_iterations_and_no_prompt():
    """The same prompts, issued kernel by kernel; tokens come sooner, and so the next request."""
    point = make_point("llama-3.1-8b", "h100", 8, context=1, framework="trtllm")
    looped = make_point("llama-3.1-8b", "h100", 8, context=1, framework="trtllm", strategy="kernel_loop")
    asked = {"input_tokens": 512, "output_tokens": 64, "requests": 40}
    slow, fast = (serving_times(each, concurrency=4, **asked) for each in (point, looped))
    assert fast.time_per_output_token < 0.9 * slow.time_per_output_token
    alone = [serving_times(each, concurrency=1, **asked | {"output_tokens": 1}) for each in (point, looped)]
    assert alone[0].time_to_first_token == alone[1].time_to_first_token


def test_a_dataflow_chip_serves_and_reads_prompts_by_themselves():
    """One client waits for exactly the prefill and the decode steps that a comparison prices."""
    point = make_point("llama-3.2-1b", "sn40l", 1, context=1, strategy="kernel_loop")
    served = serving_times(point, input_tokens=128, output_tokens=2, concurrency=1, requests=3)
    prefill, token = (
        price([make_point("llama-3.2-1b", "sn40l", 1, context=context, strategy="kernel_loop", phase=phase)])
        for phase, context in (("prefill", 128), ("decode", 128))
    )
    assert served.time_to_first_token == pytest.approx(prefill.record()["seconds"])
    assert served.time_per_output_token == pytest.approx(token.record()["seconds"], rel=1e-3)


def test_speculation_pays_where_it_is_accepted():
    point = make_point("llama-3.1-8b", "h100", 1, context=1, framework="vllm")
    asked = {"input_tokens": 256, "output_tokens": 128, "concurrency": 1, "requests": 4}
    plain = serving_times(point, **asked).time_per_output_token
    never, always = (
        serving_times(point, speculation=speculation_of("llama-3.2-1b", 4, share), **asked).time_per_output_token
        for share in (0.0, 0.95)
    )
    assert always < plain < never
    assert speculation_of("mtp", 3, 0.5).tokens_a_pass == pytest.approx(1 + 0.5 + 0.25 + 0.125)
    with pytest.raises(ScenarioError, match="--acceptance"):
        speculation_of("mtp", 3, 1.5)


def test_stages_hold_more_and_answer_as_one_group_does_but_for_what_they_send():
    """A batch comes round when all stages have had it: a token takes the whole pass, and a message from each stage."""
    point = make_point("llama-3.1-8b", "h100", 1, context=1, framework="vllm")
    asked = {"input_tokens": 128, "output_tokens": 64, "concurrency": 1, "requests": 3}
    one, two = (serving_times(point, **asked, pools=Pools(stages=stages)) for stages in (1, 2))
    link = point.chip.link
    sent = 2 * link.network_latency + point.model.hidden * 2 / link.network_bandwidth
    assert two.time_per_output_token - one.time_per_output_token == pytest.approx(sent, rel=1e-6)
    many = {"input_tokens": 128, "output_tokens": 64, "concurrency": 32, "requests": 96}
    alone, staged = (serving_times(point, **many, pools=Pools(stages=stages)) for stages in (1, 2))
    assert 1.05 * alone.output_tokens_per_s < staged.output_tokens_per_s < 2 * alone.output_tokens_per_s
    with pytest.raises(ScenarioError, match="no room"):
        times(model="llama-3.1-70b")
    large = make_point("llama-3.1-70b", "h100", 1, context=1, framework="vllm")
    assert serving_times(large, **asked, pools=Pools(stages=4)).time_per_output_token > 0.03
    with pytest.raises(ScenarioError):
        serving_times(point, **asked, pools=Pools(stages=64))
