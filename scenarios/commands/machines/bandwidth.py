"""``loopline bandwidth``: HBM bandwidth over time, with kernel boundaries and without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenarios.commands.input_options import takes
from scenarios.commands.output import Json, check_files, show, write

if TYPE_CHECKING:
    from chips.clock.timeline import Event
    from results.pictures.bandwidth import Window
    from results.step_series import StepSeries
    from scenarios.point import Point

BUSY = 0.01  # of the datasheet's bandwidth: above it, HBM counts as busy


@takes(
    *("model", "chip", "count", "strategy", "phase", "batch", "context", "launch"),
    one=("chip", "count"),
    help={
        "count": "Chips in the tensor-parallel group.",
        "context": "Tokens of a sequence.",
        "launch": "eager | graph, or software | hardware",
    },
)
def bandwidth(
    layers: Annotated[int, typer.Option(help="Layers that the picture shows, from the middle of the pass.")] = 4,
    plot: Annotated[Path | None, typer.Option(help="Also draw it over time into this .png or .svg file.")] = None,
    json: Json = False,
    **asked: Any,
) -> None:
    """How busy is a chip's memory, and how long does it wait at kernel boundaries?

    loopline bandwidth llama-3.1-8b --chip sn40l --count 8 --plot bandwidth.svg

    loopline bandwidth llama-3.1-8b --chip h100 --launch eager --plot eager.png
    """
    from scenarios.anatomy.hbm_and_power import hbm_bandwidth
    from scenarios.errors import ScenarioError
    from scenarios.memory import assign_fitting
    from scenarios.point import make_point
    from scenarios.running import trace_passes
    from scenarios.strategies import STRATEGIES

    check_files(plot=plot)
    points = [make_point(**asked | {"strategy": name}) for name in asked["strategy"] or STRATEGIES]
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

        point = points[0]
        of = f"one of {point.count} {point.chip.name}" if point.count > 1 else point.chip.name
        setting = f"{point.phase}, batch {point.batch}, context {point.context}"
        write(plot, draw(windows, f"{point.model.name}, {setting}: {layers} layers on {of}").save)


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
