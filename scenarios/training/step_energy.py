"""Joules of the events of a training step on a mean chip: its passes, what it sends to others, its optimizer."""

from __future__ import annotations

from functools import lru_cache, partial

from chips.spec import Dataflow, Gpu, Systolic
from cluster import Cluster
from scenarios.energy import Dynamic, added, scaled, step_joules
from scenarios.framework import Framework
from scenarios.training.shared_parameters import MOST_REMEMBERED
from scenarios.training.stages import TrainingStages
from scenarios.workload.element_passes import optimizer_step
from scenarios.workload.operators import Step
from scenarios.workload.sharding import WEIGHT_BYTES


def training_joules(step: TrainingStages) -> Dynamic:
    """What a mean chip's events take: all micro-batches through its stage, exchanges, the update of its share."""
    point, layout = step.point, step.layout
    taken = partial(_pass_joules, point.chip, layout.tensor, point.strategy, point.framework)
    passes = added(taken(step.work.forward), taken(step.work.backward))
    updated = taken(optimizer_step(step.trained_parameters / step.shared(0).dealt, point.framework.optimizer))
    sent: Dynamic = {"allreduce": point.chip.events.joules(link_bytes=_sent_bytes(step))}
    return added(scaled(passes, step.micro_batches / layout.pipeline), updated, sent)


def _sent_bytes(step: TrainingStages) -> float:
    """Activations of micro-batches and their gradients from stage to stage; gradients and weights of parameters."""
    layout, framework, by_pass = step.layout, step.point.framework, step.by_pass
    boundaries = (layout.pipeline * layout.interleaved - 1) / layout.pipeline  # of a mean stage
    stages = 2.0 * step.micro_batches * boundaries * step.share_bytes
    gradients = framework.summed_gradient_bytes * (step.micro_batches if by_pass.gradients else 1)
    # Shares of weights come together for a step, or for either pass of a micro-batch; an AllReduce sends sums again.
    weights = WEIGHT_BYTES * (2 * step.micro_batches if by_pass.weights else 1)
    again = weights if step.shared(0).dealt > 1 else gradients
    return stages + (gradients + again) * step.trained_parameters * (step.sharing - 1) / step.sharing


@lru_cache(MOST_REMEMBERED)
def _pass_joules(
    chip: Gpu | Dataflow | Systolic, ranks: int, strategy: str, framework: Framework, work: Step
) -> Dynamic:
    return step_joules(Cluster(chip, ranks), strategy, framework, work)
