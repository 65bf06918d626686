"""``loopline training``: one training step, stage by stage, and over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chips.clock.timeline import Event
    from results.pictures.training import Bar
    from scenarios.assignment import Assignment


def training(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chip: Annotated[str, typer.Option(help="A chip of `loopline chips`, or the path of a TOML file.")],
    count: Annotated[int, typer.Option(help="Chips in all.")] = 1,
    batch: Annotated[int, typer.Option(help="Sequences of a step.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 4096,
    parallel: Annotated[
        str,
        typer.Option(
            help="Items with commas between: tensor=8 pipeline=4 context=2 micro-batch=1 interleaved=2 recompute=full "
            "sequence; chips beyond these hold replicas (docs/training.md)."
        ),
    ] = "",
    strategy: Annotated[str, typer.Option(help="per_operator | fused_decoder | kernel_loop")] = "per_operator",
    launch: Annotated[str, typer.Option(help="eager | graph, or software | hardware")] = "graph",
    framework: Annotated[
        str | None, typer.Option(help="What trains on GPUs: training (Megatron-LM) | megatron-2022 | ...")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of weights and matrix products: bf16 | fp8 | int8")] = "bf16",
    variation: Annotated[str, typer.Option(help="How chips differ, as in compare: straggler=0.1@3,failed=5")] = "",
    plot: Annotated[Path | None, typer.Option(help="Also draw the step over time into this .png or .svg file.")] = None,
    json: Json = False,
) -> None:
    """What does each stage of a training step hold and do, and how long does it wait?

    loopline training llama-2-7b --chip h100 --count 8 --batch 8 --plot step.svg

    loopline training llama-2-7b --chip sn40l --count 4 --parallel pipeline=4
    """
    from scenarios.point import make_point
    from scenarios.pricing import price
    from scenarios.training.run import trace_training

    check_files(plot=plot)
    point = make_point(
        model,
        chip,
        count,
        phase="train",
        batch=batch,
        context=context,
        parallel=parallel,
        strategy=strategy,
        launch=launch,
        framework=framework,
        precision=precision,
        variation=variation,
    )
    prices = price([point])
    assignment, whole = prices.assignment(), prices.record()
    events = trace_training(assignment)
    bars = list(_bars(events))
    stages = _stages(assignment, bars)
    known = ("chip", "count", "strategy", "seconds", "seconds_low", "seconds_high", "tokens_per_s", "mfu", "limiter")
    step = {name: whole[name] for name in known} | _numbers(assignment)
    readable = [{"": name.replace("_", " "), "value": value} for name, value in step.items()]
    show([step | {"stages": stages}], json=json, tables=[readable, stages])
    if plot is not None:
        from results.pictures.training import training as draw

        title = f"{point.model.name} on {count:,} × {point.chip.name}, {batch:,} sequences of {context:,}"
        write(plot, draw(bars, f"{title}: {parallel or 'one group'}").save)


def _numbers(assignment: Assignment) -> dict[str, object]:
    from scenarios.training.stages import TrainingStages

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
    from scenarios.memory import held_in_training
    from scenarios.workload.pipeline_schedule import decoders_of, parameters_of

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
    from results.pictures.training import Bar
    from scenarios.training.clock import Work

    for event in events:
        if isinstance(event.of, Work):
            start, finish = (float(time) * 1e-12 for time in (event.start_ps, event.finish_ps))
            text = "" if event.of.micro_batch is None else str(event.of.micro_batch)
            yield Bar(event.of.stage, event.of.kind, start, finish, text)
