"""One point to simulate: which chip, how many, which model, phase and strategy; and the checks on a user's request."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TypedDict, cast

from chips.spec import ELEMENT_BYTES, Dataflow, Gpu, Precision, Systolic, load_chip
from cluster import Variation
from results.words import BY_DEVICE, BY_HOST, HOST_LAUNCHES, LAUNCH_NAMES, LAUNCHES, PHASES
from scenarios.errors import ScenarioError
from scenarios.framework import Framework, default_framework, frameworks
from scenarios.quantities import check_count
from scenarios.strategies import STRATEGIES
from scenarios.workload.model import Model, load_model
from scenarios.workload.parallel import Parallel

ALIKE = Variation()
WHOLE = Parallel()


class Options(TypedDict, total=False):
    """What a point may say beside its model, chip, count and strategy, as on the command line."""

    phase: str
    launch: str
    precision: str
    batch: int
    context: int
    output_tokens: int | None
    framework: str | None
    variation: str
    parallel: str


@dataclass(frozen=True)
class Point:
    """What one row of a comparison stands for.

    ``context``: decode: tokens in the KV cache, the new one included; prefill and train: tokens of a sequence;
    request: prompt and output together. ``output_tokens``: of a request; None for half of its context.
    ``launch``: one of the chip's own two words. ``framework``: what runs the model on a GPU. ``variation``: how the
    ``count`` chips differ from their datasheet. ``parallel``: how they share the work, as it was asked for.
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


def make_point(
    model: str | Model,
    chip: str,
    count: int,
    *,
    phase: str = "decode",
    strategy: str = "per_operator",
    launch: str = "graph",
    precision: str = "bf16",
    batch: int = 1,
    context: int = 4096,
    output_tokens: int | None = None,
    framework: str | None = None,
    variation: str = "",
    parallel: str = "",
) -> Point:
    """Check a request and resolve its names. Raises ScenarioError or CatalogError in one sentence."""
    known_chip = load_chip(chip)
    known_model = model if isinstance(model, Model) else load_model(model)
    _one_of("phase", phase, PHASES)
    _one_of("strategy", strategy, tuple(STRATEGIES))
    _one_of("launch", launch, LAUNCH_NAMES)
    _one_of("precision", precision, tuple(ELEMENT_BYTES))
    check_count("--count", count)
    check_count("--batch", batch)
    check_count("--context", context)
    if context > known_model.max_context:
        raise ScenarioError(
            f"--context {context} is beyond what {known_model.name} was trained for; at most {known_model.max_context}."
        )
    if phase == "request":
        output_tokens = context // 2 if output_tokens is None else output_tokens
        check_count("--output-tokens", output_tokens)
        if output_tokens >= context:
            raise ScenarioError(
                f"--output-tokens {output_tokens} leaves no prompt in a --context of {context}; at most {context - 1}."
            )
    elif output_tokens is not None:
        raise ScenarioError(f"--output-tokens belongs to --phase request; the phase is {phase}.")
    split = _parallel(parallel)
    if split.trains and phase != "train":
        raise ScenarioError(f"--parallel {split}: but for tensor=CHIPS it belongs to --phase train, not {phase}.")
    split.of(count, batch, context, known_model)  # refuses what does not divide
    by_host = launch in HOST_LAUNCHES
    if framework is not None:
        _one_of("framework", framework, tuple(frameworks()))
    return Point(
        known_chip,
        count,
        known_model,
        phase,
        strategy,
        LAUNCHES[known_chip.kind][BY_HOST if by_host else BY_DEVICE],
        cast(Precision, precision),
        batch,
        context,
        output_tokens,
        frameworks()[framework] if framework else default_framework(phase, eager=by_host),
        _variation(variation, count),
        split,
    )


def _variation(text: str, count: int) -> Variation:
    if not text:
        return ALIKE
    try:
        variation = Variation.parse(text)
    except ValueError as error:
        raise ScenarioError(f"--variation {error}") from None
    beyond = [chip for chip in variation.named_chips if chip >= count]
    if beyond:
        raise ScenarioError(f"--variation {text} names chip {max(beyond)}; --count {count} has chips 0 to {count - 1}.")
    return variation


def _parallel(text: str) -> Parallel:
    try:
        return Parallel.parse(text)
    except ValueError as error:
        raise ScenarioError(f"--parallel {error}") from None


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ScenarioError(f"--{option} '{value}' is unknown; expected one of {', '.join(known)}{hint}")
