"""Help on narrow terminals: a word that is longer than its column goes on in the next line, instead of being cut."""

from __future__ import annotations

from typing import Any

from rich.columns import Columns
from rich.table import Table
from rich.text import Text


class FoldedTable(Table):
    """The table that options are shown in."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*cells, **options)
        for column in self.columns:
            column.overflow = "fold"


class FoldedColumns(Columns):
    """What the help of one option is made of."""

    def __init__(self, *renderables: Any, **options: Any) -> None:
        super().__init__(*renderables, **options)
        for each in self.renderables:
            if isinstance(each, Text):
                each.overflow = "fold"
