"""Published collectives: what a row says of links, sizes and kernels, and the errors where none was fitted."""

from __future__ import annotations

import numpy as np
import pytest

from chips.spec import load_gpu
from collectives.libraries.choice import measured_seconds
from scenarios.errors import Unpredictable
from scenarios.evidence.published.collectives import predict_collective, published_seconds
from scenarios.evidence.tables import read_tables
from scenarios.evidence.validation import DATA

ROW = {
    "chip": "rtx5090",
    "n_chips": 4,
    "topology": "PCIe 5, dual socket",
    "library": "nccl, 8 channels",
    "mode": "stream",
    "op": "all_reduce",
    "bytes": "1 to 8 GiB",
    "us": float("nan"),
    "busbw_gbps": 35.0,
}


def test_a_range_of_sizes_is_read_at_its_upper_end() -> None:
    assert published_seconds(ROW) == pytest.approx(1.5 * 8 * 2**30 / 35e9)
    assert published_seconds(ROW | {"op": "all_gather"}) == pytest.approx(0.75 * 8 * 2**30 / 35e9)
    assert published_seconds(ROW | {"us": 12.5}) == pytest.approx(12.5e-6)


def test_cards_are_joined_as_the_publication_says() -> None:
    switch, sockets = (
        predict_collective(ROW | {"topology": text}) for text in ("PCIe 5 x16, switches", "PCIe 5, dual socket")
    )
    older = predict_collective(ROW | {"topology": "PCIe 3 x16, one PLX switch"})
    assert sockets == pytest.approx(switch / 0.75, rel=0.01)
    assert older == pytest.approx(4 * switch, rel=0.01)


def test_a_kernel_of_nobodys_library_is_told_apart() -> None:
    with pytest.raises(Unpredictable, match="kernels called 'one-shot push'"):
        predict_collective(ROW | {"library": "one-shot push"})


def test_rings_that_were_forced_are_priced_as_rings() -> None:
    row = ROW | {"chip": "b200", "n_chips": 8, "topology": "NVSwitch", "bytes": 2**33}
    ring, free = (predict_collective(row | {"library": name}) for name in ("nccl ring (NVLS off)", "nccl (its choice)"))
    assert free < 0.9 * ring
    assert free == measured_seconds(load_gpu("b200"), "all_reduce", 8, 2.0**33, library="nccl", mode="stream")


def test_what_no_fit_has_seen_is_within_a_sixth() -> None:
    table = next(predict()[0] for path, predict in read_tables(DATA) if path.stem == "collectives_new")
    known = [bool(reason) for reason in table.reasons].count(False)
    assert known == 70
    assert np.nanmean(np.abs(table.predicted / table.measured - 1)) < 0.16
