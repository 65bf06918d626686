"""One table of inputs: what is made of its rows, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from chips.spec import chip_names
from loopline import compare, simulate
from results.schema import COLUMNS, SWEPT
from results.schema import INPUTS as ASKED_COLUMNS
from scenarios.errors import ScenarioError
from scenarios.inputs import INPUTS, axes
from scenarios.point import Point, make_point
from scenarios.sweeps.scenario_file import Scenario, points_of, scenario_from

MINIMAL: dict[str, Any] = {"question": "?", "model": "llama-3.2-1b", "chips": "h100"}


def test_a_scenario_has_a_key_for_every_input_in_the_order_of_its_axes() -> None:
    assert list(Scenario.model_fields)[1:-3] == [row.key for row in axes()]
    assert {row.name for row in INPUTS} == set(next(iter(points_of(scenario_from(MINIMAL)))))


def test_every_input_has_a_place_of_its_own_among_the_axes() -> None:
    assert len({row.axis for row in INPUTS}) == len(INPUTS)


def test_every_input_has_a_column_and_a_field() -> None:
    names = {row.name for row in INPUTS}
    assert names == {*ASKED_COLUMNS, *SWEPT}
    assert names == set(Point.__dataclass_fields__)
    frame = simulate("llama-3.2-1b", "h100")
    point = make_point("llama-3.2-1b", "h100", 1)
    assert all(frame[row.name].iloc[0] == row.asked_of(point) for row in INPUTS if row.name in COLUMNS)


def test_defaults_are_those_of_the_table() -> None:
    point = make_point("llama-3.2-1b", "h100", 1)
    chosen = ("model", "chip", "framework", "launch", "output_tokens", "context", "precision", "kv_precision")
    told = {row.name: row.default for row in INPUTS if row.name not in chosen}
    assert {name: str(getattr(point, name)) for name in told} == {name: str(value) for name, value in told.items()}


@pytest.mark.parametrize("function", [compare, simulate, make_point])
def test_help_on_a_function_shows_its_inputs(function: Callable[..., object]) -> None:
    shown = inspect.signature(function).parameters
    assert {row.name for row in INPUTS} <= {*shown, *({"chip"} if "chips" in shown else ())}
    assert (shown["phase"].default, shown["batch"].default) == ("decode", 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"btach": 8}, "a point has no input 'btach'; .*did you mean batch?"),
        ({"phase": "decoding"}, "--phase 'decoding' is unknown; .*did you mean decode?"),
        ({"framework": "vlm"}, "--framework 'vlm' is unknown; .*did you mean vllm?"),
        ({"batch": 0}, "--batch is 0; it must be at least 1."),
        ({"phase": "request", "output_tokens": 0}, "--output-tokens is 0; it must be at least 1."),
        ({"variation": "straggler=0.1@1"}, "--variation straggler=0.1@1 names chip 1; --count 1 has chips 0 to 0."),
        ({"parallel": "tensr=1"}, "--parallel 'tensr=1' is not understood"),
    ],
)
def test_a_wrong_input_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        compare("llama-3.2-1b", "h100", **options)


def test_what_has_no_end_has_names_to_offer_but_no_choices() -> None:
    (chip,) = (row for row in INPUTS if row.name == "chip")
    assert chip.known is not None
    assert list(chip.known()) == list(chip_names())
    assert not chip.choices
