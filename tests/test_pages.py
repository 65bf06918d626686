"""The pages: what they show of the program can be printed again, and what they link to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"<!-- (run|run apart|shown): (?:(?!-->).)*? -->\n\n```text\n", re.DOTALL)
LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]*)?\)")

PLACE = re.compile(r"`((?:chips|cluster|collectives|results|scenarios|tests|benchmarks|docs)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_of_output_says_what_prints_it_or_why_nothing_does(page: Path) -> None:
    text = page.read_text()
    assert len(MARKED.findall(text)) == text.count("```text\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    assert [name for name in LINK.findall(page.read_text()) if not (page.parent / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_or_folder_that_a_page_names_is_there(page: Path) -> None:
    named = set(PLACE.findall(page.read_text()))
    assert [place for place in named if not any(ROOT.glob(re.sub("NAME|FAMILY", "*", place)))] == []


def test_the_spine_is_what_a_comparison_calls(tmp_path: Path) -> None:
    drawn = tmp_path / "spine.svg"
    subprocess.run([sys.executable, "benchmarks/tools/draw_architecture.py", "spine", str(drawn)], cwd=ROOT, check=True)
    modules, shown = (
        re.findall(r">([\w/]+\.py)<", path.read_text())
        for path in (drawn, ROOT / "docs" / "pictures" / "architecture_spine.svg")
    )
    assert modules == shown


def test_a_page_that_shows_something_else_is_named(tmp_path: Path) -> None:
    page = "<!-- run: echo {} -->\n\n```text\n1\n```\n"
    for name, number in (("right", 1), ("wrong", 2)):
        (tmp_path / f"{name}.md").write_text(page.format(number))
    tool = [sys.executable, "benchmarks/tools/refresh_docs.py"]
    pages = [str(tmp_path / "right.md"), str(tmp_path / "wrong.md")]
    checked = subprocess.run([*tool, "--check", *pages], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 1
    assert f"not what the program prints: {pages[1]}\n" in checked.stderr
    assert "-1\n+2\n" in checked.stdout
    subprocess.run([*tool, *pages], cwd=ROOT, check=True)
    assert subprocess.run([*tool, "--check", *pages], cwd=ROOT).returncode == 0
