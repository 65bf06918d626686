"""Plans: the search against every point priced, bounds against times, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loopline import compare, plan
from scenarios.assignment import assign
from scenarios.cost import with_cost
from scenarios.errors import ScenarioError
from scenarios.memory import needed_bytes
from scenarios.planning import layouts
from scenarios.planning.bound import least_step_ps
from scenarios.planning.layouts import training_layouts
from scenarios.planning.plan import Storage
from scenarios.planning.search import best_of, shortlist
from scenarios.point import make_point
from scenarios.pricing import price
from scenarios.running import run
from scenarios.training.stages import TrainingStages

SMALL = {"context": 2048, "framework": "training"}


@pytest.fixture(autouse=True)
def few_layouts(monkeypatch):
    """Spaces that are small enough to price every layout."""
    monkeypatch.setattr(layouts, "MOST_CONTEXT_GROUPS", 2)
    monkeypatch.setattr(layouts, "MOST_AT_ONCE", 2)


def every_layout(model, chip, count, batch, **options):
    """All layouts of a step that fit, as points."""
    step = make_point(model, chip, count, phase="train", batch=batch, **options)
    points = [replace(step, parallel=layout) for layout in training_layouts(step.chip, step.model, count, batch, 2048)]
    return [point for point in points if needed_bytes(assign(point)) <= step.chip.memory.capacity_bytes]


@pytest.mark.parametrize(
    ("model", "count", "batch", "framework"),
    [("llama-3.2-1b", 8, 16, "training"), ("gpt-22b", 16, 8, "megatron-2022")],
)
def test_the_best_layouts_are_those_of_all_that_are_priced(model, count, batch, framework):
    points = every_layout(model, "h100", count, batch, context=2048, framework=framework)
    priced = [outcome.seconds for outcome in price(points).outcomes]
    best = np.array(priced)[np.argsort(priced, kind="stable")][:5]
    found = plan(model, "h100", count, global_batch=batch, keep=5, context=2048, framework=framework)
    assert found.frame["seconds"].head(5).tolist() == best.tolist()
    assert found.fitting == len(points) > 1.5 * len(found.frame)


@pytest.mark.parametrize(
    ("model", "chip", "count", "batch", "options"),
    [
        ("llama-3.2-1b", "h100", 16, 32, {"strategy": "per_operator"}),
        ("llama-3.2-1b", "a100", 16, 32, {"strategy": "per_operator", "launch": "eager"}),
        ("llama-3.2-1b", "h100", 16, 32, {"strategy": "per_operator", "collectives": "overlapped"}),
        ("llama-3.2-1b", "h100", 16, 32, {"strategy": "kernel_loop"}),
        ("llama-3.2-1b", "h100", 16, 32, {"framework": "torchtitan", "launch": "compiled"}),
        ("llama-3.2-1b", "h100", 16, 32, {"framework": "transformers", "launch": "eager", "sharding": "zero3"}),
        ("llama-3.2-1b", "sn40l", 8, 16, {"strategy": "fused_decoder"}),
    ],
)
def test_no_layout_beats_its_bound(model, chip, count, batch, options):
    points = every_layout(model, chip, count, batch, context=2048, **options)
    chosen = points[:: max(1, len(points) // 12)]
    held = [least_step_ps(TrainingStages(assign(point))) / run(assign(point)).ps for point in chosen]
    assert max(held) <= 1.0
    assert np.median(held) > 0.4


def test_of_several_chips_and_counts_the_best_of_all():
    found = plan(
        "llama-3.2-1b", ["h100", "a100"], [2, 4], global_batch=8, goal="throughput", keep=3, context=2048
    ).frame
    points = [
        point
        for chip in ("h100", "a100")
        for n in (2, 4)
        for point in every_layout("llama-3.2-1b", chip, n, 8, context=2048)
    ]
    each = [
        8 * 2048 / outcome.seconds / point.count for point, outcome in zip(points, price(points).outcomes, strict=True)
    ]
    assert found["tokens_per_s_chip"].head(3).tolist() == pytest.approx(sorted(each, reverse=True)[:3], rel=1e-12)


@pytest.mark.parametrize("framework", ["training", "torchtitan"])
def test_the_layouts_of_most_tokens_a_joule_are_those_of_all(framework):
    points = every_layout("llama-3.2-1b", "h100", 4, 8, context=2048, framework=framework)
    every = price(points).frame()["joules_per_token"].sort_values().head(3).tolist()
    asked = {"global_batch": 8, "goal": "joules", "keep": 3, "context": 2048, "framework": framework}
    found = plan("llama-3.2-1b", "h100", 4, **asked)
    assert found.frame["joules_per_token"].head(3).tolist() == every
    assert len(found.frame) < len(points)


@pytest.mark.parametrize("keep", [1, 3, 20])
def test_a_search_is_a_sort_of_all(keep):
    numbers = np.random.default_rng(1)
    exact = numbers.integers(0, 30, 100)
    bounds = [(float(number),) for number in exact - numbers.integers(0, 8, 100)]
    asked = []

    def score(number):
        asked.append(number)
        return (float(exact[number]),)

    best = np.argsort(exact, kind="stable")[:keep].tolist()
    assert [exact[number] for number in best_of(bounds, score, keep)] == [exact[number] for number in best]
    assert len(asked) < 100
    assert {exact[number] for number in best} <= {exact[number] for number in shortlist(bounds, score, keep)}


def test_serving_is_the_best_of_a_comparison():
    asked = {"chips": ["h100", "l40s"], "count": [1, 2, 4], "context": 2048}
    frames = [compare("llama-3.1-8b", batch=batch, **asked) for batch in (1, 16, 64)]
    rows = [
        row for frame in frames for row in frame.to_dict("records") if row["fits"] and row["tokens_per_s_user"] >= 60
    ]
    found = plan("llama-3.1-8b", **asked, batch=[1, 16, 64], goal="chips", tokens_per_s_user=60).frame
    assert len(found) == len(rows)
    best = min(rows, key=lambda row: (row["count"], -row["tokens_per_s"]))
    assert found.iloc[0][["chip", "count", "strategy", "batch", "seconds"]].to_dict() == {
        name: best[name] for name in ("chip", "count", "strategy", "batch", "seconds")
    }


@pytest.mark.parametrize("prices", [{}, {"dollars_per_chip_hour": 0.1, "dollars_per_kilowatt_hour": 2.0}])
def test_the_layouts_of_most_tokens_a_dollar_are_those_of_all(prices):
    """Chips are dear by the list; where electricity is, its joules count."""
    points = [point for count in (2, 4) for point in every_layout("llama-3.2-1b", "h100", count, 8, context=2048)]
    every = with_cost(price(points).frame(), **prices)["cost"].sort_values().head(3).tolist()
    asked = {"global_batch": 8, "goal": "cost", "keep": 3, "context": 2048, **prices}
    found = plan("llama-3.2-1b", "h100", [2, 4], **asked).frame
    assert found["cost"].head(3).tolist() == pytest.approx(every, rel=1e-12)


def test_serving_in_stages_stands_beside_groups():
    asked = {"count": 8, "context": 2048, "batch": [1, 16], "strategy": "per_operator"}
    found = plan("llama-3.1-8b", "h100", **asked, stages=[1, 2, 4, 3]).frame  # eight chips make no three stages
    assert set(found["parallel"]) == {"", "pipeline=2", "pipeline=4"}
    for row in found.to_dict("records"):
        alone = compare(
            "llama-3.1-8b",
            "h100",
            8,
            batch=row["batch"],
            context=2048,
            strategy="per_operator",
            parallel=row["parallel"],
        )
        assert alone["seconds"].iloc[0] == row["seconds"]


def test_a_folder_keeps_what_was_priced_and_gives_the_same(tmp_path):
    asked = {"global_batch": 16, "keep": 4, **SMALL}
    here = plan("llama-3.2-1b", "h100", 8, **asked).frame.head(4)
    heard = []
    for _ in range(2):
        storage = Storage(tmp_path / "plan", workers=1)
        kept = plan(
            "llama-3.2-1b", "h100", 8, **asked, storage=storage, on_progress=lambda *told: heard.append(told)
        ).frame
        assert kept["seconds"].head(4).tolist() == here["seconds"].tolist()
        assert kept["parallel"].head(4).tolist() == here["parallel"].tolist()
    total, done, priced = heard[-1]
    assert (done, priced) == (total, 0)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"goal": "beauty"}, "--goal 'beauty' is unknown; expected one of time, "),
        ({"keep": 0}, "--keep is 0; it must be at least 1."),
        ({"tokens_per_s_user": 1e6}, "none of 123 points is within; the most, ... is of h100 x"),
        ({"tokens_per_s_user": -1.0}, "expected tokens a second, 0 or more"),
        ({"parallel": "tensor=8"}, "a plan takes no --parallel"),
        ({"global_batch": 8, "batch": 4}, "--batches are of serving"),
        ({"global_batch": 8, "count": 509}, "no layout divides so"),
        ({"global_batch": 1, "count": 1}, "none of 2 layouts fits; of that which needs least: llama-3.1-8b needs "),
        ({"goal": "cost", "dollars_per_chip_hour": -1.0}, "--dollars-per-chip-hour is -1; expected US dollars"),
        ({"stages": 0}, "--stages is 0; it must be at least 1."),
        ({"stages": 3, "count": 8}, "no --count can be dealt to so many --stages"),
        ({"global_batch": 8, "count": 8, "precision": "nvfp4"}, "nvfp4 is no precision of a training step"),
        ({"global_batch": 0, "count": 1}, "--global-batch is 0; it must be at least 1."),
    ],
)
def test_what_no_plan_is_for_is_refused_in_a_sentence(asked, sentence):
    with pytest.raises(ScenarioError, match=r"^[^\n]*$") as refused:
        plan("llama-3.1-8b", "h100", **{"context": 2048, "count": None} | asked)
    assert all(part in str(refused.value) for part in sentence.split("..."))
