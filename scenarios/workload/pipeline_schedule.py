"""The interleaved one-forward-one-backward schedule: what each stage of a pipeline holds and computes, in which order.

A stage holds several runs of decoders (chunks); micro-batches pass through chunk 0 of all stages, then chunk 1, and so
on. With one chunk it is PipeDream-Flush (Narayanan et al. 2021, arXiv 2104.04473).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from scenarios.workload.model import Model


class Pass(NamedTuple):
    """A forward or backward pass of one micro-batch through one chunk of one stage."""

    backward: bool
    stage: int
    chunk: int
    micro_batch: int


def stage_order(stages: int, chunks: int, micro_batches: int, stage: int) -> list[Pass]:
    """The passes of one stage in its order: warm-up forwards, pairs of one forward and one backward, the rest.

    With several chunks, ``micro_batches`` is a multiple of ``stages``.
    """
    total = micro_batches * chunks
    warm = _warm_up(stages, chunks, total, stage)

    def nth(number: int, backward: bool) -> Pass:
        return _nth_pass(stages, chunks, stage, number, backward)

    order = [nth(number, False) for number in range(warm)]
    for number in range(total - warm):
        order += [nth(warm + number, False), nth(number, True)]
    return order + [nth(number, True) for number in range(total - warm, total)]


def _nth_pass(stages: int, chunks: int, stage: int, number: int, backward: bool) -> Pass:
    """The pass that a stage computes as its ``number``th of one kind."""
    group, inside = divmod(number, stages * chunks)
    chunk = inside // stages
    return Pass(backward, stage, chunks - 1 - chunk if backward else chunk, group * stages + inside % stages)


def needs(stages: int, chunks: int, item: Pass) -> Pass | None:
    """The pass whose output ``item`` starts from; None for the first of a micro-batch."""
    step = 1 if item.backward else -1
    place = item.chunk * stages + item.stage + step
    if place < 0:
        return None
    if place == stages * chunks:
        return item._replace(backward=False)
    return Pass(item.backward, place % stages, place // stages, item.micro_batch)


def in_turn(stages: int, chunks: int, micro_batches: int) -> Iterator[Pass]:
    """All passes of all stages, each after those before it on its stage and after the one that it needs."""
    orders = [stage_order(stages, chunks, micro_batches, stage) for stage in range(stages)]
    done: set[Pass] = set()
    position = [0] * stages
    left = sum(map(len, orders))
    while left:
        for stage, order in enumerate(orders):
            while position[stage] < len(order):
                item = order[position[stage]]
                needed = needs(stages, chunks, item)
                if needed is not None and needed not in done:
                    break
                yield item
                done.add(item)
                position[stage] += 1
                left -= 1


def most_kept(stages: int, chunks: int, micro_batches: int, stage: int, decoders: Sequence[int]) -> int:
    """Of how many decoders a stage keeps activations at most, each counted for every micro-batch that is under way.

    ``decoders``: of each run. That is when it is through its warm-up and one forward more.
    """
    total = micro_batches * chunks
    ahead = min(_warm_up(stages, chunks, total, stage) + 1, total)
    if chunks == 1:
        return ahead * decoders[stage]
    groups, rest = divmod(ahead, stages * chunks)
    through = [groups * stages + min(max(rest - chunk * stages, 0), stages) for chunk in range(chunks)]
    return sum(times * decoders[chunk * stages + stage] for chunk, times in enumerate(through))


def _warm_up(stages: int, chunks: int, total: int, stage: int) -> int:
    """Forward passes before the first backward: as many as fill the stages behind, and with several chunks all chunks
    before, twice as far ahead."""
    ahead = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    return min(ahead, total)


@lru_cache
def decoders_of(layers: int, runs: int) -> tuple[int, ...]:
    """How many decoders each of ``runs`` runs has: as equal as can be, fewer at the ends.

    The first and the last also have the embedding and the logits (as Llama 3 was split: Grattafiori et al. 2024, arXiv
    2407.21783, 3.3.2).
    """
    most = -(-layers // runs)
    held = [most] * runs
    for lack in range(most * runs - layers):
        held[-1 - lack // 2 if lack % 2 == 0 else lack // 2] -= 1
    return tuple(held)


@lru_cache
def parameters_of(model: Model, runs: int) -> tuple[int, ...]:
    """Parameters of each run of decoders; the first with the embedding, the last with the head.

    Where a tied embedding is on two stages, each has a copy.
    """
    held = [decoders * model.decoder_parameters for decoders in decoders_of(model.layers, runs)]
    around = model.around_parameters
    vocabulary = model.vocabulary * model.hidden
    if model.tied_embeddings and runs > 1:
        around += vocabulary
    head = vocabulary if runs > 1 or not model.tied_embeddings else 0
    held[0] += around - head
    held[-1] += head
    return tuple(held)
