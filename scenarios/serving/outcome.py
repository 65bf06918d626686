"""What users of a server see: waits and their percentiles, tokens a second, and how many are served well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from scenarios.serving.engine import Engine
from scenarios.serving.requests import Floats, Requests


@dataclass
class Served:
    """A load that was played. ``tokens_a_pass``: of a request, more than one with speculative decoding.

    Times in seconds: to the first token (TTFT), an output token after it (TPOT), the whole answer (end to end).
    """

    LIMITS: ClassVar[Sequence[str]] = ("ttft", "tpot", "e2e")

    requests: Requests
    engines: list[Engine]
    tokens_a_pass: float = 1.0

    @property
    def time_to_first_token(self) -> float:
        """Mean over requests."""
        return float(np.mean(self.requests.to_first_token))

    @property
    def time_per_output_token(self) -> float:
        """Mean over requests of more than one token."""
        return float(np.mean(self.requests.an_output_token))

    @property
    def end_to_end(self) -> float:
        """Mean over requests, from sending to the last token."""
        return float(np.mean(self.requests.to_last_token))

    @property
    def seconds(self) -> float:
        """From the first request sent to the last token of all."""
        return max(self.requests.last) - min(self.requests.sent)

    @property
    def output_tokens_per_s(self) -> float:
        """Of all requests together."""
        return sum(self.requests.output_tokens) / self.seconds

    @property
    def requests_per_s(self) -> float:
        """Requests answered a second."""
        return len(self.requests) / self.seconds

    @cached_property
    def running(self) -> float:
        """Requests that decode, a mean over the iterations of all engines that decode."""
        counts = np.array([(each.iterations, each.decoding) for engine in self.engines for each in engine.stretches])
        return float(counts[:, 0] @ counts[:, 1] / counts[:, 0].sum())

    @property
    def evictions(self) -> int:
        """Requests that lost their room in the cache and were read again."""
        return sum(engine.evictions for engine in self.engines)

    def percentile(self, what: str, percent: float) -> float:
        """Of ``ttft``, ``tpot``, ``e2e`` over requests, or of ``itl``, between two tokens, over all tokens."""
        if what == "itl":
            seconds, tokens = self._between_tokens
            if not tokens.size:
                return float("nan")
            reached = np.cumsum(tokens) / tokens.sum()
            return float(seconds[min(int(np.searchsorted(reached, percent / 100.0)), seconds.size - 1)])
        values = self._by_request(what)
        return float(np.percentile(values, percent))

    def served_well(self, limits: Mapping[str, float]) -> float:
        """Requests a second that keep within all limits, seconds by ``LIMITS`` (goodput)."""
        kept = np.ones(len(self.requests), bool)
        for name, most in limits.items():
            kept &= self._by_request(name, alone=0.0) <= most
        return float(kept.sum()) / self.seconds

    def _by_request(self, what: str, alone: float | None = None) -> Floats:
        """``alone``: seconds between tokens of a request that has only one; None: it counts for nothing."""
        requests = self.requests
        if what == "ttft":
            return requests.to_first_token
        if what == "e2e":
            return requests.to_last_token
        if alone is None:
            return requests.an_output_token
        between = np.asarray(requests.output_tokens) - 1
        spans = np.subtract(requests.last, requests.first)
        return np.where(between > 0, spans / np.maximum(between, 1), alone)

    @cached_property
    def _between_tokens(self) -> tuple[Floats, Floats]:
        """Seconds between two tokens, ascending, and how many tokens come so."""
        found: list[tuple[float, float]] = []
        for engine in self.engines:
            stalled = 0.0  # iterations that only read prompts: the next token of who decodes comes later
            for each in engine.stretches:
                if not each.decoding:
                    stalled += each.seconds * each.iterations
                    continue
                if stalled:
                    found.append(((each.seconds + stalled) / self.tokens_a_pass, each.decoding))
                found.append((each.seconds / self.tokens_a_pass, each.decoding * (each.iterations - bool(stalled))))
                stalled = 0.0
        values = np.array(sorted(found)).reshape(-1, 2)
        return values[:, 0], values[:, 1]
