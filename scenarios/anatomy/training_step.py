"""One training step: its price, what each stage of the pipeline holds and does, and when it does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chips.clock.timeline import Event
from results.pictures.training import Bar
from scenarios.assignment import Assignment
from scenarios.memory import held_in_training
from scenarios.point import Point
from scenarios.pricing import price
from scenarios.training.clock import Work
from scenarios.training.run import trace_training
from scenarios.training.stages import TrainingStages
from scenarios.workload.pipeline_schedule import decoders_of, parameters_of

KNOWN = ("chip", "count", "strategy", "seconds", "seconds_low", "seconds_high", "tokens_per_s", "mfu", "limiter")


class TrainingStep(NamedTuple):
    """``record``: the step as a whole; ``stages``: a record a stage, seconds and bytes; ``bars``: for its picture."""

    record: dict[str, object]
    stages: list[dict[str, object]]
    bars: list[Bar]


def training_step(point: Point) -> TrainingStep:
    """The step of a point whose phase is train. Raises DoesNotFit where its chips do not hold it."""
    prices = price([point])
    assignment, whole = prices.assignment(), prices.record()
    bars = list(_bars(trace_training(assignment)))
    record = {name: whole[name] for name in KNOWN} | _numbers(assignment)
    return TrainingStep(record, _stages(assignment, bars), bars)


def _numbers(assignment: Assignment) -> dict[str, object]:
    step = TrainingStages(assignment)
    return {
        "tensor_parallel": assignment.shard.ranks,
        "pipeline_stages": step.layout.pipeline,
        "context_groups": step.layout.context,
        "replicas": step.replicas,
        "micro_batches": step.micro_batches,
        "micro_batch": step.layout.micro_batch,
    }


def _stages(assignment: Assignment, bars: Iterable[Bar]) -> list[dict[str, object]]:
    """A record a stage: what one of its chips holds, and seconds of a step by what it does in them."""
    point, layout = assignment.point, assignment.layout
    stages, runs = layout.pipeline, layout.pipeline * layout.interleaved
    decoders, parameters = decoders_of(point.model.layers, runs), parameters_of(point.model, runs)
    kinds = ("forward", "backward", "optimizer", "network")
    spent = [dict.fromkeys(kinds, 0.0) for _ in range(stages)]
    end = 0.0
    for bar in bars:
        spent[bar.stage][bar.kind] += bar.finish - bar.start
        end = max(end, bar.finish)
    return [
        {
            "stage": stage,
            "decoders": sum(decoders[stage::stages]),
            "parameters": sum(parameters[stage::stages]),
            "chip_bytes": held,
            **{f"{kind}_s": own[kind] for kind in kinds},
            "waiting_s": end - own["forward"] - own["backward"] - own["optimizer"],
        }
        for stage, (held, own) in enumerate(zip(held_in_training(assignment), spent, strict=True))
    ]


def _bars(events: Iterable[Event]) -> Iterator[Bar]:
    """The events of a step as bars; what all stages wait for at once, the norm of the gradients, is none of theirs."""
    for event in events:
        if isinstance(event.of, Work):
            start, finish = (float(time) * 1e-12 for time in (event.start_ps, event.finish_ps))
            text = "" if event.of.micro_batch is None else str(event.of.micro_batch)
            yield Bar(event.of.stage, event.of.kind, start, finish, text)
