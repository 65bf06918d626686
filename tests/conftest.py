"""Its being here puts this folder on the path: what several tests need is imported from the modules beside it.

command_line.py    ``loopline`` as a function
damage.py          what happens to files on disks
frame_rows.py      rows of results, made by hand
llama_examples.py  tiny Llamas and their weights

No example of Hypothesis has a deadline: how long one takes says how busy the machine is. In CI (the variable is set) a
test has the same examples each time, so that what a change is refused for is of that change; elsewhere it has new ones.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("loopline", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("loopline")


@pytest.fixture(scope="session")
def written_accuracy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``loopline accuracy`` has written its page, pictures and spreads: once, since it predicts every row."""
    from scenarios.commands.main import main

    folder = tmp_path_factory.mktemp("accuracy")
    with pytest.raises(SystemExit) as ended:
        main(["accuracy", "-o", str(folder / "accuracy.md"), "--spreads", str(folder / "bands.toml")])
    assert not ended.value.code
    return folder
