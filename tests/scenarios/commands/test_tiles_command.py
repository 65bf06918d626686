"""``loopline tiles``: what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import loopline


def test_json_has_interval_limiter_buffers_and_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("tiles", "matmul", "--chip", "sn40l", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["limiting_stage"] == "matmul"
    assert found["buffer_bytes"] == 27262976
    assert 0.0 < found["initiation_interval_seconds"] < found["seconds"]
    assert {"HBM", "PCUs (of all)"} <= set(found["engines"])


def test_asynchrony_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = []
    for flag in ("--async", "--sync"):
        assert loopline("tiles", "flash-attention", "--chip", "h100", flag, "--json") == 0
        seconds.append(json.loads(capsys.readouterr().out)[0]["seconds"])
    assert seconds[0] < seconds[1]


PROGRAM = """
from chips.tiles import load_tile, metapipe, store_tile

def scale(x, y):
    for i in metapipe(x.shape[0] // 64):
        tile = load_tile(x, (64, 128), at=(i, 0))
        store_tile(y, tile * 2.0, at=(i, 0))
"""


def test_own_program_and_its_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scale.py"
    file.write_text(PROGRAM)
    assert loopline("tiles", f"{file}:scale", "--shape", "x=256x128", "y=256x128", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["memory_bytes"] == 2 * 2 * 256 * 128
    assert loopline("tiles", f"{file}:scale", "--shape", "x=256x128", "y=128x128") == 2
    assert "scale.py:7: tile (2, 0) of 64 x 128 begins at 128 x 0, outside of 'y'" in capsys.readouterr().err
    assert loopline("tiles", f"{file}:scale", "--shape", "x=256x64") == 2
    assert "'scale' needs --shape y=ROWSxCOLUMNS" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_is_the_same_bytes_every_time(tmp_path: Path, suffix: str) -> None:
    pictures = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for picture in pictures:
        assert loopline("tiles", "softmax", "--plot", str(picture)) == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "unknown tile program 'nothing'; there are difference-products, flash-attention"),
        (("matmul", "--chip", "tpu-v1"), "tpu-v1 runs no tile programs"),
        (("swiglu", "--chip", "h100"), "linear.py:"),
        (("none.py:scale",), "'none.py' is no file"),
        (("flash-attention", "--chip", "a100", "--async"), "has no asynchronous matrix instructions"),
        (("softmax", "--shape", "x=4096"), "--shape x=4096: expected NAME=ROWSxCOLUMNS"),
        (("softmax", "--plot", "picture.txt"), "a picture is a .png or .svg file"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loopline("tiles", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
