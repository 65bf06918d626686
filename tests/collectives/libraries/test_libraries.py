"""What the libraries do: within the measured error, never below physics, refused in one sentence when impossible."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.spec import Dataflow, Gpu, chip_names, load_chip
from collectives.algorithms import ring
from collectives.libraries.choice import measured_seconds, price_collective, streamed_all_reduce
from collectives.libraries.nccl import algorithm_traffic
from collectives.price import linear_cost
from collectives.topology import Level, Topology, every_nth
from scenarios.evidence.validation import DATA

MEASURED = DATA / "measured"
OPERATIONS = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_receive"]
CHIPS = [name for name in chip_names() if isinstance(load_chip(name), Gpu | Dataflow)]


def errors(chip: str) -> pd.DataFrame:
    """The measured rows with their absolute percentage error, as a fraction."""
    rows = pd.read_parquet(MEASURED / f"{chip}_collectives.parquet").replace({"op": {"alltoall": "all_to_all"}})
    rows["predicted"] = np.nan
    for (library, mode, op, ranks), group in rows.groupby(["library", "mode", "op", "n_chips"]):
        seconds = measured_seconds(
            load_chip(chip), op, ranks, group.bytes.to_numpy(dtype=float), library=library, mode=mode
        )
        rows.loc[group.index, "predicted"] = seconds * 1e6
    rows["error"] = (rows.predicted / rows.us - 1).abs()
    return rows


@pytest.mark.parametrize(
    ("chip", "stream", "graph", "eager", "others"),
    [
        ("h100", 0.04, 0.05, 0.05, 0.08),
        ("a100", 0.05, 0.08, 0.06, 0.09),
        ("b200", 0.06, 0.08, 0.15, 0.09),
        ("l40s", 0.12, 0.17, 0.20, 0.19),
    ],
)
def test_measured_rows_are_predicted(chip, stream, graph, eager, others):
    rows = errors(chip)
    all_reduce = rows[rows.op == "all_reduce"]
    by_mode = all_reduce.groupby("mode").error.mean()
    assert by_mode["stream"] < stream
    assert by_mode["graph"] < graph
    assert by_mode["eager"] < eager
    assert rows[rows.op != "all_reduce"].error.mean() < others


@settings(max_examples=150)
@given(
    chip=st.sampled_from(CHIPS),
    operation=st.sampled_from(OPERATIONS),
    ranks=st.one_of(st.integers(2, 16), st.sampled_from([24, 64, 1000, 100_000])),
    payload=st.integers(0, 2**34),
    library=st.sampled_from(["nccl", "vllm", "sglang", "trtllm"]),
    mode=st.sampled_from(["graph", "stream", "eager"]),
)
def test_no_collective_beats_the_links(chip, operation, ranks, payload, library, mode):
    time = price_collective(load_chip(chip), operation, ranks, payload, library=library, mode=mode)
    assert time.seconds >= time.bound_seconds > 0


def test_arrays_of_payloads_equal_single_payloads():
    payloads = np.array([0, 1000, 300_000, 5_000_000, 2**30])
    together = price_collective(load_chip("h100"), "all_reduce", 8, payloads, library="vllm")
    assert together.seconds.shape == together.algorithm.shape == together.limiter.shape == payloads.shape
    for index, payload in enumerate(payloads):
        alone = price_collective(load_chip("h100"), "all_reduce", 8, payload, library="vllm")
        assert float(alone.seconds) == together.seconds[index]
        assert str(alone.algorithm) == together.algorithm[index]


def test_stacks_run_their_own_kernels_for_small_payloads_and_nccl_for_large():
    chip = load_chip("h100")
    picks = price_collective(chip, "all_reduce", 4, [8192, 2**20, 2**30], library="vllm").algorithm
    assert picks.tolist() == ["one_shot", "two_shot", "ring simple"]
    assert price_collective(chip, "all_reduce", 8, 2**30, library="nccl").algorithm == "nvls simple"
    assert price_collective(load_chip("a100"), "all_reduce", 8, 2**30, library="nccl").algorithm == "ring simple"


@pytest.mark.parametrize("name", ["a100", "l40s", "v100"])
def test_no_reduction_in_a_switch_that_cannot(name):
    for library in ("nccl", "vllm"):
        picks = price_collective(load_chip(name), "all_reduce", 8, 2.0 ** np.arange(10, 32), library=library).algorithm
        assert not any("nvls" in pick or "in_switch" in pick for pick in picks)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_nccl_ring_has_the_steps_and_bytes_of_the_ring_schedule(ranks):
    traffic = algorithm_traffic(load_chip("h100"), "all_reduce", ranks)["ring"]
    cost = linear_cost(ring, ranks, Topology((Level("switch", ranks, 1e9, 1.0),)))
    assert cost.latency_seconds == pytest.approx(traffic.steps)
    assert cost.seconds_per_byte * 1e9 == pytest.approx(traffic.wire, rel=1e-6)


def test_eager_is_bound_by_the_host_until_the_device_takes_longer():
    chip = load_chip("h100")
    time = price_collective(chip, "all_reduce", 8, [8192, 2**28], library="sglang", mode="eager")
    assert time.seconds[0] == chip.generation.launch.host_collective
    assert time.limiter.tolist() == ["host", "link"]


def test_graph_rows_read_the_kernel_and_the_gap_before_it():
    chip = load_chip("h100")
    kernel = price_collective(chip, "all_reduce", 8, 8192, library="vllm", mode="graph").seconds
    read = measured_seconds(chip, "all_reduce", 8, 8192, library="vllm", mode="graph")
    assert float(read - kernel) == pytest.approx(chip.generation.launch.graph_gap)


def test_slower_links_cost_bandwidth_and_no_latency():
    small = [float(price_collective(load_chip(name), "all_reduce", 8, 0).seconds) for name in ("h100", "h800")]
    large = [float(price_collective(load_chip(name), "all_reduce", 8, 2**30).seconds) for name in ("h100", "h800")]
    assert small[0] == small[1]
    assert large[1] > 1.8 * large[0]


def test_between_nodes_steps_grow_with_the_logarithm():
    chip = load_chip("h100")
    one, two, many = (float(price_collective(chip, "all_reduce", p, 8192).seconds) for p in (8, 16, 100_000))
    assert one < two < many < 500e-6


@pytest.mark.parametrize("operation", ["all_gather", "reduce_scatter"])
def test_nodes_of_one_rank_gather_in_logarithmically_many_steps(operation):
    """PAT: of 4096 nodes 12 steps instead of 4095, at three quarters of the ring's bandwidth."""
    chip = load_chip("h100")
    lone = chip.model_copy(update={"link": every_nth(chip.link, chip.link.domain)})
    few, many = (price_collective(lone, operation, ranks, [1024.0, 2.0**34], library="nccl") for ranks in (64, 4096))
    assert many.algorithm[0] == "pat simple"
    assert many.seconds[0] == pytest.approx(2 * few.seconds[0], rel=0.3)
    ring = price_collective(lone, operation, 64, [2.0**34], library="nccl", algorithm="ring simple").seconds[0]
    parallel = price_collective(lone, operation, 64, [2.0**34], library="nccl", algorithm="pat").seconds[0]
    assert few.algorithm[1] == "ring simple"
    assert parallel == pytest.approx(ring / 0.75, rel=0.01)
    assert "pat simple" not in price_collective(chip, operation, 4096, [1024.0], library="nccl").algorithm


def test_one_chip_costs_nothing():
    time = price_collective(load_chip("h100"), "all_reduce", 1, [0, 1e9])
    assert time.seconds.tolist() == [0, 0]
    assert streamed_all_reduce(load_chip("sn40l"), 1, 1e9) == (0.0, 0.0)


@settings(max_examples=60)
@given(ranks=st.integers(2, 64), payload=st.floats(0, 2**32))
def test_streamed_all_reduce_starts_after_a_hop_and_is_no_faster_than_its_links(ranks, payload):
    chip = load_chip("sn40l")
    latency, seconds = streamed_all_reduce(chip, ranks, payload)
    bound = float(price_collective(chip, "all_reduce", ranks, payload).bound_seconds)
    assert chip.timing.hop_latency <= latency <= seconds
    assert seconds >= bound


def test_groups_for_which_no_kernel_is_compiled_run_nccl():
    picks = [price_collective(load_chip("h100"), "all_reduce", p, 8192, library="vllm").algorithm for p in (3, 4, 5, 8)]
    assert [str(pick) for pick in picks] == ["ring ll", "one_shot", "ring ll", "one_shot"]


def test_streamed_all_reduce_between_nodes_waits_for_the_network_before_its_first_tile():
    chip = load_chip("sn40l")
    inside, between = (streamed_all_reduce(chip, chip.link.domain * nodes, 8192)[0] for nodes in (1, 2))
    assert between >= inside + chip.link.network_latency


def test_wrong_requests_are_refused_in_one_sentence():
    chip = load_chip("h100")
    with pytest.raises(ValueError, match="0 ranks was asked for; at least 1"):
        price_collective(chip, "all_reduce", 0, 1)
    with pytest.raises(ValueError, match="-1 bytes was asked for; it cannot be negative"):
        price_collective(chip, "all_reduce", 2, -1)
    with pytest.raises(ValueError, match="'gather' is not known; expected one of all_reduce"):
        price_collective(chip, "gather", 2, 1)
    with pytest.raises(ValueError, match="'rccl' is not known; expected one of nccl"):
        price_collective(chip, "all_reduce", 2, 1, library="rccl")
    with pytest.raises(ValueError, match=r"'swing' is not offered here; expected one of .*ring ll"):
        price_collective(chip, "all_reduce", 2, 1, algorithm="swing")


def test_tensorrt_llm_hands_large_payloads_to_nccl_where_its_version_does() -> None:
    """1.0.0 on the A100 from 2 MiB on (measured on 2: 11.6 us for 1 MiB, 47.6 us for 2); 1.3.0 where NCCL wins."""
    a100, h100 = load_chip("a100"), load_chip("h100")
    payload = np.array([1, 2]) * 2.0**20
    names = [price_collective(chip, "all_reduce", 2, payload, library="trtllm").algorithm for chip in (a100, h100)]
    assert str(names[0][0]) == "one_shot"
    assert str(names[0][1]) != "one_shot"
    assert [str(name) for name in names[1]] == ["one_shot", "one_shot"]


@pytest.mark.parametrize(
    ("ranks", "payload", "microseconds", "off"),
    [
        (16, 4096, 37, 0.10),  # NDR InfiniBand, NCCL: microsoft/mscclpp, figure
        (16, 65_536, 47.5, 0.25),
        (16, 2**20, 89, 0.45),
        (16, 2**31, 9068, 0.15),  # EFA, NCCL, 444 GB/s of bus bandwidth: awsome-distributed-training
        (64, 2**29, 2985, 0.10),  # NDR InfiniBand: coreweave/nccl-tests
    ],
)
def test_published_all_reduces_between_nodes_of_h100(ranks, payload, microseconds, off):
    seconds = price_collective(load_chip("h100"), "all_reduce", ranks, payload, library="nccl", mode="stream").seconds
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=off)


@pytest.mark.parametrize(
    ("chip", "ranks", "payload", "microseconds", "off"),
    [
        ("a100-pcie", 4, 2**20, 124, 0.05),  # two bridged pairs, joined by PCIe: microsoft/vidur
        ("a100-pcie", 4, 2**26, 4268, 0.05),
        ("a100-pcie", 2, 2**26, 384, 0.10),
        ("h100-pcie", 4, 2**26, 2063, 0.05),
        ("h100-pcie", 2, 2**26, 352, 0.05),
        ("rtx-pro-6000", 8, 1024, 24.1, 0.30),  # PCIe 5, switches at one CPU: voipmonitor/rtx6kpro
        ("rtx-pro-6000", 8, 65_536, 24.1, 0.05),
        ("rtx-pro-6000", 8, 2**25, 1464, 0.05),
        ("v100-pcie", 4, 32_768, 24.2, 0.10),  # one PLX switch, PCIe 3: haohervchb/sglang-V100
        ("v100-pcie", 4, 131_072, 51.8, 0.10),
    ],
)
def test_published_all_reduces_over_pcie(chip, ranks, payload, microseconds, off):
    seconds = price_collective(load_chip(chip), "all_reduce", ranks, payload, library="nccl", mode="stream").seconds
    assert float(seconds) * 1e6 == pytest.approx(microseconds, rel=off)


@pytest.mark.parametrize(("ranks", "ring", "chosen"), [(4, 674, 673), (6, 678, 778), (8, 682, 838)])
def test_published_all_reduces_of_8_gib_between_b200(ranks, ring, chosen):
    """Bus bandwidth in GB/s, by rings and as NCCL chooses, in the switch from six on (stas00/ml-engineering)."""
    for algorithm, busbw in (("ring", ring), (None, chosen)):
        time = price_collective(
            load_chip("b200"), "all_reduce", ranks, 2.0**33, library="nccl", mode="stream", algorithm=algorithm
        )
        assert 2**33 / float(time.seconds) * 2 * (ranks - 1) / ranks / 1e9 == pytest.approx(busbw, rel=0.08)


def test_cards_over_pcie_run_nccl_but_for_a_pair_in_vllm():
    """vLLM takes its own kernels for two PCIe cards at most; SGLang and TensorRT-LLM need NVLink."""

    def runs(chip, ranks, library):
        return str(price_collective(load_chip(chip), "all_reduce", ranks, 8192, library=library).algorithm)

    assert runs("l40s", 2, "vllm") == "one_shot"
    assert {runs("l40s", ranks, "vllm") for ranks in (4, 8)} == {"ring ll"}
    assert {runs("l40s", ranks, library) for ranks in (2, 4) for library in ("sglang", "trtllm")} == {"ring ll"}
    assert runs("a100-pcie", 2, "sglang") == "one_shot", "a bridge is NVLink"
    assert runs("a100-pcie", 4, "sglang") == "ring ll"


def test_few_loading_threads_bound_the_rate_of_a_pair_where_hops_are_long():
    """Two B200 exchange what 36 x 512 loads in flight carry a hop, four what their links do."""
    b200 = load_chip("b200")
    payload = np.array([2.0**19, 2.0**20])

    def rate(ranks):
        before, after = price_collective(b200, "all_reduce", ranks, payload / 2, library="vllm").seconds
        return (ranks - 1) * np.diff(payload / 2)[0] / (after - before)

    coefficients = b200.generation.collective
    assert rate(2) == pytest.approx(36 * 512 * 16 / coefficients.ll.hop)
    loads = price_collective(b200, "all_reduce", 4, [2.0**17, 2.0**18], library="vllm").seconds
    assert 3 * 2**17 / np.diff(loads)[0] == pytest.approx(coefficients.peer_efficiency * b200.link.bandwidth)


@pytest.mark.parametrize("operation", ["all_reduce", "all_gather", "reduce_scatter", "broadcast"])
def test_a_ring_sends_between_nodes_what_it_sends_inside(operation):
    inside, between = (algorithm_traffic(load_chip("h100"), operation, ranks)["ring"] for ranks in (8, 32))
    assert inside.network_wire == inside.network_steps == 0
    assert between.network_wire == pytest.approx(between.wire / 8)  # over the eight adapters of a node


@settings(max_examples=150)
@given(
    chip=st.sampled_from(CHIPS),
    operation=st.sampled_from(OPERATIONS),
    ranks=st.one_of(st.integers(2, 16), st.sampled_from([24, 64, 1000, 16_384])),
    payload=st.floats(2**10, 2**32),
    more=st.floats(1, 2),
)
def test_more_bytes_take_longer_by_no_more_than_their_share(chip, operation, ranks, payload, more):
    """Where the library has a tuner. Stacks with kernels of their own hand over at sizes of their own."""
    payloads = [payload, more * payload]
    before, after = price_collective(load_chip(chip), operation, ranks, payloads, library="nccl").seconds
    assert before <= after <= 1.1 * more * before


@settings(max_examples=100)
@given(
    chip=st.sampled_from([name for name in CHIPS if isinstance(load_chip(name), Gpu)]),
    operation=st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "broadcast"]),
    nodes=st.integers(1, 512),
    more=st.integers(1, 512),
    payload=st.floats(2**10, 2**32),
)
def test_more_nodes_are_never_faster(chip, operation, nodes, more, payload):
    domain = load_chip(chip).link.domain
    few, many = (
        float(price_collective(load_chip(chip), operation, count * domain, payload, library="nccl").seconds)
        for count in (nodes, nodes + more)
    )
    assert few <= many * (1 + 1e-9)
