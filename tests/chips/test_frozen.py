"""Datasheets and models are known by their content."""

from __future__ import annotations

import copy
import pickle

import pytest

from chips.spec import Link, load_chip
from scenarios.strategies.gpu.kernel_prices import _operands_at_hand
from scenarios.workload.model import load_model


@pytest.mark.parametrize("one", [load_chip("h100"), load_chip("sn40l"), load_model("llama-3.1-8b")])
def test_equal_content_is_equal_and_hashes_alike(one):
    again = type(one).model_validate(one.model_dump())
    assert again is not one
    assert again == one
    assert hash(again) == hash(one)
    assert again.fingerprint == one.fingerprint
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == copy.deepcopy(one) == one.model_copy(deep=True) == one


def test_a_changed_copy_is_another():
    chip = load_chip("h100")
    assert chip.fingerprint  # computed before the copy is made
    changed = chip.model_copy(update={"link": chip.link.model_copy(update={"domain": 4})})
    assert changed != chip
    assert changed.link != chip.link
    assert changed.memory == chip.memory
    assert changed.model_copy(update={"link": chip.link}) == chip


def test_the_fingerprint_is_no_field():
    link = Link(bandwidth=1e9, topology="ring", domain=8)
    before = link.model_dump()
    assert link.fingerprint
    assert link.model_dump() == before
    assert "fingerprint" not in repr(link)
    assert Link.model_validate(link.model_dump()) == link


def test_what_is_remembered_of_a_chip_is_found_by_its_content():
    chip = load_chip("h100")
    again = type(chip).model_validate(chip.model_dump())
    assert _operands_at_hand(again) is _operands_at_hand(chip)
