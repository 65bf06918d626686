"""What of a model is trained: all of it, or adapters of low rank beside frozen products.

Hu et al. 2021 (LoRA, arXiv 2106.09685): a product's output gets ``up(down(input))`` added, with ``down`` to ``rank``
elements a token and ``up`` back from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from scenarios.workload.model import Model, Shard
from scenarios.workload.operators import ACTIVATION_BYTES, Elementwise, MatrixProduct, Operator

Adapted = Literal["all", "attention", "qkv"]
EXPECTED = "expected full, or lora with rank=NUMBER and products=all|attention|qkv behind it, with commas between"


@dataclass(frozen=True)
class Method:
    """How a model is trained, as text (``parse``, ``str``): ``full``, or ``lora,rank=16,products=qkv``.

    ``rank``: of the adapters; 0 where every weight is trained. ``products``: which products of a decoder have one: all,
    those around attention, or those of queries, keys and values.
    """

    rank: int = 0
    products: Adapted = "all"

    @classmethod
    def parse(cls, text: str) -> Method:
        """The method that a text names. Raises ValueError in one sentence for what it does not understand."""
        name, *items = (part.strip() for part in text.split(","))
        if name not in ("full", "lora") or (name == "full" and items):
            raise ValueError(f"'{text}' is not understood; {EXPECTED}.")
        found = {} if name == "full" else {"rank": 16}
        products: Adapted = "all"
        keys = [item.partition("=")[0] for item in items]
        for item, key in zip(items, keys, strict=True):
            if keys.count(key) > 1:
                raise ValueError(f"'{text}' says {key} twice.")
            value = item.partition("=")[2]
            if key == "rank" and value.isdecimal() and int(value) > 0:
                found["rank"] = int(value)
            elif key == "products" and value in get_args(Adapted):
                products = next(each for each in get_args(Adapted) if each == value)
            else:
                raise ValueError(f"'{item}' is not understood; {EXPECTED}.")
        return cls(products=products, **found)

    def __str__(self) -> str:
        if not self.rank:
            return "full"
        return f"lora,rank={self.rank}" + ("" if self.products == "all" else f",products={self.products}")

    def adapts(self, product: int) -> bool:
        """Whether the ``product``-th product of a decoder, in its order, has an adapter."""
        return bool(self.rank) and product < {"all": 4, "attention": 2, "qkv": 1}[self.products]


FULL = Method()


def adapter(product: MatrixProduct, rank: int) -> list[Operator]:
    """The two products of the adapter of one, in 16 bits, and the sum of both outputs."""
    beside = replace(product, precision="bf16", weight_bits=None, widths=())
    outputs = 1.0 * product.m * product.n * ACTIVATION_BYTES
    return [
        replace(beside, name=f"{product.name} adapter, down", n=rank),
        replace(beside, name=f"{product.name} adapter, up", k=rank),
        Elementwise(f"{product.name} adapter, sum", 2.0 * outputs, outputs, outputs, plain_calls=2),
    ]


def adapter_parameters(model: Model, shard: Shard, method: Method) -> float:
    """Parameters of the adapters of one decoder on one chip."""
    return float(sum(method.rank * (n + k) for n, k in _adapted(model, shard, method)))


def _adapted(model: Model, shard: Shard, method: Method) -> Iterator[tuple[int, int]]:
    """(outputs, inputs) of each product that has an adapter."""
    heads = shard.heads * model.head_dim
    shapes = (
        (heads + 2 * shard.kv_heads * model.head_dim, model.hidden),
        (model.hidden, heads),
        ((2 if model.gated_mlp else 1) * shard.intermediate, model.hidden),
        (model.hidden, shard.intermediate),
    )
    return (shape for number, shape in enumerate(shapes) if method.adapts(number))
