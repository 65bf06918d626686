"""The passes that a point consists of: a token, a prompt, a request's prefill and tokens, a training step's three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scenarios.assignment import Assignment
from scenarios.strategies import alike_passes
from scenarios.training.stages import training_work
from scenarios.workload.decoder import forward
from scenarios.workload.operators import Attention, Count, Operator, Step


def passes_of(assignment: Assignment) -> list[tuple[Step, int]]:
    """The passes of a point, one after the other, each with how many it stands for side by side.

    The output tokens of a request differ only in their context: they are one pass on a clock with a lane for each,
    but for those that a dataflow chip maps otherwise.
    """
    point, split = assignment.point, assignment.shard
    model, batch, context, precision = point.model, point.batch, point.context, point.precision
    if point.phase == "decode":
        return [(forward(model, split, batch, 1, context, precision), 1)]
    if point.phase == "prefill":
        return [(forward(model, split, batch, context, context, precision), 1)]
    if point.phase == "train":
        work = training_work(assignment)
        return [(work.forward, 1), (work.backward, 1), (work.optimizer, 1)]
    prompt = context - (point.output_tokens or 0)
    prefill = forward(model, split, batch, prompt, prompt, precision)
    contexts = np.arange(prompt + 1, context, dtype=np.float64)
    passes = [(prefill, 1)]
    if contexts.size:
        step = forward(model, split, batch, 1, contexts, precision)
        for lanes in alike_passes(assignment.cluster(), step, point.launch):
            own = contexts[lanes] if lanes.size > 1 else int(contexts[lanes[0]])
            passes.append((forward(model, split, batch, 1, own, precision), lanes.size))
    return passes


def with_contexts(step: Step, change: Callable[[Count], Count]) -> Step:
    """The step with the contexts of its attention changed."""

    def changed(operator: Operator) -> Operator:
        return replace(operator, context=change(operator.context)) if isinstance(operator, Attention) else operator

    return Step(tuple(replace(each, operators=tuple(map(changed, each.operators))) for each in step.segments))
