"""How fast the real Llama computes here: a decode step, a prefill, a training step; the shape of SmolLM2's decoder."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cluster.communicator import Communicator
from cluster.ranks import run_ranks
from scenarios.llama import LlamaConfig, LlamaRank, load_weights
from scenarios.llama.backpropagation import TrainingRank
from scenarios.llama.checkpoints.random_weights import RandomWeights
from scenarios.llama.rotary import inverse_frequencies
from scenarios.workload.model import Model

SMOLLM2_DECODERS = Model(
    name="four-decoders",
    title="Four decoders of SmolLM2-135M",
    layers=4,
    hidden=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1536,
    vocabulary=4096,
    max_context=8192,
    gated_mlp=True,
    tied_embeddings=True,
    rotary=True,
    qk_norm=False,
    norm="rmsnorm",
    biases="none",
)
SOURCE = RandomWeights(LlamaConfig(SMOLLM2_DECODERS, 1e-5, inverse_frequencies(64)), seed=0)
PROMPT = np.arange(128)
DECODED = 16


loaded = cache(load_weights)  # by the warm-up round, so that only computing is measured


def decode(communicator: Communicator) -> None:
    weights = loaded(SOURCE, communicator.ranks, communicator.rank)
    rank = LlamaRank(SOURCE.config, weights, communicator, capacity=DECODED)
    for token in range(DECODED):
        rank.next_logits(np.array([token]))


@pytest.mark.parametrize("ranks", [1, 3])
def test_decode(benchmark: BenchmarkFixture, ranks: int) -> None:
    benchmark.pedantic(lambda: run_ranks(decode, count=ranks), rounds=3, warmup_rounds=1)


def prefill(communicator: Communicator) -> None:
    weights = loaded(SOURCE, communicator.ranks, communicator.rank)
    LlamaRank(SOURCE.config, weights, communicator, capacity=len(PROMPT)).next_logits(PROMPT)


def test_prefill(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(lambda: run_ranks(prefill, count=1), rounds=3, warmup_rounds=1)


def train(communicator: Communicator) -> None:
    weights = loaded(SOURCE, communicator.ranks, communicator.rank)
    TrainingRank(SOURCE.config, weights, communicator).loss_and_gradients(PROMPT[None])


def test_one_gradient(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(lambda: run_ranks(train, count=1), rounds=3, warmup_rounds=1)
