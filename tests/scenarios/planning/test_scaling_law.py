"""Scaling laws against themselves and what was published, and budgets against the steps that they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.spec import load_chip
from loopline import scaling_law
from results.pictures.planning.scaling_law import Curve
from results.pictures.planning.scaling_law import scaling_law as draw
from scenarios.errors import ScenarioError
from scenarios.planning.budget import model_of, training_for
from scenarios.planning.scaling_law import LAWS
from scenarios.workload.model import load_model

SMALL = {"global_batch": 32, "context": 2048}


@given(law=st.sampled_from(sorted(LAWS)), power=st.floats(15.5, 39.5))
def test_a_law_inverts_to_itself(law, power):
    there = LAWS[law].for_compute(10**power)
    back = LAWS[law].for_loss(there.loss)
    # Where the loss is all but irreducible, its last digits are what is left of the compute.
    kept = 1e-13 * there.loss / (there.loss - LAWS[law].irreducible) / 0.04
    assert back.compute == pytest.approx(there.compute, rel=max(1e-9, kept))
    assert 6 * there.parameters * there.tokens == pytest.approx(there.compute)


@given(law=st.sampled_from(["chinchilla", "chinchilla-2022"]), power=st.floats(18, 28), ratio=st.floats(0.3, 3.0))
def test_no_other_split_of_the_compute_ends_lower(law, power, ratio):
    best = LAWS[law].for_compute(10**power)
    assert LAWS[law].loss(best.parameters * ratio, best.tokens / ratio) >= best.loss * (1 - 1e-12)


def test_chinchilla_is_what_its_budget_is_best_spent_on():
    """70B parameters and 1.4T tokens for the compute of Gopher (Hoffmann et al. 2022), 20 tokens a parameter."""
    best = LAWS["chinchilla"].for_compute(6 * 70e9 * 1.4e12)
    assert best.parameters == pytest.approx(70e9, rel=0.06)
    assert best.tokens == pytest.approx(1.4e12, rel=0.06)


def test_the_law_as_first_printed_asks_for_more_tokens():
    """Table 3 of Hoffmann et al., approach 3: parameters with the power 0.46 of compute, tokens with 0.54."""
    low, high = (LAWS["chinchilla-2022"].for_compute(compute) for compute in (1e21, 1e25))
    assert (high.parameters / low.parameters) == pytest.approx(1e4**0.46, rel=0.1)
    assert (high.tokens / low.tokens) == pytest.approx(1e4**0.54, rel=0.1)


def test_kaplan_gives_compute_to_size():
    """Of ten times the compute 5.5 times the parameters and 1.8 times the tokens (Hoffmann et al. 2022, 1)."""
    low, high = (LAWS["kaplan"].for_compute(compute) for compute in (1e22, 1e23))
    assert high.parameters / low.parameters == pytest.approx(5.5, rel=0.03)
    assert high.tokens / low.tokens == pytest.approx(1.8, rel=0.05)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.1-70b"])
def test_a_model_of_that_many_parameters_is_shaped_as_llama(name):
    llama = load_model(name)
    made = model_of(llama.parameters)
    assert (made.layers, made.hidden, made.intermediate) == (llama.layers, llama.hidden, llama.intermediate)


@given(power=st.floats(9.5, 13.5))
def test_a_model_is_about_as_large_as_asked(power):
    assert model_of(10**power).parameters == pytest.approx(10**power, rel=0.05)


def test_chip_hours_are_the_compute_at_the_utilisation():
    prices = {"dollars_per_chip_hour": 2.0, "dollars_per_kilowatt_hour": 0.0}
    (record,) = scaling_law("h100", 8, compute=1e20, **prices, **SMALL)
    model, peak = model_of(record["parameters"]), load_chip("h100").peak_flops("bf16")
    # A law counts 6 FLOPs a parameter; MFU counts attention too, and no embedding, which is a sixth of this model.
    flops = record["chip_hours"] * 3600 * peak * record["mfu"]
    assert flops == pytest.approx(1e20, rel=0.2)
    assert record["days"] * 24 * 8 == pytest.approx(record["chip_hours"])
    assert record["dollars"] == pytest.approx(2 * record["chip_hours"])
    watts = record["joules"] / (record["chip_hours"] * 3600)
    assert 200 < watts <= 700  # between an idle H100 and its limit
    assert record["model"] == model.name


def test_the_picture_says_what_each_step_costs():
    curves = {
        name: Curve(
            lambda flops, law=law: law.for_compute(flops).loss,
            lambda loss, law=law: law.for_loss(loss).compute,
            law.irreducible,
        )
        for name, law in LAWS.items()
    }
    for law, loss in (("chinchilla", 2.0), ("chinchilla", 1.9), ("kaplan", 1.7)):
        picture = draw(curves, law, loss, 1e-23, "8 × h100")
        factors = [float(text.get_text()[1:]) for text in picture.axes[0].texts]
        assert len(factors) >= 3
        assert factors == sorted(factors)  # each costs more times as much than the one before


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"loss": 1.8}, "--loss is 1.8; by the law 'chinchilla' no compute goes below 1.8172 nats a token"),
        ({"loss": float("nan")}, "no compute goes below"),
        ({"loss": 20.0}, "--loss is 20; by the law 'chinchilla' trainings of 1e+15 to 1e+40 FLOPs end between"),
        ({}, "asked for either --loss or --compute"),
        ({"loss": 2.0, "compute": 1e23}, "asked for either --loss or --compute"),
        ({"compute": 5.0}, "--compute is 5; expected FLOPs from 1e+15 to 1e+40"),
        ({"loss": 2.0, "law": "moore"}, "--law 'moore' is unknown; expected one of chinchilla, "),
        ({"loss": 2.0, "dollars_per_chip_hour": -1.0}, "--dollars-per-chip-hour is -1; expected US dollars"),
        ({"compute": 1e26, "global_batch": 8, "context": 2048}, "layouts fits; of that which needs least"),
    ],
)
def test_what_no_law_tells_is_refused_in_a_sentence(asked, sentence):
    with pytest.raises(ScenarioError, match=r"^[^\n]*$") as refused:
        scaling_law("h100", 8, **asked)
    assert sentence in str(refused.value)


def test_a_training_is_asked_for_by_one_of_two():
    by_loss = training_for("chinchilla", 2.0, None)
    assert training_for("chinchilla", None, by_loss.compute) == by_loss
