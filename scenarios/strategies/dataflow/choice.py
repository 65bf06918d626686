"""Which plan a segment takes: of all that the chip holds, the one that takes least.

*Weight stream*: all tokens are held on chip while the weights pass once (decode). *Token stream*: the decoder's weights
are held on chip while tiles of tokens pass through all stages at once (prefill, training, large batches), in tiles of
several sizes. *Sections*: kernels one after the other, down to one an operator. The clock itself decides: a plan is
left out only where it takes longer than another one for certain. So more plans, or a chip that is better at anything,
make nothing slower. Chips are taken as alike: a program is compiled before anyone knows which of them is slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from operator import itemgetter

import numpy as np

from chips.clock.time import IntArray
from chips.clock.timeline import seconds_to_ps
from chips.placement import fits
from chips.spec import Dataflow
from cluster import Cluster
from scenarios.strategies.dataflow.fused_program import token_stream
from scenarios.strategies.dataflow.launch import launch_ps, program_load_ps
from scenarios.strategies.dataflow.plans import Plan, WeightStream
from scenarios.strategies.dataflow.sections import sections
from scenarios.strategies.dataflow.stages import (
    DataflowGroup,
    activation_bytes,
    fused_bytes,
    stage_alone,
    stages_of,
    stream_slots,
    stream_tile_bytes,
    tile_bytes,
    tokens_of,
    weight_bytes,
)
from scenarios.strategies.dataflow.token_stream import TokenPipeline, tile_costs, tile_load_ps, tile_rows
from scenarios.workload.operators import Decoder, Segment, Step, largest, one_pass, passes_in

MOST_CHOICES = 2**12  # that a process remembers


def plan_for(group: DataflowGroup, segment: Segment, launch: str, *, looped: bool) -> Plan:
    """The plan that takes least; of passes side by side, which ``laid_out_alike`` has told apart, that of all."""
    chip, count = group.chip, group.cluster.count
    if not _several(segment):
        return _chosen(chip, count, segment, launch, looped)
    if passes_in(segment.operators) == 1:
        return _chosen(chip, count, one_pass(segment, itemgetter(0)), launch, looped)
    plans, kinds = _side_by_side(chip, count, segment, launch, looped)
    return plans[int(kinds[0])]


def laid_out_alike(chip: Dataflow, count: int, step: Step, launch: str) -> list[IntArray]:
    """The passes of a step in groups, in the order of their first: within each, all segments take plans of one form,
    looped or not."""
    passes = passes_in(step.operators)
    forms = [
        _side_by_side(chip, count, segment, launch, looped)[1]
        for segment in step.segments
        for looped in (False, True)
        if _several(segment) and passes > 1
    ]
    table = np.array(forms, np.int64).reshape(-1, passes)
    _, first, own = np.unique(table, axis=1, return_index=True, return_inverse=True)
    return [np.flatnonzero(own.ravel() == one) for one in np.argsort(first)]


def _several(segment: Segment) -> bool:
    return any(operator.several for operator in segment.operators)


def _side_by_side(
    chip: Dataflow, count: int, segment: Segment, launch: str, looped: bool
) -> tuple[list[Plan], IntArray]:
    """The plans that passes side by side can share, and for each pass which of them it takes.

    A pass that takes another plan has a number of its own, beyond those.
    """
    group = DataflowGroup(chip, Cluster(chip, count))
    plans = _streams(group, segment, launch, looped)
    passes = passes_in(segment.operators)
    smallest = one_pass(segment, np.min)
    # No pass takes less time in another plan than the smallest would.
    beyond = min((plan.least for plan in _others(group, smallest, launch, looped, plans)), default=np.inf)
    least = np.array([np.broadcast_to(plan.least, passes) for plan in plans])
    most = np.array([np.broadcast_to(plan.most, passes) for plan in plans])
    kinds = np.argmin(most, axis=0)
    for number in range(passes):
        taken, others = kinds[number], [place for place in range(len(plans)) if place != kinds[number]]
        if most[taken, number] < min([beyond, *least[others, number]]):
            continue
        alone = _chosen(chip, count, one_pass(segment, itemgetter(number)), launch, looped)
        forms = [plan.form for plan in plans]
        kinds[number] = forms.index(alone.form) if alone.form in forms else len(plans) + number
    return plans, kinds


@lru_cache(MOST_CHOICES)
def _chosen(chip: Dataflow, count: int, segment: Segment, launch: str, looped: bool) -> Plan:
    """The plan that takes least, of one pass."""
    group = DataflowGroup(chip, Cluster(chip, count))
    plans = _streams(group, segment, launch, looped)
    plans += _others(group, segment, launch, looped, plans)
    best = min(plans, key=lambda plan: plan.most)
    left = [plan for plan in plans if plan is best or plan.least < best.most]
    if len(left) == 1:
        return best
    most = best.most
    for plan in sorted(left, key=lambda plan: plan.least):
        if plan.least < most:
            took = plan.most if plan.least == plan.most else _clocked(group, segment, launch, plan)
            best, most = (plan, took) if took < most else (best, most)
    return best


def _clocked(group: DataflowGroup, segment: Segment, launch: str, plan: Plan) -> int:
    """Picoseconds of a plan on a clock of its own."""
    clock = group.cluster.start_clock()
    return int(np.max(plan.issue(clock, group, segment, launch, clock.now).ps))


def _streams(group: DataflowGroup, segment: Segment, launch: str, looped: bool) -> list[Plan]:
    """All operators in one kernel whose weights stream, if the chip holds their tokens; and a kernel an operator, if
    that could take less."""
    chip, operators = group.chip, segment.operators
    held = activation_bytes(segment) if isinstance(segment, Decoder) else 0.0
    between = program_load_ps(chip, launch) + launch_ps(chip, launch)
    plans: list[Plan] = []
    if held + 2 * stream_tile_bytes(chip) <= fused_bytes(chip):
        stages, slots = stages_of(group, segment), stream_slots(chip, held)
        ahead = slots * seconds_to_ps(stream_tile_bytes(chip) / chip.streaming_bandwidth)
        loads, computes = zip(*(stage.whole for stage in stages), strict=True)
        drains = [sum(stage.latency.values()) for stage in stages]
        turns = sum(map(np.maximum, computes, [load - ahead for load in loads])) + sum(drains)
        once, each = _launches(chip, launch, segment, looped)
        least = once + segment.times * (each + np.maximum(sum(loads), turns))
        most = once + segment.times * (each + sum(stage.alone_ps for stage in stages))
        plans.append(Plan("weight stream", (WeightStream(stages, segment),), least, most, slots, looped=looped))
        if np.all(segment.times * (len(operators) * between + sum(loads)) >= most):
            return plans
    apart = [stage_alone(group, operator) for operator in operators]
    alone = segment.times * (len(apart) * between + sum(stage.alone_ps for stage in apart))
    return [*plans, Plan("operators apart", tuple(WeightStream((stage,)) for stage in apart), alone, alone)]


def _others(group: DataflowGroup, segment: Segment, launch: str, looped: bool, streams: Sequence[Plan]) -> list[Plan]:
    """The plans in which tokens stream, of those that could take less than ``streams`` and each other."""
    if not isinstance(segment, Decoder):
        return []
    chip, layers = group.chip, segment.layers
    below = min(int(np.max(plan.most)) for plan in streams)
    holds = partial(_holds, chip, group.cluster.count)
    once, each = _launches(chip, launch, segment, looped)
    rows = tile_rows(chip, tokens_of(segment))
    tried: list[tuple[int, TokenPipeline]] = []
    for tile in rows:
        costs, tokens = tile_costs(group, segment, tile), tokens_of(segment)
        moved = sum(cost.moved_bytes for cost in costs) + segment.kept_bytes
        pipeline = TokenPipeline(tile, tokens, costs, tile_load_ps(chip, moved, -(-tokens // tile)))
        least = pipeline.least_ps(layers) if looped else layers * (each + pipeline.alone_ps)
        tried.append((once + least, pipeline))
    plans: list[Plan] = []
    for took, pipeline in sorted(tried, key=itemgetter(0)):
        if took > below or not holds(segment, pipeline.rows):
            continue
        ahead = 2 * weight_bytes(segment) + tile_bytes(segment, pipeline.rows) <= fused_bytes(chip)
        kept = 2 if looped and ahead else 1
        took = once + pipeline.looped_ps(layers, kept) if looped else took
        plans.append(Plan("token stream", (pipeline,), took, took, held=kept, looped=looped))
        below = min(below, took)
    between = program_load_ps(chip, launch) + launch_ps(chip, launch)
    loads = seconds_to_ps(sum(operator.stream_bytes for operator in segment.operators) / chip.streaming_bandwidth)
    work = seconds_to_ps(sum(largest(group.arithmetic_seconds(operator, 1.0)) for operator in segment.operators))
    if layers * (2 * between + max(loads, work)) < below:
        plans += _in_sections(chip, group.cluster.count, segment, launch)
    return plans


@lru_cache(MOST_CHOICES)
def _in_sections(chip: Dataflow, count: int, decoder: Decoder, launch: str) -> list[Plan]:
    """The best kernels one after the other, if they are several: one alone stays on the chip from layer to layer."""
    group, holds = DataflowGroup(chip, Cluster(chip, count)), partial(_holds, chip, count)
    between = program_load_ps(chip, launch) + launch_ps(chip, launch)
    apart = [stage_alone(group, operator) for operator in decoder.operators]
    took, kernels = sections(group, decoder, apart, holds, tile_rows(chip, tokens_of(decoder)), between)
    return [Plan("sections", kernels, decoder.layers * took, decoder.layers * took)] if len(kernels) > 1 else []


def _launches(chip: Dataflow, launch: str, segment: Segment, looped: bool) -> tuple[int, int]:
    """Picoseconds of launches before all layers of a kernel that stays on the chip, and before each."""
    once, each = program_load_ps(chip, launch), launch_ps(chip, launch)
    return (once + each, 0) if looped else (once, each)


@lru_cache(MOST_CHOICES)
def _holds(chip: Dataflow, count: int, decoder: Decoder, rows: int) -> bool:
    """Whether one kernel holds a decoder as a stream of tiles of ``rows`` tokens: placement's answer."""
    return fits(token_stream(DataflowGroup(chip, Cluster(chip, count)), decoder, rows), chip)
