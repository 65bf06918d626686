"""What a user can have asked of results that is wrong. Light: the command line imports it for every command."""

from __future__ import annotations


class ReadError(ValueError):
    """Results cannot be read; the message is one sentence that names the file and what would be right."""


class SchemaError(ValueError):
    """A record has not the columns, types or sums of the schema; the message names the row and the column."""
