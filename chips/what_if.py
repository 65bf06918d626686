"""Chips that nobody builds, as they are asked for: which they are, and where a unit was surely mistaken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from warnings import warn

from chips.catalog_file import CatalogError
from chips.changes import Value, names_of, read_name, read_values
from chips.datasheet import unit_of
from chips.spec import CATALOG, chip_names, chip_path, load_chip, values_of

MISTAKEN_FACTOR = 100.0
"""By which a value that is changed may be more or less before somebody should look at its unit; a time may be any less,
since that asks what it would be worth to be rid of it."""


def what_if(chip: str, changes: Mapping[str, Value | Sequence[Value]]) -> list[str]:
    """The names of ``chip`` with other values in its datasheet, for all that takes names of chips.

    ``changes``: by key, in SI units, such as ``{"memory.bandwidth": 6.7e12}``; a list, or a text FROM..TO*N such as
    "3.35e12..6.7e12*5", stands for a chip each, and all are combined. Warns where a unit was surely mistaken. Raises
    CatalogError in one sentence for an unknown chip or key, or a value that cannot be.
    """
    return expanded(
        [chip], [(f"{read_name(chip).base}.{key}", listed_values(key, given)) for key, given in changes.items()]
    )


def expanded(names: Sequence[str], settings: Iterable[tuple[str, Sequence[Value]]] = ()) -> list[str]:
    """The names of all chips that ``names`` stand for, with ``settings``: ("h100.memory.bandwidth", its values).

    A setting is of every chip that is called so, changed or not. Warns and raises as ``what_if`` does, and for a
    setting of a chip that is not among them.
    """
    called = [_called(name) for name in names]
    changes: list[dict[str, Sequence[Value]]] = [{} for _ in names]
    for place, values in settings:
        if "." not in place:
            raise CatalogError(f"'{place}' is no key of a chip; expected CHIP.KEY, as in h100.memory.bandwidth.")
        keys = [next((place[len(word) :] for word in words if place.lower().startswith(word)), "") for words in called]
        if not any(keys):
            raise CatalogError(f"{place}: no chip of that name is asked about; there is {', '.join(names)}.")
        for key, own in zip(keys, changes, strict=True):
            own.update({key: values} if key else {})
    found = [made for name, own in zip(names, changes, strict=True) for made in names_of(name, own)]
    for name in found:
        for note in [*_named_as_another(name), *_mistaken_units(name)]:
            warn(note, stacklevel=3)
    return list(dict.fromkeys(found))


def read_setting(text: str) -> tuple[str, list[Value]]:
    """ "h100.memory.bandwidth=6.7e12" as its place and values. Raises CatalogError for what is none."""
    place, _, value = (part.strip() for part in text.partition("="))
    if "." not in place or not value:
        raise CatalogError(f"'{text}' sets nothing; expected CHIP.KEY=VALUE, as in h100.memory.bandwidth=6.7e12.")
    return place, read_values(place, value)


def _called(name: str) -> list[str]:
    """How settings may call a chip: its name, or its file with or without folders and suffix; a dot behind each."""
    base = name.partition("{")[0].strip().lower()
    return [f"{base}.", f"{Path(base).name}.", f"{Path(base).stem}."]


def listed_values(key: str, given: Value | Sequence[Value]) -> list[Value]:
    """All values of a key, of which a text may be a range. Raises CatalogError where it is none."""
    several = [given] if isinstance(given, str | int | float) else given
    return [value for each in several for value in (read_values(key, each) if isinstance(each, str) else [each])]


def _named_as_another(name: str) -> list[str]:
    """A note where rows of a file's chip could be taken for those of the catalog's chip of that name."""
    base = read_name(name).base
    path = chip_path(base)
    own = load_chip(base).name
    if path.parent == CATALOG or own not in chip_names():
        return []
    return [f"{base} calls its chip {own}, as one of the catalog is called; its rows are of the file."]


def _mistaken_units(name: str) -> list[str]:
    base, changes = read_name(name)
    if not changes:
        return []
    load_chip(name)  # refuses what cannot be
    stated = values_of(load_chip(base))
    notes = []
    for key, value in changes.items():
        before = stated[key]
        if isinstance(before, bool) or not isinstance(before, int | float) or not isinstance(value, int | float):
            continue
        unit = unit_of(key, before)
        less = value < before
        if not before or not value or (less and unit == "s"):
            continue
        if (factor := max(value / before, before / value)) >= MISTAKEN_FACTOR:
            told = f"{value:g} {unit} is {factor:,.0f} times {'less' if less else 'more'} than the {before:g} of {base}"
            notes.append(f"{name}: {told}; was another unit meant?")
    return notes
