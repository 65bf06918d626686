"""``loopline allreduce`` between MPI ranks: checked, started or joined, with a bar on a terminal meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.allreduce.ranks import Record, Work, join, run_as_rank, run_under_mpiexec
from cluster.launchers import rank_here
from collectives.links import fastest, links_of, make_schedule, possible
from scenarios.errors import ScenarioError
from scenarios.quantities import check_count


def carry_out(
    chip: str,
    count: list[int] | None,
    payloads: list[int],
    algorithms: list[str] | None,
    *,
    compare: bool,
    calibrate: bool,
    timeout: float,
) -> list[Record] | None:
    """The records of rank 0, and None on the others: of the ranks that run here, or of those that this starts.

    ``count``: the numbers of ranks asked for, of which there can be one. Raises ScenarioError and CollectiveError for
    what cannot be asked, ClusterError for ranks that do not come up or are lost.
    """
    rank = rank_here()
    here = None if rank is None else join(timeout)
    given = set(count or [here or 8])
    if len(given) > 1 or (here and given != {here}):
        told = " ".join(map(str, count or []))
        raise ScenarioError(f"--ranks {told}: ranks run one number at a time" + (f", here {here}." if here else "."))
    ranks = given.pop()
    check_count("--count", ranks)
    links = links_of(chip, ranks)
    if calibrate and ranks < 2:
        raise ScenarioError("--calibrate sends messages to and fro; at least 2 ranks are needed.")
    for name in algorithms or []:
        make_schedule(links, name, 0)
        if calibrate and name == "in_switch":
            raise ScenarioError("in_switch: a switch cannot be measured, one of the ranks plays it; leave it out.")
    every = [name for name in possible(links)[0] if not (calibrate and name == "in_switch")]
    jobs = [
        (name, payload)
        for payload in payloads
        for name in algorithms or (every if compare or calibrate else [fastest(links, payload, every)])
    ]
    work = Work(chip, tuple(jobs), timeout, calibrate)
    if rank is not None:
        records = run_as_rank(work)
        return records if rank == 0 else None
    with _progress(None if calibrate else len(jobs), f"{ranks} ranks") as advance:
        return run_under_mpiexec(work, ranks, advance)


@contextmanager
def _progress(total: int | None, what: str) -> Iterator[Callable[[], None]]:
    """A bar on standard error, if that is a terminal; without a total it only moves."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
