"""One program on threads, MPI processes and Ray actors: the same bits, the same picoseconds, the same errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
from rank_programs import fails, gives, leaves, place, shapes, sums, unequal

from cluster import ClusterError, Executor, run_ranks
from loopline import compare
from results.errors import LooplineError
from scenarios.workload.model import load_model

SIZES = (0, 1, 3, 64, 1000)
DIFFERENT = "clock=0.02,memory=0.05,seed=3,straggler=0.1@1,slow-link=0.5@0"


@pytest.fixture(scope="module")
def ray_session():
    ray.init(num_cpus=4, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["local", "mpi", "ray"])
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return Executor(request.param)


def check_sums(executor, count):
    told: list[object] = []
    ranks = run_ranks(sums, SIZES, 7, count=count, executor=executor, on_report=told.append)
    assert told == list(SIZES)
    assert ranks == run_ranks(sums, SIZES, 7, count=count)
    assert all(rank == ranks[0] for rank in ranks)
    for size, (summed, parts) in zip(SIZES, ranks[0], strict=True):
        expected = np.sum([np.frombuffer(part, np.float32) for part in parts], axis=0, dtype=np.float64)
        np.testing.assert_allclose(np.frombuffer(summed, np.float32), expected, rtol=1e-5, atol=1e-6)
        assert len(summed) == 2 * size * 4


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_ranks_in_threads_and_in_processes_have_the_same_bits(count):
    check_sums(Executor("mpi"), count)


@pytest.mark.parametrize("count", [2, 3])
def test_ray_actors_have_the_bits_of_threads(ray_session, count):
    check_sums(Executor("ray"), count)


@pytest.mark.parametrize("name", ["mpi", "ray"])
def test_ranks_start_from_an_environment_whose_path_has_spaces_and_quotes(ray_session, tmp_path, monkeypatch, name):
    (tmp_path / "my 'own' env").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my 'own' env" / "bin" / Path(sys.executable).name))
    ranks = run_ranks(place, count=2, executor=Executor(name))
    assert [executable for _, executable in ranks] == [sys.executable] * 2


def test_ranks_may_give_arrays_of_different_shapes(executor):
    expected = [[[0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]
    assert run_ranks(shapes, count=2, executor=executor) == [expected, expected]


def test_what_a_program_raises_is_raised_here(executor):
    with pytest.raises(ValueError, match="rank 1 will not"):
        run_ranks(fails, "plain", count=2, executor=executor)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fewer calls", "call 3, rank 0 is at its end, ranks 1, 2 are at AllReduce of float32 of shape (4,)"),
        ("kinds", "call 1, rank 0 is at AllGather of float32, ranks 1, 2 are at AllReduce of float32 of shape (4,)"),
        ("a clock", "call 1, rank 0 is at a meeting of clocks, ranks 1, 2 are at AllGather of float32"),
        (
            "shapes",
            "call 1, rank 0 is at AllReduce of float32 of shape (5,), ranks 1, 2 are at AllReduce of float32 of",
        ),
        ("dtypes", "call 1, rank 0 is at AllReduce of int64 of shape (4,), ranks 1, 2 are at AllReduce of float32"),
        ("together", "ranks 1, 2 are at AllReduce of float32 of shape (4,) and AllReduce of float32 of shape (4,)"),
        ("ends", "call 1, rank 0 is at its end, ranks 1, 2 are at AllReduce of float32 of shape (4,)"),
    ],
)
def test_ranks_that_differ_are_named_with_what_each_is_at(executor, how, said):
    with pytest.raises(ClusterError) as refused:
        run_ranks(unequal, how, count=3, executor=executor)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exits", r"^Rank 1 of 3 left its program by SystemExit\(3\)\.$"),
        ("returns", "^What rank 1 returns cannot be sent to another process: "),
        ("reports", "^What rank 0 reports cannot be sent to another process: "),
    ],
)
def test_what_no_executor_can_carry_is_a_sentence_on_each(executor, how, said):
    with pytest.raises(ClusterError, match=said):
        run_ranks(leaves, how, count=3, executor=executor)


@pytest.mark.parametrize("name", ["local", "mpi"])
def test_a_rank_that_hangs_is_given_up_and_named(name):
    with pytest.raises(
        LooplineError, match=r"rank 1 of 3 (died or )?hangs: nothing came for 0\.5 s, and rank \d waits in"
    ):
        run_ranks(leaves, "hangs", count=3, executor=Executor(name, timeout_seconds=0.5))


def test_large_reports_and_results_arrive_whole(executor):
    told: list[object] = []
    size = 50_000_000
    ranks = run_ranks(gives, size, count=2, executor=executor, on_report=told.append)
    assert told == [b"r" * size]
    assert ranks == [b"x" * size] * 2


def test_what_cannot_be_pickled_is_told_in_a_sentence(executor):
    with pytest.raises(ClusterError, match="Rank 1 failed with Awkward: 1 and 2"):
        run_ranks(fails, "awkward", count=2, executor=executor)


@pytest.mark.parametrize("name", ["local", "mpi"])
def test_a_rank_without_memory_is_told_in_a_sentence(name):
    with pytest.raises(ClusterError, match=r"One of 2 ranks had too little memory: Unable to allocate 9\.00 TiB"):
        run_ranks(fails, "memory", count=2, executor=Executor(name))


def test_shards_larger_than_the_machine_are_refused_before_anything_starts(executor):
    with pytest.raises(ClusterError, match=r"1,000,000\.0 GB"):
        run_ranks(sums, SIZES, 7, count=2, executor=executor, rank_bytes=1e15)


def test_no_ranks_are_refused():
    with pytest.raises(ClusterError, match="0 ranks"):
        run_ranks(shapes, count=0)


def same_frame(model, counts, executor, variation, **options):
    """The frame of ``executor`` equals the local one, every time to the picosecond."""
    here = compare(model, ["h100", "sn40l"], counts, variation=variation, **options)
    there = compare(model, ["h100", "sn40l"], counts, variation=variation, executor=executor, **options)
    assert here["fits"].all()
    pd.testing.assert_frame_equal(here, there, check_exact=True)


@pytest.fixture(scope="module")
def model_for_three():
    """A small Llama whose heads divide by 1, 2, 3 and 4."""
    small = load_model("llama-3.2-1b")
    shape = {"name": "small", "layers": 3, "hidden": 768, "heads": 12, "kv_heads": 12, "intermediate": 1536}
    return small.model_copy(update=shape | {"vocabulary": 12_000})


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_simulated_time_is_the_same_on_mpi_to_the_picosecond(model_for_three, count):
    variation = DIFFERENT if count > 1 else "clock=0.02,memory=0.05,seed=3"
    same_frame(model_for_three, count, Executor("mpi"), variation, context=512)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_simulated_time_is_the_same_on_ray_to_the_picosecond(ray_session, model_for_three, count):
    same_frame(model_for_three, count, Executor("ray", placement="SPREAD"), "clock=0.02,memory=0.05,seed=3")


@pytest.mark.parametrize(
    "options",
    [
        {"phase": "prefill", "context": 300},
        {"phase": "request", "context": 130, "output_tokens": 8},
        {"phase": "train", "context": 256},
        {"phase": "decode", "launch": "eager", "batch": 200, "context": 64},
    ],
)
def test_every_phase_gives_the_same_times_on_mpi(model_for_three, options):
    same_frame(model_for_three, 2, Executor("mpi"), DIFFERENT, **options)


def test_alike_chips_meet_too_when_each_is_a_rank(model_for_three):
    same_frame(model_for_three, 3, Executor("mpi"), "")
