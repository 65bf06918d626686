"""Tile programs by name compile to what the compiler makes of them."""

from __future__ import annotations

import pytest

from chips.spec import load_chip
from chips.tiles.compiler import compile_program
from chips.tiles.language import TileError
from chips.tiles.named_program import compile_named
from chips.tiles.programs.catalog import EXAMPLES


def test_a_shipped_program_has_the_tiles_of_its_chip():
    example = EXAMPLES["softmax"]
    made = compile_program(example.tiled(on_gpu=False), load_chip("sn40l"), **example.shapes)
    assert compile_named("softmax", "sn40l").record() == made.record()
    larger = compile_named("softmax", "sn40l", shapes={"x": (32768, 4096), "o": (32768, 4096)})
    assert larger.memory_bytes == 2 * made.memory_bytes


@pytest.mark.parametrize(
    ("name", "chip", "sentence"),
    [
        ("nothing", "sn40l", "unknown tile program 'nothing'"),
        ("softmax", "tpu-v1", "tpu-v1 runs no tile programs"),
        ("none.py:scale", "sn40l", "'none.py' is no file"),
    ],
)
def test_what_is_no_program_is_refused(name, chip, sentence):
    with pytest.raises(TileError, match=sentence):
        compile_named(name, chip)


def test_a_file_without_the_function_is_refused(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def scale(x, y): pass\n")
    with pytest.raises(TileError, match="has no function 'other'"):
        compile_named(f"{file}:other", "sn40l")
    with pytest.raises(TileError, match="'scale' needs --shape x=ROWSxCOLUMNS y=ROWSxCOLUMNS"):
        compile_named(f"{file}:scale", "sn40l")
