"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864): positions as rotations of queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scenarios.errors import ScenarioError
from scenarios.llama.number_format import Float32
from scenarios.quantities import number_within

Real = TypeVar("Real", np.float32, np.float64)

DEFAULT_THETA = 10000.0
# What float32 computes without overflow, far beyond what models have.
THETAS = (1.0, 1e30)
FACTORS = (1e-6, 1e9)


def inverse_frequencies(head_dim: int, theta: float = DEFAULT_THETA) -> Float32:
    """Radians a position for each pair of a head's elements, shape (head_dim / 2,): theta^(-2i / head_dim).

    Rounded to float32 step by step, as Hugging Face transformers does: far into a long context the last bit of a
    frequency is visible in the logits. The power itself in float64, whose rounding is the same on any machine.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.float64(theta) ** exponents.astype(np.float64)
    return np.asarray(1 / powers.astype(np.float32), np.float32)


def scale_frequencies(frequencies: Float32, scaling: Mapping[str, object], path: Path) -> Float32:
    """Frequencies for a context longer than the pre-trained one, by ``rope_scaling`` of the config.json at ``path``.

    ``llama3`` (Llama 3.1): wavelengths beyond the old context divided by ``low_freq_factor`` are stretched by
    ``factor``, those below it divided by ``high_freq_factor`` stay, and between them it goes over smoothly.
    ``linear``: all are stretched. Raises ScenarioError for other kinds.
    """
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return frequencies
    if kind not in ("linear", "llama3"):
        raise ScenarioError(f"{path}: rope scaling of type '{kind}' is not computed here; expected linear or llama3.")
    factor = _number(scaling, "factor", path)
    if kind == "linear":
        return np.asarray(frequencies / np.float32(factor), np.float32)
    low, high = _number(scaling, "low_freq_factor", path), _number(scaling, "high_freq_factor", path)
    if low >= high:
        raise ScenarioError(f"{path}: the rope scaling's low_freq_factor is {low:g}; expected less than {high:g}.")
    turns_in_old_context = _number(scaling, "original_max_position_embeddings", path) * frequencies / (2 * np.pi)
    kept = np.clip((turns_in_old_context - low) / (high - low), 0.0, 1.0)
    return np.asarray((1 - kept) * frequencies / factor + kept * frequencies, np.float32)


def rotations(frequencies: Float32, positions: NDArray[np.int64]) -> tuple[Float32, Float32]:
    """Cosine and sine of every position and frequency, each of shape (tokens, head_dim / 2)."""
    angles = positions[:, None].astype(np.float32) * frequencies
    return np.cos(angles), np.sin(angles)


def rotate(heads: NDArray[Real], cosine: Float32, sine: Float32) -> NDArray[Real]:
    """Turn heads of shape (..., tokens, head_dim): element i and i + head_dim / 2 are a pair (Hugging Face's order).

    With ``-sine`` it turns back, which is also how its gradient flows.
    """
    first, second = np.split(heads, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1, dtype=heads.dtype)


def _number(scaling: Mapping[str, object], key: str, path: Path) -> float:
    return number_within(f"{path}: key '{key}' of the rope scaling", scaling.get(key), FACTORS)
