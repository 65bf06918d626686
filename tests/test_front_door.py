"""``import loopline as ll`` is the one door: its index is whole and light, and the pages go through no other."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import loopline as ll

ROOT = Path(__file__).parents[1]
OURS = {"chips", "collectives", "cluster", "results", "scenarios"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A run priced past the memory check, which the front door does not let through.
BEHIND_THE_DOOR = {"training.md"}
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("name", ll.__all__)
def test_every_name_of_the_index_resolves_and_is_told(name: str) -> None:
    assert getattr(ll, name) is not None
    assert name == "__version__" or re.search(rf"\b{name}\b", ll.__doc__ or "")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'comparison'"):
        ll.comparison  # noqa: B018


def test_importing_it_is_light() -> None:
    code = "import sys, loopline; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not (OURS | {"numpy", "pandas", "pydantic"}) & set(ast.literal_eval(printed))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_of_the_pages_go_through_the_door(page: Path) -> None:
    used = {name for snippet in SNIPPET.findall(page.read_text()) for name in imports(snippet)}
    assert bool(used & OURS) == (page.name in BEHIND_THE_DOOR)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if SNIPPET.search(page.read_text())], ids=lambda page: page.name
)
def test_what_the_pages_take_from_the_door_is_there(page: Path) -> None:
    for path in set(re.findall(r"\bll((?:\.\w+)+)", page.read_text())):
        found: object = ll
        for name in path.split(".")[1:]:
            found = getattr(found, name)


def test_the_tour_goes_through_the_door() -> None:
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert imports(code) & (OURS | {"loopline"}) == {"loopline"}
