"""A rank's program for ``test_mpi.py``, to be started by mpiexec: every registered collective against its two oracles.

Prints ``held N cases`` on rank 0 if every rank had the bits of ``execute`` and the clock of ``price`` in all of them.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from collectives.algorithms import COLLECTIVES
from collectives.mpi.run import run_on_mpi
from collectives.mpi.wait import ranks_on_this_machine
from collectives.price import price
from collectives.routing import MissingLink
from collectives.topology import fully_connected, switched, torus
from collectives.verify import execute

WORLD = MPI.COMM_WORLD
RANK, RANKS = WORLD.Get_rank(), WORLD.Get_size()


def main() -> None:
    random = np.random.default_rng(RANKS)  # the same on all ranks
    held = 0
    for operation, algorithms in COLLECTIVES.items():
        for name, algorithm in algorithms.items():
            schedule = algorithm(RANKS)
            for elements in (0, 1, int(random.integers(2, 40)), 1001):
                dtype = random.choice(["float32", "float64", "int64"])
                topologies = [
                    switched(RANKS, 450e9, 1.1e-6),
                    fully_connected(RANKS, 300e9, 7e-7),
                    torus((RANKS,), 9e10, 1e-6),
                ]
                topology = topologies[random.integers(len(topologies))]
                payload = (1000 * random.standard_normal((RANKS, elements))).astype(dtype)
                ready = random.integers(0, 10**7, RANKS)
                priced_bytes = int(random.integers(0, 10**7))
                costs = {"step_seconds": 3e-7, "reduce_seconds_per_byte": 1.7e-12}
                try:
                    priced = price(schedule, topology, priced_bytes, ready_ps=ready, **costs)
                except MissingLink:
                    topology = topologies[0]
                    priced = price(schedule, topology, priced_bytes, ready_ps=ready, **costs)
                own = payload[RANK].copy()
                carried = run_on_mpi(
                    schedule,
                    topology,
                    WORLD,
                    own,
                    int(ready[RANK]),
                    payload_bytes=priced_bytes,
                    timeout_seconds=20,
                    **costs,
                )
                where = (operation, name, elements, dtype, RANK)
                assert carried.result.tobytes() == execute(schedule, payload)[RANK].tobytes(), where
                assert carried.finish_ps == priced[RANK], where
                assert own.tobytes() == payload[RANK].tobytes(), where
                held += 1
    refuse()
    assert ranks_on_this_machine(RANKS, RANKS) == RANKS
    assert ranks_on_this_machine(RANKS + 5, RANKS) == RANKS + 5, "ranks that joined later are not told of"
    WORLD.Barrier()
    if RANK == 0:
        print(f"held {held} cases")


def refuse() -> None:
    """What does not fit together is refused before anything is sent; without a count, the buffer's bytes are priced."""
    ring = COLLECTIVES["all_reduce"]["ring"]
    for schedule, shape, said in ((ring(RANKS + 1), 4, "the communicator has"), (ring(RANKS), (2, 2), "one dimension")):
        refusal = ""
        try:
            run_on_mpi(schedule, switched(RANKS + 1, 1e9, 1e-6), WORLD, np.zeros(shape))
        except ValueError as error:
            refusal = str(error)
        assert said in refusal, (shape, refusal)
    topology = switched(RANKS, 1e9, 1e-6)
    carried = run_on_mpi(ring(RANKS), topology, WORLD, np.ones(1001))
    assert carried.finish_ps == price(ring(RANKS), topology, 8008)[RANK]


main()
