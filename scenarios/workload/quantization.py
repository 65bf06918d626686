"""How a model's numbers are stored and multiplied: the precisions that can be asked for, in bits and conversions.

Belongs here: what a precision means for bytes and for the operators of a decoder. What a checkpoint says of itself is
read in ``scenarios.workload.checkpoint_quantization``; what a product of such numbers costs is in ``chips.kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from annotated_types import Ge, Le

from chips.frozen import Frozen
from chips.kernels.quantize import Scales
from chips.spec import ELEMENT_BYTES, KvPrecision, Precision

PrecisionWord = Literal["bf16", "fp8", "fp8-block", "nvfp4", "int8", "int4"]
Bits = Annotated[float, Ge(1), Le(32)]


@dataclass(frozen=True)
class NumberFormat:
    """``multiplied``: what the matrix unit multiplies. ``weight_bits``: of a stored weight, with its part of scales.

    ``scales``: how those of a product's input are found where nothing else says; None where it stays in bf16.
    """

    multiplied: Precision
    weight_bits: float
    scales: Scales | None


# Scales: FP8 one for a tensor or a channel, nothing to speak of; in blocks 32 bits for 128 x 128 (DeepSeek-V3, arXiv
# 2412.19437); NVFP4 8 bits for 16; GPTQ's int8 16 bits for 128; AWQ's and GPTQ's int4 16 bits and a zero point of 4.
FORMATS: dict[PrecisionWord, NumberFormat] = {
    "bf16": NumberFormat("bf16", 16.0, None),
    "fp8": NumberFormat("fp8", 8.0, "tensor"),
    "fp8-block": NumberFormat("fp8", 8.0 + 32 / 128**2, "block"),
    "nvfp4": NumberFormat("nvfp4", 4.0 + 8 / 16, "block"),
    "int8": NumberFormat("bf16", 8.0 + 16 / 128, None),
    "int4": NumberFormat("bf16", 4.0 + (16 + 4) / 128, None),
}
"""By the words of ``results.words.PRECISIONS``."""


class Quantization(Frozen):
    """How the numbers of one model are stored and multiplied. Activations between products are bf16."""

    precision: PrecisionWord = "bf16"
    weight_bits: Bits = 16.0
    """of a stored weight of the decoders' products, with its part of scales."""
    around_bits: Bits = 16.0
    """of a stored weight of embedding and head, which quantized checkpoints leave as they are (GGUF files do not)."""
    attention: bool = True
    """whether the projections around attention are quantized as those of the MLP."""
    scales: Scales | None = None
    """how scales of activations are found; None: as the framework does, or none are."""
    kv_precision: KvPrecision | None = None
    """of keys and values in the cache; None: nobody says, which is bf16."""

    @classmethod
    def of(cls, word: PrecisionWord, kv_precision: KvPrecision | None = None) -> Quantization:
        """What a precision means where no checkpoint says more."""
        return cls(precision=word, weight_bits=FORMATS[word].weight_bits, kv_precision=kv_precision)

    @property
    def multiplied(self) -> Precision:
        """What the matrix unit multiplies in the decoders' products."""
        return FORMATS[self.precision].multiplied

    @property
    def attention_bits(self) -> float:
        """Of a stored weight of the projections around attention."""
        return self.weight_bits if self.attention else 16.0

    @property
    def kv_bytes(self) -> float:
        """Of an element of a key or a value in the cache."""
        return ELEMENT_BYTES[self.kv_precision or "bf16"]

    @property
    def weights_alone(self) -> bool:
        """Whether only weights are in fewer bits, which a kernel brings back to 16 as it multiplies them."""
        return self.multiplied == "bf16" and self.weight_bits < 16.0


SAME_WEIGHTS: dict[PrecisionWord, PrecisionWord] = {"fp8": "int8", "fp8-block": "int8", "nvfp4": "int4"}
"""How a chip without such a matrix unit runs a checkpoint: its weights as they are stored, its products in bf16."""


@lru_cache
def quantization_as_run(
    stored: Quantization | None, precision: PrecisionWord, kv_precision: KvPrecision, scales: Scales | None
) -> Quantization:
    """How a model is run that is ``stored`` so, or, if asked for another ``precision``, as that one usually is.

    ``scales``: how the framework finds those of activations in FP8 where the checkpoint does not say; None where no
    operator of its own converts them (training, whose step has its conversions).
    """
    own = Quantization.of(precision)
    if stored is not None and precision in (stored.precision, SAME_WEIGHTS.get(stored.precision)):
        own = stored.model_copy(update={"precision": precision})
    found = FORMATS[precision].scales if scales is not None else None
    if found == "tensor":
        found = own.scales or scales
    return own.model_copy(update={"kv_precision": kv_precision, "scales": found})


PLAIN = Quantization()
"""Everything in bf16."""
