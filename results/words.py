"""The words that every package shares: phases, ways to launch, parts of a time. Light: it imports nothing."""

from __future__ import annotations

PHASES = ("decode", "prefill", "request", "train")

LAUNCHES = {
    "gpu": ("eager", "compiled", "graph", "pdl"),
    "dataflow": ("software", "hardware", "batched"),
    "systolic": ("software", "hardware"),
}
"""By kind of chip the ways to launch kernels, as its users call them."""
SAME_LAUNCH = {
    "gpu": {"software": "eager", "hardware": "graph", "batched": "pdl"},
    "dataflow": {"eager": "software", "compiled": "software", "graph": "hardware", "pdl": "hardware"},
    "systolic": {
        "eager": "software",
        "compiled": "software",
        "graph": "hardware",
        "pdl": "hardware",
        "batched": "hardware",
    },
}
"""By kind of chip what another kind's word means there: launches sequenced by the host, or on the device."""
HOST_LAUNCHES = ("eager", "compiled")
"""Ways to launch on a GPU in which the host issues every kernel."""
LAUNCH_NAMES = tuple(dict.fromkeys(word for words in LAUNCHES.values() for word in words))

PRECISIONS = ("bf16", "fp8", "fp8-block", "nvfp4", "int8", "int4")
"""How weights are stored and products computed; int8 and int4 are stored weights alone, whose products are in bf16."""
KV_PRECISIONS = ("bf16", "fp8")
"""How keys and values are stored."""

KERNEL_SOURCES = ("measured", "sibling", "unmeasured")
"""Whose kernels a prediction rests on: the chip's own, those of another chip of its generation, or of no such chip."""

CONSTANT_FACTOR = 1.25
"""By which each uncertain constant is moved, either way, to see how far it moves an answer."""

BOUNDARY_PARTS = ("gap", "ramp", "drain", "dependency", "host")
"""What a kernel boundary is made of."""
BOUNDARY_COLUMNS = ("boundary_s", "launches")
"""What a comparison tells of boundaries beside the schema: seconds that they cost, and kernels launched in a pass."""
PARTS = ("matmul", "attention", "other", "allreduce", "launch", "host", "dependency", "fill_drain")
"""What a time is made of. Each is a column of results, in seconds: ``matmul_s``; of energy in joules: ``matmul_j``."""
CAUSES = ("arithmetic", "on_chip", "hbm", "links", "control", "static")
"""What energy is spent on. Each is a column of results, in joules: ``hbm_j``."""
