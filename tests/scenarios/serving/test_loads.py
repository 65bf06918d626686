"""What comes to a server: lengths, arrivals, load generators, and what is wrong with them in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.errors import ScenarioError
from scenarios.serving.arrivals import Arrivals
from scenarios.serving.lengths import Drawn, Lengths, read_lengths
from scenarios.serving.load_generator import generator_of, load_generators
from scenarios.serving.server import Pools, limits_of, load_of

CHANCE = 7
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
)
ASKED = {"input_tokens": 100, "output_tokens": 50, "concurrency": 8}


@pytest.mark.parametrize("text", ["uniform=0.8", "lognormal=0.5"])
def test_lengths_are_drawn_around_what_is_stated(text):
    drawn = Lengths.parse(text).draw(20_000, 1000, 200, np.random.default_rng(CHANCE))
    mean = 0.9 if text.startswith("uniform") else 1.0
    assert np.mean(drawn.prompts) == pytest.approx(1000 * mean, rel=0.02)
    assert np.mean(drawn.outputs) == pytest.approx(200 * mean, rel=0.02)
    if text.startswith("uniform"):
        assert (min(drawn.prompts), max(drawn.prompts)) == (800, 1000)
    else:
        assert np.std(np.log(drawn.prompts)) == pytest.approx(0.5, rel=0.05)


def test_lengths_and_times_come_from_files(tmp_path):
    csv, lines = tmp_path / "azure.csv", tmp_path / "mooncake.jsonl"
    csv.write_text(AZURE)
    lines.write_text(
        '{"timestamp": 3000, "input_length": 8, "output_length": 2}\n'
        '{"timestamp": 4500, "input_length": 9, "output_length": 3}\n'
    )
    assert read_lengths(csv).prompts == [374, 396]
    assert read_lengths(csv).arrivals == pytest.approx([0.0, 4.314579], abs=1e-6)
    assert read_lengths(lines).arrivals == [0.0, 1.5]
    again = Lengths.parse(str(lines)).draw(3, 1, 1, np.random.default_rng(0))
    assert (again.prompts, again.outputs, again.arrivals) == ([8, 9, 8], [2, 3, 2], [0.0, 1.5, 3.0])
    assert Arrivals.parse(f"trace={csv}").times(2, np.random.default_rng(0)) == pytest.approx([0.0, 4.314579])
    traced = load_of(**ASKED, arrivals=f"trace={csv}")
    assert (traced.requests, traced.lengths.rows) == (2, read_lengths(csv))


def test_a_trace_is_played_in_the_order_of_its_times(tmp_path):
    """Each request keeps its own lengths."""
    csv = tmp_path / "mixed.csv"
    csv.write_text("arrival_s,input_tokens,output_tokens\n9,30,3\n4,10,1\n6,20,2\n")
    assert read_lengths(csv) == Drawn([10, 20, 30], [1, 2, 3], [0.0, 2.0, 5.0])


@pytest.mark.parametrize(("text", "variation"), [("poisson=8/s", 1.0), ("gamma=8/s,cv=2", 2.0), ("even=8", 0.0)])
def test_streams_have_their_rate_and_variation(text, variation):
    gaps = np.diff(Arrivals.parse(text).times(40_000, np.random.default_rng(CHANCE)))
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (Lengths, "uniform=1.5", "share of uniform"),
        (Lengths, "normal=2", "expected fixed, uniform"),
        (Arrivals, "poisson", "expected closed"),
        (Arrivals, "gamma=8/s", "expected closed"),
        (Arrivals, "poisson=0/s", "a rate is from"),
        (Arrivals, "closed,spread=soon", "expected a time"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(kind, text, words):
    with pytest.raises(ScenarioError, match=words):
        kind.parse(text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "holds no requests"),
        ("a.csv", "input_tokens\n5\n", "no column output_tokens or completion_tokens"),
        ("a.csv", "input_tokens,output_tokens\n5,x\n", "row 1, 'output_tokens' is 'x'"),
        ("a.csv", "input_tokens,output_tokens\n0,4\n", "row 1, 'input_tokens' is '0'"),
        ("a.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("a.csv", "input_tokens,output_tokens,TIMESTAMP\n1,4,noon\n", "expected a date and time"),
    ],
)
def test_a_broken_file_is_told_with_its_row(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ScenarioError, match=words):
        read_lengths(path)


def test_load_generators_have_habits_that_a_question_overrides():
    assert generator_of("2025", "vllm").name == "vllm-bench"
    assert generator_of("2025", "trtllm").name == "batch-limit"
    assert generator_of("2019", "vllm") is None
    for name, each in load_generators().items():
        load = load_of(**ASKED, generator=name)
        assert load.requests == each.requests(8)
        assert load.places == (8 if each.places == "clients" else None)
    assert load_of(**ASKED, generator="inferencemax", lengths="fixed", places=3).places == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prefix_share": 1.0}, "--prefix-share"),
        ({"places": 0}, "--places"),
        ({"generator": "wrk"}, "--load wrk"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_a_load_that_is_none_is_told_in_a_sentence(changes, words):
    with pytest.raises(ScenarioError, match=words):
        load_of(**ASKED | changes)


@pytest.mark.parametrize(("engines", "decoders"), [(0, 0), (1, -1)])
def test_a_server_has_engines(engines, decoders):
    with pytest.raises(ScenarioError, match=r"--(engines|decoders) is"):
        Pools(engines, decoders)


def test_limits_are_seconds_by_name():
    assert limits_of("ttft=1s, tpot=50ms") == {"ttft": 1.0, "tpot": 0.05}
    with pytest.raises(ScenarioError, match="expected ttft=1s"):
        limits_of("itl=1s")
