"""The shipped programs by name, with sizes to show them at: whole tiles of rows where a dataflow chip runs them.

A GPU's thread block has 227 KiB of shared memory where a dataflow chip has 520 MiB: its tiles are smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from chips.tiles.language import Shape
from chips.tiles.programs.attention import flash_attention
from chips.tiles.programs.attention_backward import flash_attention_backward
from chips.tiles.programs.decoder import llama_decoder
from chips.tiles.programs.linear import difference_products, matmul_over_k, matmul_two_pipes, matrix_vector, swiglu
from chips.tiles.programs.lists import linked_list, stream
from chips.tiles.programs.rows import rms_norm, softmax


@dataclass(frozen=True)
class Example:
    """A program at sizes to show; ``spatial`` and ``gpu``: the tile sizes for each kind of chip.

    ``in_turn``: those of ``gpu`` that differ where matrix instructions are not asynchronous.
    """

    program: Callable[..., None]
    shapes: dict[str, Shape]
    spatial: dict[str, int | bool | None] = field(default_factory=dict)
    gpu: dict[str, int | bool | None] = field(default_factory=dict)
    in_turn: dict[str, int | bool | None] = field(default_factory=dict)

    def tiled(self, on_gpu: bool, asynchronous: bool = True) -> Callable[..., None]:
        """The program with the tile sizes of one kind of chip, on a GPU those of its matrix instructions."""
        if not on_gpu:
            return partial(self.program, **self.spatial)
        return partial(self.program, **self.gpu | ({} if asynchronous else self.in_turn))


TOKENS, WIDTH, HEADS_WIDTH, HIDDEN = 4096, 4096, 1024, 14336
_HEADS = {name: (TOKENS, WIDTH) for name in ("q", "k", "v", "o")}
_FEED_FORWARD = {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}

_NODES = {"nodes": (16384, 128), "following": (16384, 1), "total": (1, 128)}

EXAMPLES = {
    "matrix-vector": Example(
        matrix_vector, {"a": (16384, 4096), "x": (4096, 1), "y": (16384, 1)}, {"rows": 1024}, {"rows": 8}
    ),
    "matmul": Example(
        matmul_two_pipes,
        {"a": (16384, 4096), "b": (4096, 4096), "c": (16384, 4096)},
        {"rows": 1024, "columns": 512, "row_par": None},
        {"rows": 8, "columns": 8, "row_par": None},
    ),
    "matmul-over-k": Example(
        matmul_over_k,
        {"a": (4096, 4096), "b": (4096, 4096), "c": (4096, 4096)},
        {"rows": 1024, "columns": 1024, "step": 512},
        {"rows": 128, "columns": 256, "step": 64, "shared_by": 2},
    ),
    "softmax": Example(softmax, {"x": (16384, 4096), "o": (16384, 4096)}, {"rows": 512}, {"rows": 8}),
    "difference-products": Example(difference_products, {"x": (16384, 128), "mean": (1, 128), "y": (128, 128)}),
    "flash-attention": Example(
        flash_attention,
        _HEADS,
        {"head_dim": 128, "rows": 1024, "keys": 512, "causal": False},
        {"head_dim": 128, "rows": 128, "keys": 128, "causal": False},
        {"keys": 64},
    ),
    "flash-attention-backward": Example(
        flash_attention_backward,
        {name: (TOKENS, WIDTH) for name in ("q", "k", "v", "gradient", "dq", "dk", "dv")}
        | {name: (TOKENS, WIDTH // 128) for name in ("logarithms", "products")},
        {"head_dim": 128, "rows": 512, "keys": 512, "causal": False},
        {"head_dim": 128, "rows": 80, "keys": 128, "causal": False},
        {"rows": 64},
    ),
    "swiglu": Example(
        swiglu,
        {"x": (TOKENS, WIDTH), **_FEED_FORWARD, "y": (TOKENS, WIDTH)},
        {"rows": 1024, "columns": 256},
        {"rows": 64, "columns": 64},
    ),
    "rms-norm": Example(
        rms_norm, {"x": (16384, 4096), "weight": (1, 4096), "y": (16384, 4096)}, {"rows": 512}, {"rows": 8}
    ),
    "stream": Example(stream, _NODES),
    "linked-list": Example(linked_list, _NODES),
    "llama-decoder": Example(
        llama_decoder,
        {
            "x": (TOKENS, WIDTH),
            "norm_1": (1, WIDTH),
            "wq": (WIDTH, WIDTH),
            "wk": (WIDTH, HEADS_WIDTH),
            "wv": (WIDTH, HEADS_WIDTH),
            "wo": (WIDTH, WIDTH),
            "norm_2": (1, WIDTH),
            **_FEED_FORWARD,
            "cos": (TOKENS, 128),
            "sin": (TOKENS, 128),
            "q": (TOKENS, WIDTH),
            "k": (TOKENS, HEADS_WIDTH),
            "v": (TOKENS, HEADS_WIDTH),
            "mixed": (TOKENS, WIDTH),
            "y": (TOKENS, WIDTH),
        },
        {"head_dim": 128, "rows": 1024, "keys": 512, "columns": 256},
        {"head_dim": 128, "rows": 64, "keys": 64, "columns": 64},
    ),
}
