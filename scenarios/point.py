"""One point to simulate: which chip, how many, which model, phase and strategy; and the checks on a user's request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from warnings import warn

from chips.spec import ChipBase, Dataflow, Gpu, KvPrecision, Systolic
from cluster import Variation
from results.words import LAUNCHES, SAME_LAUNCH
from scenarios.errors import ScenarioError
from scenarios.framework import Framework, Sharding, default_framework
from scenarios.inputs import Option, resolved, showing_inputs
from scenarios.quantities import check_count
from scenarios.workload.adapters import FULL, Method
from scenarios.workload.model import Model
from scenarios.workload.parallel import Parallel
from scenarios.workload.quantization import FORMATS, PrecisionWord, Quantization, quantization_as_run
from scenarios.workload.sharding import SHARED_WEIGHTS

MODES = {"collectives": "collective_mode", "synchronization": "synchronization", "sharding": "sharding"}
"""Inputs that are traits of the framework, and their names there."""
DEFAULT_CONTEXT = 4096
"""Tokens, or as many as the model has positions for."""
TRAINED_IN = ("bf16", "fp8")
"""Precisions of a training step."""
ALIKE = Variation()
WHOLE = Parallel()


@dataclass(frozen=True)
class Point:
    """What one row of a comparison stands for.

    ``context``: decode: tokens in the KV cache, the new one included; prefill and train: tokens of a sequence;
    request: prompt and output together. ``output_tokens``: of a request; None for half of its context.
    ``launch``: one of the chip's own words. ``framework``: what runs the model on a GPU; where ``collectives``,
    ``synchronization`` or ``sharding`` were asked for, it has these instead of its own. ``variation``: how the
    ``count`` chips differ from their datasheet. ``parallel``: how they share the work, as it was asked for.
    ``precision`` and ``kv_precision``: the checkpoint's own unless asked for. ``method``: what of the model is trained.
    """

    chip: Gpu | Dataflow | Systolic
    count: int
    model: Model
    phase: str
    strategy: str
    launch: str
    precision: PrecisionWord
    kv_precision: KvPrecision
    batch: int
    context: int
    output_tokens: int | None
    framework: Framework
    variation: Variation = ALIKE
    parallel: Parallel = WHOLE
    collectives: str | None = None
    synchronization: str | None = None
    beyond_context: bool = False
    sharding: Sharding | None = None
    method: Method = FULL

    @property
    def quantization(self) -> Quantization:
        """How the model's numbers are stored and multiplied."""
        scales = None if self.phase == "train" else self.framework.fp8_scales
        return quantization_as_run(self.model.quantization, self.precision, self.kv_precision, scales)


@showing_inputs
def make_point(model: str | Model, chip: str, count: int, **options: Option) -> Point:
    """Check a request and resolve its names. ``options``: other inputs of ``scenarios.inputs``, by name.

    Raises ScenarioError or CatalogError in one sentence.
    """
    asked = resolved({"model": model, "chip": chip, "count": count, **options})
    known_model, known_chip, phase = (asked[name] for name in ("model", "chip", "phase"))
    context = _context(asked["context"], known_model, beyond=asked["beyond_context"])
    asked["context"] = context
    if phase == "train" and known_model.window is not None and context > known_model.window:
        raise ScenarioError(
            f"--context {context} is beyond the sliding window of {known_model.name}, {known_model.window} tokens, up "
            "to which training is modelled."
        )
    output_tokens = _output_tokens(asked["output_tokens"], phase, context)
    _check_training_inputs(asked, phase)
    framework = asked["framework"] or default_framework(phase, asked["launch"])
    asked |= _precisions(asked, known_model, framework)
    if phase == "train" and not asked["parallel"].tensor and _deals_weights(asked["sharding"], framework, known_chip):
        asked["parallel"] = replace(asked["parallel"], tensor=1)  # chips that hold shares of them are replicas
    _check_split(asked["parallel"], asked)
    _check_named_chips(asked["variation"], count, options.get("variation"))
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
    return "graph" if ahead or (phase == "train" and framework.launch == "pdl") else framework.launch


def _context(given: int | None, model: Model, *, beyond: bool) -> int:
    """The tokens asked for, or the usual ones as far as the model has positions."""
    most = model.max_context
    if given is None:
        if most < DEFAULT_CONTEXT:
            warn(f"{model.name} takes in {most} tokens at most, so that --context is {most}.", stacklevel=3)
        return min(DEFAULT_CONTEXT, most)
    if given > most and not beyond:
        raise ScenarioError(
            f"--context {given} is beyond what {model.name} was trained for; at most {most}, or --beyond-context."
        )
    if given > most:
        warn(f"--context {given} is beyond the {most} tokens that {model.name} was trained for.", stacklevel=3)
    return given


def _precisions(asked: Mapping[str, Any], model: Model, framework: Framework) -> dict[str, str]:
    """Those asked for, or else those of the checkpoint or of the framework's; a training step has its own."""
    trains = asked["phase"] == "train"
    stored = Quantization() if trains or model.quantization is None else model.quantization
    precision = asked["precision"] or stored.precision
    quantized = FORMATS[precision].scales is not None and isinstance(asked["chip"], Gpu) and not trains
    usual = framework.kv_of_quantized if quantized else "bf16"
    kv_precision = asked["kv_precision"] or stored.kv_precision or usual
    if trains and precision not in TRAINED_IN:
        raise ScenarioError(f"--precision {precision} is no precision of a training step; expected bf16 or fp8.")
    if trains and kv_precision != "bf16":
        raise ScenarioError(f"--kv-precision {kv_precision}: a training step keeps no KV cache.")
    return {"precision": precision, "kv_precision": kv_precision}


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


def _deals_weights(sharding: str | None, framework: Framework, chip: ChipBase) -> bool:
    """Whether replicas are asked to hold shares of something, or the framework deals their weights on such chips."""
    if sharding is not None:
        return sharding != "none"
    return chip.has_framework and framework.sharding in SHARED_WEIGHTS


def _check_training_inputs(asked: Mapping[str, Any], phase: str) -> None:
    if phase == "train":
        return
    for name, plain in (("sharding", None), ("method", FULL)):
        if asked[name] != plain:
            raise ScenarioError(f"--{name} {asked[name]} belongs to --phase train; the phase is {phase}.")


def _check_split(split: Parallel, asked: Mapping[str, Any]) -> None:
    if split.training_only and asked["phase"] != "train":
        raise ScenarioError(
            f"--parallel {split}: but for tensor=CHIPS, pipeline=STAGES and micro-batch=SEQUENCES it belongs to "
            f"--phase train, not {asked['phase']}."
        )
    trains = asked["phase"] == "train"
    if not trains and split != Parallel(split.tensor) and asked["variation"] != ALIKE:
        raise ScenarioError(
            f"--variation with --parallel {split} belongs to --phase train; in inference stages are alike."
        )
    split.of(asked["count"], asked["batch"], asked["context"], asked["model"], trains=trains)  # refuses what is uneven


def _check_named_chips(variation: Variation, count: int, text: object) -> None:
    beyond = [chip for chip in variation.named_chips if chip >= count]
    if beyond:
        raise ScenarioError(f"--variation {text} names chip {max(beyond)}; --count {count} has chips 0 to {count - 1}.")
