"""One point to simulate: which chip, how many, which model, phase and strategy; and the checks on a user's request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chips.spec import Dataflow, Gpu, Precision, Systolic
from cluster import Variation
from results.words import LAUNCHES, SAME_LAUNCH
from scenarios.errors import ScenarioError
from scenarios.framework import Framework, default_framework
from scenarios.inputs import Option, resolved, showing_inputs
from scenarios.quantities import check_count
from scenarios.workload.model import Model
from scenarios.workload.parallel import Parallel

MODES = {"collectives": "collective_mode", "synchronization": "synchronization"}
"""Inputs that are traits of the framework, and their names there."""
ALIKE = Variation()
WHOLE = Parallel()


@dataclass(frozen=True)
class Point:
    """What one row of a comparison stands for.

    ``context``: decode: tokens in the KV cache, the new one included; prefill and train: tokens of a sequence;
    request: prompt and output together. ``output_tokens``: of a request; None for half of its context.
    ``launch``: one of the chip's own words. ``framework``: what runs the model on a GPU; where ``collectives`` or
    ``synchronization`` were asked for, it has these instead of its own. ``variation``: how the ``count`` chips differ
    from their datasheet. ``parallel``: how they share the work, as it was asked for.
    """

    chip: Gpu | Dataflow | Systolic
    count: int
    model: Model
    phase: str
    strategy: str
    launch: str
    precision: Precision
    batch: int
    context: int
    output_tokens: int | None
    framework: Framework
    variation: Variation = ALIKE
    parallel: Parallel = WHOLE
    collectives: str | None = None
    synchronization: str | None = None


@showing_inputs
def make_point(model: str | Model, chip: str, count: int, **options: Option) -> Point:
    """Check a request and resolve its names. ``options``: other inputs of ``scenarios.inputs``, by name.

    Raises ScenarioError or CatalogError in one sentence.
    """
    asked = resolved({"model": model, "chip": chip, "count": count, **options})
    known_model, known_chip, phase, context = (asked[name] for name in ("model", "chip", "phase", "context"))
    if context > known_model.max_context:
        raise ScenarioError(
            f"--context {context} is beyond what {known_model.name} was trained for; at most {known_model.max_context}."
        )
    output_tokens = _output_tokens(asked["output_tokens"], phase, context)
    _check_split(asked["parallel"], asked)
    _check_named_chips(asked["variation"], count, options.get("variation"))
    framework = asked["framework"] or default_framework(phase, asked["launch"])
    modes = {field: asked[name] for name, field in MODES.items() if asked[name] is not None}
    return Point(
        **asked
        | {
            "launch": _launch(asked["launch"], known_chip, framework, phase),
            "output_tokens": output_tokens,
            "framework": framework.model_copy(update=modes) if modes else framework,
        }
    )


def _launch(word: str | None, chip: Gpu | Dataflow | Systolic, framework: Framework, phase: str) -> str:
    """The chip's own word for how kernels are launched; if not given, how its software does on such a chip."""
    known = LAUNCHES[chip.kind]
    if word is not None:
        return word if word in known else SAME_LAUNCH[chip.kind][word]
    if not isinstance(chip, Gpu):
        return "hardware"
    ahead = framework.launch == "pdl" and chip.generation.launch.readmission is None
    return "graph" if ahead or phase == "train" else framework.launch


def _output_tokens(given: int | None, phase: str, context: int) -> int | None:
    """Those of a request, half of its context if not given; other phases have none."""
    if phase != "request":
        if given is not None:
            raise ScenarioError(f"--output-tokens belongs to --phase request; the phase is {phase}.")
        return None
    output_tokens = context // 2 if given is None else given
    check_count("--output-tokens", output_tokens)
    if output_tokens >= context:
        raise ScenarioError(
            f"--output-tokens {output_tokens} leaves no prompt in a --context of {context}; at most {context - 1}."
        )
    return output_tokens


def _check_split(split: Parallel, asked: Mapping[str, Any]) -> None:
    if split.trains and asked["phase"] != "train":
        raise ScenarioError(
            f"--parallel {split}: but for tensor=CHIPS it belongs to --phase train, not {asked['phase']}."
        )
    split.of(asked["count"], asked["batch"], asked["context"], asked["model"])  # refuses what does not divide


def _check_named_chips(variation: Variation, count: int, text: object) -> None:
    beyond = [chip for chip in variation.named_chips if chip >= count]
    if beyond:
        raise ScenarioError(f"--variation {text} names chip {max(beyond)}; --count {count} has chips 0 to {count - 1}.")
