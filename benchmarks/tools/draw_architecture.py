"""What ``docs/architecture.md`` shows of the program's own shape, from the program: its folders, and its spine.

python benchmarks/tools/draw_architecture.py folders            the tree, a line from each folder's docstring
python benchmarks/tools/draw_architecture.py spine FILE.svg     who calls whom in one comparison, from a run of it
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from collections.abc import Iterator
from html import escape
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
COLOURS = {
    "scenarios": "#0072B2",
    "cluster": "#CC79A7",
    "collectives": "#D55E00",
    "chips": "#009E73",
    "results": "#8A6D00",
}
COMPARISON = ["--quiet", "compare", "llama-3.1-8b", "--chips", "h100", "sn40l", "--count", "8"]
SPINE = (
    *("scenarios.commands.questions.compare", "scenarios.pricing", "scenarios.point", "scenarios.running"),
    *("scenarios.memory", "scenarios.assignment", "scenarios.passes", "scenarios.workload.decoder"),
    *("scenarios.strategies.run", "scenarios.strategies.gpu.per_operator", "scenarios.strategies.gpu.persistent"),
    *("scenarios.strategies.gpu.kernel_prices", "scenarios.strategies.dataflow.stages"),
    *("scenarios.strategies.dataflow.mappings", "scenarios.strategies.segments", "scenarios.strategies.stream"),
    *("scenarios.strategies.bound", "scenarios.outcome", "scenarios.bands", "cluster.cluster"),
    *("collectives.libraries.choice", "collectives.price", "chips.spec", "chips.kernels.matmul.price"),
    *("chips.kernels.attention.price", "chips.kernels.vector", "chips.clock.timeline", "chips.clock.periodic_loop"),
    "results.schema",
)
"""What is shown; where it stands, the run says."""
ROW, INDENT, WIDTH, WORDS = 24, 22, 1100, 350  # pixels


class Called(NamedTuple):
    """A module of the spine: who called it first, and how deep that is."""

    module: str
    depth: int
    caller: int


def folders() -> Iterator[str]:
    """The tree of packages and rooms, in which a folder without Python has no line."""
    for package in COLOURS:
        for path in sorted(PROJECT.glob(f"{package}/**/__init__.py")):
            parts = path.parent.relative_to(PROJECT).parts
            yield f"{'  ' * (len(parts) - 1) + parts[-1] + '/':<20} {told(path)}"


def told(path: Path) -> str:
    """The first sentence of a file's docstring, as far as its first line goes."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].partition(". ")[0].rstrip(".").replace("``", "")


def spine() -> list[Called]:
    """The modules of ``SPINE`` in the order in which a comparison calls them, each below who called it first."""
    from scenarios.commands.main import main

    for module in SPINE:  # what importing them calls is none of this
        import_module(module)
    rows: list[Called] = []
    places: dict[str, int] = {}

    def seen(frame: FrameType, event: str, _: object) -> None:
        module = str(frame.f_globals.get("__name__"))
        if event != "call" or module not in SPINE or module in places or frame.f_code.co_name == "<module>":
            return
        if not rows and module != SPINE[0]:  # what reads the options
            return
        above = frame.f_back
        while above is not None and above.f_globals.get("__name__") not in places:
            above = above.f_back
        caller = places[above.f_globals["__name__"]] if above else -1
        places[module] = len(rows)
        rows.append(Called(module, rows[caller].depth + 1 if above else 0, caller))

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        sys.setprofile(seen)
        main(COMPARISON)
    sys.setprofile(None)
    missing = [module for module in SPINE if module not in places]
    if missing:
        sys.exit(f"no comparison calls {', '.join(missing)}.")
    return in_order_of_the_tree(rows)


def in_order_of_the_tree(rows: list[Called]) -> list[Called]:
    """The same with everything below its caller, before the caller's next."""

    def below(caller: int) -> Iterator[int]:
        for number, called in enumerate(rows):
            if called.caller == caller:
                yield number
                yield from below(number)

    order = list(below(-1))
    return [rows[number]._replace(caller=order.index(rows[number].caller) if number else -1) for number in order]


def drawn(rows: list[Called]) -> str:
    """An .svg: a line a module, coloured by its package, joined to its caller; what it says of itself beside it."""
    height = ROW * (len(rows) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13" role="img" aria-label="{len(rows)} modules that one comparison calls, and who calls whom.">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, (package, colour) in enumerate(COLOURS.items()):
        lines.append(f'<text x="{16 + 110 * number}" y="22" fill="{colour}" font-weight="bold">{package}/</text>')
    for number, (module, depth, caller) in enumerate(rows):
        x, y = 16 + INDENT * depth, ROW * (number + 2)
        if caller >= 0:
            turn = x - INDENT + 5
            lines.append(f'<path d="M{turn} {ROW * (caller + 2) + 5}V{y - 4}H{x - 3}" fill="none" stroke="#999"/>')
        package, _, rest = module.partition(".")
        path = PROJECT / f"{module.replace('.', '/')}.py"
        lines.append(f'<text x="{x}" y="{y}" fill="{COLOURS[package]}">{rest.replace(".", "/")}.py</text>')
        lines.append(f'<text x="{WORDS}" y="{y}" fill="#333" font-size="12">{escape(told(path))}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    match sys.argv[1:]:
        case ["folders"]:
            print("\n".join(folders()))
        case ["spine", path]:
            Path(path).write_text(drawn(spine()), encoding="utf-8")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
