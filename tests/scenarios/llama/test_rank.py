"""A Llama split over ranks computes what the whole one computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_examples import LargeRandomWeights, logits_of_rank, tiny_config

from cluster.local import Group, ThreadCommunicator
from cluster.ranks import Executor, run_ranks
from scenarios.errors import ScenarioError
from scenarios.llama import LlamaRank, load_weights
from scenarios.llama.checkpoints.random_weights import RandomWeights
from scenarios.llama.config import LlamaConfig, named_config
from scenarios.llama.number_format import round_to_bfloat16
from scenarios.llama.optimizer import parameters
from scenarios.llama.weights import LayerWeights, rank_bytes
from scenarios.workload.model import shard

TOKENS = np.random.default_rng(5).integers(307, size=20).tolist()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ranks", [3, 6, 12])
def test_split_logits_equal_the_unsplit(ranks: int, tied: bool) -> None:
    source = LargeRandomWeights(tiny_config(tied_embeddings=tied))
    (whole,) = run_ranks(logits_of_rank, source, [TOKENS], count=1)
    split = run_ranks(logits_of_rank, source, [TOKENS], count=ranks)
    assert all(np.array_equal(logits, split[0]) for logits in split)
    assert np.abs(whole).max() > 1
    np.testing.assert_allclose(split[0], whole, atol=2e-5)


def test_mpi_ranks_compute_the_same_bits_as_threads() -> None:
    source = LargeRandomWeights(tiny_config())
    threads = run_ranks(logits_of_rank, source, [TOKENS[:6], TOKENS[6:7]], count=3)
    processes = run_ranks(logits_of_rank, source, [TOKENS[:6], TOKENS[6:7]], count=3, executor=Executor("mpi"))
    for here, there in zip(threads, processes, strict=True):
        np.testing.assert_array_equal(here, there)


@given(st.lists(st.integers(1, 19), max_size=4))
@settings(max_examples=20)
def test_tokens_in_steps_through_the_cache_equal_all_at_once(cuts: list[int]) -> None:
    source = LargeRandomWeights(tiny_config())
    steps = [part.tolist() for part in np.split(np.array(TOKENS), sorted(set(cuts)))]
    (at_once,) = run_ranks(logits_of_rank, source, [TOKENS], count=1)
    (in_steps,) = run_ranks(logits_of_rank, source, steps, count=1)
    np.testing.assert_allclose(in_steps, at_once, atol=2e-5)


def test_bfloat16_stays_near_float32_and_on_its_grid() -> None:
    source = LargeRandomWeights(tiny_config())
    (exact,) = run_ranks(logits_of_rank, source, [TOKENS], count=1)
    (rounded,) = run_ranks(logits_of_rank, source, [TOKENS], "bf16", count=1)
    np.testing.assert_array_equal(rounded, round_to_bfloat16(rounded))
    error = np.sqrt(np.mean((rounded - exact) ** 2) / np.mean(exact**2))
    assert 1e-4 < error < 0.05


def test_together_the_ranks_hold_every_weight_once() -> None:
    config = tiny_config()
    (whole,) = (load_weights(RandomWeights(config, 0), 1, 0),)
    parts = [load_weights(RandomWeights(config, 0), 3, rank) for rank in range(3)]
    axes = {"query": 0, "key": 0, "value": 0, "gate": 0, "up": 0, "output": 1, "down": 1}
    for name, axis in axes.items():
        joined = np.concatenate([getattr(part.layers[1], name) for part in parts], axis=axis)
        np.testing.assert_array_equal(joined, getattr(whole.layers[1], name))
    rows = np.concatenate([part.embedding for part in parts])
    np.testing.assert_array_equal(rows[:307], whole.embedding)
    assert not rows[307:].any()
    assert set(axes) | {"attention_norm", "mlp_norm"} == set(LayerWeights.__dataclass_fields__)


def test_ranks_beyond_the_kv_heads_share_them_in_order() -> None:
    config = tiny_config()
    whole = load_weights(RandomWeights(config, 0), 1, 0).layers[0].key
    for rank in range(6):
        held = load_weights(RandomWeights(config, 0), 6, rank).layers[0].key
        np.testing.assert_array_equal(held, whole[4 * (rank // 2) : 4 * (rank // 2) + 4])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("ranks", [1, 3, 6])
def test_a_rank_holds_the_bytes_that_are_asked_for(ranks: int, tied: bool) -> None:
    config = tiny_config(tied_embeddings=tied)
    weights = load_weights(RandomWeights(config, 0), ranks, 0)
    cache = LlamaRank(config, weights, ThreadCommunicator(Group(ranks, 60.0), 0), capacity=20).cache
    held = sum(values.nbytes for values in parameters(weights)) + cache.keys.nbytes + cache.values.nbytes
    assert held == rank_bytes(config.model, shard(config.model, ranks), 20)


def test_counts_that_do_not_divide_the_heads_are_refused() -> None:
    with pytest.raises(ScenarioError, match="counts that divide it: 1, 3, 6, 12"):
        load_weights(RandomWeights(tiny_config(), 0), 4, 0)


def test_other_families_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"qwen3-8b is not of the Llama family"):
        named_config("qwen3-8b")


def test_a_catalog_model_has_its_shape_and_usual_constants() -> None:
    config: LlamaConfig = named_config("llama-3.2-1b")
    assert (config.model.hidden, config.inverse_frequencies.shape) == (2048, (32,))
