"""``loopline allreduce`` between real MPI ranks, started by it or by mpiexec; what happens when one dies or hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import listen_to_interrupts

from cluster.mpiexec import mpiexec_command
from collectives.all_reduce import schedule_row
from collectives.links import links_of

LOOPLINE = [sys.executable, "-c", "from scenarios.commands.main import main; main()", "allreduce"]
TIMEOUT = 1.0
# What else an end may take: processes that start, and rank that say that they live, on a machine that is busy.
SLACK = 300.0
STARTS = {
    "loopline": lambda ranks: [*LOOPLINE, "--executor", "mpi", "--ranks", str(ranks)],
    "mpiexec": lambda ranks: [*mpiexec_command(ranks)[:-1], *LOOPLINE],
}

# A rank that the command starts itself is a child of the process that mpiexec knows, which tells how it ended.
PROCESSES_A_RANK = {"loopline": 2, "mpiexec": 1}


def run(start: str, ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*STARTS[start](ranks), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize("start", STARTS)
def test_simulated_times_of_ranks_are_the_prices(start):
    done = run(start, 3, "--algorithm", "ring", "two_shot", "--bytes", "1", "1001", "64KiB", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["algorithm"], row["bytes"]) for row in rows] == [
        (name, size) for size in (1, 1001, 65536) for name in ("ring", "two_shot")
    ]
    for row in rows:
        assert row["seconds"] == schedule_row(links_of("h100", 3), row["bytes"], row["algorithm"]).seconds
        assert row["runs_as"] == "3 MPI ranks"


def test_all_algorithms_between_ranks_drawn_and_traced(tmp_path: Path):
    plot, trace = tmp_path / "plot.svg", tmp_path / "trace.json"
    done = run("loopline", 2, "--compare", "--bytes", "8KiB", "--plot", str(plot), "--trace", str(trace))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" right ") > 8
    assert plot.stat().st_size
    processes = {event["pid"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert len(processes) >= 2 * done.stdout.count(" right ")  # one a rank


def test_calibration_puts_predicted_beside_measured(tmp_path: Path):
    plot = tmp_path / "plot.png"
    arguments = ("--calibrate", "--algorithm", "ring", "one_shot", "--bytes", "8KiB", "256KiB")
    done = run("loopline", 2, *arguments, "--json", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 4
    for row in rows:
        assert row["predicted_over_measured"] == pytest.approx(row["predicted_seconds"] / row["measured_seconds"])
        assert min(row["bytes_per_s"], row["ping_pong_bytes_per_s"], row["measured_seconds"]) > 0
        assert row["predicted_seconds"] >= 2e-9
    assert plot.stat().st_size


def test_a_mistake_is_told_once_by_ranks_that_mpiexec_started():
    done = run("mpiexec", 3, "--bytes", "8XB")
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == "loopline: --bytes 8XB: expected a whole number of bytes, such as 65536, 64KiB, 1.5MiB, 1MB or 1e9."
    )
    done = run("mpiexec", 3, "--ranks", "4")
    assert "--ranks 4: ranks run one number at a time, here 3" in done.stderr


def test_buffers_that_do_not_fit_this_machine_are_refused():
    done = run("loopline", 8, "--algorithm", "ring", "--bytes", "1TiB")
    assert done.returncode == 2
    assert "8 ranks need" in done.stderr
    assert done.stderr.count("\n") == 1


def ranks_below(process: int, start: str) -> list[int]:
    """The processes of ranks under ``process``, each the child of a proxy of ``mpiexec`` or of what watches over it."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat=,comm="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, state, _ in rows if not state.startswith("Z")}

    def under(pid: int) -> bool:
        return pid == process or (pid in parents and under(parents[pid]))

    found = {int(pid) for pid, _, _, name in rows if name.startswith("hydra") and under(int(pid))}
    for _ in range(PROCESSES_A_RANK[start]):
        found = {pid for pid, parent in parents.items() if parent in found}
    return sorted(found)


def exists(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def ranks_up(process: int, start: str, ranks: int) -> list[int]:
    """The processes of all ranks under ``process``, once they are there."""
    until = time.monotonic() + SLACK
    while len(found := ranks_below(process, start)) < ranks and time.monotonic() < until:
        time.sleep(0.05)
    assert len(found) == ranks
    return found


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The process of a command, which is asked to end where the test fails, so that its ranks do not stay."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_interrupts, **options
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_end_leaves_nothing(tmp_path, how, code):
    command = [*STARTS["loopline"](3), "--algorithm", "ring", "--bytes", *map(str, range(1, 20_001))]
    with started(command, env=os.environ | {"TMPDIR": str(tmp_path)}) as process:
        found = ranks_up(process.pid, "loopline", 3)
        process.send_signal(how)
        _, error = process.communicate(timeout=SLACK)
    assert (process.returncode, error) == (code, "")
    assert not [pid for pid in found if exists(pid)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("start", "how", "said"),
    [
        ("loopline", signal.SIGKILL, ["was lost: Killed (signal 9)"]),
        ("loopline", signal.SIGSTOP, ["died or hangs: ", "did not all come up within"]),
        ("mpiexec", signal.SIGKILL, ["Killed (signal 9)"]),
        ("mpiexec", signal.SIGSTOP, ["died or hangs: ", "did not all come up within"]),
    ],
)
def test_a_rank_that_dies_or_hangs_ends_the_run_and_nothing_is_left(start, how, said):
    ranks = 3
    command = [*STARTS[start](ranks), "--timeout", str(TIMEOUT), "--algorithm", "ring", "--bytes"]
    with started([*command, *map(str, range(1, 20_001))]) as process:
        found = ranks_up(process.pid, start, ranks)
        time.sleep(1.0)
        os.kill(found[1], how)
        out, error = process.communicate(timeout=TIMEOUT + SLACK)
    assert process.returncode != 0
    assert any(sentence in error + out for sentence in said), (out, error)
    assert sum(line.startswith("loopline: ") for line in error.splitlines()) == (
        0 if "mpiexec" in start and how == 9 else 1
    )
    assert "Traceback" not in error
    until = time.monotonic() + SLACK
    while any(exists(pid) for pid in found) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in found if exists(pid)]
