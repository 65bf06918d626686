"""Where the parts of a sweep are priced: processes of this machine, or tasks on a Ray cluster.

A pool takes parts and gives back their tables in whatever order they come. A worker that is lost is a part that has to
be asked for again; what was priced is kept by the caller, not here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from scenarios.sweeps.scenario_file import Request

if TYPE_CHECKING:
    import pandas as pd

    from scenarios.sweeps.parts import Basis

ANSWER_SECONDS = 60.0  # for a Ray cluster to say what it has
LOOK_SECONDS = 1.0  # how often is looked whether it is still there


class Pool(Protocol):
    """Workers. ``room``: how many parts may be asked for at once."""

    room: int

    def ask(self, part: int, requests: Sequence[Request], basis: Basis) -> None:
        """Have a part priced."""

    def answers(self) -> list[tuple[int, pd.DataFrame | None]]:
        """Wait until something has come: parts with their tables, or None for a part whose worker was lost."""


class Processes:
    """Worker processes on this machine. They end when this process does, however it ends."""

    def __init__(self, workers: int) -> None:
        self.room = 2 * workers
        self._workers = workers
        self._pool = self._started()
        self._asked: dict[Future[pd.DataFrame], int] = {}
        # Not ``concurrent.futures.wait``: a Ctrl-C in it leaves a future locked, and this process would never end.
        self._done: SimpleQueue[Future[pd.DataFrame]] = SimpleQueue()

    def _started(self) -> ProcessPoolExecutor:
        context = get_context("forkserver")
        context.set_forkserver_preload(["scenarios.sweeps.parts"])
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_parent)

    def ask(self, part: int, requests: Sequence[Request], basis: Basis) -> None:
        try:
            with _main_hidden():
                future = self._pool.submit(_price, requests, basis)
        except BrokenProcessPool:  # noticed by the next part; the others are answered below
            future = Future()
            future.set_exception(BrokenProcessPool())
        self._asked[future] = part
        future.add_done_callback(self._done.put)

    def answers(self) -> list[tuple[int, pd.DataFrame | None]]:
        done = [self._done.get()]
        if isinstance(done[0].exception(), BrokenProcessPool):
            # One lost worker breaks the pool: all that was asked of it is lost, but for what has come already.
            done += [self._done.get() for _ in range(len(self._asked) - 1)]
            self._pool.shutdown(wait=False)
            self._pool = self._started()
        answered: list[tuple[int, pd.DataFrame | None]] = []
        for future in done:
            part = self._asked.pop(future)
            lost = isinstance(future.exception(), BrokenProcessPool)
            answered.append((part, None if lost else future.result()))
        return answered

    def close(self) -> None:
        """End the workers; what they are at is lost."""
        workers = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


class RayTasks:
    """Tasks on Ray, which runs a task again on another worker when its own is lost.

    ``check`` raises ClusterError once Ray itself is.
    """

    def __init__(self, price: Any, cpus: int, check: Callable[[], None]) -> None:
        self.room = 2 * cpus
        self._price = price
        self._check = check
        self._asked: dict[Any, int] = {}

    def ask(self, part: int, requests: Sequence[Request], basis: Basis) -> None:
        self._asked[self._price.remote(requests, basis)] = part

    def answers(self) -> list[tuple[int, pd.DataFrame | None]]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        done: list[Any] = []
        while not done:
            done, _ = ray.wait(list(self._asked), timeout=LOOK_SECONDS)
            self._check()
        answered: list[tuple[int, pd.DataFrame | None]] = []
        for reference in done:
            part = self._asked.pop(reference)
            try:
                answered.append((part, ray.get(reference)))
            except RayTaskError as error:  # the worker is there, and said what is wrong
                raise error.cause from None
            except RayError:
                answered.append((part, None))
        return answered


@contextmanager
def open_pool(executor: str, workers: int | None, address: str | None) -> Iterator[Pool]:
    """Workers of the kind ``executor`` (processes or ray): ``workers`` of them, or one for each CPU.

    Raises ClusterError where Ray cannot be reached.
    """
    if executor == "processes":
        processes = Processes(workers or os.cpu_count() or 1)
        try:
            yield processes
        finally:
            processes.close()
        return
    import ray

    from cluster.ray_session import session, within

    with session(address, workers or 0) as check:
        price = ray.remote(num_cpus=1, max_retries=-1)(_price)
        there = within(ANSWER_SECONDS, "The Ray cluster", ray.cluster_resources)
        yield RayTasks(price, workers or int(there.get("CPU", 1)), check)


def _price(requests: Sequence[Request], basis: Basis) -> pd.DataFrame:
    from scenarios.sweeps.parts import price_unchanged

    return price_unchanged(requests, basis)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Workers that start meanwhile do not import the user's script, which would start this sweep again in each.

    They need nothing of it; but that is what ``multiprocessing`` does with the module that it finds as ``__main__``.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def _end_with_parent() -> None:
    """A worker of a process that was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
