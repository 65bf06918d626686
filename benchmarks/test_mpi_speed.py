"""What schedules between MPI ranks cost in real time, and what ``loopline allreduce --compare`` computes."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from cluster.allreduce.ranks import Work, run_under_mpiexec
from collectives.algorithms import ALGORITHMS
from collectives.crossovers import crossovers
from collectives.links import links_of, possible
from collectives.mpi.program import program
from collectives.step_times import Costs
from collectives.topology import switched


def test_steps_of_one_of_64_ranks(benchmark: BenchmarkFixture) -> None:
    topology = switched(64, 450e9, 1e-6)
    benchmark(program.__wrapped__, ALGORITHMS["ring"](64), topology, 1024, Costs(), 3, 16384)


def test_four_ranks_from_start_to_end(benchmark: BenchmarkFixture) -> None:
    work = Work("h100", (("ring", 65536),), 60.0)
    benchmark.pedantic(run_under_mpiexec, (work, 4, lambda: None), rounds=3)


def test_64_ranks_from_start_to_end(benchmark: BenchmarkFixture) -> None:
    work = Work("h100", (("ring", 65536),), 60.0)
    benchmark.pedantic(run_under_mpiexec, (work, 64, lambda: None), rounds=1)


def test_crossovers_of_all_algorithms(benchmark: BenchmarkFixture) -> None:
    links = links_of("h100", 8)
    names, _ = possible(links)
    benchmark(crossovers, links, names)
