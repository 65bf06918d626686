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

    loopline training llama-3.2-1b --chip h100 --batch 4 --framework torchtitan

    loopline training llama-2-7b --chip h100 --batch 8 --method lora,rank=16
    """
    from scenarios.anatomy.training_step import training_step
    from scenarios.point import make_point

    check_files(plot=plot)
    point = make_point(**asked, phase="train")
    record, stages, bars = training_step(point)
    show(
        [record | {"stages": stages}],
        json=json,
        tables=[_readable(record), [_stage(stage) for stage in stages]],
        least=("parameters", "decoders"),
    )
    if plot is not None:
        from results.pictures.training import training as draw

        title = (
            f"{point.model.name} on {point.count:,} × {point.chip.name}, {point.batch:,} sequences of {point.context:,}"
        )
        write(plot, draw(bars, f"{title}: {asked['parallel'] or 'one group'}").save)


def _readable(record: dict[str, Any]) -> list[dict[str, object]]:
    """The step as a whole, a line a figure."""
    from results.units import format_seconds, percent, three_digits

    low, high = (format_seconds(record[f"seconds_{end}"]) for end in ("low", "high"))
    told = {
        "chips": f"{record['chip']} x{record['count']}",
        "strategy": record["strategy"],
        "time of a step": f"{format_seconds(record['seconds'])} (8 of 10 from {low} to {high})",
        "tokens/s": three_digits(record["tokens_per_s"]),
        "MFU": percent(record["mfu"]),
        "limited by": record["limiter"],
    }
    layout = ("tensor_parallel", "pipeline_stages", "context_groups", "replicas", "micro_batches", "micro_batch")
    told |= {name.replace("_", " "): f"{record[name]:,}" for name in layout}
    return [{"": name, "value": value} for name, value in told.items()]


def _stage(stage: dict[str, Any]) -> dict[str, object]:
    from results.units import format_quantity, format_seconds

    return {
        "stage": stage["stage"],
        "decoders": stage["decoders"],
        "parameters": format_quantity(stage["parameters"], ""),
        "held by a chip": format_quantity(stage["chip_bytes"], "bytes"),
        **{name.removesuffix("_s"): format_seconds(stage[name]) for name in stage if name.endswith("_s")},
    }
