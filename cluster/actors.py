"""Ranks as Ray actors, one a chip, on this machine or a Ray cluster: both ends, driver and actor.

Each actor's worker starts under ``mpiexec -n 1``, which makes it an MPI process of its own; the actors then join one
communicator by ``Open_port``, ``Accept``, ``Connect`` and ``Merge``, the port passed through Ray. From there on they
talk MPI: the driver makes a few calls an actor (open a port, join one for each doubling, run), however long the
program is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.errors import ClusterError, RankLost, check_sendable, raised_by
from cluster.launchers import shell_command_of_another_launcher
from cluster.mpiexec import mpiexec_command, rank_environment
from cluster.news import News, Watch, results_told
from cluster.ray_session import first_line, session, within
from cluster.remains import forget_shared_memory

if TYPE_CHECKING:
    from mpi4py import MPI

Result = TypeVar("Result")
JOIN_SECONDS = 120.0  # for all actors to start, or to join
RAY = "The Ray cluster"
ANSWER_SECONDS = 60.0  # for Ray to say what it has, or to do what it is told
LOOK_SECONDS = 0.5  # how often is looked whether anybody still listens
LEAVE_SECONDS = 10.0  # for Ray to end actors
ACTOR_BEAT_SECONDS = 2.0  # between two signs of life; each is an object of Ray's
PLACEMENT_SECONDS = 30.0  # for a Ray cluster whose CPUs are in use to find room for the actors


class ChipActor:
    """One chip's actor: an MPI process, and after ``join`` one rank of a communicator."""

    def open_port(self) -> tuple[str, int]:
        """Where a group of actors can connect to the one that this actor leads; its process's number, to name it by."""
        from mpi4py import MPI

        forget_shared_memory()  # no other process has it, and an actor is killed at the end
        self._world: MPI.Intracomm = MPI.COMM_SELF
        return MPI.Open_port(), os.getpid()

    def join(self, rank: int, ports: Sequence[str], size: int) -> None:
        """Join groups of ``size`` ranks in pairs, the second at the port of the first one's leader.

        All are to have joined at one size before any goes on to the next: MPICH 5.0.2 crashes where a process is
        connected to that is still joining others.
        """
        first = rank - rank % (2 * size)
        if rank >= first + size:
            self._world = self._world.Connect(ports[first]).Merge(high=True)
        elif first + size < len(ports):
            self._world = self._world.Accept(ports[first]).Merge(high=False)

    def run(
        self, program: Callable[..., object], arguments: Sequence[object], timeout_seconds: float
    ) -> Iterator[tuple[str, object]]:
        """Run the program: signs of life, each of its reports as it comes, then its result or what it raised."""
        said: SimpleQueue[tuple[str, object]] = SimpleQueue()
        Thread(target=self._run, args=(program, arguments, timeout_seconds, said), daemon=True).start()
        kind = "alive"
        while kind in ("alive", "report"):
            try:
                kind, item = said.get(timeout=ACTOR_BEAT_SECONDS)
            except Empty:
                kind, item = "alive", None
            yield kind, item

    def _run(
        self,
        program: Callable[..., object],
        arguments: Sequence[object],
        timeout_seconds: float,
        said: SimpleQueue[tuple[str, object]],
    ) -> None:
        from cluster.mpi import MpiCommunicator

        communicator = MpiCommunicator(self._world, lambda item: said.put(("report", item)), timeout_seconds)
        try:
            result = program(communicator, *arguments)
            check_sendable(result, "returns", communicator.rank)
            communicator.end()
            said.put(("result", result))
        except BaseException as raised:
            said.put(("raised", raised_by(raised, communicator.rank, communicator.ranks)))


def run_ray(
    program: Callable[..., Result],
    arguments: Sequence[object],
    count: int,
    on_report: Callable[[object], None],
    address: str | None,
    placement: Literal["SPREAD", "PACK"],
    rank_bytes: float,
    timeout_seconds: float,
) -> list[Result]:
    """``cluster.ranks.run_ranks`` with an actor a rank. Uses the session of Ray where this process has one."""
    with session(address, count) as check_head, _actors(count, placement, rank_bytes, check_head) as actors:
        try:
            opened = ray.get([actor.open_port.remote() for actor in actors], timeout=JOIN_SECONDS)
            ports, processes = zip(*opened, strict=True)
            size = 1
            while size < count:
                joins = [actor.join.remote(rank, ports, size) for rank, actor in enumerate(actors)]
                ray.get(joins, timeout=JOIN_SECONDS)
                size *= 2
        except GetTimeoutError:
            raise ClusterError(
                f"The {count} actors did not all come up and join within {JOIN_SECONDS:g} s; what each said is in the "
                "worker's files among Ray's logs, on its own node."
            ) from None
        except RayError as error:
            raise RankLost(f"The {count} actors could not be joined: {first_line(error)}") from None
        watch = Watch(count, timeout_seconds)
        watch.processes.update(enumerate(processes))
        for rank in range(count):
            watch.heard(rank)
        runs = [
            actor.run.options(num_returns="streaming").remote(program, arguments, timeout_seconds) for actor in actors
        ]
        news: SimpleQueue[News] = SimpleQueue()
        over = Event()
        listener = Thread(target=_listen, args=(runs, watch.name, news, over), daemon=True)
        listener.start()
        try:
            return results_told(news, watch, on_report, check_head)
        finally:
            over.set()
            listener.join(LEAVE_SECONDS)


def _listen(
    runs: list[ray.ObjectRefGenerator], name: Callable[[int], str], news: SimpleQueue[News], over: Event
) -> None:
    """Pass on what the actors tell, until each has told how it ended. In a thread, because Ray may never answer."""
    waiting = dict(enumerate(runs))
    while waiting and not over.is_set():
        ready, _ = ray.wait(list(waiting.values()), timeout=LOOK_SECONDS)
        for rank in [rank for rank, run in waiting.items() if run in ready]:
            try:
                kind, item = ray.get(next(runs[rank]))
            except RayError as error:
                kind, item = "raised", RankLost(f"{name(rank)} was lost: {first_line(error)}")
            news.put(News(rank, kind, item))
            if kind in ("raised", "result"):
                del waiting[rank]


@contextmanager
def _actors(
    count: int, placement: Literal["SPREAD", "PACK"], rank_bytes: float, check_head: Callable[[], None]
) -> Iterator[list[Any]]:
    """As many actors, each with a CPU of its own, placed together; they and their room are gone at the end."""
    there = within(ANSWER_SECONDS, RAY, ray.cluster_resources)
    cpus, memory = int(there.get("CPU", 0)), float(there.get("memory", 0.0))
    if cpus < count:
        raise ClusterError(f"The Ray cluster has {cpus} CPUs; {count} actors need one each.")
    if memory < count * rank_bytes:
        raise ClusterError(
            f"The Ray cluster has {memory / 1e9:,.1f} GB for actors; {count} of them need "
            f"{rank_bytes / 1e9:,.1f} GB each."
        )
    needs = {"CPU": 1.0} | ({"memory": rank_bytes} if rank_bytes else {})
    room = within(ANSWER_SECONDS, RAY, partial(placement_group, [needs] * count, strategy=placement))
    actors: list[Any] = []
    try:
        if not within(PLACEMENT_SECONDS + ANSWER_SECONDS, RAY, partial(room.wait, PLACEMENT_SECONDS)):
            raise ClusterError(
                f"The Ray cluster has no room for {count} actors, each with a free CPU and {rank_bytes / 1e9:,.1f} GB, "
                f"and made none within {PLACEMENT_SECONDS:.0f} s."
            )
        worker = shell_command_of_another_launcher(mpiexec_command(1))
        environment = {"py_executable": worker, "env_vars": rank_environment()}
        made = ray.remote(num_cpus=1, max_restarts=0)(ChipActor)
        for bundle in range(count):
            where = PlacementGroupSchedulingStrategy(room, placement_group_bundle_index=bundle)
            actor = made.options(runtime_env=environment, scheduling_strategy=where)
            actors.append(within(ANSWER_SECONDS, RAY, actor.remote))
        yield actors
    finally:
        with suppress(ClusterError):  # a cluster that does not answer keeps what it has
            check_head()
            within(LEAVE_SECONDS, RAY, partial(_leave, actors, room))


def _leave(actors: Sequence[Any], room: PlacementGroup) -> None:
    for actor in actors:
        ray.kill(actor)
    remove_placement_group(room)
