"""What computing a Llama needs beside its shape: the normalisation's epsilon and the rotary frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.text_file import read_json
from scenarios.errors import ScenarioError
from scenarios.llama.number_format import Float32
from scenarios.llama.rotary import DEFAULT_THETA, THETAS, inverse_frequencies, scale_frequencies
from scenarios.quantities import number_within
from scenarios.workload.hugging_face import model_type
from scenarios.workload.model import Model, load_model, model_path

DEFAULT_NORM_EPSILON = 1e-5  # Llama 2 and 3
NORM_EPSILONS = (0.0, 1.0)
LIKE_LLAMA = ("llama", "mistral")
"""Types of models whose values are Llama's."""


@dataclass(frozen=True, eq=False)
class LlamaConfig:
    """A Llama to compute. ``inverse_frequencies``: radians a position, shape (head_dim / 2,), scaling included."""

    model: Model
    norm_epsilon: float
    inverse_frequencies: Float32

    def __post_init__(self) -> None:
        model = self.model
        traits = (model.norm, model.norms, model.gated_mlp, model.rotary, model.qk_norm, model.biases)
        if traits != ("rmsnorm", "before", True, True, False, "none"):
            raise ScenarioError(
                f"{model.name} is not of the Llama family (RMSNorm, SwiGLU, rotary embedding, no biases, no "
                "normalised queries), which alone is computed; any model can be priced with `loopline compare`."
            )
        if model.head_dim % 2:
            raise ScenarioError(f"{model.name} has {model.head_dim} elements a head; they are rotated in pairs.")


def named_config(name: str) -> LlamaConfig:
    """The Llama of a ``config.json``, or a model of the catalog with Llama's usual epsilon and frequencies.

    Raises ScenarioError or CatalogError in one sentence.
    """
    model, path = load_model(name), model_path(name)
    if path.suffix.lower() == ".json":
        return _from_hugging_face(model, read_json(path), path)
    return LlamaConfig(model, DEFAULT_NORM_EPSILON, inverse_frequencies(model.head_dim))


def _from_hugging_face(model: Model, config: Mapping[str, Any], path: Path) -> LlamaConfig:
    """The keys that ``scenarios.workload.hugging_face`` leaves: what changes values, not shapes."""
    if model_type(config, path) not in LIKE_LLAMA:
        raise ScenarioError(
            f"{path}: a model of type {model_type(config, path)} is not computed here, only priced; expected "
            f"{' or '.join(LIKE_LLAMA)}."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise ScenarioError(f"{path}: key 'hidden_act' is '{config['hidden_act']}'; expected silu, as in every Llama.")
    if config.get("mlp_bias"):
        raise ScenarioError(f"{path}: key 'mlp_bias' is true; only projections without biases are computed.")
    if config.get("quantization_config") is not None:
        raise ScenarioError(f"{path}: quantized safetensors are not read; expected bf16, float16, float32, or a GGUF.")
    if config.get("partial_rotary_factor", 1) != 1:
        raise ScenarioError(f"{path}: key 'partial_rotary_factor' is not 1; only whole heads are rotated here.")
    # transformers 5 writes both under rope_parameters; before, theta stood beside rope_scaling.
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise ScenarioError(f"{path}: the rope scaling is {scaling!r:.80}; expected a table.")
    theta = scaling.get("rope_theta", config.get("rope_theta", DEFAULT_THETA))
    plain = inverse_frequencies(model.head_dim, number_within(f"{path}: key 'rope_theta'", theta, THETAS))
    epsilon = config.get("rms_norm_eps", 1e-6)  # transformers' default
    epsilon = number_within(f"{path}: key 'rms_norm_eps'", epsilon, NORM_EPSILONS)
    return LlamaConfig(model, epsilon, scale_frequencies(plain, scaling, path))
