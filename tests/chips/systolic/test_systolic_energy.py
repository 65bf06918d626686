"""Watts of TPU v1 against its paper, and the order of machines that do the same multiply-adds."""

from __future__ import annotations

import numpy as np
import pytest

from chips.machines import Work, machines, spent_on
from chips.spec import load_chip
from chips.systolic import APPLICATIONS, run
from results.words import CAUSES
from scenarios.anatomy.efficiency import efficiency


def test_tpu_v1_draws_what_its_paper_measured():
    """40 W busy (Jouppi et al. 2017, table 2); one application may keep the array twice as busy as another."""
    chip = load_chip("tpu-v1")
    found = {name: run(application, chip) for name, application in APPLICATIONS.items()}
    assert np.mean([each.watts for each in found.values()]) == pytest.approx(40, rel=0.08)
    for each in found.values():
        assert set(each.joules) == set(CAUSES)
        assert each.joules["static"] == pytest.approx(28 * each.seconds_per_batch, rel=0.01)
        assert 28 < each.watts < 75
    assert found["CNN0"].watts == max(each.watts for each in found.values())


def test_tpu_v1_beats_the_cpu_and_gpu_of_its_paper_by_as_much_as_it_says():
    """30 to 80 times the operations a joule of a CPU, 25 to 29 of a GPU, idle power left out (figure 9)."""
    work = Work(1e12, 0.0, 0.0)
    tpu = spent_on(machines()["systolic"], work, 28, "ddr3", "int8").joules
    assert 30 <= spent_on(machines()["vector_cpu"], work, 22, "ddr3", "fp32").joules / tpu <= 83
    assert 18 <= spent_on(machines()["gpu"], work, 28, "ddr3", "fp32").joules / tpu <= 35


def test_what_says_more_pays_less_but_for_a_circuit_of_programmable_wires():
    records = [record for record in efficiency() if record["workload"] == "matrix product"]
    assert [record["programmability"] for record in records] == list(range(1, len(records) + 1))
    hard_wired = [record["pj_per_operation"] for record in records if record["machine"] != "FPGA"]
    assert hard_wired == sorted(hard_wired, reverse=True)
    for record in efficiency():
        parts = sum(record[f"{what}_pj"] for what in ("instruction", "on_chip", "memory", "arithmetic"))
        assert parts == pytest.approx(record["pj_per_operation"])


def test_one_sequence_is_read_from_memory_on_any_machine_and_many_share_what_is_read():
    one, many = (
        {
            record["machine"]: record
            for record in efficiency(batch=256)
            if record["workload"] == f"decoder, batch {size}"
        }
        for size in (1, 256)
    )
    for machine, record in one.items():
        assert record["memory_pj"] / record["pj_per_operation"] > 0.6
        assert many[machine]["memory_pj"] < 0.1 * record["memory_pj"]
