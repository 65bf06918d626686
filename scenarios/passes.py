"""The passes that a point consists of: a token, a prompt, a request's prefill and tokens, a training step's three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from scenarios.assignment import Assignment
from scenarios.point import Point
from scenarios.strategies import STRATEGIES, alike_passes
from scenarios.training.stages import training_work
from scenarios.workload.decoder import forward
from scenarios.workload.operators import Attention, Count, Decoder, Operator, Step


def passes_of(assignment: Assignment) -> list[tuple[Step, int]]:
    """The passes of a point, one after the other, each with how many it stands for side by side.

    The output tokens of a request differ only in their context: they are one pass on a clock with a lane for each,
    but for those that a dataflow chip maps otherwise.
    """
    point, split = assignment.point, assignment.shard
    batch, context = point.batch, point.context
    # Beside a product is room for half an AllReduce: it becomes a ReduceScatter before it and an AllGather behind it.
    pass_of = partial(forward, point.model, split, quantization=point.quantization, sequence=cuts_products(point))
    if point.phase == "decode":
        return [(pass_of(batch, 1, context), 1)]
    if point.phase == "prefill":
        return [(pass_of(batch, context, context), 1)]
    if point.phase == "train":
        work = training_work(assignment)
        return [(work.forward, 1), (work.backward, 1), (work.optimizer, 1)]
    prompt = context - (point.output_tokens or 0)
    prefill = pass_of(batch, prompt, prompt)
    contexts = np.arange(prompt + 1, context, dtype=np.float64)
    passes = [(prefill, 1)]
    if contexts.size:
        step = pass_of(batch, 1, contexts)
        for lanes in alike_passes(assignment.cluster(), step, point.launch):
            own = contexts[lanes] if lanes.size > 1 else int(contexts[lanes[0]])
            passes.append((pass_of(batch, 1, own), lanes.size))
    return passes


def decoders_of_point(assignment: Assignment) -> list[Decoder]:
    """The decoders of a group's first pass, of a request its prompt's, and in training those of its backward pass."""
    if assignment.point.phase == "train":
        work = training_work(assignment)
        return [work.forward.decoders[0], work.backward.decoders[0]]
    point = assignment.point if assignment.one_group else assignment.replica
    if point.phase == "request":
        prompt = point.context - (point.output_tokens or 0)
        point = replace(point, phase="prefill", context=prompt, output_tokens=None)
    return [passes_of(replace(assignment, point=point))[0][0].decoders[0]]


def cuts_products(point: Point) -> bool:
    """Whether products are cut into parts, beside which the collectives run."""
    strategy, chip = STRATEGIES[point.strategy], point.chip
    overlapped = chip.has_framework and point.framework.collective_mode == "overlapped"
    return overlapped and chip.kind in strategy and not strategy[chip.kind].fuses


def with_contexts(step: Step, change: Callable[[Count], Count]) -> Step:
    """The step with the contexts of its attention changed."""

    def changed(operator: Operator) -> Operator:
        return replace(operator, context=change(operator.context)) if isinstance(operator, Attention) else operator

    return Step(tuple(replace(each, operators=tuple(map(changed, each.operators))) for each in step.segments))
