"""Whether a point fits the off-chip memory of its chips: weights, KV cache, gradients, optimizer state, activations."""

from __future__ import annotations

from dataclasses import replace
from math import floor

from scenarios.errors import DoesNotFit
from scenarios.model import Shard, shard, tensor_parallel_counts
from scenarios.operators import ACTIVATION_BYTES
from scenarios.point import Point
from scenarios.training import OPTIMIZER_STATE_BYTES, kept_activation_bytes

KV_MEMORY_SHARE = 0.9  # of the memory that weights leave free, the part that serving frameworks give the KV cache


def needed_bytes(point: Point, shard: Shard) -> float:
    """What one of ``shard.ranks`` chips must hold for ``point``, in bytes."""
    model = point.model
    weights = model.weight_bytes(point.precision) / shard.ranks
    if point.phase == "train":
        kept = kept_activation_bytes(model, shard, point.batch, point.context, "none", sequence=False)
        return model.parameters / shard.ranks * OPTIMIZER_STATE_BYTES + model.layers * kept
    token = 2.0 * model.layers * shard.kv_heads * model.head_dim * ACTIVATION_BYTES
    return weights + point.batch * point.context * token


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
    """The fewest chips that hold ``point``, of the counts over which its model splits."""
    counts = tensor_parallel_counts(point.model)
    for count in counts:
        if count > point.count and needed_bytes(point, shard(point.model, count)) <= capacity_bytes:
            return f"{count:,} chips would hold it"
    return f"not even {counts[-1]:,} chips would hold it, the most over which it splits"
