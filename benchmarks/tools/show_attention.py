"""Decode attention over a cache in bf16 and in FP8, where both were measured: a table for docs/attention.md."""

from __future__ import annotations

import sys
from itertools import product

from chips.kernels.attention.price import price_attention_decode
from chips.spec import Gpu, KvPrecision, load_gpu
from results.table import print_records

CHIPS = ("h100", "b200", "l40s")
CALLS = ((1, 1024), (64, 8192))


def microseconds(chip: Gpu, batch: int, context: int, head_dim: int, kv_precision: KvPrecision) -> float:
    """Of 32 heads that share 8 key-value heads."""
    return 1e6 * float(price_attention_decode(chip, batch, context, 32, 8, head_dim, kv_precision=kv_precision).seconds)


def rows() -> list[dict[str, str]]:
    """A record a call and head dimension."""
    found = []
    for (batch, context), head_dim in product(CALLS, (64, 128, 256)):
        row = {"sequences": f"{batch}", "context": f"{context:,}", "head dimension": f"{head_dim}"}
        for chip in map(load_gpu, CHIPS):
            wide, narrow = (microseconds(chip, batch, context, head_dim, kept) for kept in ("bf16", "fp8"))
            row[f"{chip.name}, us"] = f"{wide:,.0f} -> {narrow:,.0f}"
        found.append(row)
    return found


if __name__ == "__main__":
    print_records(rows(), sys.stdout)
