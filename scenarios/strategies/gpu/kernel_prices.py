"""One chip of a group, as the strategies see it: what each operator costs on it, rounded once into picoseconds.

Belongs here: the bridge from operators (shapes) to prices (``chips.kernels``, ``collectives``), cached by content.
Does not belong here: in which order things run and what waits for what: that is a strategy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import IntArray, Picoseconds, plain, seconds_to_ps
from chips.energy import DYNAMIC
from chips.kernels.attention.price import price_attention_backward, price_attention_decode, price_attention_prefill
from chips.kernels.kernel_time import MEMORY, KernelTime
from chips.kernels.matmul.price import ProductLibrary, price_matmul
from chips.kernels.quantize import Quantizer, price_quantize, price_scale_search
from chips.kernels.vector import price_vector
from chips.spec import Gpu
from cluster import Cluster
from collectives.collective_time import Library
from collectives.libraries.choice import price_collective
from collectives.topology import every_nth
from scenarios.framework import Framework
from scenarios.strategies.label import LINK, Label
from scenarios.workload.operators import Attention, Collective, Conversion, Elementwise, MatrixProduct, Operator

if TYPE_CHECKING:
    from scenarios.strategies.gpu.persistent import PersistentStage


DIRECT: Library = "trtllm"  # the fastest direct kernels known, and NCCL's where they do not reach
MOST_GROUPS = 256  # whose prices a process remembers: chips, counts and frameworks
MOST_RECENT = 64  # operators of several passes, so many as strategies that run the same passes ask for in turn
NEVER_WAITED_FOR = 1e18  # bytes/s, or bytes a clock
L2_RATES = ("l2_bytes_per_clock", "unit_bytes_per_clock")  # of attention
FED_VECTOR_STEP_CYCLES = 45.0  # a load from shared memory, 29 (Luo et al., arXiv 2501.12084), 8 products and 8 sums


@dataclass(frozen=True, slots=True)
class KernelPrice:
    """A GPU kernel in picoseconds, without the gap before it.

    ``start``: its blocks enter and read their arguments; ``ramp``: the first bytes come; ``steady``; ``drain``: the
    last tile, and what sums the parts. ``stream``: how long of its steady state its blocks read weights or keys that no
    kernel before it has written, after which they leave one by one; 0 for a kernel that reads nothing else.
    ``joules``: what its events take, by cause; those of a collective follow from its bytes (``scenarios.energy``).
    """

    label: Label
    steady: Picoseconds
    start: Picoseconds = 0
    ramp: Picoseconds = 0
    drain: Picoseconds = 0
    stream: Picoseconds = 0
    joules: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(DYNAMIC)), compare=False)

    @property
    def fill_drain(self) -> Picoseconds:
        return self.start + self.ramp + self.drain

    @property
    def whole(self) -> Picoseconds:
        return self.steady + self.fill_drain

    def steady_on(self, cluster: Cluster) -> Picoseconds:
        """The steady state on every lane. A collective has met before, and its links are in its price."""
        return self._on(cluster, self.steady)

    def stream_on(self, cluster: Cluster) -> Picoseconds:
        """Its ``stream`` on every lane."""
        return self._on(cluster, self.stream)

    def _on(self, cluster: Cluster, ps: Picoseconds) -> Picoseconds:
        """A kernel takes longer by as much as what limits it does on that chip."""
        if self.label.limiter == LINK:
            return ps
        return cluster.stretch(ps, "memory" if self.label.limiter == MEMORY else "clock")


@dataclass
class _Sizes:
    """Prices of an operator that differs in its sizes alone: a column for each that any passes had so far.

    ``ps`` (5, columns): steady, start, ramp, drain and stream; ``joules`` (causes, columns).
    """

    columns: dict[tuple[float, ...], int] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    ps: IntArray = field(default_factory=lambda: np.empty((5, 0), np.int64))
    joules: NDArray[np.float64] = field(default_factory=lambda: np.empty((len(DYNAMIC), 0)))


@dataclass
class GpuGroup:
    """Kernel prices on the GPUs of one tensor-parallel group under one framework, remembered by operator.

    ``free``: labels of a kernel boundary that cost nothing here, to see what they cost elsewhere.
    """

    chip: Gpu
    cluster: Cluster
    framework: Framework
    free: frozenset[Label] = frozenset()
    stages: dict[Operator, PersistentStage] = field(default_factory=dict)
    """Operators as stages of a persistent kernel, where chips are alike; filled by the strategies."""
    _prices: dict[Operator, KernelPrice] = field(default_factory=dict)
    _recent: dict[Hashable, KernelPrice] = field(default_factory=dict)
    """Of operators of several passes, by their content."""
    _sizes: defaultdict[Hashable, _Sizes] = field(default_factory=lambda: defaultdict(_Sizes))
    """The same pass by pass, by all that does not differ between them."""

    def kernels_of(self, operator: Operator, *, compiled: bool = False) -> int:
        """How many kernels the framework makes of one operator; a compiler fuses what is element-wise."""
        fused = self.framework.fusion != "none" or (compiled and isinstance(operator, Elementwise))
        return 1 if fused else operator.plain_calls

    def boundary(self, label: Label, ps: Picoseconds) -> dict[Hashable, Picoseconds]:
        """A part of a kernel boundary, as a duration: nothing where it is free."""
        return {} if label in self.free else {label: ps}

    def ends(self, price: KernelPrice, kernels: int = 1) -> tuple[Picoseconds, Picoseconds, Picoseconds]:
        """Start, ramp and drain on every lane; the same work in several kernels has several of each."""
        start, ramp, drain = (
            self.cluster.stretch(kernels * ps, "clock") for ps in (price.start, price.ramp, price.drain)
        )
        return start, ramp, drain

    def price(self, operator: Operator) -> KernelPrice:
        """The kernel of one operator; one of several passes is priced for all of them, which one thing limits.

        Collectives are the framework's own kernels; inside a persistent kernel see ``price_inside``.
        """
        if operator.several:
            kind, sizes = _content(operator)
            content = kind, sizes.tobytes()
            if content not in self._recent:
                if len(self._recent) == MOST_RECENT:
                    self._recent.clear()
                self._recent[content] = self._several(operator)
            return self._recent[content]
        if operator not in self._prices:
            self._prices[operator] = self._price(operator)
        return self._prices[operator]

    def price_fed(self, operator: Operator) -> KernelPrice:
        """The same where operands are in shared memory when they are needed: what the kernel's own engines take.

        A stage of a persistent kernel has another engine stream its weights in meanwhile.
        """
        return gpu_group(_operands_at_hand(self.chip), self.cluster, self.framework).price(operator)

    def price_inside(self, operator: Operator) -> KernelPrice:
        """The same inside a persistent kernel, which stores to its peers directly where links allow it.

        What starts a kernel is not taken there: only ``steady`` and ``drain`` are.
        """
        return self._collective(operator, DIRECT) if isinstance(operator, Collective) else self.price(operator)

    def _price(self, operator: Operator) -> KernelPrice:
        if isinstance(operator, Collective):
            return self._collective(operator, self.framework.collectives)
        return self._rounded(operator, self.kernel_time(operator))

    def _several(self, operator: Operator) -> KernelPrice:
        if isinstance(operator, Attention | Collective):
            return self._price(operator)
        known, places = self._different(operator)
        steady, start, ramp, drain, stream = known.ps[:, places]
        return KernelPrice(known.labels[places[0]], steady, start, ramp, drain, stream, known.joules[:, places])

    def limiters(self, operator: Attention | Elementwise | MatrixProduct) -> NDArray[np.str_]:
        """What limits the kernel of an operator of several passes in each of them."""
        if isinstance(operator, Attention):
            return self.kernel_time(operator).limiter
        known, places = self._different(operator)
        return np.array([label.limiter for label in known.labels])[places]

    def _different(self, operator: Elementwise | MatrixProduct) -> tuple[_Sizes, NDArray[np.intp]]:
        """The prices of each different kernel of several passes, remembered, and which of them each pass has."""
        kind, sizes = _content(operator)
        _, first, places = np.unique(sizes[0], return_index=True, return_inverse=True)
        assert np.array_equal(sizes[:, first[places]], sizes), "Its sizes all follow from the batch."
        known = self._sizes[kind]
        different = list(zip(*sizes[:, first].tolist(), strict=True))
        new = [place for place, each in enumerate(different) if each not in known.columns]
        if new:
            one_of_each = {name: getattr(operator, name)[first[new]] for name in _varying(operator)}
            time = self.kernel_time(replace(operator, **one_of_each))
            price = self._rounded(operator, time)
            parts = (price.steady, price.start, price.ramp, price.drain, price.stream)
            known.ps = np.hstack([known.ps, np.array(parts, np.int64)])
            known.joules = np.hstack([known.joules, price.joules])
            known.labels += [Label(operator.part, limiter) for limiter in time.limiter.tolist()]
            known.columns |= {different[place]: len(known.columns) + at for at, place in enumerate(new)}
        return known, np.array([known.columns[each] for each in different])[places]

    def _collective(self, operator: Collective, library: Library) -> KernelPrice:
        ranks = self.cluster.count
        payload, places = np.unique(operator.payload_bytes, return_inverse=True)
        chip = self.cluster.linked(self.chip)
        cost = price_collective(chip, operator.operation, ranks, payload, library=library, mode="graph")
        whole = seconds_to_ps(cost.seconds[places] if operator.several else float(cost.seconds[0]))
        start = np.minimum(seconds_to_ps(self.chip.generation.launch.kernel_start), whole)
        return KernelPrice(Label("allreduce", LINK), plain(np.asarray(whole - start)), plain(np.asarray(start)))

    def ring_ps(self, attention: Attention) -> int:
        """Picoseconds in which every group that shares a sequence passes keys and values on to the next."""
        chip = self.cluster.linked(self.chip)
        apart = chip.model_copy(update={"link": every_nth(chip.link, self.cluster.count)})
        cost = price_collective(apart, "send_receive", attention.groups, attention.passed_bytes, library="nccl")
        return seconds_to_ps(float(cost.seconds))

    def kernel_time(self, operator: Attention | Elementwise | MatrixProduct) -> KernelTime:
        """The kernel of one operator in seconds, not remembered."""
        match operator:
            case MatrixProduct(m=m, n=n, k=k, precision=precision) as p:
                alone = p.weight_bits if p.weights and precision == "bf16" and p.weight_bytes < 2 else None
                return price_matmul(
                    self.chip,
                    m,
                    n,
                    k,
                    precision=precision,
                    stored_bits=alone,
                    library=self._library(p),
                    count=p.count,
                    exact=p.exact,
                )
            # The cache write is an operator of its own, with the rotary embedding.
            case Attention(backward=True) as a:
                # Queries that also see the keys of other groups (context parallelism) are more of the same blocks.
                blocks = a.batch * (2 * a.context / a.tokens - 1)
                shape = (blocks, a.tokens, a.heads, a.kv_heads, a.head_dim)
                return price_attention_backward(self.chip, *shape, kernel=self.framework.attention_kernel)
            case Attention() as a if a.decode:
                return price_attention_decode(
                    self.chip,
                    a.batch,
                    a.context,
                    a.heads,
                    a.kv_heads,
                    a.head_dim,
                    kv_precision=a.kv_precision,
                    writes_cache=False,
                    shares_keys=self.framework.shares_keys,
                )
            case Attention() as a:
                return price_attention_prefill(
                    self.chip,
                    a.batch,
                    a.tokens,
                    a.context,
                    a.heads,
                    a.kv_heads,
                    a.head_dim,
                    kv_precision=a.kv_precision,
                    kernel=self.framework.attention_kernel,
                    writes_cache=False,
                )
            case Conversion(searches=True) as c:
                searches: Quantizer = "vllm" if self.framework.fp8_products == "cutlass" else "trtllm"
                return price_scale_search(self.chip, c.rows, c.width, library=searches)
            case Conversion() as c:
                return price_quantize(self.chip, c.rows, c.width, precision=c.precision, scales=c.scales)
            case Elementwise() as e:
                return price_vector(
                    self.chip,
                    e.bytes_read,
                    e.bytes_written,
                    e.operations,
                    special_functions=e.special_functions,
                    passes=e.passes,
                )

    def _library(self, product: MatrixProduct) -> ProductLibrary:
        """Whose kernel multiplies: FP8 with a scale a block is the work of one of its own."""
        if product.precision == "nvfp4":
            return "cutlass"
        if product.precision != "fp8":
            return "cublas"
        return "deepgemm" if product.block_scales else self.framework.fp8_products

    def _rounded(self, operator: Attention | Elementwise | MatrixProduct, time: KernelTime) -> KernelPrice:
        """Into picoseconds: the whole is rounded, then its filling and draining; the steady state is what remains.

        Raises PhysicsError for a kernel that beats its bound.
        """
        if np.any(time.beats_bound):
            # Not above: pandas would come with it.
            from results.schema import PhysicsError

            worst = np.argmax(time.bound_seconds / time.seconds)
            raise PhysicsError(
                f"internal error: a kernel of {operator.part} takes {time.seconds.flat[worst]:.6g} s, below its "
                "physical lower bound, operations over peak or bytes over HBM bandwidth, of "
                f"{time.bound_seconds.flat[worst]:.6g} s."
            )
        whole, filling, before = (
            seconds_to_ps(np.asarray(each, np.float64))
            for each in (time.seconds, time.fill_drain_seconds, time.ramp_seconds)
        )
        generation = self.chip.generation
        start = np.minimum(seconds_to_ps(generation.launch.kernel_start), before)
        ramp, steady, drain = before - start, whole - filling, filling - before
        if isinstance(operator, Attention) and not self.framework.plans_attention:
            ramp = np.minimum(ramp, np.maximum(seconds_to_ps(generation.matmul.startup_seconds) - start, 0))
        limiter = np.asarray(time.limiter)
        if isinstance(operator, Attention):  # of several passes the one thing that limits all
            limiter = limiter.reshape(-1)[limiter.size // 2 :][:1]
        # While anything but memory holds a kernel up, its blocks stay.
        bytes_ps = seconds_to_ps(np.asarray(operator.stream_bytes / self.chip.streaming_bandwidth))
        stream = np.where(bytes_ps > 0, np.where(limiter == MEMORY, np.minimum(bytes_ps, steady), steady), 0)
        return KernelPrice(
            Label(operator.part, str(limiter.flat[0])),
            plain(np.asarray(steady)),
            plain(np.asarray(start)),
            plain(np.asarray(ramp)),
            plain(np.asarray(drain)),
            plain(np.asarray(stream)),
            time.joules,
        )


def _varying(operator: Operator) -> list[str]:
    """The sizes of an operator that differ from pass to pass."""
    return [each.name for each in fields(operator) if isinstance(getattr(operator, each.name), np.ndarray)]


def _content(operator: Operator) -> tuple[Hashable, NDArray[np.float64]]:
    """What an operator is, as a key, and beside it the sizes that differ from pass to pass (sizes, passes)."""
    values = [getattr(operator, each.name) for each in fields(operator)]
    sizes = np.array([value for value in values if isinstance(value, np.ndarray)], np.float64)
    return (type(operator), *(None if isinstance(value, np.ndarray) else value for value in values)), sizes


@lru_cache(MOST_GROUPS)
def _operands_at_hand(chip: Gpu) -> Gpu:
    """The chip with memory and L2 that are never waited for."""
    generation, memory = chip.generation, chip.memory.model_copy(update={"bandwidth": NEVER_WAITED_FOR})
    ways = {"in_flight_bytes", "load_bytes_per_clock", "l2_bytes_per_clock"}
    at_hand = dict.fromkeys(ways, NEVER_WAITED_FOR) | {"vector_step_cycles": FED_VECTOR_STEP_CYCLES}
    matmul = generation.matmul.model_copy(update=at_hand)
    attention = generation.attention.model_copy(update=dict.fromkeys(L2_RATES, NEVER_WAITED_FOR))
    families = {"matmul": matmul, "attention": attention}
    return chip.model_copy(update={"memory": memory, "generation": generation.model_copy(update=families)})


def gpu_group(chip: Gpu, cluster: Cluster, framework: Framework, free: frozenset[Label] = frozenset()) -> GpuGroup:
    """The GPUs of this cluster. Prices are those of the datasheet, computed once as long as they are remembered.

    ``free``: labels of a kernel boundary that cost nothing.
    """
    return replace(_group(chip, cluster.count, cluster.slowest_link, framework), cluster=cluster, free=free)


@lru_cache(MOST_GROUPS)
def _group(chip: Gpu, count: int, slowest_link: float, framework: Framework) -> GpuGroup:
    """What clusters of ``count`` chips remember together, whatever else differs, where ``slowest_link`` is the same."""
    return GpuGroup(chip, Cluster(chip, count), framework)
