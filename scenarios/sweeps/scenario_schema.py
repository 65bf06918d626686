"""The JSON Schema of scenario files: what an editor completes from, explains and underlines."""

from __future__ import annotations

from typing import Any

from scenarios.inputs import INPUTS, axes
from scenarios.sweeps.scenario_file import Scenario

# What an editor shows of the keys that are no inputs.
MEANINGS = {
    "together": "keys whose lists go side by side instead of being combined",
    "override": "other values in datasheets of chips, each a number, a list, or a text FROM..TO*N",
    "sample": "so many of all points, drawn at random with this seed",
}


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of scenario files; names of chips and models are offered, paths allowed."""
    schema = Scenario.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Loopline scenario"
    properties: dict[str, dict[str, Any]] = schema["properties"]
    for row in INPUTS:
        described = properties[row.key]
        held = described.get("description")
        described["description"] = f"{row.meaning}: {held}" if held and not row.choices else row.meaning
        if row.choices:
            described |= _one_or_several({"enum": list(row.choices)})
        elif row.known:
            described |= _one_or_several({"anyOf": [{"enum": list(row.known())}, {"type": "string", "minLength": 1}]})
        if row.every:
            described["default"] = list(row.choices)
    properties["together"]["items"]["items"] = {"enum": [row.key for row in axes()]}
    for key, meaning in MEANINGS.items():
        properties[key]["description"] = f"{meaning}: {properties[key]['description']}"
    return schema


def _one_or_several(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
