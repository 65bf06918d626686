"""One root of all errors, and its tree as ``results.errors`` tells it."""

from __future__ import annotations

import importlib
import pkgutil

import results.errors
from results.errors import LooplineError

# What no user is meant to meet: an answer that beats physics, and how a failed program ends those beside it.
INTERNAL = {"PhysicsError", "Abandoned"}


def test_every_error_of_the_packages_derives_from_the_root_and_is_in_its_tree() -> None:
    found = {}
    for package in ("chips", "collectives", "cluster", "results", "scenarios"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                ours = isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.name
                if ours and name not in INTERNAL:
                    found[name] = value
    assert [name for name, error in found.items() if not issubclass(error, LooplineError)] == []
    tree = results.errors.__doc__ or ""
    assert [name for name in found if name not in tree] == []
