"""TPU v1: its engines against the array's closed form and the roofline; its applications against the paper."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.catalog_file import CatalogError
from chips.spec import Systolic, load_chip
from chips.systolic import APPLICATIONS, Application, Layer, Machine, run
from chips.systolic.array import SystolicArray
from scenarios.evidence.validation import DATA

PAPER = DATA / "tpu_v1_apps.csv"
ROWS = {row["app"]: row for row in csv.DictReader(PAPER.read_text().splitlines())}
WITHIN = {"MLP0": 0.15, "MLP1": 0.15, "LSTM0": 0.15, "CNN0": 0.15, "LSTM1": 0.30, "CNN1": 0.30}
CLOCK_PS = 1e12 / 700e6


@pytest.fixture(scope="module")
def chip() -> Systolic:
    found = load_chip("tpu-v1")
    assert isinstance(found, Systolic)
    return found


def one_layer(batch: int, operand_bytes: int, **layer: object) -> Application:
    some = APPLICATIONS["MLP0"]
    block = some.blocks[0].model_copy(update={"repeat": 1, "layers": [Layer.model_validate(layer)]})
    return some.model_copy(update={"batch": batch, "operand_bytes": operand_bytes, "blocks": [block]})


def test_the_six_applications_of_the_paper_and_no_other() -> None:
    assert list(APPLICATIONS) == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_shapes_give_the_published_table_1(name: str) -> None:
    application, row = APPLICATIONS[name], ROWS[name]
    for kind in ("fc", "conv", "vector", "pool"):
        assert application.count(kind) == int(row[f"layers_{kind}"])
    assert application.batch == int(row["batch"])
    assert application.weights == pytest.approx(1e6 * float(row["weights_millions"]), rel=0.05)
    assert application.multiplies / application.weights == pytest.approx(float(row["ops_per_weight_byte"]), rel=0.05)


@pytest.mark.parametrize("name", ROWS)
def test_published_counters_are_those_of_table_3(name: str) -> None:
    published, row = APPLICATIONS[name].published, ROWS[name]
    assert published.tops == float(row["teraops_per_s"])
    assert published.useful == float(row["useful_macs_pct"])
    for counter in ("weight_stall", "weight_shift", "non_matrix"):
        assert getattr(published, counter) == float(row[f"{counter}_pct"])
    assert published.active == float(row["array_active_pct"])


@pytest.mark.parametrize("name", ROWS)
def test_tops_are_near_the_measured(name: str, chip: Systolic) -> None:
    assert run(APPLICATIONS[name], chip).tops == pytest.approx(float(ROWS[name]["teraops_per_s"]), rel=WITHIN[name])


@pytest.mark.parametrize("name", ROWS)
def test_every_clock_is_accounted_for_once(name: str, chip: Systolic) -> None:
    found = run(APPLICATIONS[name], chip)
    assert found.active + found.weight_stall + found.weight_shift + found.non_matrix == pytest.approx(1.0, abs=1e-12)
    assert 0.0 < found.useful <= found.active
    # A clock of 16-bit operands does half of the operations.
    peak = chip.peak_flops("int8") / 1e12 / APPLICATIONS[name].operand_bytes
    assert found.tops == pytest.approx(found.useful * peak, rel=1e-5)


@given(
    batch=st.integers(1, 2000),
    inputs=st.integers(1, 3000),
    outputs=st.integers(1, 3000),
    operand_bytes=st.sampled_from([1, 2]),
)
@settings(max_examples=40)
def test_never_above_the_roofline(batch: int, inputs: int, outputs: int, operand_bytes: int) -> None:
    chip = load_chip("tpu-v1")
    assert isinstance(chip, Systolic)
    found = run(one_layer(batch, operand_bytes, kind="fc", inputs=inputs, outputs=outputs), chip)
    memory_bound = 2.0 * batch * chip.sustained_weight_bandwidth / 1e12
    assert found.tops <= 1.0001 * min(chip.peak_flops("int8") / 1e12 / operand_bytes, memory_bound)


@given(rows=st.integers(1, 2048), tiles=st.integers(1, 12))
@settings(max_examples=60)
def test_array_keeps_the_time_of_the_systolic_machine(rows: int, tiles: int) -> None:
    """Weights never late: from the first shift to the last sum, what the double-buffered array takes in itself."""
    chip = load_chip("tpu-v1").model_copy(update={"sustained_weight_bandwidth": 1e18})
    assert isinstance(chip, Systolic)
    machine = Machine(chip)
    free = machine.acquire_accumulators()
    for _ in range(tiles):
        finish = machine.matrix_multiply(machine.read_weights(), rows, 1, 1.0, (free,))
    drain = chip.rows + chip.columns - 2
    array = SystolicArray(chip.rows, chip.columns, "weight", double_buffered=True)
    assert float(finish.ps) / CLOCK_PS + drain == pytest.approx(array.cycles(rows, 256 * tiles, 256), abs=0.01)


def test_weight_fifo_hides_a_wait_of_its_depth(chip: Systolic) -> None:
    """After a pause of the array, as many tiles as the FIFO holds are there at once; the next one is late."""
    machine = Machine(chip)
    pause = machine.read_host_memory(1e6)
    free = machine.acquire_accumulators()
    stalls = []
    for _ in range(chip.weight_fifo_tiles + 2):
        before = machine.gaps.weight_stall
        machine.matrix_multiply(machine.read_weights(), 1, 1, 1.0, (free, pause))
        stalls.append(machine.gaps.weight_stall > before)
    # One tile more than the FIFO holds: it has moved into the second weight registers of the array.
    assert stalls == [True] + [False] * chip.weight_fifo_tiles + [True]


def test_sixteen_bit_inputs_halve_the_rate(chip: Systolic) -> None:
    layer = {"kind": "conv", "inputs": 256, "outputs": 256, "kernel": 25, "positions": 256}
    narrow, wide = (run(one_layer(8, operand_bytes, **layer), chip) for operand_bytes in (1, 2))
    assert wide.seconds_per_batch == pytest.approx(2 * narrow.seconds_per_batch, rel=0.05)


def test_a_layer_larger_than_the_unified_buffer_is_refused(chip: Systolic) -> None:
    with pytest.raises(CatalogError, match="unified buffer of 25165824"):
        run(one_layer(8, 1, kind="conv", inputs=256, outputs=256, positions=10_000), chip)
