"""A part of a sweep: some of its points as a table, each row keyed by its content and by the version of the model.

Runs in workers. What the parts of a sweep are, and where they are kept, is in ``scenarios.sweeps.sweep``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chips.spec import load_chip
from results.schema import COLUMNS, SWEPT, frame_of_columns
from scenarios.errors import ScenarioError
from scenarios.inputs import INPUTS, Input
from scenarios.outcome import Columns, asked, unfit
from scenarios.point import Point, make_point
from scenarios.pricing import price
from scenarios.sweeps.scenario_file import Request
from scenarios.workload.model import load_model

if TYPE_CHECKING:
    import pandas as pd

Inputs = dict[str, dict[str, str]]  # by key of a scenario and name: a hash of what the name stands for
PACKAGES = ("chips", "cluster", "collectives", "scenarios")
DATA_SUFFIXES = (".py", ".toml")
LARGEST_HELD = 2**63 - 1
KEPT_AS = {str: "str", int: "int64", bool: "bool"}


@cache
def model_version() -> str:
    """The installed version, and a hash of all code and data that a result depends on."""
    digest = blake2b(digest_size=8)
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(path for path in folder.rglob("*") if path.suffix in DATA_SUFFIXES):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return f"{installed_version('loopline')}+{digest.hexdigest()}"


class Basis(NamedTuple):
    """What rows depend on beside what their point is asked to be."""

    version: str
    """``model_version()``."""
    inputs: Inputs
    """``named_inputs`` of the whole sweep."""


def named_inputs(names: Mapping[str, Iterable[str]]) -> Inputs:
    """What ``names`` of each key that files may stand for say now, each as a hash of all its numbers.

    Files are read again. Raises CatalogError for a chip or model that cannot be read.
    """
    load_chip.cache_clear()
    load_model.cache_clear()
    rows = {row.key: row for row in INPUTS if row.listed}
    return {key: {name: rows[key].resolved(name).fingerprint.hex() for name in names[key]} for key in rows}


def price_unchanged(requests: Sequence[Request], basis: Basis) -> pd.DataFrame:
    """``price_part``, where the program and the files are still those of ``basis``. Raises ScenarioError."""
    if model_version() != basis.version:
        raise ScenarioError(
            f"a worker has version {model_version()} of the model, the sweep is of {basis.version}; install one "
            "version everywhere, and start the sweep again."
        )
    rows = {row.key: row.name for row in INPUTS if row.listed}
    asked = {key: {request[name] for request in requests} for key, name in rows.items()}
    for key, found in named_inputs(asked).items():
        changed = [name for name, held in found.items() if basis.inputs[key][name] != held]
        if changed:
            raise ScenarioError(
                f"{changed[0]} has changed while the sweep ran; what is kept was priced with it as it was: put that "
                "back and go on, or start over with --fresh."
            )
    return price_part(requests, basis.version)


def _beside_the_schema() -> list[Input]:
    """Inputs that only a sweep's rows have a column of, texts first."""
    return sorted((row for row in INPUTS if row.name not in COLUMNS), key=lambda row: row.kind is not str)


def more_columns() -> dict[str, str]:
    """What a sweep's rows have beside the schema's columns, with what each means."""
    told = {row.name: SWEPT[row.name].meaning if row.name in SWEPT else row.meaning for row in _beside_the_schema()}
    return {"key": "what the point is and which version of the model answered, as a hash"} | told


def make_points(requests: Sequence[Request]) -> list[Point | ScenarioError]:
    """Every request as a point, or why it is none. Raises CatalogError for a chip or model that cannot be read."""
    points: list[Point | ScenarioError] = []
    for request in requests:
        options = dict(request)
        try:
            points.append(make_point(options.pop("model"), options.pop("chip"), options.pop("count"), **options))
        except ScenarioError as error:
            points.append(error)
    return points


_SORTED = json.JSONEncoder(sort_keys=True)


def key_of(request: Request, point: Point | ScenarioError, version: str) -> str:
    """A hash of what the point is (the chip's and the model's own numbers, not their names) and of the version."""
    digest = blake2b(version.encode(), digest_size=12)
    if isinstance(point, Point):
        digest.update(point.chip.fingerprint + point.model.fingerprint)
    digest.update(_SORTED.encode(request).encode())
    return digest.hexdigest()


def price_part(requests: Sequence[Request], version: str) -> pd.DataFrame:
    """A row for each request, in order: the schema's columns and ``more_columns``. ``version``: ``model_version()``.

    A point that is refused or that fails is a row that says why in ``reason``.
    """
    import pandas as pd

    made = make_points(requests)
    columns = unfit(len(requests))
    valid = [number for number, point in enumerate(made) if isinstance(point, Point)]
    for name, values in _priced([point for point in made if isinstance(point, Point)]).items():
        columns[name][valid] = values
    for number, (request, point) in enumerate(zip(requests, made, strict=True)):
        if isinstance(point, ScenarioError):
            for name, value in (request | {"reason": str(point)}).items():
                # A number that no column holds is in the reason alone; what a point would have chosen is nowhere.
                if name in columns and value is not None and not (isinstance(value, int) and value > LARGEST_HELD):
                    columns[name][number] = value
    results = frame_of_columns(columns)
    keys = [key_of(request, point, version) for request, point in zip(requests, made, strict=True)]
    results["key"] = pd.array(keys, dtype="str")
    for row in _beside_the_schema():
        held = [row.asked_of(point) if isinstance(point, Point) else row.kind() for point in made]
        results[row.name] = pd.Series(held, dtype=KEPT_AS[row.kind])
    return results


def _priced(points: Sequence[Point]) -> Columns:
    """A row for each point; where something is wrong with one, it alone says so."""
    try:
        return price(points).columns
    except Exception as error:
        if len(points) == 1:
            columns = asked(points)
            columns["reason"][0] = (
                str(error) if isinstance(error, ScenarioError) else f"internal error: {type(error).__name__}: {error}"
            )
            return columns
    middle = len(points) // 2
    one, other = _priced(points[:middle]), _priced(points[middle:])
    return {name: np.concatenate([one[name], other[name]]) for name in one}
