"""The picture of what chips that differ cost: a bar for each row that has them, and a refusal where none has."""

from __future__ import annotations

import pytest
from frame_rows import record

from results.errors import SchemaError
from results.pictures.variation import variation_costs
from results.schema import frame


def test_there_is_a_bar_in_each_panel_for_each_row_whose_chips_differ():
    slower = dict.fromkeys(("alike_s",), 30e-12)
    rows = frame([record(variation="straggler=0.1@3", **slower), record(strategy="fused_decoder"), record(count=4)])
    picture = variation_costs(rows)
    widths = [[bar.get_width() for bar in axes.patches] for axes in picture.axes]
    assert widths[0] == pytest.approx([6e-6])
    assert widths[1] == pytest.approx([100 / 5])
    assert "h100 times 8, kernel loop" in picture.description


def test_chips_that_are_all_alike_have_no_picture():
    with pytest.raises(SchemaError, match="give --variation"):
        variation_costs(frame([record()]))
