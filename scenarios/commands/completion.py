"""What a shell offers after TAB: chips, models, scenarios, strategies and the other names that options take.

``loopline --install-completion`` sets it up. The shell asks by running ``loopline`` with its words in the environment.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

ASKED = "_LOOPLINE_COMPLETE"
# Where shells put their words: bash a list and the number of the last, the others a line.
BASH_WORDS, BASH_LAST, LINE = "COMP_WORDS", "COMP_CWORD", "_TYPER_COMPLETE_ARGS"


def _scenarios() -> Collection[str]:
    from scenarios.sweeps.scenario_file import scenario_names

    return scenario_names()


def _kinds() -> Collection[str]:
    from results.pictures.kinds import KINDS

    return KINDS


def offer_names(command: Any) -> None:
    """Teach a command the names that its options and arguments take, by how these are called in every command."""
    from scenarios.inputs import INPUTS

    names = {name: row.known for row in INPUTS if row.known for name in (row.name, row.key)}
    names |= {"scenario": _scenarios, "kind": _kinds}
    for parameter in command.params:
        if parameter.name in names:
            parameter.shell_complete = partial(_offer, names[parameter.name])


def spread_words(spread: Callable[[list[str]], list[str]]) -> None:
    """Put the shell's words as the parser takes them, which ``spread`` does."""
    if BASH_WORDS in os.environ:
        last = int(os.environ[BASH_LAST])
        words = [*shlex.split(os.environ[BASH_WORDS]), ""]
        asked = spread([*words[1:last], words[last]])
        os.environ[BASH_WORDS], os.environ[BASH_LAST] = shlex.join([words[0], *asked]), str(len(asked))
    elif LINE in os.environ:
        line = os.environ[LINE]
        words = shlex.split(line)
        if line.endswith(" "):
            os.environ[LINE] = shlex.join([words[0], *spread([*words[1:], ""])[:-1]]) + " "
        else:
            os.environ[LINE] = shlex.join([words[0], *spread(words[1:])])


def _offer(names: Callable[[], Iterable[str]], context: object, incomplete: str) -> list[SimpleNamespace]:
    """Names that begin so, as the shell's items."""
    return [SimpleNamespace(value=name, type="plain", help=None) for name in names() if name.startswith(incomplete)]
