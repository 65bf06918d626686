"""A measured chip left out whole: its datasheet and the structure of its generation, with the other's fitted constants.

That is how chips are predicted that nobody measured (docs/unmeasured.md).
"""

from __future__ import annotations

import numpy as np
import pytest

from chips.spec import Gpu, load_chip
from scenarios.evidence.kernel_tables import read_kernel_table
from scenarios.evidence.validation import DATA

MEASURED = DATA / "measured"
# What one knows of a generation without measuring a kernel: its instructions, its copy engine, its library's choices.
STRUCTURE = {
    "matmul": (
        "tile_sides",
        "instruction_rows",
        "in_flight_bytes",
        "memory_latency_cycles",
        "stages",
        "step_bytes",
        "most_resident",
        "most_splits",
    ),
    "attention": (
        "kernel",
        "synchronous_matrix_efficiency",
        "unsplit_blocks",
        "most_splits",
        "planned_tokens",
    ),
}


def with_constants_of(chip: Gpu, other: Gpu, *, structure: bool) -> Gpu:
    """``chip``'s datasheet with all coefficients of ``other``'s generation, or all but the structure of its own."""
    generation = other.generation
    for family, names in STRUCTURE.items() if structure else ():
        own = {name: getattr(getattr(chip.generation, family), name) for name in names}
        generation = generation.model_copy(update={family: getattr(generation, family).model_copy(update=own)})
    return chip.model_copy(update={"generation": generation})


def left_out(name: str, other: str, table: str, *, structure: bool) -> tuple[float, float]:
    """Mean absolute error and bias of one of its tables."""
    chip, donor = load_chip(name), load_chip(other)
    assert isinstance(chip, Gpu)
    assert isinstance(donor, Gpu)
    measured = read_kernel_table(MEASURED / f"{name}_{table}_bf16.parquet")
    predicted = measured.predict(with_constants_of(chip, donor, structure=structure), measured.rows)
    ratio = predicted / measured.measured
    return float(np.abs(ratio - 1.0).mean()), float(np.median(ratio))


@pytest.mark.parametrize(("name", "other"), [("a100", "h100"), ("h100", "a100")])
@pytest.mark.parametrize("table", ["gemm", "attention_prefill", "attention_decode"])
def test_the_structure_of_its_generation_takes_away_some_of_what_another_s_constants_miss(
    name: str, other: str, table: str
) -> None:
    plain, plain_bias = left_out(name, other, table, structure=False)
    better, bias = left_out(name, other, table, structure=True)
    assert better < 0.9 * plain
    assert abs(bias - 1.0) < abs(plain_bias - 1.0) + 0.03
