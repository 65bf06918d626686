"""The weights of one rank as arrays, loaded part by part from wherever they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scenarios.llama.config import LlamaConfig
from scenarios.llama.number_format import Float32, NumberFormat, rounding
from scenarios.llama.partition import part_of
from scenarios.workload.model import Model, Shard

Real = TypeVar("Real", np.float32, np.float64)
ALL = slice(None)


@dataclass
class LayerWeights(Generic[Real]):
    """One decoder's weights on one rank; a matrix has shape (outputs, inputs)."""

    attention_norm: NDArray[Real]
    query: NDArray[Real]
    key: NDArray[Real]
    value: NDArray[Real]
    output: NDArray[Real]
    mlp_norm: NDArray[Real]
    gate: NDArray[Real]
    up: NDArray[Real]
    down: NDArray[Real]


@dataclass
class Weights(Generic[Real]):
    """All weights of one rank.

    ``embedding`` and ``head``: this rank's rows of the vocabulary, padded with zeros to the same number on every rank;
    the same array where the model ties them. ``first_token``: the token of their first row.
    """

    embedding: NDArray[Real]
    layers: list[LayerWeights[Real]]
    final_norm: NDArray[Real]
    head: NDArray[Real]
    first_token: int


class WeightSource(Protocol):
    """Where weights are stored. Names are the fields of ``LayerWeights`` and ``Weights``."""

    @property
    def config(self) -> LlamaConfig:
        """The model that the weights belong to."""
        ...

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        """These rows of a matrix (outputs, inputs) in Hugging Face's order, or these elements of a vector.

        ``layer``: None for what is not a decoder's.
        """
        ...


def load_weights(
    source: WeightSource, ranks: int, rank: int, number_format: NumberFormat = "float32"
) -> Weights[np.float32]:
    """The part of ``rank`` among ``ranks``, rounded to ``number_format``. At most one whole matrix is held beside it.

    Raises ScenarioError for a count that does not divide the model, or weights that are missing or misshapen.
    """
    model = source.config.model
    part, keep = part_of(model, ranks, rank), rounding(number_format)

    def rows(name: str, layer: int | None, wanted: slice) -> Float32:
        return keep(source.tensor(name, layer, wanted))

    def columns(name: str, layer: int, wanted: slice) -> Float32:
        return keep(np.ascontiguousarray(source.tensor(name, layer, ALL)[:, wanted]))

    def vocabulary_rows(name: str) -> Float32:
        first, last = part.vocabulary.start, part.vocabulary.stop
        there = slice(min(first, model.vocabulary), min(last, model.vocabulary))
        padding = (last - first) - (there.stop - there.start)
        return np.pad(rows(name, None, there), ((0, padding), (0, 0)))

    layers = [
        LayerWeights(
            attention_norm=rows("attention_norm", layer, ALL),
            query=rows("query", layer, part.query),
            key=rows("key", layer, part.key_value),
            value=rows("value", layer, part.key_value),
            output=columns("output", layer, part.query),
            mlp_norm=rows("mlp_norm", layer, ALL),
            gate=rows("gate", layer, part.intermediate),
            up=rows("up", layer, part.intermediate),
            down=columns("down", layer, part.intermediate),
        )
        for layer in range(model.layers)
    ]
    embedding = vocabulary_rows("embedding")
    head = embedding if model.tied_embeddings else vocabulary_rows("head")
    return Weights(embedding, layers, rows("final_norm", None, ALL), head, part.vocabulary.start)


def rank_bytes(model: Model, split: Shard, capacity: int) -> int:
    """What one rank holds in float32, in bytes: its weights and a KV cache of ``capacity`` tokens."""
    attention = (2 * split.heads + 2 * split.kv_heads) * model.head_dim * model.hidden
    decoder = attention + 3 * split.intermediate * model.hidden + 2 * model.hidden
    vocabulary = (1 if model.tied_embeddings else 2) * split.vocabulary * model.hidden
    cache = 2 * model.layers * split.kv_heads * model.head_dim * capacity
    return np.dtype(np.float32).itemsize * (model.layers * decoder + vocabulary + model.hidden + cache)


def tensor_shape(config: LlamaConfig, name: str) -> tuple[int, ...]:
    """The shape of a whole tensor, all ranks together."""
    model = config.model
    query, kept = model.heads * model.head_dim, model.kv_heads * model.head_dim
    hidden, wide = model.hidden, model.intermediate
    return {
        "embedding": (model.vocabulary, hidden),
        "head": (model.vocabulary, hidden),
        "query": (query, hidden),
        "key": (kept, hidden),
        "value": (kept, hidden),
        "output": (hidden, query),
        "gate": (wide, hidden),
        "up": (wide, hidden),
        "down": (hidden, wide),
    }.get(name, (hidden,))
