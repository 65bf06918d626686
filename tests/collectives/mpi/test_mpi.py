"""Schedules between real MPI ranks: the bits of ``execute``, the clocks of ``price``; a rank that hangs is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.mpiexec import mpiexec_command
from collectives.algorithms import ALGORITHMS, ring
from collectives.mpi.links import Calibration, Line, fit_line
from collectives.mpi.program import SWITCH_HOST, program
from collectives.mpi.silent_rank import SilentRank
from collectives.price import price
from collectives.schedule import SWITCH
from collectives.step_times import Costs
from collectives.topology import switched

HERE = Path(__file__).parent


def mpiexec(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*mpiexec_command(ranks), *arguments], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("ranks", [1, 2, 3, 6, 8])
def test_ranks_have_the_bits_of_execute_and_the_clocks_of_price(ranks):
    done = mpiexec(ranks, str(HERE / "mpi_cases.py"))
    assert re.search(r"held \d{2,} cases", done.stdout), done.stderr[-2000:]


@pytest.mark.parametrize(("victim", "algorithm"), [(2, "ring"), (0, "in_switch")])
def test_a_rank_that_hangs_is_named_by_exactly_one_other(victim, algorithm):
    done = mpiexec(4, str(HERE / "mpi_silent.py"), str(victim), algorithm, "0.7")
    said = [line for line in done.stdout.splitlines() if " says: " in line]
    speaker = 0 if victim else 1
    assert len(said) == 1, done.stdout + done.stderr
    sentence = f"rank {speaker} says: rank {victim} of 4 died or hangs: nothing came for 0.7 s, and rank "
    assert said[0].startswith(sentence)
    assert f"waits in {algorithm}, phase " in said[0]


def test_ranks_that_wait_for_each_other_are_told_so():
    done = mpiexec(3, str(HERE / "mpi_silent.py"), "-1", "ring", "0.7")
    assert "rank 0 says: all 3 ranks live, yet nothing came for 0.7 s: rank 0 waits in leaving" in done.stdout


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_programs_of_all_ranks_are_the_schedule(algorithm):
    """Every message leaves one process and comes to one, with the same elements, in the order of the schedule."""
    ranks, elements = 6, 23
    schedule = ALGORITHMS[algorithm](ranks)
    topology = switched(ranks, 1e9, 1e-6)
    programs = [program(schedule, topology, 4, Costs(), rank, elements) for rank in range(ranks)]
    sent, received, expected = [], [], []
    for rank, own in enumerate(programs):
        for step in own.steps:
            sent += [(step.place, rank, leg.peer, leg.part.start, leg.part.stop) for leg in step.outgoing]
            received += [(step.place, leg.peer, rank, leg.part.start, leg.part.stop) for leg in step.incoming]
    cuts = schedule.cuts(elements)
    for number, step, messages in schedule.steps():
        for source, destination, first, size in zip(
            messages.source, messages.destination, messages.first_chunk, messages.sizes(), strict=True
        ):
            ends = [SWITCH_HOST if end == SWITCH else int(end) for end in (source, destination)]
            place = f"{schedule.name}, phase {number}, step {step}"
            expected.append((place, *ends, int(cuts[first]), int(cuts[first + size])))
    assert sorted(sent) == sorted(received) == sorted(expected)


def test_the_line_through_exact_times_is_found():
    sizes = np.array([8.0, 128.0, 2048.0, 2**15, 2**17, 2**19])
    line = fit_line(sizes, 5e-6 + sizes / 3e9)
    assert line.latency_seconds == pytest.approx(5e-6, rel=0.02)
    assert line.bandwidth == pytest.approx(3e9, rel=0.02)


def test_predictions_are_the_price_on_the_measured_links():
    """Alone in its step, a message costs what ``price`` says; of several of one rank, each further one its own time."""
    links = Calibration(Line(1e-6, 9e9), Line(2e-6, 3e9), 5e-6, 7e-6, 1e-10)
    priced = price(ring(4), switched(4, 3e9, 2e-6), 4096, reduce_seconds_per_byte=1e-10).max() * 1e-12
    assert links.seconds(ring(4), 4096) == pytest.approx(5e-6 + priced)
    one_shot = ALGORITHMS["one_shot"](4)
    priced = price(one_shot, switched(4, 3e9, 2e-6), 4096, reduce_seconds_per_byte=1e-10).max() * 1e-12
    assert links.seconds(one_shot, 4096) == pytest.approx(5e-6 + priced + 2 * 7e-6)


def test_the_program_in_the_documentation_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (HERE.parents[2] / "docs" / "mpi.md").read_text(), re.DOTALL)
    program = tmp_path / "program.py"
    # One write a rank, so that the ranks' lines do not run into one another.
    program.write_text(f"{code}\nprint(f'{{float(result.sum())}} {{finish_ps > 0}}\\n', end='', flush=True)\n")
    assert mpiexec(3, str(program)).stdout.split() == ["3000.0", "True"] * 3


def test_the_error_survives_the_way_to_another_process():
    import pickle

    error = pickle.loads(pickle.dumps(SilentRank("rank 1 of 2 died", speaks=True)))
    assert str(error) == "rank 1 of 2 died"
    assert error.speaks


def test_importing_the_error_does_not_start_mpi():
    code = "import collectives.mpi.silent_rank, sys; sys.exit('mpi4py.MPI' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
