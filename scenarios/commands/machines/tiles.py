"""``loopline tiles``: a tile program on a chip, as numbers and as its pipeline diagram."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
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
    from chips.spec import Dataflow, Gpu, load_chip
    from chips.tiles.compiler import compile_program
    from chips.tiles.language import TileError
    from scenarios.errors import ScenarioError

    check_files(plot=plot)
    spec = load_chip(chip)
    if not isinstance(spec, Dataflow | Gpu):
        raise ScenarioError(f"{spec.name} runs no tile programs; choose a GPU or a dataflow chip.")
    if isinstance(spec, Gpu) and asynchronous is None:
        asynchronous = spec.generation.attention.asynchronous
    function, shapes = _program(program, shape or [], isinstance(spec, Gpu), asynchronous is not False)
    try:
        found = compile_program(function, spec, asynchronous, **shapes)
    except TileError as error:
        raise ScenarioError(str(error)) from None
    record = _record(found)
    summary = [{"": name.replace("_", " "), "value": value} for name, value in record.items()]
    engines = [{"engine": name, "busy": f"{share:.1%}"} for name, share in found.engines.items()]
    show(
        [record | {"engines": found.engines, "stages": found.stages}],
        json=json,
        tables=[summary, engines, found.stages],
    )
    write(plot, partial(_draw, found))


def _program(
    name: str, given: list[str], on_gpu: bool, asynchronous: bool
) -> tuple[Callable[..., None], dict[str, tuple[int, int]]]:
    """A shipped program with its own shapes, or a user's function with those given."""
    import runpy

    from chips.tiles.programs.catalog import EXAMPLES
    from scenarios.errors import ScenarioError

    shapes = dict(_shape(text) for text in given)
    file, colon, function = name.rpartition(":")
    if not colon:
        if name not in EXAMPLES:
            raise ScenarioError(
                f"unknown tile program '{name}'; there are {', '.join(sorted(EXAMPLES))}, or FILE.py:NAME."
            )
        return EXAMPLES[name].tiled(on_gpu, asynchronous), EXAMPLES[name].shapes | shapes
    if not Path(file).is_file():
        raise ScenarioError(f"'{file}' is no file; a program of your own is FILE.py:FUNCTION.")
    found = runpy.run_path(file).get(function)
    if not callable(found):
        raise ScenarioError(f"{file} has no function '{function}'.")
    wanted = [
        parameter.name for parameter in signature(found).parameters.values() if parameter.default is parameter.empty
    ]
    if missing := [tensor for tensor in wanted if tensor not in shapes]:
        raise ScenarioError(f"'{function}' needs --shape {' '.join(f'{tensor}=ROWSxCOLUMNS' for tensor in missing)}.")
    return found, shapes


def _shape(text: str) -> tuple[str, tuple[int, int]]:
    from scenarios.errors import ScenarioError

    name, _, sizes = text.partition("=")
    rows, _, columns = sizes.partition("x")
    if not (name and rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise ScenarioError(f"--shape {text}: expected NAME=ROWSxCOLUMNS, as in x=4096x4096.")
    return name, (int(rows), int(columns))


def _record(found: Compiled) -> dict[str, object]:
    return {
        "program": found.program,
        "chip": found.chip,
        "seconds": found.seconds,
        "initiation_interval_seconds": float(found.pipeline.initiation_interval_ps) * 1e-12,
        "limiting_stage": found.pipeline.limiter,
        "limited_by": found.limiter,
        "buffer_bytes": found.buffer_bytes,
        "memory_bytes": found.memory_bytes,
        "matrix_flop": found.flop,
        "matrix_flop_per_second": found.flops,
    }


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
