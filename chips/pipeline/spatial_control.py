"""The controller equations of the Spatial compiler's runtime model, in clock cycles.

Source: stanford-ppl/spatial@b567346, models/src/models/RuntimeModel.scala, with its constants; initiation intervals
from its InitiationAnalyzer, buffer depths from computeMemoryBufferPorts. ``Metapipeline(control="spatial")`` uses them.
N iterations of stages that take T_i cycles each; an inner controller has latency L and initiation interval II.
"""

from __future__ import annotations

from collections.abc import Sequence

STARTUP, SHUTDOWN = 2, 1
META_SYNC, SEQ_SYNC, SEQ_ADVANCE = 1, 1, 2
DATAPATH_MASK = 1
STARTUP_SHUTDOWN = STARTUP + SHUTDOWN


def iterations(start: int, stop: int, stride: int, parallel: int = 1) -> int:
    """Iterations of a counter: its range over its stride, shared by ``parallel`` units, both rounded up."""
    steps = -(-(stop - start) // stride)
    return -(-steps // parallel)


def outer_sequenced(count: int, stages: Sequence[int]) -> int:
    """An outer controller that runs its stages one after the other."""
    return STARTUP_SHUTDOWN + count * sum(stages) + count * len(stages) * SEQ_SYNC + count * SEQ_ADVANCE


def outer_pipelined(count: int, stages: Sequence[int]) -> int:
    """A metapipeline: fill and drain once, then an iteration every slowest stage, and a token a stage and iteration."""
    return STARTUP_SHUTDOWN + (count - 1) * max(stages) + sum(stages) + count * len(stages) * META_SYNC


def outer_streaming(count: int, stages: Sequence[int]) -> int:
    """Stages coupled by queues: all run at once."""
    return STARTUP_SHUTDOWN + count * max(stages) + META_SYNC


def fork_join(count: int, stages: Sequence[int]) -> int:
    """Stages that start together and are awaited together, every iteration."""
    return STARTUP_SHUTDOWN + count * max(stages) + META_SYNC


def inner_pipelined(count: int, latency: int, interval: int) -> int:
    """A pipelined datapath: one result every ``interval`` cycles after the first."""
    return (count - 1) * interval + latency + STARTUP_SHUTDOWN + DATAPATH_MASK


def inner_sequenced(count: int, latency: int) -> int:
    """A datapath that takes one value at a time."""
    return count * latency + STARTUP_SHUTDOWN


def initiation_interval(latency: int, cycle_latency: int = 0, distance: int = 1) -> int:
    """II of a datapath whose longest loop-carried dependence takes ``cycle_latency`` over ``distance`` iterations."""
    if cycle_latency == 0:
        return 1
    return min(latency, -(-cycle_latency // distance))


def buffer_depth(writer_stage: int, reader_stage: int) -> int:
    """N-buffering of a value between two stages of a metapipeline: their distance plus one."""
    return reader_stage - writer_stage + 1
