"""How every command takes chips: one or several by ``--chip`` or ``--chips``, and with changes to their datasheets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

NAMES = ("chip", "chips")
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change datasheets: h100.memory.bandwidth=6.7e12, or FROM..TO*N (docs/scenarios.md)"),
]


def taking_chips(command: Callable[..., None]) -> Callable[..., None]:
    """The command with ``--set``, if it takes chips, which it gets with all changes made to their names."""
    own = inspect.signature(command, eval_str=True)
    name = next((name for name in NAMES if name in own.parameters), None)
    if name is None:
        return command

    def changed(settings: list[str] | None = None, **given: Any) -> None:
        from chips.what_if import expanded, read_setting
        from scenarios.errors import ScenarioError
        from scenarios.framework import check_framework

        one = isinstance(given[name], str)
        asked = [given[name]] if one else given[name]
        chips = expanded(asked, [read_setting(text) for text in settings or ()])
        check_framework(given.get("framework"), chips)
        if one and len(chips) > 1:
            raise ScenarioError(f"{asked[0]} stands for {len(chips)} chips here, and one is meant.")
        command(**given | {name: chips[0] if one else chips})

    parameters = []
    for each in own.parameters.values():
        keyword = each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters.append(_named_either_way(keyword) if each.name == name else keyword)
    last = inspect.Parameter("settings", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Settings)
    parameters.insert([each.name for each in parameters].index(name) + 1, last)
    changed.__doc__ = command.__doc__
    vars(changed)["__signature__"] = own.replace(parameters=parameters)
    return changed


def _named_either_way(parameter: inspect.Parameter) -> inspect.Parameter:
    """The option by its own name and by the other."""
    kind, option = get_args(parameter.annotation)
    names = [f"--{name}" for name in sorted(NAMES, key=parameter.name.__ne__)]
    either = typer.Option(*names, help=option.help)
    return parameter.replace(annotation=Annotated[kind, either])
