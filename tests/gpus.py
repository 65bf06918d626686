"""GPUs of the catalog."""

from __future__ import annotations

from chips.spec import Gpu, load_chip


def gpu(name: str) -> Gpu:
    chip = load_chip(name)
    assert isinstance(chip, Gpu)
    return chip
