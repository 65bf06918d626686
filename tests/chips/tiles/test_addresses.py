"""Decoupled access and execute: who waits for the memory's latency, and who does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.pipeline import Buffer, Metapipeline, Stage
from chips.spec import Dataflow, Gpu, load_chip
from chips.tiles import Tensor, TileError, compile_program, empty, fill, load_tile, map, metapipe, run, store_tile
from chips.tiles.named_program import compile_named


def interval(program: str, chip: str) -> float:
    return float(compile_named(program, chip).pipeline.initiation_interval_ps) * 1e-12


@pytest.mark.parametrize(
    ("chip", "least", "most"),
    [("v100", 270e-9, 330e-9), ("a100", 400e-9, 415e-9), ("h100", 244e-9, 375e-9), ("l40s", 245e-9, 265e-9),
     ("b200", 600e-9, 625e-9)],
)  # fmt: skip
def test_a_step_of_a_linked_list_takes_a_measured_pointer_chase(chip: str, least: float, most: float) -> None:
    assert least < interval("linked-list", chip) < most


@pytest.mark.parametrize("chip", ["sn40l", "sn10", "h100", "a100"])
def test_a_stream_hides_the_latency_that_a_list_waits_for(chip: str) -> None:
    spec = load_chip(chip)
    assert isinstance(spec, Gpu | Dataflow)
    ours, lists = compile_named("stream", chip), compile_named("linked-list", chip)
    assert (ours.memory_bytes, ours.flop) == (lists.memory_bytes, lists.flop)
    assert lists.seconds > 50 * ours.seconds
    assert lists.limiter == "dependence from iteration to iteration"
    faster = spec.model_copy(update={"memory": spec.memory.model_copy(update={"bandwidth": 4 * spec.memory.bandwidth})})
    assert interval("linked-list", chip) == pytest.approx(
        float(compile_program(_list, faster, **_shapes()).pipeline.initiation_interval_ps) * 1e-12, rel=0.02
    )


def _shapes() -> dict[str, tuple[int, int]]:
    return {"nodes": (512, 128), "following": (512, 1), "total": (1, 128)}


def _list(nodes: Tensor, following: Tensor, total: Tensor) -> None:
    from chips.tiles.programs.lists import linked_list

    linked_list(nodes, following, total)


def test_a_computed_address_waits_for_its_arithmetic_too() -> None:
    """Hashing: the next row is made of what was loaded, by vector instructions."""

    def hashed(table: Tensor, o: Tensor) -> None:
        place = empty((1, 1))
        place.write(fill((1, 1), 0.0))
        for _ in metapipe(512):
            row = load_tile(table, (1, 1), at=(place.read(), 0))
            place.write(map(lambda value: (5.0 * value + 3.0) % 64, row, operations=1000))
        store_tile(o, place.read(), at=(0, 0))

    table, o = np.arange(64.0)[:, None], np.zeros((1, 1))
    run(hashed, table=table, o=o)
    place = 0.0
    for _ in range(512):
        place = (5.0 * place + 3.0) % 64
    assert o[0, 0] == place
    for name in ("sn40l", "h100"):
        chip = load_chip(name)
        assert isinstance(chip, Gpu | Dataflow)
        found = compile_program(hashed, chip, table=(64, 1), o=(1, 1))
        assert float(found.pipeline.initiation_interval_ps) * 1e-12 > interval("linked-list", name)


@given(st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_a_value_that_comes_back_late_holds_up_every_iteration(iterations: int, work: int, latency: int) -> None:
    # What the first iteration reads is written at the beginning, and comes back as late as any.
    late = Buffer("load", "load", carried=1, latency_ps=latency)
    pipeline = Metapipeline("list", iterations, (Stage("load", work),), (late,))
    assert pipeline.total_ps == iterations * (work + latency) == pipeline.schedule().finish_ps.max()
    assert pipeline.initiation_interval_ps == work + latency


def test_an_address_is_one_element() -> None:
    def wrong(x: Tensor) -> None:
        load_tile(x, (1, 1), at=(load_tile(x, (2, 1), at=(0, 0)), 0))

    with pytest.raises(TileError, match=r"test_addresses.py:\d+: a tile of 2 x 1 is used as an address, which is one"):
        run(wrong, x=np.zeros((4, 1)))
