"""Which part of every real matrix a rank holds: Megatron's partition, as ``scenarios.workload.model.shard`` counts it.

Query, key, value, gate and up are split by output rows, output and down by input columns, embedding and head by
vocabulary (Shoeybi et al. 2019, arXiv 1909.08053). Where there are more ranks than KV heads, several ranks hold the
same one.
"""

from __future__ import annotations

from dataclasses import dataclass

from scenarios.workload.model import Model, shard


@dataclass(frozen=True)
class Part:
    """One rank's ranges of rows or columns. ``vocabulary`` may reach beyond the model's: those rows are padding."""

    query: slice
    key_value: slice
    intermediate: slice
    vocabulary: slice


def part_of(model: Model, ranks: int, rank: int) -> Part:
    """The part of ``rank`` among ``ranks``. Raises ScenarioError, with the counts that would divide the model."""
    split = shard(model, ranks)
    # Ranks share the KV heads in order; rank r's query heads begin at r x heads / ranks and use this KV head.
    first_kv = rank * model.kv_heads // ranks
    return Part(
        query=_range(rank * split.heads, split.heads, model.head_dim),
        key_value=_range(first_kv, split.kv_heads, model.head_dim),
        intermediate=_range(rank, 1, split.intermediate),
        vocabulary=_range(rank, 1, split.vocabulary),
    )


def _range(first: int, count: int, unit: int) -> slice:
    return slice(first * unit, (first + count) * unit)
