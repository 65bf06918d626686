"""Systolic arrays: the machine against its closed form, NumPy in the same types, and SCALE-Sim's cycle counts."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.systolic.array import Cycle, Dataflow, Matrix, Run, SystolicArray, round_to_bf16
from scenarios.evidence.validation import DATA

SCALESIM = DATA / "scalesim_cycles.csv"
DATAFLOWS: dict[str, Dataflow] = {"ws": "weight", "os": "output", "is": "input"}

arrays = st.builds(
    SystolicArray,
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    dataflow=st.sampled_from(list(DATAFLOWS.values())),
    double_buffered=st.booleans(),
    trimmed=st.booleans(),
)
shapes = st.tuples(st.integers(1, 18), st.integers(1, 18), st.integers(1, 18))


def int8(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def watched(array: SystolicArray, a: Matrix, b: Matrix) -> Run:
    """What the array makes of operands that move through it; the same, to the last bit, where nobody watches."""
    run, unwatched = array.run(a, b, lambda cycle: None), array.run(a, b)
    assert (run.cycles, run.product.dtype) == (unwatched.cycles, unwatched.product.dtype)
    assert run.product.tobytes() == unwatched.product.tobytes()
    np.testing.assert_array_equal(run.utilisation, unwatched.utilisation)
    return run


@given(arrays, shapes, st.integers(0, 2**32))
@settings(max_examples=150)
def test_machine_equals_closed_form_and_numpy(array: SystolicArray, shape: tuple[int, int, int], seed: int) -> None:
    m, k, n = shape
    a, b = int8(seed, m, k), int8(seed + 1, k, n)
    run = watched(array, a, b)
    assert run.cycles == len(run.utilisation) == array.cycles(m, k, n)
    assert run.product.dtype == np.int32
    np.testing.assert_array_equal(run.product, a.astype(np.int32) @ b.astype(np.int32))
    assert run.utilisation.max() <= 1.0
    assert round(run.utilisation.sum() * array.rows * array.columns) == m * k * n


@given(arrays, shapes)
def test_double_buffering_and_trimming_never_cost_a_clock(array: SystolicArray, shape: tuple[int, int, int]) -> None:
    serial = SystolicArray(array.rows, array.columns, array.dataflow)
    assert array.cycles(*shape) <= serial.cycles(*shape)


@pytest.mark.parametrize(
    "row", list(csv.DictReader(SCALESIM.read_text().splitlines())), ids=lambda row: "-".join(row.values())
)
def test_cycles_equal_scalesim(row: dict[str, str]) -> None:
    """SCALE-Sim reports the index of the last clock, one less than their number; nothing else differs."""
    array = SystolicArray(int(row["rows"]), int(row["cols"]), DATAFLOWS[row["dataflow"]])
    assert array.cycles(int(row["m"]), int(row["k"]), int(row["n"])) - 1 == float(row["total_cycles"])


@given(arrays, shapes, st.integers(0, 2**32))
@settings(max_examples=60)
def test_bf16_is_bit_equal_to_numpy_in_the_same_order(
    array: SystolicArray, shape: tuple[int, int, int], seed: int
) -> None:
    m, k, n = shape
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((m, k)).astype(np.float32), random.standard_normal((k, n)).astype(np.float32)
    run = watched(array, a, b)
    a16, b16 = round_to_bf16(a), round_to_bf16(b)
    expected = np.zeros((m, n), np.float32)
    # A stationary output adds along all of k; else each tile's rows are summed first, then the tiles.
    height = k if array.dataflow == "output" else array.rows
    for tile in range(0, k, height):
        part = np.zeros((m, n), np.float32)
        for i in range(tile, min(tile + height, k)):
            part += a16[:, i : i + 1] * b16[i]
        expected += part
    assert run.product.dtype == np.float32
    np.testing.assert_array_equal(run.product.view(np.uint32), expected.view(np.uint32))


def test_int8_sums_wrap_as_numpy_does() -> None:
    a = np.full((1, 140_000), -128, np.int8)
    product = SystolicArray(1024, 1, "output").run(a, a.T).product
    np.testing.assert_array_equal(product, a.astype(np.int32) @ a.T.astype(np.int32))
    assert product[0, 0] < 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, 1.0),
        (1.0 + 2.0**-8, 1.0),  # halfway, to even
        (1.0 + 3 * 2.0**-8, 1.0 + 2.0**-6),  # halfway, to even
        (1.0 + 2.0**-8 + 2.0**-20, 1.0 + 2.0**-7),
        (-3.4e38, -np.inf),
        (3.38e38, 3.3762e38),
        (np.nan, np.nan),
    ],
)
def test_bf16_rounds_to_nearest_even(value: float, expected: float) -> None:
    np.testing.assert_allclose(round_to_bf16(np.array([value])), [expected], rtol=1e-3 if expected > 2 else 0)


def test_every_element_of_a_matrix_vector_product_works_once() -> None:
    seen: list[np.ndarray] = []

    def watch(cycle: Cycle) -> None:
        seen.append(cycle.busy.copy())

    run = SystolicArray(4, 4).run(int8(0, 1, 4), int8(1, 4, 4), watch)
    assert run.cycles == 4 + 7
    np.testing.assert_array_equal(np.sum(seen, axis=0), np.ones((4, 4)))
    for clock in range(7):
        np.testing.assert_array_equal(seen[4 + clock], np.add.outer(np.arange(4), np.arange(4)) == clock)


def test_long_streams_fill_the_array() -> None:
    busy = SystolicArray(8, 8, double_buffered=True).run(int8(0, 64, 64), int8(1, 64, 64)).utilisation
    assert busy[8 + 14 : -14].min() == 1.0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (int8(0, 2, 3), int8(0, 4, 2), "do not multiply"),
        (int8(0, 2, 3), np.ones((3, 2)), "int8 and the other is float"),
        (np.ones((2, 2), np.int64), np.ones((2, 2), np.int64), "not int64"),
        (int8(0, 0, 3), int8(0, 3, 2), "none empty"),
    ],
)
def test_wrong_operands_are_refused(a: Matrix, b: Matrix, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SystolicArray(4, 4).run(a, b)
