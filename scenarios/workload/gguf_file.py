"""GGUF files (llama.cpp's format) as they are stored: metadata by key, and tensors as mapped arrays.

A file comes from anywhere, so every count in it is held against the bytes that are there before anything is read or
made by it; gguf-py's own reader believes them. What the keys mean is in ``gguf_shape`` and in
``scenarios.llama.checkpoints.gguf_weights``.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import quant_shape_to_byte_shape
from numpy.typing import NDArray

from results.text_file import check_file, refuse_pointer
from scenarios.errors import ScenarioError

MAGIC, VERSIONS = b"GGUF", (2, 3)
ALIGNMENT, MOST_ALIGNMENT = 32, 2**20
# Of the header: above those of published models, few enough to be read in seconds.
MOST_KEYS, MOST_TENSORS, MOST_DIMENSIONS, MOST_TEXTS, MOST_NUMBERS = 2**16, 2**16, 4, 2**21, 2**24
# Kinds of values, by their numbers in the file.
NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
TEXT, ARRAY = 8, 9
PLAIN_TENSORS: dict[str, type[np.generic]] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}

Array = NDArray[np.generic]
Value = int | float | bool | str | list[str] | Array


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a mapped file. ``shape``: the slowest axis first; ``data``: of quantized ones the bytes of blocks."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    data: Array


class GgufFile:
    """``metadata`` and ``tensors`` of the file at ``path``; arrays of numbers are NumPy's.

    Raises ReadError where there is no file, ScenarioError where it is no whole GGUF file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = np.memmap(path, mode="r") if check_file(path) else np.zeros(0, np.uint8)
        self._view = self._bytes.data
        self._at = 0
        self._texts = 0
        start = bytes(self._view[:64])
        refuse_pointer(path, start)
        if not start.startswith(MAGIC):
            raise self._broken("it does not begin with GGUF")
        self._take(len(MAGIC))
        version = self._number("<I")
        if version not in VERSIONS:
            raise self._broken(f"its version is {version}; versions {' and '.join(map(str, VERSIONS))} are read")
        tensors = self._count(MOST_TENSORS, "tensors")
        keys = self._count(MOST_KEYS, "metadata keys")
        self.metadata: dict[str, Value] = {}
        for _ in range(keys):
            name = self._text()
            if name in self.metadata:
                raise self._broken(f"metadata key '{name}' is there twice")
            self.metadata[name] = self._value(name)
        infos = [self._tensor_info() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or alignment & (alignment - 1) or not 0 < alignment <= MOST_ALIGNMENT:
            raise self._broken(f"metadata key 'general.alignment' is {alignment}; expected a power of two")
        data = -(-self._at // alignment) * alignment
        self.tensors: dict[str, StoredTensor] = {}
        for name, shape, kind, offset in infos:
            if name in self.tensors:
                raise self._broken(f"tensor '{name}' is there twice")
            self.tensors[name] = self._tensor(name, shape, kind, data + offset)

    def _broken(self, why: str) -> ScenarioError:
        return ScenarioError(f"{self.path}: not a whole GGUF file: {why}.")

    def _take(self, size: int) -> memoryview:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._view):
            raise self._broken(f"something in its header would end at byte {end:,} of {len(self._view):,}")
        taken = self._view[self._at : end]
        self._at = end
        return taken

    def _number(self, form: str) -> int:
        found: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return found

    def _count(self, most: int, things: str) -> int:
        count = self._number("<Q")
        if count > most:
            raise self._broken(f"it says that it has {count:,} {things}; at most {most:,} are read")
        return count

    def _text(self) -> str:
        self._texts += 1
        if self._texts > MOST_TEXTS:
            raise self._broken(f"its header has more than {MOST_TEXTS:,} texts")
        stored = self._take(self._number("<Q"))
        try:
            return str(stored, "utf-8")
        except UnicodeDecodeError:
            raise self._broken(f"a text that ends at byte {self._at:,} of its header is not UTF-8") from None

    def _value(self, name: str) -> Value:
        kind = self._number("<I")
        if kind in NUMBERS:
            number: int | float | bool = np.frombuffer(self._take(np.dtype(NUMBERS[kind]).itemsize), NUMBERS[kind])[
                0
            ].item()
            return number
        if kind == TEXT:
            return self._text()
        if kind != ARRAY:
            raise self._broken(f"metadata key '{name}' is of kind {kind}, which the format does not have")
        inner = self._number("<I")
        if inner == TEXT:
            return [self._text() for _ in range(self._count(MOST_TEXTS, f"texts in '{name}'"))]
        if inner not in NUMBERS:
            raise self._broken(f"metadata key '{name}' is a list of kind {inner}; expected numbers or texts")
        return self._numbers(inner, self._count(MOST_NUMBERS, f"numbers in '{name}'"))

    def _numbers(self, kind: int, count: int) -> Array:
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self._take(count * dtype.itemsize), dtype)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._text()
        dimensions = self._number("<I")
        if dimensions > MOST_DIMENSIONS:
            raise self._broken(f"tensor '{name}' has {dimensions:,} dimensions; at most {MOST_DIMENSIONS} are read")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        stored = self._number("<I")
        try:
            kind = GGMLQuantizationType(stored)
        except ValueError:
            raise self._broken(f"tensor '{name}' is of type {stored}, which is not known") from None
        return name, shape, kind, self._number("<Q")

    def _tensor(self, name: str, shape: tuple[int, ...], kind: GGMLQuantizationType, start: int) -> StoredTensor:
        block = GGML_QUANT_SIZES[kind][0]
        if shape and shape[-1] % block:
            raise self._broken(f"rows of tensor '{name}' have {shape[-1]:,} elements, which is no multiple of {block}")
        plain = PLAIN_TENSORS.get(kind.name)
        stored = shape if plain or not shape else quant_shape_to_byte_shape(shape, kind)
        dtype = np.dtype(plain or np.uint8)
        size = math.prod(stored) * dtype.itemsize
        if start + size > len(self._view):
            raise self._broken(f"tensor '{name}' would end at byte {start + size:,} of {len(self._view):,}")
        return StoredTensor(kind, shape, self._bytes[start : start + size].view(dtype).reshape(stored))
