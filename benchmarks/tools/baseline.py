"""Fingerprints of what the program answers, so that a change that must move no number can prove it.

    python benchmarks/tools/baseline.py write before.json     on the tree as it was
    python benchmarks/tools/baseline.py compare before.json   on the tree as it is; names behind it choose commands

A fingerprint is the sha256 of what a command prints or writes: the main job, every scenario, traces, the accuracy page,
all commands that print JSON, and every shown block and picture of the documentation. Rows of a sweep are without their
key, which holds a hash of the code. ``compare`` names what differs and ends with 1. About six minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SMALL = "llama-3.1-8b --chips h100 sn40l"
COMMANDS = {
    "main job": f"loopline compare {SMALL} --count 1 2 4 8 16 --csv -o $OUT/rows.parquet --plot $OUT/bars.svg",
    "trace": f"loopline compare {SMALL} --count 8 --trace $OUT/trace.json",
    "trace as protobuf": f"loopline compare {SMALL} --count 2 --phase request --context 64 --trace $OUT/t.pftrace",
    "eager": f"loopline compare {SMALL} --count 1 8 --launch eager --json",
    "prefill": f"loopline compare {SMALL} a100 b200 l40s --count 1 8 --phase prefill --context 2048 --json",
    "request": f"loopline compare {SMALL} --count 4 --phase request --batch 4 --context 1024 --json",
    "train": f"loopline compare {SMALL} sn10 --count 8 64 --phase train --batch 64 --context 4096 --json "
    "--parallel tensor=8,micro-batch=1,recompute=full,sequence",
    "replicas": "loopline compare llama-3.2-1b --chips h100 --count 8 --batch 8 --parallel tensor=2 --json",
    "large batch": "loopline compare llama-2-7b --chips sn40l sn10 --count 1 8 --batch 1024 --context 512 --json",
    "fp8": "loopline compare llama-3.1-70b --chips h100 h200 b200 --count 8 --precision fp8 --batch 16 --json",
    "variation": f"loopline compare {SMALL} --count 8 --json "
    "--variation clock=0.02,memory=0.01,seed=3,slow-link=1@2,failed=5",
    "on MPI ranks": f"loopline compare {SMALL} --count 2 --executor mpi --json",
    "models": "loopline models --json",
    "one model": "loopline models qwen3-8b --json",
    "chips": "loopline chips --json",
    "one chip": "for chip in h100 a100 b200 sn40l tpu-v1; do loopline chips $chip --json; done",
    "scenarios": "loopline scenarios --json; loopline scenarios --schema",
    "validate": "loopline validate --json",
    "validate by batch": "loopline validate --by chip,batch --worst 3",
    "accuracy": "loopline accuracy -o $OUT/accuracy.md --spreads $OUT/spreads.toml",
    "training": "loopline training llama-2-7b --chip h100 --count 64 --batch 64 "
    "--parallel tensor=2,pipeline=4,interleaved=2 --json --plot $OUT/step.svg",
    "allreduce": "loopline allreduce --chip h100 --count 2 8 --json --plot $OUT/curves.svg --trace $OUT/trace.json",
    "allreduce compared": "loopline allreduce --chip h100 --count 8 --compare --json --plot $OUT/crossovers.svg",
    "allreduce table": "loopline allreduce --chip sn40l --count 8 --compare",
    "schedule": "loopline schedule --json --topology torus:4x4; loopline schedule ring --late 3=20us --plot $OUT/l.svg",
    "schedule table": "loopline schedule --operation all_to_all --topology fat_tree:8x4",
    "fit": "loopline fit llama-2-7b --chips sn40l sn10 --count 8 --json --plot $OUT/mesh.png",
    "fit prefill": "loopline fit llama-2-7b --chips sn40l h100 --count 1 --phase prefill",
    "fit limits": "loopline fit --chips sn40l sn10 --count 1 8 --hidden 2048 4096 --json --plot $OUT/limits.png",
    "bandwidth": "loopline bandwidth llama-3.1-8b --chip sn40l --count 8 --json --plot $OUT/b.svg",
    "bandwidth of a GPU": "loopline bandwidth llama-3.1-8b --chip h100 --launch eager --json",
    "roofline": f"loopline roofline {SMALL} --count 8 --json --plot $OUT/r.svg",
    "roofline of training": "loopline roofline llama-3.2-1b --chips h100 sn40l --phase train --context 512 --json",
    "serve": "loopline serve llama-3.1-8b --chips h100 --count 1 8 --concurrency 8 --requests 64 --json",
    "systolic": "loopline systolic 4x4 --matvec --json --plot $OUT/matvec.png; loopline systolic 3x4 --dataflow output",
    "systolic, large": "loopline systolic 256x256 --product 8192x4096x4096 --double-buffered",
    "tpu-v1": "loopline tpu-v1 --json",
    "calibrate": "loopline calibrate $DATA/measured/a100_collectives.parquet --chip a100 --name mine --json "
    "-o $OUT/mine.toml",
    "pictures": f"loopline compare {SMALL} --count 1 2 4 8 --batch 4 --csv -o $OUT/p.csv > /dev/null && "
    "for kind in breakdown scaling pareto; do loopline plot $OUT/p.csv --kind $kind -o $OUT/$kind.svg; done",
    "heat map": "loopline run half-the-bandwidth --set model=llama-3.1-8b 'count=[1, 4]' -o $WORK/k.csv > /dev/null && "
    "loopline plot $WORK/k.csv --kind heatmap -o $OUT/heatmap.svg && loopline report $WORK/k.csv -o $OUT/report.html",
}
PROGRAMS = "from chips.tiles.programs.catalog import EXAMPLES; print(*EXAMPLES)"
TIMED = re.compile(r'"?(seconds|points_per_s)"?: [\d.]+')
RUN = re.compile(r"<!-- run(?: apart)?: (.*?) -->", re.DOTALL)
PICTURE = re.compile(r"(?:\$PROJECT/)?docs/(?:pictures/(?:(\w+)/)?|(?=decode))")


def data_folder() -> Path:
    """Where the measured tables are, before and after they moved."""
    rooms = ("scenarios/evidence/data", "tests/reference")
    return next(PROJECT / room for room in rooms if (PROJECT / room).is_dir())


def commands() -> Iterator[tuple[str, str]]:
    """A name and a shell command each."""
    yield from COMMANDS.items()
    for path in sorted(PROJECT.glob("scenarios/**/catalog/*.toml")):
        yield f"scenario {path.stem}", f"loopline run {path.stem} -o $OUT/rows.parquet"
    programs = subprocess.run([sys.executable, "-c", PROGRAMS], cwd=PROJECT, capture_output=True, text=True, check=True)
    for program in programs.stdout.split():
        for chip in ("h100", "sn40l"):
            yield f"tiles {program} on {chip}", f"loopline tiles {program} --chip {chip} --json"
    for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))):
        shown = [PICTURE.sub(_in_out, found) for found in RUN.findall(page.read_text(encoding="utf-8"))]
        if shown:
            yield f"shown in {page.name}", "\n".join(shown)


def _in_out(picture: re.Match[str]) -> str:
    """Pictures lie side by side in $OUT, each with its room in its name."""
    return f"$OUT/{picture[1]}_" if picture[1] else "$OUT/"


def fingerprint(command: str) -> dict[str, str]:
    """Of what a command prints, and of each file that it writes into $OUT, without what it says of time."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "OUT": out, "WORK": work, "COLUMNS": "140", "DATA": str(data_folder())}
        environment["PROJECT"] = str(PROJECT)
        command = command.replace("$OUT", out)  # within quotes, too
        done = subprocess.run(["bash", "-c", command], cwd=PROJECT, env=environment, capture_output=True)
        printed = done.stdout.replace(out.encode(), b"$OUT").replace(work.encode(), b"$WORK")
        found = {"printed": _hash(TIMED.sub("", printed.decode()).encode()), "exit code": str(done.returncode)}
        return found | {path.name: _hash(_bytes(path)) for path in sorted(Path(out).rglob("*")) if path.is_file()}


def _bytes(path: Path) -> bytes:
    """A file's content; of a table, its rows without their key, and their dtypes."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pandas as pd

    rows = pd.read_parquet(path).drop(columns="key", errors="ignore")
    return (rows.to_json(orient="split", double_precision=15) + str(rows.dtypes.to_dict())).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fingerprints(chosen: list[str]) -> dict[str, dict[str, str]]:
    """Of the commands whose names begin with one of ``chosen``, or of all; two at a time."""
    asked = {name: command for name, command in commands() if name.startswith(tuple(chosen or [""]))}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(asked, pool.map(fingerprint, asked.values()), strict=True))


def main() -> None:
    task, path = sys.argv[1], Path(sys.argv[2])
    found = fingerprints(sys.argv[3:])
    if task == "write":
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    before = {name: parts for name, parts in before.items() if not sys.argv[3:] or name in found}
    moved = [
        f"{name}: {part}"
        for name in sorted({*found, *before})
        for part in sorted({*found.get(name, {}), *before.get(name, {})})
        if found.get(name, {}).get(part) != before.get(name, {}).get(part)
    ]
    print("\n".join(moved) or f"nothing moved: {len(found)} commands")
    sys.exit(bool(moved))


if __name__ == "__main__":
    main()
