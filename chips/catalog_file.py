"""Catalog files: their tables as validated models, and refusals in one sentence that name file, key and what is right.

Knows nothing of chips or models: which models a file holds is for its caller.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, TypeAdapter, ValidationError

from chips.quantity import MOST_LETTERS
from results.errors import LooplineError

Key = tuple[str, ...]
Validated = TypeVar("Validated")


class CatalogError(LooplineError, ValueError):
    """What a file of a catalog says cannot be; the message is one sentence naming file, key and what was expected."""


def validate(
    shape: type[Validated], data: dict[str, Any], path: Path | Callable[[Key], tuple[Path, Key]], kind: str = ""
) -> Validated:
    """``data`` as ``shape``, a model or a union of models told apart by the key ``kind``.

    ``path``: the file, or a function that says in which file a key stands, and under which name there. Types are
    strict: neither text nor a truth value passes for a number. Raises CatalogError for the first problem.
    """
    try:
        return TypeAdapter(shape).validate_python(data, strict=True)
    except ValidationError as error:
        # Among several complaints an unknown key comes first: it is the misspelling that explains a missing one.
        problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    choices = _models(shape)
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        found = f"is {data[kind]!r}" if kind in data else "is missing"
        raise CatalogError(f"{_place(path, (kind,))} {found}; expected one of {', '.join(choices)}.")
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    model = choices[location.pop(0)] if len(choices) > 1 else next(iter(choices.values()))
    key = tuple(location)
    start = _place(path, key)
    if problem["type"] == "extra_forbidden":
        raise CatalogError(f"{start} is not known; expected {_nearest(model, key)}.")
    expected = _expected(_annotation(model, key), problem["msg"])
    found = "is missing" if problem["type"] == "missing" else f"is {reprlib.repr(problem['input'])}"
    raise CatalogError(f"{start} {found}; expected {expected}.")


def nearest_names(name: str, known: Sequence[str], listed_by: str) -> str:
    """What to say of an unknown name: those that are much like it, or the command that lists all."""
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.7)
    return f"the nearest in the catalog: {', '.join(near)}" if near else f"`{listed_by}` lists the catalog"


def _place(path: Path | Callable[[Key], tuple[Path, Key]], key: Key) -> str:
    file, key = (path, key) if isinstance(path, Path) else path(key)
    return f"{file}: key '{'.'.join(key)}'"


def _models(shape: object) -> dict[str, type[BaseModel]]:
    """The models of a union by their tags, or the one model."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return {shape.__name__: shape}
    members = [model for part in get_args(shape) for model in _models(part).values()]
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in members}


def _annotation(model: type[BaseModel], key: Key) -> object:
    """The annotated type that stands at ``key`` inside ``model``; None where the model has no such place."""
    at: object = model
    for part in key:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = at.model_fields.get(part)
            if field is None or field.annotation is None:
                return None
            at = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        elif get_origin(at) is dict:
            keys, value = get_args(at)
            if get_args(keys) and part not in get_args(keys):
                return keys
            at = value
    return at


def _nearest(model: type[BaseModel], key: Key) -> str:
    """The known keys that ``key`` could have meant."""
    parent = _annotation(model, key[:-1])
    known = sorted(parent.model_fields) if isinstance(parent, type) and issubclass(parent, BaseModel) else []
    near = difflib.get_close_matches(key[-1], known, n=1, cutoff=0.5)
    return f"'{near[0]}'" if near else "one of " + ", ".join(known)


def _expected(annotation: object, otherwise: str) -> str:
    """What a value of this type looks like, in words; ``otherwise`` where the type does not tell."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(_expected(part, otherwise) for part in arguments if part is not type(None))
    bounds = arguments[1:] if origin is Annotated else ()
    plain = arguments[0] if origin is Annotated else annotation
    if origin is dict or (isinstance(plain, type) and issubclass(plain, BaseModel)):
        return "a table"
    if plain is bool:
        return "true or false"
    if plain is str and bounds:
        return f"a text of 1 to {MOST_LETTERS} letters, all of them printable"
    words = {"int": "integer", "float": "number", "str": "text"}.get(getattr(plain, "__name__", ""))
    if words is None:
        return otherwise.lower()
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    above = any(isinstance(bound, Gt) for bound in bounds)
    if plain is float and least is not None and most and not above:
        return f"a number from {least:g} to {most:g}"
    positive = least == 1 or above
    kind = f"a positive {words}" if positive else f"an {words}" if plain is int else f"a {words}"
    return kind if most is None else f"{kind}, at most {most}"
