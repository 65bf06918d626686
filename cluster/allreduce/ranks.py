"""AllReduces between real MPI ranks: the program of a rank, and how it is started under ``mpiexec`` or found there.

Belongs here: what ranks do, and that a rank that dies or hangs ends the run. How a schedule
is carried out is in ``collectives.mpi.run``, how processes are started in ``cluster.mpiexec``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cluster.communicator import Communicator
from cluster.errors import ClusterError
from cluster.launchers import check_world, rank_here, ranks_told
from cluster.mpiexec import start_seconds
from cluster.remains import forget_shared_memory
from cluster.world import ending_after, late, start_mpi, watched
from collectives.algorithms import ALGORITHMS
from collectives.all_reduce import schedule_row
from collectives.links import Links, links_of, make_schedule
from collectives.price import price
from collectives.schedule import Schedule

if TYPE_CHECKING:
    from collectives.mpi.wait import Patience

Record = dict[str, object]
MOST_RANKS = 64  # where their launcher does not say how many it started
PERIOD = 251  # of the values in a payload: a prime, so that no two chunks are alike


@dataclass(frozen=True)
class Work:
    """What ranks are asked to do: the algorithms and payloads (bytes of a rank's buffer), in turn.

    ``calibrating``: measure the links between the ranks first, then time each in real seconds.
    """

    chip: str
    jobs: tuple[tuple[str, int], ...]
    timeout_seconds: float
    calibrating: bool = False


def run_under_mpiexec(work: Work, count: int, on_progress: Callable[[], None]) -> list[Record]:
    """Start ``count`` ranks on this machine and give rank 0's records; ``on_progress`` is called as work goes on.

    Raises ClusterError, in one sentence, if the buffers need more memory than there is, if the ranks do not come up in
    time, and if one dies or hangs. No process is left.
    """
    from cluster.ranks import Executor, run_ranks

    buffers = [_buffers(ALGORITHMS[algorithm](count)) * payload for algorithm, payload in work.jobs]
    # A rank that is lost is what the user wants to know.
    executor = Executor("mpi", retries=0, timeout_seconds=work.timeout_seconds)
    try:
        results = run_ranks(
            all_reduces,
            work,
            count=count,
            executor=executor,
            on_report=lambda item: on_progress(),
            rank_bytes=max(buffers) / count,
        )
    except RuntimeError as error:
        raise ClusterError(str(error)) from None
    return results[0]


def join(timeout_seconds: float) -> int:
    """Join the ranks that ``mpiexec`` has started, this process being one; returns how many there are.

    If they do not all come up in time, rank 0 says so, and all end. Raises ClusterError where MPI cannot talk to what
    started this process, or finds another number of ranks than that says.
    """
    told = ranks_told()
    patience = timeout_seconds + start_seconds(told or MOST_RANKS)
    with watched(patience, late(told, patience)) if rank_here() == 0 else nullcontext():
        world = start_mpi()
    ranks: int = world.Get_size()
    check_world(ranks)
    return ranks


def run_as_rank(work: Work) -> list[Record]:
    """Be the rank that this process is. Ends all ranks, with one sentence in all, if one of them hangs or fails.

    It leaves MPI at the end, so that what comes after may take its time without others waiting.
    """
    from mpi4py import MPI

    from cluster.mpi import MpiCommunicator
    from collectives.mpi.silent_rank import SilentRank

    world = MPI.COMM_WORLD
    try:
        records = all_reduces(MpiCommunicator(world, lambda item: None, work.timeout_seconds), work)
    except Exception as error:
        first = error.speaks if isinstance(error, SilentRank) else world.Get_rank() == 0
        time.sleep(0 if first else 1)  # for the one that speaks: then it ends them all
        print(f"loopline: {error}", file=sys.__stderr__, flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would tell of the end, too
        world.Abort(2)
        raise
    with ending_after(work.timeout_seconds):
        MPI.Finalize()
    return records


def all_reduces(communicator: Communicator, work: Work) -> list[Record]:
    """The program of a rank: every job in turn; a record each, the same on all ranks, as reported by rank 0."""
    from mpi4py import MPI

    from collectives.mpi.wait import Patience

    world = MPI.COMM_WORLD
    patience = Patience(world, work.timeout_seconds)
    patience.meet("coming up")
    forget_shared_memory()  # all have it now
    if work.calibrating:
        records = _timed(communicator, work)
    else:
        links, records = links_of(work.chip, communicator.ranks), []
        for algorithm, payload in work.jobs:
            records.append(_simulated(communicator, links, algorithm, payload, patience, work.timeout_seconds))
            communicator.report(records[-1])
    patience.meet("leaving")
    return records


def _simulated(
    communicator: Communicator, links: Links, algorithm: str, payload: int, patience: Patience, timeout_seconds: float
) -> Record:
    """One AllReduce with simulated time. RuntimeError if its result or its clocks are not what they must be."""
    from mpi4py import MPI

    from collectives.mpi.calibrate import all_of
    from collectives.mpi.run import run_on_mpi

    schedule = make_schedule(links, algorithm, payload)
    buffer, total = _values(communicator, payload)
    begin = time.perf_counter()
    carried = run_on_mpi(
        schedule, links.topology, MPI.COMM_WORLD, buffer, timeout_seconds=timeout_seconds, **links.costs._asdict()
    )
    wall = all_of(np.array([time.perf_counter() - begin]), MPI.COMM_WORLD, patience).max()
    if not np.array_equal(carried.result, total):
        raise RuntimeError(f"rank {communicator.rank} does not hold the sum after {algorithm} of {payload} bytes.")
    clocks = all_of(np.array([carried.finish_ps]), MPI.COMM_WORLD, patience)
    priced = price(schedule, links.topology, payload, **links.costs._asdict())
    if not np.array_equal(clocks, priced):
        late = int(np.argmax(clocks != priced))
        raise RuntimeError(
            f"{algorithm} of {payload} bytes: rank {late} is done at {clocks[late]} ps, its price is {priced[late]} ps."
        )
    row = asdict(schedule_row(links, payload, algorithm)) | {"runs_as": f"{communicator.ranks} MPI ranks"}
    return row | {"real_seconds": float(wall)}


def _timed(communicator: Communicator, work: Work) -> list[Record]:
    """All AllReduces in real seconds, and what is predicted from the links as measured."""
    from mpi4py import MPI

    from collectives.mpi.calibrate import Case, calibrate

    cases = [Case(ALGORITHMS[algorithm](communicator.ranks), payload) for algorithm, payload in work.jobs]
    links, measured = calibrate(
        MPI.COMM_WORLD, cases, work.timeout_seconds, lambda: communicator.report("a round of measuring")
    )
    predicted = [links.seconds(schedule, payload) for schedule, payload in cases]
    found = {
        "ping_pong_latency_seconds": links.alone.latency_seconds,
        "ping_pong_bytes_per_s": links.alone.bandwidth,
        "latency_seconds": links.together.latency_seconds,
        "bytes_per_s": links.together.bandwidth,
        "start_seconds": links.start_seconds,
        "message_seconds": links.message_seconds,
        "reduce_seconds_per_byte": links.reduce_seconds_per_byte,
    }
    return [
        {
            "count": communicator.ranks,
            "bytes": payload,
            "algorithm": algorithm,
            "measured_seconds": took,
            "predicted_seconds": expected,
            "predicted_over_measured": expected / took,
            **found,
        }
        for (algorithm, payload), took, expected in zip(work.jobs, measured, predicted, strict=True)
    ]


def _values(communicator: Communicator, payload: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """This rank's buffer, and the sum over all ranks, without their buffers.

    Whole numbers, so that sums are exact in any order: float32, or bytes modulo 256 where 4 do not divide the payload.
    """
    dtype, length = (np.float32, payload // 4) if payload % 4 == 0 else (np.uint8, payload)
    period = np.arange(PERIOD)
    by_rank = (period + 7 * np.arange(communicator.ranks)[:, None]) % PERIOD
    return (
        np.resize(by_rank[communicator.rank].astype(dtype), length),
        np.resize(by_rank.sum(axis=0).astype(dtype), length),
    )


def _buffers(schedule: Schedule) -> float:
    """Payloads in memory at once: of each rank, its sum and what to expect; messages of a step, at both ends."""
    messages = [int(phase.messages(0).sizes().sum()) for phase in schedule.phases if phase.count]
    return 3 * schedule.ranks + 2 * max(messages, default=0) / schedule.chunks
