"""The sentences about idle elements carry the numbers of the array."""

from __future__ import annotations

from chips.systolic.array import SystolicArray
from chips.systolic.idle_elements import why_idle


def test_a_vector_is_told_that_it_is_one_wave():
    array = SystolicArray(4, 4, "weight", False)
    told = why_idle(array, 1, 4, 4)
    busy = 16 / (array.cycles(1, 4, 4) * 16)
    assert f"{busy:.1%} of the elements" in told
    assert "A matrix-vector product has only one" in told
    assert "With 64 of them" in told


def test_a_long_stream_needs_no_advice():
    assert "With " not in why_idle(SystolicArray(4, 4, "weight", True), 1024, 4, 4)
