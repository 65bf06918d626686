"""Chips that differ, seen through a comparison: what the frame, the table and the trace say of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.clock.timeline import Timeline
from cluster import Cluster, Slowdown
from loopline import compare, simulate
from results.schema import to_picoseconds
from scenarios.assignment import assign
from scenarios.commands.main import main
from scenarios.errors import ScenarioError
from scenarios.point import make_point
from scenarios.strategies import STRATEGIES, run_strategy
from scenarios.workload.decoder import forward
from scenarios.workload.model import shard

MODEL = "llama-3.1-8b"


def one(chip, count, variation, **options):
    return simulate(MODEL, chip, count, variation=variation, **options).iloc[0]


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", list(STRATEGIES))
@pytest.mark.parametrize("phase", ["decode", "prefill", "train"])
def test_a_straggler_costs_something_and_at_most_its_own_slowness(chip, strategy, phase):
    row = one(chip, 16, "straggler=0.1@3", strategy=strategy, phase=phase, context=512)
    assert 1.0 < row["seconds"] / row["alike_s"] <= 1.1
    assert row["working"] == 16
    assert row["variation"] == "straggler=0.1@3"


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_a_straggler_is_felt_as_much_wherever_it_is(chip):
    seconds = {one(chip, 8, f"straggler=0.1@{place}", strategy="kernel_loop")["seconds"] for place in (0, 3, 7)}
    assert len(seconds) == 1


def test_alike_chips_take_what_the_frame_says_alike_chips_take():
    frame = compare(MODEL, ["h100", "sn40l"], [1, 4])
    assert (frame["seconds"] == frame["alike_s"]).all()
    assert (frame["variation"] == "").all()
    differing = compare(MODEL, ["h100", "sn40l"], [1, 4], variation="clock=0.05,seed=1")
    assert (differing["alike_s"] == frame["seconds"]).all()


def test_looping_feels_a_straggler_as_long_in_time_and_so_more_in_share():
    """The slow chip's own work takes longer by the same, but the looped kernel has less else to wait for."""
    fused, looped = (one("sn40l", 16, "straggler=0.1@3", strategy=name) for name in ("fused_decoder", "kernel_loop"))
    lost = [row["seconds"] - row["alike_s"] for row in (fused, looped)]
    assert lost[1] == pytest.approx(lost[0], rel=0.1)
    assert looped["seconds"] / looped["alike_s"] > fused["seconds"] / fused["alike_s"]


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_a_slow_link_costs_communication_alone(chip):
    slow = one(chip, 8, "slow-link=1@2", phase="prefill", strategy="per_operator")
    alike = one(chip, 8, "", phase="prefill", strategy="per_operator")
    assert alike["allreduce_s"] < slow["allreduce_s"] <= 2 * alike["allreduce_s"]
    assert slow["matmul_s"] == alike["matmul_s"]


def test_slow_memory_is_felt_in_decode_and_a_slow_clock_in_prefill():
    def cost(variation, phase):
        row = one("h100", 4, variation, phase=phase, context=2048)
        return row["seconds"] / row["alike_s"] - 1

    assert cost("memory=0.1,seed=1", "decode") > 3 * cost("memory=0.1,seed=1", "prefill")
    assert cost("clock=0.1,seed=1", "prefill") > 2 * cost("clock=0.1,seed=1", "decode")


def test_after_a_failure_the_model_runs_on_the_largest_group_that_divides_it():
    row = one("sn40l", 8, "failed=5")
    assert (row["count"], row["working"]) == (8, 4)
    assert row["seconds"] == one("sn40l", 4, "")["seconds"]
    assert row["alike_s"] == one("sn40l", 8, "")["seconds"]


def test_the_slow_chip_may_be_the_one_that_failed():
    assert one("sn40l", 8, "failed=0,straggler=0.5@0")["seconds"] == one("sn40l", 4, "")["seconds"]
    assert one("sn40l", 8, "failed=0,straggler=0.5@1")["seconds"] > one("sn40l", 4, "")["seconds"]


def test_when_all_chips_have_failed_the_row_says_so():
    row = one("sn40l", 2, "failed=0,failed=1")
    assert not row["fits"]
    assert row["reason"] == "all of the 2 chips have failed"


@pytest.mark.parametrize(
    ("variation", "words"),
    [
        ("straggler=0.1@8", "names chip 8; --count 8 has chips 0 to 7"),
        ("straggler=0.1", "--variation 'straggler=0.1' is not understood; expected items of clock=SPREAD"),
    ],
)
def test_a_variation_that_cannot_be_is_refused(variation, words):
    with pytest.raises(ScenarioError, match=words):
        one("h100", 8, variation)


@settings(max_examples=10)
@given(
    chip=st.sampled_from(["h100", "sn40l"]),
    strategy=st.sampled_from(list(STRATEGIES)),
    slow=st.lists(st.floats(1.0, 1.5), min_size=2, max_size=2),
    first=st.integers(16, 2000),
    passes=st.integers(2, 4),
)
def test_passes_side_by_side_on_differing_chips_are_those_passes_alone(chip, strategy, slow, first, passes):
    contexts = list(range(first, first + passes))
    point = make_point(MODEL, chip, 2, strategy=strategy)
    slowdown = Slowdown(np.array(slow), np.array(slow[::-1]), np.ones(2))
    split = shard(point.model, 2)

    def finish(context, passes):
        cluster = Cluster(point.chip, 2, slowdown).side_by_side(passes)
        step = forward(point.model, split, 1, 1, context)
        clock = cluster.start_clock()
        end = run_strategy(clock, cluster, strategy, step, point.launch, point.framework)
        return np.asarray(cluster.meet(clock, end).ps)

    together = finish(np.repeat(np.array(contexts, dtype=np.float64), 2), len(contexts))
    assert list(together[::2]) == [finish(context, 1)[0] for context in contexts]
    assert list(together[::2]) == list(together[1::2])


@pytest.mark.parametrize("passes", [1, 3])
def test_differing_chips_leap_over_loops_to_the_picosecond(passes):
    point = make_point(MODEL, "sn40l", 4, strategy="kernel_loop", variation="clock=0.03,memory=0.03,seed=5")
    cluster = assign(point).cluster().side_by_side(passes)
    contexts = np.repeat(np.arange(4000.0, 4000.0 + passes), 4) if passes > 1 else 4000
    step = forward(point.model, shard(point.model, 4), 1, 1, contexts)
    ends = [
        run_strategy(clock, cluster, point.strategy, step, point.launch, point.framework)
        for clock in (Timeline(4 * passes), Timeline(4 * passes, leaps=False))
    ]
    assert list(np.asarray(ends[0].ps)) == list(np.asarray(ends[1].ps))
    assert all(np.array_equal(spent, ends[1].parts[label]) for label, spent in ends[0].parts.items())


def test_the_table_shows_what_the_variation_costs(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", MODEL, "--chips", "sn40l", "--count", "8", "--variation", "failed=2,slow-link=1@3"])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "slow-link=1@3,failed=2" in shown
    assert "sn40l x8 (4 work)" in shown
    assert "alike chips" in shown


def test_the_trace_has_a_process_for_each_chip_where_they_differ(tmp_path, capsys):
    path = tmp_path / "trace.json"
    words = "--chips sn40l --count 4 --strategy kernel_loop --variation straggler=0.5@2 --context 64 --trace"
    with pytest.raises(SystemExit):
        main(["compare", "llama-3.2-1b", *words.split(), str(path)])
    capsys.readouterr()
    events = json.loads(path.read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert [name[-6:] for name in names.values()] == ["chip 0", "chip 1", "chip 2", "chip 3"]
    busy = {
        names[pid][-6:]: sum(
            event["dur"] for event in events if event["ph"] == "X" and event["pid"] == pid and "matmul" in event["cat"]
        )
        for pid in names
    }
    assert busy["chip 2"] == pytest.approx(1.5 * busy["chip 0"], rel=1e-3)


def test_an_unknown_executor_and_a_stray_address_are_refused(capsys):
    for words, sentence in (
        ("--executor mpy", "--executor 'mpy' is unknown; expected one of local, mpi, ray"),
        ("--address 1.2.3.4:5", "--address belongs to --executor ray; the executor is local"),
        ("--executor ray --placement far", "--placement 'far' is unknown; expected pack or spread"),
        ("--executor ray --address 127.0.0.1:9", "No Ray cluster answers at 127.0.0.1:9 (Connection refused)"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["compare", MODEL, "--chips", "h100", *words.split()])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err


def test_differing_times_still_sum_from_their_parts():
    frame = to_picoseconds(compare(MODEL, ["h100", "sn40l"], [4, 8], variation="clock=0.05,memory=0.02,seed=2"))
    assert (frame.drop(columns="seconds").sum(axis=1) == frame["seconds"]).all()
