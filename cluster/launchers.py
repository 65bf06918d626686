"""What launchers of parallel jobs (``mpiexec``, ``srun``) tell a process: which one it is, and how many they started.

They tell it in the environment, whatever MPI they belong to. So a launcher of another MPI than mpi4py's is noticed: it
starts ``n`` processes, each of which finds itself alone.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cluster.errors import ClusterError


class Launcher(NamedTuple):
    """A family of launchers: the variables in which a process finds its rank and the number of ranks."""

    rank: str
    size: str | None = None


LAUNCHERS = (
    Launcher("PMI_RANK", "PMI_SIZE"),  # MPICH and its kin, Slurm's pmi2
    Launcher("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    Launcher("PMIX_RANK"),  # PMIx: Open MPI 5, Slurm's pmix
    Launcher("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH and Intel MPI, of one machine
    Launcher("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH
    Launcher("PALS_RANKID", "PALS_SIZE"),  # Cray
    Launcher("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    Launcher("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),  # IBM
)
SLURM = Launcher("SLURM_PROCID", "SLURM_NTASKS")  # of every task of srun, with MPI and without
# What a process has from its own launcher, and what would send processes started by it to other machines.
OF_LAUNCHERS = ("PMI", "OMPI_", "PRTE_", "MPI_LOCAL", "MV2_", "PALS_", "FLUX_", "JSM_", "SLURM_", "HYDRA_", "HYDI_")


def rank_here() -> int | None:
    """This process's rank if a launcher started it, else None."""
    return next((rank for rank in (_number(launcher.rank) for launcher in LAUNCHERS) if rank is not None), None)


def ranks_told() -> int | None:
    """How many processes the launcher of this one says it has started; None where it does not say."""
    return next((size for _, size in _sizes()), None)


def slurm_task() -> tuple[int, int] | None:
    """Which of how many tasks of Slurm this process is; None where Slurm has started one or none."""
    task, tasks = _number(SLURM.rank), _number(SLURM.size)
    return None if task is None or tasks is None or tasks < 2 else (task, tasks)


def check_world(size: int) -> None:
    """Raise ClusterError where MPI found ``size`` ranks, and the launcher of this process started more."""
    told = list(_sizes())
    if told and size < told[0][1] and size not in dict(told).values():
        name, ranks = told[0]
        raise ClusterError(
            f"{ranks} processes were started ({name}={ranks}), but each finds {size} in its MPI world: their launcher "
            "is of another MPI than mpi4py; start them with the mpiexec beside this Python."
        )


def environment_for_another_launcher() -> dict[str, str]:
    """The environment of this process without what its own launcher left there: another one would take it for its own.

    ``mpiexec`` of MPICH starts ranks on this machine, even within an allocation of several.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
    return kept | {"HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"}


def shell_command_of_another_launcher(command: Sequence[str]) -> str:
    """``command`` for bash, in an environment without what launchers left there, wherever it comes to run."""
    left = f"$(compgen -e | grep -E '^({'|'.join(OF_LAUNCHERS)})' | sed 's/^/-u /')"
    return f"env {left} HYDRA_LAUNCHER=fork HYDRA_RMK=user {shlex.join(command)}"


def _sizes() -> Iterator[tuple[str, int]]:
    """The variables that tell a number of ranks, that of the innermost launcher first."""
    for launcher in (*LAUNCHERS, SLURM):
        size = _number(launcher.size)
        if launcher.size is not None and size is not None and _number(launcher.rank) is not None:
            yield launcher.size, size


def _number(name: str | None) -> int | None:
    text = os.environ.get(name, "") if name else ""
    return int(text) if text.isdigit() else None
