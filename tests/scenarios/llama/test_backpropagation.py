"""Training a Llama by hand: gradients against differences, split against whole, and the loss goes down."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
from llama_examples import LargeRandomWeights, logits_of_rank, tiny_config
from numpy.typing import NDArray

from cluster.communicator import Communicator
from cluster.ranks import run_ranks
from scenarios.llama import LlamaConfig, Weights, load_weights
from scenarios.llama.backpropagation import TrainingRank
from scenarios.llama.number_format import Float32
from scenarios.llama.optimizer import AdamW, parameters
from scenarios.llama.weights import LayerWeights, WeightSource

TOKENS = np.random.default_rng(3).integers(307, size=(2, 9))
LARGEST_CHANGE = 1e-3


@dataclass
class Alone:
    """The only rank: nothing to exchange, so that float64 stays."""

    rank: int = 0
    ranks: int = 1


@dataclass(frozen=True)
class Arrays:
    """Whole arrays as a source, so that a rank's part of gradients is cut as its part of weights is."""

    config: LlamaConfig
    whole: Weights[np.float32]

    def tensor(self, name: str, layer: int | None, rows: slice) -> Float32:
        holder = self.whole if layer is None else self.whole.layers[layer]
        found: Float32 = getattr(holder, name)
        return found[rows]


def in_float64(weights: Weights[np.float32]) -> Weights[np.float64]:
    def wide(values: Float32) -> NDArray[np.float64]:
        return values.astype(np.float64)

    layers = [
        LayerWeights(**{field.name: wide(getattr(layer, field.name)) for field in fields(layer)})
        for layer in weights.layers
    ]
    embedding = wide(weights.embedding)
    head = embedding if weights.head is weights.embedding else wide(weights.head)
    return Weights(embedding, layers, wide(weights.final_norm), head, weights.first_token)


def gradients_of_rank(
    communicator: Communicator, source: WeightSource, tokens: NDArray[np.int64]
) -> tuple[float, Weights[np.float32]]:
    weights = load_weights(source, communicator.ranks, communicator.rank)
    return TrainingRank(source.config, weights, communicator).loss_and_gradients(tokens)


def trained_rank(
    communicator: Communicator, source: WeightSource, tokens: NDArray[np.int64], steps: int
) -> tuple[list[float], Weights[np.float32]]:
    weights = load_weights(source, communicator.ranks, communicator.rank)
    rank = TrainingRank(source.config, weights, communicator)
    # A large epsilon: else the first step is the gradient's sign, which rounding decides where there is no gradient.
    optimizer = AdamW(weights, learning_rate=LARGEST_CHANGE, epsilon=1e-3)
    losses = []
    for _ in range(steps):
        loss, gradients = rank.loss_and_gradients(tokens)
        losses.append(loss)
        optimizer.step(gradients)
    return losses, weights


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_equal_central_differences(tied: bool) -> None:
    config = tiny_config(tied_embeddings=tied, vocabulary=53)
    weights = in_float64(load_weights(LargeRandomWeights(config), 1, 0))
    rank = TrainingRank(config, weights, Alone())  # type: ignore[arg-type]
    tokens = TOKENS % 53
    _, gradients = rank.loss_and_gradients(tokens)
    generator, step = np.random.default_rng(0), 1e-5
    for values, found in zip(parameters(weights), parameters(gradients), strict=True):
        direction = generator.standard_normal(values.shape)
        ends = []
        for sign in (1, -1):
            values += sign * step * direction
            ends.append(rank.loss_and_gradients(tokens)[0])
            values -= sign * step * direction
        assert np.sum(found * direction) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ranks", [3, 6, 12])
def test_split_gradients_equal_the_unsplit_in_float64(ranks: int, tied: bool) -> None:
    config = tiny_config(tied_embeddings=tied)
    source = LargeRandomWeights(config)
    whole = TrainingRank(config, in_float64(load_weights(source, 1, 0)), Alone())  # type: ignore[arg-type]
    loss, expected = whole.loss_and_gradients(TOKENS)
    results = run_ranks(gradients_of_rank, source, TOKENS, count=ranks)
    for number, (split_loss, found) in enumerate(results):
        assert split_loss == pytest.approx(loss, rel=1e-6)
        mine = load_weights(Arrays(config, expected), ranks, number)  # type: ignore[arg-type]
        for part, wanted in zip(parameters(found), parameters(mine), strict=True):
            np.testing.assert_allclose(part, wanted, atol=2e-5 * np.abs(wanted).max() + 1e-9)


def test_every_rank_has_the_same_bits_where_it_holds_the_same_weights() -> None:
    results = run_ranks(gradients_of_rank, LargeRandomWeights(tiny_config()), TOKENS, count=6)
    for rank in range(0, 6, 2):
        mine, neighbour = results[rank][1].layers[0], results[rank + 1][1].layers[0]
        np.testing.assert_array_equal(mine.key, neighbour.key)
        np.testing.assert_array_equal(mine.mlp_norm, neighbour.mlp_norm)
        assert not np.array_equal(mine.query, neighbour.query)


def test_one_optimizer_step_split_equals_the_unsplit() -> None:
    config = tiny_config()
    source = LargeRandomWeights(config)
    ((_, whole),) = run_ranks(trained_rank, source, TOKENS, 1, count=1)
    untrained = load_weights(source, 1, 0)
    for number, (_, found) in enumerate(run_ranks(trained_rank, source, TOKENS, 1, count=3)):
        expected = load_weights(Arrays(config, whole), 3, number)
        before = load_weights(Arrays(config, untrained), 3, number)
        for part, wanted, old in zip(parameters(found), parameters(expected), parameters(before), strict=True):
            np.testing.assert_allclose(part, wanted, rtol=3e-7, atol=1e-3 * LARGEST_CHANGE)
            assert np.abs(part - old).max() > 0.3 * LARGEST_CHANGE


def test_training_lowers_the_loss_alike_on_any_number_of_ranks() -> None:
    source = LargeRandomWeights(tiny_config())
    whole = run_ranks(trained_rank, source, TOKENS, 8, count=1)[0][0]
    split = run_ranks(trained_rank, source, TOKENS, 8, count=3)[0][0]
    assert whole[-1] < 0.8 * whole[0]
    np.testing.assert_allclose(split, whole, rtol=1e-3)


def test_the_loss_is_that_of_the_inference_logits() -> None:
    source = LargeRandomWeights(tiny_config())
    (logits,) = run_ranks(logits_of_rank, source, [TOKENS[0, :-1]], count=1)
    wide = logits.astype(np.float64)
    expected = np.log(np.exp(wide).sum(axis=-1)) - wide[np.arange(8), TOKENS[0, 1:]]
    ((loss, _),) = run_ranks(gradients_of_rank, source, TOKENS[:1], count=1)
    assert loss == pytest.approx(expected.mean(), rel=1e-6)


def test_adamw_takes_the_step_of_its_paper() -> None:
    weights = load_weights(LargeRandomWeights(tiny_config()), 1, 0)
    before = [values.astype(np.float64) for values in parameters(weights)]
    gradients = load_weights(LargeRandomWeights(tiny_config(), seed=1), 1, 0)
    optimizer = AdamW(weights, learning_rate=0.1, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.5)
    for _ in range(2):
        optimizer.step(gradients)
    for values, old, gradient in zip(parameters(weights), before, parameters(gradients), strict=True):
        moved = old
        for _ in range(2):  # equal gradients: the corrected mean is the gradient, the corrected square its square
            decayed = moved * (1 - 0.1 * 0.5) if old.ndim > 1 else moved
            moved = decayed - 0.1 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(values, moved, atol=1e-5)
