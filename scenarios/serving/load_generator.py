"""Load generators: what programs that measure servers send, and to what limits they set these."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from chips.frozen import Frozen
from results.text_file import read_toml
from scenarios.errors import ScenarioError

CATALOG = Path(__file__).parent / "load_generators.toml"
MOST_REQUESTS = 2000
"""Of a benchmark of many clients, unless that is not even one a client."""
DEFAULT = "batch-limit"


class LoadGenerator(Frozen):
    """A load generator."""

    name: str
    title: str
    """what it sends, with its year."""
    harness: str
    """what measured tables call it."""
    backends: tuple[str, ...] = ()
    """servers of whose rows this is the one of that harness; empty: of all others."""
    rounds: PositiveInt
    """requests a client, ``MOST_REQUESTS`` in all at most."""
    lengths: str = "fixed"
    """as ``Lengths.parse`` reads it."""
    places: Literal["clients"] | PositiveInt | None = None
    """the limit of the server's batch; None: no limit but the room for keys and values."""

    def requests(self, clients: int) -> int:
        """How many it sends."""
        return min(self.rounds * clients, max(MOST_REQUESTS, clients))


@cache
def load_generators() -> dict[str, LoadGenerator]:
    """All known load generators by name."""
    return {name: LoadGenerator(name=name, **fields) for name, fields in read_toml(CATALOG).items()}


def load_generator(name: str) -> LoadGenerator:
    """The one of this name. Raises ScenarioError."""
    if name not in load_generators():
        raise ScenarioError(f"--load {name:.80}: there are {', '.join(load_generators())}.")
    return load_generators()[name]


def generator_of(harness: str, backend: str) -> LoadGenerator | None:
    """The one that measured a row of a serving table; None where no such harness is known."""
    named = [each for each in load_generators().values() if each.harness == harness]
    own = [each for each in named if backend in each.backends]
    return next(iter(own or [each for each in named if not each.backends]), None)
