"""Energy an operation against programmability: kinds of machines on the same product and on the same Llama decoder."""

from __future__ import annotations

from chips.energy import MemoryKind
from chips.machines import Work, machines, spent_on
from scenarios.energy import operations
from scenarios.workload.decoder import decoder
from scenarios.workload.model import load_model, shard
from scenarios.workload.quantization import Quantization

SIDE = 4096
"""Of the square product: its operands cross memory once, for 1,365 multiply-adds a value."""
NODE_NM = 7.0
"""The newest process node whose joules are published."""
MEMORY: MemoryKind = "hbm2"


def efficiency(
    model: str = "llama-3.1-8b", *, batch: int = 256, context: int = 4096, nanometres: float = NODE_NM
) -> list[dict[str, object]]:
    """A record for each machine and workload: joules an operation, where they go, and how much a programmer must say.

    The workloads: a square product, and a decoder of ``model`` that decodes a token of one and of ``batch`` sequences.
    ``programmability``: from 1, nothing beyond the computation itself, upwards; an ordinal, whose reason is ``say``.
    Raises CatalogError for an unknown model, ScenarioError for one that cannot be split so.
    """
    work = {"matrix product": product_work(SIDE)}
    work |= {f"decoder, batch {size}": decoder_work(model, size, context) for size in (1, batch)}
    records: list[dict[str, object]] = []
    for place, machine in enumerate(machines().values(), 1):
        for name, done in work.items():
            spent = spent_on(machine, done, nanometres, MEMORY)
            each = {f"{what}_pj": joules / done.operations * 1e12 for what, joules in spent._asdict().items()}
            total = {"pj_per_operation": spent.joules / done.operations * 1e12}
            told = {"machine": machine.title, "programmability": place, "workload": name}
            records.append(told | total | each | {"say": machine.say})
    return records


def product_work(side: int) -> Work:
    """A square product of 16-bit values: each operand and the result cross memory once."""
    return Work(float(side**3), 0.0, 3.0 * side * side * 2.0)


def decoder_work(model: str, batch: int, context: int) -> Work:
    """One decoder of a model, decoding a token of each of ``batch`` sequences: weights and cache cross memory."""
    loaded = load_model(model)
    multiply_adds, lanes, memory = 0.0, 0.0, 0.0
    for operator in decoder(loaded, shard(loaded, 1), batch, 1, context, Quantization()):
        flops, own_lanes = operations(operator)
        multiply_adds += float(flops) / 2.0
        lanes += float(own_lanes)
        memory += float(operator.stream_bytes)
    return Work(multiply_adds, lanes, memory)
