"""Traces: both formats say the same, and what Perfetto's own schema reads is nested, ordered and connected."""

from __future__ import annotations

import json
from collections import defaultdict, namedtuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

from results.atomic_file import OutputError
from results.step_series import step_series
from results.trace.events import Traced, gather, write_trace
from results.trace.perfetto import encoded
from scenarios.anatomy.trace import traced, write_points
from scenarios.assignment import assign
from scenarios.point import make_point
from scenarios.pricing import price

Event = namedtuple("Event", "engine name label start_ps finish_ps")
Slice = namedtuple("Slice", "process track name category start finish sends receives")


def read(data):
    """Slices, counter values and counter units of a file in Perfetto's format, read as its viewer reads it."""
    trace = schema.Trace()
    trace.ParseFromString(data)
    names, categories, tracks, processes, units = {}, {}, {}, {}, {}
    for packet in trace.packet:
        for kept, interned in (
            (names, packet.interned_data.event_names),
            (categories, packet.interned_data.event_categories),
        ):
            kept.update({each.iid: each.name for each in interned})
        if packet.HasField("track_descriptor"):
            described = packet.track_descriptor
            if described.HasField("process"):
                processes[described.uuid] = described.process.process_name
            else:
                tracks[described.uuid] = (processes[described.parent_uuid], described.name)
                units[tracks[described.uuid]] = described.counter.unit_name
    slices, counters, opened = [], defaultdict(list), defaultdict(list)
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        place = tracks[event.track_uuid]
        assert packet.trusted_packet_sequence_id == 1
        if event.type == schema.TrackEvent.TYPE_COUNTER:
            counters[place].append((packet.timestamp, event.double_counter_value))
        elif event.type == schema.TrackEvent.TYPE_SLICE_BEGIN:
            opened[place].append((packet.timestamp, event))
        else:
            start, begun = opened[place].pop()
            flows = (list(begun.flow_ids), list(begun.terminating_flow_ids))
            name, category = names[begun.name_iid], categories[begun.category_iids[0]]
            slices.append(Slice(*place, name, category, start, packet.timestamp, *flows))
    assert not any(opened.values())
    return slices, counters, units


def written(processes, path):
    write_trace(processes, path)
    return path.read_bytes()


times = st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 10**7)), min_size=1, max_size=30)


@given(times)
def test_slices_of_an_in_order_engine_follow_each_other_in_both_formats(gaps):
    tasks, clock = [], 0
    for wait, length in gaps:
        tasks.append(Event("HBM", f"task {len(tasks)}", ("matmul", "HBM"), clock + wait, clock + wait + length))
        clock += wait + length
    slices, _, _ = read(b"".join(encoded(gather({"chip": tasks}))))
    assert [each.name for each in slices] == [task.name for task in tasks]
    for one, task in zip(slices, tasks, strict=True):
        assert (one.start, one.finish) == (task.start_ps // 1000, task.finish_ps // 1000)
        assert one.category == "matmul,HBM"
    assert all(one.finish <= other.start for one, other in pairwise(slices))


def test_both_formats_hold_the_same_slices_counters_and_arrows(tmp_path):
    tasks = [
        Event("compute", "work", "matmul", np.array([0, 0]), np.array([5_000, 9_000])),
        Event("link", "AllReduce", "allreduce", np.array([9_000, 9_000]), np.array([20_500, 20_500])),
    ]
    series = [
        [step_series("power", "W", np.array([0]), np.array([9_000]), np.array([float(chip)]), 20_500, 100.0)]
        for chip in (1, 2)
    ]
    group = {"pair": Traced(tasks, 1, series, meeting="link")}
    slices, counters, units = read(written(group, tmp_path / "t.pftrace"))
    events = json.loads(written(group, tmp_path / "t.json"))["traceEvents"]
    names = {(event["pid"], event["tid"]): event["args"]["name"] for event in events if event["ph"] == "M"}
    json_slices = {
        (names[event["pid"], 0], names[event["pid"], event["tid"]], event["name"], event["ts"], event["dur"])
        for event in events
        if event["ph"] == "X"
    }
    assert json_slices == {
        (each.process, each.track, each.name, each.start / 1000, (each.finish - each.start) / 1000) for each in slices
    }
    assert units["pair chip 1", "power"] == "W"
    assert counters["pair chip 1", "power"] == [(0, 102.0), (9, 100.0), (20, 0.0)]
    assert sum(event["ph"] == "C" for event in events) == 6
    sent = {flow: each for each in slices for flow in each.sends}
    received = {flow: each for each in slices for flow in each.receives}
    assert sent.keys() == received.keys() == {event["id"] for event in events if event["ph"] == "s"}
    assert sent.keys() == {event["id"] for event in events if event["ph"] == "f"}
    for flow, sender in sent.items():
        assert sender.process != received[flow].process
        assert sender.finish <= received[flow].start
    exact = [event["args"] for event in events if event["ph"] == "X"]
    assert {"start_ps": 9_000, "duration_ps": 11_500} in exact


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
@pytest.mark.parametrize("strategy", ["per_operator", "fused_decoder", "kernel_loop"])
def test_a_real_point_is_in_order_on_every_engine_and_every_collective_is_reached(tmp_path, chip, strategy):
    point = make_point("llama-3.1-8b", chip, 4, strategy=strategy, variation="straggler=0.3@2")
    write_points(price([point]), tmp_path / "t.pftrace")
    slices, counters, units = read((tmp_path / "t.pftrace").read_bytes())
    tracks = defaultdict(list)
    for each in slices:
        tracks[each.process, each.track].append(each)
    for own in tracks.values():
        assert all(one.finish <= other.start for one, other in pairwise(own))
    assert len({process for process, _ in tracks}) == 4
    collectives = [each for each in slices if each.track == "link" and each.receives]
    assert len(collectives) == 4 * (2 * 32 + 2)  # two a layer, the embedding's and the logits'
    senders = {flow: each for each in slices for flow in each.sends}
    assert all(senders[flow].process != each.process for each in collectives for flow in each.receives)
    bandwidth = [values for (_, name), values in counters.items() if name == "HBM bandwidth"]
    assert len(bandwidth) == 4
    assert all(value <= point.chip.memory.bandwidth for values in bandwidth for _, value in values)
    assert {"B/s"} <= set(units.values())
    assert "W" in units.values()


def test_alike_chips_are_two_in_the_trace_and_one_is_alone():
    assert traced(assign(make_point("llama-3.1-8b", "h100", 8, strategy="kernel_loop"))).chips == 2
    assert traced(assign(make_point("llama-3.1-8b", "h100", 1, strategy="kernel_loop"))).chips == 1


@pytest.mark.parametrize("name", ["trace.txt", "trace", "nowhere/trace.json"])
def test_a_trace_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match="trace"):
        write_trace({}, tmp_path / name)
