"""Matrix products: physical bounds, invariants over all shapes and chips, and the measured rows of H100 and A100."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.kernels.matmul.kernels import SMALL_PRODUCT, starved, unhidden
from chips.kernels.matmul.price import price_matmul
from chips.kernels.matmul.tiles import tiles_of
from chips.spec import CatalogError, Gpu, Precision, chip_names, load_chip, load_gpu
from scenarios.evidence.validation import DATA

MEASURED = DATA / "measured"
GPUS = [chip for chip in map(load_chip, chip_names()) if isinstance(chip, Gpu)]
gpus = st.sampled_from(GPUS)
dimensions = st.integers(1, 70_000)


def with_memory(chip: Gpu, **fields: float) -> Gpu:
    return chip.model_copy(update={"memory": chip.memory.model_copy(update=fields)})


@settings(max_examples=200)
@given(gpus, dimensions, dimensions, dimensions, st.integers(1, 64), st.booleans())
def test_never_under_its_physical_bound(chip: Gpu, m: int, n: int, k: int, count: int, resident: bool) -> None:
    price = price_matmul(chip, m, n, k, count=count, weights_in_turn=resident)
    assert price.seconds >= price.bound_seconds
    assert 0.0 < price.fill_drain_seconds <= price.seconds
    highest = chip.peak_flops("bf16") * chip.compute.highest_clock_hz / chip.compute.clock_hz
    assert 2.0 * m * n * k * count / price.seconds <= highest
    if not resident:
        assert price.seconds >= n * k * count * 2 / chip.memory.bandwidth


@given(gpus, dimensions, dimensions, dimensions, st.booleans())
def test_more_bandwidth_is_never_slower(chip: Gpu, m: int, n: int, k: int, resident: bool) -> None:
    faster = with_memory(chip, bandwidth=2.0 * chip.memory.bandwidth)
    twice = price_matmul(faster, m, n, k, weights_in_turn=resident).seconds
    assert twice <= price_matmul(chip, m, n, k, weights_in_turn=resident).seconds * (1 + 1e-12)


@given(gpus, dimensions, dimensions, dimensions)
def test_more_power_is_never_slower(chip: Gpu, m: int, n: int, k: int) -> None:
    stronger = chip.model_copy(update={"power_watts": 2.0 * chip.power_watts})
    assert price_matmul(stronger, m, n, k).seconds <= price_matmul(chip, m, n, k).seconds


@given(gpus, dimensions, dimensions, dimensions)
def test_weights_in_l2_are_never_slower(chip: Gpu, m: int, n: int, k: int) -> None:
    cold = price_matmul(chip, m, n, k).seconds
    assert price_matmul(chip, m, n, k, weights_in_turn=6).seconds <= cold * (1 + 1e-12)


@settings(max_examples=30)
@given(gpus, st.lists(st.tuples(dimensions, dimensions, dimensions, st.integers(1, 8)), min_size=1, max_size=600))
def test_arrays_give_the_bits_of_scalars(chip: Gpu, shapes: list[tuple[int, int, int, int]]) -> None:
    m, n, k, count = (np.array(column) for column in zip(*shapes, strict=True))
    together = price_matmul(chip, m, n, k, count=count)
    alone = [price_matmul(chip, *shape[:3], count=shape[3]) for shape in (shapes[0], shapes[-1])]
    assert [float(price.seconds) for price in alone] == [together.seconds[0], together.seconds[-1]]
    assert [str(price.limiter) for price in alone] == [together.limiter[0], together.limiter[-1]]


def test_dimensions_broadcast() -> None:
    price = price_matmul(load_gpu("h100"), np.array([[1], [256]]), np.array([128, 4096, 8192]), 4096)
    assert price.seconds.shape == price.limiter.shape == price.bound_seconds.shape == (2, 3)
    assert (np.diff(price.seconds, axis=1) > 0).all()
    assert price_matmul(load_gpu("h100"), np.array([]), 1, 1).seconds.shape == (0,)


def test_a_long_product_runs_below_the_highest_clock_where_power_does_not_allow_it() -> None:
    chip = load_gpu("h100")
    unlimited = chip.model_copy(update={"power_watts": 1e6})
    assert price_matmul(chip, 8192, 8192, 8192).seconds > 1.05 * price_matmul(unlimited, 8192, 8192, 8192).seconds
    assert price_matmul(chip, 16, 4096, 4096).seconds == price_matmul(unlimited, 16, 4096, 4096).seconds


def test_few_tiles_with_a_long_inner_dimension_are_split_over_it() -> None:
    chip = load_gpu("h100")
    coefficients = chip.generation.matmul.model_copy(update={"most_splits": 1})
    unsplit = chip.model_copy(update={"generation": chip.generation.model_copy(update={"matmul": coefficients})})
    assert 4.0 * price_matmul(chip, 16, 64, 65536).seconds < price_matmul(unsplit, 16, 64, 65536).seconds
    assert price_matmul(chip, 8192, 8192, 1024).seconds == price_matmul(unsplit, 8192, 8192, 1024).seconds


def test_a_single_row_has_a_kernel_of_its_own_where_dependent_loads_are_few() -> None:
    """On an A100, one row by 128 columns of 1024 takes 3.0 us, two rows 7.5 us; long columns are cut into parts."""
    chip = load_gpu("a100")
    one, two = (price_matmul(chip, rows, 128, 1024, weights_in_turn=6).seconds for rows in (1, 2))
    assert one < 0.7 * two
    long_one, long_two = (price_matmul(chip, rows, 128, 65536, weights_in_turn=6).seconds for rows in (1, 2))
    assert 0.9 * long_two < long_one <= long_two


def test_a_last_wave_lasts_as_long_as_a_full_one() -> None:
    """192 tiles of 128 x 128 go in one wave of 108 x 2; 256 need two, which would nearly hold the 416 of more rows."""
    chip = load_gpu("a100")
    one_wave, started, full = (price_matmul(chip, 128 * rows, 4096, 4096).seconds for rows in (6, 8, 13))
    assert 1.6 * one_wave < started
    assert full < 1.2 * started


def test_engines_wait_for_each_other_less_in_proportion_the_longer_they_run() -> None:
    others = np.logspace(-9, -1, 50)
    waiting = unhidden(load_gpu("h100"), others)
    assert (np.diff(waiting) > 0).all(), "more work is never hidden so much better that the kernel gets faster"
    assert (np.diff(waiting) <= np.diff(others) * (1 + 1e-9)).all(), "at most as much as the work itself"
    assert (np.diff(waiting / others) <= 1e-12).all()
    assert waiting[0] == others[0]


@given(st.sampled_from(GPUS), st.floats(0.02, 50.0))
def test_memory_and_what_it_feeds_lose_what_a_queue_with_as_many_places_loses(chip: Gpu, ratio: float) -> None:
    """The chain of birth and death, solved: one side adds an instruction's operands to the buffer, the other takes."""
    coefficients = chip.generation.matmul
    places = int(coefficients.stages * coefficients.step_bytes / 32) + 1
    filled = np.array([ratio**place for place in range(places + 1)])
    filled /= filled.sum()
    rate = ratio * (1.0 - filled[-1])  # of the side that takes, which would need one second
    lost = starved(chip, np.array([1.0]), np.array([1.0 / ratio]))[0]
    assert 1.0 / rate == pytest.approx(max(1.0, 1.0 / ratio) + lost)
    assert lost == starved(chip, np.array([1.0 / ratio]), np.array([1.0]))[0]


def test_a_small_product_on_an_a100_lasts_longer_than_one_eight_times_as_large() -> None:
    """Measured: 64 x 256 x 32 takes 4.2 us and 64 x 1024 x 64 3.4 us; 16 rows take 2.8 us, an H100 has no such step."""
    assert 64 * 256 * 32 < SMALL_PRODUCT <= 64 * 1024 * 64
    a100, h100 = load_gpu("a100"), load_gpu("h100")
    assert price_matmul(a100, 64, 256, 32).seconds > 1.1 * price_matmul(a100, 64, 1024, 64).seconds
    assert price_matmul(a100, 16, 1024, 32).seconds < 0.8 * price_matmul(a100, 64, 256, 32).seconds
    assert price_matmul(h100, 64, 256, 32).seconds <= price_matmul(h100, 64, 1024, 64).seconds


@pytest.mark.parametrize("chip", GPUS, ids=lambda chip: chip.name)
def test_no_tile_is_long_and_narrow(chip: Gpu) -> None:
    tiles = tiles_of(chip, "bf16")
    longer, shorter = np.maximum(tiles.rows, tiles.columns), np.minimum(tiles.rows, tiles.columns)
    assert (longer[longer > 128] <= 2 * shorter[longer > 128]).all()
    assert (longer == 256).any(), "of 256 x 128"


def test_a_second_wave_of_split_parts_hides_traffic_of_the_first() -> None:
    """Measured on an A100: 8192 x 1024 x 10240 fills 2.4 waves; in two parts over k it takes 645 us, not 749."""
    chip = load_gpu("a100")
    measured = {8192: 537.7e-6, 10_240: 644.8e-6, 12_288: 797.8e-6, 16_384: 1060.4e-6}
    for k, seconds in measured.items():
        assert price_matmul(chip, 8192, 1024, k, weights_in_turn=6).seconds == pytest.approx(seconds, rel=0.08)


def test_blocks_of_a_cluster_load_their_shared_operand_once() -> None:
    chip = load_gpu("h100")
    alone = chip.model_copy(update={"on_chip": chip.on_chip.model_copy(update={"cluster_units": 1})})
    shared, own = tiles_of(chip, "bf16"), tiles_of(alone, "bf16")
    longer = np.maximum(shared.rows, shared.columns)
    assert own.load_bytes - shared.load_bytes == pytest.approx(longer / 2.0 * chip.generation.matmul.step_bytes)
    assert (shared.feed <= own.feed).all()
    assert (shared.feed < own.feed).any()


def test_eight_bit_operands_halve_weights_and_double_the_rate() -> None:
    chip = load_gpu("h100")
    for shape in ((16, 8192, 28672), (8192, 8192, 8192)):
        ratio = price_matmul(chip, *shape, precision="fp8").seconds / price_matmul(chip, *shape).seconds
        assert 0.48 < ratio < 0.62


def test_limiter_names_what_the_kernel_waits_for() -> None:
    chip = load_gpu("h100")
    price = price_matmul(chip, [8192, 16, 16], [8192, 16384, 16], [8192, 16384, 16])
    assert list(price.limiter) == ["matrix unit", "HBM", "dependency"]


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["m", "n", "k", "count"])
def test_sizes_below_one_are_refused(name: str, bad: float) -> None:
    sizes = {"m": 8.0, "n": 8.0, "k": 8.0, "count": 1.0} | {name: bad}
    with pytest.raises(ValueError, match=f"^{name} of a matrix product is .*; it must be at least 1\\.$"):
        price_matmul(load_gpu("h100"), sizes["m"], sizes["n"], sizes["k"], count=sizes["count"])


def test_a_precision_that_the_chip_lacks_is_refused() -> None:
    with pytest.raises(CatalogError, match="a100 has no fp8 matrix unit"):
        price_matmul(load_gpu("a100"), 8, 8, 8, precision="fp8")


@pytest.mark.parametrize(("name", "mean_error", "bias"), [("h100", 0.053, 0.02), ("a100", 0.06, 0.02)])
def test_measured_rows(name: str, mean_error: float, bias: float) -> None:
    rows = pd.read_parquet(MEASURED / f"{name}_gemm_bf16.parquet")
    chip = load_gpu(name)
    m, n, k = (rows[column].to_numpy() for column in ("m", "n", "k"))
    predicted = price_matmul(chip, m, n, k, weights_in_turn=6).seconds + chip.generation.launch.graph_gap
    ratio = predicted * 1e6 / rows["us"].to_numpy()
    assert np.abs(ratio - 1.0).mean() < mean_error
    assert abs(np.median(ratio) - 1.0) < bias


def test_a_short_call_escapes_the_power_limit_that_a_lasting_load_meets() -> None:
    """Measured on an H100: a 4096-cube, 166 us, runs at 828 TFLOP/s, an 8192-cube at 713."""
    chip = load_chip("h100")
    assert isinstance(chip, Gpu)
    for side, most in ((4096, 0.5), (16_384, 1.0)):
        unlimited = price_matmul(chip.model_copy(update={"power_watts": 1e5}), side, side, side, weights_in_turn=6)
        short, lasting = (price_matmul(chip, side, side, side, weights_in_turn=kept) for kept in (True, False))
        assert unlimited.seconds <= short.seconds <= lasting.seconds * 1.001
        assert short.seconds - unlimited.seconds <= most * (lasting.seconds - unlimited.seconds)
        assert lasting.seconds > 1.05 * unlimited.seconds


def test_exact_sums_of_fp8_cost_vector_lanes_where_the_matrix_unit_adds_in_less_than_fp32() -> None:
    """128 x 256 sums a step on 128 lanes beside 1,024 cycles of products: at most a quarter more."""
    shape = (8192, 8192, 8192)

    def seconds(name: str, precision: Precision, exact: bool) -> float:
        return float(price_matmul(load_gpu(name), *shape, precision=precision, exact=exact).seconds)

    assert seconds("h100", "fp8", False) < seconds("h100", "fp8", True) <= 1.25 * seconds("h100", "fp8", False)
    assert seconds("h100", "bf16", True) == seconds("h100", "bf16", False)
    assert seconds("b200", "fp8", True) == seconds("b200", "fp8", False)
