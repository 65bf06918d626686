"""A rank's program for ``test_mpi.py``: the rank in argv[1] stops itself in the middle; the others say what they see.

Where that rank is -1, rank 0 leaves before the last schedule instead.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
from mpi4py import MPI

from collectives.algorithms import ALGORITHMS
from collectives.mpi.run import SilentRank, run_on_mpi
from collectives.mpi.wait import Patience
from collectives.topology import switched

WORLD = MPI.COMM_WORLD
RANK, RANKS = WORLD.Get_rank(), WORLD.Get_size()
VICTIM, ALGORITHM, TIMEOUT = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])

try:
    for number in range(3):
        if number == 1 and RANK == VICTIM:
            os.kill(os.getpid(), signal.SIGSTOP)
        if number == 2 and VICTIM == -1 and RANK == 0:
            break
        topology = switched(RANKS, 1e9, 1e-6)
        run_on_mpi(ALGORITHMS[ALGORITHM](RANKS), topology, WORLD, np.ones(100), timeout_seconds=TIMEOUT)
    Patience(WORLD, TIMEOUT).meet("leaving")
except SilentRank as error:
    if error.speaks:
        print(f"rank {RANK} says: {error}\n", end="", flush=True)  # one write: others say it too
    time.sleep(0 if error.speaks else 1)
    WORLD.Abort(3)
