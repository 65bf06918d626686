"""Sampling: greedy, by temperature, from the nucleus; the same seed draws the same tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.errors import ScenarioError
from scenarios.llama.sampling import Sampler

LOGITS = np.log(np.array([0.05, 0.5, 0.15, 0.3], np.float32))


def drawn(temperature: float, top_p: float, count: int = 4000, seed: int = 0) -> np.ndarray:
    sampler = Sampler(temperature, top_p, seed)
    return np.array([sampler.choose(LOGITS) for _ in range(count)])


def test_without_temperature_the_most_likely_token_follows_and_the_first_of_equals() -> None:
    assert set(drawn(0.0, 1.0, 5)) == {1}
    assert Sampler(0.0, 1.0, 0).choose(np.array([1.0, 3.0, 3.0], np.float32)) == 1


def test_tokens_are_drawn_by_their_probability() -> None:
    shares = np.bincount(drawn(1.0, 1.0), minlength=4) / 4000
    np.testing.assert_allclose(shares, [0.05, 0.5, 0.15, 0.3], atol=0.03)  # about four standard deviations


def test_temperature_sharpens() -> None:
    shares = np.bincount(drawn(0.5, 1.0), minlength=4) / 4000
    squares = np.array([0.05, 0.5, 0.15, 0.3]) ** 2
    np.testing.assert_allclose(shares, squares / squares.sum(), atol=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {1}), (0.51, {1, 3}), (0.94, {1, 2, 3}), (1.0, {0, 1, 2, 3})])
def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p(top_p: float, kept: set[int]) -> None:
    tokens = drawn(1.0, top_p)
    assert set(tokens) == kept
    probabilities = np.array([0.05, 0.5, 0.15, 0.3])
    share = probabilities[3] / probabilities[list(kept)].sum() if 3 in kept else 0.0
    assert np.mean(tokens == 3) == pytest.approx(share, abs=0.03)


def test_a_seed_repeats_and_another_differs() -> None:
    np.testing.assert_array_equal(drawn(1.0, 0.9, 50, seed=7), drawn(1.0, 0.9, 50, seed=7))
    assert not np.array_equal(drawn(1.0, 0.9, 50, seed=7), drawn(1.0, 0.9, 50, seed=8))


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30), st.floats(1e-6, 1e6), st.floats(1e-9, 1.0))
def test_any_logits_give_a_token_of_the_vocabulary(logits: list[float], temperature: float, top_p: float) -> None:
    token = Sampler(temperature, top_p, 0).choose(np.array(logits, np.float32))
    assert 0 <= token < len(logits)


@pytest.mark.parametrize(
    ("temperature", "top_p", "seed", "sentence"),
    [
        (-1.0, 1.0, 0, "--temperature is -1.0; it must be 0 or more."),
        (float("nan"), 1.0, 0, "--temperature is nan"),
        (1.0, 0.0, 0, "--top-p is 0.0; it must be above 0 and at most 1."),
        (1.0, 1.5, 0, "--top-p is 1.5"),
        (1.0, 1.0, -1, "--seed is -1"),
    ],
)
def test_what_cannot_be_sampled_is_refused(temperature: float, top_p: float, seed: int, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence.replace(".", r"\.")):
        Sampler(temperature, top_p, seed)
