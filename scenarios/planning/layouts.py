"""The ways in which a number of chips can share a training step: what a search goes through.

Not here: what a layout takes (``scenarios.planning.bound``, ``scenarios.pricing``), and which are best
(``scenarios.planning.search``).
"""

from __future__ import annotations

from collections.abc import Iterator

from chips.spec import Dataflow, Gpu, Systolic
from scenarios.workload.model import Model, tensor_parallel_counts
from scenarios.workload.parallel import Parallel, Recompute

MOST_CONTEXT_GROUPS = 16
MOST_AT_ONCE = 16  # sequences of a micro-batch
RECOMPUTE: tuple[Recompute, ...] = ("none", "full")


def training_layouts(
    chip: Gpu | Dataflow | Systolic, model: Model, count: int, batch: int, context: int
) -> Iterator[Parallel]:
    """Every layout of a step of ``batch`` sequences on exactly ``count`` chips that divides all that it must.

    Tensor-parallel groups stay within the domain of a chip's links; context groups and micro-batches are powers of two
    up to 16. Runs are interleaved where decoders are dealt to them equally, but for one less at either end. A backward
    pass computes nothing again or everything: what lies between is left out, of which the selective kind only costs,
    since what it computes again is not kept without it either.
    """
    for tensor in tensor_parallel_counts(model):
        if tensor > chip.link.domain or count % tensor:
            continue
        for pipeline, groups in _pairs(count // tensor, model.layers):
            for own in _powers(min(groups, MOST_CONTEXT_GROUPS)):
                replicas, rest = divmod(groups, own)
                if rest or context % own or batch % replicas:
                    continue
                for micro_batch in _powers(min(batch // replicas, MOST_AT_ONCE)):
                    micro_batches, rest = divmod(batch // replicas, micro_batch)
                    if rest:
                        continue
                    for interleaved in _interleaved(pipeline, model.layers, micro_batches):
                        for recompute in RECOMPUTE:
                            for sequence in (False, True) if tensor > 1 else (False,):
                                yield Parallel(tensor, pipeline, own, micro_batch, interleaved, recompute, sequence)


def _pairs(chips: int, most: int) -> Iterator[tuple[int, int]]:
    """Numbers of stages, at most ``most``, that divide ``chips``, each with what remains."""
    return ((stages, chips // stages) for stages in range(1, min(chips, most) + 1) if chips % stages == 0)


def _powers(most: int) -> Iterator[int]:
    return (2**power for power in range(most.bit_length()))


def _interleaved(stages: int, layers: int, micro_batches: int) -> Iterator[int]:
    yield 1
    if stages == 1 or micro_batches % stages:
        return
    for chunks in range(2, layers // stages + 1):
        runs = stages * chunks
        if -(-layers // runs) * runs - layers <= 2:
            yield chunks
