"""``loopline training``: one training step, stage by stage, and over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write


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
    from scenarios.anatomy.training_step import training_step
    from scenarios.point import make_point

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
    record, stages, bars = training_step(point)
    readable = [{"": name.replace("_", " "), "value": value} for name, value in record.items()]
    show([record | {"stages": stages}], json=json, tables=[readable, stages])
    if plot is not None:
        from results.pictures.training import training as draw

        title = f"{point.model.name} on {count:,} × {point.chip.name}, {batch:,} sequences of {context:,}"
        write(plot, draw(bars, f"{title}: {parallel or 'one group'}").save)
