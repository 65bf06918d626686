"""Sweeps: killed at any moment they go on, and end with the very bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from command_line import listen_to_interrupts
from ray.cluster_utils import Cluster as RayNodes

import loopline as ll
from results.atomic_file import OutputError
from scenarios.commands.main import main
from scenarios.errors import ScenarioError
from scenarios.point import make_point
from scenarios.pricing import Prices, price
from scenarios.sweeps import parts as sweep_parts
from scenarios.sweeps.sweep import sweep

SCENARIO = {
    "question": "How does decode grow?",
    "model": "llama-3.2-1b",
    "chips": ["h100", "sn40l"],
    "count": [1, 2, 4],
    "batch": [1, 3, 8, 64],
    "context": {"from": 128, "to": 8192, "step": 128},
}
TOML = """
question = "How does decode grow?"
model = "llama-3.2-1b"
chips = ["h100", "sn40l"]
count = [1, 2, 4]
batch = [1, 3, 8, 64]
context = { from = 128, to = 8192, step = 128 }
"""
POINTS = 2 * 3 * 4 * 64 * 3
DEADLINE = 300.0  # of waits below, so that a broken sweep fails instead of hanging


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    assert sweep(SCENARIO, folder, workers=1).priced == POINTS
    return contents(folder)


def started(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """``loopline sweep`` as a process of its own, once its first parts are there."""
    scenario = folder.parent / "scenario.toml"
    scenario.write_text(TOML)
    program = "from scenarios.commands.main import main; main()"
    command = [sys.executable, "-c", program, "sweep", str(scenario), "-o", str(folder), *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=listen_to_interrupts,
    )
    wait_for(lambda: len(list(folder.glob("part-*.parquet"))) >= 2 or process.poll() is not None)
    return process


def wait_for(happened: object) -> None:
    assert callable(happened)
    begin = monotonic()
    while not happened():
        assert monotonic() - begin < DEADLINE
        sleep(0.005)


def alive(session: int) -> list[int]:
    """The processes of a session that still run."""
    listed = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, sid, state in rows if int(sid) == session and not state.startswith("Z")]


def test_rows_are_those_of_single_points(tmp_path: Path) -> None:
    small = SCENARIO | {"context": [100, 200, 300, 400, 500, 600, 700], "count": [1, 3]}
    sweep(small, tmp_path / "sweep", workers=1)
    rows = ll.load(tmp_path / "sweep")
    for _, row in rows[rows["count"] == 1].sample(20, random_state=1).iterrows():
        point = make_point(
            row["model"],
            row["chip"],
            row["count"],
            strategy=row["strategy"],
            batch=row["batch"],
            context=row["context"],
        )
        assert price([point]).record()["seconds"] == row["seconds"]
    refused = rows[rows["count"] == 3]
    assert len(refused) == len(rows) / 2
    assert not refused["fits"].any()
    assert refused["reason"].str.contains("3").all()


def test_the_folder_does_not_depend_on_the_workers(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    sweep(SCENARIO, tmp_path / "sweep", workers=3)
    assert contents(tmp_path / "sweep") == undisturbed
    assert json.loads(undisturbed["manifest.json"])["complete"] is True


def test_a_killed_sweep_goes_on_and_nothing_is_priced_twice(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = tmp_path / "sweep"
    process = started(folder, "--workers", "1")
    process.kill()
    process.wait()
    wait_for(lambda: not alive(process.pid))  # its workers end with it
    there = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert json.loads((folder / "manifest.json").read_text())["complete"] is False
    assert 0 < len(ll.load(folder)) < POINTS  # what is there can be read already
    progress = sweep(SCENARIO, folder, workers=1)
    assert progress.kept + progress.priced == POINTS
    assert progress.kept == sum(len(ll.load(folder / name)) for name in there)
    assert contents(folder) == undisturbed
    assert {name: (folder / name).stat().st_mtime_ns for name in there} == there


def test_a_killed_worker_costs_only_its_part(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = tmp_path / "sweep"
    process = started(folder, "--workers", "2")
    workers = [pid for pid in alive(process.pid) if b"forkserver" in _command(pid) and pid != process.pid]
    os.kill(max(workers), signal.SIGKILL)
    assert process.wait(DEADLINE) == 0
    assert contents(folder) == undisturbed


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_script_without_a_guard_may_sweep(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from loopline import sweep\nprint(sweep('one-slow-chip', 'sweep', workers=1).priced)\n")
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert (run.stdout, run.stderr) == ("12\n", "")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = tmp_path / "sweep"
    process = started(folder, "--workers", "1")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    (line,) = error.decode().strip().splitlines()
    assert "the same command goes on" in line
    sweep(SCENARIO, folder, workers=1)
    assert contents(folder) == undisturbed


def test_fresh_starts_over(tmp_path: Path) -> None:
    few = SCENARIO | {"context": 512}
    sweep(few, tmp_path / "sweep", workers=1)
    assert sweep(few, tmp_path / "sweep", workers=1).priced == 0
    assert sweep(few, tmp_path / "sweep", workers=1, fresh=True).priced == 72


def test_a_failing_point_is_a_row_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    priced = sweep_parts.price

    def fails(points: list[object]) -> Prices:
        if any(getattr(point, "batch", 0) == 3 for point in points):
            raise ZeroDivisionError("a bug")
        return priced(points)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_parts, "price", fails)
    asked = {"model": "llama-3.2-1b", "chip": "h100", "count": 1, "phase": "decode", "launch": "graph"}
    requests = [
        asked | {"batch": batch, "context": context} for batch, context in [(1, 512), (3, 512), (2, 512), (2, 10**9)]
    ]
    rows = sweep_parts.price_part(requests, "any")
    assert rows["fits"].tolist() == [True, False, True, False]
    assert rows["reason"][1] == "internal error: ZeroDivisionError: a bug"
    assert "1000000000" in rows["reason"][3]
    assert rows["context"].tolist() == [512, 512, 512, 10**9]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"executor": "threads"}, "--executor 'threads'"),
        ({"workers": 0}, "--workers is 0"),
        ({"address": "a:1"}, "--address"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, change: dict[str, object], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        sweep(SCENARIO, tmp_path / "sweep", **change)  # type: ignore[arg-type]
    assert not (tmp_path / "sweep").exists()


def test_two_sweeps_cannot_write_one_folder(tmp_path: Path) -> None:
    process = started(tmp_path / "sweep", "--workers", "1")
    try:
        if process.poll() is None:
            with pytest.raises(OutputError, match="another sweep"):
                sweep(SCENARIO, tmp_path / "sweep", workers=1)
    finally:
        process.kill()
        process.wait()


def test_an_unknown_chip_is_refused_before_the_first_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "what-fits", "-o", str(tmp_path / "sweep"), "--set", "chips=h1000"])
    assert ended.value.code == 2
    assert "h1000" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_ray_gives_the_same_folder_though_workers_are_killed_and_a_node_dies(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    nodes = RayNodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = nodes.add_node(num_cpus=1)
        folder = tmp_path / "sweep"
        process = started(folder, "--executor", "ray", "--address", nodes.address)
        workers = _ray_workers(nodes)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        nodes.remove_node(lost, allow_graceful=False)
        assert process.poll() is None  # it was at work when they died
        assert process.wait(DEADLINE) == 0
    finally:
        nodes.shutdown()
    assert workers
    assert contents(folder) == undisturbed


def _ray_workers(nodes: RayNodes) -> list[int]:
    """The workers of these nodes that price points: Ray names them after their task, and a raylet started them."""
    session = nodes.head_node.get_session_dir_path().encode()
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(pid) for pid, parent, command in rows if "ray::_price" in command and session in _command(int(parent))]
