"""What starts a process tells it: a launcher of another MPI is refused in a sentence, and a command answers once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cluster import ClusterError
from cluster.launchers import (
    check_world,
    environment_for_another_launcher,
    rank_here,
    ranks_told,
    shell_command_of_another_launcher,
)
from cluster.mpiexec import mpiexec_command

LOOPLINE = [sys.executable, "-c", "from scenarios.commands.main import main; main()"]
AN_ALLREDUCE = ("allreduce", "--algorithm", "ring", "--bytes", "8KiB")
OTHER_MPI = {
    "OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_RANK={}": "(OMPI_COMM_WORLD_SIZE=3), but each finds 1 in its MPI world",
    "PMI_SIZE=3 PMI_RANK={}": "3 processes were started (PMI_SIZE=3)",
    "MPI_LOCALNRANKS=3 MPI_LOCALRANKID={}": "3 processes were started (MPI_LOCALNRANKS=3)",
    "MV2_COMM_WORLD_SIZE=3 MV2_COMM_WORLD_RANK={}": "3 processes were started (MV2_COMM_WORLD_SIZE=3)",
    "PMIX_RANK={}": "cannot talk to the launcher of this process",
    "PMIX_RANK={} PMIX_NAMESPACE=job": "cannot talk to the launcher of this process",
    "PMI_SIZE=3 PMI_RANK={} PMI_FD=99": "cannot talk to the launcher of this process",
}


def told(text):
    """Variables as a launcher sets them."""
    return dict(word.split("=") for word in text.split())


def run(arguments, variables=None, before=()):
    return subprocess.run(
        [*before, *LOOPLINE, *arguments],
        env=environment_for_another_launcher() | (variables or {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("variables", OTHER_MPI)
def test_ranks_of_another_mpi_are_refused_by_one_sentence_in_all(variables):
    first, second = (run(AN_ALLREDUCE, told(variables.format(rank))) for rank in (0, 1))
    assert OTHER_MPI[variables] in first.stderr
    assert first.stderr.count("\n") == 1
    assert second.stderr == ""
    for done in (first, second):
        assert (done.returncode, done.stdout) == (2, "")


def test_tasks_of_slurm_that_are_no_ranks_say_that_each_runs_all():
    for arguments in (AN_ALLREDUCE, ("models",)):
        done = run(arguments, told("SLURM_NTASKS=3 SLURM_PROCID=1"))
        assert done.returncode == 0
        assert done.stderr.startswith("note: this is task 1 of the 3 of Slurm")
        assert run(arguments, told("SLURM_NTASKS=1 SLURM_PROCID=0")).stderr == ""


def test_of_the_ranks_of_one_mpiexec_one_answers_a_command():
    done = run(("models",), before=mpiexec_command(3)[:-1])
    assert done.returncode == 0
    assert done.stdout == run(("models",)).stdout
    assert done.stderr == "note: 3 processes of this command were started; rank 0 runs it, the others end.\n"


def test_a_worker_starts_without_what_launchers_left_wherever_it_is(tmp_path):
    folder = tmp_path / "my env"
    folder.mkdir()
    (folder / "show").write_text("#!/bin/sh\nenv\n")
    (folder / "show").chmod(0o755)
    command = shell_command_of_another_launcher([str(folder / "show")])
    there = {"PMI_RANK": "1", "PMIX_NAMESPACE": "job", "SLURM_NTASKS": "3", "KEPT": "yes"}
    done = subprocess.run(
        ["bash", "-c", f"exec {command}"], env=os.environ | there, capture_output=True, text=True, check=True
    )
    left = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert left["KEPT"] == "yes"
    assert not {"PMI_RANK", "PMIX_NAMESPACE", "SLURM_NTASKS"} & set(left)


def test_a_world_within_another_launchers_job_is_taken_for_what_it_is(monkeypatch):
    for name in set(os.environ) - set(environment_for_another_launcher()):
        monkeypatch.delenv(name)
    for name, value in told("SLURM_NTASKS=8 SLURM_PROCID=0 PMI_RANK=2 PMI_SIZE=3").items():
        monkeypatch.setenv(name, value)
    assert (rank_here(), ranks_told()) == (2, 3)
    check_world(3)
    with pytest.raises(ClusterError, match="3 processes were started"):
        check_world(2)
    assert not {"PMI_RANK", "SLURM_NTASKS"} & set(environment_for_another_launcher())
