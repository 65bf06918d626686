"""Tile programs by name: one that is shipped, at its own sizes, or a function of a user's file."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path

from chips.spec import Dataflow, Gpu, load_chip
from chips.tiles.compiler import Compiled, compile_program
from chips.tiles.language import Shape, TileError
from chips.tiles.programs.catalog import EXAMPLES


def compile_named(
    name: str, chip: str, asynchronous: bool | None = None, shapes: Mapping[str, Shape] | None = None
) -> Compiled:
    """Compile the program ``name`` for a chip of the catalog or a TOML file.

    ``name``: of ``programs.catalog``, whose tensors have sizes of their own that ``shapes`` may replace, or
    ``FILE.py:FUNCTION``, whose tensors are all in ``shapes``. ``asynchronous`` as ``compile_program`` takes it. Raises
    TileError where there is no such program, for a mistake in it, and for a chip that runs none; CatalogError for an
    unknown chip.
    """
    spec = load_chip(chip)
    if not isinstance(spec, Dataflow | Gpu):
        raise TileError(f"{spec.name} runs no tile programs; choose a GPU or a dataflow chip.")
    if isinstance(spec, Gpu) and asynchronous is None:
        asynchronous = spec.generation.attention.asynchronous
    given = dict(shapes or {})
    if ":" in name:
        return compile_program(_function(name, given), spec, asynchronous, **given)
    if name not in EXAMPLES:
        raise TileError(f"unknown tile program '{name}'; there are {', '.join(sorted(EXAMPLES))}, or FILE.py:NAME.")
    program = EXAMPLES[name].tiled(isinstance(spec, Gpu), asynchronous is not False)
    return compile_program(program, spec, asynchronous, **EXAMPLES[name].shapes | given)


def _function(name: str, shapes: Mapping[str, Shape]) -> Callable[..., None]:
    """The function of a user's file, if all of its tensors have shapes."""
    file, _, function = name.rpartition(":")
    if not Path(file).is_file():
        raise TileError(f"'{file}' is no file; a program of your own is FILE.py:FUNCTION.")
    found = runpy.run_path(file).get(function)
    if not callable(found):
        raise TileError(f"{file} has no function '{function}'.")
    wanted = [
        parameter.name for parameter in signature(found).parameters.values() if parameter.default is parameter.empty
    ]
    if missing := [tensor for tensor in wanted if tensor not in shapes]:
        raise TileError(f"'{function}' needs --shape {' '.join(f'{tensor}=ROWSxCOLUMNS' for tensor in missing)}.")
    program: Callable[..., None] = found
    return program
