"""Pictures: every kind draws, says the same in equal bytes, describes itself, and refuses what it cannot show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from frame_rows import record, row, unfit

import loopline as ll
from results.atomic_file import OutputError
from results.errors import SchemaError
from results.pictures.canvas.palette import PART_COLOURS, STRATEGY_STYLES, strategy_styles
from results.pictures.canvas.panels import panels
from results.pictures.canvas.picture import Picture
from results.pictures.kinds import KINDS
from results.pictures.roofline import roofline
from results.schema import frame

# Machado, Oliveira and Fernandes 2009: linear RGB as people without one kind of cone see it.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
# CIELAB distance of colours that stand beside each other; 2.3 is just noticeable.
APART = 15.0


@pytest.fixture(scope="module")
def rows():
    points = [
        row(
            10.0 / count ** (0.9 if name == "kernel_loop" else 0.5),
            chip=chip,
            launch=launch,
            count=count,
            strategy=name,
            batch=batch,
        )
        for chip, launch in (("h100", "graph"), ("sn40l", "hardware"))
        for count in (1, 2, 8)
        for name in STRATEGY_STYLES
        for batch in (1, 16)
    ]
    return frame([*points, unfit(count=16)])


def lab(colour, vision):
    """CIELAB (D65) of an sRGB colour, seen so."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(vision) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(np.array(to_xyz) @ seen / [0.9505, 1.0, 1.089], 1e-6))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", COLOUR_VISION)
@pytest.mark.parametrize(
    "colours", [[colour for _, colour in PART_COLOURS.values()], [colour for colour, _ in STRATEGY_STYLES.values()]]
)
def test_colours_are_told_apart_with_any_colour_vision(colours, vision):
    seen = [lab(colour, COLOUR_VISION[vision]) for colour in colours]
    distances = [np.linalg.norm(one - other) for place, one in enumerate(seen) for other in seen[:place]]
    assert min(distances) > APART


def test_a_strategy_keeps_its_colour_whatever_stands_beside_it():
    alone = strategy_styles(["kernel_loop"])["kernel_loop"]
    beside = strategy_styles(["mine", "kernel_loop", "yours"])
    assert beside["kernel_loop"] == alone
    assert len(set(beside.values())) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_every_kind_is_the_same_bytes_for_the_same_rows(tmp_path, rows, kind, suffix):
    for name in ("one", "two"):
        ll.plot(rows, kind).save(tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def shown(picture):
    """What of a picture stands in a page, without the comments in it."""
    return re.sub(r"<!--.*?-->", "", picture.inline_svg("it"), flags=re.DOTALL)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_described_in_words_with_a_number(rows, kind):
    picture = ll.plot(rows, kind)
    assert re.search(r"\d", picture.description)
    assert picture._repr_svg_().startswith("<?xml")
    assert "mathdefault" not in shown(picture)  # the powers along an axis are drawn, not told


def test_powers_along_an_axis_are_drawn():
    picture = Picture(4, 3, "Powers of ten, 1 to 1000.")
    axes = picture.add_subplot()
    axes.loglog([1, 1000], [1, 1e12])
    axes.set_title("a $name$ of somebody's")
    assert "mathdefault" not in shown(picture)
    assert "a $name$ of somebody" in shown(picture)


def test_two_pictures_share_no_id_on_a_page(rows):
    one, two = (ll.plot(rows, kind).inline_svg(kind) for kind in ("scaling", "heatmap"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert not ids[0] & ids[1]
    for svg, own in ((one, ids[0]), (two, ids[1])):
        ElementTree.fromstring(svg)
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= own
        assert 'role="img" aria-label="' in svg


def test_a_heat_map_prints_the_speedups_themselves(rows):
    one = rows.loc[(rows["chip"] == "h100") & (rows["batch"] == 1) & rows["fits"]]
    svg = ll.plot(one, "heatmap").inline_svg("heat")
    for ratio in (1.0, 2**0.4, 8**0.4):
        assert f">{ratio:.2f}×<" in svg


def test_scaling_prints_the_efficiency_at_the_end_of_each_curve(rows):
    one = rows.loc[(rows["chip"] == "h100") & (rows["batch"] == 1) & rows["fits"]]
    svg = ll.plot(one, "scaling").inline_svg("scaling")
    assert f">{100 * 8**-0.1:.0f}%<" in svg
    assert f">{100 * 8**-0.5:.0f}%<" in svg


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("pie", {}, "breakdown, scaling"),
        ("heatmap", {"fast": "magic"}, "'magic'"),
        ("heatmap", {"rows": "seconds"}, "'seconds' is no input"),
        ("heatmap", {"rows": "colour"}, "'colour' is no input"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(rows, kind, options, words):
    with pytest.raises(SchemaError, match=words):
        ll.plot(rows, kind, **options)


def test_pictures_of_too_much_or_too_little_are_refused(tmp_path, rows):
    many = frame([row(1.0, batch=batch, context=context) for batch in range(1, 20) for context in range(1, 10)])
    with pytest.raises(SchemaError, match="at most 120 rows, not 171"):
        ll.plot(many, "breakdown")
    with pytest.raises(SchemaError, match="171 panels"):
        ll.plot(pd.concat([many, many.assign(count=16)], ignore_index=True), "scaling")
    with pytest.raises(SchemaError, match="two counts"):
        ll.plot(rows.loc[rows["count"] == 1], "scaling")
    with pytest.raises(SchemaError, match="no row fits"):
        ll.plot(frame([unfit()]), "pareto")
    with pytest.raises(OutputError, match="pdf"):
        ll.plot(rows, "pareto").save(tmp_path / "trade.pdf")


def test_a_roofline_names_what_takes_the_time_and_draws_a_cache_where_there_is_one():
    operators = pd.DataFrame(
        {
            "operator": ["large product", "norm"],
            "part": ["matmul_s", "other_s"],
            "calls": [32, 32],
            "seconds": [1e-5, 1e-7],
            "flop_per_byte": [100.0, 0.6],
            "flop_per_s": [3e14, 1e11],
            "roof_fraction": [0.9, 0.1],
        }
    )
    limits = {"peak_flop_per_s": 1e15, "memory_bytes_per_s": 3e12}
    picture = roofline([("chip", operators, limits)], "title")
    svg = picture.inline_svg("roofline")
    assert "large product, 99%" in svg
    assert ">norm" not in svg
    assert "L2" not in svg
    assert "99%" in picture.description
    assert "L2 8" in roofline([("chip", operators, limits | {"cache_bytes_per_s": 8e12})], "title").inline_svg("r")


def test_a_title_leaves_out_what_goes_without_saying():
    rows = frame([record(variation=text) for text in ("", "straggler=0.1@0")]).assign(output_tokens=0)
    common, parts = panels(rows, ("count",))
    assert "output tokens" not in common
    assert [title for title, _ in parts] == ["alike chips", "straggler=0.1@0"]
    common, _ = panels(rows.iloc[:1], ("count",))
    assert ", ," not in common
    assert not common.endswith(", ")


def test_a_cell_that_does_not_fit_says_so_and_one_without_a_row_is_empty():
    rows = [
        record(count=count, batch=batch, strategy=name) for count, batch in ((1, 1), (2, 4)) for name in STRATEGY_STYLES
    ]
    rows += [unfit(count=1, batch=4, strategy=name) for name in STRATEGY_STYLES]
    axes = ll.plot(frame(rows), "heatmap", rows="batch").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1.00×", "1.00×", "does not\nfit"]
