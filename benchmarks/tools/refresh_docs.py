"""Write anew what the documentation shows of the program's own output, after a prediction has moved; or only look.

    python benchmarks/tools/refresh_docs.py                     everything
    python benchmarks/tools/refresh_docs.py docs/training.md    one page
    python benchmarks/tools/refresh_docs.py --check             writes nothing, names the pages that differ, exit code 1

A comment ``<!-- run: COMMAND -->`` in a page names what draws the picture, or prints the block, that follows it. The
command runs in a shell, with ``$WORK`` for files that a later command of the page needs and the project in
``$PROJECT``. A block of text right below it is what it prints. ``<!-- run apart: COMMAND -->`` needs something that is
installed apart (weights): ``--check`` leaves it out. ``<!-- shown: WHY -->`` marks a block that no command can print
again. Figures within sentences stay: read the page after it has changed.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from results.atomic_file import written_beside

PROJECT = Path(__file__).resolve().parents[2]
GENERATED = (
    "loopline accuracy -o docs/accuracy.md --spreads scenarios/bands.toml",
    "loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16 --csv > $WORK/job",
    "cp $WORK/job tests/golden/main_job.csv",
    "jupyter execute --inplace docs/tour.ipynb",
)
RUN = re.compile(
    r"<!-- run(?P<apart> apart)?: (?P<command>.*?) -->\n(?P<block>\n*```text\n(?P<shown>.*?)\n?```\n)?", re.DOTALL
)


def refresh(page: Path, work: Path) -> None:
    """Run the commands of one page and put what they print in its place."""

    def renewed(found: re.Match[str]) -> str:
        printed = run(found["command"], work, PROJECT)
        head = found[0][: len(found[0]) - len(found["block"] or "")]
        return f"{head}\n```text\n{printed}\n```\n" if found["block"] else found[0]

    text = RUN.sub(renewed, page.read_text(encoding="utf-8"))
    with written_beside(page) as beside:
        beside.write_text(text, encoding="utf-8")


def differs(page: Path, work: Path) -> bool:
    """Whether a block of the page is not what its command prints; says where. Pictures are drawn into ``work``."""
    found = [each for each in RUN.finditer(page.read_text(encoding="utf-8")) if each["block"] and not each["apart"]]
    for folder in (PROJECT / "docs" / "pictures", *(PROJECT / "docs" / "pictures").glob("*/")):
        (work / folder.relative_to(PROJECT)).mkdir(parents=True, exist_ok=True)
    wrong = False
    for each in found:
        printed = run(each["command"], work, work)
        if printed != each["shown"]:
            wrong = True
            lines = each["shown"].splitlines(), printed.splitlines()
            print(*difflib.unified_diff(*lines, str(page), each["command"], lineterm="", n=0), sep="\n")
    return wrong


def run(command: str, work: Path, folder: Path) -> str:
    """What a command prints, without spaces at the end of lines; ends the program where it fails."""
    print(command, file=sys.stderr)
    environment = {**os.environ, "PROJECT": str(PROJECT), "WORK": str(work), "COLUMNS": "140"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"ended with {done.returncode}: {command}")
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def main() -> None:
    check = "--check" in sys.argv[1:]
    given = [Path(name) for name in sys.argv[1:] if name != "--check"]
    pages = given or [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if check:
            wrong = [str(page) for page in pages if differs(page, work)]
            sys.exit(f"not what the program prints: {', '.join(wrong)}" if wrong else 0)
        for command in () if given else GENERATED:
            run(command, work, PROJECT)
        for page in pages:
            refresh(page, work)


if __name__ == "__main__":
    main()
