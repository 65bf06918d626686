"""What an iteration of continuous batching takes on the chips of a point.

Iterations differ in who decodes, over how much context, and in what is read of which prompts. They are priced on a grid
of these and interpolated between, each node once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import Gpu
from cluster import Cluster
from scenarios.errors import ScenarioError
from scenarios.point import Point
from scenarios.quantities import check_count
from scenarios.serving.engine import Chunk
from scenarios.strategies import run_strategy
from scenarios.workload.decoder import forward
from scenarios.workload.model import Model, Shard, load_model, shard
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

DECODING_STEPS = 4
"""Numbers of decoding requests a doubling that are priced: within 0.3% of pricing every batch."""
PROMPT_STEPS = 4
"""Tokens of prompts a doubling that are priced."""
BESIDE_PROMPTS = 1024
"""Context of requests that decode beside prompts, where these are priced."""
MOST_MIXTURES = 1 << 16
"""Iterations with prompts that are remembered: a long load of drawn lengths has no end of different ones."""
MULTI_TOKEN = "mtp"
MOST_DRAFT_TOKENS = 64


Node = tuple[int, int, int, int, int]
"""Requests that decode, their context, prompts, tokens read of each, and those before them."""
Seconds = float | NDArray[np.float64]
"""Of an iteration, or of each of several."""


@dataclass(frozen=True)
class Speculation:
    """Speculative decoding (Leviathan et al. 2023): a draft model proposes ``tokens``, the model checks all in a pass.

    Each is accepted with probability ``acceptance``, as long as those before it are. ``draft``: the draft model; None:
    a decoder of the model itself and its head, as multi-token prediction has it.
    """

    tokens: int
    acceptance: float
    draft: Model | None = None

    @property
    def tokens_a_pass(self) -> float:
        """Mean tokens of a pass, the model's own next one included: (1 - a^(k+1)) / (1 - a)."""
        if self.acceptance == 1.0:
            return self.tokens + 1.0
        return (1.0 - self.acceptance ** (self.tokens + 1)) / (1.0 - self.acceptance)


def speculation_of(draft: str, tokens: int, acceptance: float) -> Speculation:
    """Speculative decoding as a user asks for it; ``draft``: a model, or ``mtp``. Raises ScenarioError."""
    check_count("--draft-tokens", tokens, MOST_DRAFT_TOKENS)
    if not 0.0 <= acceptance <= 1.0:
        raise ScenarioError(f"--acceptance is {acceptance:g}; it is a probability, from 0 to 1.")
    return Speculation(tokens, acceptance, None if draft == MULTI_TOKEN else load_model(draft))


@dataclass
class Iteration:
    """Seconds of iterations of one engine: ``engine.IterationCosts``.

    ``point``: the chips, the model, the strategy and the framework. Iterations that only decode run as its strategy and
    launch say; one with a prompt is issued kernel by kernel: its shapes are not known before, so that no graph holds it
    and no kernel loops over it. On a dataflow chip prompts are programs of their own.
    """

    point: Point
    split: Shard
    speculation: Speculation | None = None
    most: int = 1
    """requests that may decode at once."""
    longest: int = 1
    """tokens of a prompt with its answer."""
    known: dict[Node, float] = field(default_factory=dict)
    _lines: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    """Of requests that decode, from a context on: seconds there, and more seconds a token of it."""
    _mixtures: dict[tuple[int, int, int, int], tuple[float, ...]] = field(default_factory=dict)

    def decode(self, decoding: int, context: float) -> tuple[float, float, float]:
        """(seconds, more seconds a token of context, the mean context up to which they hold)."""
        near, far, _ = _around(max(1, int(context)), 1)
        if (decoding, near) not in self._lines:
            begin, end = (self._decoding(decoding, place) for place in (near, far))
            self._lines[decoding, near] = begin, (end - begin) / (far - near)
        begin, slope = self._lines[decoding, near]
        host = decoding * self._host_request_seconds
        return begin + slope * (context - near) + host, slope, float(far)

    def mixed(self, chunks: Sequence[Chunk], decoding: int, context: float) -> float:
        """One that also reads prompts: their chunks share all products, and are taken as alike in attention.

        What more context costs requests that decode beside them, it costs those that decode alone.
        """
        tokens = sum([each for each, _ in chunks])
        prompts = _nearest(len(chunks), 1)
        before = _nearest(round(sum([each * cached for each, cached in chunks]) / tokens), 1)
        seconds = decoding * self._host_request_seconds
        if decoding:
            seconds += self.decode(decoding, context)[0] - self.decode(decoding, BESIDE_PROMPTS)[0]
        for part in self._around_prompts(decoding, prompts, max(1, round(tokens / prompts)), before):
            seconds += part
        return seconds

    def _around_prompts(self, decoding: int, prompts: int, tokens: int, before: int) -> tuple[float, ...]:
        """Seconds of the nodes around an iteration with prompts, each with its share; remembered."""
        key = (decoding, prompts, tokens, before)
        if key not in self._mixtures:
            few, many, share = _around(tokens, PROMPT_STEPS)
            low, high, more = _around(decoding, 1)
            if len(self._mixtures) == MOST_MIXTURES:
                self._mixtures.clear()
            self._mixtures[key] = tuple(
                of_tokens * of_requests * self._priced(running, BESIDE_PROMPTS if running else 0, prompts, rows, before)
                for of_tokens, rows in ((1.0 - share, few), (share, many))
                for of_requests, running in ((1.0 - more, low), (more, high))
                if of_tokens and of_requests
            )
        return self._mixtures[key]

    @cached_property
    def _host_request_seconds(self) -> float:
        return self.point.framework.host_request_seconds if self.point.chip.has_framework else 0.0

    def _decoding(self, decoding: int, context: int) -> float:
        low, high, share = _around(decoding, DECODING_STEPS)
        seconds = self._priced(low, context, 0, 0, 0)
        return seconds + share * (self._priced(high, context, 0, 0, 0) - seconds) if share else seconds

    def _priced(self, decoding: int, context: int, prompts: int, tokens: int, before: int) -> float:
        node = (decoding, context, prompts, tokens, before)
        if node not in self.known:
            nodes = self._beside(*node)
            if len(nodes) == 1:
                self.known[node] = float(self._price(*node))
            else:
                sizes, contexts, _, lengths, befores = np.array(nodes, np.float64).T
                reading = (prompts, lengths, befores) if prompts else (0, 0, 0)
                seconds = self._price(sizes if decoding else 0, contexts, *reading)
                self.known.update(zip(nodes, np.asarray(seconds).tolist(), strict=True))
        return self.known[node]

    def _beside(self, decoding: int, context: int, prompts: int, tokens: int, before: int) -> list[Node]:
        """An iteration, and those of its kind that an engine will ask for beside it: all together take little longer,
        as only attention tells contexts apart. A dataflow chip lays out each by itself.
        """
        if not self.point.chip.has_framework:
            return [(decoding, context, prompts, tokens, before)]
        sizes, size = [], 1 if decoding else 0
        while size <= max(decoding, self.most if decoding else 0):
            sizes.append(size)
            size = _around(size, 1 if prompts else DECODING_STEPS)[1]
        contexts = [context] if prompts else _doublings(context, 2 * self.longest)
        befores = _doublings(1, max(before, self.longest)) if before else [0]
        lengths = _of_its_doubling(tokens) if prompts else [0]
        return [each for each in product(sizes, contexts, [prompts], lengths, befores) if each not in self.known]

    def _price(self, decoding: Count, context: Count, prompts: int, tokens: Count, before: Count) -> Seconds:
        model, guess = self.point.model, self.speculation
        if guess is None:
            return self._passes(model, self.split, (decoding, 1, context), (prompts, tokens, before))
        draft = guess.draft or model.model_copy(update={"layers": 1})
        split = shard(draft, self.split.ranks)
        checked = (decoding, guess.tokens + 1, np.maximum(context, guess.tokens + 1))
        seconds = self._passes(model, self.split, checked, (prompts, tokens, before))
        if prompts:
            seconds = seconds + self._passes(draft, split, (0, 1, 0), (prompts, tokens, before))
        if np.any(decoding):
            seconds = seconds + guess.tokens * self._passes(draft, split, (decoding, 1, context), (0, 0, 0))
        return seconds

    def _passes(
        self, model: Model, split: Shard, decode: tuple[Count, int, Count], read: tuple[int, Count, Count]
    ) -> Seconds:
        """``decode``: requests, tokens of each, their context. ``read``: prompts, tokens of each, those before them."""
        numbers, work = self.point.quantization, []
        if np.any(decode[0]):
            work.append(forward(model, split, *decode, numbers))
        prompts, tokens, before = read
        if prompts:
            work.append(forward(model, split, prompts, tokens, before + tokens, numbers))
        lanes = max(np.size(decode[0]), np.size(tokens))
        if isinstance(self.point.chip, Gpu):
            if not prompts:
                return self._pass(work[0], lanes, self.point.strategy, self.point.launch)
            return self._pass(_together(*work) if len(work) == 2 else work[0], lanes, "per_operator", "eager")
        return sum((self._pass(each, 1, self.point.strategy, self.point.launch) for each in work), 0.0)

    def _pass(self, step: Step, lanes: int, strategy: str, launch: str) -> Seconds:
        """Seconds of a pass, or of each of several side by side."""
        cluster = Cluster(self.point.chip, self.point.count).side_by_side(lanes)
        clock = cluster.start_clock()
        finish = cluster.meet(clock, run_strategy(clock, cluster, strategy, step, launch, self.point.framework))
        seconds = np.atleast_1d(finish.ps)[-lanes:] / PICOSECONDS_PER_SECOND
        return seconds if lanes > 1 else float(seconds[0])


@dataclass
class InStages:
    """Iterations of one of the batches that pass through a pipeline of ``stages`` groups in turn.

    While a stage computes one batch, the others compute the others; where these are alike, a batch comes round when all
    stages have had it. Between two stages each row of activations takes ``seconds_a_row``, each message ``seconds``;
    the last message brings the tokens back to the first stage.
    """

    costs: Iteration
    stages: int
    seconds_a_row: float
    seconds: float

    def decode(self, decoding: int, context: float) -> tuple[float, float, float]:
        """As ``IterationCosts`` has it."""
        seconds, slope, holds = self.costs.decode(decoding, context)
        return seconds + self._sent(decoding), slope, holds

    def mixed(self, chunks: Sequence[Chunk], decoding: int, context: float) -> float:
        """As ``IterationCosts`` has it."""
        rows = decoding + sum(tokens for tokens, _ in chunks)
        return self.costs.mixed(chunks, decoding, context) + self._sent(rows)

    def _sent(self, rows: int) -> float:
        return self.stages * self.seconds + (self.stages - 1) * rows * self.seconds_a_row


def _of_its_doubling(tokens: int) -> list[int]:
    """The numbers of the grid between the powers of two around ``tokens``, which all together take little longer."""
    least = 1 << (max(tokens, 1).bit_length() - 1)
    return [tokens] if least < PROMPT_STEPS else list(range(least, 2 * least + 1, least // PROMPT_STEPS))


def _doublings(first: int, last: int) -> list[int]:
    """``first``, and twice as much again and again up to ``last``."""
    return [first << times for times in range(max(1, (last // first).bit_length()))]


@lru_cache(1 << 12)
def _around(number: int, steps: int) -> tuple[int, int, float]:
    """The two numbers of a grid with ``steps`` a doubling around ``number``, and its share of the way between them."""
    if number < 1:
        return number, number + 1, 0.0
    step = max(1, (1 << (number.bit_length() - 1)) // steps)
    low = number // step * step
    return low, low + step, (number - low) / step


@lru_cache(1 << 12)
def _nearest(number: int, steps: int) -> int:
    low, high, share = _around(number, steps)
    return high if share >= 0.5 else low


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
