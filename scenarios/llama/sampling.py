"""Which token follows: the most likely one, or one drawn from the most likely (nucleus or top-p sampling)."""

from __future__ import annotations

import numpy as np

from scenarios.errors import ScenarioError
from scenarios.llama.layers import softmax
from scenarios.llama.number_format import Float32


class Sampler:
    """Chooses tokens by a seeded generator; equal logits and seed give equal tokens on every rank.

    ``temperature``: logits are divided by it; 0 takes the most likely token, the first of equals. ``top_p``: only the
    fewest tokens whose probabilities reach it (Holtzman et al. 2019, arXiv 1904.09751).
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        if not 0 <= temperature < np.inf:
            raise ScenarioError(f"--temperature is {temperature}; it must be 0 or more.")
        if not 0 < top_p <= 1:
            raise ScenarioError(f"--top-p is {top_p}; it must be above 0 and at most 1.")
        if seed < 0:
            raise ScenarioError(f"--seed is {seed}; it must be 0 or more.")
        self.temperature, self.top_p = temperature, top_p
        self._generator = np.random.default_rng(seed)

    def choose(self, logits: Float32) -> int:
        """A token for logits of shape (vocabulary,)."""
        if self.temperature == 0:
            return int(np.argmax(logits))
        probabilities = softmax(logits.astype(np.float64) / self.temperature)
        order = np.argsort(-probabilities, kind="stable")
        reached = np.cumsum(probabilities[order])
        kept = min(int(np.searchsorted(reached, self.top_p)) + 1, len(order))
        drawn = self._generator.random() * reached[kept - 1]
        return int(order[min(int(np.searchsorted(reached[:kept], drawn, side="right")), kept - 1)])
