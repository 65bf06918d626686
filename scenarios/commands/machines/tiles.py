"""``loopline tiles``: a tile program on a chip, as numbers and as its pipeline diagram."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.tiles.compiler import Compiled

SHOWN_ITERATIONS = 8


def tiles(
    program: Annotated[str, typer.Argument(help="A shipped program (matmul, softmax, ...), or FILE.py:FUNCTION.")],
    chip: Annotated[str, typer.Option(help="A dataflow chip or a GPU of `loopline chips`, or a TOML file.")] = "sn40l",
    asynchronous: Annotated[
        bool | None,
        typer.Option(
            "--async/--sync", help="On a GPU: do matrix and vector units overlap? (default: as its generation)"
        ),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="Tensors of your own program: --shape x=4096x4096 y=4096x4096")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the pipeline diagram into this .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Compile a tile program to a metapipeline on a chip: who limits it, what it buffers, how busy each engine is.

    loopline tiles matmul --chip sn40l --plot matmul.png

    loopline tiles flash-attention --chip h100 --sync

    loopline tiles scale.py:scale --shape x=4096x4096 y=4096x4096
    """
    from chips.tiles.named_program import compile_named

    check_files(plot=plot)
    found = compile_named(program, chip, asynchronous, dict(_shape(text) for text in shape or []))
    record = found.record()
    summary = [{"": name.replace("_", " "), "value": value} for name, value in record.items()]
    engines = [{"engine": name, "busy": f"{share:.1%}"} for name, share in found.engines.items()]
    show(
        [record | {"engines": found.engines, "stages": found.stages}],
        json=json,
        tables=[summary, engines, found.stages],
    )
    write(plot, partial(_draw, found))


def _shape(text: str) -> tuple[str, tuple[int, int]]:
    from scenarios.errors import ScenarioError

    name, _, sizes = text.partition("=")
    rows, _, columns = sizes.partition("x")
    if not (name and rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise ScenarioError(f"--shape {text}: expected NAME=ROWSxCOLUMNS, as in x=4096x4096.")
    return name, (int(rows), int(columns))


def _draw(found: Compiled, path: Path) -> None:
    """The first iterations of the loop in which the program spends most of its time."""
    from dataclasses import replace

    from results.pictures.pipeline import plot_pipeline

    pipeline = found.pipeline.steady if found.pipeline.varies else found.pipeline
    few = replace(pipeline, iterations=min(pipeline.iterations, SHOWN_ITERATIONS))
    schedule = few.schedule()
    plot_pipeline(
        schedule.stages,
        schedule.start_ps * 1e-12,
        schedule.finish_ps * 1e-12,
        path,
        f"{found.program} on {found.chip}: the first {few.iterations} of {pipeline.iterations} iterations "
        f"of the loop at {pipeline.name}",
        float(few.initiation_interval_ps) * 1e-12,
    )
