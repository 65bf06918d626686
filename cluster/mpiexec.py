"""Ranks as processes of this machine under ``mpiexec`` (from the ``mpich`` wheel): the driver's end.

The driver leaves the task in a folder of its own, and each rank (``cluster.process``) tells through a named pipe there
that it lives, what it reports, and what it returns or raises; how a rank that told none of that has ended is noted
there. When a rank is lost or silent, the driver ends the others; when the driver dies, the pipes break and the ranks
end themselves. The folder goes with the driver.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from cluster.errors import ClusterError, RankLost
from cluster.launchers import environment_for_another_launcher
from cluster.news import ALLOWED_SECONDS, News, Watch, results_told
from cluster.remains import end_all, note_memory, noted_end, run_folder
from cluster.world import late

Result = TypeVar("Result")
START_SECONDS, START_SECONDS_A_RANK = 15.0, 1.0
LEAVE_SECONDS = 5.0  # for ranks that have told all to leave MPI


def mpiexec_command(ranks: int) -> list[str]:
    """How to start ``ranks`` processes of this Python. Raises ClusterError where there is no ``mpiexec``."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise ClusterError("mpiexec is neither beside this Python nor on the PATH; `pip install mpich` brings it.")
    return [found, "-n", str(ranks), sys.executable]


def rank_environment() -> dict[str, str]:
    """What a rank's process needs to find the modules of this one; a rank computes on one core, as a chip of many."""
    search = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {"PYTHONPATH": search, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def start_seconds(count: int) -> float:
    """What ``count`` ranks may take to come up, each a process, where they share few cores with others."""
    return START_SECONDS + count * START_SECONDS_A_RANK


def run_mpi(
    program: Callable[..., Result],
    arguments: Sequence[object],
    count: int,
    on_report: Callable[[object], None],
    timeout_seconds: float,
) -> list[Result]:
    """``cluster.ranks.run_ranks`` with a process a rank."""
    patience = timeout_seconds + start_seconds(count)
    task = {
        "program": _pickled(program, arguments),
        "count": count,
        "timeout_seconds": timeout_seconds,
        "patience_seconds": patience + ALLOWED_SECONDS,
    }
    with run_folder() as folder:
        (folder / "task").write_bytes(pickle.dumps(task))
        pipes = [folder / f"rank.{rank}" for rank in range(count)]
        news: SimpleQueue[News] = SimpleQueue()
        for rank, pipe in enumerate(pipes):
            os.mkfifo(pipe)
            Thread(target=_listen, args=(pipe, rank, news), daemon=True).start()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*mpiexec_command(count), "-m", "cluster.process", str(folder)],
                env=environment_for_another_launcher() | rank_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is this process's to hear: it ends the ranks
            )
        try:
            results = _results(folder, process, news, Watch(count, timeout_seconds), patience, on_report)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_SECONDS)
            return results
        finally:
            end_all(process)
            for pipe in pipes:  # of a rank that never came, whose pipe somebody still waits to be opened
                with suppress(OSError):
                    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def _pickled(program: Callable[..., object], arguments: Sequence[object]) -> bytes:
    try:
        return pickle.dumps((program, arguments))
    except Exception as error:
        raise ClusterError(
            f"The program and its arguments cannot be sent to other processes ({error}); a program is a function at "
            "the top of a module."
        ) from None


def _listen(pipe: Path, rank: int, news: SimpleQueue[News]) -> None:
    """Pass on what a rank tells, until it ends. In a thread, because a rank may stop in the middle of what it tells."""
    with Connection(os.open(pipe, os.O_RDONLY), writable=False) as connection, suppress(EOFError, OSError):
        while True:
            news.put(News(rank, *connection.recv()))
    news.put(News(rank, "gone", None))


def _results(
    folder: Path,
    process: subprocess.Popen[bytes],
    news: SimpleQueue[News],
    watch: Watch,
    patience_seconds: float,
    on_report: Callable[[object], None],
) -> list[Any]:
    """What ranks return; raises what one of them raises, and ClusterError where one is lost, silent or never comes."""
    up: set[int] = set()
    begun = time.monotonic()

    def look() -> None:
        if process.poll() is not None and news.empty():
            raise RankLost(_never_came(folder, watch.ranks))
        if len(up) < watch.ranks:
            note_memory(folder, process)
            if time.monotonic() - begun > patience_seconds:
                raise ClusterError(late(watch.ranks, patience_seconds))

    def hear(told: News) -> None:
        if told.kind == "process":
            watch.processes[told.rank] = told.item
        elif told.kind == "up":
            up.add(told.rank)
        elif told.kind == "gone":
            raise RankLost(f"{watch.name(told.rank)} was lost: {noted_end(folder, told.rank)}.")

    return results_told(news, watch, on_report, look, hear)


def _never_came(folder: Path, count: int) -> str:
    said = " ".join((folder / "output").read_text(encoding="utf-8", errors="replace").split())[-300:]
    return f"mpiexec could not run {count} ranks: {said or 'it said nothing'}."
