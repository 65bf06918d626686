"""``loopline boundary``: what a kernel boundary costs in each way to launch kernels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, check_files, show, write
from scenarios.errors import ScenarioError


@takes(
    *("model", "chip", "count", "phase", "batch", "context", "framework", "precision", "kv_precision"),
    *("beyond_context", "collectives"),
    help={
        "count": "Chips in the tensor-parallel group.",
        "context": "Tokens of a sequence.",
        "phase": "decode | prefill",
        "framework": "What runs the model on GPUs, in every mode (default: pytorch where the host issues kernels, else "
        "today's best stack).",
    },
)
def boundary(
    plot: Annotated[Path | None, typer.Option(help="Also draw a bar a mode into this .png or .svg file.")] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Instead: published runs of this model and chip, and what is predicted.")
    ] = False,
    json: Json = False,
    **asked: Any,
) -> None:
    """What does a kernel boundary cost in each way to launch kernels, and what would removing each part of it save?

    loopline boundary llama-3.1-8b --chip h100

    loopline boundary llama-3.2-1b --chip h100 --context 96 --plot boundaries.svg

    loopline boundary llama-3.1-8b --chip sn40l --count 8 --json

    loopline boundary llama-3.2-1b --chip h100 --measured
    """
    from results.table import print_boundaries, print_published
    from scenarios.anatomy.boundary import boundaries
    from scenarios.evidence.published.beside import published_beside

    check_files(plot=plot)
    if measured:
        published = published_beside(asked["model"], asked["chip"], asked["phase"])
        if not published:
            raise ScenarioError(f"--measured: no published run of {asked['model']} on {asked['chip']} is known here.")
        show(published, json=True) if json else print_published(published, sys.stdout)
        return
    records = boundaries(**asked)
    show(records, json=True) if json else print_boundaries(records, sys.stdout)
    if plot is not None:
        from results.pictures.boundary import boundary as draw

        of = f"{asked['count']} x {asked['chip']}" if asked["count"] > 1 else asked["chip"]
        setting = f"{asked['phase']}, batch {asked['batch']}, context {asked['context']}"
        write(plot, draw(records, f"{asked['model']}, {setting}, on {of}").save)
