"""Whether a point fits the off-chip memory of its chips: weights, KV cache, gradients, optimizer state, activations."""

from __future__ import annotations

from dataclasses import replace
from math import floor

from scenarios.errors import DoesNotFit
from scenarios.point import Point
from scenarios.workload.model import Shard, shard, tensor_parallel_counts
from scenarios.workload.operators import ACTIVATION_BYTES
from scenarios.workload.pipeline_schedule import decoders_of, most_kept, parameters_of
from scenarios.workload.training_step import GRADIENT_BYTES, OPTIMIZER_STATE_BYTES, WEIGHT_BYTES, kept_activation_bytes

KV_MEMORY_SHARE = 0.9  # of the memory that weights leave free, the part that serving frameworks give the KV cache


def needed_bytes(point: Point, shard: Shard) -> float:
    """What one of ``shard.ranks`` chips must hold for ``point``, in bytes."""
    model = point.model
    weights = model.weight_bytes(point.precision) / shard.ranks
    if point.phase == "train":
        return max(held_in_training(point, shard))
    token = 2.0 * model.layers * shard.kv_heads * model.head_dim * ACTIVATION_BYTES
    return weights + point.batch * point.context * token


def held_in_training(point: Point, shard: Shard) -> list[float]:
    """Bytes of a chip of each stage: weights, gradients, optimizer state, and the activations that it keeps at most."""
    model, layout = point.model, point.layout
    stages, chunks = layout.pipeline, layout.interleaved
    parameters, decoders = parameters_of(model, stages * chunks), decoders_of(model.layers, stages * chunks)
    replicas = layout.replicas(point.count)
    sharing = replicas * layout.context if point.framework.shards_optimizer else 1
    state = (WEIGHT_BYTES + GRADIENT_BYTES + OPTIMIZER_STATE_BYTES / sharing) / shard.ranks
    kept = kept_activation_bytes(
        model,
        shard,
        layout.micro_batch,
        point.context // layout.context,
        layout.recompute,
        sequence=layout.sequence,
        dropout=not point.framework.fused_attention,
    )
    micro_batches = point.batch // (replicas * layout.micro_batch)
    return [
        state * sum(parameters[stage::stages]) + kept * most_kept(stages, chunks, micro_batches, stage, decoders)
        for stage in range(stages)
    ]


def sequences_that_fit(point: Point, shard: Shard) -> int:
    """How many sequences of ``point.context`` tokens the KV cache of a serving framework holds at once."""
    weights = needed_bytes(replace(point, batch=0), shard)
    sequence = needed_bytes(replace(point, batch=1), shard) - weights
    free = KV_MEMORY_SHARE * (point.chip.memory.capacity_bytes - weights)
    return floor(free / sequence) if sequence else point.batch


def check_memory(point: Point, shard: Shard) -> None:
    """Raise DoesNotFit, with what is needed, what is there and how many chips would hold it."""
    needed, capacity = needed_bytes(point, shard), point.chip.memory.capacity_bytes
    if needed <= capacity:
        return
    raise DoesNotFit(
        f"{point.model.name} needs {needed / 1e9:,.1f} GB a chip on {point.count:,} x {point.chip.name}, which has "
        f"{capacity / 1e9:,.1f} GB; {_what_would(point, capacity)}"
    )


def _what_would(point: Point, capacity_bytes: float) -> str:
    """The fewest chips that hold ``point``, of the counts over which its model splits; of a pipeline, what helps."""
    counts = tensor_parallel_counts(point.model) if point.one_group else ()
    for count in counts:
        if count > point.count and needed_bytes(point, shard(point.model, count)) <= capacity_bytes:
            return f"{count:,} chips would hold it"
    if point.phase == "train":
        return "smaller micro-batches, more stages or tensor-parallel chips, or recomputation need less (--parallel)"
    return f"not even {counts[-1]:,} chips would hold it, the most over which it splits"
