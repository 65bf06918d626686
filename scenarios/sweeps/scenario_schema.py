"""The JSON Schema of scenario files: what an editor completes from, explains and underlines."""

from __future__ import annotations

from typing import Any

from chips.spec import chip_names
from scenarios.strategies import STRATEGIES
from scenarios.sweeps.scenario_file import AXES, CHOICES, Scenario
from scenarios.workload.model import model_names

# What an editor shows of a key, in front of what it may hold.
MEANINGS = {
    "model": "what runs",
    "chips": "what it runs on",
    "count": "chips in the tensor-parallel group",
    "batch": "sequences side by side",
    "context": "tokens of a sequence; a request's prompt and output together",
    "output_tokens": "output tokens of a request; half of the context if not given",
    "precision": "of weights and matrix products",
    "framework": "the software that runs the model on GPUs; the phase's own if not given",
    "launch": "who sequences launches: the host (eager, software) or the device (graph, hardware)",
    "phase": "a token of decode, a prefill, a whole request, or a step of training",
    "variation": "how the chips differ from their datasheet; all alike if not given",
    "parallel": "how the chips share the work, as replicas and stages; one tensor-parallel group if not given",
    "strategy": "how a decoder is cut into kernels; all three if not given",
    "together": "keys whose lists go side by side instead of being combined",
    "sample": "so many of all points, drawn at random with this seed",
}


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of scenario files; names of chips and models are offered, paths allowed."""
    schema = Scenario.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Loopline scenario"
    properties: dict[str, dict[str, Any]] = schema["properties"]
    for key, known in CHOICES.items():
        properties[key] |= _one_or_several({"enum": list(known)})
    for key, names in (("chips", chip_names()), ("model", model_names())):
        properties[key] |= _one_or_several({"anyOf": [{"enum": list(names)}, {"type": "string", "minLength": 1}]})
    properties["strategy"]["default"] = list(STRATEGIES)
    properties["together"]["items"]["items"] = {"enum": list(AXES)}
    for key, meaning in MEANINGS.items():
        held = properties[key].get("description")
        properties[key]["description"] = f"{meaning}: {held}" if held and key not in CHOICES else meaning
    return schema


def _one_or_several(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
