"""What any chip can be asked of its datasheet, whatever its kind: within what the datasheet says."""

from __future__ import annotations

import pytest

from chips.spec import Gpu, Systolic, chip_names, load_chip


@pytest.mark.parametrize("name", chip_names())
def test_weights_stream_no_faster_than_memory_and_a_cache_is_on_the_chip(name: str) -> None:
    chip = load_chip(name)
    assert 0 < chip.streaming_bandwidth <= chip.memory.bandwidth
    assert 0 <= chip.cache_bytes <= chip.on_chip_bytes < chip.memory.capacity_bytes


@pytest.mark.parametrize("name", chip_names())
def test_links_reach_no_more_than_their_bandwidth_and_a_hop_takes_time(name: str) -> None:
    chip = load_chip(name)
    if isinstance(chip, Systolic):
        assert not chip.runs_decoders
        return
    assert 0 < chip.link_efficiency <= 1
    assert chip.hop_latency > 0
    assert (chip.hop_detour > 0) == (isinstance(chip, Gpu) and chip.link.topology == "host")


@pytest.mark.parametrize("name", chip_names())
def test_static_power_is_within_the_limit(name: str) -> None:
    chip = load_chip(name)
    assert 0 < chip.events.static_watts < chip.power_watts


def test_what_a_kind_is_asked_is_no_key_of_its_file() -> None:
    asked = {"has_framework", "runs_decoders", "lays_out_in_space", "hop_detour", "link_efficiency", "events"}
    assert not any(asked & set(type(load_chip(name)).model_fields) for name in chip_names())
