"""Chips with other values in their datasheets: one name says all of them, and they are priced as what they are."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.catalog_file import CatalogError
from chips.changes import ChangedName, names_of, read_name
from chips.spec import load_chip, values_of
from chips.what_if import expanded, what_if
from scenarios.point import make_point
from scenarios.pricing import price

DOUBLED = "h100{memory.bandwidth=6.7e12}"


def test_a_name_says_what_differs_and_nothing_else_does() -> None:
    own, changed = values_of(load_chip("h100")), values_of(load_chip(DOUBLED))
    assert {key for key in own if own[key] != changed[key]} == {"memory.bandwidth"}
    assert changed["memory.bandwidth"] == 6.7e12
    assert load_chip(DOUBLED).name == DOUBLED


def test_however_it_is_written_it_is_the_same_chip() -> None:
    assert load_chip("H100{ memory.bandwidth = 6700000000000 }") == load_chip(DOUBLED)
    assert what_if("h100", {"memory.bandwidth": 6.7e12}) == [DOUBLED]
    assert load_chip("h100{memory.bandwidth=3.35e12}") != load_chip("h100")  # its kernels are nobody's measurements


@given(st.dictionaries(st.sampled_from(["memory.bandwidth", "power_watts"]), st.floats(1e-9, 1e18), min_size=1))
def test_a_written_name_reads_as_its_values(changes: dict[str, float]) -> None:
    assert read_name(str(ChangedName("h100", dict(changes)))).changes == pytest.approx(changes, rel=0)


def test_a_range_has_both_ends_and_all_are_combined() -> None:
    names = names_of("h100{memory.bandwidth=3.35e12..6.7e12*5,compute.units=100..140*2}")
    assert len(names) == 10
    assert names[0] == "h100{memory.bandwidth=3.35e12,compute.units=100}"
    assert names[-1] == "h100{memory.bandwidth=6.7e12,compute.units=140}"
    assert load_chip(names[-1]).compute.units == 140


def test_a_setting_is_of_every_chip_that_is_called_so() -> None:
    found = expanded(["h100", "b200", "h100{power_watts=500}"], [("H100.memory.bandwidth", [6.7e12])])
    assert found == [DOUBLED, "b200", "h100{power_watts=500,memory.bandwidth=6.7e12}"]


def test_twice_the_bandwidth_streams_nearly_twice_as_fast() -> None:
    slow, fast = price(
        [make_point("llama-3.1-8b", chip, 1, strategy="kernel_loop") for chip in ("h100", DOUBLED)]
    ).outcomes
    assert 1.7 < slow.seconds / fast.seconds < 2.0


@pytest.mark.parametrize(
    ("chip", "keys"),
    [
        ("h100", ["graph_gap", "stream_gap", "counter", "barrier", "hand_dispatch", "readmission"]),
        ("sn40l", ["program_load", "argument_load", "execute", "software_dispatch", "hop_latency"]),
    ],
)
def test_zero_is_free(chip: str, keys: list[str]) -> None:
    table = "generation.launch" if chip == "h100" else "timing"
    free = what_if(chip, {f"{table}.{key}": 0 for key in keys})[0]
    for strategy in ("per_operator", "kernel_loop"):
        was, now = price([make_point("llama-3.2-1b", name, 8, strategy=strategy) for name in (chip, free)]).outcomes
        assert now.seconds <= was.seconds


def test_a_hop_that_takes_no_time_is_priced() -> None:
    free = make_point("llama-3.2-1b", "h100{generation.collective.ll.hop=0}", 8)
    was, now = price([make_point("llama-3.2-1b", "h100", 8), free]).outcomes
    assert now.seconds <= was.seconds


def test_a_mistaken_unit_is_told_and_a_plausible_value_is_not() -> None:
    with pytest.warns(UserWarning, match=r"500 times less than the 3.35e\+12 of h100"):
        what_if("h100", {"memory.bandwidth": 6700e6})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        what_if("h100", {"memory.bandwidth": 33.5e12, "generation.launch.graph_gap": 1e-12})


def test_a_file_whose_chip_is_called_as_one_of_the_catalog_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('inherits = "h100"\nname = "h100"\ntitle = "Mine"\n')
    with pytest.warns(UserWarning, match=r"mine\.toml calls its chip h100"):
        expanded([str(file)])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("h100{memory.bandwith=1e12}", "the nearest is memory.bandwidth"),
        ("h100{bandwidth=1e12}", "expected memory.bandwidth or link.bandwidth"),
        ("h100{quux=1}", "`loopline chips` with its name shows all"),
        ("h100{memory.bandwidth=6700}", r"is 6700; expected a number from 1e\+06"),
        ("h100{link.topology=rng}", "expected one of switch"),
        ("h100{memory=1}", "has no key 'memory'"),
        ("h100{generation.launch.kernel_start=0}", "expected a positive number"),
        ("h100{name=h200}", "has no key 'name'"),
        ("h100{memory.bandwidth=1e12..2e12}", r"expected FROM..TO\*N"),
        ("h100{memory.bandwidth=1e12..2e12*1}", "expected 2 to 1000"),
        ("h100{memory.bandwidth=1e12..2e12*3}", "stands for 3 chips"),
        ("h100{memory.bandwidth=1e12,memory.bandwidth=2e12}", "changed twice"),
        ("h100{memory.bandwidth}", "expected KEY=VALUE"),
        ("h100{", "no name of a chip"),
        ("{power_watts=1}", "no name of a chip"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        load_chip(name)
