"""One grammar of sizes and times, for every option that takes one."""

from __future__ import annotations

import pytest

from results.units import format_bytes
from scenarios.errors import ScenarioError
from scenarios.quantities import parse_bandwidth, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64KiB", 65536), ("64 kib", 65536), ("1.5MiB", 3 * 2**19), ("80MB", 80_000_000), ("1g", 10**9), ("1e9", 10**9)],
)
def test_sizes_are_read_alike_as_bytes_and_as_bandwidth(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    if size >= 1e6:
        assert parse_bandwidth(text, "--bandwidth") == parse_bandwidth(f"{text}/s", "--bandwidth") == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1.3", "1XB", "1e999", "nan", "inf", "2TiB", "0", "9" * 5000, "1e-3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="--bytes "):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "nan", "inf", "1e300", "1e-300", "99999999TB"])
def test_what_is_no_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(
        ScenarioError, match=r"--bandwidth .*: expected bytes a second from 1e\+06 to 1e\+18, such as 50GB"
    ):
        parse_bandwidth(text, "--bandwidth")


@pytest.mark.parametrize("text", ["", "x", "-1us", "1e300", "9" * 5000, "nan"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"--latency .*: expected a time"):
        parse_seconds(text, "--latency")


@pytest.mark.parametrize("size", [1, 1000, 1024, 1001, 80_000_000, 128_000_000, 65536, 3 * 2**19, 2**40, 10**12, 39742])
def test_a_size_that_is_shown_is_read_as_the_same(size: int) -> None:
    assert parse_bytes(format_bytes(size).replace(",", "")) == size
    assert len(format_bytes(size)) <= len(f"{size:,} B")
