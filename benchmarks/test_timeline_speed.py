"""How fast the clock is: tasks on one chip, a million iterations, 100,000 chips. Run with ``pytest benchmarks``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.clock.timeline import Time, Timeline

LABELS = [(part, limiter) for part in ("matmul", "attention", "other", "allreduce") for limiter in ("HBM", "link", "-")]
CHIPS = 100_000
LAYERS = 32


def layers(clock: Timeline, durations: list[int] | list[np.ndarray], count: int, looped: bool) -> Time:
    """``count`` layers of 12 tasks: weights stream two tiles ahead of the tasks that need them; chips meet twice."""
    hbm, link = clock.engine("HBM"), clock.engine("link")
    units = [clock.engine("matrix"), clock.engine("vector")]
    tiles = clock.buffer(2)

    def layer(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        (done,) = carried
        for index in range(0, 12, 3):
            loaded = clock.task(hbm, durations[index], after=(tiles.acquire(),), label=LABELS[index])
            done = clock.task(units[index % 2], durations[index + 1], after=(done, loaded), label=LABELS[index + 1])
            tiles.release(done)
            if index in (3, 9):
                done = clock.across(done)
            done = clock.task(link, durations[index + 2], after=(done,), label=LABELS[index + 2])
        return (done,)

    carried: tuple[Time, ...] = (Time.zero,)
    if looped:
        return clock.loop(count, layer, carried)[0]
    for _ in range(count):
        carried = layer(carried)
    return carried[0]


def test_decode_of_32_layers_unrolled(benchmark: BenchmarkFixture) -> None:
    """384 tasks on one chip: what one simulated point issues at most."""
    durations = [500 + 37 * index for index in range(12)]
    benchmark(lambda: layers(Timeline(), durations, LAYERS, looped=False))


@pytest.mark.parametrize("count", [LAYERS, 1000 * LAYERS])
def test_decode_of_many_layers_looped(benchmark: BenchmarkFixture, count: int) -> None:
    durations = [500 + 37 * index for index in range(12)]
    benchmark(lambda: layers(Timeline(), durations, count, looped=True))


def test_million_iterations_of_a_three_stage_pipeline(benchmark: BenchmarkFixture) -> None:
    def run() -> Time:
        clock = Timeline()
        hbm, matrix, store = clock.engine("HBM"), clock.engine("matrix"), clock.engine("store")
        inputs, outputs = clock.buffer(2), clock.buffer(2)

        def tile(_: tuple[Time, ...]) -> tuple[Time, ...]:
            loaded = clock.task(hbm, 700, after=(inputs.acquire(),), label="load")
            multiplied = clock.task(matrix, 900, after=(loaded, outputs.acquire()), label="matmul")
            inputs.release(multiplied)
            outputs.release(clock.task(store, 400, after=(multiplied,), label="store"))
            return ()

        clock.loop(1_000_000, tile)
        return clock.now

    assert benchmark(run).ps == 700 + 900 * 1_000_000 + 400


@pytest.mark.parametrize("kind", ["all alike", "one straggler", "all different"])
@pytest.mark.parametrize("looped", [False, True], ids=["unrolled", "looped"])
def test_decode_on_100_000_chips(benchmark: BenchmarkFixture, kind: str, looped: bool) -> None:
    random = np.random.default_rng(0)
    durations = []
    for index in range(12):
        duration = np.full(CHIPS, (500 + 37 * index) * (1 if index % 3 else 2))
        if kind == "one straggler":
            duration[7] *= 2
        if kind == "all different":
            duration += random.integers(0, 400, CHIPS)  # so that loads are late on some chips, not on others
        durations.append(duration)
    benchmark.pedantic(lambda: layers(Timeline(CHIPS), durations, LAYERS, looped), rounds=2)
