"""FLOPs of a model in closed form against the operators that its passes are made of."""

from __future__ import annotations

import pytest

from scenarios.assignment import assign
from scenarios.passes import passes_of
from scenarios.point import make_point
from scenarios.workload.decoder import forward
from scenarios.workload.flops import model_flops
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Attention, MatrixProduct

MODELS = ("llama-3.1-8b", "gpt-22b", "qwen3-8b")


def computed(step):
    """FLOPs of matrix products and attention."""
    return step.total(lambda operator: operator.flops if isinstance(operator, MatrixProduct | Attention) else 0.0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", ["decode", "prefill", "request"])
def test_the_passes_of_inference_compute_what_the_model_needs(model, phase):
    point = make_point(model, "h100", 1, phase=phase, batch=3, context=1000)
    steps = passes_of(assign(point))
    total = sum(sum(computed(step)) if passes > 1 else computed(step) for step, passes in steps)
    assert total == pytest.approx(model_flops(point.model, phase, 3, 1000, point.output_tokens), rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_a_training_step_needs_three_times_its_forward_pass(model):
    shape = load_model(model)
    ahead = forward(shape, shard(shape, 1), 2, 512, 512, every_logit=True)
    assert model_flops(shape, "train", 2, 512) == pytest.approx(3 * computed(ahead), rel=1e-12)
