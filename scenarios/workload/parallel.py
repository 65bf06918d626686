"""How chips share one model and one batch: tensor parallelism, replicas, stages, and in training context groups.

Chips are numbered as Megatron-LM numbers its ranks: those of a tensor-parallel group first, then the groups that share
a sequence (context), then the replicas (data), then the stages (pipeline). What a split costs is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from scenarios.errors import ScenarioError
from scenarios.workload.model import Model

Recompute = Literal["none", "selective", "operators", "layers", "full"]
"""What a backward pass computes again: nothing; attention's inner part; what is element-wise and every second product;
every second decoder; every decoder."""
EXPECTED = (
    "expected items of tensor=CHIPS, pipeline=STAGES, context=GROUPS, micro-batch=SEQUENCES, interleaved=CHUNKS, "
    "recompute=selective|operators|layers|full and sequence, with commas between"
)


@dataclass(frozen=True)
class Parallel:
    """A split, as text (``parse``, ``str``): ``tensor=8,pipeline=4,micro-batch=1,interleaved=2``.

    ``tensor``: chips of a tensor-parallel group; 0: all that ``pipeline`` and ``context`` leave. Chips beyond all these
    hold replicas. ``pipeline``: stages, in training each with ``interleaved`` runs of decoders (Narayanan et al. 2021,
    arXiv 2104.04473). ``micro_batch``: sequences that a replica computes at a time; 0: a replica's whole share, with a
    pipeline one in training and in inference enough to fill its stages. Of training alone: ``context`` groups that
    share each sequence, ``recompute``, ``sequence`` parallelism (Korthikanti et al. 2022, arXiv 2205.05198).
    """

    tensor: int = 0
    pipeline: int = 1
    context: int = 1
    micro_batch: int = 0
    interleaved: int = 1
    recompute: Recompute = "none"
    sequence: bool = False

    @classmethod
    def parse(cls, text: str) -> Parallel:
        """The split that a text names. Raises ValueError in one sentence for what it does not understand."""
        found: dict[str, object] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, sign, value = item.partition("=")
            field = name.replace("-", "_")
            if field in found:
                raise ValueError(f"'{text}' says {name} twice.")
            if field == "sequence" and not sign:
                found[field] = True
            elif field == "recompute" and value in get_args(Recompute):
                found[field] = value
            elif field in NUMBERS and value.isdecimal() and int(value) > 0:
                found[field] = int(value)
            else:
                raise ValueError(f"'{item}' is not understood; {EXPECTED}.")
        return cls(**found)  # type: ignore[arg-type]  # each was checked above

    def __str__(self) -> str:
        """What differs from one tensor-parallel group that computes its batch at once."""
        items = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                name = field.name.replace("_", "-")
                items.append(name if value is True else f"{name}={value}")
        return ",".join(items)

    def of(self, count: int, batch: int, context: int, model: Model, *, trains: bool) -> Parallel:
        """The same with every number known, for ``count`` chips and ``batch`` sequences of ``context`` tokens.

        Raises ScenarioError in one sentence where these do not divide so.
        """
        around = self.pipeline * self.context
        group = around * (self.tensor or max(1, count // around))
        if count % group:
            raise ScenarioError(
                f"--parallel {self} takes a multiple of {group:,} chips; --count {count:,} is none; "
                f"{_nearest_multiples(count, group)}."
            )
        replicas = count // group
        micro_batch = self.micro_batch or self._micro_batch(max(1, batch // replicas), trains)
        known = replace(self, tensor=group // around, micro_batch=micro_batch)
        share = replicas * micro_batch
        if batch % share:
            raise ScenarioError(
                f"--batch {batch:,} cannot be dealt to {replicas:,} replicas"
                + (f" in micro-batches of {micro_batch}; " if trains or self.micro_batch else "; ")
                + f"{_nearest_multiples(batch, share)}."
            )
        if context % self.context:
            raise ScenarioError(f"--context {context} cannot be shared by {self.context} groups of --parallel {self}.")
        if self.pipeline * self.interleaved > model.layers:
            raise ScenarioError(
                f"--parallel {self} has {self.pipeline * self.interleaved} runs of decoders; {model.name} has "
                f"{model.layers} decoders: at least one for each."
            )
        if self.interleaved > 1 and (self.pipeline == 1 or batch // share % self.pipeline):
            raise ScenarioError(
                f"--parallel {self}: runs are interleaved over two stages and more, in a multiple of their number of "
                f"micro-batches; here are {self.pipeline} stages and {batch // share:,} micro-batches."
            )
        return known

    def _micro_batch(self, share: int, trains: bool) -> int:
        """Sequences that a replica computes at a time, of its ``share``, where nobody has said so."""
        if self.pipeline == 1:
            return share
        if trains:
            return 1
        return next(size for size in range(max(1, share // self.pipeline), 0, -1) if share % size == 0)

    @property
    def training_only(self) -> bool:
        """Whether anything is asked for that only training has: interleaved runs and all that stands behind them, or
        context groups."""
        return self != Parallel(self.tensor, self.pipeline, micro_batch=self.micro_batch)

    def replicas(self, count: int) -> int:
        """Of the model, on ``count`` chips."""
        return count // (self.tensor * self.context * self.pipeline)

    def at_once(self, count: int, batch: int) -> bool:
        """Whether all chips are one tensor-parallel group that computes its whole batch in one pass."""
        return self.tensor == count and self.micro_batch == batch


NUMBERS = tuple(field.name for field in fields(Parallel) if isinstance(field.default, int) and field.name != "sequence")


def _nearest_multiples(number: int, unit: int) -> str:
    below = number // unit * unit
    return f"{below:,} or {below + unit:,} is one" if below else f"{unit:,} is one"
