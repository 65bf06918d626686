"""The segments of a step on the clock: most run once, a decoder runs in a loop over its layers."""

from __future__ import annotations

from collections.abc import Callable

from chips.clock.timeline import Time, Timeline
from scenarios.workload.operators import Decoder, Segment


def run_segment(clock: Timeline, segment: Segment, run: Callable[[Time], Time], ready: Time) -> Time:
    """Issue ``run``, which takes one pass of the segment from when its input is complete to its output, as often as it
    runs.
    """
    if not isinstance(segment, Decoder):
        return run(ready)
    return clock.loop(segment.layers, lambda carried: (run(carried[0]),), (ready,), "layer")[0]
