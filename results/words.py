"""The words that every package shares: phases, ways to launch, parts of a time. Light: it imports nothing."""

from __future__ import annotations

PHASES = ("decode", "prefill", "request", "train")

LAUNCHES = {"gpu": ("eager", "graph"), "dataflow": ("software", "hardware"), "systolic": ("software", "hardware")}
"""By kind of chip the two ways to sequence launches, as its users call them: by the host, or on the device."""
BY_HOST, BY_DEVICE = 0, 1
LAUNCH_NAMES = tuple(dict.fromkeys(word for words in LAUNCHES.values() for word in words))
HOST_LAUNCHES = tuple(dict.fromkeys(words[BY_HOST] for words in LAUNCHES.values()))

PARTS = ("matmul", "attention", "other", "allreduce", "launch", "fill_drain")
"""What a time is made of. Each is a column of results, in seconds: ``matmul_s``."""
