"""A generation from Python: every token has its times, which add up to the priced request."""

from __future__ import annotations

import pytest
from llama_examples import LargeRandomWeights, tiny_config, write_gguf

from scenarios.llama import Generation, open_vocabulary, open_weights
from scenarios.llama.simulated_time import SimulatedMachine
from scenarios.llama.timed_generation import generate_timed
from scenarios.point import make_point


def test_tokens_and_their_times_come_together_and_add_up(tmp_path):
    path = str(tmp_path / "tiny.gguf")
    write_gguf(path, LargeRandomWeights(tiny_config(vocabulary=256)), chat_template="{{ messages[0]['content'] }}")
    source = open_weights(path)
    vocabulary, model = open_vocabulary(source), source.config.model
    request = Generation(weights=path, prompt=tuple(vocabulary.encode("hello")), tokens=4)
    machine = SimulatedMachine(make_point(model, "sn40l", 3, phase="request", strategy="kernel_loop", context=2))
    heard: list[str] = []
    found = generate_timed(request, vocabulary, [machine], on_token=lambda text, seconds: heard.append(text))
    assert heard == found.texts
    assert len(found.tokens) == len(found.computed) == 4
    assert sum(found.simulated[machine.name]) == pytest.approx(found.requests["seconds"].iloc[0], rel=1e-9)
    assert [token["token"] for token in found.record()["tokens"]] == found.tokens
