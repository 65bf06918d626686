"""``loopline training``: one training step, stage by stage, and over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, check_files, show, write


@takes(
    *("model", "chip", "count", "batch", "context", "parallel", "strategy", "launch", "framework", "precision"),
    *("beyond_context", "collectives", "sharding", "method", "variation"),
    one=("chip", "count", "strategy", "launch"),
    help={
        "count": "Chips in all.",
        "batch": "Sequences of a step.",
        "context": "Tokens of a sequence.",
        "parallel": "Items with commas between: tensor=8 pipeline=4 context=2 micro-batch=1 interleaved=2 "
        "recompute=full|operators|layers|selective sequence; chips beyond these hold replicas (docs/training.md).",
        "launch": "eager | compiled | graph, or software | hardware",
        "framework": "What trains on GPUs: training (Megatron-LM) | torchtitan | fms-fsdp | nemo | transformers | ...",
        "variation": "How chips differ, as in compare: straggler=0.1@3,failed=5",
    },
)
def training(
    plot: Annotated[Path | None, typer.Option(help="Also draw the step over time into this .png or .svg file.")] = None,
    json: Json = False,
    **asked: Any,
) -> None:
    """What does each stage of a training step hold and do, and how long does it wait?

    loopline training llama-2-7b --chip h100 --count 8 --batch 8 --plot step.svg

    loopline training llama-2-7b --chip sn40l --count 4 --parallel pipeline=4

    loopline training llama-3.1-8b --count 8 --batch 16 --framework torchtitan

    loopline training llama-2-7b --batch 8 --method lora,rank=16
    """
    from scenarios.anatomy.training_step import training_step
    from scenarios.point import make_point

    check_files(plot=plot)
    point = make_point(**asked, phase="train")
    record, stages, bars = training_step(point)
    readable = [{"": name.replace("_", " "), "value": value} for name, value in record.items()]
    show([record | {"stages": stages}], json=json, tables=[readable, stages])
    if plot is not None:
        from results.pictures.training import training as draw

        title = (
            f"{point.model.name} on {point.count:,} × {point.chip.name}, {point.batch:,} sequences of {point.context:,}"
        )
        write(plot, draw(bars, f"{title}: {asked['parallel'] or 'one group'}").save)
