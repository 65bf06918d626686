"""``loopline training``: its numbers are those of the point, its stages add up, and its picture shows every bar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loopline import compare
from results.errors import SchemaError
from results.pictures.training import MOST_BARS, Bar, training
from scenarios.commands.main import main

COMMAND = ("training", "llama-2-7b", "--chip", "h100", "--count", "16", "--batch", "16")
SPLIT = "tensor=2,pipeline=4,interleaved=2"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--json", *arguments])
    assert not ended.value.code
    (record,) = json.loads(capsys.readouterr().out)
    return dict(record)


@pytest.mark.parametrize("split", [SPLIT, "tensor=2", "tensor=16,micro-batch=4"])
def test_the_step_is_that_of_compare_and_stages_fill_it(capsys: pytest.CaptureFixture[str], split: str) -> None:
    step = told(capsys, "--parallel", split, "--strategy", "kernel_loop")
    row = compare("llama-2-7b", "h100", 16, phase="train", batch=16, parallel=split, strategy="kernel_loop").iloc[0]
    assert step["seconds"] == row["seconds"]
    assert step["mfu"] == pytest.approx(row["mfu"])
    stages = step["stages"]
    assert isinstance(stages, list)
    assert sum(stage["decoders"] for stage in stages) == 32
    for stage in stages:
        parts = (stage[f"{part}_s"] for part in ("forward", "backward", "optimizer", "waiting"))
        assert sum(parts) == pytest.approx(row["seconds"], rel=1e-9)
        assert stage["waiting_s"] >= -1e-12


def test_replicas_have_network_time_and_one_replica_none(capsys: pytest.CaptureFixture[str]) -> None:
    alone = told(capsys, "--parallel", "tensor=4,pipeline=4")
    shared = told(capsys, "--parallel", SPLIT)
    assert [stage["network_s"] for stage in alone["stages"]] == [0.0] * 4  # type: ignore[attr-defined]
    assert all(stage["network_s"] > 0 for stage in shared["stages"])  # type: ignore[attr-defined]
    assert (alone["replicas"], shared["replicas"]) == (1, 2)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_picture_is_written_and_described(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"step{suffix}"
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, "--parallel", SPLIT, "--plot", str(path), "--quiet"])
    assert not ended.value.code
    assert path.stat().st_size > 5_000


def test_bars_lie_where_they_ran() -> None:
    bars = [Bar(0, "forward", 0.0, 1.0, "0"), Bar(0, "backward", 1.0, 3.0, "0"), Bar(1, "network", 3.0, 4.0)]
    picture = training(bars, "step")
    assert "4 s on 2 stages, which compute 38%" in picture.description
    drawn = {(patch.get_x(), patch.get_x() + patch.get_width()) for patch in picture.axes[0].patches}
    assert drawn == {(0.0, 4.0), (0.0, 1.0), (1.0, 3.0), (3.0, 4.0)}
    with pytest.raises(SchemaError, match="fewer micro-batches"):
        training(bars * MOST_BARS, "step")


def test_what_does_not_fit_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["training", "llama-2-70b", "--chip", "h100", "--count", "8", "--batch", "8"])
    assert ended.value.code == 2
    assert "GB a chip on 8 x h100" in capsys.readouterr().err
