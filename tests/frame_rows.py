"""Rows of results, made by hand."""

from __future__ import annotations

from results.schema import BAND, CAUSE_JOULES, COLUMNS, ENERGY, PART_COLUMNS, PART_JOULES


def record(parts=(1, 2, 3, 4, 5, 6, 7, 8), **changes):
    """A row whose parts are so many picoseconds, and as many nanojoules of static power."""
    values = dict(zip(PART_COLUMNS, (part / 1e12 for part in parts), strict=True))
    whole = sum(parts) / 1e12
    row = {name: values.get(name, "") for name in COLUMNS}
    row |= {"chip": "h100", "count": 8, "model": "m", "phase": "decode", "strategy": "kernel_loop", "batch": 1}
    row |= {"launch": "graph", "precision": "bf16", "kv_precision": "bf16", "kernels": "measured"}
    row |= {"context": 9, "working": 8, "seconds": whole, "alike_s": whole}
    row |= {"seconds_low": whole, "seconds_high": whole}
    joules = sum(parts) / 1e9
    row |= dict(zip(PART_JOULES, (part / 1e9 for part in parts), strict=True))
    row |= dict.fromkeys(CAUSE_JOULES, 0.0) | {"static_j": joules, "watts": 700.0, "energy_delay": joules * whole}
    row |= dict.fromkeys(("joules", "joules_low", "joules_high", "joules_per_token"), joules) | {
        "tokens_per_joule": 1.0
    }
    row |= {"decoder_kernels": 9, "decoder_launches": 9.0, "backward_kernels": 0, "backward_launches": 0.0}
    row |= {"tokens_per_s_user": 1.0, "tokens_per_s": 1.0, "mfu": 0.25, "roofline_fraction": 0.5}
    return row | {"bound_s": whole / 2, "limiter": "HBM", "fits": True} | changes


def unfit(**changes):
    known = ("seconds", "alike_s", *BAND, *PART_COLUMNS, *ENERGY, "bound_s", "tokens_per_s", "tokens_per_s_user")
    return (
        record(
            **dict.fromkeys((*known, "mfu", "roofline_fraction"), float("nan")),
            fits=False,
            reason="too large",
            limiter="",
        )
        | changes
    )


def row(seconds, **changes):
    """A row that takes so many seconds, all of them in matrix products."""
    picoseconds = round(seconds * 1e12)
    speed = {"tokens_per_s_user": 1 / seconds, "tokens_per_s": changes.get("batch", 1) / seconds, "bound_s": 0.0}
    return record((picoseconds, 0, 0, 0, 0, 0, 0, 0), **speed | changes)
