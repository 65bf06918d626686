"""Ranks as processes of this machine under ``mpiexec`` (from the ``mpich`` wheel): both ends, driver and rank.

The driver leaves the task in a folder of its own and reads what rank 0 reports from a named pipe there; each rank
leaves its outcome as a file when it is done. When a rank dies, ``mpiexec`` ends the others; when the driver dies, the
pipe breaks and the ranks end themselves. The folder goes with the driver.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from select import poll, select
from struct import Struct
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeVar

from cluster.errors import ClusterError, RankLost, check_sendable, raised_by
from cluster.launchers import environment_for_another_launcher

Result = TypeVar("Result")
LENGTH = Struct("<Q")  # in front of each report in the pipe
READ_BYTES = 1 << 16
LOOK_SECONDS = 0.02  # how often the driver looks whether mpiexec has ended


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


def run_mpi(
    program: Callable[..., Result],
    arguments: Sequence[object],
    count: int,
    on_report: Callable[[object], None],
    timeout_seconds: float,
) -> list[Result]:
    """``cluster.ranks.run_ranks`` with a process a rank."""
    with TemporaryDirectory(prefix="loopline-") as name:
        folder = Path(name)
        (folder / "task").write_bytes(pickle.dumps((program, arguments, timeout_seconds)))
        os.mkfifo(folder / "reports")
        # Open for writing too, so that it does not end before rank 0 has opened it.
        pipe = os.open(folder / "reports", os.O_RDWR | os.O_NONBLOCK)
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*mpiexec_command(count), "-m", "cluster.mpiexec", name],
                env=environment_for_another_launcher() | rank_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            for item in _reports(pipe, process):
                on_report(item)
        finally:
            os.close(pipe)
            process.terminate()
            process.wait()
        return _results(folder, count)


def _reports(pipe: int, process: subprocess.Popen[bytes]) -> Iterator[object]:
    """What comes through the pipe until ``mpiexec`` has ended."""
    received = bytearray()
    ended = False
    while not ended:
        ended = process.poll() is not None
        while select([pipe], [], [], 0.0 if ended else LOOK_SECONDS)[0]:
            received += os.read(pipe, READ_BYTES)
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                break
            item = bytes(received[LENGTH.size : end])
            del received[:end]
            yield pickle.loads(item)


def _results(folder: Path, count: int) -> list[Result]:
    """What the ranks returned; raises what one of them raised, or RankLost where one left nothing."""
    left = [folder / f"outcome.{rank}" for rank in range(count)]
    outcomes: list[tuple[Exception | None, Result]] = [
        pickle.loads(path.read_bytes()) for path in left if path.exists()
    ]
    for error, _ in outcomes:
        if error is not None:
            raise error
    if len(outcomes) < count:
        raise RankLost(_lost(folder, count))
    return [result for _, result in outcomes]


def _lost(folder: Path, count: int) -> str:
    """Which rank was lost and how, from what ``mpiexec`` says."""
    said = (folder / "output").read_text(encoding="utf-8", errors="replace")
    process, how = re.search(r"PID (\d+) RUNNING", said), re.search(r"EXIT STRING: (.+)", said)
    if process is None:
        return f"mpiexec could not run {count} ranks: {' '.join(said.split())[-300:] or 'it said nothing'}."
    mark = folder / f"process.{process[1]}"
    rank = mark.read_text(encoding="ascii") if mark.exists() else "?"
    return f"Rank {rank} of {count} (process {process[1]}) was lost: {how[1] if how else 'it ended early'}."


def _be_a_rank(folder: Path) -> None:
    """The other end: run the task as the rank that MPI says this process is."""
    from mpi4py import MPI

    from cluster.mpi import MpiCommunicator

    world = MPI.COMM_WORLD
    rank = world.Get_rank()
    (folder / f"process.{os.getpid()}").write_text(str(rank), encoding="ascii")
    pipe = os.open(folder / "reports", os.O_WRONLY)
    Thread(target=_end_with_the_driver, args=(pipe, folder), daemon=True).start()
    program, arguments, timeout_seconds = pickle.loads((folder / "task").read_bytes())
    error, result = None, None
    try:
        communicator = MpiCommunicator(world, lambda item: _send(pipe, item), timeout_seconds)
        returned = program(communicator, *arguments)
        check_sendable(returned, "returns", rank)
        communicator.end()
        result = returned
    except BaseException as raised:
        error = raised_by(raised, rank, world.Get_size())
    beside = folder / f"part.{rank}"
    beside.write_bytes(pickle.dumps((error, result)))
    beside.replace(folder / f"outcome.{rank}")
    if error is not None:
        world.Abort(1)  # the others may be waiting for this rank


def _send(pipe: int, item: object) -> None:
    data = pickle.dumps(item)
    framed = LENGTH.pack(len(data)) + data
    while framed:
        framed = framed[os.write(pipe, framed) :]


def _end_with_the_driver(pipe: int, folder: Path) -> None:
    """Wait until nobody can read the pipe any more; then nobody waits for this rank or clears up after it either."""
    watched = poll()
    watched.register(pipe, 0)  # errors are always told: the last reader is gone
    watched.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    _be_a_rank(Path(sys.argv[1]))
