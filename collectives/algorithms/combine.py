"""Schedules made of others, side by side on their own chunks; and pipelines, in which pieces follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from collectives.schedule import Integers, Messages, Phase


def shifted(phase: Phase, chunks: int) -> Phase:
    """The same phase on the chunks that begin ``chunks`` later."""

    def messages(step: int) -> Messages:
        made = phase.messages(step)
        return Messages(made.source, made.destination, made.first_chunk + chunks, made.chunks, made.reduce)

    return Phase(phase.count, messages)


def side_by_side(parts: Sequence[Sequence[Phase]]) -> tuple[Phase, ...]:
    """Step by step the messages of all parts at once; where one part begins another phase, so does the whole."""
    ends = [np.cumsum([0, *(phase.count for phase in part)]) for part in parts]
    borders = np.unique(np.concatenate(ends))
    return tuple(_together(parts, ends, int(first), int(last)) for first, last in pairwise(borders))


def _together(parts: Sequence[Sequence[Phase]], ends: list[Integers], first: int, last: int) -> Phase:
    """The steps ``first`` to ``last`` of all parts that are still running."""
    running: list[tuple[Phase, int]] = []
    for part, end in zip(parts, ends, strict=True):
        if first < end[-1]:
            number = int(np.searchsorted(end, first, side="right")) - 1
            running.append((part[number], first - int(end[number])))

    def messages(step: int) -> Messages:
        made = [phase.messages(begun + step) for phase, begun in running]
        return Messages(
            np.concatenate([each.source for each in made]),
            np.concatenate([each.destination for each in made]),
            np.concatenate([each.first_chunk for each in made]),
            np.concatenate([each.sizes() for each in made]),
            np.concatenate([each.reducing() for each in made]),
        )

    return Phase(last - first, messages)


def pipelined(
    source: Integers, destination: Integers, delay: Integers, reduce: NDArray[np.bool_], pieces: int
) -> tuple[Phase, ...]:
    """Edges over which ``pieces`` chunks pass one after the other: edge i carries chunk c in step ``c + delay[i]``.

    Steps in which the same edges are busy are one phase. Raises ValueError for fewer pieces than one.
    """
    if pieces < 1:
        raise ValueError(f"a payload in {pieces} pieces was asked for; at least 1 is needed.")
    borders = np.unique(np.concatenate([delay, delay + pieces])).tolist()

    def phase(first: int, last: int) -> Phase:
        busy = np.flatnonzero((delay <= first) & (first < delay + pieces))
        ends, chunk, adds = (source[busy], destination[busy]), first - delay[busy], reduce[busy]
        return Phase(last - first, lambda step: Messages(*ends, chunk + step, 1, adds))

    return tuple(phase(first, last) for first, last in pairwise(borders))
