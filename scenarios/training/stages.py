"""What each stage of a training step does and how long: its passes, the gradients it shares, its optimizer.

The passes are those of ``scenarios.workload.training_step`` under the point's strategy, timed on the chips of each
tensor-parallel group. How stages and replicas wait for each other is in ``scenarios.training.clock``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil

import numpy as np

from chips.clock.time import IntArray, Picoseconds
from chips.clock.timeline import seconds_to_ps
from chips.spec import Dataflow, Gpu, Link, Systolic
from cluster import Cluster, Slowdown
from collectives.collective_time import Library, Operation
from collectives.libraries.choice import price_collective
from collectives.topology import every_nth
from scenarios.assignment import Assignment
from scenarios.framework import Framework
from scenarios.point import ALIKE, Point
from scenarios.strategies import run_strategy, strategy_on
from scenarios.strategies.label import LINK, Label
from scenarios.strategies.one_pass import pass_parts
from scenarios.training.clock import Bucket, Run, Stage
from scenarios.workload.operators import ACTIVATION_BYTES, Step
from scenarios.workload.parallel import Parallel
from scenarios.workload.pipeline_schedule import decoders_of, parameters_of
from scenarios.workload.training_step import GRADIENT_BYTES, WEIGHT_BYTES, TrainingStep, optimizer_step, training_step

Spent = dict[Hashable, Picoseconds]
# Megatron Core's default: a bucket of gradients holds the larger of these, so that none is all latency.
LEAST_BUCKET, BUCKET_PER_REPLICA = 40e6, 1e6
MOST_REMEMBERED = 2**14  # passes and collectives, each: layouts of one model on one chip share most of theirs


def training_work(assignment: Assignment) -> TrainingStep:
    """The passes of one micro-batch on one chip, with all decoders; the optimizer over all parameters."""
    point, layout = assignment.point, assignment.layout
    fused = strategy_on(point.chip, point.strategy).fuses
    return training_step(
        point.model,
        assignment.shard,
        layout.micro_batch,
        point.context,
        point.quantization.multiplied,
        recompute=layout.recompute,
        sequence=layout.sequence,
        fused_attention=point.framework.fused_attention,
        fused_add=fused,
        fused_loss=fused or not point.chip.has_framework or point.framework.fuses_loss,
        context_parallel=layout.context,
    )


@dataclass(frozen=True)
class TrainingStages:
    """The stages of one step of a point; times are arrays over replicas where their chips differ."""

    assignment: Assignment

    @property
    def point(self) -> Point:
        return self.assignment.point

    @property
    def layout(self) -> Parallel:
        return self.assignment.layout

    @property
    def chips(self) -> list[IntArray]:
        """Of each stage (replicas, context groups, tensor ranks)."""
        return self.assignment.chips_of_stages

    @property
    def replicas(self) -> int:
        return int(self.chips[0].shape[0])

    @property
    def sharing(self) -> int:
        """Chips that hold the same parameters: they sum their gradients."""
        return self.replicas * self.layout.context

    @cached_property
    def micro_batches(self) -> int:
        """Of each replica; where some have failed, of the one that got the most."""
        return -(-self.point.batch // (self.replicas * self.layout.micro_batch))

    @cached_property
    def differ(self) -> bool:
        """Whether any chip is not as fast as its datasheet."""
        return any(self._slowdown(stage) is not None for stage in self.chips)

    def _slowdown(self, chips: IntArray) -> Slowdown | None:
        if self.point.variation == ALIKE:
            return None
        return self.point.variation.slowdown(chips.ravel().tolist())

    @property
    def lanes(self) -> int:
        """Replicas that the clock keeps apart."""
        return self.replicas if self.differ else 1

    @cached_property
    def work(self) -> TrainingStep:
        return training_work(self.assignment)

    @cached_property
    def stages(self) -> list[Stage]:
        """What each stage does."""
        stages, chunks = self.layout.pipeline, self.layout.interleaved
        runs = stages * chunks
        decoders, parameters = decoders_of(self.point.model.layers, runs), parameters_of(self.point.model, runs)
        made: dict[Hashable, Run] = {}

        def run(number: int) -> Run:
            stage, first, last = number % stages, number == 0, number == runs - 1
            alike = (decoders[number], parameters[number], first, last, stage if self.differ else 0)
            if alike not in made:
                made[alike] = self._run(stage, decoders[number], parameters[number], first=first, last=last)
            return made[alike]

        sharing = self.sharing if self.point.framework.shards_optimizer else 1
        return [
            Stage(
                [run(number) for number in range(stage, runs, stages)],
                self._spent(stage, optimizer_step(sum(parameters[stage::stages]) / self.layout.tensor / sharing)),
            )
            for stage in range(stages)
        ]

    @cached_property
    def norm_ps(self) -> int:
        """All chips sum the norm of their gradients before any updates a parameter."""
        chips = self.sharing * self.layout.tensor * self.layout.pipeline
        if chips == self.layout.tensor:
            return 0  # one group: a kernel's time among its passes
        return self._collective("all_reduce", chips, GRADIENT_BYTES, self._link(0))

    def _run(self, stage: int, decoders: int, parameters: float, *, first: bool, last: bool) -> Run:
        """One run of decoders: the passes of a micro-batch with what they send on, and the gradients."""
        ahead = self._spent(stage, self.work.forward.part(decoders, begins=first, ends=last))
        back = self._spent(stage, self.work.backward.part(decoders, begins=last, ends=first))
        send = self._send(stage)
        return Run(
            forward=ahead if last else _with(ahead, send),
            backward=back if first else _with(back, send),
            buckets=self._buckets(stage, decoders, parameters / self.layout.tensor),
        )

    def _spent(self, stage: int, step: Step) -> Spent:
        """Picoseconds of one pass by label: a number, or where chips differ of each replica, its slowest group's."""
        point, ranks = self.point, self.layout.tensor
        if not self.differ:
            assert not isinstance(point.chip, Systolic)
            return spent_alike(point.chip, ranks, point.strategy, point.launch, point.framework, step)
        clusters, places = self.assignment.clusters_of_groups(self.chips[stage].reshape(-1, ranks))
        found: dict[Hashable, IntArray] = {}
        groups = sum(cluster.passes for cluster in clusters)
        before = 0
        for cluster in clusters:
            clock = cluster.start_clock()
            finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
            for label, ps in cluster.meet(clock, finish).parts.items():
                of_groups = found.setdefault(label, np.zeros(groups, np.int64))
                of_groups[before : before + cluster.passes] = np.atleast_1d(ps)[:: cluster.lanes]
            before += cluster.passes
        if groups == 1:
            return {label: int(ps[0]) for label, ps in found.items()}
        of_replica = places.reshape(self.replicas, -1)
        whole = np.sum(list(found.values()), axis=0)
        slowest = np.take_along_axis(of_replica, whole[of_replica].argmax(axis=1)[:, None], axis=1)[:, 0]
        if self.lanes == 1:
            return {label: int(ps[slowest[0]]) for label, ps in found.items()}
        return {label: ps[slowest] for label, ps in found.items()}

    def _send(self, stage: int) -> Spent:
        """Activations of a micro-batch to the next stage, or their gradients to the one before.

        The ranks of a tensor-parallel group hold the same and send a share each (Narayanan et al. 2021, 4.1).
        """
        layout, point = self.layout, self.point
        tokens = layout.micro_batch * point.context / layout.context
        share = tokens * point.model.hidden * ACTIVATION_BYTES / layout.tensor
        link = self._link(stage)
        between = 2 * layout.tensor * self.sharing > link.domain
        seconds = link.network_latency + share / link.network_bandwidth if between else share / link.bandwidth
        return {Label("allreduce", LINK): seconds_to_ps(seconds)}

    def _buckets(self, stage: int, decoders: int, parameters: float) -> list[Bucket]:
        """The gradients of one run, in the order in which its backward pass gives them."""
        if self.sharing == 1:
            return []
        apiece, each = parameters / decoders, decoders
        if self.point.framework.overlaps_gradients:
            each = min(decoders, ceil(max(LEAST_BUCKET, BUCKET_PER_REPLICA * self.sharing) / apiece))
        link = every_nth(self._link(stage), self.layout.tensor)
        whole, rest = divmod(decoders, each)
        buckets = [self._bucket(each, each * apiece, link)] * whole
        return [*buckets, self._bucket(rest, rest * apiece, link)] if rest else buckets

    def _bucket(self, decoders: int, parameters: float, link: Link) -> Bucket:
        gradients, weights = GRADIENT_BYTES * parameters, WEIGHT_BYTES * parameters
        if not self.point.framework.shards_optimizer:
            return Bucket(decoders, self._collective("all_reduce", self.sharing, gradients, link), 0)
        return Bucket(
            decoders,
            self._collective("reduce_scatter", self.sharing, gradients, link),
            self._collective("all_gather", self.sharing, weights, link),
        )

    def _collective(self, operation: Operation, ranks: int, payload_bytes: float, link: Link) -> int:
        chip = self.point.chip
        assert not isinstance(chip, Systolic)
        library = self.point.framework.collectives if chip.has_framework else None
        return _collective_ps(chip, link, operation, ranks, payload_bytes, library)

    def _link(self, stage: int) -> Link:
        """The slowest links of a stage."""
        if not self.differ:
            return self.point.chip.link
        chips = self.chips[stage]
        return Cluster(self.point.chip, chips.size, self._slowdown(chips)).slowed(self.point.chip.link)


@lru_cache(MOST_REMEMBERED)
def spent_alike(
    chip: Gpu | Dataflow, ranks: int, strategy: str, launch: str, framework: Framework, step: Step
) -> Spent:
    """Picoseconds of one pass by label on a tensor-parallel group of chips that are all as their datasheet says."""
    return dict(pass_parts(chip, ranks, strategy, launch, framework, step))


@lru_cache(MOST_REMEMBERED)
def _collective_ps(
    chip: Gpu | Dataflow, link: Link, operation: Operation, ranks: int, payload_bytes: float, library: Library | None
) -> int:
    """One collective of chips joined by ``link``, which may be the slowest of theirs."""
    linked = chip.model_copy(update={"link": link})
    return seconds_to_ps(float(price_collective(linked, operation, ranks, payload_bytes, library=library).seconds))


def _with(spent: Spent, more: Spent) -> Spent:
    return {label: spent.get(label, 0) + more.get(label, 0) for label in spent | more}
