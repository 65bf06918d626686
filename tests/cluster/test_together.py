"""Values and clocks in the same messages: the results are those of each alone, in as many exchanges as the longest."""

from __future__ import annotations

import threading

import pytest
from rank_programs import all_together, exchanges_together, fail_together, one_by_one

from cluster import Executor, run_ranks


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", ["local", "mpi"])
def test_programs_together_have_the_results_of_each_alone(name, count):
    assert run_ranks(all_together, count=count, executor=Executor(name)) == run_ranks(one_by_one, count=count)


def test_programs_that_run_together_share_their_exchanges():
    assert run_ranks(exchanges_together, count=2) == [9, 9]


@pytest.mark.parametrize("name", ["local", "mpi"])
def test_one_that_fails_ends_all(name):
    threads = threading.active_count()
    with pytest.raises(ValueError, match="not together"):
        run_ranks(fail_together, count=2, executor=Executor(name, retries=0))
    for _ in range(100):
        if threading.active_count() == threads:
            break
        threading.Event().wait(0.05)
    assert threading.active_count() == threads
