"""Generated text as it comes: on a terminal with the time of each token beside it, else alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.units import format_seconds, three_digits

# Lines of the terminal that the table of times and its frame need; the rest shows the end of the text.
TABLE_LINES = 6


class GenerationView:
    """Streams text to ``out`` (None: nowhere) and, where ``err`` is a terminal, shows a live table of times on it.

    Where both are terminals they are one screen: the text then grows above the table, and is printed once it is whole.
    """

    def __init__(self, out: TextIO | None, err: TextIO) -> None:
        self._out = out
        self._console = Console(file=err, highlight=False, markup=False, emoji=False)
        self._shared = out is not None and out.isatty() and err.isatty()
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if err.isatty() else None
        self._text, self._status = "", ""
        self._last: dict[str, float] = {}
        self._total: dict[str, float] = {}
        self._tokens = 0

    def __enter__(self) -> GenerationView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._out is not None:
            print(self._text if self._shared else "", file=self._out, flush=True)

    def status(self, sentence: str) -> None:
        """What is being waited for before the first token."""
        self._status = sentence
        self._refresh()

    def token(self, text: str, seconds: Mapping[str, float]) -> None:
        """The next token's text, and its time on each machine, in seconds by the machine's name."""
        self._text += text
        self._tokens += 1
        self._status, self._last = "", dict(seconds)
        for name, time in seconds.items():
            self._total[name] = self._total.get(name, 0.0) + time
        if self._out is not None and not self._shared:
            print(text, end="", file=self._out, flush=True)
        self._refresh()

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(Group(self._visible_text(), self._status or self._times()), refresh=True)

    def _visible_text(self) -> Text:
        if not self._shared:
            return Text("")
        lines = Text(self._text).wrap(self._console, self._console.width)
        room = max(1, self._console.height - TABLE_LINES - len(self._total))
        return Text("\n").join(lines[-room:])

    def _times(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, header_style="bold")
        table.add_column(f"token {self._tokens}", overflow="fold")
        for title in ("this token", "all tokens", "tokens/s"):
            table.add_column(title, justify="right", no_wrap=True, min_width=10)
        for name, total in self._total.items():
            speed = three_digits(self._tokens / total)
            table.add_row(name, format_seconds(self._last[name]), format_seconds(total), speed)
        return table
