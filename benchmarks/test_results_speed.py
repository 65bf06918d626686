"""How fast frames of a large sweep are read, asked and reported: 200,000 rows."""

from __future__ import annotations

import pandas as pd
import pytest

import loopline as ll
from loopline import compare
from results.manifest import MANIFEST, Manifest, part_path
from results.report import report
from results.sealed_parquet import sealed

CONTEXTS = 2_000


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep's folder; rows of one frame again and again, told apart by their context."""
    folder = tmp_path_factory.mktemp("sweep")
    once = pd.concat(
        [compare("llama-3.1-8b", ["h100", "sn40l"], [1, 2, 4, 8], batch=batch) for batch in (1, 4, 16, 64)]
    )
    rows = pd.concat([once.assign(context=context) for context in range(1, CONTEXTS + 1)], ignore_index=True)
    manifest = Manifest(
        question="How fast?",
        scenario={},
        version="",
        inputs={},
        points=len(rows),
        part_points=2048,
        columns={},
        complete=True,
    )
    for part in range(manifest.parts):
        of_part = rows.iloc[part * 2048 : (part + 1) * 2048]
        part_path(folder, part).write_bytes(sealed(of_part, manifest.labels(part)))
    (folder / MANIFEST).write_text(manifest.text())
    return folder


def test_load(benchmark, sweep):
    assert len(benchmark(ll.load, sweep)) == CONTEXTS * 96


@pytest.mark.parametrize("question", [ll.speedups, ll.crossovers, ll.pareto_front, ll.scaling])
def test_questions(benchmark, sweep, question):
    benchmark(question, ll.load(sweep))


def test_report(benchmark, sweep, tmp_path):
    benchmark.pedantic(report, (ll.load(sweep), tmp_path / "report.html"), rounds=1)
