"""The clock of a training step: stages are engines, and so are the networks and the host of each.

Every stage runs its passes in the order of its schedule. Gradients of a bucket are summed on the stage's network when
the last micro-batch has left them; the optimizer starts when all chips know their norm; updated parameters come
together before the next step's first forward pass needs them. So that the step is one of many, it begins with the
gathering of what the step before has updated.

Where chips hold shares of the weights, every pass gathers those of a bucket while the one before it computes, and sums
its gradients. A collective beside a pass takes compute units and memory bandwidth from it. The host issues a gathering
behind the kernels of the bucket before it, in a backward pass ahead of them: one that falls behind leaves it exposed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from chips.clock.time import Picoseconds
from chips.clock.timeline import Time, Timeline
from scenarios.strategies.label import HOST, Label
from scenarios.workload.pipeline_schedule import Pass, in_turn, needs

Spent = Mapping[Hashable, Picoseconds]
GRADIENTS = Label("allreduce", "network")
WORK = "work"
NETWORK, COPIES = "network", "network of copies"


class Work(NamedTuple):
    """What a task of the step stands for: what a stage or its network does, a pass also for which micro-batch."""

    stage: int
    kind: Literal["forward", "backward", "optimizer", "network"]
    micro_batch: int | None = None


@dataclass(frozen=True)
class Bucket:
    """Parameters of so many decoders that are gathered, and their gradients summed, together: picoseconds of both.

    ``again_ps``: of gathering them once more in a backward pass; 0 where they are still there. ``across_ps``: of
    summing, over copies of all shares, what was summed within one. ``decoders`` 0: what is around all decoders.
    """

    decoders: int
    sum_ps: int
    gather_ps: int
    again_ps: int = 0
    across_ps: int = 0


@dataclass(frozen=True)
class Run:
    """A run of decoders of one stage: picoseconds by label of a micro-batch's forward and backward, with its sends.

    Each may be an array over replicas. ``buckets``: in the order of the backward pass; none where nobody shares.
    ``lost``: of its speed, what a forward and a backward pass lose while a collective runs beside. ``issue``:
    picoseconds in which the host issues each, where passes wait for it and do not have it among their own.
    """

    forward: Spent
    backward: Spent
    buckets: Sequence[Bucket]
    lost: tuple[float, float] = (0.0, 0.0)
    issue: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Stage:
    """The runs of one stage of a pipeline, and picoseconds by label of its optimizer."""

    runs: Sequence[Run]
    optimizer: Spent


class ByPass(NamedTuple):
    """What is exchanged in every pass: ``weights`` gathered, or once a step; ``gradients`` summed, or of all
    micro-batches at once."""

    weights: bool = False
    gradients: bool = False


ONCE_A_STEP = ByPass()


def run_step(
    stages: Sequence[Stage],
    micro_batches: int,
    lanes: int,
    norm_ps: int,
    *,
    overlapped: bool,
    by_pass: ByPass = ONCE_A_STEP,
    record: bool = False,
) -> Timeline:
    """A clock that has run one step, with a lane for each of ``lanes`` replicas that differ.

    ``overlapped``: whether what is exchanged runs beside passes, or after and before all of them. ``norm_ps``: of the
    sum over all chips that the optimizers wait for.
    """
    clock = Timeline(lanes, record=record)
    chunks, once = len(stages[0].runs), not (by_pass.weights and overlapped)
    gathered = [
        [_gathers(clock, number, run) if once else [] for run in stage.runs] for number, stage in enumerate(stages)
    ]
    done: dict[Pass, Time] = {}
    for item in in_turn(len(stages), chunks, micro_batches):
        run, engine = stages[item.stage].runs[item.chunk], clock.engine(f"stage {item.stage}")
        needed = needs(len(stages), chunks, item)
        ready: tuple[Time, ...] = () if needed is None else (done[needed],)
        work = Work(item.stage, "backward" if item.backward else "forward", item.micro_batch)
        name = f"{work.kind} {work.micro_batch}" + (f", run {item.chunk}" if chunks > 1 else "")
        first = item.micro_batch == 0 and not item.backward
        last = item.micro_batch == micro_batches - 1 and item.backward
        gathers, sums = first or not once, item.backward and (last or by_pass.gradients)
        if run.buckets and (gathers or sums) and overlapped:
            there = gathered[item.stage][item.chunk] if first else []
            done[item] = _in_pieces(clock, run, ready, there, name, work, by_pass=not once, sums=sums)
            continue
        # Without overlap nothing starts before all parameters are there, and sums follow when all passes are over.
        if first and run.buckets:
            ready = (*ready, *(time for own in gathered[item.stage] for time in own))
        whole = sum((run.backward if item.backward else run.forward).values())
        done[item] = clock.task(engine, whole, ready, WORK, name, work)
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


def _in_pieces(
    clock: Timeline,
    run: Run,
    ready: Sequence[Time],
    there: Sequence[Time],
    name: str,
    work: Work,
    *,
    by_pass: bool,
    sums: bool,
) -> Time:
    """A pass bucket by bucket; returns when the last is done.

    Each starts when its parameters are ``there``, in its order, or if ``by_pass`` when this pass has gathered them: the
    next one's from when this one starts and the host has come to it.
    """
    stage, backward = work.stage, work.kind == "backward"
    engine, host = clock.engine(f"stage {stage}"), clock.engine(f"host {stage}")
    buckets = run.buckets if backward else run.buckets[::-1]
    whole, issue = sum((run.backward if backward else run.forward).values()), run.issue[backward]
    finish, gathered = engine.free, list(there)
    if by_pass:
        gathered = [_gather(clock, stage, buckets[0], clock.join(engine.free, host.free, *ready), backward)]
    for number, (bucket, ps, issue_ps) in enumerate(
        zip(buckets, pieces(whole, buckets), pieces(issue, buckets), strict=True)
    ):
        after = (*ready, *gathered[number : number + 1])
        start, comes = clock.join(engine.free, *after), host.free
        issued = clock.task(host, issue_ps, (), HOST, name) if issue else comes
        if by_pass and number + 1 < len(buckets):
            allowed = clock.join(start, comes if backward else issued)
            gathered.append(_gather(clock, stage, buckets[number + 1], allowed, backward))
        finish = clock.task(engine, _beside(clock, stage, start, ps, run.lost[backward]), after, WORK, name, work)
        if issue:
            finish = clock.task(engine, 0, (issued,), WORK, name, work)
        if sums:
            _sum(clock, stage, bucket, finish)
    return finish


def _beside(clock: Timeline, stage: int, start: Time, ps: Picoseconds, lost: float) -> Picoseconds:
    """How long a piece of a pass lasts that loses so much of its speed until the stage's networks are free."""
    if not lost:
        return ps
    free = clock.join(*(clock.engine(f"{network} {stage}").free for network in (NETWORK, COPIES)))
    busy: Picoseconds = np.maximum(free.ps - start.ps, 0)
    if isinstance(ps, int) and not np.ndim(busy):
        return ps + slower_ps(int(busy), ps, lost)
    return ps + (np.minimum(busy, ps / (1.0 - lost)) * lost).astype(np.int64)


def slower_ps(busy: int, ps: int, lost: float) -> int:
    """What a piece of a pass takes longer that loses so much of its speed for the first ``busy`` picoseconds."""
    return int(min(busy, ps / (1.0 - lost)) * lost)


def _gathers(clock: Timeline, stage: int, run: Run) -> list[Time]:
    """When the parameters of each bucket are there, in the order of the forward pass."""
    return [_gather(clock, stage, bucket, Time.zero, False) for bucket in reversed(run.buckets)]


def _gather(clock: Timeline, stage: int, bucket: Bucket, ready: Time, again: bool) -> Time:
    """Replicas meet and gather the parameters of one bucket, if they are not still there."""
    ps = bucket.again_ps if again else bucket.gather_ps
    if not ps:
        return ready
    network, work = clock.engine(f"{NETWORK} {stage}"), Work(stage, "network")
    return clock.task(network, ps, (clock.across(ready),), GRADIENTS, "parameters AllGather", work)


def _sum(clock: Timeline, stage: int, bucket: Bucket, ready: Time) -> None:
    """Replicas meet and sum the gradients of one bucket."""
    network, work = clock.engine(f"{NETWORK} {stage}"), Work(stage, "network")
    summed = clock.task(network, bucket.sum_ps, (clock.across(ready),), GRADIENTS, "gradients", work)
    if bucket.across_ps:
        copies = clock.engine(f"{COPIES} {stage}")
        clock.task(copies, bucket.across_ps, (summed,), GRADIENTS, "gradients of copies", work)


def pieces(whole: Picoseconds, buckets: Sequence[Bucket]) -> Iterator[Picoseconds]:
    """A pass in pieces as long as their decoders are many; they sum to it exactly."""
    decoders = sum(bucket.decoders for bucket in buckets)
    before, passed = 0 * whole, 0
    for bucket in buckets:
        passed += bucket.decoders
        until = whole * passed // decoders
        yield until - before
        before = until
