"""Weights from a seed: a model that speaks nonsense, with every shape of the real one."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from scenarios.llama.config import LlamaConfig
from scenarios.llama.number_format import Float32
from scenarios.llama.weights import tensor_shape

STANDARD_DEVIATION = 0.02  # initializer_range of Llama's config.json


@dataclass(frozen=True)
class RandomWeights:
    """Normal weights, gains of one. Each tensor has a generator of its own, so the same on any number of ranks."""

    config: LlamaConfig
    seed: int

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        """See ``WeightSource``."""
        shape = tensor_shape(self.config, name)
        if len(shape) == 1:
            return np.ones(shape, np.float32)[rows]
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode()), 0 if layer is None else layer + 1])
        return generator.standard_normal(shape, np.float32)[rows] * np.float32(STANDARD_DEVIATION)
