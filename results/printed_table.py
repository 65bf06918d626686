"""The one table that all commands print: columns of texts on a terminal or into a pipe, of which no cell is ever cut.

All columns go into a pipe. A terminal that is too narrow gets fewer: first those go that are nil in every row, then by
rank, and a line below says which are missing and how to see them. Long texts break at blanks. No line ends in blanks.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 160
BETWEEN = 1  # blanks between two columns of a pipe; a terminal has one more
LONG, NARROW = 24, 8  # a text that is longer than the first may be broken, into lines no shorter than the second
NIL = re.compile(r"-|[0.]+%?")
NUMBER = re.compile(r"-|[<~+-]?\d[\d,.]*(e[+-]?\d+)?( ?[^\d\s][^\d\s]*)?")


@dataclass(frozen=True)
class Column:
    """A column: its title, which may have several lines, and its cells.

    ``rank``: 0 where it is never left out, as the names of rows; of the others the highest goes first. ``right``:
    whether numbers end in one line; None: where all cells are numbers.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    right: bool | None = None

    @property
    def width(self) -> int:
        """Letters of the widest line of its title or cells."""
        return max(cell_len(line) for text in (self.title, *self.cells) for line in text.split("\n"))

    @property
    def least(self) -> int:
        """The width below which a line would be broken that should not be."""
        longest = max(map(cell_len, self.cells), default=0)
        if longest <= LONG or self.ends_right:
            return self.width
        words = (cell_len(word) for text in (self.title, *self.cells) for word in text.split())
        return min(self.width, max(LONG, *(length for length in words if length <= 2 * LONG)))

    @property
    def ends_right(self) -> bool:
        """Whether its cells are aligned at their ends."""
        return all(NUMBER.fullmatch(cell) for cell in self.cells) if self.right is None else self.right

    @property
    def nil(self) -> bool:
        """Whether it may be left out, and says nothing in any row."""
        return self.rank > 0 and all(NIL.fullmatch(cell) or not cell for cell in self.cells)


def open_console(stream: TextIO) -> Console:
    """A console on ``stream``: as wide as its terminal, or without colour and of a fixed width when piped."""
    if stream.isatty():
        told = os.environ.get("COLUMNS", "")
        width = int(told) if told.isdecimal() else os.get_terminal_size(stream.fileno()).columns
        return Console(file=stream, width=width or None, highlight=False, markup=False, emoji=False)
    return Console(file=stream, width=PIPE_WIDTH, no_color=True, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Sequence[Column], stream: TextIO, groups: Sequence[int] = (), *, hint: str = "--json has them"
) -> None:
    """Print a table; ``groups``: rows below which an empty line stands; ``hint``: how to see what has no room."""
    console = open_console(stream)
    terminal = console.is_terminal
    between = BETWEEN + terminal
    shown = _that_fit(columns, console.width, between) if terminal else list(columns)
    widths = _widths(shown, console.width, between)
    head, body = _lines(shown, widths, between, groups)
    for line in head:
        _print(console, line, bold=True)
    if terminal:
        _print(console, "─" * (sum(widths) + between * (len(widths) - 1)))
    for line in body:
        _print(console, line)
    if missing := [_one_line(column.title) for column in columns if column not in shown]:
        wide = sum(column.width for column in columns) + between * (len(columns) - 1)
        print_line(f"no room for {', '.join(missing)}: {wide} columns show all, {hint}", stream)


def print_line(line: str, stream: TextIO, *, indent: str = "", bold: bool = False) -> None:
    """Print a sentence; on a terminal it breaks at blanks, with ``indent`` before each of its lines."""
    console = open_console(stream)
    lines = [indent + line]
    if console.is_terminal:
        lines = textwrap.wrap(
            line, console.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    for each in lines:
        _print(console, each, bold=bold)


def _print(console: Console, line: str, *, bold: bool = False) -> None:
    console.print(Text(line, style="bold" if bold else ""), soft_wrap=True)


def _that_fit(columns: Sequence[Column], width: int, between: int) -> list[Column]:
    """The columns for which there is room: those that are nil go first, then by rank, the last of equals first."""
    shown = list(columns)
    while sum(column.least + between for column in shown) - between > width:
        going = [column for column in shown if column.nil] or [column for column in shown if column.rank]
        if not going:
            break
        last = max(column.rank for column in going)
        shown.remove([column for column in going if column.rank == last][-1])
    return shown


def _widths(columns: Sequence[Column], width: int, between: int) -> list[int]:
    """The columns' widths: of long texts, as much as the others leave, the widest first."""
    widths = [column.width for column in columns]
    over = sum(widths) + between * (len(widths) - 1) - width
    # Where not even that is enough, and no column can be left out, long texts break within their words.
    for least in ([column.least for column in columns], [min(column.least, NARROW) for column in columns]):
        long = [at for at, column in enumerate(columns) if column.least < column.width]
        while over > 0 and (able := [at for at in long if widths[at] > least[at]]):
            widths[max(able, key=widths.__getitem__)] -= 1
            over -= 1
    return widths


def _lines(
    columns: Sequence[Column], widths: Sequence[int], between: int, groups: Sequence[int]
) -> tuple[list[str], list[str]]:
    titles = [_broken(column.title, width) for column, width in zip(columns, widths, strict=True)]
    deepest = max(map(len, titles))
    titles = [[""] * (deepest - len(title)) + title for title in titles]
    body: list[str] = []
    for row in range(len(columns[0].cells)):
        cells = [_broken(column.cells[row], width) for column, width in zip(columns, widths, strict=True)]
        body += _laid(cells, columns, widths, between)
        if row in groups:
            body.append("")
    return list(_laid(titles, columns, widths, between)), body


def _laid(cells: Sequence[list[str]], columns: Sequence[Column], widths: Sequence[int], between: int) -> Iterator[str]:
    """The lines of one row, whose cells may have several."""
    for line in range(max(map(len, cells))):
        padded = [
            _padded(cell[line] if line < len(cell) else "", width, right=column.ends_right)
            for cell, column, width in zip(cells, columns, widths, strict=True)
        ]
        yield (" " * between).join(padded).rstrip()


def _padded(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def _broken(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width`` letters, broken at blanks, or within a word that is longer."""
    return [
        piece
        for line in text.split("\n")
        for piece in ([line] if cell_len(line) <= width else textwrap.wrap(line, width, break_on_hyphens=False))
    ] or [""]


def _one_line(title: str) -> str:
    """A title without its line breaks, and without the hyphens that they put into words."""
    return title.replace("-\n", "").replace("\n", " ")
