"""What the parser of the command line refuses, in a sentence that says what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import typer

EXTRA = re.compile(r"Got unexpected extra argument\S* \(([^\s)]+)")


def told(error: typer.TyperException, given: Sequence[str]) -> str:
    """The sentence for ``error`` about the words ``given``; empty where the parser has printed the help instead."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    command = f"`{context.command_path}`"
    if hasattr(error, "possibilities"):
        options = [name for parameter in context.command.params for name in parameter.opts]
        return _unknown_option(str(getattr(error, "option_name", "")), options, command)
    if extra := EXTRA.match(message):
        return _extra_word(extra[1], given, command)
    if message.startswith("Missing argument") and any(word.startswith("-") for word in given):
        # An option that takes several values takes a word behind them, too.
        return f"{message.rstrip('.')}; it stands right after {command}, before the options."
    return message


def _unknown_option(wrong: str, options: Sequence[str], command: str) -> str:
    """Some commands take one of what others take several of; some print a table that a picture is added to."""
    if f"{wrong}s" in options:
        return f"{command} has no {wrong}; it takes one or more: {wrong}s."
    if wrong.removesuffix("s") in options:
        return f"{command} has no {wrong}; it takes one: {wrong.removesuffix('s')}."
    if wrong in ("-o", "--output") and "--plot" in options:
        return f"{command} has no {wrong}: it prints its result, and --plot FILE draws it."
    near = difflib.get_close_matches(wrong, options, n=1, cutoff=0.6)
    if near:
        return f"{command} has no {wrong}; did you mean {near[0]}?"
    return f"{command} has no {wrong}; {command[:-1]} --help` lists what it has."


def _extra_word(extra: str, given: Sequence[str], command: str) -> str:
    """``extra`` is a word too many; behind an option that has its value, that option takes only one."""
    place = list(given).index(extra) if extra in given else 0
    option = given[place - 2] if place >= 2 else ""
    if option.startswith("--") and not given[place - 1].startswith("-"):
        return f"'{extra}' is one too many: {option} takes one value."
    return f"'{extra}' is one word too many; `{command[1:-1]} --help` says what it takes."
