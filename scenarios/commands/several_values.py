"""Options that take one or more values after a single mention, ``--count 1 2 4 8``: as the parser takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def spread(words: Sequence[str], parameters: Sequence[Any]) -> list[str]:
    """``words`` of a command with these parameters: an option of several values repeated before each of them."""
    known = {name for each in parameters if getattr(each, "multiple", False) for name in each.opts}
    found: list[str] = []
    option, valued = "", True
    for word in [*words, "--"]:
        if not word.startswith("-"):
            found += [option, word] if option else [word]
            valued = True
            continue
        if not valued:
            found.append(option)  # left without a value, for the parser to complain
        option = word if word in known else ""
        valued = not option
        if valued:
            found.append(word)
    return found[:-1]
