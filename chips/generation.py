"""What an architecture generation of GPUs shares: the few physical coefficients of its kernels, launches and links.

Each is a latency, an efficiency or a protocol rate, fitted once for a generation on measured kernels, or taken from a
microbenchmark; the TOML says which. Chips inherit them by naming their generation. No coefficient depends on a shape,
a model or a chip's name. Units: seconds, bytes, bytes/s; efficiencies and fractions in 0..1. What a field's docstring
says is what readers are shown (``model_fields[name].description``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from pydantic import BeforeValidator, ConfigDict, Field

from chips.energy import GpuEnergy
from chips.frozen import Frozen, Source
from chips.quantity import (
    Bandwidth,
    Bytes,
    Count,
    Cycles,
    Factor,
    Few,
    Fraction,
    FractionOrNone,
    Operations,
    PerClock,
    Seconds,
)


def _as_tuple(given: object) -> object:
    return tuple(given) if isinstance(given, list) else given


class Coefficients(Frozen):
    """A family's coefficients; pydantic reads what they mean from the docstrings of their fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class LaunchCoefficients(Coefficients):
    """What it costs to start a kernel."""

    graph_gap: Seconds
    """device-side time from the end of a kernel to the start of the next in a CUDA graph (an empty kernel)."""
    stream_gap: Seconds
    """the same between kernels on a stream that the host keeps full."""
    kernel_start: Annotated[Seconds, Gt(0)]
    """blocks of a kernel enter the streaming multiprocessors and read their arguments; part of every kernel's own
    start-up, and the part that a dependent launch hides, so that less of it is not faster."""
    readmission: Seconds | None = None
    """from where a block of a kernel leaves a streaming multiprocessor to where one of a kernel that was launched ahead
    enters it (programmatic dependent launch); None: kernels cannot be launched ahead."""
    host_operator: Seconds
    """host time to issue one eager operator of PyTorch (Python, dispatcher, driver)."""
    host_kernel: Seconds
    """host time to issue one kernel of compiled code (its wrapper, driver)."""
    host_collective: Seconds
    """host time to issue a collective."""
    counter: Seconds
    """inside a persistent kernel, from a producer's last store to a consumer that polls an atomic counter for it."""
    barrier: Seconds
    """inside a persistent kernel, a barrier of all its blocks."""
    hand_dispatch: Seconds
    """by which every operator of a hand-scheduled persistent kernel holds up its loads: the next instruction is
    fetched, pages of shared memory change hands, activations are stored and come back."""
    compiled_dispatch: Seconds
    """the same where a compiler cut the operators into tasks, which schedulers in the kernel hand out."""
    graph_launch: Seconds
    """host time to start a whole graph."""


class CollectiveProtocol(Coefficients):
    """One of NCCL's protocols: how a chunk is handed from rank to rank."""

    startup: Seconds
    """kernel, first flags and last store, once a collective, without the gap between kernels."""
    hop: Seconds
    """one dependent step between neighbours."""
    bandwidth: Bandwidth | None = None
    """payload bytes/s that the compute units of its channels move; None: more than any link."""


class CollectiveCoefficients(Coefficients):
    """What collectives cost between the chips of one NVLink domain, and beyond it."""

    kernel_start: Seconds
    """the blocks of a direct kernel start and retire; a persistent kernel, which is running, does not take it."""
    sync: Seconds
    """flags of all ranks written over the link, seen by a polling kernel, with the fences around it."""
    flagged_words: bool
    """TensorRT-LLM's one-shot kernel marks every word that it writes as valid, so that one exchange of flags guards it,
    not one before and one after."""
    direct_bytes: Bytes | None = None
    """payloads up to which TensorRT-LLM takes its own kernel; None: wherever it is the faster."""
    link_efficiency: Fraction
    """what large transfers reach of the link's bandwidth."""
    host_efficiency: Fraction
    """what large transfers between cards reach of the bandwidth of their PCIe slots."""
    peer_efficiency: Fraction
    """what the direct loads of a one-shot or two-shot kernel, 16 bytes each, reach of the link's bandwidth."""
    stage_peer: Seconds
    """what every peer adds to the barrier between the stages of a two-shot kernel: behind its fence, all sums of the
    first stage are seen."""
    barrier_bytes: Annotated[Bytes, Source("buffers of 8 MiB: vLLM and SGLang, custom_all_reduce.py")] = 8388608
    """payloads below which vLLM takes its own kernels with barriers."""
    symmetric_bytes: Annotated[Bytes, Source("vLLM, symm_mem.py, for Hopper")] = 67108864
    """payloads up to which vLLM reduces in the switch, between six chips and more."""
    symmetric_two_shot_bytes: Bytes | None = None
    """payloads up to which vLLM takes PyTorch's two-shot kernel on symmetric memory between four chips, beyond its own
    kernels; None: it does not."""
    multicast_efficiency: Fraction
    """rate of a kernel that reduces in the switch over the link's bandwidth."""
    copy_bandwidth: Bandwidth
    """bytes/s at which NCCL's channels copy a rank's own chunk."""
    channel_bandwidth: Bandwidth
    """bytes/s of the one channel that NCCL gives a peer in point-to-point exchanges with LL."""
    window_bytes: Bytes
    """what NCCL's channels hold in flight a step, which has to fill once."""
    staging_detour: Annotated[Seconds, Source("fitted to measured/l40s_collectives")] = 0.4e-6
    """what a hop costs more still when it goes through the memory of the host, not from card to card."""
    staged_ll_share: Annotated[Fraction, Source("fitted to measured/l40s_collectives")] = 0.9
    """payload of what LL sends through the memory of a host, over what Simple sends: half of it is flags, but its small
    buffers stay in the CPU's cache."""
    host_window_bytes: Annotated[
        Bytes, Source("2 channels x 128 KiB a step: NCCL's chunk between peers over PCIe, a quarter of NVLink's")
    ] = 262144
    """what NCCL's channels hold in flight a step over PCIe, which has to fill once."""
    host_detour: Seconds
    """what a hop costs more when it goes through the host (PCIe) instead of NVLink."""
    network_software: Seconds
    """what NCCL's proxy adds to the network's own latency, a step of a tree between nodes with LL."""
    nvls_step: Seconds
    """what every rank adds to a hop of Simple through a switch that reduces."""
    nvls_efficiency: Fraction
    """rate of Simple through a switch that reduces, over the link's bandwidth."""
    nvls_least_ranks: Annotated[Count, Source("seen on an H200, NCCL 2.27 (stas00/ml-engineering)")] = 5
    """the smallest group in which NCCL reduces in the switch."""
    exchange_step: Seconds
    """hop of Simple between all pairs at once."""
    ll: CollectiveProtocol
    """every word flagged: the lowest latency."""
    ll128: CollectiveProtocol
    """128 bytes at a time, one word of them the flag."""
    simple: CollectiveProtocol
    """chunks behind a flag and a fence: the highest bandwidth."""


AttentionKernel = Literal["flash_attention_2", "flash_attention_3", "trtllm_gen", "flashinfer", "triton"]
OVERLAPS = frozenset[AttentionKernel]({"flash_attention_3", "trtllm_gen"})
"""Kernels whose products run beside the softmax of another tile; in the others a tile alone takes them in turn."""
"""Published kernels; what each does is told in ``chips.kernels.attention``."""


class Fp8CacheCoefficients(Coefficients):
    """What differs where keys and values lie in the cache in FP8."""

    kernel: AttentionKernel
    """that the serving library runs then."""
    kernel_latency: Seconds
    """an attention kernel with nothing to do, and what converts queries ahead of it."""
    tile_latency: Seconds
    """first load to last store of a tile."""
    reduction_step: Seconds
    """what each split adds to the reduction."""


class AttentionCoefficients(Coefficients):
    """How the library's attention kernel runs."""

    kernel: AttentionKernel
    """that the serving library runs on bf16."""
    fp8_cache: Fp8CacheCoefficients
    """what differs on an FP8 cache."""
    values_per_clock: PerClock | None = None
    """elements of an FP8 cache that a streaming multiprocessor converts or transposes for its matrix unit; None: its
    kernels take them as they lie."""
    matrix_efficiency: Fraction
    """of the matrix peak, in the products of an asynchronous kernel."""
    synchronous_matrix_efficiency: Fraction
    """the same with the instructions of a synchronous kernel (``mma.sync``)."""
    overlap: Fraction
    """share of the shorter of matrix and softmax time that tiles computing side by side hide."""
    softmax_operations: Operations
    """vector instructions a score, beside the exponential."""
    unit_bytes_per_clock: PerClock
    """what the L2 delivers to one streaming multiprocessor."""
    l2_bytes_per_clock: PerClock
    """what the L2 delivers to the whole chip."""
    memory_efficiency: Fraction
    """of the HBM bandwidth, streaming keys and values."""
    resident_share: Fraction
    """of the L2, that a repeated call finds filled with its own data."""
    kernel_latency: Seconds
    """an attention kernel with nothing to do."""
    tile_latency: Seconds
    """first load to last store of a tile."""
    helper_seconds: Seconds
    """a small kernel beside it: cache write, reduction over splits, reordering of queries."""
    unsplit_blocks: Count
    """a context of at most so many key blocks is not split in prefill."""
    tail: Fraction
    """of the longest tile's time, that the streaming multiprocessors run unevenly at the end."""
    mask_operations: Operations
    """vector instructions a score of the block on the diagonal, to apply the causal mask."""
    traffic_overlap: Fraction
    """share of the shorter of compute and traffic time that is hidden behind the longer."""
    reduction_step: Seconds
    """what each split adds to the reduction: one dependent load from L2."""
    most_splits: Few
    """parts into which the library splits a context at most, or (TensorRT-LLM) all contexts of a call."""
    planned_tokens: Count
    """up to so many query tokens in a call the asynchronous library plans splits ahead."""
    plan_step: Seconds
    """what each sequence adds to that plan."""
    cache_write_latency: Seconds
    """of a thread block that puts one token's keys and values into a page of the cache."""

    @property
    def asynchronous(self) -> bool:
        """Whether the kernel computes scores and softmax of different tiles at once, or of one in turn."""
        return self.kernel in OVERLAPS


class ServingTile(Coefficients):
    """A kernel of the serving library: the products that it is taken for, and its tile."""

    most_rows: Count | None = None
    """of activations, of the products that it is taken for; None: any number."""
    most_columns: Count | None = None
    """of results, of these products."""
    rows: Count
    """of its tile of the result."""
    columns: Count
    """of that tile."""
    wait_cycles: Cycles | None = None
    """by which each of its tiles lasts longer, however deep it is; None: by nothing."""
    store_share: Fraction | None = None
    """of ``serving_store_bytes_per_clock``, that it reaches; None: all."""


class MatmulCoefficients(Coefficients):
    """How the library's matrix products run."""

    tile_sides: Annotated[tuple[Count, ...], Field(min_length=1, max_length=32), BeforeValidator(_as_tuple)]
    """sides of the result tiles that the library has compiled kernels for."""
    serving_tiles: Annotated[tuple[ServingTile, ...], Field(min_length=1, max_length=32), BeforeValidator(_as_tuple)]
    """of the serving library's own FP8 kernels; the first whose limits a product is within runs it, or the last."""
    serving_startup_seconds: Seconds
    """of those kernels, as ``startup_seconds`` of the others."""
    serving_store_bytes_per_clock: PerClock
    """what the whole chip takes of those kernels' results, which are scaled on their way."""
    serving_step_cycles: Cycles
    """by which a step over k of those kernels outlasts its multiplication: a barrier, and the next operands."""
    serving_odd_rows: Factor
    """by which the largest tile of those kernels multiplies longer where rows come in no multiple of 4."""
    instruction_rows: Count
    """of one operand, that one matrix instruction reads with all columns of the other."""
    matrix_efficiency: Fraction
    """of the matrix peak, in the steady state of a tile."""
    memory_efficiency: Fraction
    """of the HBM bandwidth, reading."""
    in_flight_bytes: Bytes
    """operand loads from HBM that one streaming multiprocessor keeps on their way."""
    write_efficiency: Fraction
    """of the HBM bandwidth, writing."""
    activation_share: Fraction
    """of the L2, that still holds the operand which the kernel before has written."""
    output_share: FractionOrNone
    """of the L2, that holds a result until the kernel after has read it and others overwrite it; 0: it is written to
    memory at once."""
    weight_share: Fraction
    """of the L2, that still holds the weights of a repeated call, all that are used in turn together."""
    startup_seconds: Seconds
    """blocks start, read their arguments, store the last result, and retire."""
    small_product_seconds: Seconds
    """by which products of under 2^21 multiply-adds last longer, in a kernel taken for them."""
    small_splits: bool
    """their k is divided as that of larger ones."""
    memory_latency_cycles: Cycles
    """a dependent load from HBM."""
    step_bytes: Bytes
    """of a row of an operand tile, that a step over k loads and multiplies."""
    step_cycles: Cycles
    """a step over k where nothing runs beside it: barrier, multiply, accumulate, release of the buffer."""
    vector_step_cycles: Cycles
    """a load of a column in the kernel for a single row, which waits for the load before it."""
    load_bytes_per_clock: PerClock
    """from L2 to one streaming multiprocessor."""
    store_bytes_per_clock: PerClock
    """from one streaming multiprocessor to L2."""
    l2_bytes_per_clock: PerClock
    """what the L2 delivers to the whole chip."""
    stages: Few
    """operand tiles in flight, each a step deep."""
    short_fp8_sums: bool
    """the matrix unit adds FP8 products in less than fp32, so that exact sums leave it every step."""
    most_resident: Few
    """tiles side by side on one streaming multiprocessor."""
    most_splits: Few
    """parts of k."""
    least_steps: Operations
    """over k, that each of several parts has at least."""
    reduction_seconds: Seconds
    """the sum over the parts of k, beside its traffic."""
    partial_bytes_per_clock: PerClock
    """what the chip writes, and reads back, of the parts' sums."""
    exposed: Fraction
    """share of the shorter of compute, L2 and HBM time that is not hidden behind the longest."""
    wait_seconds: Seconds
    """by which engines that feed each other are early or late, a part of a step over k; what they wait adds up as a
    random walk."""


class VectorCoefficients(Coefficients):
    """How memory-bound kernels run."""

    startup_seconds: Seconds
    """blocks start, read their arguments, and retire."""
    memory_latency_cycles: Cycles
    """a dependent load from HBM."""
    l2_latency_cycles: Cycles
    """a dependent load from L2."""
    reduction_cycles: Cycles
    """a row reduced over the lanes and warps of a block (shuffles, shared memory, a barrier)."""
    memory_efficiency: Fraction
    """of the HBM bandwidth, reading and writing."""
    l2_bytes_per_clock: PerClock
    """L2 to the whole chip."""
    resident_share: Fraction
    """of the L2, that holds what the kernel before has written."""
    atomic_cycles: Cycles
    """between two atomic operations on one word of L2, which take turns."""


class GpuGeneration(Coefficients):
    """All coefficients of one generation."""

    name: str
    serving_library: Literal["nccl", "vllm", "sglang", "trtllm"]
    """whose collectives its serving stack runs."""
    launch: LaunchCoefficients
    matmul: MatmulCoefficients
    attention: AttentionCoefficients
    vector: VectorCoefficients
    collective: CollectiveCoefficients
    energy: GpuEnergy
