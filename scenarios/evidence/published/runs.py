"""Predictions for published end-to-end runs: one row of a table in, seconds out.

Belongs here: how a row (its framework, launch mode, batch, parallel split) becomes a point of the simulator. A row that
the simulator has no model for raises ``Unpredictable`` with the reason, and is counted, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chips.clock.time import PICOSECONDS_PER_SECOND
from chips.spec import CatalogError, Gpu
from scenarios.assignment import Assignment, assign
from scenarios.errors import DoesNotFit, ScenarioError, Unpredictable
from scenarios.framework import Framework, framework_named
from scenarios.memory import sequences_that_fit
from scenarios.point import Point, make_point
from scenarios.pricing import Prices, price
from scenarios.strategies.one_pass import pass_parts
from scenarios.training.run import run_training
from scenarios.training.stages import training_work
from scenarios.workload.model import load_model
from scenarios.workload.operators import Step
from scenarios.workload.parallel import Parallel, Recompute

Row = Mapping[str, Any]

STRATEGY_OF_LAUNCH = {
    "eager": ("per_operator", "eager"),
    "eager_compiled": ("per_operator", "compiled"),
    "graph": ("per_operator", "graph"),
    "graph_pdl": ("per_operator", "pdl"),
    "eager_pdl": ("per_operator", "pdl"),  # by a native loop, which issues kernels faster than they run
    "loop": ("kernel_loop", "graph"),
}

ADAPTERS = "lora,rank=32,products=qkv"  # NeMo's default in 2024 [recalled]; rows do not say
TRAINING_LAUNCH = {"eager": "eager", "compile": "compiled", "graph": "graph"}

CHUNK_DECODERS = 4  # decoders of a chunk in an interleaved pipeline, as Megatron's recipes choose


def price_inference(row: Row) -> Prices:
    """One row of ``inference.csv`` priced: an output token, the first token, or a whole static batch.

    Batches that run one after the other, because the KV cache of all does not fit at once, are a point each.
    """
    if int(row["n_chips"]) != int(row["tp"]):
        raise Unpredictable(f"{row['n_chips']} chips in tensor-parallel groups of {row['tp']}")
    if row["launch"] not in STRATEGY_OF_LAUNCH:
        raise Unpredictable(f"launch mode '{row['launch']}'")
    strategy, launch = STRATEGY_OF_LAUNCH[row["launch"]]
    prompt, output = int(row["input_tokens"]), int(row["output_tokens"])
    context = {"decode": prompt + output // 2, "prefill": prompt, "request": prompt + output}.get(row["phase"])
    if context is None:
        raise Unpredictable(f"phase '{row['phase']}'")
    try:
        point = make_point(
            row["model"],
            row["chip"],
            int(row["tp"]),
            phase=row["phase"],
            strategy=strategy,
            launch=launch,
            batch=int(row["batch"]),
            context=context,
            output_tokens=output if row["phase"] == "request" else None,
            framework=framework_named(str(row.get("framework", ""))).name,
        )
        prices = price([replace(point, batch=batch) for batch in _waves(point)])
        for refusal in prices.refusals.values():
            raise refusal
    except (ScenarioError, CatalogError, DoesNotFit) as refusal:
        raise Unpredictable(str(refusal)) from None
    return prices


def _waves(point: Point) -> list[int]:
    """Batches in which a static batch runs one after the other, because the KV cache of all does not fit at once."""
    room = sequences_that_fit(assign(point))
    if room < 1:
        return [point.batch]  # the memory check then says what is needed and what is there
    full, rest = divmod(point.batch, room)
    return [room] * full + ([rest] if rest else [])


def predict_training(row: Row) -> float:
    """Seconds of one row of ``training.csv``: a decoder or the model forward, backward or both, or a whole step."""
    assignment = assign(_training_point(row))
    if row["what"] == "step":
        return run_training(assignment).seconds  # whether it fits the memory was the publisher's business
    work = training_work(assignment)
    if row["what"] == "model_fwd_bwd":
        return sum(_pass_seconds(assignment, step) for step in (work.forward, work.backward))
    forward_seconds, backward_seconds = (_layer_seconds(assignment, step) for step in (work.forward, work.backward))
    layers = {
        "layer_forward": forward_seconds,
        "layer_backward": backward_seconds,
        "layer_fwd_bwd": forward_seconds + backward_seconds,
    }
    if row["what"] not in layers:
        raise Unpredictable(f"what '{row['what']}'")
    return layers[row["what"]]


def _training_point(row: Row) -> Point:
    tensor, stages, groups, replicas = (int(row[name]) for name in ("tp", "pp", "cp", "dp"))
    batch, micro_batch = int(row["global_batch"]), int(row["micro_batch"])
    framework = framework_named(f"{_word(row, 'framework')} {row['source']}", "train")
    recompute, sequence = _recompute(str(row["recompute"]), framework)
    try:
        model = load_model(str(row["model"]))
        chunks = max(1, round(model.layers / stages / CHUNK_DECODERS))
        plain = _word(row, "schedule") and "interleaved" not in _word(row, "schedule").lower()
        if stages == 1 or batch // (micro_batch * replicas) % stages or plain:
            chunks = 1
        parallel = Parallel(tensor, stages, groups, micro_batch, chunks, recompute, sequence)
        point = make_point(
            model,
            str(row["chip"]),
            tensor * stages * groups * replicas,
            phase="train",
            batch=batch,
            context=int(row["seq_len"]),
            precision=str(row["precision"]),
            framework=framework.name,
            launch=TRAINING_LAUNCH.get(_word(row, "launch"), "graph"),
            parallel=str(parallel),
            sharding=_word(row, "sharding") or None,
            collectives="overlapped" if _word(row, "overlap") == "tensor" else None,
            method=ADAPTERS if _word(row, "method") == "lora" else "full",
        )
    except (ScenarioError, CatalogError) as refusal:
        raise Unpredictable(str(refusal)) from None
    if not isinstance(point.chip, Gpu):
        raise Unpredictable(f"training on {point.chip.name}")
    return point


def _layer_seconds(assignment: Assignment, step: Step) -> float:
    """What one more decoder adds to a pass."""
    layers = assignment.point.model.layers
    one, two = (_pass_seconds(assignment, step.part(number, layers)) for number in (1, 2))
    return two - one


def _pass_seconds(assignment: Assignment, step: Step) -> float:
    point = assignment.point
    assert isinstance(point.chip, Gpu)
    parts = pass_parts(point.chip, assignment.shard.ranks, "per_operator", point.launch, point.framework, step)
    return sum(parts.values()) / PICOSECONDS_PER_SECOND


def _word(row: Row, column: str) -> str:
    """What a row says in a column that a table may be without."""
    value = row.get(column, "")
    return value if isinstance(value, str) else ""


def _recompute(text: str, framework: Framework) -> tuple[Recompute, bool]:
    """(recompute, sequence parallelism) from a published description such as ``selective + SP``."""
    words = text.lower()
    sequence = ("sequence parallel" in words or "sp" in words.replace("+", " ").replace(",", " ").split()) and (
        "no sp" not in words
    )
    sequence = sequence or framework.sequence
    if "full" in words:
        return "full", sequence
    return (framework.selective if "selective" in words else "none"), sequence
