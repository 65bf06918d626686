"""Run one program as the ranks of a cluster, on any executor: ``run_ranks``.

A program is a function ``(communicator, *arguments) -> result`` at the top of a module, so that another process can
import it; it holds for all ranks and finds its own part by ``communicator.rank``. What a rank computes does not depend
on where it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from cluster.errors import ClusterError
from cluster.local import run_local

Result = TypeVar("Result")
ExecutorName = Literal["local", "mpi", "ray"]


@dataclass(frozen=True)
class Executor:
    """Where ranks run.

    ``local``: threads of this process. ``mpi``: a process each, on this machine, under ``mpiexec``. ``ray``: an actor
    each, on the Ray cluster at ``address`` (``host:port`` or ``ray://host:port``; None starts one on this machine).
    ``placement``: whether Ray spreads the actors over its nodes or packs them onto few.
    """

    name: ExecutorName = "local"
    address: str | None = None
    placement: Literal["SPREAD", "PACK"] = "PACK"


LOCAL = Executor()


def _ignore(item: object) -> None:
    """Nobody asked for intermediate results."""


def run_ranks(
    program: Callable[..., Result],
    *arguments: object,
    count: int,
    executor: Executor = LOCAL,
    on_report: Callable[[object], None] = _ignore,
) -> list[Result]:
    """Run ``program(communicator, *arguments)`` as ``count`` ranks; their results, by rank.

    ``on_report`` is called here, in order, with each item that rank 0 gives to ``communicator.report``. Arguments,
    reports and results must be picklable. An exception that a program raises is raised here; ClusterError says in one
    sentence why ranks could not be started, or which was lost.
    """
    if count < 1:
        raise ClusterError(f"A program on {count} ranks computes nothing; the count is at least 1.")
    if executor.name == "local":
        return run_local(program, arguments, count, on_report)
    if executor.name == "mpi":
        from cluster.mpiexec import run_mpi

        return run_mpi(program, arguments, count, on_report)
    raise NotImplementedError(executor.name)
