"""What an architecture generation of GPUs shares: the few physical coefficients of its kernels, launches and links.

Each is a latency, an efficiency or a protocol rate, fitted once for a generation on measured kernels, or taken from a
microbenchmark; the TOML says which. Chips inherit them by naming their generation. No coefficient depends on a shape,
a model or a chip's name. Units: seconds, bytes, bytes/s; efficiencies and fractions in 0..1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from chips.frozen import Frozen

Fraction = Annotated[float, Field(gt=0, le=1)]


class LaunchCoefficients(Frozen):
    """What it costs to start a kernel.

    ``graph_gap``: device-side time from the end of a kernel to the start of the next in a CUDA graph (an empty kernel).
    ``stream_gap``: the same on a stream that the host keeps full.
    ``host_operator``: host time to issue one eager operator of the framework (Python, dispatcher, driver).
    ``host_collective``: the same for a collective.
    ``dependency``: inside one persistent kernel, from a producer's last store to a consumer that polls a counter in
    global memory for it.
    ``graph_launch``: host time to start a whole graph.
    """

    graph_gap: PositiveFloat
    stream_gap: PositiveFloat
    host_operator: PositiveFloat
    host_collective: PositiveFloat
    dependency: PositiveFloat
    graph_launch: PositiveFloat


class CollectiveProtocol(Frozen):
    """One of NCCL's protocols: how a chunk is handed from rank to rank.

    ``startup``: kernel, first flags and last store, once a collective, without the gap between kernels.
    ``hop``: one dependent step between neighbours.
    ``bandwidth``: payload bytes/s that the compute units of its channels move; None: more than any link.
    """

    startup: PositiveFloat
    hop: PositiveFloat
    bandwidth: PositiveFloat | None = None


class CollectiveCoefficients(Frozen):
    """What collectives cost between the chips of one NVLink domain, and beyond it.

    ``sync``: flags of all ranks written over the link, seen by a polling kernel, with the fences around it.
    ``flagged_words``: TensorRT-LLM's one-shot kernel marks every word that it writes as valid, so that one exchange of
    flags guards it, not one before and one after.
    ``direct_bytes``: payloads up to which TensorRT-LLM takes its own kernel; None: wherever it is the faster.
    ``link_efficiency``: what large transfers reach of the link's bandwidth.
    ``peer_efficiency``: what the direct loads of a one-shot or two-shot kernel, 16 bytes each, reach of it.
    ``multicast_efficiency``: rate of a kernel that reduces in the switch over the link's bandwidth.
    ``copy_bandwidth``: bytes/s at which NCCL's channels copy a rank's own chunk.
    ``channel_bandwidth``: bytes/s of the one channel that NCCL gives a peer in point-to-point exchanges with LL.
    ``window_bytes``: what NCCL's channels hold in flight a step, which has to fill once.
    ``host_detour``: what a hop costs more when it goes through the host (PCIe) instead of NVLink.
    ``network_software``: what NCCL's proxy adds to the network's own latency, a step of a tree between nodes with LL.
    ``ll``, ``ll128``, ``simple``: NCCL's protocols. ``nvls_step`` and ``nvls_efficiency``: hop of Simple through a
    switch that reduces, and its rate over the link's; ``nvls_least_ranks``: the smallest group in which NCCL takes it.
    ``exchange_step``: hop of Simple between all pairs at once.
    """

    sync: PositiveFloat
    flagged_words: bool
    direct_bytes: PositiveFloat | None = None
    link_efficiency: Fraction
    peer_efficiency: Fraction
    multicast_efficiency: Fraction
    copy_bandwidth: PositiveFloat
    channel_bandwidth: PositiveFloat
    window_bytes: PositiveFloat
    host_detour: PositiveFloat
    network_software: PositiveFloat
    nvls_step: PositiveFloat
    nvls_efficiency: Fraction
    nvls_least_ranks: PositiveInt = Field(5, description="default: seen on an H200, NCCL 2.27 (stas00/ml-engineering)")
    exchange_step: PositiveFloat
    ll: CollectiveProtocol
    ll128: CollectiveProtocol
    simple: CollectiveProtocol


class AttentionCoefficients(Frozen):
    """How FlashAttention runs.

    ``asynchronous``: the library's kernel overlaps matrix unit and softmax (FlashAttention-3), or takes them in turn.
    ``matrix_efficiency``: of the matrix peak, in the products of an asynchronous kernel.
    ``synchronous_matrix_efficiency``: the same with the instructions of a synchronous kernel (``mma.sync``).
    ``overlap``: share of the shorter of matrix and softmax time that tiles computing side by side hide.
    ``softmax_operations``: vector instructions a score, beside the exponential.
    ``exponential_operations``: vector instructions of an exponential that the vector lanes compute by a polynomial,
    where the special function unit would hold them up (FlashAttention-4); None: all is left to that unit.
    ``l2_bytes_per_clock``: what the L2 delivers to the whole chip.
    ``memory_efficiency``: of the HBM bandwidth, streaming keys and values.
    ``resident_share``: of the L2, that a repeated call finds filled with its own data.
    ``kernel_latency``: an attention kernel with nothing to do; ``tile_latency``: first load to last store of a tile.
    ``helper_seconds``: a small kernel beside it: cache write, reduction over splits, reordering of queries.
    ``unsplit_blocks``: a context of at most so many key blocks is not split in prefill.
    ``tail``: of the longest tile's time, that the streaming multiprocessors run unevenly at the end.
    ``mask_operations``: vector instructions a score of the block on the diagonal, to apply the causal mask.
    ``traffic_overlap``: share of the shorter of compute and traffic time that is hidden behind the longer.
    ``reduction_step``: what each split adds to the reduction: one dependent load from L2.
    ``most_splits``: parts into which the library splits a context at most.
    ``planned_tokens``: up to so many query tokens in a call the asynchronous library plans splits ahead.
    ``plan_step``: what each sequence adds to that plan.
    ``cache_write_latency``: of a thread block that puts one token's keys and values into a page of the cache.
    ``joules_per_score``: of a score's softmax, beside the products' ``matmul.joules_per_flop``.
    """

    asynchronous: bool
    matrix_efficiency: Fraction
    synchronous_matrix_efficiency: Fraction
    overlap: Fraction
    softmax_operations: PositiveFloat
    exponential_operations: PositiveFloat | None = None
    l2_bytes_per_clock: PositiveFloat
    memory_efficiency: Fraction
    resident_share: Fraction
    kernel_latency: PositiveFloat
    tile_latency: PositiveFloat
    helper_seconds: PositiveFloat
    unsplit_blocks: PositiveInt
    tail: Fraction
    mask_operations: PositiveFloat
    traffic_overlap: Fraction
    reduction_step: PositiveFloat
    most_splits: PositiveInt
    planned_tokens: PositiveInt
    plan_step: PositiveFloat
    cache_write_latency: PositiveFloat
    joules_per_score: PositiveFloat


class MatmulCoefficients(Frozen):
    """How the library's matrix products run.

    ``tile_sides``: sides of the result tiles that the library has compiled kernels for.
    ``instruction_rows``: of one operand, that one matrix instruction reads with all columns of the other.
    ``matrix_efficiency``: of the matrix peak, in the steady state of a tile.
    ``memory_efficiency``, ``write_efficiency``: of the HBM bandwidth, reading and writing.
    ``in_flight_bytes``: operand loads from HBM that one streaming multiprocessor keeps on their way.
    ``activation_share``: of the L2, that still holds the operand which the kernel before has written.
    ``weight_share``: of the L2, that still holds the weights of a repeated call.
    ``startup_seconds``: blocks start, read their arguments, store the last result, and retire.
    ``small_product_seconds``: by which products of under 2^21 multiply-adds last longer, in a kernel taken for them.
    ``memory_latency_cycles``: a dependent load from HBM.
    ``step_bytes``: of a row of an operand tile, that a step over k loads and multiplies.
    ``step_cycles``: a step over k where nothing runs beside it: barrier, multiply, accumulate, release of the buffer.
    ``vector_step_cycles``: a load of a column in the kernel for a single row, which waits for the load before it.
    ``load_bytes_per_clock``, ``store_bytes_per_clock``: between L2 and one streaming multiprocessor.
    ``l2_bytes_per_clock``: what the L2 delivers to the whole chip.
    ``stages``: operand tiles in flight, each a step deep.
    ``short_fp8_sums``: the matrix unit adds FP8 products in less than fp32, so that exact sums leave it every step.
    ``most_resident``: tiles side by side on one streaming multiprocessor. ``most_splits``: parts of k.
    ``least_steps``: over k, that each of several parts has at least.
    ``reduction_seconds``: the sum over the parts of k, beside its traffic. ``partial_bytes_per_clock``: what the chip
    writes, and reads back, of the parts' sums.
    ``exposed``: share of the shorter of compute, L2 and HBM time that is not hidden behind the longest.
    ``wait_seconds``: by which engines that feed each other are early or late, a part of a step over k; what they wait
    adds up as a random walk.
    ``static_power_share``: of the power limit, spent whatever runs. ``joules_per_flop``: a 16-bit operation at the
    highest clock, with the on-chip traffic it causes. ``joules_per_byte``: of HBM.
    """

    tile_sides: Annotated[tuple[PositiveInt, ...], BeforeValidator(tuple)]
    instruction_rows: PositiveInt
    matrix_efficiency: Fraction
    memory_efficiency: Fraction
    in_flight_bytes: PositiveFloat
    write_efficiency: Fraction
    activation_share: Fraction
    weight_share: Fraction
    startup_seconds: PositiveFloat
    small_product_seconds: NonNegativeFloat
    memory_latency_cycles: PositiveFloat
    step_bytes: PositiveFloat
    step_cycles: PositiveFloat
    vector_step_cycles: PositiveFloat
    load_bytes_per_clock: PositiveFloat
    store_bytes_per_clock: PositiveFloat
    l2_bytes_per_clock: PositiveFloat
    stages: PositiveInt
    short_fp8_sums: bool
    most_resident: PositiveInt
    most_splits: PositiveInt
    least_steps: PositiveFloat
    reduction_seconds: PositiveFloat
    partial_bytes_per_clock: PositiveFloat
    exposed: Fraction
    wait_seconds: PositiveFloat
    static_power_share: Fraction
    joules_per_flop: PositiveFloat
    joules_per_byte: PositiveFloat


class VectorCoefficients(Frozen):
    """How memory-bound kernels run.

    ``startup_seconds``: blocks start, read their arguments, and retire.
    ``memory_latency_cycles``, ``l2_latency_cycles``: a dependent load from HBM and from L2.
    ``reduction_cycles``: a row reduced over the lanes and warps of a block (shuffles, shared memory, a barrier).
    ``memory_efficiency``: of the HBM bandwidth, reading and writing. ``l2_bytes_per_clock``: L2 to the whole chip.
    ``resident_share``: of the L2, that holds what the kernel before has written.
    """

    startup_seconds: PositiveFloat
    memory_latency_cycles: PositiveFloat
    l2_latency_cycles: PositiveFloat
    reduction_cycles: PositiveFloat
    memory_efficiency: Fraction
    l2_bytes_per_clock: PositiveFloat
    resident_share: Fraction


class GpuGeneration(Frozen):
    """All coefficients of one generation; ``serving_library`` is whose collectives its serving stack runs."""

    name: str
    serving_library: Literal["nccl", "vllm", "sglang", "trtllm"]
    launch: LaunchCoefficients
    matmul: MatmulCoefficients
    attention: AttentionCoefficients
    vector: VectorCoefficients
    collective: CollectiveCoefficients
