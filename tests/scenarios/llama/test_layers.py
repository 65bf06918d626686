"""The operators of a Llama against their definitions, element by element in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from scenarios.llama.layers import attention, rms_norm, swiglu
from scenarios.llama.number_format import number_format, round_to_bfloat16
from scenarios.llama.rotary import inverse_frequencies, rotate, rotations, scale_frequencies


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126))
def test_bfloat16_is_the_nearest_with_eight_bits_ties_to_even(value: float) -> None:
    (found,) = round_to_bfloat16(np.array([value], np.float32))
    assert int(found.view(np.uint32)) & 0xFFFF == 0
    _, exponent = np.frexp(value)
    spacing = np.ldexp(1.0, max(int(exponent) - 8, -133))  # of bfloat16 around this value; subnormals share one
    assert float(found) == np.round(value / spacing) * spacing  # NumPy rounds ties to even


def test_bfloat16_keeps_what_is_not_finite_and_rounds_any_layout() -> None:
    kept = round_to_bfloat16(np.array([np.inf, -np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(kept, [np.inf, -np.inf, np.nan])
    values = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    np.testing.assert_array_equal(round_to_bfloat16(values.T), round_to_bfloat16(values).T)


def test_rms_norm_leaves_a_root_mean_square_of_the_gain() -> None:
    values = np.random.default_rng(0).standard_normal((5, 64)) * 100
    normal = rms_norm(values, np.full(64, 3.0), 1e-5)
    np.testing.assert_allclose(np.sqrt(np.mean(normal**2, axis=-1)), 3.0, rtol=1e-6)


def test_swiglu_is_x_over_one_plus_exp_minus_x() -> None:
    gate, up = np.array([-1000.0, -1.0, 0.0, 2.0]), np.array([5.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(swiglu(gate, up), [0.0, -2 / (1 + np.e), 0.0, 8 / (1 + np.exp(-2.0))])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 4))
def test_attention_equals_its_definition(kv_heads: int, group: int, tokens: int, before: int) -> None:
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((kv_heads * group, tokens, 4))
    keys, values = generator.standard_normal((2, kv_heads, before + tokens, 4))
    found = attention(queries, keys, values)
    for head in range(kv_heads * group):
        for token in range(tokens):
            seen = before + token + 1
            weights = np.exp(keys[head // group, :seen] @ queries[head, token] / 2.0)
            expected = weights @ values[head // group, :seen] / weights.sum()
            np.testing.assert_allclose(found[head, token], expected, rtol=1e-10, atol=1e-12)


@given(st.integers(0, 500), st.integers(0, 500))
def test_rotated_products_depend_on_the_distance_alone(first: int, second: int) -> None:
    query, key = np.random.default_rng(0).standard_normal((2, 1, 8))
    frequencies = inverse_frequencies(8)

    def at(heads: np.ndarray, position: int) -> np.ndarray:
        return rotate(heads, *rotations(frequencies, np.array([position])))

    moved = float((at(query, first + 7) @ at(key, second + 7).T).item())
    assert moved == pytest.approx(float((at(query, first) @ at(key, second).T).item()), abs=1e-3)


def test_turning_back_undoes_a_rotation() -> None:
    heads = np.random.default_rng(0).standard_normal((3, 5, 8))
    cosine, sine = rotations(inverse_frequencies(8), np.arange(5))
    np.testing.assert_allclose(rotate(rotate(heads, cosine, sine), cosine, -sine), heads, atol=1e-6)


LLAMA_3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def test_llama_3_scaling_stretches_long_waves_and_keeps_short_ones() -> None:
    plain = inverse_frequencies(128, 500000.0)
    scaled = scale_frequencies(plain, {"rope_type": "llama3"} | LLAMA_3, Path("config.json"))
    wavelengths = 2 * np.pi / plain
    np.testing.assert_array_equal(scaled[wavelengths < 8192 / 4], plain[wavelengths < 8192 / 4])
    np.testing.assert_allclose(scaled[wavelengths > 8192], plain[wavelengths > 8192] / 8, rtol=1e-6)
    assert np.all(np.diff(scaled) < 0)


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"rope_type": "yarn"}, "rope scaling of type 'yarn' is not computed here; expected linear or llama3."),
        ({"rope_type": "linear"}, "key 'factor' of the rope scaling is None; expected a number from 1e-06 to 1e+09."),
        ({"type": "llama3", "factor": 8.0}, "key 'low_freq_factor'"),
    ],
)
def test_scalings_that_cannot_be_computed_are_refused(scaling: dict[str, object], sentence: str) -> None:
    with pytest.raises(ScenarioError, match=r"^c\.json: ") as refusal:
        scale_frequencies(inverse_frequencies(8), scaling, Path("c.json"))
    assert sentence in str(refusal.value)


def test_an_unknown_number_format_is_refused() -> None:
    assert number_format("bf16") == "bf16"
    with pytest.raises(ScenarioError, match="--dtype 'fp4' is unknown; expected bf16 or float32"):
        number_format("fp4")
