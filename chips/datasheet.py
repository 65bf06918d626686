"""The catalog for readers: key figures of all chips, and one chip's datasheet with the source of every number.

Sources are the trailing comments of the catalog's TOML files, those of an inherited generation included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel

from chips.catalog_file import Key
from chips.changes import read_name
from chips.frozen import Source
from chips.spec import Dataflow, Gpu, Systolic, chip_names, chip_path, layers, load_chip
from results.text_file import read_text, read_toml

Value = str | int | float | bool | list[int]
# Units by the end of a key; the first that fits. A key that fits none is a count, a fraction or a word.
UNITS = {
    "flop_per_clock": "FLOP/clock/unit",
    "bytes_per_clock": "bytes/clock",
    "functions_per_clock": "1/clock/unit",
    "bandwidth": "bytes/s",
    "efficiency": "fraction",
    "share": "fraction",
    "bytes": "bytes",
    "hz": "Hz",
    "watts": "W",
    "cycles": "clocks",
    "seconds": "s",
    "latency": "s",
    "gap": "s",
    "startup": "s",
    "hop": "s",
    "sync": "s",
    "step": "s",
    "detour": "s",
    "network_software": "s",
    "overlap": "fraction",
    "tail": "fraction",
}
# Sections whose other keys are all times.
TIMES = ("timing", "generation.launch")


class Row(TypedDict):
    """A value of a datasheet: its section and key, its unit, where it comes from, and the file that states it."""

    section: str
    key: str
    value: Value
    unit: str
    source: str
    file: str


def key_figures() -> list[dict[str, Value | None]]:
    """The catalog at a glance, a record a chip; GB, MB and TFLOP/s are powers of 1000, links one way."""
    return [_figures(load_chip(name)) for name in chip_names()]


def _figures(chip: Gpu | Dataflow | Systolic) -> dict[str, Value | None]:
    peaks = {precision: chip.peak_flops(precision) / 1e12 for precision in chip.compute.matrix_flop_per_clock}
    eight_bit = peaks.get("fp8", peaks.get("int8"))
    return {
        "chip": chip.name,
        "title": chip.title,
        "kind": chip.kind,
        "units": chip.compute.units,
        "bf16_tflops": round(peaks["bf16"], 1) if "bf16" in peaks else None,
        "8bit_tops": None if eight_bit is None else round(eight_bit, 1),
        "memory_gb_per_s": round(chip.memory.bandwidth / 1e9, 1),
        "memory_gb": round(chip.memory.capacity_bytes / 1e9, 1),
        "on_chip_mb": round(chip.on_chip_bytes / 1e6, 1),
        "link_gb_per_s": round(chip.link.bandwidth / 1e9, 1),
        "topology": chip.link.topology,
        "watts": chip.power_watts,
        "kernels": "measured" if isinstance(chip, Gpu) and chip.kernels_measured else "not measured",
    }


def datasheet(name: str) -> list[Row]:
    """Every value of one chip, the defaults included, in the order of the files; its generation's coefficients last.

    Raises as ``load_chip`` does.
    """
    chip, path = load_chip(name), chip_path(name)
    found: dict[Key, tuple[Value, str, str]] = {}
    for layer in reversed(layers(read_toml(path), path)):
        file = f"{layer.path.parent.name}/{layer.path.name}" if layer.at else layer.path.name
        stated = {key: (value, source, file) for key, value, source in read_sources(layer.path)}
        found |= {(*layer.at, *key): row for key, row in stated.items() if layer.states(key)}
    found |= {key: (value, source, "") for key, value, source in _defaults(chip) if key not in found}
    for dotted, value in read_name(name).changes.items():
        key = tuple(dotted.split("."))
        before = found[key][0] if key in found else None
        found[key] = (value, f"changed from {before}", chip.name)
    sections = list(dict.fromkeys(key[:-1] for key in found))
    return [
        Row(
            section=".".join(key[:-1]) or "chip",
            key=key[-1],
            value=value,
            unit=_unit(key, value),
            source=source,
            file=file,
        )
        for key, (value, source, file) in sorted(
            found.items(), key=lambda entry: (entry[0][0] == "generation", sections.index(entry[0][:-1]))
        )
    ]


def read_sources(path: Path) -> Iterator[tuple[Key, Value, str]]:
    """(key, value, trailing comment) of every value in a TOML file; an inline table's comment is that of its values."""
    import tomlkit

    return _walk(tomlkit.parse(read_text(path)), (), "")


def _walk(table: Mapping[str, object], at: Key, comment: str) -> Iterator[tuple[Key, Value, str]]:
    from tomlkit.container import Container
    from tomlkit.items import InlineTable, Item

    for name in table:
        # Looked up as an item, because a table hands out truth values without their comments.
        container = table if isinstance(table, Container) else getattr(table, "value", None)
        item = container.item(name) if isinstance(container, Container) else table[name]
        own = item.trivia.comment.lstrip("# ") if isinstance(item, Item) else ""
        if isinstance(item, Mapping):
            yield from _walk(item, (*at, name), own if isinstance(item, InlineTable) else "")
        elif isinstance(item, Item):
            yield (*at, name), item.unwrap(), own or comment


def _defaults(chip: BaseModel, at: Key = ()) -> Iterator[tuple[Key, Value, str]]:
    """(key, value, source) of every field that has a value when a datasheet leaves it out."""
    for name, field in type(chip).model_fields.items():
        value = getattr(chip, name)
        if isinstance(value, BaseModel):
            yield from _defaults(value, (*at, name))
        elif not field.is_required() and value is not None:
            source = next((f"default: {said.text}" for said in field.metadata if isinstance(said, Source)), "")
            yield (*at, name), value, source


def unit_of(key: str, value: Value) -> str:
    """The unit of what stands at a key such as "memory.bandwidth"; empty for counts, fractions and words."""
    return _unit(tuple(key.split(".")), value)


def _unit(key: Key, value: Value) -> str:
    if isinstance(value, str | bool):
        return ""
    for part in reversed(key):
        for ending, unit in UNITS.items():
            if part.endswith(ending):
                return unit
    return "s" if ".".join(key[:-1]) in TIMES else ""
