"""A GPU that has more of anything is no slower, whatever runs on it; where a library's steps cost a little, how much.

The same of dataflow chips, without any such steps: ``tests/scenarios/strategies/dataflow/test_choice.py``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chips.spec import Gpu
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.point import Point, make_point
from scenarios.running import run_alone

MORE = [
    "power_watts",
    "compute.units",
    "compute.clock_hz",
    "compute.matrix_flop_per_clock",
    "compute.vector_lanes",
    "compute.special_functions_per_clock",
    "memory.bandwidth",
    "memory.capacity_bytes",
    "link.bandwidth",
    "on_chip.l2_bytes",
    "on_chip.shared_bytes",
    "on_chip.register_bytes",
    "on_chip.tensor_bytes",
    "on_chip.warp_matrix_flop_per_clock",
    "on_chip.cluster_units",
]
STEPS = {"per_operator": 1.02, "fused_decoder": 1.1, "kernel_loop": 1.1}
"""By how much more of something may cost. Inside of a persistent kernel the fastest kernel by itself is not always the
fastest beside its loads."""
RESIDENT_STEP = 4 / 3
"""By how much more shared memory may: as many tiles of a product as fit are resident, and a last wave lasts as long as
a full one, so that where one at a time took three rounds, two take two rounds of two."""


def scaled(chip: Gpu, field: str, factor: float) -> Gpu:
    """``chip`` with more of one thing."""
    section, _, name = field.rpartition(".")
    part = getattr(chip, section) if section else chip
    now = getattr(part, name)
    more: dict[str, object] = {
        name: {key: int(value * factor) for key, value in now.items()}
        if isinstance(now, dict)
        else type(now)(now * factor)
    }
    if name == "clock_hz" and chip.compute.max_clock_hz:
        more["max_clock_hz"] = chip.compute.max_clock_hz * factor
    return chip.model_copy(update={section: part.model_copy(update=more)} if section else more)


def price(point: Point) -> int:
    return int(np.max(run_alone(point).outcome.ps))


@settings(max_examples=40)
@given(
    chip=st.sampled_from(["h100", "a100", "b200", "l40s", "v100", "rtx-pro-6000"]),
    model=st.sampled_from(["llama-3.2-1b", "qwen2.5-7b", "llama-3.1-8b"]),
    phase=st.sampled_from(["decode", "prefill", "train", "request"]),
    strategy=st.sampled_from(sorted(STEPS)),
    count=st.sampled_from([1, 2, 4, 8]),
    batch=st.integers(1, 64),
    context=st.integers(3, 2048),
    field=st.sampled_from(MORE),
    factor=st.floats(1.05, 4.0),
)
def test_more_of_any_resource_makes_nothing_slower(
    chip: str, model: str, phase: str, strategy: str, count: int, batch: int, context: int, field: str, factor: float
) -> None:
    context = min(context, 200) if phase == "request" else context
    try:
        point = make_point(model, chip, count, phase=phase, strategy=strategy, batch=batch, context=context)
        before = price(point)
    except (DoesNotFit, ScenarioError):
        assume(False)
        raise
    assert isinstance(point.chip, Gpu)
    better = replace(point, chip=scaled(point.chip, field, factor))
    most = max(STEPS[strategy], RESIDENT_STEP) if field == "on_chip.shared_bytes" else STEPS[strategy]
    assert price(better) <= before * most
