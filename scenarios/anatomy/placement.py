"""How large a decoder still fits one kernel: a point's decoder placed on its chip, and the limit over its sizes.

The drawback of fusing and looping is that a whole decoder must lie on the chip at once. Here operators meet placement;
what a placement is stands in ``chips.placement``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chips.placement import ClusterKernel, FusedProgram, Placement, TooLarge, cluster_kernels, fits, kernel_count, place
from chips.spec import Dataflow, Gpu
from cluster import Cluster
from scenarios.assignment import assign
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.passes import passes_of
from scenarios.point import Point
from scenarios.quantities import LARGEST_COUNT, LARGEST_SIZE
from scenarios.strategies.dataflow.fused_program import token_stream, token_tile, weight_stream
from scenarios.strategies.dataflow.stages import TILE_TOKENS, DataflowGroup, tokens_of
from scenarios.workload.decoder import forward
from scenarios.workload.model import Model, shard
from scenarios.workload.operators import Decoder

CLUSTER_TILES = (16, 32, 64, 128)
HEAD_DIM = 128
MLP_MULTIPLE = 256
LARGEST_HIDDEN = 65536


def place_decoder(point: Point, *, backward: bool = False) -> Placement:
    """One decoder of ``point`` in the faster mapping, as the fewest kernels that hold it.

    A request is its prefill, a training step its forward pass, or its ``backward`` pass. Raises ScenarioError where the
    chip is no dataflow chip, DoesNotFit where no number of kernels holds it.
    """
    if not isinstance(point.chip, Dataflow):
        raise ScenarioError(f"{point.chip.name} lays no kernels out in space; choose a dataflow chip.")
    assignment = assign(point)
    group = DataflowGroup(point.chip, assignment.cluster())
    point.chip.peak_flops(point.quantization.multiplied)  # refuses what its units do not compute
    decoder = passes_of(assignment)[int(backward)][0].decoders[0]
    placed: list[Placement] = []
    refused = ""
    for program in mappings(group, decoder):
        try:
            placed.append(place(program, point.chip))
        except TooLarge as error:
            refused = str(error)
    if not placed:
        raise DoesNotFit(refused)
    return min(placed, key=lambda placement: placement.seconds)


def cluster_decoder(point: Point) -> list[tuple[int, list[ClusterKernel]]]:
    """One decoder of ``point`` on the thread block clusters of a GPU: (tokens in a cluster's tile, its kernels).

    Tiles of 16 tokens and more, as many as the point has. Raises ScenarioError where the GPU has no clusters.
    """
    if not isinstance(point.chip, Gpu) or point.chip.on_chip.cluster_units == 1:
        raise ScenarioError(
            f"{point.chip.name} has no thread block clusters; choose a GPU that has, or a dataflow chip."
        )
    decoder = passes_of(assign(point))[0][0].decoders[0]
    tiles = [rows for rows in CLUSTER_TILES if rows < tokens_of(decoder)] or [tokens_of(decoder)]
    return [(rows, cluster_kernels(token_tile(point.chip, decoder, rows), point.chip)) for rows in tiles]


def mappings(group: DataflowGroup, decoder: Decoder) -> list[FusedProgram]:
    """The ways to fuse one decoder: its weights stream, or, with more tokens than fill two tiles, its tokens do."""
    found = [weight_stream(group, decoder)]
    return [*found, token_stream(group, decoder)] if tokens_of(decoder) >= 2 * TILE_TOKENS else found


def kernels_needed(group: DataflowGroup, decoder: Decoder) -> int | None:
    """The fewest kernels that hold one decoder, in either mapping; None where no number does."""
    counts: list[int] = []
    for program in mappings(group, decoder):
        try:
            counts.append(kernel_count(program, group.chip))
        except TooLarge:
            continue
    return min(counts, default=None)


def llama_of(hidden: int) -> Model:
    """A Llama of this hidden size: heads of 128, as many for keys, an MLP of 8/3 its size (Touvron et al. 2023).

    Raises ScenarioError for one whose MLP is wider than any model's.
    """
    heads = hidden // HEAD_DIM
    mlp = -(-8 * hidden // 3)
    if mlp >= LARGEST_SIZE:
        raise ScenarioError(f"--hidden is {hidden}; it can be at most {3 * LARGEST_SIZE // 8 - HEAD_DIM}.")
    return Model(
        name=f"llama-{hidden}",
        title=f"Llama of hidden size {hidden}",
        layers=1,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=HEAD_DIM,
        intermediate=-(-mlp // MLP_MULTIPLE) * MLP_MULTIPLE,
        vocabulary=32000,
        max_context=LARGEST_COUNT,
        gated_mlp=True,
        tied_embeddings=False,
        rotary=True,
        qk_norm=False,
        norm="rmsnorm",
        biases="none",
    )


def limits(
    chips: Sequence[Dataflow],
    count: int,
    hidden: Sequence[int],
    cases: Sequence[tuple[str, int, int]],
) -> list[dict[str, object]]:
    """How large a Llama's decoder may be, for every chip and case (phase, batch, context), a record each.

    ``weight_stream`` and ``token_stream``: the largest hidden size with which one decoder is one kernel on each of
    ``count`` chips, so mapped. A key for every size of ``hidden``: the fewest kernels that hold one decoder.
    """
    records: list[dict[str, object]] = []
    for chip in chips:
        group = DataflowGroup(chip, Cluster(chip, count))
        for phase, batch, context in cases:
            record: dict[str, object] = {
                "chip": chip.name,
                "count": count,
                "phase": phase,
                "batch": batch,
                "context": context,
                "weight_stream": largest_hidden(group, weight_stream, phase, batch, context),
                "token_stream": largest_hidden(group, token_stream, phase, batch, context),
            }
            for size in hidden:
                record[f"kernels_at_{size}"] = kernels_needed(group, _decoder(size, count, phase, batch, context))
            records.append(record)
    return records


def largest_hidden(
    group: DataflowGroup,
    mapping: Callable[[DataflowGroup, Decoder], FusedProgram],
    phase: str,
    batch: int,
    context: int,
) -> int:
    """The largest hidden size of a Llama whose decoder is one kernel so mapped; at most LARGEST_HIDDEN, 0 for none."""
    count = group.cluster.count
    least, most = 0, LARGEST_HIDDEN // (HEAD_DIM * count)
    while least < most:
        middle = (least + most + 1) // 2
        decoder = _decoder(middle * HEAD_DIM * count, count, phase, batch, context)
        least, most = (middle, most) if fits(mapping(group, decoder), group.chip) else (least, middle - 1)
    return least * HEAD_DIM * count


def _decoder(hidden: int, count: int, phase: str, batch: int, context: int) -> Decoder:
    """The decoder of a Llama of this hidden size on one of ``count`` chips."""
    if hidden < HEAD_DIM or hidden % HEAD_DIM:
        raise ScenarioError(f"--hidden {hidden} is not heads of {HEAD_DIM}; choose a multiple of {HEAD_DIM}.")
    model = llama_of(hidden)
    step = forward(model, shard(model, count), batch, 1 if phase == "decode" else context, context)
    return step.decoders[0]
