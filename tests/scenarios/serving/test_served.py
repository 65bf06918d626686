"""Servers side by side are each what ``serving_times`` says of them."""

from __future__ import annotations

import pandas as pd
import pytest

from results.served import SERVED
from results.store import save_table
from scenarios.point import make_point
from scenarios.serving.served import serve
from scenarios.serving.server import serving_times


def test_a_record_for_every_chip_count_and_number_of_clients():
    asked = {"input_tokens": 128, "output_tokens": 16, "requests": 16}
    frame = serve("llama-3.2-1b", ["h100", "a100"], [1, 2], [4], **asked, limits="ttft=10s")
    assert list(frame) == list(SERVED)
    records = frame.to_dict("records")
    assert [(record["chip"], record["count"]) for record in records] == [
        ("h100", 1),
        ("h100", 2),
        ("a100", 1),
        ("a100", 2),
    ]
    assert {record["kernels"] for record in records} == {"measured"}
    point = make_point("llama-3.2-1b", "h100", 1, context=1, framework="trtllm")
    served = serving_times(point, concurrency=4, **asked)
    assert records[0]["first_token_seconds"] == served.time_to_first_token
    assert records[0]["output_tokens_per_s"] == pytest.approx(16 * 16 / served.seconds)
    assert records[0]["goodput_per_s"] == pytest.approx(records[0]["requests_per_s"])
    assert served.served_well({"ttft": 0.0}) == 0.0


def test_a_frame_of_servers_is_saved_as_it_is(tmp_path):
    frame = serve("llama-3.2-1b", ["h100"], [1], [2], input_tokens=64, output_tokens=4, requests=4)
    for suffix in (".parquet", ".csv", ".json"):
        save_table(frame, tmp_path / f"rows{suffix}")
    assert pd.read_parquet(tmp_path / "rows.parquet").equals(frame)
    assert list(pd.read_csv(tmp_path / "rows.csv")) == list(pd.read_json(tmp_path / "rows.json")) == list(SERVED)
