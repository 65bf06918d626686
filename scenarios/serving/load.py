"""A GPU server under load: time to first token and per output token at a number of concurrent requests.

Belongs here: what an iteration of continuous batching costs on a chip, and how a row of a serving table, or a question
of a user, becomes a schedule. The schedule itself is played in ``scenarios.serving.continuous_batching``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from chips.spec import CatalogError, Gpu
from cluster import Cluster
from scenarios.assignment import assign
from scenarios.errors import ScenarioError, Unpredictable
from scenarios.framework import framework_named
from scenarios.memory import sequences_that_fit
from scenarios.point import Point, make_point
from scenarios.quantities import check_count
from scenarios.serving.continuous_batching import Schedule, Served, serve
from scenarios.strategies.gpu.kernel_prices import gpu_group
from scenarios.strategies.step_time import step_seconds
from scenarios.workload.decoder import forward
from scenarios.workload.hugging_face import stored_as
from scenarios.workload.model import Shard
from scenarios.workload.operators import (
    Collective,
    Conversion,
    Count,
    Elementwise,
    MatrixProduct,
    Operator,
    Segment,
    Step,
)

PREFILL_TOKENS = 8192  # of prompts in one iteration, unless the framework says how many prompts (max_num_tokens)
# A benchmark of N concurrent requests sends 20 N, at most 2,000: the means of the measured table are multiples of
# 1 ns / (20 N).
ROUNDS, MOST_REQUESTS = 20, 2000
SPLITS = {
    "pp_size": "pipeline-parallel serving",
    "attention_dp_size": "attention in data-parallel groups",
    "moe_ep_size": "experts in parallel",
}
"""Columns of serving tables that say how a model is split otherwise than by tensor parallelism."""
SERVING_COLUMNS = (
    *("chip", "backend", "backend_version", "model", "precision", "input_tokens", "output_tokens", "concurrency"),
    *("tp_size", *SPLITS, "moe_tp_size", "harness", "ttft_ms", "tpot_ms"),
)
"""All that a serving table may say; of a dense model ``moe_tp_size`` is ``tp_size`` again."""


class Harness(NamedTuple):
    """A load generator: requests a client (None: as ``serving_times`` has them), and lengths as a share of those
    stated, on average.
    """

    rounds: int | None = None
    length_share: float = 1.0


HARNESSES = {"2025": Harness(), "2026": Harness(rounds=10, length_share=0.9)}
"""By the year that tables call them; of 2026 ten prompts a client, of 80 to 100% of the stated length."""
PRECISION_WORDS = {"fp16": "bf16", "fp4": "nvfp4"}
"""What tables call a precision, and what it is here."""
LARGEST_LOAD = 2**20  # requests, each of which is followed
MOST_REMEMBERED = 256  # kinds of servers, whose iterations a process remembers
STEPS_AN_OCTAVE = 4  # batches between which an iteration's time is interpolated, within 0.3% of pricing every batch


@dataclass
class Iteration:
    """Seconds of one iteration of a server, by its prompts and its decoding requests; each is priced once.

    ``point``: the chips, the model and the framework. ``prompt``: tokens of a prompt; ``context``: of a request midway.
    """

    point: Point
    split: Shard
    prompt: int
    context: int
    most: int = 1
    """requests that may decode at once."""
    known: dict[tuple[int, int], float] = field(default_factory=dict)
    _ahead: dict[int, int] = field(default_factory=dict)
    """By its prompts, up to how many decoding requests the kernels of an iteration have been priced together."""

    def __call__(self, prompts: int, decoding: int) -> float:
        """Prompts and decoded tokens share the products. Between priced batches, time is linear in the batch.

        The host's work for every decoding request comes before the pass. CUDA graphs are captured for iterations that
        only decode, so that one with a prompt is issued call by call.
        """
        low, step = _grid(decoding), _step_of(decoding)
        seconds = self._priced(prompts, low)
        if low < decoding:
            seconds += (self._priced(prompts, low + step) - seconds) * (decoding - low) / step
        return seconds + decoding * self.point.framework.host_request_seconds

    def _priced(self, prompts: int, decoding: int) -> float:
        if (prompts, decoding) not in self.known:
            self._price_ahead(prompts)
            step = self._step(prompts, decoding)
            launch = "eager" if prompts else "graph"
            self.known[prompts, decoding] = step_seconds(
                gpu_of(self.point), self.point.count, step, self.point.framework, launch
            )
        return self.known[prompts, decoding]

    def _step(self, prompts: int, decoding: Count) -> Step:
        model, numbers, work = self.point.model, self.point.quantization, []
        if np.any(decoding):
            work.append(forward(model, self.split, decoding, 1, self.context, numbers))
        if prompts:
            work.append(forward(model, self.split, prompts, self.prompt, self.prompt, numbers))
        return _together(*work) if len(work) == 2 else work[0]

    def _price_ahead(self, prompts: int) -> None:
        """Price the kernels of all batches that may come beside so many prompts, in one go: that takes little more than
        one of them."""
        first, last = self._ahead.get(prompts, 0) + 1, self.most
        sizes = sorted({_grid(number) for number in range(first, last + 1)})
        if len(sizes) < 2:
            return
        self._ahead[prompts] = last
        chip = gpu_of(self.point)
        group = gpu_group(chip, Cluster(chip, self.point.count), self.point.framework)
        for operator in self._step(prompts, np.array(sizes, np.float64)).operators:
            if operator.several and isinstance(operator, MatrixProduct | Elementwise):
                group.price(operator)


def _grid(decoding: int) -> int:
    """The batch at or below ``decoding`` that is priced."""
    step = _step_of(decoding)
    return decoding // step * step


def _step_of(decoding: int) -> int:
    """From a batch that is priced to the next."""
    octave: int = 2 ** max(decoding.bit_length() - 1, 0)
    return max(1, octave // STEPS_AN_OCTAVE)


def serving_times(
    point: Point, *, input_tokens: int, output_tokens: int, concurrency: int, requests: int | None = None
) -> Served:
    """Seconds to the first token and per output token of a server whose clients keep ``concurrency`` requests going.

    ``point``: from ``make_point``: chips, model, precision and framework count, its batch and context do not. All
    prompts have ``input_tokens`` and all outputs ``output_tokens``. The server's batch limit is ``concurrency``, or
    what the KV cache has room for if that is less. ``requests``: how many the benchmark sends, so how much its start,
    at which all clients send at once, weighs in the means (default: 20 a client, at most 2,000).
    Not modelled: prompts in the front end (reading and tokenizing them), and where its work and the engine's, both of
    them Python, hold each other up: with many clients of a fast engine, time to first token comes out too short.
    Raises ScenarioError if the model does not split over the chips or a sequence does not fit.
    """
    for option, number in (("--input-tokens", input_tokens), ("--output-tokens", output_tokens)):
        check_count(option, number)
    check_count("--concurrency", concurrency, LARGEST_LOAD)
    if requests is not None:
        check_count("--requests", requests, LARGEST_LOAD)
    model, framework, length = point.model, point.framework, input_tokens + output_tokens
    if length > model.max_context and not point.beyond_context:
        raise ScenarioError(
            f"--input-tokens {input_tokens} and --output-tokens {output_tokens} are beyond the {model.max_context} "
            f"tokens that {model.name} was trained for."
        )
    gpu = gpu_of(point)
    assignment = assign(replace(point, phase="decode", context=length))
    room = sequences_that_fit(assignment)
    if room < 1:
        raise ScenarioError(
            f"{model.name} on {point.count} x {gpu.name} has no room for a sequence of {length} tokens."
        )
    prompts = framework.iteration_prompts or max(1, PREFILL_TOKENS // input_tokens)
    places = max(1, min(concurrency - framework.padding_requests, room))
    schedule = Schedule(places, prompts, framework.overlapped, framework.front_end_token_seconds)
    iteration = _iteration(point, assignment.shard, input_tokens, input_tokens + output_tokens // 2)
    iteration.most = max(iteration.most, places)
    sent = min(ROUNDS * concurrency, max(MOST_REQUESTS, concurrency)) if requests is None else requests
    return serve(iteration, schedule, concurrency, sent, output_tokens)


@lru_cache(MOST_REMEMBERED)
def _iteration(point: Point, split: Shard, prompt: int, context: int) -> Iteration:
    """What iterations cost does not hang on how many clients there are, so that servers of alike requests share it."""
    return Iteration(point, split, prompt, context)


def gpu_of(point: Point) -> Gpu:
    """The chip of ``point``. Raises CatalogError if it is no GPU."""
    if not isinstance(point.chip, Gpu):
        raise CatalogError(f"{point.chip.name} is no GPU; the schedulers of serving frameworks are known for GPUs.")
    return point.chip


def predict_serving(row: Mapping[str, Any]) -> tuple[float, float]:
    """(time to first token, time per output token), seconds, of one row of a serving table.

    Its columns are ``SERVING_COLUMNS``. Raises Unpredictable for what is not modelled, with the reason.
    """
    for column, kind in SPLITS.items():
        if _number(row, column, 1.0) > 1:
            raise Unpredictable(kind)
    name = f"{_number(row, 'harness', 2025):g}"
    if name not in HARNESSES:
        raise Unpredictable(f"load generator '{name}'; known are {', '.join(HARNESSES)}")
    harness, concurrency = HARNESSES[name], int(row["concurrency"])
    version = "" if row.get("backend_version") is None else str(row["backend_version"])
    precision = None if _missing(row.get("precision")) else str(row["precision"])
    stored = stored_as(str(row["model"])) or PRECISION_WORDS.get(str(precision), precision)
    try:
        point = make_point(
            str(row["model"]),
            str(row["chip"]),
            int(row["tp_size"]),
            context=1,
            framework=framework_named(f"{row.get('backend', '')} {version}").name,
            precision=stored,
        )
        served = serving_times(
            point,
            input_tokens=round(int(row["input_tokens"]) * harness.length_share),
            output_tokens=round(int(row["output_tokens"]) * harness.length_share),
            concurrency=concurrency,
            requests=None if harness.rounds is None else harness.rounds * concurrency,
        )
    except (ScenarioError, CatalogError) as refusal:
        raise Unpredictable(str(refusal)) from None
    return served.time_to_first_token, served.time_per_output_token


def _missing(value: object) -> bool:
    """Whether a table has nothing in a cell, or no such column."""
    return value is None or value != value or value == ""


def _number(row: Mapping[str, Any], column: str, otherwise: float) -> float:
    """A number of a row; ``otherwise`` where a table is without the column, or its cell is empty."""
    value = row.get(column)
    return otherwise if _missing(value) else float(value)  # type: ignore[arg-type]


def _together(decode: Step, prefill: Step) -> Step:
    """One iteration that carries both: operators see all rows at once, attention runs for each kind of token."""

    def merged(ours: Segment, theirs: Segment) -> Segment:
        pairs = zip(ours.operators, theirs.operators, strict=True)
        return replace(theirs, operators=tuple(each for pair in pairs for each in _merged(*pair)))

    return Step(tuple(map(merged, decode.segments, prefill.segments)))


def _merged(ours: Operator, theirs: Operator) -> list[Operator]:
    match ours, theirs:
        case MatrixProduct(), MatrixProduct():
            return [replace(ours, m=ours.m + theirs.m)]
        case Collective(), Collective():
            return [replace(ours, payload_bytes=ours.payload_bytes + theirs.payload_bytes)]
        case Elementwise(), Elementwise():
            summed = ["bytes_read", "bytes_written", "operations", "special_functions"]
            summed += ["rows"] if isinstance(ours, Conversion) else []
            return [replace(ours, **{name: getattr(ours, name) + getattr(theirs, name) for name in summed})]
        case _:
            return [ours, theirs]
