"""The schema: what a frame holds, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from frame_rows import record, unfit
from hypothesis import given
from hypothesis import strategies as st

from results.errors import SchemaError
from results.schema import COLUMNS, PART_COLUMNS, PhysicsError, frame, to_picoseconds

picoseconds = st.integers(min_value=0, max_value=10**14)


@given(st.tuples(*[picoseconds] * len(PART_COLUMNS)).filter(any))
def test_picoseconds_come_back_as_the_integers_they_were(parts):
    whole = to_picoseconds(frame([record(parts)])).iloc[0]
    assert [whole[name] for name in PART_COLUMNS] == list(parts)
    assert whole["seconds"] == sum(parts)


def test_columns_have_the_schemas_order_and_types():
    result = frame([record(), unfit()])
    assert list(result.columns) == list(COLUMNS)
    assert all(result[name].dtype == column.dtype for name, column in COLUMNS.items())
    assert np.isnan(result["seconds"].iloc[1])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({name: value for name, value in record().items() if name != "limiter"}, "lacks the column 'limiter'"),
        (record(extra=1), "'extra'"),
        (record(count="8"), "'count' is '8'"),
        (record(phase="dekode"), "decode, prefill"),
        (record(seconds=1.0, seconds_high=2.0), "do not sum"),
        (record(reason="why"), "reason"),
        (unfit(reason=""), "reason"),
        (unfit(matmul_s=1.0), "matmul_s"),
        (record((1, 2, 3, 4, 5, 6, 7, -8)), "negative"),
        (record(seconds_low=1.0), "between"),
        (record(seconds_high=0.0), "between"),
        (record(hbm_j=1.0), "causes that do not sum"),
        (record(matmul_j=1.0), "parts that do not sum to its 'joules'"),
        (record(joules_low=1.0), "between"),
        (unfit(joules=1.0), "joules"),
    ],
)
def test_a_row_that_is_not_of_the_schema_is_refused_by_name(row, words):
    with pytest.raises(SchemaError, match=words):
        frame([row])


@pytest.mark.parametrize(
    "changes", [{"bound_s": 1.0}, {"seconds_low": 1e-13}, {"roofline_fraction": 1.01}, {"mfu": 1.01}]
)
def test_a_result_that_beats_the_machine_is_an_internal_error(changes):
    with pytest.raises(PhysicsError, match="internal error"):
        frame([record(**changes)])
