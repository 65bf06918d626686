"""What goes wrong between ranks, for real: killed processes, a node that leaves, nobody who answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from rank_programs import dies, dies_with_parents_named, place, stops, sums, vanishes
from ray.cluster_utils import Cluster as RayNodes

from cluster import ClusterError, Executor, run_ranks

HERE = Path(__file__).parent


def running(number):
    """Whether the process of this number runs."""
    return Path("/proc", number).exists()


def ended(numbers, seconds=20.0):
    """Whether the processes of these numbers end within ``seconds``."""
    until = time.monotonic() + seconds
    while any(map(running, numbers)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(running, numbers))


def ranks_with(word):
    """Numbers of processes whose command line contains ``word``."""
    lines = {entry.name: entry / "cmdline" for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return [number for number, line in lines.items() if line.exists() and word.encode() in line.read_bytes()]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for all temporary files of a test, whose name is in the command lines of its ranks."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_killed_mpi_rank_is_run_again_to_the_same_bits(tmp_path, temporary, capsys):
    told: list[object] = []
    marks = tmp_path / "marks"
    marks.mkdir()
    ranks = run_ranks(dies, 1, marks, count=3, executor=Executor("mpi"), on_report=told.append)
    assert ranks == run_ranks(dies, 0, marks, count=3)
    assert told == ["begun", "done"]
    assert "was lost: Killed (signal 9). Running again from the start." in capsys.readouterr().err
    assert ended(ranks_with(str(temporary)))
    assert not list(temporary.iterdir())


def test_an_mpi_rank_that_always_dies_is_named(tmp_path, temporary):
    marks = tmp_path / "marks"
    marks.mkdir()
    with pytest.raises(ClusterError, match=r"Rank 1 of 2 \(process \d+\) was lost: Killed \(signal 9\)\."):
        run_ranks(dies, 2, marks, count=2, executor=Executor("mpi"))
    assert len(list(marks.iterdir())) == 2
    assert ended(ranks_with(str(temporary)))


@pytest.mark.parametrize(("code", "how"), [(0, r"\."), (3, r" \(exit code 3\)\.")])
def test_an_mpi_rank_whose_process_ends_is_named(code, how):
    said = r"Rank 1 of 3 \(process \d+\) was lost: its process ended without a result" + how
    with pytest.raises(ClusterError, match=said):
        run_ranks(vanishes, code, count=3, executor=Executor("mpi", retries=0))


@pytest.mark.parametrize("name", ["mpi", "ray"])
def test_ranks_that_are_all_stopped_are_given_up(monkeypatch, request, name):
    monkeypatch.setattr("cluster.news.ALLOWED_SECONDS", 0.0)
    address = request.getfixturevalue("nodes").address if name == "ray" else None
    said = r"Rank \d of 2 \(process \d+\) died or hangs: it gave no sign of life for \d+ s\."
    with pytest.raises(ClusterError, match=said):
        run_ranks(stops, 1, count=2, executor=Executor(name, address, retries=0, timeout_seconds=5.0))


@pytest.mark.parametrize("name", ["mpi", "ray"])
def test_ranks_end_when_their_driver_is_killed(name, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    script = (
        "import rank_programs, cluster\n"
        f"cluster.run_ranks(rank_programs.waits, {str(marks)!r}, count=2, executor=cluster.Executor({name!r}))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    if name == "mpi":
        environment |= {"TMPDIR": str(tmp_path)}  # Ray's sockets need a short path
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as driver:
        until = time.monotonic() + 60
        while len(list(marks.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        numbers = [path.name for path in marks.iterdir()]
        assert len([number for number in numbers if running(number)]) == 2
        driver.send_signal(signal.SIGKILL)
    assert ended(numbers)
    assert [path.name for path in tmp_path.iterdir()] == ["marks"]


def test_ray_that_does_not_answer_is_one_sentence():
    with pytest.raises(ClusterError, match=r"No Ray cluster answers at 127\.0\.0\.1:9 \(Connection refused\)"):
        run_ranks(sums, (1,), 0, count=2, executor=Executor("ray", "127.0.0.1:9"))


@pytest.fixture(scope="module")
def nodes():
    """Two Ray nodes on this machine, with 2 CPUs each."""
    cluster = RayNodes(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


def on(nodes, placement="SPREAD", retries=1):
    return Executor("ray", nodes.address, placement, retries)


def test_the_code_is_shipped_to_every_actor_of_two_nodes(nodes):
    assert all(shipped for shipped, _ in run_ranks(place, count=4, executor=on(nodes)))


def test_more_actors_than_cpus_are_refused(nodes):
    with pytest.raises(ClusterError, match="has 4 CPUs; 5 actors need one each"):
        run_ranks(sums, (1,), 0, count=5, executor=on(nodes))


def test_a_killed_actor_is_run_again_to_the_same_bits(nodes, tmp_path, capsys):
    told: list[object] = []
    ranks = run_ranks(dies, 1, tmp_path, count=3, executor=on(nodes), on_report=told.append)
    assert ranks == run_ranks(dies, 0, tmp_path, count=3)
    assert told == ["begun", "done"]
    assert "Running again from the start." in capsys.readouterr().err


def test_an_actor_that_dies_without_a_retry_is_one_sentence_and_leaves_no_process(nodes, tmp_path):
    with pytest.raises(ClusterError, match=r"Rank \d of 2 \(process \d+\) was lost: "):
        run_ranks(dies_with_parents_named, tmp_path, count=2, executor=on(nodes, retries=0))
    named = [path.name for path in tmp_path.iterdir()]
    assert len(named) == 2 * 3  # a worker, the proxy that started it, and mpiexec
    assert ended(named)
    assert not ray.is_initialized()


def test_when_a_node_leaves_the_program_runs_again_on_those_that_are_left(nodes, tmp_path, capsys):
    leaving = nodes.add_node(num_cpus=2)
    told: list[object] = []

    def remove_once(item):
        told.append(item)
        if len(told) == 1:
            nodes.remove_node(leaving)

    ranks = run_ranks(dies, 0, tmp_path, 1.0, count=4, executor=on(nodes), on_report=remove_once)
    assert ranks == run_ranks(dies, 0, tmp_path, count=4)
    assert told == ["begun", "done"]
    assert "Running again from the start." in capsys.readouterr().err


def test_when_a_node_leaves_and_too_few_are_left_it_is_one_sentence(nodes, tmp_path):
    leaving = nodes.add_node(num_cpus=2)
    with pytest.raises(ClusterError, match="has 4 CPUs; 6 actors need one each"):
        run_ranks(
            dies, 0, tmp_path, 1.0, count=6, executor=on(nodes), on_report=lambda item: nodes.remove_node(leaving)
        )
