"""Predictions for published AllReduces and other collectives, on whatever joins the cards: one row in, seconds out.

A row is what nccl-tests prints: a time, or the bus bandwidth over a range of sizes. A kernel that no library of ours
has raises ``Unpredictable`` with the reason, and is counted, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, cast

from chips.spec import Gpu, Link, chip_names, load_gpu
from collectives.collective_time import Mode, Operation
from collectives.libraries.choice import measured_seconds
from scenarios.errors import Unpredictable
from scenarios.quantities import parse_bytes

Row = Mapping[str, Any]

SLOT_BANDWIDTH = {"3": 16e9, "4": 32e9, "5": 64e9}  # of 16 lanes of this PCIe generation, bytes/s one way
BUS_FACTOR = {"all_reduce": 2.0}  # of (p - 1) / p: nccl-tests, PERFORMANCE.md


def published_seconds(row: Row) -> float:
    """What the publication measured: the time, or what its bus bandwidth says of the largest payload."""
    seconds = float(row["us"]) * 1e-6
    if isfinite(seconds):
        return seconds
    ranks = int(row["n_chips"])
    moved = BUS_FACTOR.get(str(row["op"]), 1.0) * (ranks - 1) / ranks * _payload(row)
    return moved / (float(row["busbw_gbps"]) * 1e9)


def predict_collective(row: Row) -> float:
    """Seconds of the same collective on the same chips, joined in the same way."""
    library, _, kernel = str(row["library"]).partition(" ")
    if library.rstrip(",") != "nccl":
        raise Unpredictable(f"kernels called '{row['library']}'")
    seconds = measured_seconds(
        _chip(row),
        cast(Operation, row["op"]),
        int(row["n_chips"]),
        _payload(row),
        library="nccl",
        mode=cast(Mode, row["mode"]),
        algorithm="ring" if kernel.startswith("ring") else None,
    )
    return float(seconds)


def _payload(row: Row) -> float:
    """Bytes of a rank; of a range, its upper end."""
    return float(parse_bytes(str(row["bytes"]).rpartition(" to ")[2]))


def _chip(row: Row) -> Gpu:
    """The chip, whatever hyphens its name has, on PCIe where the publication says so."""
    written, topology, count = str(row["chip"]), str(row["topology"]), int(row["n_chips"])
    chip = load_gpu(next((name for name in chip_names() if name.replace("-", "") == written.replace("-", "")), written))
    lanes = re.match(r"PCIe (\d)", topology)
    if lanes is None:
        return chip
    host = "dual-socket" if "dual socket" in topology else "switch"
    link = Link(bandwidth=SLOT_BANDWIDTH[lanes[1]], topology="host", domain=count, host=host)
    return chip.model_copy(update={"link": link})
