"""Several programs on one rank whose messages to the other ranks are the same ones: values, and clocks beside them.

The programs run in threads, in rounds: each runs until its next collective; when all that are left have come to one,
the rank exchanges what they want in one go and each goes on. So the AllReduce of a layer's values and the meeting of
the clocks that time it are the same messages. Every rank runs the same programs, so every rank has the same rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from cluster.communicator import Answer, Communicator, Request

Program = Callable[[Communicator], Any]


class Abandoned(Exception):
    """Another program of this rank has failed."""


class Ended(NamedTuple):
    """How a program ended."""

    result: object
    error: BaseException | None


class Part(Communicator):
    """The communicator of one of several programs on a rank."""

    def __init__(self, whole: Communicator) -> None:
        self.rank, self.ranks = whole.rank, whole.ranks
        self._whole = whole
        self.said: SimpleQueue[Sequence[Request] | Ended] = SimpleQueue()
        self.answers: SimpleQueue[list[Answer] | None] = SimpleQueue()

    def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        self.said.put(requests)
        answers = self.answers.get()
        if answers is None:
            raise Abandoned
        return answers

    def report(self, item: object) -> None:
        self._whole.report(item)

    def run(self, program: Program) -> None:
        """Run ``program`` and say how it ended."""
        try:
            self.said.put(Ended(program(self), None))
        except BaseException as error:
            self.said.put(Ended(None, error))


def run_together(communicator: Communicator, programs: Sequence[Program]) -> list[Any]:
    """Run every ``program(communicator)`` on this rank, all ranks the same ones; their results, in order.

    What a program raises first is raised here.
    """
    parts = [Part(communicator) for _ in programs]
    for part, program in zip(parts, programs, strict=True):
        Thread(target=part.run, args=(program,), daemon=True).start()
    ended: dict[Part, Ended] = {}
    try:
        while len(ended) < len(parts):
            wanted: dict[Part, Sequence[Request]] = {}
            for part in parts:
                if part in ended:
                    continue
                said = part.said.get()
                if isinstance(said, Ended):
                    ended[part] = said
                    if said.error is not None:
                        raise said.error
                else:
                    wanted[part] = said
            if wanted:
                answers = communicator.exchange([request for requests in wanted.values() for request in requests])
                for part, requests in wanted.items():
                    part.answers.put(answers[: len(requests)])
                    del answers[: len(requests)]
    finally:
        for part in parts:
            part.answers.put(None)
    return [ended[part].result for part in parts]
