"""Predictions for published end-to-end runs: one row of a table in, seconds out.

Belongs here: how a row (its framework, launch mode, batch, parallel split) becomes a point of the simulator. A row that
the simulator has no model for raises ``Unpredictable`` with the reason, and is counted, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chips.spec import CatalogError, Gpu, load_chip
from scenarios.errors import DoesNotFit, ScenarioError, Unpredictable
from scenarios.framework import Framework, framework_named
from scenarios.memory import sequences_that_fit
from scenarios.model import load_model, shard
from scenarios.operators import ACTIVATION_BYTES, Step
from scenarios.point import Point, make_point
from scenarios.pricing import run_point
from scenarios.records import Outcome
from scenarios.step_time import step_seconds
from scenarios.training import Recompute, training_step

Row = Mapping[str, Any]

STRATEGY_OF_LAUNCH = {
    "eager": ("per_operator", "eager"),
    "graph": ("per_operator", "graph"),
    "loop": ("kernel_loop", "graph"),
}

CHUNK_DECODERS = 4  # decoders of a chunk in an interleaved pipeline, as Megatron's recipes choose


def predict_inference(row: Row) -> float:
    """Seconds of one row of ``inference.csv``: an output token, the first token, or a whole static batch."""
    _, outcomes = run_inference(row)
    return sum(outcome.seconds for outcome in outcomes)


def run_inference(row: Row) -> tuple[Point, list[Outcome]]:
    """The point of one row of ``inference.csv``, and what each of the batches took that run one after the other."""
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
        return point, [run_point(replace(point, batch=batch)) for batch in _waves(point)]
    except (ScenarioError, CatalogError, DoesNotFit) as refusal:
        raise Unpredictable(str(refusal)) from None


def _waves(point: Point) -> list[int]:
    """Batches in which a static batch runs one after the other, because the KV cache of all does not fit at once."""
    room = sequences_that_fit(point, shard(point.model, point.count))
    if room < 1:
        return [point.batch]  # the memory check then says what is needed and what is there
    full, rest = divmod(point.batch, room)
    return [room] * full + ([rest] if rest else [])


def predict_training(row: Row) -> float:
    """Seconds of one row of ``training.csv``: one decoder forward, backward or both, or a whole step."""
    chip, model = load_chip(str(row["chip"])), load_model(str(row["model"]))
    framework = framework_named(str(row["source"]), "train")
    if not isinstance(chip, Gpu):
        raise Unpredictable(f"training on {chip.name}")
    ranks, stages, replicas = int(row["tp"]), int(row["pp"]), int(row["dp"])
    recompute, sequence = _recompute(str(row["recompute"]))
    micro_batch, length = int(row["micro_batch"]), int(row["seq_len"])
    try:
        split = shard(model, ranks)
        work = training_step(
            model,
            split,
            micro_batch,
            length,
            row["precision"],
            recompute=recompute,
            sequence=sequence,
            fused_attention=framework.fused_attention,
            fused_add=False,
            context_parallel=int(row["cp"]),
        )
    except (ScenarioError, CatalogError) as refusal:
        raise Unpredictable(str(refusal)) from None
    forward_seconds, backward_seconds = (
        _layer_seconds(chip, ranks, step, framework) for step in (work.forward, work.backward)
    )
    if row["what"] != "step":
        layers = {
            "layer_forward": forward_seconds,
            "layer_backward": backward_seconds,
            "layer_fwd_bwd": forward_seconds + backward_seconds,
        }
        if row["what"] not in layers:
            raise Unpredictable(f"what '{row['what']}'")
        return layers[row["what"]]
    micro_batches = int(row["global_batch"]) // (micro_batch * replicas)
    own_layers = model.layers / stages
    ends = sum(step_seconds(chip, ranks, replace(step, layers=0), framework) for step in (work.forward, work.backward))
    chunks = max(1, round(own_layers / CHUNK_DECODERS)) if stages > 1 else 1
    activations = micro_batch * length * model.hidden * ACTIVATION_BYTES / (ranks * int(row["cp"]))
    sends = 2 * chunks * send_seconds(chip, ranks * int(row["cp"]), activations) if stages > 1 else 0.0
    busy = own_layers * (forward_seconds + backward_seconds) + sends
    optimizer = step_seconds(chip, ranks, work.optimizer, framework) / stages
    # Every micro-batch waits for the slowest stage: the last, which has the logits beside its decoders.
    return pipeline_seconds(busy, micro_batches, stages, chunks) + micro_batches * ends + optimizer


def send_seconds(chip: Gpu, stage_chips: int, payload_bytes: float) -> float:
    """A stage's chips each send their share of a micro-batch's activations on, and receive one, before they go on.

    The ranks of a tensor-parallel group hold the same activations and send a share each (Narayanan et al. 2021, 4.1).
    """
    link = chip.link
    if 2 * stage_chips <= link.domain:
        return payload_bytes / link.bandwidth
    return link.network_latency + payload_bytes / link.network_bandwidth


def pipeline_seconds(busy: float, micro_batches: int, stages: int, chunks: int) -> float:
    """A step of an interleaved one-forward-one-backward pipeline, seconds (Narayanan et al. 2021, arXiv 2104.04473).

    ``busy`` is one micro-batch's forward and backward on one stage; the bubble is (stages - 1) / chunks of it.
    """
    return busy * micro_batches + busy * (stages - 1) / chunks


def _layer_seconds(chip: Gpu, ranks: int, step: Step, framework: Framework) -> float:
    """What one more decoder adds to a pass."""
    one, two = (step_seconds(chip, ranks, replace(step, layers=layers), framework) for layers in (1, 2))
    return two - one


def _recompute(text: str) -> tuple[Recompute, bool]:
    """(recompute, sequence parallelism) from a published description such as ``selective + SP``."""
    words = text.lower()
    sequence = ("sequence parallel" in words or "sp" in words.replace("+", " ").replace(",", " ").split()) and (
        "no sp" not in words
    )
    if "full" in words:
        return "full", sequence
    return ("selective" if "selective" in words else "none"), sequence
