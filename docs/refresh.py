"""Write anew what the documentation shows of the program's own output, after a prediction has moved.

    python docs/refresh.py                     everything
    python docs/refresh.py docs/training.md    one page

A comment ``<!-- run: COMMAND -->`` in a page names what draws the picture, or prints the block, that follows it. The
command runs in a shell at the top of the project, with ``$WORK`` for files that a later command of the page needs. A
block of text right below it becomes what it prints. Figures within sentences stay: read the page after it has changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from results.atomic_file import written_beside

PROJECT = Path(__file__).resolve().parent.parent
GENERATED = (
    "loopline accuracy -o docs/accuracy.md --spreads scenarios/bands.toml",
    "loopline compare llama-3.1-8b --chips h100 sn40l --count 1 2 4 8 16 --csv > $WORK/job",
    "cp $WORK/job tests/golden/main_job.csv",
    "jupyter execute --inplace docs/tour.ipynb",
)
RUN = re.compile(r"<!-- run: (?P<command>.*?) -->\n(?P<block>\n*```text\n.*?\n```\n)?", re.DOTALL)


def refresh(page: Path, work: str) -> None:
    """Run the commands of one page and put what they print in its place."""

    def renewed(found: re.Match[str]) -> str:
        printed = run(found["command"], work)
        head = found[0][: len(found[0]) - len(found["block"] or "")]
        return f"{head}\n```text\n{printed}\n```\n" if found["block"] else found[0]

    text = RUN.sub(renewed, page.read_text())
    with written_beside(page) as beside:
        beside.write_text(text)


def run(command: str, work: str) -> str:
    """What a command prints, without spaces at the end of lines; ends the program where it fails."""
    print(command, file=sys.stderr)
    environment = {**os.environ, "WORK": work, "COLUMNS": "140"}
    done = subprocess.run(["bash", "-c", command], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"ended with {done.returncode}: {command}")
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())


def main() -> None:
    pages = [Path(name) for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as work:
        for command in () if pages else GENERATED:
            run(command, work)
        for page in pages or [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]:
            refresh(page, work)


if __name__ == "__main__":
    main()
