"""Tile programs on chips: stages and buffers from the dataflow, times over their bounds, measured kernels."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chips.spec import Dataflow, Gpu, load_chip, load_gpu
from chips.tiles.compiler import Compiled, compile_program
from chips.tiles.language import Tensor, TileError, load_tile, matmul, metapipe, store_tile, trace
from chips.tiles.named_program import compile_named
from chips.tiles.programs.attention import flash_attention
from chips.tiles.programs.attention_backward import flash_attention_backward
from chips.tiles.programs.catalog import EXAMPLES
from chips.tiles.programs.linear import matmul_over_k, matmul_two_pipes
from chips.tiles.warps import Cycles, Warps, two_iterations_fit, warps_of
from scenarios.evidence.validation import DATA

MEASURED = DATA / "measured"
TILES = [(64, 64), (64, 128), (128, 64), (128, 128), (64, 256), (128, 256)]


def dataflow(name: str) -> Dataflow:
    chip = load_chip(name)
    assert isinstance(chip, Dataflow)
    return chip


def best_product(chip: Gpu, size: int, asynchronous: bool = True) -> Compiled:
    """The fastest of a few tile shapes: what a kernel's author would ship for a size."""
    shape = (size, size)
    programs = [partial(matmul_over_k, rows=rows, columns=columns, shared_by=2) for rows, columns in TILES]
    compiled = [compile_program(program, chip, asynchronous, a=shape, b=shape, c=shape) for program in programs]
    return min(compiled, key=lambda found: found.seconds)


def attention_share(chip: Gpu, asynchronous: bool, keys: int) -> float:
    """Of the matrix peak: head dimension 128, 16 heads of 16384 tokens, not causal."""
    heads = (16384, 2048)
    program = partial(flash_attention, head_dim=128, rows=128, keys=keys, causal=False)
    return compile_program(program, chip, asynchronous, q=heads, k=heads, v=heads, o=heads).flops / chip.peak_flops(
        "bf16"
    )


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("chip_name", ["sn40l", "sn10", "h100", "a100", "b200"])
def test_no_program_beats_its_chip(name: str, chip_name: str) -> None:
    chip = load_chip(chip_name)
    assert isinstance(chip, Gpu | Dataflow)
    example = EXAMPLES[name]
    asynchronous = not isinstance(chip, Gpu) or chip.generation.attention.asynchronous
    try:
        found = compile_program(example.tiled(isinstance(chip, Gpu), asynchronous), chip, **example.shapes)
    except TileError:
        pytest.skip(f"{name} does not fit {chip_name}")
    clock = chip.compute.highest_clock_hz / chip.compute.clock_hz
    assert found.seconds >= found.flop / (chip.peak_flops("bf16") * clock)
    assert found.seconds >= found.memory_bytes / chip.memory.bandwidth
    assert all(0.0 <= share <= 1.0 for share in found.engines.values()), found.engines


def test_two_pipe_product_is_double_buffered_from_its_dataflow() -> None:
    """a, b and c of 1024 x 4096, 4096 x 512 and 1024 x 512, two of each."""
    program = partial(matmul_two_pipes, rows=1024, columns=512, row_par=None)
    found = compile_program(program, dataflow("sn40l"), a=(16384, 4096), b=(4096, 4096), c=(16384, 4096))
    assert found.buffer_bytes == 2 * 2 * (1024 * 4096 + 4096 * 512 + 1024 * 512)
    assert [stage.name for stage in found.pipeline.stages] == ["load b", "matmul", "store c"]
    assert found.flop == 2 * 16384 * 4096 * 4096
    assert found.memory_bytes == 2 * (16384 * 4096 * 2 + 16 * 4096 * 4096)


def test_row_par_is_units_of_the_stage() -> None:
    shapes = {"a": (1024, 1024), "b": (1024, 1024), "c": (1024, 1024)}
    four = compile_program(partial(matmul_two_pipes, row_par=4), dataflow("sn40l"), **shapes)
    eight = compile_program(partial(matmul_two_pipes, row_par=8), dataflow("sn40l"), **shapes)
    assert set(four.units.values()) == {4}
    assert four.pipeline.limiter == "matmul"
    assert four.pipeline.initiation_interval_ps == pytest.approx(2 * eight.pipeline.initiation_interval_ps, rel=1e-6)


def test_units_go_where_the_work_is() -> None:
    found = compile_program(EXAMPLES["swiglu"].tiled(False), dataflow("sn40l"), **EXAMPLES["swiglu"].shapes)
    busy = [row["busy"] for row in found.stages if row["engine"] == "PCUs"]
    # As evenly as whole vectors and blocks allow.
    assert min(busy) > 0.75 * max(busy)  # type: ignore[type-var, operator]
    assert sum(found.units.values()) <= 0.9 * 1040


def test_no_stage_starts_more_often_than_once_a_clock() -> None:
    found = compile_named("difference-products", "sn40l")
    clock_ps = 1e12 / dataflow("sn40l").compute.clock_hz
    assert found.pipeline.initiation_interval_ps >= clock_ps
    assert all(units >= 1 for units in found.units.values())


@pytest.mark.parametrize("program", ["softmax", "rms-norm", "matmul", "matrix-vector"])
def test_reads_and_writes_share_the_memory(program: str) -> None:
    """The pipeline by itself never moves more than the memory can: loads and stores take turns on its port."""
    chip = dataflow("sn40l")
    found = compile_named(program, "sn40l")
    runs = max(int(str(row["runs"])) for row in found.stages)
    moved = sum(int(str(row["bytes"])) for row in found.stages if row["runs"] == runs)
    assert moved / (float(found.pipeline.initiation_interval_ps) / 1e12) <= chip.streaming_bandwidth * (1 + 1e-6)


def test_products_are_near_the_library() -> None:
    """Every measured square from 512 on, beside cuBLAS on an H100."""
    rows = pd.read_parquet(MEASURED / "h100_gemm_bf16.parquet")
    squares = rows[(rows.m == rows.n) & (rows.n == rows.k) & (rows.m >= 512)].set_index("m")["us"] * 1e-6
    ratio = {int(size): best_product(load_gpu("h100"), int(size)).seconds / squares[size] for size in squares.index}
    assert sorted(ratio) == [512, 768, 1024, 2048, 2560, 3072, 3584, 4096]
    assert all(0.9 < share < 1.11 for share in ratio.values()), ratio


def test_asynchrony_pays() -> None:
    assert best_product(load_gpu("h100"), 4096).seconds < 0.8 * best_product(load_gpu("h100"), 4096, False).seconds


def test_flash_attention_on_h100_in_turn_and_overlapped() -> None:
    """Published (arXiv 2407.08608): 35% of the peak in turn; 65 to 75% with matrix and exponential units overlapped."""
    assert attention_share(load_gpu("h100"), False, 64) == pytest.approx(0.35, abs=0.05)
    assert attention_share(load_gpu("h100"), True, 128) == pytest.approx(0.70, abs=0.05)


@pytest.mark.parametrize(("kernel", "most"), [("flash_attention_3", 0.04), ("flash_attention_2", 0.065)])
def test_flash_attention_follows_every_published_point(kernel: str, most: float) -> None:
    """24 points each on an H100, head dimensions 64 to 256, 512 to 16384 tokens: mean error, nothing fitted to them.

    The tiles are those of each kernel (FlashAttention-2: flash_fwd_launch_template.h).
    """
    tiles = {64: (128, 128), 128: (128, 128), 256: (128, 64)}
    if kernel == "flash_attention_2":
        tiles = {64: (128, 128), 128: (128, 64), 256: (64, 64)}
    points = pd.read_csv(MEASURED.parent / "flash_attention_tflops.csv")
    points = points[(points.chip == "h100") & (points.kernel == kernel)]
    errors = []
    for head_dim, causal, tokens, published in points[["head_dim", "causal", "seq_len", "tflops"]].itertuples(
        index=False
    ):
        heads = (tokens, 2048 * (16384 // tokens))
        rows, keys = tiles[head_dim]
        program = partial(flash_attention, head_dim=head_dim, rows=rows, keys=keys, causal=bool(causal))
        found = compile_program(program, load_gpu("h100"), kernel.endswith("3"), **dict.fromkeys("qkvo", heads))
        flops = 4 * heads[0] * heads[0] * heads[1] / (2 if causal else 1) / found.seconds
        errors.append(abs(flops / (published * 1e12) - 1))
    assert len(errors) == 24
    assert sum(errors) / len(errors) < most


@pytest.mark.parametrize(("head_dim", "rows", "published"), [(64, 128, 474), (128, 80, 561)])
def test_the_backward_pass_is_near_the_published_one(head_dim: int, rows: int, published: float) -> None:
    """FlashAttention-3 on an H100, the longest of figure 6 (Shah et al. 2024); tiles of flash_bwd_launch_template.h."""
    tokens = 16384
    shapes = dict.fromkeys(("q", "k", "v", "gradient", "dq", "dk", "dv"), (tokens, 2048))
    shapes |= dict.fromkeys(("logarithms", "products"), (tokens, 2048 // head_dim))
    program = partial(flash_attention_backward, head_dim=head_dim, rows=rows, keys=128, causal=False)
    found = compile_program(program, load_gpu("h100"), **shapes)
    assert 10 * tokens**2 * 2048 / found.seconds / 1e12 == pytest.approx(published, rel=0.07)


def test_products_run_beside_softmax_only_where_registers_hold_another_iterations() -> None:
    """Gradients of keys and values, scores and theirs leave no room for the next scores; the forward pass does."""
    chip = load_gpu("h100")
    forward, backward = EXAMPLES["flash-attention"], EXAMPLES["flash-attention-backward"]
    assert two_iterations_fit(trace(forward.tiled(True), **forward.shapes).operations, chip)
    operations = trace(backward.tiled(True), **backward.shapes).operations
    assert not two_iterations_fit(operations, chip)
    larger = chip.on_chip.model_copy(update={"register_bytes": 2 * chip.on_chip.register_bytes})
    roomy = chip.model_copy(update={"on_chip": larger})
    assert two_iterations_fit(operations, roomy)
    times = [compile_program(backward.tiled(True), each, **backward.shapes).seconds for each in (roomy, chip)]
    assert times[0] < 0.9 * times[1]


def test_flash_attention_on_a100_reaches_the_published_share() -> None:
    """Dao 2023 (arXiv 2307.08691): about 70%, up to 230 of 312 TFLOP/s, by the rules that give 35% on an H100."""
    assert attention_share(load_gpu("a100"), False, 64) == pytest.approx(0.70, abs=0.05)


def test_flash_attention_of_a_paged_cache_follows_its_measurements_on_a100() -> None:
    """vLLM's tile has 64 query rows: its warps hold half as many, and read the keys twice as often, as 128 rows do."""
    rows = pd.read_parquet(MEASURED / "a100_attention_prefill_bf16.parquet")
    rows = rows[(rows.context == 16384) & (rows.tokens == 16384) & (rows.batch_size * rows.heads >= 16)]
    program = partial(flash_attention, head_dim=128, rows=64, keys=128, causal=True)
    errors = []
    for heads, measured in zip(rows.batch_size * rows.heads, rows.us * 1e-6, strict=True):
        shape = (16384, 128 * int(heads))
        found = compile_program(program, load_gpu("a100"), q=shape, k=shape, v=shape, o=shape)
        errors.append(abs(found.seconds / measured - 1.0))
    assert len(errors) > 90
    assert sum(errors) / len(errors) < 0.05


def test_a_second_resident_block_hides_the_wait_for_a_slow_matrix_unit_only() -> None:
    """An A100's warps wait for the matrix unit; an H100's, with a warp's own instructions, are what it waits for."""

    def gain(name: str) -> float:
        chip = load_gpu(name)
        half = chip.on_chip.model_copy(update={"register_bytes": chip.on_chip.register_bytes / 2})
        alone = chip.model_copy(update={"on_chip": half})
        return attention_share(chip, False, 64) / attention_share(alone, False, 64)

    assert gain("a100") > 1.10
    assert gain("h100") < 1.02


@pytest.mark.parametrize(
    ("name", "head_dim", "rows", "keys", "expected"),
    [
        ("a100", 64, 128, 128, Warps(32, 2)),
        ("a100", 128, 128, 64, Warps(32, 2)),
        ("a100", 128, 64, 128, Warps(16, 2)),  # one warp for each scheduler
        ("a100", 128, 128, 128, Warps(16, 1)),  # 256 accumulators a thread do not fit
        ("h100", 256, 64, 64, Warps(16, 2)),
    ],
)
def test_registers_and_shared_memory_decide_warps_and_resident_blocks(
    name: str, head_dim: int, rows: int, keys: int, expected: Warps
) -> None:
    heads = (4096, head_dim)
    program = partial(flash_attention, head_dim=head_dim, rows=rows, keys=keys)
    operations = trace(program, q=heads, k=heads, v=heads, o=heads).operations
    assert warps_of(operations, 100, load_gpu(name), False) == expected
    assert warps_of(operations, 1, load_gpu(name), False).resident == 1
    assert warps_of(operations, 100, load_gpu(name), True).resident == 1


@given(st.floats(1, 1e5), st.floats(1, 1e5), st.floats(0, 1e5), st.integers(1, 8))
def test_in_turn_a_block_takes_its_engines_at_least_and_their_chain_at_most(
    matrix: float, handing: float, vector: float, resident: int
) -> None:
    cycles = Cycles(matrix=matrix, handing=handing, vector=vector)
    taken = cycles.consumers(load_gpu("a100"), False, resident)
    assert max(matrix, handing + vector) <= taken <= max(matrix, handing) + vector
    assert cycles.consumers(load_gpu("a100"), False, resident + 1) <= taken


def test_products_of_a_warps_own_instructions_are_near_the_library() -> None:
    """cuBLAS on an A100: no softmax between products, so warps hand over in the shade of the matrix unit."""
    rows = pd.read_parquet(MEASURED / "a100_gemm_bf16.parquet")
    squares = rows[(rows.m == rows.n) & (rows.n == rows.k)].set_index("m")["us"] * 1e-6
    for size in (768, 1024, 4096):
        assert best_product(load_gpu("a100"), size, False).seconds == pytest.approx(squares[size], rel=0.08)


def test_chip_without_asynchronous_matrix_instructions_refuses_them() -> None:
    with pytest.raises(TileError, match=r"NVIDIA A100 SXM4 80 GB has no asynchronous matrix instructions"):
        attention_share(load_gpu("a100"), True, 64)


def test_attention_whose_heads_are_causal_does_half_the_work() -> None:
    shapes = dict.fromkeys(("q", "k", "v", "o"), (8192, 1024))
    whole, causal = (
        compile_program(
            partial(flash_attention, head_dim=128, rows=128, keys=128, causal=causal), load_gpu("h100"), **shapes
        )
        for causal in (False, True)
    )
    assert causal.flop == pytest.approx(whole.flop / 2, rel=0.05)
    assert causal.seconds < 0.6 * whole.seconds


def test_tile_larger_than_the_chips_memory_names_its_line() -> None:
    def whole(a: Tensor) -> None:
        load_tile(a, a.shape, at=(0, 0))

    with pytest.raises(
        TileError, match=r"test_tiles_compiler.py:\d+: a tile of 1024 x 1024 takes 2,097,152 bytes; .*232,448"
    ):
        compile_program(whole, load_gpu("h100"), a=(1024, 1024))
    with pytest.raises(TileError, match=r"py:\d+: a tile of 32768 x 16384 .* holds 545,259,520"):
        compile_program(whole, dataflow("sn40l"), a=(32768, 16384))


def test_program_without_loops_runs_on_one_thread_block() -> None:
    def once(a: Tensor, b: Tensor) -> None:
        tile = load_tile(a, (64, 64), at=(0, 0))
        store_tile(b, matmul(tile, tile), at=(0, 0))

    found = compile_program(once, load_gpu("h100"), a=(64, 64), b=(64, 64))
    assert [stage.name for stage in found.pipeline.stages] == ["load a", "consumers", "store"]
    assert found.buffer_bytes == 4 * 64 * 64 * 2
    assert compile_program(once, dataflow("sn40l"), a=(64, 64), b=(64, 64)).flop == 2 * 64**3


def test_tiles_that_fit_one_by_one_but_not_together_name_the_line() -> None:
    def pair(a: Tensor, b: Tensor, c: Tensor) -> None:
        for i in metapipe(4, grid=True):
            store_tile(c, matmul(load_tile(a, (64, 1024), at=(i, 0)), load_tile(b, (1024, 64), at=(0, i))), at=(i, i))

    with pytest.raises(TileError, match=r"py:\d+: the tiles loaded together take 262,144 bytes; 232,448"):
        compile_program(pair, load_gpu("h100"), a=(256, 1024), b=(1024, 256), c=(256, 256))


@pytest.mark.parametrize("chip", ["sn40l", "h100"])
@pytest.mark.parametrize(
    "program", ["matmul-over-k", "softmax", "flash-attention", "linked-list", "difference-products"]
)
def test_pipelining_and_double_buffers_only_ever_help(chip: str, program: str) -> None:
    found = compile_named(program, chip)
    assert found.seconds * (1 - 1e-9) <= found.single_buffered_seconds <= found.in_turn_seconds * (1 + 1e-9)


def test_softmax_in_turn_takes_the_sum_of_its_stages() -> None:
    """x, m, e, r and o: a load, four stages on units of their own, and a store, one after the other."""
    found = compile_named("softmax", "sn40l")
    assert [stage.name for stage in found.pipeline.stages] == [
        "load x",
        "vector (maximum)",
        "vector (subtract, exp)",
        "vector (add)",
        "vector (divide)",
        "store o",
    ]
    fill = found.seconds - found.pipeline.total_ps / 1e12
    each = sum(int(stage.duration_ps) for stage in found.pipeline.stages)
    assert found.in_turn_seconds == pytest.approx(found.pipeline.iterations * each / 1e12 + fill)
    assert len(found.units) == 4
