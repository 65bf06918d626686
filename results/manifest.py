"""What a sweep's folder says of itself: ``manifest.json``, and which files beside it are the sweep's parts.

The manifest has a digest of its own, and every part names in its footer the sweep and the part that it is, so that
nothing of another sweep, another version or another content of a named file is taken for a row of this one. Names of
parts are made of numbers; nothing that a manifest says becomes a path.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from results.errors import ReadError
from results.text_file import read_json, read_text

MANIFEST = "manifest.json"
PART = re.compile(r"part-\d{6}\.parquet")


class Manifest(BaseModel):
    """A sweep: what was asked, what its prices depend on, how its points are cut into parts, whether all are there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    question: str
    scenario: dict[str, Any]
    version: str
    """of the program and all data of its packages."""
    inputs: dict[str, dict[str, str]]
    """a hash of what each named chip, model, ... says, its file and all that this inherits."""
    points: NonNegativeInt
    part_points: PositiveInt
    columns: dict[str, str]
    """of a row, each with its meaning."""
    complete: bool

    @property
    def parts(self) -> int:
        """How many parts hold all points."""
        return -(-self.points // self.part_points)

    def part_size(self, number: int) -> int:
        """Points of a part: fewer in the last one."""
        return min(self.part_points, self.points - number * self.part_points)

    @property
    def identity(self) -> str:
        """A hash of all that the rows depend on."""
        return _digest(self.model_dump(exclude={"complete"}))

    def labels(self, number: int) -> dict[str, str]:
        """What the footer of a part says: of which sweep it is, and which part."""
        return {"sweep": self.identity, "part": str(number)}

    def text(self) -> str:
        """The file, with a digest of everything else in it."""
        fields = self.model_dump()
        return json.dumps(fields | {"sha256": _digest(fields)}, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a sweep's folder; None where there is none. Raises ReadError for one that is not as written."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    with suppress(ValueError, AttributeError, KeyError, TypeError):  # what is no manifest fails at any of these steps
        fields = read_json(path)
        del fields["sha256"]
        manifest = Manifest.model_validate(fields)
        if read_text(path) == manifest.text():
            return manifest
    raise ReadError(
        f"{path} is damaged or no manifest of a sweep; if the parts beside it are of one, the same `loopline sweep` "
        "writes it again."
    )


def part_path(folder: Path, number: int) -> Path:
    """Where a part is kept."""
    return folder / f"part-{number:06d}.parquet"


def _digest(fields: dict[str, Any]) -> str:
    return sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
