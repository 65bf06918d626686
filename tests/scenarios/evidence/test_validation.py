"""Validation: the errors that the README reports, and what is said of tables that cannot be read or predicted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from shutil import copy

import numpy as np
import pandas as pd
import pytest

from chips import load_chip
from chips.kernels.matmul.price import price_matmul
from scenarios.errors import ScenarioError
from scenarios.evidence.validation import DATA, render, to_json, validate

# What each table may be off by (mean absolute percentage error, as a fraction).
EXPECTED = {
    "h100_gemm_bf16": 0.10,
    "a100_gemm_bf16": 0.12,
    "h100_attention_prefill_bf16": 0.15,
    "h100_attention_decode_bf16": 0.15,
    "a100_attention_prefill_bf16": 0.15,
    "a100_attention_decode_bf16": 0.15,
    "h100_collectives, AllReduce graph": 0.20,
    "h100_collectives, AllReduce nccl": 0.20,
    "a100_collectives, AllReduce graph": 0.20,
    "a100_collectives, AllReduce nccl": 0.20,
    "inference": 0.08,
    "training": 0.08,
    "serving_llama, tpot": 0.10,
    "energy_vllm, watts": 0.08,
    "energy_vllm, joules a token": 0.12,
}


def test_the_projects_own_tables_are_predicted_as_well_as_the_readme_says():
    results = {result.table: result for result in validate()}
    assert set(EXPECTED) <= set(results)
    for table, limit in EXPECTED.items():
        assert results[table].statistics.mean_ape <= limit, table
    unpredicted = {name for name, result in results.items() if result.statistics.unpredicted}
    assert unpredicted == {"collectives_new"}


@pytest.fixture
def folder(tmp_path):
    """Tables whose measured times are the predictions of a chip that nobody measured, 10% slower."""
    chip = load_chip("h100-pcie")
    shape = pd.DataFrame({"m": [1, 128, 4096], "n": [4096, 1024, 4096], "k": [4096, 8192, 4096]})
    time = price_matmul(chip, *(shape[name].to_numpy() for name in "mnk"), weights_in_turn=6).seconds
    shape["us"] = 1.1e6 * (time + chip.generation.launch.graph_gap)
    shape.to_parquet(tmp_path / "h100-pcie_gemm_bf16.parquet")
    return tmp_path


def test_a_folder_of_any_chip_is_predicted_row_by_row(folder):
    (result,) = validate(folder, by="m", worst=2)
    assert result.statistics.rows == 3
    assert result.statistics.mean_ape == pytest.approx(1 - 1 / 1.1)
    assert list(result.by) == ["1", "128", "4096"]
    assert len(result.worst) == 2


def test_json_has_the_documented_keys_as_fractions(folder):
    (record,) = json.loads(to_json(validate(folder)))
    keys = ["table", "rows", "mean_ape", "median_ape", "p90_ape", "bias", "unpredicted"]
    assert [key for key in record if key in keys] == keys
    assert record["bias"] == pytest.approx(1 / 1.1)


def test_the_printed_table_names_every_table_and_reason(folder):
    (folder / "h900_gemm_bf16.csv").write_text("m,n,k,us\n1,2,3,4\n")
    text = io.StringIO()
    render(validate(folder, worst=1), text)
    assert "h100-pcie_gemm_bf16" in text.getvalue()
    assert "unknown chip 'h900'" in text.getvalue()


def test_the_worst_rows_are_printed_in_what_was_measured(tmp_path):
    columns = "chip,backend,model,output_tokens,concurrency,tp_size,n_chips,tpot_ms,watts_all,joules_per_output_token"
    (tmp_path / "energy_any.csv").write_text(f"{columns}\nh100,vllm,qwen3-8b,1000,8,1,1,9.7,493.7,0.60356\n")
    text = io.StringIO()
    render(validate(tmp_path, worst=1), text)
    assert all(told in text.getvalue() for told in ("494 W", "0.604 J", "9.70 ms"))


def test_rows_that_cannot_be_predicted_are_counted_with_their_reason(folder):
    columns = "chip,n_chips,tp,model,launch,phase,batch,input_tokens,output_tokens,seconds,framework,source"
    rows = ["h100,3,3,llama-3.1-8b,graph,decode,1,5,200,0.01,x,y", "h100,1,1,llama-9,graph,decode,1,5,200,0.01,x,y"]
    (folder / "inference.csv").write_text("\n".join([columns, *rows]))
    result = next(result for result in validate(folder) if result.table == "inference")
    assert result.statistics.unpredicted == 2
    assert np.isnan(result.statistics.mean_ape)
    assert any("counts that divide" in reason for reason in result.reasons)
    assert any("unknown model" in reason for reason in result.reasons)
    assert json.loads(to_json([result]))[0]["mean_ape"] is None


def test_a_shape_that_cannot_be_priced_costs_only_its_own_row(tmp_path):
    columns = "batch_size,tokens,context,heads,kv_heads,head_dim,us"
    rows = ["1,1,1024,32,8,128,20", "1,1,1024,30,8,128,20"]
    (tmp_path / "h100_attention_decode_bf16.csv").write_text("\n".join([columns, *rows]))
    (result,) = validate(tmp_path)
    assert (result.statistics.rows, result.statistics.unpredicted) == (2, 1)
    assert "kv_heads" in next(iter(result.reasons))


def test_a_column_that_no_prediction_reads_is_told(tmp_path):
    (tmp_path / "b200_gemm_nvfp4.csv").write_text("m,n,k,colour,us\n1,4096,4096,red,8\n")
    (tmp_path / "h100_gemm_fp8.csv").write_text("library,m,n,k,us\nvllm,1,4096,4096,20\n")
    text = io.StringIO()
    results = validate(tmp_path)
    render(results, text)
    assert [result.unread for result in results] == [("colour",), ()]
    assert "b200_gemm_nvfp4: column 'colour' is unknown and not read" in text.getvalue()


def test_products_of_an_unknown_library_are_counted_with_the_reason(tmp_path):
    (tmp_path / "h100_gemm_fp8.csv").write_text("library,m,n,k,us\nmine,1,4096,4096,20\n")
    (result,) = validate(tmp_path)
    assert result.reasons == {"library 'mine' of matrix products; known are vllm, trtllm": 1}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("h100_gemm_bf16.csv", "m,n,us\n1,2,3\n", "column 'k' is missing"),
        ("h100_gemm_bf16.csv", "m,n,k,us\n1,2,3,4\n1,2,x,4\n", "row 2, column 'k' is 'x'"),
        ("h100_gemm_bf16.csv", "m,n,k,us\n1,2,3,0\n", "row 1, column 'us' is '0'"),
        ("h100_gemm_bf16.parquet", "no parquet", "h100_gemm_bf16.parquet"),
        ("notes.csv", "a,b\n1,2\n", "no table whose name is known"),
    ],
)
def test_a_malformed_table_is_refused_with_file_row_and_column(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError, match=words) as refusal:
        validate(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_column_that_no_table_has_is_refused(folder):
    with pytest.raises(ScenarioError, match="no table has this column"):
        validate(folder, by="nothing")


def test_tables_break_down_by_several_columns_at_once(tmp_path: Path) -> None:
    """Groups of two columns split those of one: their rows sum to the same."""
    copy(DATA / "published" / "inference.csv", tmp_path)
    (one,), (two,) = ([table.by for table in validate(tmp_path, by=by)] for by in ("chip", "chip,batch"))
    assert len(two) > len(one)
    for chip, found in one.items():
        assert found.rows == sum(part.rows for name, part in two.items() if name.split(", ")[0] == chip)
