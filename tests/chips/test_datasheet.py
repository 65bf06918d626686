"""The catalog for readers: every number has a source, and a chip's datasheet shows all that it was built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from chips.datasheet import datasheet, key_figures, read_sources
from chips.spec import CATALOG, Gpu, chip_names, load_chip

FILES = sorted(CATALOG.rglob("*.toml"))


def number(value: object) -> bool:
    return isinstance(value, int | float | list) and not isinstance(value, bool)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_number_in_the_catalog_has_a_source(path: Path) -> None:
    unsourced = [".".join(key) for key, value, source in read_sources(path) if number(value) and not source]
    assert not unsourced, f"{path}: no source behind {', '.join(unsourced)}"


def test_a_number_without_a_comment_has_no_source(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    lines = ["a = 1 # of a", "b = 2", "c = false # of c", "[d]", "e.f = 3 # of f", "g = { h = 4, i = true } # of g"]
    path.write_text("\n".join([*lines, "j = true # of j"]))
    sources = {".".join(key): source for key, _, source in read_sources(path)}
    expected = {"a": "of a", "b": "", "c": "of c", "d.e.f": "of f", "d.g.h": "of g", "d.g.i": "of g", "d.j": "of j"}
    assert sources == expected


@pytest.mark.parametrize("name", chip_names())
def test_datasheet_shows_every_value_of_the_chip_once(name: str) -> None:
    chip = load_chip(name)

    def leaves(value: object, at: tuple[str, ...]) -> dict[tuple[str, ...], object]:
        if not isinstance(value, dict):
            return {at: value}
        return {key: leaf for part, inner in value.items() for key, leaf in leaves(inner, (*at, part)).items()}

    rows = datasheet(name)
    shown = {(*(() if row["section"] == "chip" else row["section"].split(".")), row["key"]): row for row in rows}
    assert len(shown) == len(rows)
    expected = leaves(chip.model_dump(mode="json", exclude_none=True), ())
    assert {key: row["value"] for key, row in shown.items()} == expected


@pytest.mark.parametrize("name", chip_names())
def test_datasheet_gives_every_number_of_the_chip_itself_a_source(name: str) -> None:
    own = [row for row in datasheet(name) if not row["section"].startswith("generation")]
    assert not [row["key"] for row in own if number(row["value"]) and not row["source"]]


def test_inherited_values_name_the_generations_file() -> None:
    rows = {(row["section"], row["key"]): row for row in datasheet("b200")}
    assert rows["generation", "name"]["file"] == "generations/blackwell.toml"
    assert rows["generation.launch", "graph_gap"]["file"] == "generations/hopper.toml"
    assert rows["memory", "bandwidth"]["file"] == "b200.toml"


def test_units_follow_the_keys() -> None:
    units = {(row["section"], row["key"]): row["unit"] for row in datasheet("sn40l") + datasheet("h100")}
    assert units["memory", "bandwidth"] == "bytes/s"
    assert units["memory", "capacity_bytes"] == "bytes"
    assert units["compute", "clock_hz"] == "Hz"
    assert units["compute.matrix_flop_per_clock", "bf16"] == "FLOP/clock/unit"
    assert units["on_chip", "port_bytes_per_clock"] == "bytes/clock"
    assert units["timing", "argument_load"] == "s"
    assert units["timing", "memory_efficiency"] == "fraction"
    assert units["generation.launch", "host_operator"] == "s"
    assert units["chip", "power_watts"] == "W"
    assert units["compute", "units"] == ""


def test_key_figures_are_the_datasheets() -> None:
    figures = {row["chip"]: row for row in key_figures()}
    assert sorted(map(str, figures)) == chip_names()
    assert figures["h100"]["bf16_tflops"] == pytest.approx(989.4)
    assert figures["h100"]["memory_gb_per_s"] == 3350
    assert figures["tpu-v1"]["bf16_tflops"] is None
    assert figures["sn40l"]["on_chip_mb"] == pytest.approx(520 * 2**20 / 1e6, abs=0.1)


def test_on_chip_memory_of_a_gpu_counts_what_it_shares_and_what_each_unit_has() -> None:
    chip = load_chip("h100")
    assert isinstance(chip, Gpu)
    assert chip.on_chip_bytes == 50e6 + 132 * 227 * 1024


def test_a_datasheet_names_the_file_of_each_inherited_value(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    head = 'inherits = "h100"\nname = "mine"\ntitle = "Mine"\n'
    path.write_text(head + "[generation.launch]\ngraph_gap = 2e-6 # measured\n")
    rows = {(row["section"], row["key"]): row for row in datasheet(str(path))}
    gap = rows["generation.launch", "graph_gap"]
    assert (gap["value"], gap["source"], gap["file"]) == (2e-6, "measured", "mine.toml")
    assert rows["generation.launch", "stream_gap"]["file"] == "generations/hopper.toml"
    assert rows["memory", "bandwidth"]["file"] == "h100.toml"
    assert rows["chip", "name"]["value"] == "mine"
