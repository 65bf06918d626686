"""Weights of a GGUF file (llama.cpp's format): its metadata as our shape, its quantized tensors as float32."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
from gguf import Keys, dequantize

from chips.quantity import name_from
from scenarios.errors import ScenarioError
from scenarios.llama.config import DEFAULT_NORM_EPSILON, NORM_EPSILONS, LlamaConfig
from scenarios.llama.number_format import Float32
from scenarios.llama.rotary import DEFAULT_THETA, FACTORS, THETAS, inverse_frequencies
from scenarios.llama.weights import tensor_shape
from scenarios.quantities import number_within
from scenarios.workload.gguf_file import GgufFile, StoredTensor
from scenarios.workload.model import checked_model

NAMES = {
    "embedding": "token_embd.weight",
    "attention_norm": "blk.{layer}.attn_norm.weight",
    "query": "blk.{layer}.attn_q.weight",
    "key": "blk.{layer}.attn_k.weight",
    "value": "blk.{layer}.attn_v.weight",
    "output": "blk.{layer}.attn_output.weight",
    "mlp_norm": "blk.{layer}.ffn_norm.weight",
    "gate": "blk.{layer}.ffn_gate.weight",
    "up": "blk.{layer}.ffn_up.weight",
    "down": "blk.{layer}.ffn_down.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
}
# What llama.cpp's converter stores of a rope scaling: the divisor of each frequency.
ROPE_FACTORS = "rope_freqs.weight"


class GgufWeights:
    """The weights in one GGUF file. Raises ScenarioError for another architecture, or a file that is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = GgufFile(path)
        architecture = self.text("general.architecture", "")
        if architecture != "llama":
            raise ScenarioError(f"{path}: architecture '{architecture}' is not computed here; expected llama.")
        # Biases and experts come as tensors of their own: computed without them, the text would be wrong unseen.
        layers = range(min(self._count(Keys.LLM.BLOCK_COUNT), len(self._file.tensors)))
        known = {name.format(layer=layer) for name in NAMES.values() for layer in layers}
        if unknown := sorted(set(self._file.tensors) - known - {ROPE_FACTORS}):
            raise ScenarioError(f"{path}: tensor '{unknown[0]}' is not part of a Llama as it is computed here.")

    def text(self, key: str, default: str) -> str:
        """The text at a metadata key; ``default`` where it is absent."""
        value = self._file.metadata.get(key, default)
        return value if isinstance(value, str) else self._refuse(key, value, "a text")

    def whole(self, key: str, default: int) -> int:
        """The same of a whole number."""
        value = self._file.metadata.get(key, default)
        return value if type(value) is int else self._refuse(key, value, "a whole number")

    def truth(self, key: str, default: bool) -> bool:
        """The same of true or false."""
        value = self._file.metadata.get(key, default)
        return value if isinstance(value, bool) else self._refuse(key, value, "true or false")

    def texts(self, key: str) -> list[str]:
        """The texts at a metadata key; none where it is absent."""
        value = self._file.metadata.get(key, [])
        return value if isinstance(value, list) else self._refuse(key, value, "a list of texts")

    def numbers(self, key: str) -> list[float]:
        """The same of numbers."""
        value = self._file.metadata.get(key, np.zeros(0))
        found: list[float] = value.tolist() if isinstance(value, np.ndarray) else self._refuse(key, value, "numbers")
        return found

    @cached_property
    def config(self) -> LlamaConfig:
        """The shape from the ``llama.*`` keys; names as in gguf-py's ``Keys.LLM``."""
        hidden = self._count(Keys.LLM.EMBEDDING_LENGTH)
        heads = self._count(Keys.Attention.HEAD_COUNT)
        head_dim = self.whole("llama.attention.key_length", hidden // heads)
        embedding = self._tensor(NAMES["embedding"])
        fields = {
            "name": name_from(self.path.stem),
            "title": name_from(self.text("general.name", self.path.stem)),
            "layers": self._count(Keys.LLM.BLOCK_COUNT),
            "hidden": hidden,
            "heads": heads,
            "kv_heads": self.whole("llama.attention.head_count_kv", heads),
            "head_dim": head_dim,
            "intermediate": self._count(Keys.LLM.FEED_FORWARD_LENGTH),
            "vocabulary": embedding.shape[0] if embedding.shape else 0,
            "max_context": self._count(Keys.LLM.CONTEXT_LENGTH),
            "gated_mlp": True,
            "tied_embeddings": NAMES["head"] not in self._file.tensors,
            "rotary": True,
            "qk_norm": False,
            "norm": "rmsnorm",
            "biases": "none",
        }
        model = checked_model(fields, self.path)
        rotated = self.whole("llama.rope.dimension_count", head_dim)
        if rotated != head_dim:
            raise ScenarioError(f"{self.path}: {rotated} of a head's {head_dim} elements are rotated; expected all.")
        scaling = self.text("llama.rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            raise ScenarioError(f"{self.path}: rope scaling of type '{scaling}' is not computed here; expected linear.")
        theta = self._number("llama.rope.freq_base", DEFAULT_THETA, THETAS)
        frequencies = inverse_frequencies(head_dim, theta)
        if scaling == "linear":
            frequencies = frequencies / np.float32(self._number("llama.rope.scaling.factor", 1.0, FACTORS))
        if ROPE_FACTORS in self._file.tensors:
            factors = self._values(ROPE_FACTORS, slice(None))
            if factors.shape != frequencies.shape or not np.all((FACTORS[0] <= factors) & (factors <= FACTORS[1])):
                raise ScenarioError(f"{self.path}: tensor '{ROPE_FACTORS}' is not a factor for each pair of a head.")
            frequencies = frequencies / factors
        epsilon = self._number("llama.attention.layer_norm_rms_epsilon", DEFAULT_NORM_EPSILON, NORM_EPSILONS)
        return LlamaConfig(model, epsilon, frequencies)

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        """See ``WeightSource``. llama.cpp pairs neighbours of a head for the rotation; here they get our order back."""
        stored_name, expected = NAMES[name].format(layer=layer), tensor_shape(self.config, name)
        found = self._tensor(stored_name).shape
        if found != expected:
            raise ScenarioError(f"{self.path}: tensor '{stored_name}' has shape {found}; its metadata say {expected}.")
        values = self._values(stored_name, rows)
        if name not in ("query", "key"):
            return values
        pairs = self.config.model.head_dim // 2
        by_pair = values.reshape(-1, pairs, 2, values.shape[-1])
        return np.ascontiguousarray(np.swapaxes(by_pair, 1, 2)).reshape(values.shape)

    def _tensor(self, name: str) -> StoredTensor:
        if name not in self._file.tensors:
            raise ScenarioError(f"{self.path}: there is no tensor '{name}'.")
        return self._file.tensors[name]

    def _values(self, name: str, rows: slice) -> Float32:
        """Quantized blocks lie within a row, so that rows are dequantized without their neighbours."""
        stored = self._tensor(name)
        try:
            return np.asarray(dequantize(stored.data[rows], stored.kind), np.float32)
        except NotImplementedError:
            kind = stored.kind.name
            raise ScenarioError(f"{self.path}: tensor '{name}' is stored as {kind}, which gguf cannot read.") from None

    def _count(self, key: str) -> int:
        name = key.format(arch="llama")
        value = self.whole(name, 0)
        if value < 1:
            raise ScenarioError(f"{self.path}: metadata key '{name}' is missing; expected a positive integer.")
        return value

    def _number(self, key: str, default: float, limits: tuple[float, float]) -> float:
        return number_within(f"{self.path}: metadata key '{key}'", self._file.metadata.get(key, default), limits)

    def _refuse(self, key: str, value: object, expected: str) -> NoReturn:
        told = "a list" if isinstance(value, list | np.ndarray) else f"{value!r:.80}"
        raise ScenarioError(f"{self.path}: metadata key '{key}' is {told}; expected {expected}.")
