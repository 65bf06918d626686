"""Datasheets: published peaks, inheritance of generations, and refusals that name file, key and what was expected."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips import spec
from chips.catalog_file import CatalogError
from chips.kernels.matmul.price import price_matmul
from chips.spec import CATALOG, Dataflow, Gpu, MatrixFormat, Systolic, chip_names, load_chip, load_gpu, parse_chip
from results.errors import LooplineError, ReadError

NAMES = [
    *("v100", "v100-pcie"),
    *("a100", "a100-40gb", "a100-pcie", "a30"),
    *("h100", "h100-96gb", "h100-pcie", "h20", "h200", "h800", "gh200"),
    *("b200", "b300", "gb200", "gb300"),
    *("l4", "l40s", "rtx-5090", "rtx-pro-6000"),
    *("sn10", "sn40l", "tpu-v1"),
]
# Vendors' dense peaks, FLOP/s.
BF16_PEAK = {
    "v100": 125e12,
    "v100-pcie": 112e12,
    "a100-pcie": 312e12,
    "a30": 165e12,
    "h100-96gb": 989.4e12,
    "h20": 148e12,
    "b300": 2250e12,
    "gb200": 2500e12,
    "gb300": 2500e12,
    "l4": 121e12,
    "rtx-pro-6000": 468e12,
    "rtx-5090": 209.5e12,
    "a100": 312e12,
    "a100-40gb": 312e12,
    "h100": 989.4e12,
    "h100-pcie": 756e12,
    "h800": 989.4e12,
    "h200": 989.4e12,
    "b200": 2250e12,
    "l40s": 362e12,
    "gh200": 989.4e12,
    "sn10": 307.2e12,
    "sn40l": 638e12,
}
FP8_PEAK = {
    "h100": 1979e12,
    "h100-pcie": 1513e12,
    "h200": 1979e12,
    "h20": 296e12,
    "b200": 4500e12,
    "gb200": 5000e12,
    "gb300": 5000e12,
    "b300": 4500e12,
    "l40s": 733e12,
    "l4": 242e12,
    "rtx-pro-6000": 936e12,
}
# Vendors' dense peaks of other formats, FLOP/s.
OTHER_PEAKS = [
    ("gb200", "nvfp4", 10_000e12),
    ("gb300", "nvfp4", 15_000e12),
    ("b300", "nvfp4", 13_500e12),
    ("rtx-pro-6000", "nvfp4", 1871e12),
    ("a100", "int8", 624e12),
    ("h100", "int8", 1979e12),
    ("a100", "tf32", 156e12),
    ("h100", "tf32", 494.7e12),
    ("l40s", "tf32", 183e12),
]
# What nvidia-smi reports, MiB.
REPORTED_MEMORY = {"h100": 81_559, "a100": 81_920, "h200": 143_771, "l40s": 46_068, "gb200": 189_471}


def h100(**changes: object) -> dict[str, Any]:
    """The table of H100's file with values replaced; ``a__b`` is the dotted key a.b, None removes a key."""
    table = tomllib.loads((CATALOG / "h100.toml").read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = table
        for parent in parents:
            place = place[parent]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return table


def test_catalog_holds_the_chips_that_commands_name() -> None:
    assert chip_names() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_and_chip_have_the_same_name(name: str) -> None:
    assert load_chip(name).name == name


@pytest.mark.parametrize(("name", "peak"), BF16_PEAK.items())
def test_bf16_peak_is_the_vendors(name: str, peak: float) -> None:
    assert load_chip(name).peak_flops("bf16") == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize(("name", "peak"), FP8_PEAK.items())
def test_fp8_peak_is_the_vendors(name: str, peak: float) -> None:
    assert load_chip(name).peak_flops("fp8") == pytest.approx(peak, rel=0.015)


@pytest.mark.parametrize(("name", "matrix_format", "peak"), OTHER_PEAKS)
def test_peaks_of_other_formats_are_the_vendors(name: str, matrix_format: MatrixFormat, peak: float) -> None:
    assert load_chip(name).peak_flops(matrix_format) == pytest.approx(peak, rel=0.015)


@pytest.mark.parametrize(("name", "mebibytes"), REPORTED_MEMORY.items())
def test_a_gpu_holds_what_its_driver_reports(name: str, mebibytes: int) -> None:
    assert load_chip(name).memory.capacity_bytes == mebibytes * 2**20


def test_a_lower_power_limit_and_slower_memory_are_all_that_sets_the_96_gb_card_apart() -> None:
    """Its times come from the mechanisms of memory and power, not from coefficients of its own."""
    card, h100_chip = load_gpu("h100-96gb"), load_gpu("h100")
    assert card.events.static_watts == pytest.approx(h100_chip.events.static_watts, rel=1e-3)
    assert card.generation == h100_chip.generation
    assert (card.memory.bandwidth, card.power_watts) == (2400e9, 500)
    decode = [float(price_matmul(chip, 8, 8192, 8192).seconds) for chip in (card, h100_chip)]
    assert decode[0] / decode[1] == pytest.approx(3350 / 2400, rel=0.12)
    large = [float(price_matmul(chip, 16_384, 16_384, 16_384).seconds) for chip in (card, h100_chip)]
    # The clock falls with the cube root of the power that is left to them, and with that power at the lowest voltage.
    left = (700 - card.events.static_watts) / (500 - card.events.static_watts)
    assert left ** (1 / 3) < large[0] / large[1] < left


def test_tpu_v1_peak_and_ridge_are_the_papers() -> None:
    """Jouppi et al. 2017: 92 TOPS, and a ridge of 1350 multiply-accumulates a byte of weights."""
    tpu = load_chip("tpu-v1")
    assert isinstance(tpu, Systolic)
    assert tpu.peak_flops("int8") == pytest.approx(92e12, rel=0.005)
    assert tpu.peak_flops("int8") / 2 / tpu.memory.bandwidth == pytest.approx(1350, rel=0.01)


@pytest.mark.parametrize(("name", "mebibytes"), [("sn10", 320), ("sn40l", 520)])
def test_dataflow_chips_have_their_published_sram(name: str, mebibytes: int) -> None:
    chip = load_chip(name)
    assert isinstance(chip, Dataflow)
    assert chip.on_chip.total_bytes == mebibytes * 2**20


def test_precision_without_a_matrix_unit_is_refused() -> None:
    with pytest.raises(CatalogError, match="a100 has no fp8 matrix unit; it has bf16, int8, tf32"):
        load_chip("a100").peak_flops("fp8")


@pytest.mark.parametrize(("name", "older"), [("b200", "h100"), ("rtx-pro-6000", "l40s"), ("v100", "a100")])
def test_unmeasured_generations_inherit_what_a_launch_costs_the_device(name: str, older: str) -> None:
    chip, measured = load_chip(name), load_chip(older)
    assert isinstance(chip, Gpu)
    assert isinstance(measured, Gpu)
    assert chip.generation.name != measured.generation.name
    for field in ("graph_gap", "stream_gap", "counter"):
        assert getattr(chip.generation.launch, field) == getattr(measured.generation.launch, field)


@pytest.mark.parametrize("name", ["h800", "h200", "gh200", "h100-pcie", "h100-96gb", "h20"])
def test_chips_of_one_generation_share_its_coefficients(name: str) -> None:
    chip, h100_chip = load_chip(name), load_chip("h100")
    assert isinstance(chip, Gpu)
    assert isinstance(h100_chip, Gpu)
    assert chip.generation == h100_chip.generation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gpuu"}, "key 'kind' is 'gpuu'; expected one of gpu, dataflow, systolic."),
        ({"kind": None}, "key 'kind' is missing; expected one of gpu, dataflow, systolic."),
        ({"compute": None}, "key 'compute' is missing; expected a table."),
        ({"memory": 3}, "key 'memory' is 3; expected a table."),
        ({"name": 3}, "key 'name' is 3; expected a text of 1 to 100 letters, all of them printable."),
        ({"compute__units": None}, "key 'compute.units' is missing; expected a positive integer, at most 16777216."),
        ({"compute__units": -3}, "key 'compute.units' is -3; expected a positive integer, at most 16777216."),
        ({"compute__units": "132"}, "key 'compute.units' is '132'; expected a positive integer, at most 16777216."),
        ({"compute__units": True}, "key 'compute.units' is True; expected a positive integer, at most 16777216."),
        ({"compute__units": None, "compute__unit": 132}, "key 'compute.unit' is not known; expected 'units'."),
        (
            {"compute__matrix_flop_per_clock__fp4": 1},
            "key 'compute.matrix_flop_per_clock.fp4' is 'fp4'; expected one of bf16, tf32, fp8, int8, nvfp4.",
        ),
        (
            {"compute__matrix_flop_per_clock__bf16": 0.5},
            "key 'compute.matrix_flop_per_clock.bf16' is 0.5; expected a positive integer, at most 16777216.",
        ),
        ({"memory__bandwidth": float("inf")}, "key 'memory.bandwidth' is inf; expected a number from 1e+06 to 1e+18."),
        ({"memory__bandwidth": float("nan")}, "key 'memory.bandwidth' is nan; expected a number from 1e+06 to 1e+18."),
        ({"memory__bandwidth": 1e-300}, "key 'memory.bandwidth' is 1e-300; expected a number from 1e+06 to 1e+18."),
        (
            {"compute__max_clock_hz": 1e300},
            "key 'compute.max_clock_hz' is 1e+300; expected a number from 1e+06 to 1e+12.",
        ),
        (
            {"compute__units": 10**18},
            f"key 'compute.units' is {10**18}; expected a positive integer, at most 16777216.",
        ),
        ({"memory__bandwith": 1.0}, "key 'memory.bandwith' is not known; expected 'bandwidth'."),
        (
            {"link__topology": "mesh"},
            "key 'link.topology' is 'mesh'; expected one of switch, fully_connected, ring, host.",
        ),
        ({"link__in_switch_reduction": 1}, "key 'link.in_switch_reduction' is 1; expected true or false."),
    ],
)
def test_wrong_datasheet_is_refused_with_file_key_and_expectation(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogError) as refusal:
        parse_chip(h100(**changes), Path("mine.toml"))
    assert str(refusal.value) == f"mine.toml: {message}"


@pytest.mark.parametrize("generation", ["hoper", 3, None])
def test_unknown_generation_is_refused_with_the_known_ones(generation: object) -> None:
    with pytest.raises(CatalogError, match=r"mine\.toml: the generation is .*; expected one of ada, ampere, blackwell"):
        parse_chip(h100(generation=generation), Path("mine.toml"))


@pytest.fixture
def own_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog of our own: generations ``older`` (Hopper's text) and ``newer``, which inherits from it."""
    (tmp_path / "generations").mkdir()
    hopper = (CATALOG / "generations" / "hopper.toml").read_text()
    (tmp_path / "generations" / "older.toml").write_text(hopper)
    (tmp_path / "generations" / "newer.toml").write_text('inherits = "older"\nname = "newer"\n')
    monkeypatch.setattr(spec, "CATALOG", tmp_path)
    return tmp_path / "generations"


def test_generation_overrides_single_values_of_the_older_one(own_catalog: Path) -> None:
    (own_catalog / "newer.toml").write_text('inherits = "older"\nname = "newer"\n[launch]\ngraph_gap = 9e-6\n')
    chip, h100_chip = parse_chip(h100(generation="newer"), Path("mine.toml")), load_chip("h100")
    assert isinstance(chip, Gpu)
    assert isinstance(h100_chip, Gpu)
    assert chip.generation.launch.graph_gap == 9e-6
    assert chip.generation.launch.stream_gap == h100_chip.generation.launch.stream_gap
    assert chip.generation.collective == h100_chip.generation.collective


@pytest.mark.parametrize(
    ("newer", "older", "message"),
    [
        (
            "[launch]\ngraph_gap = -1.0",
            "",
            r"newer\.toml: key 'launch\.graph_gap' is -1\.0; expected a number from 0 to 10",
        ),
        ("[launch]\ngraphgap = 1.0", "", r"newer\.toml: key 'launch\.graphgap' is not known; expected 'graph_gap'"),
        ("", "stream_gap", r"newer\.toml: key 'launch\.stream_gap' is missing; expected a number from 0 to 10"),
        ("", "stream_gap:text", r"older\.toml: key 'launch\.stream_gap' is 'text'; expected a number from 0 to 10"),
    ],
)
def test_problem_inside_a_generation_names_its_file(own_catalog: Path, newer: str, older: str, message: str) -> None:
    (own_catalog / "newer.toml").write_text(f'inherits = "older"\nname = "newer"\n{newer}\n')
    key, _, value = older.partition(":")
    stated = f'{key} = "{value}"' if value else ""
    lines = (own_catalog / "older.toml").read_text().splitlines()
    changed = [stated if key and line.startswith(key) else line for line in lines]
    (own_catalog / "older.toml").write_text("\n".join(changed))
    with pytest.raises(CatalogError, match=message):
        parse_chip(h100(generation="newer"), Path("mine.toml"))


def test_unknown_chip_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(CatalogError, match="unknown chip 'H1000'; the nearest in the catalog: h100"):
        load_chip("H1000")


def test_names_are_case_blind_and_absurd_neighbours_are_not_suggested() -> None:
    assert load_chip("SN40L") == load_chip("sn40l")
    with pytest.raises(CatalogError, match=r"unknown chip 'foo'; `loopline chips` lists the catalog\.$"):
        load_chip("foo")


def test_missing_and_malformed_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ReadError, match=r"broken\.toml: not valid TOML: Invalid value"):
        load_chip(str(tmp_path / "broken.toml"))
    with pytest.raises(ReadError, match=r"none\.toml: no such file"):
        load_chip(str(tmp_path / "none.toml"))


@given(
    place=st.sampled_from([("compute",), ("memory",), ("link",), ("on_chip",), ()]),
    key=st.text("abcdefghij_", min_size=1, max_size=12),
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([1])),
)
def test_any_unknown_key_is_refused_in_one_sentence(place: tuple[str, ...], key: str, value: object) -> None:
    table = copy.deepcopy(h100())
    at = table
    for part in place:
        at = at[part]
    at[key] = value
    with pytest.raises(CatalogError) as refusal:
        parse_chip(table, Path("mine.toml"))
    assert str(refusal.value).startswith(f"mine.toml: key '{'.'.join((*place, key))}' is not known; expected ")
    assert "\n" not in str(refusal.value)


def child(tmp_path: Path, text: str, name: str = "mine.toml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_a_chip_takes_over_all_that_it_does_not_state_from_the_one_that_it_inherits(tmp_path: Path) -> None:
    text = 'inherits = "h100"\nname = "mine"\ntitle = "Mine"\n[memory]\nbandwidth = 3e12\n'
    mine = load_chip(child(tmp_path, text + "[generation.matmul]\nmatrix_efficiency = 0.9\n"))
    h100_chip = load_chip("h100")
    assert isinstance(mine, Gpu)
    assert isinstance(h100_chip, Gpu)
    assert (mine.name, mine.memory.bandwidth, mine.memory.capacity_bytes) == ("mine", 3e12, 81_559 * 2**20)
    assert mine.generation.matmul.matrix_efficiency == 0.9
    assert mine.generation.matmul.startup_seconds == h100_chip.generation.matmul.startup_seconds
    assert mine.generation.attention == h100_chip.generation.attention
    grandchild = 'inherits = "mine.toml"\nname = "third"\ntitle = "Third"\n'
    third = load_chip(child(tmp_path, grandchild, "third.toml"))
    assert third == mine.model_copy(update={"name": "third", "title": "Third"})
    newer = load_chip(child(tmp_path, grandchild.replace("third", "a") + 'generation = "ampere"\n', "a.toml"))
    assert isinstance(newer, Gpu)
    assert newer.generation.name == "ampere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('inherits = "h1000"', "unknown chip 'h1000'"),
        ("inherits = 3", "mine.toml: key 'inherits' is 3; expected the name of a chip"),
        ('inherits = "mine.toml"', "mine.toml: key 'inherits' is 'mine.toml', which inherits from this file"),
        ('inherits = "none.toml"', "none.toml: no such file"),
        ('inherits = "h100"', "mine.toml: key 'name' is missing"),
        (
            'inherits = "h100"\nname = "a"\ntitle = "A"\n[generation.matmul]\nstep = 1',
            "mine.toml: key 'generation.matmul.step' is not known",
        ),
        (
            'inherits = "h100"\nname = "a"\ntitle = "A"\n[memory]\nbandwidth = -1.0',
            "mine.toml: key 'memory.bandwidth' is -1.0",
        ),
        ('inherits = "sn40l"\nname = "a"\ntitle = "A"\ngeneration = "hopper"', "key 'generation' is not known"),
    ],
)
def test_wrong_inheritance_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LooplineError) as refusal:
        load_chip(child(tmp_path, text))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
