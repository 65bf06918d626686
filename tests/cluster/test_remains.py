"""What is left of ranks that are ended: no process, no folder, no memory that MPI shares by a name."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys

import pytest
from rank_programs import shared_names
from test_faults import ended

from cluster import Executor, run_ranks
from cluster.remains import SHARED_MEMORY, end_all, run_folder

pytestmark = pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="this system has no folder of shared memory")
# Shares memory as MPI does, starts a child that does too, and waits.
SHARES = """
import mmap, os, subprocess, sys, time
file = open(sys.argv[1], "w+b")
file.truncate(4096)
memory = mmap.mmap(file.fileno(), 4096)
file.close()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def memory(request):
    """The path of a piece of memory, named as MPI names its own."""
    path = SHARED_MEMORY / f"mpich_shm_test{os.getpid()}_0"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["mpi", "ray"])
def test_ranks_that_are_up_share_no_memory_by_a_name(name):
    for names, lines in run_ranks(shared_names, count=2, executor=Executor(name)):
        assert names == []
        assert any("mpich_shm_" in line for line in lines)  # which they do share


def test_what_is_ended_takes_its_memory_and_all_that_it_started_with_it(memory):
    with subprocess.Popen([sys.executable, "-c", SHARES, str(memory)], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        assert memory.exists()
        end_all(process)
    assert not memory.exists()
    assert ended([str(child)])


def left_by_a_driver(folder, memory):
    """A run's folder as a killed driver leaves it."""
    run = folder / "loopline-killed"
    run.mkdir()
    (run / "driver").touch()
    (run / "memory").write_text(f"{memory.name}\nnot_of_mpi\n../../etc/passwd")
    memory.write_bytes(bytes(4096))
    return run


def test_the_next_run_clears_up_after_a_driver_that_was_killed(temporary, memory):
    run = left_by_a_driver(temporary, memory)
    with run_folder() as own:
        assert [path.name for path in temporary.iterdir()] == [own.name]
        assert not memory.exists()
    assert not run.exists()
    assert list(temporary.iterdir()) == []


def test_the_next_run_leaves_a_driver_that_lives_alone(temporary, memory):
    run = left_by_a_driver(temporary, memory)
    with (run / "driver").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with run_folder():
            assert run.exists()
            assert memory.exists()


def test_memory_that_a_process_still_has_is_left_alone(temporary, memory):
    left_by_a_driver(temporary, memory)
    with memory.open("r+b") as file, mmap.mmap(file.fileno(), 4096), run_folder():
        assert memory.exists()
