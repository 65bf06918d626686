"""The clock of a training step: stages are engines, and so is the network of each.

Every stage runs its passes in the order of its schedule. Gradients of a bucket are summed on the stage's network when
the last micro-batch has left them; the optimizer starts when all chips know their norm; updated parameters come
together before the next step's first forward pass needs them. So that the step is one of many, it begins with the
gathering of what the step before has updated.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from chips.clock.time import Picoseconds
from chips.clock.timeline import Time, Timeline
from scenarios.strategies.label import Label
from scenarios.workload.pipeline_schedule import Pass, in_turn, needs

Spent = Mapping[Hashable, Picoseconds]
GRADIENTS = Label("allreduce", "network")
WORK = "work"


class Work(NamedTuple):
    """What a task of the step stands for: what a stage or its network does, a pass also for which micro-batch."""

    stage: int
    kind: Literal["forward", "backward", "optimizer", "network"]
    micro_batch: int | None = None


@dataclass(frozen=True)
class Bucket:
    """Gradients of so many decoders that are summed together: picoseconds of that, and of gathering parameters."""

    decoders: int
    sum_ps: int
    gather_ps: int


@dataclass(frozen=True)
class Run:
    """A run of decoders of one stage: picoseconds by label of a micro-batch's forward and backward, with its sends.

    Each may be an array over replicas. ``buckets``: in the order of the backward pass; none where nobody shares.
    """

    forward: Spent
    backward: Spent
    buckets: Sequence[Bucket]


@dataclass(frozen=True)
class Stage:
    """The runs of one stage of a pipeline, and picoseconds by label of its optimizer."""

    runs: Sequence[Run]
    optimizer: Spent


def run_step(
    stages: Sequence[Stage], micro_batches: int, lanes: int, norm_ps: int, *, overlapped: bool, record: bool = False
) -> Timeline:
    """A clock that has run one step, with a lane for each of ``lanes`` replicas that differ.

    ``overlapped``: whether sums and gathers run beside passes, or after and before all of them. ``norm_ps``: of the
    sum over all chips that the optimizers wait for.
    """
    clock = Timeline(lanes, record=record)
    chunks = len(stages[0].runs)
    gathered = [[_gathers(clock, number, run) for run in stage.runs] for number, stage in enumerate(stages)]
    done: dict[Pass, Time] = {}
    for item in in_turn(len(stages), chunks, micro_batches):
        run, engine = stages[item.stage].runs[item.chunk], clock.engine(f"stage {item.stage}")
        needed = needs(len(stages), chunks, item)
        ready = () if needed is None else (done[needed],)
        whole = sum((run.backward if item.backward else run.forward).values())
        work = Work(item.stage, "backward" if item.backward else "forward", item.micro_batch)
        name = f"{work.kind} {work.micro_batch}" + (f", run {item.chunk}" if chunks > 1 else "")
        first = item.micro_batch == 0 and not item.backward
        last = item.micro_batch == micro_batches - 1 and item.backward
        if not run.buckets or not (first or last):
            done[item] = clock.task(engine, whole, ready, WORK, name, work)
            continue
        if not overlapped:
            # Nothing starts before all parameters are there; sums follow when all passes are over.
            after = [time for own in gathered[item.stage] for time in own] if first else []
            done[item] = clock.task(engine, whole, (*ready, *after), WORK, name, work)
            continue
        buckets = run.buckets if last else run.buckets[::-1]
        for number, (bucket, ps) in enumerate(zip(buckets, pieces(whole, buckets), strict=True)):
            after = [gathered[item.stage][item.chunk][number]] if first else []
            finish = clock.task(engine, ps, (*ready, *after), WORK, name, work)
            if last:
                _sum(clock, item.stage, bucket, finish)
        done[item] = finish
    if not overlapped:
        for number, stage in enumerate(stages):
            for run in stage.runs:
                for bucket in run.buckets:
                    _sum(clock, number, bucket, clock.engine(f"stage {number}").free)
    known = clock.barrier(norm_ps, GRADIENTS, "norm of all gradients", (clock.across(clock.now),))
    for number, stage in enumerate(stages):
        engine, work = clock.engine(f"stage {number}"), Work(number, "optimizer")
        clock.task(engine, sum(stage.optimizer.values()), (known,), WORK, "optimizer", work)
    clock.barrier(after=(clock.across(clock.now),))
    return clock


def _gathers(clock: Timeline, stage: int, run: Run) -> list[Time]:
    """When the parameters of each bucket are there, in the order of the forward pass."""
    network, work = clock.engine(f"network {stage}"), Work(stage, "network")
    return [
        clock.task(network, bucket.gather_ps, (), GRADIENTS, "parameters AllGather", work)
        for bucket in reversed(run.buckets)
    ]


def _sum(clock: Timeline, stage: int, bucket: Bucket, ready: Time) -> None:
    """Replicas meet and sum the gradients of one bucket."""
    network, work = clock.engine(f"network {stage}"), Work(stage, "network")
    clock.task(network, bucket.sum_ps, (clock.across(ready),), GRADIENTS, "gradients", work)


def pieces(whole: Picoseconds, buckets: Sequence[Bucket]) -> Iterator[Picoseconds]:
    """A pass in pieces as long as their decoders are many; they sum to it exactly."""
    decoders = sum(bucket.decoders for bucket in buckets)
    before, passed = 0 * whole, 0
    for bucket in buckets:
        passed += bucket.decoders
        until = whole * passed // decoders
        yield until - before
        before = until
