"""A bar on a terminal while points are priced: how many, at which rate, how long still. Nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

ShowProgress = Callable[[int, int, int], None]
"""Told of points: how many there are, how many are done, and how many of these were priced now."""


@contextmanager
def points_bar() -> Iterator[ShowProgress]:
    """What to tell progress to: a bar on standard error, or nobody where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda total, done, priced: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        begin, task = perf_counter(), bar.add_task("points", total=None, rate="")

        def show(total: int, done: int, priced: int) -> None:
            rate = f"{priced / (perf_counter() - begin):,.0f} points/s"
            bar.update(task, total=total, completed=done, rate=rate)

        yield show
