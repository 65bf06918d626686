"""The published attention kernels, and which of them a chip's serving library runs.

``flash_attention_2``: tiles in turn, loads by the warps that compute (Dao 2023, arXiv 2307.08691).
``flash_attention_3``: loads by a warp of their own, softmax beside the other tile's products, splits planned ahead
(Shah et al. 2024, arXiv 2407.08608). ``trtllm_gen``: TensorRT-LLM's for Blackwell, accumulators in tensor memory.
``flashinfer``: FlashAttention-2 with small query tiles over a cache that it converts as it reads (Ye et al. 2025, arXiv
2501.01005). ``triton``: vLLM's own, for what the others have no kernel for.
Belongs here: what a kernel is. Its tiles are in ``tiles``, how it cuts a call in ``plan``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chips.generation import AttentionKernel
from chips.kernels.attention.shape import AttentionShape
from chips.spec import Gpu, KvPrecision, Precision

MOST_CHIPS = 256
FLASHINFER_HEADS = (64.0, 128.0, 256.0, 512.0)

PACKS = frozenset[AttentionKernel]({"flash_attention_3", "flashinfer", "triton"})
"""Kernels in which query heads that share keys fill a tile together in prefill too, not only in decode."""
INTERLEAVES = frozenset[AttentionKernel]({"flashinfer", "triton"})
"""Kernels over a cache in which a token's heads lie side by side, which run blocks of one head after each other."""
FP8_PRODUCTS = frozenset[AttentionKernel]({"flash_attention_3", "trtllm_gen"})
"""Kernels that multiply FP8 keys and values as they are, with queries in FP8; the others convert them to bf16."""


@lru_cache(MOST_CHIPS)
def with_cache_in(chip: Gpu, kv_precision: KvPrecision) -> Gpu:
    """The chip with the coefficients of the kernel that its library runs on such a cache."""
    attention = chip.generation.attention
    if kv_precision == "bf16":
        return chip
    differs = {name: getattr(attention.fp8_cache, name) for name in type(attention.fp8_cache).model_fields}
    attention = attention.model_copy(update=differs)
    return chip.model_copy(update={"generation": chip.generation.model_copy(update={"attention": attention})})


def products_in(chip: Gpu, kernel: AttentionKernel, kv_precision: KvPrecision) -> Precision:
    """The precision of the kernel's products over such a cache."""
    fp8 = kv_precision == "fp8" and kernel in FP8_PRODUCTS and "fp8" in chip.compute.matrix_flop_per_clock
    return "fp8" if fp8 else "bf16"


def without_kernel(shape: AttentionShape, kernel: AttentionKernel) -> NDArray[np.bool_]:
    """Calls over an FP8 cache whose head dimension FlashInfer has no kernel for: they run vLLM's in Triton."""
    if shape.kv_precision == "bf16" or kernel not in ("flashinfer", "trtllm_gen"):
        return np.zeros(shape.head_dim.shape, bool)
    return np.isin(shape.head_dim, FLASHINFER_HEADS, invert=True)
