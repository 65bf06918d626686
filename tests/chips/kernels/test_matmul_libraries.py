"""The serving library's own kernel, repeated products and what L2 holds of them, and tiles ruled out before pricing."""

from __future__ import annotations

import numpy as np
import pytest

from chips.kernels.matmul import kernels
from chips.kernels.matmul.price import ProductLibrary, price_matmul
from chips.kernels.matmul.tiles import block_scaled_kernels
from chips.spec import Precision, load_gpu
from scenarios.evidence.held_out import unseen_rows
from scenarios.evidence.kernel_tables import read_kernel_table
from scenarios.evidence.validation import DATA

KERNELS: list[tuple[str, Precision, ProductLibrary]] = [
    ("h100", "fp8", "cutlass"),
    ("b200", "fp8", "cutlass"),
    ("l40s", "fp8", "cutlass"),
    ("h100", "fp8", "deepgemm"),
    ("b200", "nvfp4", "cutlass"),
    ("b200", "nvfp4", "cublas"),
]
SHAPES = np.round(2 ** np.random.default_rng(7).uniform(0.0, 15.0, (3, 60)))


@pytest.mark.parametrize("name", ["h100", "a100", "b200", "l40s"])
def test_tiles_ruled_out_are_never_the_fastest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Priced one and all, every product takes the same kernel as when most tiles were ruled out by a lower bound."""
    chip, found = load_gpu(name), []
    for few in (0, 10**9):
        monkeypatch.setattr(kernels, "FEW_PAIRS", few)
        found += [price_matmul(chip, *SHAPES, weights_in_turn=turns) for turns in (0, 6)]
    for pruned, whole in zip(found[:2], found[2:], strict=True):
        assert (pruned.seconds == whole.seconds).all()
        assert (pruned.fill_drain_seconds == whole.fill_drain_seconds).all()
        assert (pruned.joules == whole.joules).all()


@pytest.mark.parametrize(("name", "precision", "library"), KERNELS)
def test_more_of_anything_is_never_slower_and_one_shape_is_priced_as_many_are(
    name: str, precision: Precision, library: ProductLibrary
) -> None:
    chip = load_gpu(name)
    before = price_matmul(chip, *SHAPES, precision=precision, library=library)
    assert not before.beats_bound.any()
    alone = price_matmul(chip, *SHAPES[:, 3], precision=precision, library=library)
    assert alone.seconds == before.seconds[3]
    faster_memory = chip.model_copy(update={"memory": chip.memory.model_copy(update={"bandwidth": 2e13})})
    unlimited = chip.model_copy(update={"power_watts": 1e6})
    compute = chip.compute.model_copy(update={"max_clock_hz": 1.3 * chip.compute.highest_clock_hz})
    for better in (faster_memory, unlimited, unlimited.model_copy(update={"compute": compute})):
        base = unlimited if better.power_watts == unlimited.power_watts else chip
        then = price_matmul(base, *SHAPES, precision=precision, library=library).seconds
        now = price_matmul(better, *SHAPES, precision=precision, library=library).seconds
        assert (now <= then * (1 + 1e-12)).all()


def test_a_row_more_than_a_wave_of_tiles_takes_two_waves() -> None:
    """256 rows are two tiles of 128 for each of 64 columns of tiles, one wave of an H100; 257 are three, and two."""
    one, two = price_matmul(load_gpu("h100"), [256, 260], 8192, 8192, precision="fp8", library="cutlass").seconds
    assert 1.5 < two / one < 2.2


@pytest.mark.parametrize(
    ("m", "n", "k", "published"),
    [
        (64, 24576, 1536, 289),
        (64, 7168, 16384, 336),
        (128, 2112, 7168, 352),
        (128, 24576, 1536, 535),
        (128, 7168, 16384, 640),
        (4096, 2112, 7168, 1058),
        (4096, 24576, 1536, 990),
        (4096, 7168, 16384, 1358),
        (4096, 4096, 7168, 1304),
        (4096, 7168, 2048, 1025),
    ],
)
def test_published_throughput_of_products_with_a_scale_for_each_block(m: int, n: int, k: int, published: float) -> None:
    """Not fitted: TFLOP/s on an H800, whose multiprocessors are an H100's (DeepGEMM, February 2025) [recalled]."""
    time = price_matmul(load_gpu("h100"), m, n, k, precision="fp8", library="deepgemm")
    assert 2e-12 * m * n * k / float(time.seconds) == pytest.approx(published, rel=0.13)


def test_a_scaled_blocks_tile_is_as_narrow_as_fills_the_fewest_waves() -> None:
    """5,120 columns of few rows are 128 tiles of 40 on 132 multiprocessors; a row beyond 64 takes tiles of 128 rows."""
    chip = load_gpu("h100")
    shapes = {
        (float(tiles.rows[0]), float(tiles.columns[0]))
        for rows in (16.0, 64.0, 65.0)
        for _, tiles in block_scaled_kernels(chip, np.array([rows]), np.array([5120.0]), np.ones(1))
    }
    assert shapes == {(64.0, 40.0), (128.0, 40.0)}
    one, two = price_matmul(chip, [128, 144], 32 * 132, 8192, precision="fp8", library="deepgemm").seconds
    assert two > 1.1 * one


def test_a_kernel_that_never_splits_k_waits_for_every_step_of_it() -> None:
    chip = load_gpu("h100")
    own, split = (
        price_matmul(chip, 16, 128, [16384, 65536], precision="fp8", library=library).seconds
        for library in ("cutlass", "cublas")
    )
    assert own[1] - own[0] > 3.0 * (split[1] - split[0])
    steps = (65536 - 16384) / 128
    assert own[1] - own[0] > steps * chip.generation.matmul.serving_step_cycles / chip.compute.highest_clock_hz


def test_weights_stay_in_an_l2_that_holds_all_that_are_used_in_turn() -> None:
    """10 MB: six of them fit into the 96 MB of an L40S and not into the 50 MB of an H100; 40 MB only alone."""
    for name, columns, turns, stays in (
        ("l40s", 1280, 6, True),
        ("h100", 1280, 6, False),
        ("l40s", 5120, 1, True),
        ("l40s", 5120, 6, False),
    ):
        chip = load_gpu(name)
        cold, warm = (
            float(price_matmul(chip, 16, columns, 4096, weights_in_turn=weights).seconds) for weights in (0, turns)
        )
        assert (warm < 0.7 * cold) == stays, (name, columns, turns)


def test_results_stay_in_the_l2_of_an_l40s_until_they_outgrow_it() -> None:
    chip = load_gpu("l40s")
    small, large = price_matmul(chip, 8192, [2048, 16384], 32).seconds
    bandwidth = chip.memory.bandwidth * chip.generation.matmul.write_efficiency
    assert small < 8192 * 2048 * 2 / bandwidth
    assert large > 8192 * 16384 * 2 / bandwidth


@pytest.mark.parametrize(
    ("name", "pieces", "odd"), [("a100", (1.0, 1.05), (1.4, 2.5)), ("h100", (1.2, 1.7), (2.0, 4.0))]
)
def test_rows_of_no_whole_16_bytes_take_other_kernels(
    name: str, pieces: tuple[float, float], odd: tuple[float, float]
) -> None:
    """Products that compute, where n or k is a multiple of 8, of 4 or 2, or odd; few rows wait for memory anyway.

    Training GPT-2 on A100s, whose head is a fourth of the time, is 25% faster with 50,304 tokens than with 50,257
    (nanoGPT): odd rows take about twice as long.
    """
    chip = load_gpu(name)
    whole = price_matmul(chip, 4096, 4096, 4096).seconds
    assert price_matmul(chip, 4096, 4104, 4104).seconds == pytest.approx(whole, rel=0.05)
    for size, (least, most) in ((4100, pieces), (4098, pieces), (4097, odd)):
        for n, k in ((size, 4096), (4096, size)):
            assert least <= price_matmul(chip, 4096, n, k).seconds / whole <= most
    few, odd_few = price_matmul(chip, 1, [4096, 4097], 4096).seconds
    assert few <= odd_few < 1.25 * few


def test_a_library_leaves_k_of_a_small_product_whole_where_its_generation_says_so() -> None:
    """16 x 32 x 4096 are 2^21 multiply-adds: measured 17.0 us with k = 3,584 on an L40S, and 4.0 us with 4,096."""
    whole, divided = price_matmul(load_gpu("l40s"), 16, 32, [3584, 4096], weights_in_turn=6).seconds
    assert whole > 3.0 * divided
    shorter, longer = price_matmul(load_gpu("h100"), 16, 32, [3584, 4096], weights_in_turn=6).seconds
    assert shorter < 1.1 * longer


def test_the_serving_librarys_kernel_goes_by_columns_too() -> None:
    """On an L40S its stores of 4,097 to 8,192 columns reach less than half of the others' rate: 822 and 487 us."""
    slow, fast = price_matmul(load_gpu("l40s"), 8192, [8192, 10240], 64, precision="fp8", library="cutlass").seconds
    assert 1.4 < slow / fast < 2.0


def test_each_shape_may_have_its_own_number_of_weights_in_turn() -> None:
    chip = load_gpu("l40s")
    together = price_matmul(chip, 16, [4096, 8192], 4096, precision="fp8", weights_in_turn=[6, 1]).seconds
    for at, (columns, turns) in enumerate(((4096, 6), (8192, 1))):
        assert price_matmul(chip, 16, columns, 4096, precision="fp8", weights_in_turn=turns).seconds == together[at]


@pytest.mark.parametrize(
    ("table", "most"),
    [
        ("b200_gemm_bf16", 0.075),
        ("l40s_gemm_bf16", 0.11),
        ("h100_gemm_fp8", 0.075),
        ("b200_gemm_fp8", 0.115),
        ("l40s_gemm_fp8", 0.11),
        ("b200_gemm_nvfp4", 0.1),
    ],
)
def test_rows_that_no_fit_has_seen(table: str, most: float) -> None:
    measured = read_kernel_table(DATA / "measured" / f"{table}.parquet")
    rows = measured.rows[unseen_rows(measured.rows[["m", "n", "k"]])].iloc[::7]
    predicted = measured.predict(load_gpu(table.split("_")[0]), rows)
    assert np.abs(predicted * 1e6 / rows["us"] - 1.0).mean() < most
