"""The measuring script's parts that need no GPU: its tables are those that validate and calibrate read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from chips.spec import load_chip
from scenarios.evidence.calibration import calibrate
from scenarios.evidence.held_out import shape_columns, unseen_rows
from scenarios.evidence.kernel_tables import read_kernel_table
from scenarios.evidence.validation import validate

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure_gpu

    return measure_gpu


@pytest.fixture
def measured(script, tmp_path):
    """Every table, each row taking what an H100 is predicted to take: a GPU that is exactly the model's."""
    chip = load_chip("h100")
    for name, table in script.tables(gpus=8).items():
        path = script.write_table([row | {"us": 1.0} for row in table.rows], "h100", name, tmp_path)
        read = read_kernel_table(path)
        times = iter(read.predict(chip, read.rows))
        script.write_table(
            list(script.measure(table, lambda row, times=times: next(times), 1e18)), "h100", name, tmp_path
        )
    return tmp_path


def test_every_table_is_read_and_predicted_to_the_last_row(measured):
    results = validate(measured)
    assert {result.table.split(",")[0].removeprefix("h100_") for result in results} == {
        "gemm_bf16",
        "gemm_fp8",
        "attention_prefill_bf16",
        "attention_decode_bf16",
        "stream",
        "launch",
        "collectives",
    }
    for result in results:
        assert result.statistics.unpredicted == 0
        assert result.statistics.mean_ape < 1e-9, result.table


def test_every_table_has_shapes_enough_to_hold_some_out(script):
    for name, table in script.tables(gpus=2).items():
        shapes = pd.DataFrame(table.rows)[shape_columns(f"h100_{name}")].drop_duplicates()
        assert len(shapes) == len(table.rows) or name in ("launch", "collectives")
        assert len(shapes) >= 6
        if len(shapes) > 100:
            assert 0.2 < unseen_rows(shapes).mean() < 0.4


def test_a_chip_measured_as_predicted_is_calibrated_to_itself(measured):
    chip = load_chip("h100")
    (fit,) = calibrate(chip, [read_kernel_table(measured / "h100_launch.parquet")])
    for constant in fit.constants:
        assert constant.value == pytest.approx(constant.before, rel=1e-3)


def test_rows_that_do_not_fit_the_memory_are_left_out(script):
    table = script.tables(gpus=1)["gemm_bf16"]
    rows = list(script.measure(table, lambda row: 1e-6, memory_bytes=64e6))
    assert 0 < len(rows) < len(table.rows)
    assert all(script.gemm_bytes(row) <= 32e6 for row in rows)


def test_small_operands_rotate_and_large_ones_need_not(script):
    from torch_gpu import CALLS, ROTATED_BYTES, copies_of

    assert copies_of(1.0) == CALLS
    assert copies_of(2 * ROTATED_BYTES) == 1


def test_collectives_need_several_gpus(script):
    assert "collectives" not in script.tables(gpus=1)
    assert {row["n_chips"] for row in script.collective_rows(4)} == {2, 4}


def test_provenance_names_what_was_measured(script):
    record = script.provenance("h100", {"gemm_bf16": 3}, {"gpu": "NVIDIA H100", "torch": "2.9"}, ["measure_gpu.py"])
    assert json.loads(json.dumps(record))["gpu"] == "NVIDIA H100"
    assert record["rows"] == {"gemm_bf16": 3}


def test_without_pytorch_it_says_so_in_one_sentence(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert script.main(["--chip", "h100", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "measure_gpu: PyTorch is not installed; a GPU is measured with it.\n"


def test_a_missing_folder_is_named_before_anything_is_measured(script, tmp_path, capsys):
    assert script.main(["--chip", "h100", "--out", str(tmp_path / "none")]) == 2
    assert "none' does not exist" in capsys.readouterr().err
