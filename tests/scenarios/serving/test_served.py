"""Servers side by side are each what ``serving_times`` says of them."""

from __future__ import annotations

import pytest

from scenarios.point import make_point
from scenarios.serving.load import serving_times
from scenarios.serving.served import serve


def test_a_record_for_every_chip_count_and_number_of_clients():
    asked = {"input_tokens": 128, "output_tokens": 16, "requests": 16}
    records = serve("llama-3.2-1b", ["h100", "a100"], [1, 2], [4], **asked)
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
    turn = served.time_to_first_token + 15 * served.time_per_output_token
    assert records[0]["output_tokens_per_s"] == pytest.approx(4 * 16 / turn)
