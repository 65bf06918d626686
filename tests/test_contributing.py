"""CONTRIBUTING.md is true: whatever its table names is added in one file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chips import spec
from chips.clock.timeline import Time, Timeline
from chips.datasheet import datasheet, key_figures
from chips.spec import CATALOG, Gpu, chip_names, load_chip
from cluster import Cluster
from collectives.algorithms import ALGORITHMS, algorithm, ring
from collectives.price import price
from collectives.schedule import Schedule, once
from collectives.topology import Level, Topology
from collectives.verify import verify
from loopline import compare, simulate
from scenarios import framework
from scenarios.assignment import assign
from scenarios.commands.main import main
from scenarios.passes import passes_of
from scenarios.point import make_point
from scenarios.strategies import STRATEGIES, registry, run_strategy
from scenarios.strategies.gpu.kernel_prices import GpuGroup
from scenarios.sweeps import scenario_file
from scenarios.workload import model
from scenarios.workload.model import load_model, model_figures, model_names
from scenarios.workload.operators import MatrixProduct, Step

TABLE = re.compile(r"^\| ([a-zA-Z ]+) \| (\d) \| ", re.MULTILINE)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both catalogs that a test may add to."""
    shutil.copytree(CATALOG, tmp_path / "chips")
    shutil.copytree(model.CATALOG, tmp_path / "models")
    monkeypatch.setattr(spec, "CATALOG", tmp_path / "chips")
    monkeypatch.setattr(model, "CATALOG", tmp_path / "models")
    return tmp_path


def test_table_claims_one_file_for_everything_tested_here() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    claims = {name: int(files) for name, files in TABLE.findall(text)}
    assert claims == dict.fromkeys(
        [
            *("chip", "GPU generation", "model", "topology", "collective", "operator", "strategy", "scenario"),
            *("framework", "input"),
        ],
        1,
    )


def test_a_chip_is_one_file(catalog: Path) -> None:
    text = (catalog / "chips" / "h200.toml").read_text()
    (catalog / "chips" / "my-chip.toml").write_text(text.replace('"h200"', '"my-chip"').replace("4800e9", "9600e9"))
    assert "my-chip" in chip_names()
    assert load_chip("my-chip").memory.bandwidth == 2 * load_chip("h200").memory.bandwidth
    assert "my-chip" in [figures["chip"] for figures in key_figures()]
    assert {row["file"] for row in datasheet("my-chip")} == {"my-chip.toml", "generations/hopper.toml", ""}


def test_a_chip_may_be_a_file_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((CATALOG / "sn40l.toml").read_text().replace('"sn40l"', '"mine"'))
    assert load_chip(str(path)).name == "mine"


def test_a_generation_is_one_file(catalog: Path) -> None:
    (catalog / "chips" / "generations" / "next.toml").write_text(
        'inherits = "blackwell"\nname = "next"\n[launch]\ngraph_gap = 1e-6 # guessed\n'
    )
    text = (catalog / "chips" / "b200.toml").read_text()
    (catalog / "chips" / "next-chip.toml").write_text(text.replace('"blackwell"', '"next"'))
    chip = load_chip("next-chip")
    assert isinstance(chip, Gpu)
    assert (chip.generation.name, chip.generation.launch.graph_gap) == ("next", 1e-6)


def test_a_model_is_one_file(catalog: Path) -> None:
    text = (catalog / "models" / "llama" / "llama-3.1-8b.toml").read_text()
    changed, count = re.subn(r"^layers = 32 ", "layers = 64 ", text, flags=re.MULTILINE)
    assert count == 1
    (catalog / "models" / "mine").mkdir()
    (catalog / "models" / "mine" / "my-model.toml").write_text(changed)
    assert "my-model" in model_names()
    older = load_model("llama-3.1-8b")
    assert load_model("my-model").parameters == older.parameters + 32 * older.decoder_parameters
    assert "my-model" in [figures["model"] for figures in model_figures()]


def test_a_topology_is_one_function() -> None:
    def torus(side: int) -> Topology:
        return Topology((Level("ring", side, 100e9, 1e-6), Level("ring", side, 100e9, 1e-6)))

    finish = price(ring(16), torus(4), 2**20)
    assert finish.shape == (16,)
    assert np.all(finish > 0)


def test_a_collective_is_one_function_under_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ALGORITHMS, "star", ring)  # and so it leaves again at the end

    @algorithm("all_reduce")
    def star(ranks: int) -> Schedule:
        """All send to rank 0, which adds and sends the sum back."""
        leaves, root = np.arange(1, ranks), np.zeros(ranks - 1, dtype=np.int64)
        phases = once(leaves, root, root, 1, reduce=True), once(root, leaves, root, 1, reduce=False)
        return Schedule("star", ranks, 1, phases)

    switch = Topology((Level("switch", 5, 100e9, 1e-6),))
    verify(star(5), switch)
    assert np.max(price(star(5), switch, 10**9)) > np.max(price(ring(5), switch, 10**9))
    with pytest.raises(SystemExit):
        main(["schedule", "star", "ring"])
    assert "star" in capsys.readouterr().out


def test_an_operator_is_one_more_of_its_decoder() -> None:
    point = make_point("llama-3.1-8b", "h100", 8)
    (step, _), *_ = passes_of(assign(point))
    extra = MatrixProduct("adapter", 1, 4096, 512, "bf16")
    before, decoder, after = step.segments
    longer = Step((before, replace(decoder, operators=(*decoder.operators, extra)), after))
    for name in STRATEGIES:
        for chip, launch in (("h100", "graph"), ("sn40l", "hardware")):
            cluster = Cluster(load_chip(chip), 8)
            plain, more = (
                run_strategy(Timeline(), cluster, name, one, launch, point.framework).ps for one in (step, longer)
            )
            assert more > plain


def test_a_strategy_is_one_function_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "free_launches", {})  # and so it leaves again at the end

    @registry.strategy("free_launches", "gpu", fuses=False, streams=False)
    def free_launches(clock: Timeline, group: GpuGroup, step: Step, launch: str) -> Time:
        engine = clock.engine("compute")
        for operator in (each for segment in step.segments for each in segment.times * segment.operators):
            price = group.price(operator)
            clock.task(engine, price.steady_on(group.cluster), label=price.label, name=operator.name)
        return clock.now

    frame = compare("llama-3.1-8b", ["h100", "sn40l"], [8], strategy=["per_operator", "free_launches"])
    seconds = frame.set_index(["chip", "strategy"])["seconds"]
    assert seconds["h100", "free_launches"] < seconds["h100", "per_operator"]
    assert frame["reason"].iloc[-1].startswith("free_launches is not written for dataflow chips")


def test_a_scenario_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(scenario_file.CATALOG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine.toml").write_text(
        'question = "What does looping win?"\nmodel = "llama-3.1-8b"\nchips = "sn40l"\ncount = [8, 16]\n'
    )
    monkeypatch.setattr(scenario_file, "CATALOG", tmp_path)
    assert "mine" in scenario_file.scenario_names()
    assert len(scenario_file.points_of(scenario_file.load_scenario("mine"))) == 2 * len(STRATEGIES)


def test_a_framework_is_one_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (
        '[mine]\ntitle = "Mine"\ncollectives = "sglang"\nfusion = "element-wise"\n'
        "fused_attention = true\nnamed = []\nhost_step_seconds = 1e-6\n"
    )
    (tmp_path / "frameworks.toml").write_text(framework.CATALOG.read_text() + section)
    monkeypatch.setattr(framework, "CATALOG", tmp_path / "frameworks.toml")
    framework.frameworks.cache_clear()
    try:
        mine, usual = (
            simulate("llama-3.1-8b", "h100", 8, framework=name)["seconds"].iloc[0] for name in ("mine", "vllm")
        )
    finally:
        framework.frameworks.cache_clear()
    assert mine < usual


# A program with one more input. The row, and the field of the point that the code which uses it reads.
ONE_MORE = """
import dataclasses, sys
from scenarios import inputs

row = inputs.Input("spares", int, 2, meaning="chips that wait", help="Chips that wait.", axis=13)
inputs.INPUTS += (row,)

from scenarios import point
point.Point = dataclasses.make_dataclass("Point", [("spares", int, 2)], bases=(point.Point,), frozen=True)

from scenarios.commands.main import main
main(sys.argv[1:])
"""


def run_with_one_more(*arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-c", ONE_MORE, *arguments], capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def test_an_input_is_one_row_and_becomes_an_option_a_key_an_axis_and_a_column(tmp_path: Path) -> None:
    assert "Chips that wait." in run_with_one_more("compare", "--help")
    refused = run_with_one_more("compare", "llama-3.2-1b", "--chips", "h100", "--spares", "0")
    assert refused == "loopline: --spares is 0; it must be at least 1.\n"
    schema = json.loads(run_with_one_more("scenarios", "--schema"))
    assert schema["properties"]["spares"]["description"].startswith("chips that wait: a whole number")
    assert schema["properties"]["spares"]["default"] == 2
    (tmp_path / "mine.toml").write_text(
        'question = "How many?"\nmodel = "llama-3.2-1b"\nchips = "h100"\nstrategy = "per_operator"\nspares = [1, 3]\n'
    )
    rows = run_with_one_more("run", str(tmp_path / "mine.toml"), "-o", str(tmp_path / "rows.csv"))
    assert "wrote" in rows
    assert list(pd.read_csv(tmp_path / "rows.csv")["spares"]) == [1, 3]
