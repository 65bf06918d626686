"""From a trace to stages: what runs together, what must pass between, and how many slots the dataflow needs.

In a loop's body, loads and stores and matrix products are stages of their own, vector operations in a row are one, and
an inner loop is one. A value that crosses stages needs a buffer (double by default). No chip is known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from chips.pipeline.metapipeline import Buffer
from chips.tiles.language import Loop, Operation, Trace

ALIASES = ("constant", "buffer", "write", "read", "transpose")
"""Operations that take no time: they say what value, where it lies, and how it is read."""


@dataclass(eq=False, repr=False)
class Step:
    """One stage before it is given engines: operations, or an inner loop."""

    name: str
    operations: list[Operation] = field(default_factory=list)
    inner: Loop | None = None

    @property
    def kind(self) -> str:
        """What its engine does: load, store, matmul, vector or loop."""
        return "loop" if self.inner else self.operations[0].kind


@dataclass(eq=False, repr=False)
class Body:
    """The steps of one loop, and the values that pass between them: (buffer, elements of one value)."""

    loop: Loop
    steps: list[Step]
    passes: list[tuple[Buffer, int]]


def bodies(trace: Trace) -> dict[int, Body]:
    """The body of every loop of a trace, by the loop's identity."""
    found: dict[int, Body] = {}
    owner: dict[int, Step] = {}
    _split(trace.root, found, owner)
    for operation in trace.operations:
        if operation.kind in ALIASES:
            continue
        for made_by in operation.inputs:
            for source, depth, carried in _sources(made_by, None, False):
                _link(found, owner, source, operation, depth, carried)
    return found


def address_from(operation: Operation) -> list[Operation]:
    """The operations that made a load's address in the iteration before."""
    if not operation.addressed:
        return []
    found = [source for made_by in operation.inputs for source in _sources(made_by, None, False)]
    return [source for source, _, carried in found if carried]


def _split(loop: Loop, found: dict[int, Body], owner: dict[int, Step]) -> None:
    body = found[id(loop)] = Body(loop, [], [])
    joins = False
    for item in loop.body:
        if isinstance(item, Loop):
            _split(item, found, owner)
            step = Step("loop", inner=item)
            body.steps.append(step)
            owner[id(item)] = step
            joins = False
        elif item.kind in ALIASES:
            joins = joins and item.kind != "buffer"
        else:
            if not (joins and item.kind == "vector"):
                body.steps.append(Step(item.name))
            body.steps[-1].operations.append(item)
            owner[id(item)] = body.steps[-1]
            joins = item.kind == "vector"
    names: dict[str, int] = {}
    for step in body.steps:
        step.name = _unique(_title(step), names)


def _title(step: Step) -> str:
    """What a stage does in a few words: a vector stage by its first and last kinds of operation."""
    if step.kind != "vector":
        return step.name
    kinds = list(dict.fromkeys(operation.name.strip("_").replace("_", " ") for operation in step.operations))
    return f"vector ({', '.join(kinds)})" if len(kinds) < 3 else f"vector ({kinds[0]} ... {kinds[-1]})"


def _unique(name: str, names: dict[str, int]) -> str:
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name} {names[name]}"


def _sources(operation: Operation, depth: int | None, carried: bool) -> list[tuple[Operation, int | None, bool]]:
    """The operations that truly made a value: what lies behind buffers, writes, reads and transposes."""
    if operation.kind not in ALIASES:
        return [(operation, depth, carried)]
    depth = operation.depth or depth
    found = [source for made_by in operation.inputs for source in _sources(made_by, depth, carried)]
    if not carried:
        found += [source for made_by in operation.carried for source in _sources(made_by, depth, True)]
    return found


def _link(
    found: dict[int, Body],
    owner: dict[int, Step],
    source: Operation,
    target: Operation,
    depth: int | None,
    carried: bool,
) -> None:
    """A buffer between the two steps that hold ``source`` and ``target`` in the innermost loop around both."""
    address = carried and target.addressed
    if source is target and not address:
        return
    path = [*source.loop.ancestors(), source]
    other = [*target.loop.ancestors(), target]
    split = next((place for place in range(min(len(path), len(other))) if path[place] is not other[place]), -1)
    first, second = owner[id(path[split])], owner[id(other[split])]
    loop = path[split - 1]
    assert isinstance(loop, Loop)
    body = found[id(loop)]
    if first is second and not address:
        return
    made = Buffer(first.name, second.name, None if carried else depth, int(carried))
    if made not in [passed for passed, _ in body.passes]:
        body.passes.append((made, prod(source.shape)))
