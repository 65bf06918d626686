"""``loopline bandwidth``: HBM bandwidth over time, with kernel boundaries and without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.clock.timeline import Event
    from results.pictures.bandwidth import Window
    from results.step_series import StepSeries
    from scenarios.point import Point

BUSY = 0.01  # of the datasheet's bandwidth: above it, HBM counts as busy


def bandwidth(
    model: Annotated[str, typer.Argument(help="A model of `loopline models`, or the path of a config.json.")],
    chip: Annotated[str, typer.Option(help="A chip of `loopline chips`, or the path of a TOML file.")],
    count: Annotated[int, typer.Option(help="Chips in the tensor-parallel group.")] = 1,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", help="per_operator | fused_decoder | kernel_loop (default: all)")
    ] = None,
    phase: Annotated[str, typer.Option(help="decode | prefill | request | train")] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences side by side.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 4096,
    launch: Annotated[str, typer.Option(help="eager | graph, or software | hardware")] = "graph",
    layers: Annotated[int, typer.Option(help="Layers that the picture shows, from the middle of the pass.")] = 4,
    plot: Annotated[Path | None, typer.Option(help="Also draw it over time into this .png or .svg file.")] = None,
    json: Json = False,
) -> None:
    """How busy is a chip's memory, and how long does it wait at kernel boundaries?

    loopline bandwidth llama-3.1-8b --chip sn40l --count 8 --plot bandwidth.svg

    loopline bandwidth llama-3.1-8b --chip h100 --launch eager --plot eager.png
    """
    from scenarios.anatomy.hbm_and_power import hbm_bandwidth
    from scenarios.errors import ScenarioError
    from scenarios.memory import assign_fitting
    from scenarios.point import Options, make_point
    from scenarios.running import trace_passes
    from scenarios.strategies import STRATEGIES

    check_files(plot=plot)
    options = Options(phase=phase, batch=batch, context=context, launch=launch)
    points = [make_point(model, chip, count, strategy=name, **options) for name in strategy or STRATEGIES]
    if not 1 <= layers <= points[0].model.layers:
        raise ScenarioError(f"--layers is {layers}; {points[0].model.name} has 1 to {points[0].model.layers}.")
    records: list[dict[str, object]] = []
    windows: list[Window] = []
    for point in points:
        assignment = assign_fitting(point)
        passes = trace_passes(assignment)
        series = hbm_bandwidth(assignment, passes)
        records.append(_record(point, series))
        windows.append(_window(point, series, passes[0][1], layers))
    show(records, json=json)
    if plot is not None:
        from results.pictures.bandwidth import bandwidth as draw

        of = f"one of {count} {points[0].chip.name}" if count > 1 else points[0].chip.name
        title = f"{points[0].model.name}, {phase}, batch {batch}, context {context}: {layers} layers on {of}"
        write(plot, draw(windows, title).save)


def _record(point: Point, series: StepSeries) -> dict[str, object]:
    limit = point.chip.memory.bandwidth
    return {
        "chip": point.chip.name,
        "count": point.count,
        "strategy": point.strategy,
        "launch": point.launch,
        "seconds": float(series.times_ps[-1]) * 1e-12,
        "hbm_bytes": series.total,
        "mean_bytes_per_s": series.mean,
        "bandwidth_fraction": series.mean / limit,
        "busy_fraction": series.share(BUSY * limit),
    }


def _window(point: Point, series: StepSeries, events: list[Event], layers: int) -> Window:
    """The middle ``layers`` layers: from the end of the layer before them to the end of the last."""
    import numpy as np

    from results.pictures.bandwidth import Window

    ends: dict[int, int] = {}
    for event in events:
        for layer in event.iterations[:1]:
            ends[layer] = max(ends.get(layer, 0), int(np.max(event.finish_ps)))
    first = (len(ends) - layers) // 2
    begin = ends[first - 1] if first else 0
    inside = np.array([ends[layer] for layer in range(first, first + layers)], dtype=np.int64)
    return Window(point.strategy, series.between(begin, int(inside[-1])), inside[:-1], point.chip.memory.bandwidth)
