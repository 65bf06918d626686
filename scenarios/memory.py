"""Whether a point fits the off-chip memory of its chips: weights, KV cache, gradients, optimizer state, activations."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import floor

from chips.spec import CatalogError
from scenarios.assignment import Assignment, assign
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import Point
from scenarios.workload.adapters import adapter_parameters
from scenarios.workload.model import shard, tensor_parallel_counts
from scenarios.workload.parallel import Parallel, Recompute
from scenarios.workload.pipeline_schedule import decoders_of, most_kept, parameters_of
from scenarios.workload.quantization import SAME_WEIGHTS
from scenarios.workload.recomputation import kept_activation_bytes
from scenarios.workload.sharding import gathered_bytes, shares, state_bytes

MOST_DOUBLINGS = 6
"""Of the chips asked for, among which it is looked for what would hold a training step."""
FULL: Recompute = "full"
KV_MEMORY_SHARE = 0.9  # of the memory that weights leave free, the part that serving frameworks give the KV cache


def needed_bytes(assignment: Assignment) -> float:
    """What one chip must hold, in bytes; in training the one that holds most."""
    point, shard = assignment.point, assignment.shard
    model = point.model
    if point.phase == "train":
        return max(held_in_training(assignment))
    if not assignment.one_group:
        return max(held_in_stages(assignment))
    entries = point.batch * model.kept_entries(point.context)
    weights = model.weight_bytes(point.quantization, shard.ranks)
    return weights + entries * model.kv_entry_bytes(shard.kv_heads, point.quantization)


def held_in_stages(assignment: Assignment) -> list[float]:
    """Bytes of a chip of each stage in inference: its decoders and what is around them, and the keys of its replica."""
    point, shard, stages = assignment.point, assignment.shard, assignment.layout.pipeline
    model, quantization = point.model, point.quantization
    around = model.model_copy(update={"layers": 0}).weight_bytes(quantization, shard.ranks)
    decoder = (model.weight_bytes(quantization, shard.ranks) - around) / model.layers
    share = point.batch // assignment.layout.replicas(point.count)
    keys = share * model.kept_entries(point.context) * model.kv_entry_bytes(shard.kv_heads, quantization)
    bits = around / model.around_parameters  # bytes a parameter of a chip
    return [
        decoders * (decoder + keys / model.layers) + bits * (held - decoders * model.decoder_parameters)
        for decoders, held in zip(decoders_of(model.layers, stages), parameters_of(model, stages), strict=True)
    ]


def held_in_training(assignment: Assignment) -> list[float]:
    """Bytes of a chip of each stage: weights, gradients, optimizer state, and the activations that it keeps at most."""
    point, shard, layout = assignment.point, assignment.shard, assignment.layout
    model = point.model
    stages, chunks = layout.pipeline, layout.interleaved
    parameters, decoders = parameters_of(model, stages * chunks), decoders_of(model.layers, stages * chunks)
    replicas = layout.replicas(point.count)
    sharding, link = point.framework.sharding, point.chip.link
    dealt = shares(sharding, replicas * layout.context, link, layout.tensor)
    state = state_bytes(sharding, dealt, stages) / shard.ranks
    around = parameters[0] - decoders[0] * model.decoder_parameters
    gathered = gathered_bytes(sharding, stages, model.decoder_parameters, around) / shard.ranks if dealt > 1 else 0.0
    if point.method.rank:
        frozen = state_bytes(sharding, dealt, stages, trained=False) / shard.ranks
        own = adapter_parameters(model, shard, point.method)
        held = [
            frozen * sum(parameters[stage::stages]) + state * shard.ranks * own * sum(decoders[stage::stages])
            for stage in range(stages)
        ]
    else:
        held = [state * sum(parameters[stage::stages]) for stage in range(stages)]
    kept = kept_activation_bytes(
        model,
        shard,
        layout.micro_batch,
        point.context // layout.context,
        layout.recompute,
        sequence=layout.sequence,
        dropout=not point.framework.fused_attention,
    )
    micro_batches = point.batch // (replicas * layout.micro_batch)
    return [
        held[stage] + gathered + kept * most_kept(stages, chunks, micro_batches, stage, decoders)
        for stage in range(stages)
    ]


def sequences_that_fit(assignment: Assignment) -> int:
    """How many sequences of the point's context the KV cache of a serving framework holds at once."""
    point = assignment.point
    weights = needed_bytes(replace(assignment, point=replace(point, batch=0)))
    sequence = needed_bytes(replace(assignment, point=replace(point, batch=1))) - weights
    capacity = point.chip.memory.capacity_bytes
    share = point.framework.memory_share if point.chip.has_framework else None
    free = KV_MEMORY_SHARE * (capacity - weights) if share is None else share * capacity - weights
    return max(0, floor(free / sequence)) if sequence else point.batch


def assign_fitting(point: Point) -> Assignment:
    """The assignment of a point that its chips can compute and hold.

    Raises DoesNotFit, with what is needed, what is there and what would fit; ScenarioError where the model does not
    split.
    """
    check_precision(point)
    assignment = assign(point)
    check_memory(assignment)
    return assignment


def with_fitting_micro_batch(point: Point) -> Point:
    """The point; a training step for which nobody chose a micro-batch, and whose replicas cannot hold their whole share
    at once, with the largest part of it that fits, or with 1 where none does.
    """
    split = point.parallel
    if point.phase != "train" or split.micro_batch or split.pipeline > 1 or point.variation.failed:
        return point
    try:
        whole = assign(point)
    except ScenarioError:
        return point  # which is refused where it is priced
    share = point.batch // whole.layout.replicas(point.count)
    if _fits(whole):
        return point
    smaller = (
        replace(point, parallel=replace(split, micro_batch=size))
        for size in range(share - 1, 0, -1)
        if share % size == 0
    )
    return next((each for each in smaller if each.parallel.micro_batch == 1 or _fits(assign(each))), point)


def check_precision(point: Point) -> None:
    """Raise DoesNotFit where the chip does not compute what the point asks for, with what would be right."""
    chip, quantization = point.chip, point.quantization
    try:
        chip.peak_flops(quantization.multiplied)
    except CatalogError as error:
        told = str(error).rstrip(".")
        if chip.converts_as_it_reads and (alone := SAME_WEIGHTS.get(point.precision)):
            told += f"; serving stacks keep such weights there and multiply in bf16: --precision {alone}"
        raise DoesNotFit(told) from None
    if chip.converts_as_it_reads:
        return
    supported = ", ".join(sorted(chip.compute.matrix_flop_per_clock))
    if quantization.weights_alone:
        raise DoesNotFit(
            f"{chip.name} has no kernels for weights in {point.precision} alone; it multiplies {supported} as stored"
        )
    if point.kv_precision != "bf16":
        raise DoesNotFit(f"{chip.name} keeps keys and values in bf16; --kv-precision bf16")


def check_memory(assignment: Assignment) -> None:
    """Raise DoesNotFit, with what is needed, what is there and how many chips would hold it."""
    point = assignment.point
    needed, capacity = needed_bytes(assignment), point.chip.memory.capacity_bytes
    if _fits(assignment):
        return
    count = assignment.shard.ranks if assignment.one_group else point.count
    raise DoesNotFit(
        f"{point.model.name} needs {needed / 1e9:,.1f} GB a chip on {count:,} x {point.chip.name}, which has "
        f"{capacity / 1e9:,.1f} GB; {_what_would(assignment, capacity)}"
    )


def _what_would(assignment: Assignment, capacity_bytes: float) -> str:
    """The fewest chips that hold a group's work, of the counts over which it splits; of a pipeline, what helps."""
    point = assignment.point
    whole = assignment.layout.pipeline == 1 and point.phase != "train"
    counts = tensor_parallel_counts(point.model) if whole or assignment.one_group else ()
    for count in counts:
        wider = replace(assignment, shard=shard(point.model, count))
        if count > assignment.shard.ranks and needed_bytes(wider) <= capacity_bytes:
            return f"{count:,} chips would hold it"
    if point.phase == "train":
        return _what_would_train(assignment)
    if not whole:
        return "more stages or tensor-parallel chips, or fewer sequences, need less (--parallel)"
    return f"not even {counts[-1]:,} chips would hold it, the most over which it splits"


def _what_would_train(assignment: Assignment) -> str:
    """The layout that differs least, of those that hold a training step on these chips, or else on more of them."""
    point = assignment.point
    for times in (2**power for power in range(MOST_DOUBLINGS + 1)):
        asked = replace(point, count=point.count * times)
        for layout in _nearest_layouts(assignment.layout, asked):
            try:
                other = assign(replace(asked, parallel=layout))
            except (DoesNotFit, ScenarioError):  # it does not divide so
                continue
            if _fits(other):
                chips = f"--count {asked.count} " if times > 1 else ""
                return f"{chips}--parallel {layout} would hold it"
    return f"no stages, tensor-parallel chips and recomputation hold it on {2**MOST_DOUBLINGS} times as many chips"


def _nearest_layouts(layout: Parallel, point: Point) -> list[Parallel]:
    """Layouts that need less than ``layout``, those with the fewest changes first, then those with the fewest chips."""
    most = point.model.layers
    tensors = [
        ranks for ranks in tensor_parallel_counts(point.model) if layout.tensor <= ranks <= point.chip.link.domain
    ]
    stages = [layout.pipeline * 2**power for power in range(most.bit_length()) if layout.pipeline * 2**power <= most]
    found = [
        replace(layout, tensor=tensor, pipeline=pipeline, micro_batch=1, interleaved=1, recompute=recompute)
        for tensor, pipeline, recompute in product(tensors or [layout.tensor], stages, (layout.recompute, FULL))
    ]

    def changes(other: Parallel) -> tuple[int, int]:
        differing = sum(getattr(other, name) != getattr(layout, name) for name in ("tensor", "pipeline", "recompute"))
        return differing, other.tensor * other.pipeline

    return sorted(found, key=changes)


def _fits(assignment: Assignment) -> bool:
    return needed_bytes(assignment) <= assignment.point.chip.memory.capacity_bytes
