"""Calibration: constants that made a table are found in it, and a fit is only used where it helps on unseen rows."""

from __future__ import annotations

import json
import tomllib
from itertools import product

import numpy as np
import pandas as pd
import pytest

from chips.spec import Gpu, load_chip
from scenarios.commands.main import main
from scenarios.errors import ScenarioError
from scenarios.evidence.calibrated_chip import as_toml
from scenarios.evidence.calibration import CONSTANTS, as_records, calibrate, calibrated
from scenarios.evidence.kernel_tables import read_kernel_table
from scenarios.evidence.least_squares import with_constants
from scenarios.evidence.validation import DATA

NOISE = 0.03


def table_of(chip: Gpu, path, rows: pd.DataFrame, seed: int = 0):
    """A table at ``path`` of what ``chip`` is predicted to take, with measurement noise."""
    rows.assign(us=1.0).to_csv(path, index=False)
    table = read_kernel_table(path)
    noise = np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(rows)))
    rows.assign(us=1e6 * table.predict(chip, table.rows) * noise).to_csv(path, index=False)
    return read_kernel_table(path)


def gemm_rows() -> pd.DataFrame:
    sizes = product((1, 16, 100, 512, 2048, 8192), (256, 1024, 4096, 14336), (256, 1024, 4096, 14336))
    return pd.DataFrame(sizes, columns=["m", "n", "k"])


def launch_rows() -> pd.DataFrame:
    return pd.DataFrame(
        product((50, 100, 200, 400, 800, 1600), ("graph", "stream", "eager")), columns=["kernels", "mode"]
    )


def collective_rows() -> pd.DataFrame:
    sizes = product((2, 4, 8), [2**power for power in range(8, 29)], (("nccl", "stream"), ("vllm", "graph")))
    rows = pd.DataFrame(
        [(ranks, size, *how) for ranks, size, how in sizes], columns=["n_chips", "bytes", "library", "mode"]
    )
    return rows.assign(op="all_reduce")


@pytest.mark.parametrize(
    ("name", "rows", "changes"),
    [
        (
            "mine_gemm_bf16",
            gemm_rows(),
            {"matrix_efficiency": 0.8, "startup_seconds": 1.6e-6, "memory_efficiency": 0.8},
        ),
        ("mine_launch", launch_rows(), {"graph_gap": 2.0e-6, "stream_gap": 3.3e-6, "host_operator": 9e-6}),
        ("mine_collectives", collective_rows(), {"sync": 2.4e-6, "link_efficiency": 0.7, "peer_efficiency": 0.45}),
    ],
)
def test_perturbed_constants_are_found_within_their_confidence_intervals(tmp_path, name, rows, changes):
    chip = load_chip("h100")
    assert isinstance(chip, Gpu)
    section = {"gemm": "matmul", "laun": "launch", "coll": "collective"}[name.removeprefix("mine_")[:4]]
    truth = with_constants(chip, {(section, key): value for key, value in changes.items()})
    (fit,) = calibrate(chip, [table_of(truth, tmp_path / f"{name}.csv", rows)])
    found = {constant.key: constant for constant in fit.constants}
    for key, value in changes.items():
        constant = found[section, key]
        assert constant.low <= value <= constant.high, constant
        assert abs(constant.value / value - 1) < 0.15, constant
    others = [constant for constant in fit.constants if constant.key[-1] not in changes]
    kept = [constant for constant in others if constant.low <= constant.before <= constant.high]
    assert len(kept) >= 0.8 * len(others), "of 95% intervals, few miss"
    (error,) = fit.errors
    assert fit.helps
    assert error.after.mean_ape < 1.5 * NOISE < error.before.mean_ape


def test_a_calibrated_file_is_the_chip_that_was_fitted(tmp_path):
    chip = load_chip("h100")
    truth = with_constants(chip, {("launch", "graph_gap"): 3e-6, ("launch", "host_collective"): 40e-6})
    eager = collective_rows().query("library == 'vllm'").assign(mode="eager")
    tables = [
        table_of(truth, tmp_path / "mine_launch.csv", launch_rows()),
        table_of(truth, tmp_path / "mine_collectives.csv", eager),
    ]
    fits = calibrate(chip, tables)
    path = tmp_path / "mine.toml"
    path.write_text(as_toml(chip, "h100", "mine", fits))
    written, fitted = load_chip(str(path)), calibrated(chip, fits)
    assert (written.name, written.memory) == ("mine", chip.memory)
    assert written.generation.launch.graph_gap == pytest.approx(fitted.generation.launch.graph_gap, rel=1e-3)
    assert written.generation.launch.host_collective == pytest.approx(40e-6, rel=0.05)
    assert written.generation.attention == chip.generation.attention
    assert tomllib.loads(path.read_text())["generation"]["launch"].keys() >= {"graph_gap", "host_collective"}


def test_a_fit_as_records_names_every_constant_and_says_whether_it_is_used(tmp_path):
    truth = with_constants(load_chip("h100"), {("launch", "graph_gap"): 3e-6})
    fits = calibrate(load_chip("h100"), [table_of(truth, tmp_path / "mine_launch.csv", launch_rows())])
    told = as_records(fits)
    assert [record["constant"] for record in told["constants"]] == [
        constant.name for fit in fits for constant in fit.constants
    ]
    assert all(record["used"] == fits[0].helps for record in told["constants"])
    assert [record["table"] for record in told["errors"]] == [error.table for error in fits[0].errors]


def test_a_real_table_makes_another_chips_errors_fall_and_round_trips_through_the_command(tmp_path, capsys):
    """An H100's datasheet with Ampere's measured AllReduces: the constants of the file halve the held-out error."""
    path = tmp_path / "mine_collectives.parquet"
    measured = pd.read_parquet(DATA / "measured" / "a100_collectives.parquet")
    measured.to_parquet(path)
    output = tmp_path / "mine.toml"
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", str(path), "--chip", "h100", "--name", "mine", "-o", str(output), "--json"])
    assert not ended.value.code
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["mean_ape_after"] < 0.5 * error["mean_ape_before"]
    assert error["fitted_rows"] + error["held_out_rows"] == len(measured)
    table, chip = read_kernel_table(path), load_chip(str(output))
    ratio = table.predict(chip, table.rows) / table.measured
    assert np.mean(np.abs(ratio - 1)) == pytest.approx(error["mean_ape_after"], abs=0.03)


def test_a_fit_that_does_not_help_on_unseen_rows_leaves_the_chip_as_it_was(tmp_path):
    chip = load_chip("h100")
    rows = launch_rows()
    table = table_of(chip, tmp_path / "mine_launch.csv", rows)
    table.rows.loc[rows["kernels"].isin([100, 800]), "us"] *= 0.5  # every third shape is held out
    fits = calibrate(chip, [table])
    if not fits[0].helps:
        assert calibrated(chip, fits) == chip
        assert "[generation" not in as_toml(chip, "h100", "mine", fits)
    table.rows["us"] = np.where(rows["kernels"].isin([100, 800]), table.rows["us"], 3 * table.rows["us"])
    fits = calibrate(chip, [table])
    assert not fits[0].helps
    assert calibrated(chip, fits) == chip


def test_the_same_tables_give_the_same_file(tmp_path):
    chip = load_chip("a100")
    table = table_of(chip, tmp_path / "mine_launch.csv", launch_rows())
    assert as_toml(chip, "a100", "m", calibrate(chip, [table])) == as_toml(chip, "a100", "m", calibrate(chip, [table]))


def test_every_constant_that_a_fit_may_move_is_one_of_the_generation():
    chip = load_chip("h100")
    for names in CONSTANTS.values():
        for name in names:
            key = tuple(name.split("."))
            value = chip.generation
            for part in key:
                value = getattr(value, part)
            assert isinstance(value, float)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("notes.csv", "a,b\n", "its name does not say what it measures; expected CHIP_gemm_PRECISION"),
        ("x_gemm_bf16.csv", "m,n,us\n1,2,3\n", "column 'k' is missing"),
        ("x_gemm_bf16.csv", "m,n,k,us\n1,2,x,3\n", "row 1, column 'k' is 'x'"),
        ("x_gemm_bf16.csv", "m,n,k,us\n1,2,3,4\n", "has 1 different shapes (columns m, n, k)"),
        ("x_gemm_fp4.csv", "m,n,k,us\n" + "".join(f"{m},2,3,4\n" for m in range(1, 9)), "precision 'fp4'"),
        ("x_launch.csv", "kernels,mode,us\n" + "".join(f"{m},lazy,4\n" for m in range(1, 9)), "launch mode 'lazy'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError) as refusal:
        calibrate(load_chip("h100"), [read_kernel_table(tmp_path / name)])
    assert words in str(refusal.value)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_only_a_gpu_is_calibrated(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", str(tmp_path / "x_launch.csv"), "--chip", "sn40l"])
    assert ended.value.code == 2
    assert "sn40l is no GPU" in capsys.readouterr().err
