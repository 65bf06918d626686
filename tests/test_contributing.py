"""CONTRIBUTING.md is true: a chip, a generation, a model, a topology and a collective are one file or function each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from chips import spec
from chips.datasheet import datasheet, key_figures
from chips.spec import CATALOG, Gpu, chip_names, load_chip
from collectives.algorithms import ring
from collectives.price import price
from collectives.schedule import Schedule, once
from collectives.topology import Level, Topology
from collectives.verify import verify
from scenarios import model
from scenarios.model import load_model, model_figures, model_names

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
    assert claims == dict.fromkeys(["chip", "GPU generation", "model", "topology", "collective"], 1)


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
    text = (catalog / "models" / "llama-3.1-8b.toml").read_text()
    changed, count = re.subn(r"^layers = 32 ", "layers = 64 ", text, flags=re.MULTILINE)
    assert count == 1
    (catalog / "models" / "my-model.toml").write_text(changed)
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


def test_a_collective_is_one_function() -> None:
    def star(ranks: int) -> Schedule:
        """All send to rank 0, which adds and sends the sum back."""
        leaves, root = np.arange(1, ranks), np.zeros(ranks - 1, dtype=np.int64)
        phases = once(leaves, root, root, 1, reduce=True), once(root, leaves, root, 1, reduce=False)
        return Schedule("star", ranks, 1, phases)

    verify(star(5))
    switch = Topology((Level("switch", 5, 100e9, 1e-6),))
    assert np.max(price(star(5), switch, 10**9)) > np.max(price(ring(5), switch, 10**9))
