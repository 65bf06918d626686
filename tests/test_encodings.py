"""Text is UTF-8 whatever the locale: everything that opens text says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("chips", "collectives", "cluster", "results", "scenarios")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TEXT = {"read_text", "write_text"}
FILES = {"open", "fdopen", "NamedTemporaryFile"}
OF_OTHER_THINGS = {"os", "Image"}  # whose open() opens no text


def opened(call: ast.Call) -> str:
    """The name under which a call opens text; empty for another call."""
    if isinstance(call.func, ast.Attribute):
        of = call.func.value
        name = "" if isinstance(of, ast.Name) and of.id in OF_OTHER_THINGS else call.func.attr
    else:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in TEXT:
        # A function of that name that takes the path is the reader of results.text_file, which says it itself.
        return name if isinstance(call.func, ast.Attribute) else ""
    modes = [
        each.value for each in (*call.args, *(word.value for word in call.keywords)) if isinstance(each, ast.Constant)
    ]
    binary = any(isinstance(mode, str) and "b" in mode and len(mode) < 4 for mode in modes)
    return name if name in FILES and not binary else ""


def unsaid(text: str) -> list[int]:
    """The lines that open text in whatever encoding the locale has."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and opened(node)]
    return [call.lineno for call in calls if all(word.arg != "encoding" for word in call.keywords)]


def test_everything_that_opens_text_names_its_encoding() -> None:
    found = {str(path.relative_to(ROOT)): unsaid(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("path.read_text()", False),
        ("path.read_text(errors='replace')", False),
        ("open(path)", False),
        ("path.open('w')", False),
        ("path.write_text(text, encoding='utf-8')", True),
        ("path.open('rb')", True),
        ("os.open(path, 0)", True),
        ("read_text(path)", True),
    ],
)
def test_a_line_that_names_none_is_found(line: str, says: bool) -> None:
    assert (unsaid(line) == []) == says
