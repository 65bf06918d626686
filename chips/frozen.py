"""Immutable data with strict keys, known by its content: the base of datasheets, models and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict


class Source(NamedTuple):
    """Where the default of a field comes from, as an annotation of it."""

    text: str


class Frozen(BaseModel):
    """Immutable; a key that it does not know is an error. Equal, and in a cache the same, where its content is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @cached_property
    def fingerprint(self) -> bytes:
        """A hash of all fields, the same in every process; computed once an object."""
        return blake2b(self.model_dump_json().encode(), digest_size=12).digest()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and isinstance(other, Frozen) and self.fingerprint == other.fingerprint

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        # pydantic copies cached properties too.
        copied.__dict__.pop("fingerprint", None)
        return copied
