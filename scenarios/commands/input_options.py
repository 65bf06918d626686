"""The options by which commands take the inputs of points, made from the rows of ``scenarios.inputs``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from scenarios.inputs import INPUTS, REQUIRED, Input

Command = TypeVar("Command", bound=Callable[..., None])


def takes(
    *names: str, several: tuple[str, ...] = (), help: Mapping[str, str] | None = None
) -> Callable[[Command], Command]:
    """Give a command the inputs of these names, or all, in front of its own options; they come in its ``**asked``.

    Those in ``several`` may be given several times. ``help``: where a command says it otherwise.
    """
    rows = {row.name: row for row in INPUTS}
    chosen = [_parameter(rows[name], name in several, (help or {}).get(name)) for name in names or rows]

    def enter(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        kept = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*chosen, *kept]]
        vars(command)["__signature__"] = own.replace(parameters=keywords)
        return command

    return enter


def _parameter(row: Input, several: bool, own: str | None) -> inspect.Parameter:
    """``own``: what the command says of it, its default included, where it says so itself."""
    told = row.help if own is None else own
    kind: Any = row.kind if row.default is not None else row.kind | None
    name, default = row.name, row.default
    if several:
        name, kind = row.key, list[str] if row.kind is str else list[int]
        optional = row.every or not default
        kind = kind | None if optional else kind
        default = None if optional else default if default is REQUIRED else [default]
        if own is None:
            told = f"{told} (default: all)" if row.every else _sentence(row.listed) if row.listed else told
    option = typer.Argument(help=told) if row.argument else typer.Option(f"--{name.replace('_', '-')}", help=told)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is REQUIRED else default,
        annotation=Annotated[kind, option],
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
