"""Tables in Markdown, for documents that a command writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown_table(records: Sequence[Mapping[str, str]]) -> str:
    """A table whose columns are the keys of the records; a bar inside a cell is escaped. Empty without records."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        return ""
    lines = [names, ["---"] * len(names), *([record.get(name, "") for name in names] for record in records)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
