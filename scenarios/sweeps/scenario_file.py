"""Scenario files: a question, and the points that answer it, as TOML with a value, a list or a range for every option.

Here: what a file may say, how it is checked, and the points that it stands for, in order. Nothing is priced here.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    create_model,
    model_validator,
)

from chips.catalog_file import CatalogError
from chips.changes import Value
from chips.what_if import expanded, listed_values, read_setting
from results.text_file import MOST_TOML_BYTES, parse_toml, read_text
from scenarios.errors import ScenarioError
from scenarios.framework import check_framework
from scenarios.inputs import INPUTS, Input, axes
from scenarios.quantities import LARGEST_COUNT

CATALOG = Path(__file__).parent / "catalog"
Request = dict[str, Any]  # the arguments of ``scenarios.point.make_point``
MOST_POINTS = 100_000_000
MOST_VALUES = 1_000_000


class Range(BaseModel):
    """Numbers from ``from`` up to at most ``to``: each ``step`` more, or ``times`` as much, as the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    first: PositiveInt = Field(alias="from")
    to: Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
    step: PositiveInt | None = None
    times: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Range:
        if (self.step is None) == (self.times is None):
            raise ValueError("a range has either a step or times")
        if self.first > self.to:
            raise ValueError(f"a range from {self.first} to {self.to} has no number")
        if self.step is not None and (self.to - self.first) // self.step >= MOST_VALUES:
            raise ValueError(f"a range has at most {MOST_VALUES:,} numbers; so has this one with a longer step")
        return self

    @property
    def values(self) -> list[int]:
        """All numbers, in order."""
        if self.step is not None:
            return list(range(self.first, self.to + 1, self.step))
        values, value = [], self.first
        while value <= self.to:
            values.append(value)
            value *= self.times or 1
        return values


class Sample(BaseModel):
    """So many points of the product, drawn without replacement by a seeded generator."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    points: PositiveInt
    seed: NonNegativeInt = 0


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[Text | Annotated[list[Text], Field(min_length=1)], Field(description="a text, or a list of texts")]
Numbers = Annotated[
    PositiveInt | Annotated[list[PositiveInt], Field(min_length=1)] | Range,
    Field(description="a whole number from 1 up, a list of them, or a range such as { from = 1, to = 16, times = 2 }"),
]
Truths = Annotated[
    bool | Annotated[list[bool], Field(min_length=1)], Field(description="true or false, or a list of both")
]


class Question(BaseModel):
    """What a scenario answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    question: Text = Field(description="what the scenario answers, as a sentence")


def _key_of(row: Input) -> tuple[Any, Any]:
    """The key of an input: what it may hold, and what it holds where a file does not say."""
    if row.listed:
        held: Any = Annotated[Texts, Field(description=row.listed)]
    elif row.example:
        held = Annotated[
            str | Annotated[list[str], Field(min_length=1)],
            Field(description=f"a text such as '{row.example}', or a list"),
        ]
    else:
        held = {int: Numbers, bool: Truths}.get(row.kind, Texts)
    return held if row.default is not None else held | None, tuple(row.choices) if row.every else row.default


if TYPE_CHECKING:
    Asked = Question
else:
    Asked = create_model("Asked", __base__=Question, **{row.key: _key_of(row) for row in axes()})


class Scenario(Asked):
    """A scenario file. Every option of ``loopline compare`` may be one value or several; all are combined.

    ``together``: groups of keys whose lists go side by side instead: the first of each, the second of each, and so on.
    ``override``: values in place of those of the datasheets of ``chips``; once checked, they stand in these names.
    """

    together: list[list[str]] = Field(default=[], description="a list of lists of keys, such as [['chips', 'count']]")
    sample: Sample | None = Field(default=None, description="a table { points = 1000, seed = 1 }")
    override: dict[str, Any] = Field(
        default={}, description="a table of other values in datasheets: [override] h100.memory.bandwidth = 6.7e12"
    )

    def values(self, key: str) -> list[Any]:
        """All values of the input that the file calls ``key``."""
        return _values(getattr(self, key))


@dataclass(frozen=True)
class Points:
    """The points of a scenario, by number, without a list of all of them: ``len``, ``[number]``, iteration."""

    groups: tuple[tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]], ...]
    chosen: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return prod(len(values) for _, values in self.groups) if self.chosen is None else len(self.chosen)

    def __getitem__(self, number: int) -> Request:
        if self.chosen is not None:
            number = self.chosen[number]
        request: Request = {}
        for keys, values in reversed(self.groups):
            number, place = divmod(number, len(values))
            request |= zip(keys, values[place], strict=True)
        return request

    def __iter__(self) -> Iterator[Request]:
        if self.chosen is not None:
            yield from (self[place] for place in range(len(self)))
            return
        for combination in product(*(values for _, values in self.groups)):
            yield {
                key: value
                for (keys, _), values in zip(self.groups, combination, strict=True)
                for key, value in zip(keys, values, strict=True)
            }

    def part(self, first: int, count: int) -> list[Request]:
        """``count`` points from number ``first`` on, fewer at the end."""
        return [self[number] for number in islice(range(len(self)), first, first + count)]


def scenario_names() -> list[str]:
    """The names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in CATALOG.glob("*.toml"))


def load_scenario(name: str, changes: Sequence[str] = ()) -> Scenario:
    """A shipped scenario by its name, or one from a TOML file, with ``changes`` such as "count=[1, 8]" applied.

    Paths of chips and models in a file are relative to it. Raises ScenarioError in one sentence that names the file,
    the line, the key and what was expected; ReadError for what is no TOML.
    """
    path = CATALOG / f"{name}.toml"
    if name not in scenario_names():
        path = Path(name)
        if path.suffix.lower() != ".toml" and path.exists():
            raise ScenarioError(f"{name} is no scenario: a TOML file, whose name ends in .toml.")
        if path.suffix.lower() != ".toml":
            near = difflib.get_close_matches(name, scenario_names(), n=1, cutoff=0.6)
            expected = near[0] if near else f"one of {', '.join(scenario_names())}"
            raise ScenarioError(f"unknown scenario '{name}'; expected a .toml file or {expected}.")
    text = read_text(path, MOST_TOML_BYTES)
    data = parse_toml(text, path)
    source = _Source(str(path), text)
    of_chips = [change for change in changes if _is_of_a_chip(change)]
    for change in changes:
        if change in of_chips:
            continue
        (key, value), *_ = _change(change).items()
        both_tables = isinstance(value, dict) and isinstance(data.get(key), dict)
        dotted = "." in change.partition("=")[0]
        data[key] = data[key] | value if both_tables and dotted else value
        source.changes[key] = f"--set {change}"
    return _checked(data, source, path.parent, [read_setting(change) for change in of_chips])


def scenario_from(data: Mapping[str, Any]) -> Scenario:
    """A scenario from Python values, checked like a file. Raises ScenarioError."""
    return _checked(dict(data), _Source("the scenario"), Path())


def points_of(scenario: Scenario) -> Points:
    """All points that a scenario stands for. Raises ScenarioError where keys cannot go side by side."""
    keys = [row.key for row in axes()]
    values = {key: scenario.values(key) for key in keys}
    grouped: dict[str, tuple[str, ...]] = {}
    for group in scenario.together:
        for key in group:
            if key not in keys:
                raise ScenarioError(f"together: '{key}' is not a key that can vary; expected {_nearest(key, keys)}.")
            if key in grouped:
                raise ScenarioError(f"together: '{key}' is named twice; each key goes with one group.")
            grouped[key] = tuple(group)
        lengths = {key: len(values[key]) for key in group}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise ScenarioError(f"together: lists side by side are equally long; {told}.")
    names = {row.key: row.name for row in axes()}
    groups: dict[tuple[str, ...], tuple[tuple[Any, ...], ...]] = {}
    for key in keys:
        beside = grouped.get(key, (key,))
        named = tuple(names[each] for each in beside)
        groups.setdefault(named, tuple(zip(*(values[each] for each in beside), strict=True)))
    points = Points(tuple(groups.items()))
    if len(points) > MOST_POINTS:
        raise ScenarioError(f"The scenario has {len(points):,} points; at most {MOST_POINTS:,} can be run.")
    if scenario.sample is None:
        return points
    if scenario.sample.points > len(points):
        raise ScenarioError(f"sample: {scenario.sample.points} points are asked of {len(points)}.")
    drawn = np.random.default_rng(scenario.sample.seed).choice(len(points), scenario.sample.points, replace=False)
    return Points(points.groups, tuple(sorted(int(number) for number in drawn)))


def _values(given: object) -> list[Any]:
    if isinstance(given, Range):
        return list(given.values)
    return list(given) if isinstance(given, list | tuple) else [given]


@dataclass
class _Source:
    """Where keys and values stand: a file of this text, but for the ``changes`` of some keys."""

    name: str
    text: str = ""
    changes: dict[str, str] = field(default_factory=dict)

    def place(self, key: str, value: object = None) -> str:
        """The file and the line of a key of its top level, or of a text or number in the list of that key."""
        if key in self.changes:
            return self.changes[key]
        lines = self.text.splitlines()
        heads = re.compile(rf"\s*(\[\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\].]")
        first = next((number for number, line in enumerate(lines) if heads.match(line)), None)
        if first is None:
            return self.name
        item = re.compile(rf"(?<![\w.]){re.escape(str(value))}(?![\w.])")
        stands = range(first, len(lines)) if isinstance(value, str | int) else range(0)
        return f"{self.name}, line {next((number for number in stands if item.search(lines[number])), first) + 1}"


def _checked(
    data: dict[str, Any], source: _Source, folder: Path, settings: Sequence[tuple[str, Sequence[Value]]] = ()
) -> Scenario:
    """The scenario of ``data``; ``settings`` of its chips come after its own."""
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(_told(error, data, source)) from None
    located: dict[str, list[str]] = {}
    for row in INPUTS:
        values = [value for value in scenario.values(row.key) if value is not None]
        if row.listed:
            located[row.key] = [_located(value, folder) for value in values]
        for given, value in zip(values, located.get(row.key, values), strict=True):
            if row.choices and value not in row.choices:
                expected = _nearest(value, tuple(row.choices))
                raise ScenarioError(
                    f"{source.place(row.key, value)}: key '{row.key}' is '{value}'; expected {expected}."
                )
            try:
                if row.parse:
                    row.parse(value)
            except ValueError as error:
                raise ScenarioError(f"{source.place(row.key, given)}: {error}") from None
    try:
        located["chips"] = expanded(located["chips"], [*_settings(scenario.override), *settings])
    except CatalogError as error:
        raise ScenarioError(f"{source.place('override' if scenario.override else 'chips')}: {error}") from None
    checked = scenario.model_copy(update=located | {"override": {}})
    try:
        check_framework(any(checked.values("framework")), located["chips"])
    except ScenarioError as error:
        raise ScenarioError(f"{source.place('framework')}: {error}") from None
    try:
        points_of(checked)
    except ScenarioError as error:
        key = str(error).partition(":")[0]
        raise ScenarioError(f"{source.place(key)}: {error}") from None
    return checked


def _located(name: str, folder: Path) -> str:
    """A name, or a path that a file beside it is meant by; changes to a chip stand behind either."""
    base, brace, changes = name.partition("{")
    return f"{folder / base}{brace}{changes}" if (folder / base).is_file() else name


def _settings(table: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, list[Value]]]:
    """The values of a table by their keys, sections and all."""
    for name, value in table.items():
        place = f"{at}.{name}" if at else name
        if isinstance(value, Mapping):
            yield from _settings(value, place)
        else:
            yield place, listed_values(place, value)


def _told(error: ValidationError, data: Mapping[str, Any], source: _Source) -> str:
    """What is wrong first of all: a key that is not known, or a value that is none of the key's."""
    problems = error.errors()
    unknown = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"]
    for where in sorted(unknown, key=len):
        key, last = str(where[0]), str(where[-1])
        if len(where) == 1:
            known: tuple[str, ...] = tuple(Scenario.model_fields)
        else:
            inner: type[BaseModel] = Sample if key == "sample" else Range
            known = tuple(field.alias or name for name, field in inner.model_fields.items())
        named = key if len(where) == 1 else f"{key}.{last}"
        return f"{source.place(key, last)}: key '{named}' is not known; expected {_nearest(last, known)}."
    key = str(problems[0]["loc"][0])
    described = Scenario.model_fields[key]
    expected = described.description or next(
        (part.description for part in described.metadata if getattr(part, "description", None)), "another value"
    )
    found = f"is {reprlib.repr(data[key])}" if key in data else "is missing"
    if own := next((problem["ctx"]["error"] for problem in problems if problem["type"] == "value_error"), None):
        return f"{source.place(key)}: key '{key}': {own}."
    items = [item for item in _values(data.get(key)) if item in [problem["input"] for problem in problems]]
    return f"{source.place(key, items[0] if items else None)}: key '{key}' {found}; expected {expected}."


def _change(change: str) -> dict[str, Any]:
    """The key and the value of "key=value", or of "table.key=value" as a table; what is no TOML is a text."""
    key, sign, value = (part.strip() for part in change.partition("="))
    if not sign or not re.fullmatch(r"[\w-]+(\.[\w-]+)?", key) or not value:
        raise ScenarioError(
            f'--set {change}: expected KEY=VALUE, such as count=8, sample.points=100 or \'chips=["h100", "b200"]\'.'
        )
    try:
        return tomllib.loads(f"{key} = {value}")
    except (ValueError, RecursionError):
        return tomllib.loads(f"{key} = {json.dumps(value, ensure_ascii=False)}")


def _is_of_a_chip(change: str) -> bool:
    """Whether it is a value of a datasheet, "h100.memory.bandwidth=6.7e12", and not of a table of the file."""
    place = change.partition("=")[0].strip()
    return "." in place and place.partition(".")[0] not in Scenario.model_fields


def _nearest(value: object, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.5)
    return f"'{near[0]}'" if near else "one of " + ", ".join(known)
