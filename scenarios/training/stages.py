"""What each stage of a training step does and how long: its passes, the gradients it shares, its optimizer.

The passes are those of ``scenarios.workload.training_step`` under the point's strategy, timed on the chips of each
tensor-parallel group. How stages and replicas wait for each other is in ``scenarios.training.clock``, what they
exchange in ``scenarios.training.shared_parameters``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from chips.clock.time import IntArray, Picoseconds
from chips.clock.timeline import seconds_to_ps
from chips.spec import ChipBase, Dataflow, Gpu, Link
from cluster import Cluster, Slowdown
from results.words import HOST_LAUNCHES
from scenarios.assignment import Assignment
from scenarios.framework import Framework, frameworks
from scenarios.point import ALIKE, Point
from scenarios.strategies import run_strategy, strategy_on
from scenarios.strategies.label import HOST, LINK, Label
from scenarios.strategies.one_pass import pass_parts
from scenarios.training.clock import ByPass, Run, Stage
from scenarios.training.shared_parameters import MOST_REMEMBERED, SharedParameters, beside_collectives
from scenarios.workload.adapters import adapter_parameters
from scenarios.workload.element_passes import optimizer_step
from scenarios.workload.operators import ACTIVATION_BYTES, Step
from scenarios.workload.parallel import Parallel
from scenarios.workload.pipeline_schedule import decoders_of, parameters_of
from scenarios.workload.sharding import GRADIENT_BYTES, SHARED_GRADIENTS, gathered_by_pass
from scenarios.workload.training_step import Recipe, TrainingStep, training_step

Spent = dict[Hashable, Picoseconds]


def recipe_of(assignment: Assignment) -> Recipe:
    """How the software of a point runs its training step."""
    point, layout = assignment.point, assignment.layout
    framework = point.framework if point.chip.has_framework else frameworks()["training"]
    fused = strategy_on(point.chip, point.strategy).fuses or not point.chip.has_framework
    called = not fused and framework.fusion == "none"
    sharing = layout.replicas(point.count) * layout.context
    return Recipe(
        recompute=layout.recompute,
        sequence=layout.sequence,
        fused_attention=framework.fused_attention,
        fused_add=strategy_on(point.chip, point.strategy).fuses,
        fused_loss=fused or framework.fuses_loss,
        modules=("compiled" if point.launch == "compiled" else "eager") if called else "joined",
        cut_products=framework.collective_mode == "overlapped",
        fp32_gradients=framework.fp32_gradients,
        gathered=point.chip.has_framework and sharing > 1 and gathered_by_pass(framework.sharding, layout.pipeline),
        summed_gradient_bytes=framework.summed_gradient_bytes,
        optimizer=framework.optimizer,
        rotary=framework.rotary,
        method=point.method,
    )


def training_work(assignment: Assignment) -> TrainingStep:
    """The passes of one micro-batch on one chip, with all decoders; the optimizer over all parameters."""
    point, layout = assignment.point, assignment.layout
    return training_step(
        point.model,
        assignment.shard,
        layout.micro_batch,
        point.context,
        point.quantization.multiplied,
        recipe_of(assignment),
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
        """That work."""
        if not self.point.variation.failed:
            return self.layout.replicas(self.point.count)
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
        return self.point.variation != ALIKE and any(self._slowdown(stage) is not None for stage in self.chips)

    def _slowdown(self, chips: IntArray) -> Slowdown | None:
        return self.point.variation.slowdown(chips.ravel().tolist())

    @property
    def lanes(self) -> int:
        """Replicas that the clock keeps apart."""
        return self.replicas if self.differ else 1

    @cached_property
    def work(self) -> TrainingStep:
        return training_work(self.assignment)

    @property
    def copies(self) -> bool:
        """Whether shares have copies, which sum their gradients too."""
        return self.shared(0).dealt not in (1, self.sharing)

    @property
    def by_pass(self) -> ByPass:
        """What replicas exchange in every pass."""
        sharding, pipeline = self.point.framework.sharding, self.layout.pipeline
        return ByPass(gathered_by_pass(sharding, pipeline), sharding in SHARED_GRADIENTS and pipeline == 1)

    def shared(self, stage: int) -> SharedParameters:
        """The parameters of a stage, as its chips share them."""
        layout, point = self.layout, self.point
        link = self._link(stage)
        return SharedParameters(point.chip, point.framework, self.sharing, layout.tensor, layout.pipeline, link)

    @cached_property
    def stages(self) -> list[Stage]:
        """What each stage does."""
        stages, chunks = self.layout.pipeline, self.layout.interleaved
        runs = stages * chunks
        decoders, (of_decoder, of_runs) = decoders_of(self.point.model.layers, runs), self._trained(runs)
        made: dict[Hashable, Run] = {}

        def run(number: int) -> Run:
            stage, first, last = number % stages, number == 0, number == runs - 1
            alike = (decoders[number], of_runs[number], first, last, stage if self.differ else 0)
            if alike not in made:
                made[alike] = self._run(stage, decoders[number], of_decoder, of_runs[number], first=first, last=last)
            return made[alike]

        optimizer = self.point.framework.optimizer
        return [
            Stage(
                [run(number) for number in range(stage, runs, stages)],
                self._spent(stage, optimizer_step(sum(of_runs[stage::stages]) / self._dealt(stage), optimizer)),
            )
            for stage in range(stages)
        ]

    def _dealt(self, stage: int) -> int:
        """Over how many chips the optimizer's work on one parameter of a stage is dealt."""
        return self.layout.tensor * self.shared(stage).dealt

    def _trained(self, runs: int) -> tuple[float, list[float]]:
        """Parameters that a group trains: of each decoder, and of each run with what is around it."""
        model, method = self.point.model, self.point.method
        if not method.rank:
            return model.decoder_parameters, [float(held) for held in parameters_of(model, runs)]
        decoder = adapter_parameters(model, self.assignment.shard, method) * self.layout.tensor
        return decoder, [number * decoder for number in decoders_of(model.layers, runs)]

    @cached_property
    def norm_ps(self) -> int:
        """All chips sum the norm of their gradients before any updates a parameter."""
        chips = self.sharing * self.layout.tensor * self.layout.pipeline
        if chips == self.layout.tensor:
            return 0  # one group: a kernel's time among its passes
        return self.shared(0).collective("all_reduce", chips, GRADIENT_BYTES, self._link(0))

    def _run(self, stage: int, decoders: int, decoder: float, held: float, *, first: bool, last: bool) -> Run:
        """One run of decoders: the passes of a micro-batch with what they send on, and the gradients.

        ``decoder``, ``held``: parameters that are trained, of each decoder and of the run.
        """
        layers = self.point.model.layers
        ahead = self.work.forward.part(decoders, layers, begins=first, ends=last)
        back = self.work.backward.part(decoders, layers, begins=last, ends=first)
        forward, backward, send = self._spent(stage, ahead), self._spent(stage, back), self.send(stage)
        apiece = decoder / self.layout.tensor
        around = held / self.layout.tensor - decoders * apiece
        return Run(
            forward=forward if last else _with(forward, send),
            backward=backward if first else _with(backward, send),
            buckets=self.shared(stage).buckets(decoders, apiece, around),
            lost=(self._lost(ahead), self._lost(back)),
            issue=(self._issue(ahead), self._issue(back)),
        )

    @cached_property
    def _host_apart(self) -> bool:
        """Whether the step's clock keeps the host of its passes, so that it issues their collectives."""
        return self.sharing > 1 and self.by_pass.weights and self.point.launch in HOST_LAUNCHES

    @property
    def free(self) -> frozenset[Label]:
        """What passes do not have among their own."""
        return frozenset({HOST} if self._host_apart else ())

    def _issue(self, step: Step) -> int:
        """Picoseconds in which the host issues a pass that it does not have among its own."""
        return _issue_ps(*self.how(self.point.chip), step) if self._host_apart else 0

    def _lost(self, step: Step) -> float:
        """What of its speed a pass loses beside a collective of those that share parameters."""
        point, chip = self.point, self.point.chip
        if self.sharing == 1 or not isinstance(chip, Gpu) or not point.framework.overlaps_gradients:
            return 0.0
        between_domains = self.sharing * self.layout.tensor > chip.link.domain
        return _lost_beside(chip, between_domains, *self.how(chip)[1:], step, self.free)

    def how(self, chip: ChipBase) -> tuple[Gpu | Dataflow, int, str, str, Framework]:
        """What a pass runs on and how, on such chips."""
        assert isinstance(chip, Gpu | Dataflow)
        return chip, self.layout.tensor, self.point.strategy, self.point.launch, self.point.framework

    def _spent(self, stage: int, step: Step) -> Spent:
        """Picoseconds of one pass by label: a number, or where chips differ of each replica, its slowest group's."""
        point, ranks, free = self.point, self.layout.tensor, self.free
        if not self.differ:
            return dict(pass_parts(*self.how(point.chip), step, free))
        clusters, places = self.assignment.clusters_of_groups(self.chips[stage].reshape(-1, ranks))
        found: dict[Hashable, IntArray] = {}
        groups = sum(cluster.passes for cluster in clusters)
        before = 0
        for cluster in clusters:
            clock = cluster.start_clock()
            finish = run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework, free)
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

    def send(self, stage: int) -> Spent:
        """Activations of a micro-batch to the next stage, or their gradients to the one before.

        The ranks of a tensor-parallel group hold the same and send a share each (Narayanan et al. 2021, 4.1).
        """
        link, share = self._link(stage), self.share_bytes
        between = 2 * self.layout.tensor * self.sharing > link.domain
        seconds = link.network_latency + share / link.network_bandwidth if between else share / link.bandwidth
        return {Label("allreduce", LINK): seconds_to_ps(seconds)}

    @property
    def share_bytes(self) -> float:
        """What a chip sends of a micro-batch from stage to stage."""
        layout, point = self.layout, self.point
        tokens = layout.micro_batch * point.context / layout.context
        return tokens * point.model.hidden * ACTIVATION_BYTES / layout.tensor

    @property
    def trained_parameters(self) -> float:
        """Of a mean chip, those that have gradients."""
        return sum(self._trained(1)[1]) / (self.layout.tensor * self.layout.pipeline)

    def _link(self, stage: int) -> Link:
        """The slowest links of a stage."""
        if not self.differ:
            return self.point.chip.link
        chips = self.chips[stage]
        return Cluster(self.point.chip, chips.size, self._slowdown(chips)).slowed(self.point.chip.link)


@lru_cache(MOST_REMEMBERED)
def _lost_beside(
    chip: Gpu,
    between_domains: bool,
    ranks: int,
    strategy: str,
    launch: str,
    framework: Framework,
    step: Step,
    free: frozenset[Label],
) -> float:
    """What of its speed a pass loses on what a collective leaves of the chip."""
    left = beside_collectives(chip, between_domains)
    spent = (pass_parts(each, ranks, strategy, launch, framework, step, free) for each in (chip, left))
    alone, beside = (sum(int(np.max(ps)) for ps in each.values()) for each in spent)
    return max(0.0, 1.0 - alone / beside)


@lru_cache(MOST_REMEMBERED)
def _issue_ps(chip: Gpu | Dataflow, ranks: int, strategy: str, launch: str, framework: Framework, step: Step) -> int:
    """Picoseconds in which the host has issued one pass."""
    cluster = Cluster(chip, ranks)
    clock = cluster.start_clock()
    run_strategy(clock, cluster, strategy, step, launch, framework)
    return int(np.max(clock.engine("host").free.ps))


def _with(spent: Spent, more: Spent) -> Spent:
    return {label: spent.get(label, 0) + more.get(label, 0) for label in spent | more}
