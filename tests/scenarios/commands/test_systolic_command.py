"""``loopline systolic`` and ``loopline tpu-v1``: what they print, draw and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import loopline
from PIL import Image

from chips.systolic.array import SystolicArray


def test_every_clock_of_the_walk_adds_up_to_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("systolic", "4x4", "--matvec", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["result"] == [[54, 37, 47, 57]]
    assert len(found["clocks"]) == found["cycles"] == SystolicArray(4, 4).cycles(1, 4, 4)
    busy = sum(sum(map(sum, clock["busy"])) for clock in found["clocks"])
    assert busy == 16
    assert found["busy_elements"] == pytest.approx(busy / (16 * found["cycles"]))


@pytest.mark.parametrize("dataflow", ["weight", "output", "input"])
def test_text_shows_each_clock_once(dataflow: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("systolic", "3x3", "--product", "5x4x2", "--dataflow", dataflow) == 0
    printed = capsys.readouterr().out
    assert printed.count("busy") >= SystolicArray(3, 3, dataflow).cycles(5, 4, 2)  # type: ignore[arg-type]


def test_large_products_are_counted_not_walked(capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("systolic", "256x256", "--product", "8192x4096x4096", "--double-buffered", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["cycles"] == SystolicArray(256, 256, double_buffered=True).cycles(8192, 4096, 4096)
    assert "clocks" not in found


def test_pictures_are_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving, panels = tmp_path / "walk.gif", tmp_path / "walk.png"
    for path in (moving, panels):
        assert loopline("systolic", "2x2", "--matvec", "--plot", str(path)) == 0
    with Image.open(moving) as picture:
        assert picture.n_frames == SystolicArray(2, 2).cycles(1, 2, 2)  # type: ignore[attr-defined]
    with Image.open(panels) as picture:
        assert picture.width > picture.height
    assert sorted(file.name for file in tmp_path.iterdir()) == ["walk.gif", "walk.png"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["4by4"], "4by4"),
        (["4x0"], "4x0"),
        (["4x4", "--product", "1x2"], "1x2"),
        (["4x4", "--dataflow", "row"], "row"),
        (["4x4", "--matvec", "--product", "1x4x4"], "--matvec"),
        (["64x64", "--matvec", "--plot", "large.gif"], "64x64"),
        (["4x4", "--matvec", "--plot", "walk.pdf"], "walk.pdf"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("systolic", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert named in error
    assert len(error.splitlines()) == 1


def test_tpu_v1_shows_shares_that_sum_beside_the_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("tpu-v1", "--json") == 0
    found = {row["application"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(found) == ["MLP0", "MLP1", "LSTM0", "LSTM1", "CNN0", "CNN1"]
    for row in found.values():
        assert row["active"] + row["weight_stall"] + row["weight_shift"] + row["non_matrix"] == pytest.approx(1)
    assert loopline("tpu-v1") == 0
    assert f"{found['CNN0']['tops']:.1f}" in capsys.readouterr().out
