"""The program that every rank runs to generate text: its shard of the values, and its chip's clock beside them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cluster.communicator import Communicator, Float32
from cluster.together import run_together
from scenarios.errors import ScenarioError
from scenarios.llama.checkpoints.checkpoint import open_weights
from scenarios.llama.number_format import NumberFormat
from scenarios.llama.rank import LlamaRank
from scenarios.llama.sampling import Sampler
from scenarios.llama.simulated_time import SimulatedMachine
from scenarios.llama.weights import load_weights
from scenarios.quantities import check_count
from scenarios.workload.model import Model


@dataclass(frozen=True)
class Generation:
    """What to generate. ``weights``: as ``open_weights`` takes it, on every rank's machine.

    ``prompt``: tokens. At most ``tokens`` follow; one of ``stop_tokens`` is the last. ``seed``: of sampling, and of
    random weights. ``number_format``: see ``LlamaRank``; ``temperature`` and ``top_p``: see ``Sampler``.
    """

    weights: str
    prompt: tuple[int, ...]
    tokens: int
    stop_tokens: frozenset[int] = frozenset()
    number_format: NumberFormat = "float32"
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def check(self, model: Model) -> None:
        """Raise ScenarioError for what no rank could run, before ranks are started."""
        Sampler(self.temperature, self.top_p, self.seed)
        check_count("--tokens", self.tokens)
        if not self.prompt:
            raise ScenarioError("--prompt holds no token; expected at least one.")
        if max(self.prompt) >= model.vocabulary:
            raise ScenarioError(
                f"the tokenizer gives token {max(self.prompt)}; {model.name} has tokens 0 to {model.vocabulary - 1}."
            )
        most = min(model.max_context, model.window or model.max_context)
        if len(self.prompt) + self.tokens > most:
            kind = "tokens of its sliding window" if model.window == most else "tokens that it was trained for"
            raise ScenarioError(
                f"a prompt of {len(self.prompt)} tokens and --tokens {self.tokens} are beyond what {model.name} "
                f"computes here: the {most} {kind}."
            )


@dataclass(frozen=True)
class WeightsLoaded:
    """Rank 0 holds its shard. ``seconds``: wall time since the program began."""

    seconds: float


@dataclass(frozen=True)
class GeneratedToken:
    """One token, as soon as it is chosen and timed; the first one's pass is the prefill.

    ``computed_seconds``: wall time of its values and of the clocks beside them. ``simulated_seconds``: of its pass on
    each simulated machine.
    """

    token: int
    computed_seconds: float
    simulated_seconds: tuple[float, ...]


def generate_tokens(
    communicator: Communicator, request: Generation, machines: Sequence[SimulatedMachine] = ()
) -> list[int]:
    """The generated tokens; the same on every rank. Reports WeightsLoaded, then each GeneratedToken.

    Every rank samples for itself from the same logits with the same seed, so no token has to be sent. Beside its
    values it runs its chip of each of ``machines``, which all have a working chip for each rank: where the chips of a
    layer meet, values and times are in the same messages.
    """
    began = time.perf_counter()
    source = open_weights(request.weights, request.seed)
    weights = load_weights(source, communicator.ranks, communicator.rank, request.number_format)
    capacity = len(request.prompt) + request.tokens - 1  # the last token is never fed back
    rank = LlamaRank(source.config, weights, communicator, capacity, request.number_format)
    sampler = Sampler(request.temperature, request.top_p, request.seed)
    communicator.report(WeightsLoaded(time.perf_counter() - began))
    new, generated = np.array(request.prompt, dtype=np.int64), list[int]()
    while len(generated) < request.tokens:
        began = time.perf_counter()
        clocks = [partial(machine.token_seconds, len(request.prompt), len(generated)) for machine in machines]
        logits, *simulated = run_together(communicator, [partial(_next_logits, rank, new), *clocks])
        token = sampler.choose(logits)
        communicator.report(GeneratedToken(token, time.perf_counter() - began, tuple(simulated)))
        generated.append(token)
        if token in request.stop_tokens:
            break
        new = np.array([token], dtype=np.int64)
    return generated


def _next_logits(rank: LlamaRank, tokens: NDArray[np.int64], communicator: Communicator) -> Float32:
    """The values of one pass, whose messages carry the clocks' times too."""
    rank.communicator = communicator
    return rank.next_logits(tokens)
