"""What chips that share parameters exchange: buckets of gradients and weights, and what it costs to move each.

Also what is left of a GPU to the kernels beside such a collective. When buckets move: ``scenarios.training.clock``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from chips.clock.timeline import seconds_to_ps
from chips.spec import Dataflow, Gpu, Link, Systolic
from collectives.collective_time import Library, Operation
from collectives.libraries.choice import price_collective
from collectives.topology import every_nth
from scenarios.framework import Framework
from scenarios.training.clock import Bucket
from scenarios.workload.sharding import WEIGHT_BYTES, gathered_by_pass, shares

# Megatron Core's default: a bucket of gradients holds the larger of these, so that none is all latency.
LEAST_BUCKET, BUCKET_PER_REPLICA = 40e6, 1e6
MOST_REMEMBERED = 2**14  # passes and collectives, each: layouts of one model on one chip share most of theirs
CHANNEL_STEP_BYTES = 512 * 1024  # what a channel of NCCL holds in flight a step: a buffer of 4 MiB in 8 steps
# What arrives goes through buffers, 4 MiB a channel, that together are more than the L2 holds; then it is stored, or
# added to a rank's own, which is read.
CROSSINGS_OF_HBM = 2


@dataclass(frozen=True)
class SharedParameters:
    """Parameters of one stage that ``sharing`` chips share, each with every ``tensor``-th of the others' ``link``."""

    chip: Gpu | Dataflow | Systolic
    framework: Framework
    sharing: int
    tensor: int
    pipeline: int
    link: Link

    @property
    def dealt(self) -> int:
        """Among how many chips the shares are dealt."""
        return shares(self.framework.sharding, self.sharing, self.link, self.tensor)

    def buckets(self, decoders: int, decoder: float, around: float) -> list[Bucket]:
        """The gradients of one run, in the order in which its backward pass gives them.

        ``decoder``, ``around``: parameters of a chip that have gradients, of each decoder and around them.
        """
        if self.sharing == 1:
            return []
        if gathered_by_pass(self.framework.sharding, self.pipeline):
            # Those of the last decoder and around all are kept from the forward pass.
            inner = self._bucket(1, decoder, again=True)
            kept = self._bucket(1, decoder, again=False)
            ends = [self._bucket(0, around, again=False)] if around else []
            return [kept, *[inner] * (decoders - 1), *ends]
        apiece, each = decoder + around / decoders, decoders
        if self.framework.overlaps_gradients:
            each = min(decoders, ceil(max(LEAST_BUCKET, BUCKET_PER_REPLICA * self.sharing) / apiece))
        whole, rest = divmod(decoders, each)
        buckets = [self._bucket(each, each * apiece, again=False)] * whole
        return [*buckets, self._bucket(rest, rest * apiece, again=False)] if rest else buckets

    def _bucket(self, decoders: int, parameters: float, *, again: bool) -> Bucket:
        gradients, weights = self.framework.summed_gradient_bytes * parameters, WEIGHT_BYTES * parameters
        link, dealt = every_nth(self.link, self.tensor), self.dealt
        if dealt == 1:
            return Bucket(decoders, self.collective("all_reduce", self.sharing, gradients, link), 0)
        copies = self.sharing // dealt
        outside = every_nth(self.link, self.tensor * dealt)
        gather = self.collective("all_gather", dealt, weights, link)
        return Bucket(
            decoders,
            self.collective("reduce_scatter", dealt, gradients, link),
            gather,
            gather if again else 0,
            self.collective("all_reduce", copies, gradients / dealt, outside) if copies > 1 else 0,
        )

    def collective(self, operation: Operation, ranks: int, payload_bytes: float, link: Link) -> int:
        """Picoseconds of one collective over chips with this link."""
        assert not isinstance(self.chip, Systolic)
        library = self.framework.collectives if self.chip.has_framework else None
        return _collective_ps(self.chip, link, operation, ranks, payload_bytes, library)


@lru_cache(MOST_REMEMBERED)
def _collective_ps(
    chip: Gpu | Dataflow, link: Link, operation: Operation, ranks: int, payload_bytes: float, library: Library | None
) -> int:
    """One collective of chips joined by ``link``, which may be the slowest of theirs."""
    linked = chip.model_copy(update={"link": link})
    return seconds_to_ps(float(price_collective(linked, operation, ranks, payload_bytes, library=library).seconds))


@lru_cache
def beside_collectives(chip: Gpu, between_domains: bool) -> Gpu:
    """What a collective leaves of a GPU: the channels of NCCL hold a compute unit each, and their bytes cross HBM."""
    coefficients, link = chip.generation.collective, chip.link
    rate = coefficients.link_efficiency * link.bandwidth
    if between_domains:
        rate = min(rate, link.domain * link.network_bandwidth)
    channels = min(round(coefficients.window_bytes / CHANNEL_STEP_BYTES), chip.compute.units // 2)
    left = max(chip.memory.bandwidth - CROSSINGS_OF_HBM * rate, chip.memory.bandwidth / 2)
    compute = chip.compute.model_copy(update={"units": chip.compute.units - channels})
    return chip.model_copy(update={"compute": compute, "memory": chip.memory.model_copy(update={"bandwidth": left})})
