"""The options of commands that say who computes: where ranks run, or who prices points; and what is checked of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from scenarios.errors import ScenarioError

if TYPE_CHECKING:
    from cluster import Executor

ExecutorOption = Annotated[
    str, typer.Option("--executor", help="Where chips' ranks run: local | mpi | ray. The results are the same.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT of a Ray cluster (default: RAY_ADDRESS, or this machine alone)."),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds without a sign of life after which a rank is given up.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="At once (default: one for each CPU).")]
PoolOption = Annotated[str, typer.Option("--executor", help="Who prices into a folder: processes | ray")]
FreshOption = Annotated[
    bool, typer.Option("--fresh/--resume", help="Start over, or go on with what the folder holds of this question.")
]
PlacementOption = Annotated[
    str, typer.Option("--placement", help="How Ray places the actors on its nodes: pack | spread")
]


def make_executor(name: str, address: str | None, placement: str, timeout: float) -> Executor:
    """Check where ranks are to run. Raises ScenarioError in one sentence."""
    from cluster.ranks import Executor, ExecutorName, Placement

    if name not in get_args(ExecutorName):
        raise ScenarioError(f"--executor '{name}' is unknown; expected one of {', '.join(get_args(ExecutorName))}.")
    if placement.upper() not in get_args(Placement):
        raise ScenarioError(f"--placement '{placement}' is unknown; expected pack or spread.")
    if address is not None and name != "ray":
        raise ScenarioError(f"--address belongs to --executor ray; the executor is {name}.")
    check_timeout(timeout)
    where = cast(ExecutorName, name), address, cast(Placement, placement.upper())
    return Executor(*where, timeout_seconds=timeout)


def check_timeout(seconds: float) -> None:
    """Raise ScenarioError for a time-out that never comes, or at once."""
    if not 0 < seconds < math.inf:
        raise ScenarioError(f"--timeout {seconds:g}: expected seconds above 0.")
