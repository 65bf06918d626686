"""Its being here puts this folder on the path: what several tests need is imported from the modules beside it.

command_line.py    ``loopline`` as a function
damage.py          what happens to files on disks
frame_rows.py      rows of results, made by hand
llama_examples.py  tiny Llamas and their weights

No example of Hypothesis has a deadline: how long one takes says how busy the machine is.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("loopline", deadline=None)
settings.load_profile("loopline")
