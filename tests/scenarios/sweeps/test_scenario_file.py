"""Scenario files: what they stand for, what they refuse, and the schema that editors complete from."""

from __future__ import annotations

import json
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chips.spec import chip_path
from results.errors import LooplineError
from scenarios.commands.main import main
from scenarios.errors import ScenarioError
from scenarios.sweeps.parts import price_part
from scenarios.sweeps.scenario_file import (
    CATALOG,
    Scenario,
    load_scenario,
    points_of,
    scenario_from,
    scenario_names,
)
from scenarios.sweeps.scenario_schema import scenario_schema

PLAIN = {"question": "Which is faster?", "model": "llama-3.1-8b", "chips": ["h100", "sn40l"]}


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def numbers(request: dict[str, Any], *keys: str) -> tuple[Any, ...]:
    return tuple(request[key] for key in keys)


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_asks_and_its_first_points_are_answered(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.question.endswith("?")
    rows = price_part(points_of(scenario).part(0, 4), "any")
    assert len(rows) == 4
    assert rows["key"].is_unique


@given(
    counts=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    first=st.integers(1, 100),
    steps=st.integers(0, 5),
)
def test_points_are_the_product_in_order(counts: list[int], batches: list[int], first: int, steps: int) -> None:
    contexts = {"from": first, "to": first + 10 * steps + 3, "step": 10}
    points = points_of(scenario_from(PLAIN | {"count": counts, "batch": batches, "context": contexts}))
    expected = [
        *product(PLAIN["chips"], counts, batches, range(first, first + 10 * steps + 1, 10)),
    ]
    by_strategy = list(points)
    assert [numbers(request, "chip", "count", "batch", "context") for request in by_strategy[::3]] == expected
    assert [points[number] for number in range(len(points))] == by_strategy


def test_a_doubling_range_stops_at_its_end() -> None:
    points = points_of(scenario_from(PLAIN | {"count": {"from": 1, "to": 12, "times": 2}, "strategy": "kernel_loop"}))
    assert [request["count"] for request in points] == [1, 2, 4, 8] * 2


def test_keys_together_go_side_by_side() -> None:
    scenario = scenario_from(PLAIN | {"count": [8, 16], "together": [["chips", "count"]], "strategy": "kernel_loop"})
    assert [numbers(request, "chip", "count") for request in points_of(scenario)] == [("h100", 8), ("sn40l", 16)]


def test_values_of_datasheets_are_swept_and_stand_in_the_names_of_chips() -> None:
    override = {"h100": {"memory": {"bandwidth": "3e12..6e12*2"}, "power_watts": [500, 700]}, "sn40l.power_watts": 9}
    scenario = scenario_from(PLAIN | {"override": override, "strategy": "kernel_loop"})
    assert [request["chip"] for request in points_of(scenario)] == [
        *(f"h100{{memory.bandwidth={rate},power_watts={watts}}}" for rate in ("3e12", "6e12") for watts in (500, 700)),
        "sn40l{power_watts=9}",
    ]


def test_a_chip_of_a_file_is_overridden_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('inherits = "h100"\nname = "own"\ntitle = "own"\n')
    text = 'question = "?"\nmodel = "llama-3.2-1b"\nchips = ["own.toml"]\n'
    expected = f"{tmp_path / 'own.toml'}{{power_watts=500}}"
    assert load_scenario(written(tmp_path, f"{text}[override]\nown.power_watts = 500\n")).chips == [expected]
    assert load_scenario(written(tmp_path, text), ["own.power_watts=500"]).chips == [expected]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ({"h200": {"power_watts": 9}}, "no chip of that name is asked about"),
        ({"h100": {"power_wats": 9}}, "the nearest is power_watts"),
        ({"h100": 9}, "expected CHIP.KEY"),
        (9, "expected a table of other values"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override: object, told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        scenario_from(PLAIN | {"override": override})


def test_lists_side_by_side_are_equally_long() -> None:
    with pytest.raises(ScenarioError, match="chips has 2, count has 3"):
        points_of(scenario_from(PLAIN | {"count": [1, 2, 3], "together": [["chips", "count"]]}))


def test_a_sample_is_part_of_the_product_without_repetition_and_repeatable() -> None:
    whole = PLAIN | {"context": {"from": 1, "to": 1000, "step": 1}}
    drawn = [points_of(scenario_from(whole | {"sample": {"points": 50, "seed": 7}})) for _ in range(2)]
    assert list(drawn[0]) == list(drawn[1])
    everything = [json.dumps(request, sort_keys=True) for request in points_of(scenario_from(whole))]
    chosen = [json.dumps(request, sort_keys=True) for request in drawn[0]]
    assert len(set(chosen)) == 50
    assert set(chosen) <= set(everything)
    other = points_of(scenario_from(whole | {"sample": {"points": 50, "seed": 8}}))
    assert list(other) != list(drawn[0])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('chipz = ["h100"]', "line 4: key 'chipz' is not known; expected 'chips'"),
        ("count = 0", "line 4: key 'count' is 0; expected a whole number from 1 up"),
        ('count = "eight"', "line 4: key 'count' is 'eight'; expected a whole number"),
        ("batch = { from = 1, to = 8 }", "line 4: key 'batch'"),
        ('phase = "decoding"', "line 4: key 'phase' is 'decoding'; expected 'decode'"),
        ("batch = [1, 2", "not valid TOML"),
        ("batch = { from = 1, to = 2000000000, step = 1 }", "a range has at most 1,000,000 numbers"),
        ("batch = { from = 8, to = 1, step = 1 }", "a range from 8 to 1 has no number"),
        (f"batch = {{ from = 1, to = {10**18}, step = 1 }}", "key 'batch' is {'from': 1"),
        ("variation = []", "key 'variation' is []"),
        ("sample = { points = 1, seed = -1 }", "key 'sample' is {'points': 1, 'seed': -1}"),
        ('count = [1,\n 2,\n "x"]', "line 6: key 'count' is [1, 2, 'x']"),
        ("context = { from = 1, too = 8, times = 2 }", "line 4: key 'context.too' is not known; expected 'to'"),
        ("sample = { pints = 3 }", "line 4: key 'sample.pints' is not known; expected 'points'"),
        ('precision = "bf61"', "line 4: key 'precision' is 'bf61'; expected 'bf16'"),
        ('framework = "vlm"', "line 4: key 'framework' is 'vlm'; expected 'vllm'"),
        ("together = [['count', 'batch']]\ncount = [1, 2]", "line 4: together: lists side by side are equally long"),
        ("together = [['count', 'bach']]", "line 4: together: 'bach' is not a key that can vary; expected 'batch'"),
        ("sample = { points = 30 }", "line 4: sample: 30 points are asked of 3"),
        ('variation = "stragler=0.1@3"', "line 4: 'stragler=0.1@3' is not understood"),
    ],
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_right(tmp_path: Path, line: str, told: str) -> None:
    path = written(tmp_path, f'question = "?"\nmodel = "llama-3.1-8b"\nchips = "h100"\n{line}\n')
    with pytest.raises(LooplineError) as refused:
        load_scenario(path)
    assert told in str(refused.value)
    assert path in str(refused.value)


def test_an_unknown_chip_is_told_with_the_line_it_stands_on(tmp_path: Path) -> None:
    path = written(tmp_path, 'question = "?"\nmodel = "llama-3.1-8b"\nchips = [\n  "h100",\n  "sn4ol",\n]\n')
    with pytest.raises(ScenarioError, match="line 5: unknown chip 'sn4ol'; the nearest in the catalog: sn40l"):
        load_scenario(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="key 'model' is missing"):
        load_scenario(written(tmp_path, 'question = "?"\nchips = "h100"\n'))


def test_set_replaces_a_key_and_is_blamed_for_a_wrong_one() -> None:
    scenario = load_scenario("launches-or-looping", ["count=[3, 5]", "chips=h200"])
    assert [request["count"] for request in points_of(scenario)] == [3, 3, 3, 5, 5, 5]
    with pytest.raises(ScenarioError, match="--set contxt=1: key 'contxt' is not known; expected 'context'"):
        load_scenario("launches-or-looping", ["contxt=1"])


def test_set_reaches_into_a_table_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'question = "?"\nmodel = "llama-3.1-8b"\nchips = "h100"\n'
        "batch = { from = 1, to = 8, times = 2 }\nsample = { points = 6, seed = 1 }\n",
    )
    changed = load_scenario(path, ["batch.to=16", "sample.points=15"])
    assert len(points_of(changed)) == 15
    assert {request["batch"] for request in points_of(changed)} == {1, 2, 4, 8, 16}
    assert len(points_of(load_scenario(path, ["sample={points=2}"]))) == 2
    assert len(points_of(load_scenario("training", ["sample.points=3"]))) == 3
    with pytest.raises(
        ScenarioError, match=r"--set sample.pints=3: key 'sample.pints' is not known; expected 'points'"
    ):
        load_scenario(path, ["sample.pints=3"])


def test_chips_beside_the_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "fast.toml").write_bytes(chip_path("sn40l").read_bytes())
    path = written(tmp_path, 'question = "?"\nmodel = "llama-3.1-8b"\nchips = "mine/fast.toml"\n')
    assert load_scenario(path).chips == [str(tmp_path / "mine" / "fast.toml")]


def test_the_schema_knows_every_key_and_accepts_the_catalog() -> None:
    schema = scenario_schema()
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"question", "model", "chips"}
    assert all(described["description"] for described in schema["properties"].values())
    Draft202012Validator.check_schema(schema)
    for path in CATALOG.glob("*.toml"):
        Draft202012Validator(schema).validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", 0),
        ("count", []),
        ("count", [1, "x"]),
        ("count", {"from": 1, "too": 8}),
        ("phase", "decoding"),
        ("precision", ["bf16", "bf61"]),
        ("framework", "vlm"),
        ("question", ""),
        ("sample", {"seed": 1}),
        ("chipz", "h100"),
    ],
)
def test_the_schema_refuses_what_loading_refuses(key: str, value: object) -> None:
    assert not Draft202012Validator(scenario_schema()).is_valid(PLAIN | {key: value})
    with pytest.raises(ScenarioError):
        scenario_from(PLAIN | {key: value})


def test_run_prints_the_frame_of_the_same_points(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved = tmp_path / "frame.csv"
    with pytest.raises(SystemExit) as ended:
        main(["run", "launches-or-looping", "--set", "count=[1,8]", "chips=h100", "--json", "-o", str(saved)])
    assert not ended.value.code
    rows = json.loads(capsys.readouterr().out)
    assert [(row["count"], row["strategy"]) for row in rows[:2]] == [(1, "per_operator"), (1, "fused_decoder")]
    assert len(rows) == 6
    assert len(saved.read_text().splitlines()) == 7


@pytest.mark.parametrize("name", ["nothing", "launches-and-looping", "missing.toml"])
def test_an_unknown_scenario_is_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", name])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
