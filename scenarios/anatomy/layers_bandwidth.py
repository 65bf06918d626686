"""HBM bandwidth of whole runs and over a few layers: how busy memory is, and what boundaries leave of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chips.clock.timeline import Event
from results.pictures.bandwidth import Window
from results.step_series import StepSeries
from scenarios.anatomy.hbm_and_power import hbm_bandwidth
from scenarios.errors import ScenarioError
from scenarios.memory import assign_fitting
from scenarios.point import Point
from scenarios.running import trace_passes

BUSY = 0.01  # of the datasheet's bandwidth: above it, HBM counts as busy


def bandwidth_over_layers(point: Point, layers: int) -> tuple[dict[str, object], Window]:
    """A point's use of its first chip's HBM: of the whole run as a record, of its middle ``layers`` layers as a window.

    In seconds, bytes and bytes/s; ``bandwidth_fraction``: of the datasheet's; ``busy_fraction``: of the time above a
    hundredth of that. Raises ScenarioError where the model has not as many layers and for a chip that runs no decoders,
    DoesNotFit where the chips do not hold the point.
    """
    if not 1 <= layers <= point.model.layers:
        raise ScenarioError(f"--layers is {layers}; {point.model.name} has 1 to {point.model.layers}.")
    assignment = assign_fitting(point)
    passes = trace_passes(assignment)
    series = hbm_bandwidth(assignment, passes)
    return _record(point, series), _window(point, series, passes[0][1], layers)


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


def _window(point: Point, series: StepSeries, events: Sequence[Event], layers: int) -> Window:
    """The middle ``layers`` layers: from the end of the layer before them to the end of the last."""
    ends: dict[int, int] = {}
    for event in events:
        for layer in event.iterations[:1]:
            ends[layer] = max(ends.get(layer, 0), int(np.max(event.finish_ps)))
    first = (len(ends) - layers) // 2
    begin = ends[first - 1] if first else 0
    inside = np.array([ends[layer] for layer in range(first, first + layers)], dtype=np.int64)
    return Window(point.strategy, series.between(begin, int(inside[-1])), inside[:-1], point.chip.memory.bandwidth)
