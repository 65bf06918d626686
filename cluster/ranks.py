"""Run one program as the ranks of a cluster, on any executor: ``run_ranks``.

A program is a function ``(communicator, *arguments) -> result`` at the top of a module, so that another process can
import it; it holds for all ranks and finds its own part by ``communicator.rank``. What a rank computes does not depend
on where it runs, nor on how often: a program that lost a rank may be run again and gives the same bits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from cluster.errors import ClusterError, RankLost
from cluster.local import run_local

Result = TypeVar("Result")
ExecutorName = Literal["local", "mpi", "ray"]
Placement = Literal["SPREAD", "PACK"]
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Executor:
    """Where ranks run.

    ``local``: threads of this process. ``mpi``: a process each, on this machine, under ``mpiexec``. ``ray``: an actor
    each, in this process's session of Ray if it has one; else on the Ray cluster at ``address`` (``HOST:PORT``) or
    RAY_ADDRESS, or on one started on this machine for the while. ``placement``: whether Ray spreads the actors over its
    nodes or packs them onto few. ``retries``: how often a program that lost a rank is run again from its start.
    ``timeout_seconds``: how long a rank waits for another, and its driver for a sign of life, before it is given up.
    """

    name: ExecutorName = "local"
    address: str | None = None
    placement: Placement = "PACK"
    retries: int = 1
    timeout_seconds: float = TIMEOUT_SECONDS


LOCAL = Executor()


def _ignore(item: object) -> None:
    """Nobody asked for intermediate results."""


def run_ranks(
    program: Callable[..., Result],
    *arguments: object,
    count: int,
    executor: Executor = LOCAL,
    on_report: Callable[[object], None] = _ignore,
    rank_bytes: float = 0.0,
) -> list[Result]:
    """Run ``program(communicator, *arguments)`` as ``count`` ranks; their results, by rank.

    ``on_report`` is called here, in order, with each item that rank 0 gives to ``communicator.report``; where the
    program has to be run again, items that have been told are not told twice. ``rank_bytes``: memory that each rank
    needs, to be refused before anything starts where it is not there. Arguments, reports and results must be picklable.

    An exception that a program raises is raised here. ClusterError says in one sentence why ranks could not be started,
    or which was lost.
    """
    if count < 1:
        raise ClusterError(f"A program on {count} ranks computes nothing; the count is at least 1.")
    if executor.name != "ray":
        _check_memory(count, rank_bytes)
    told = 0
    for attempt in range(executor.retries + 1):
        heard = 0

        def tell(item: object) -> None:
            nonlocal told, heard
            heard += 1
            if heard > told:
                told = heard
                on_report(item)

        try:
            return _run_once(program, arguments, count, executor, tell, rank_bytes)
        except RankLost as loss:
            if attempt == executor.retries:
                raise
            print(f"loopline: {loss} Running again from the start.", file=sys.stderr)
        except MemoryError as error:
            raise ClusterError(f"One of {count} ranks had too little memory: {error or 'none was left'}.") from None
    raise AssertionError("the last attempt returns or raises")


def _run_once(
    program: Callable[..., Result],
    arguments: tuple[object, ...],
    count: int,
    executor: Executor,
    tell: Callable[[object], None],
    rank_bytes: float,
) -> list[Result]:
    if executor.name == "local":
        return run_local(program, arguments, count, tell, executor.timeout_seconds)
    if executor.name == "mpi":
        from cluster.mpiexec import run_mpi

        return run_mpi(program, arguments, count, tell, executor.timeout_seconds)
    from cluster.actors import run_ray

    return run_ray(
        program,
        arguments,
        count,
        tell,
        executor.address,
        executor.placement,
        rank_bytes,
        executor.timeout_seconds,
    )


def _check_memory(count: int, rank_bytes: float) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if count * rank_bytes > there:
        raise ClusterError(
            f"{count} ranks need {rank_bytes / 1e9:,.1f} GB each, {count * rank_bytes / 1e9:,.1f} GB in all; this "
            f"machine has {there / 1e9:,.1f} GB. A Ray cluster can hold them on several (--executor ray --address)."
        )
