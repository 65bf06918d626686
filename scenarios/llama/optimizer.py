"""AdamW on one rank's shard: every weight by itself, so that a split model takes the same step as the whole one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from scenarios.llama.weights import Weights

Real = TypeVar("Real", np.float32, np.float64)


def parameters(weights: Weights[Real]) -> Iterator[NDArray[Real]]:
    """Every array of a shard, in a fixed order; tied embeddings once."""
    yield weights.embedding
    for layer in weights.layers:
        yield from (getattr(layer, field.name) for field in fields(layer))
    yield weights.final_norm
    if weights.head is not weights.embedding:
        yield weights.head


class AdamW(Generic[Real]):
    """Adam with decoupled weight decay, which gains (vectors) do not have (Loshchilov and Hutter 2017, algorithm 2).

    Changes the arrays of ``weights`` in place.
    """

    def __init__(
        self,
        weights: Weights[Real],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        self._parameters: list[NDArray[Real]] = list(parameters(weights))
        self._means: list[NDArray[Real]] = [np.zeros_like(parameter) for parameter in self._parameters]
        self._squares: list[NDArray[Real]] = [np.zeros_like(parameter) for parameter in self._parameters]
        self.learning_rate, self.betas, self.epsilon, self.weight_decay = learning_rate, betas, epsilon, weight_decay
        self.steps = 0

    def step(self, gradients: Weights[Real]) -> None:
        """Move every weight once, by gradients of the same shapes."""
        self.steps += 1
        first, second = self.betas
        rate = self.learning_rate / (1 - first**self.steps)
        correction = 1 - second**self.steps
        for parameter, gradient, mean, square in zip(
            self._parameters, parameters(gradients), self._means, self._squares, strict=True
        ):
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient * gradient - square)
            if parameter.ndim > 1:
                parameter *= 1 - self.learning_rate * self.weight_decay
            parameter -= rate * mean / (np.sqrt(square / correction) + self.epsilon)
