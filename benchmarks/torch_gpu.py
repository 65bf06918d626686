"""How one row of a table is timed on a GPU with PyTorch.

Kernels are captured into a CUDA graph and replayed, so that no host time is in them, over operands that rotate, so that
what does not fit does not stay in L2. Nothing here imports PyTorch before a GPU is asked for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Row = dict[str, Any]
BF16_BYTES = 2
CALLS = 20  # in one graph
REPLAYS = 7  # of a graph; their median counts
ROTATED_BYTES = 512e6  # operands rotate over at least so much, several times any L2
WEIGHTS_IN_TURN = 6  # of a matrix product, as in the project's own tables: small ones are read from L2


class CannotMeasure(Exception):
    """What is missing on this machine, in one sentence."""


def gemm_bytes(row: Row) -> float:
    """The activations, all weights that are used in turn, and the result."""
    return BF16_BYTES * (row["m"] * row["k"] + WEIGHTS_IN_TURN * row["n"] * row["k"] + row["m"] * row["n"])


def attention_bytes(row: Row) -> float:
    """Keys, values, queries and output."""
    per_token = BF16_BYTES * row["head_dim"] * row["batch_size"]
    return per_token * 2 * (row["kv_heads"] * row["context"] + row["heads"] * row["tokens"])


def stream_bytes(row: Row) -> float:
    """All arrays."""
    return float(row["bytes_read"] + row["bytes_written"])


def copies_of(operand_bytes: float) -> int:
    """How many sets of operands a graph rotates over, so that none is still in L2 when its turn comes."""
    return max(1, min(CALLS, round(ROTATED_BYTES / max(1.0, operand_bytes))))


class TorchGpu:
    """PyTorch on GPU 0: times a row of each kind of table. ``rows``: all of the table that is being measured.

    Raises CannotMeasure where a library or GPU is missing.
    """

    def __init__(self) -> None:
        try:
            import torch
        except ImportError:
            raise CannotMeasure("PyTorch is not installed; a GPU is measured with it.") from None
        if not torch.cuda.is_available():
            raise CannotMeasure("PyTorch sees no GPU on this machine.")
        self.torch = torch
        self.gpus = torch.cuda.device_count()
        self.memory_bytes = float(torch.cuda.get_device_properties(0).total_memory)
        self.rows: Sequence[Row] = ()
        self._collectives: dict[tuple[str, int, int], float] = {}

    def device(self) -> Row:
        """Names and versions of what is measured."""
        torch = self.torch
        properties = torch.cuda.get_device_properties(0)
        return {
            "gpu": torch.cuda.get_device_name(0),
            "gpus": self.gpus,
            "streaming_multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
            "attention": self._attention_library(),
        }

    def gemm(self, row: Row) -> float:
        """``torch.nn.functional.linear``, the library's choice of kernel."""
        torch, count = self.torch, WEIGHTS_IN_TURN
        inputs, weights = self._random(row["m"], row["k"]), [self._random(row["n"], row["k"]) for _ in range(count)]
        out = self.torch.empty(row["m"], row["n"], dtype=torch.bfloat16, device="cuda")
        return self._graph(lambda call: torch.matmul(inputs, weights[call % count].t(), out=out))

    def gemm_fp8(self, row: Row) -> float:
        """``torch._scaled_mm``, the FP8 product alone, with a scale of each whole operand known before."""
        torch, count = self.torch, WEIGHTS_IN_TURN
        if torch.cuda.get_device_capability() < (8, 9):
            raise CannotMeasure("this GPU has no FP8 matrix unit.")
        one = torch.ones((), dtype=torch.float32, device="cuda")
        inputs, weights = (
            [self._random(rows, row["k"]).to(torch.float8_e4m3fn) for _ in range(copies)]
            for rows, copies in ((row["m"], 1), (row["n"], count))
        )

        def product(call: int) -> object:
            weight = weights[call % count].t()
            return torch._scaled_mm(
                inputs[0], weight, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
            )

        return self._graph(product)

    def attention(self, row: Row) -> float:
        """FlashAttention with its cache where installed; else PyTorch's own, which has no decode kernel."""
        torch, batch, dim = self.torch, row["batch_size"], row["head_dim"]
        count = copies_of(attention_bytes(row))
        queries = self._random(batch, row["tokens"], row["heads"], dim)
        pairs = [[self._random(batch, row["context"], row["kv_heads"], dim) for _ in range(2)] for _ in range(count)]
        if self._attention_library() == "flash_attn":
            from flash_attn import flash_attn_with_kvcache  # type: ignore[import-not-found, unused-ignore]

            new = [self._random(batch, row["tokens"], row["kv_heads"], dim) for _ in range(2)]
            before = torch.full((batch,), row["context"] - row["tokens"], dtype=torch.int32, device="cuda")
            return self._graph(
                lambda call: flash_attn_with_kvcache(
                    queries, *pairs[call % count], *new, cache_seqlens=before, causal=True
                )
            )
        if row["tokens"] < row["context"]:
            raise CannotMeasure("decode attention is measured with the package flash_attn, which is not installed.")
        across = [[tensor.transpose(1, 2) for tensor in (queries, *pair)] for pair in pairs]
        attend = torch.nn.functional.scaled_dot_product_attention
        return self._graph(lambda call: attend(*across[call % count], is_causal=True, enable_gqa=True))

    def stream(self, row: Row) -> float:
        """A copy, or the sum of two arrays."""
        torch, count = self.torch, copies_of(stream_bytes(row))
        elements = row["bytes_written"] // BF16_BYTES
        arrays = [[self._random(elements) for _ in range(3)] for _ in range(count)]
        if row["bytes_read"] == row["bytes_written"]:
            return self._graph(lambda call: arrays[call % count][0].copy_(arrays[call % count][1]))
        return self._graph(lambda call: torch.add(*arrays[call % count][1:], out=arrays[call % count][0]))

    def launch(self, row: Row) -> float:
        """Seconds a kernel of a chain: device time of empty kernels, or host time of eager operators."""
        torch, kernels = self.torch, row["kernels"]
        if row["mode"] == "graph":
            return self._graph(lambda call: torch.cuda._sleep(0), calls=kernels)
        if row["mode"] == "stream":
            return self._on_stream(lambda: [torch.cuda._sleep(0) for _ in range(kernels)]) / kernels
        norm = torch.nn.LayerNorm(64, dtype=torch.bfloat16, device="cuda")
        linear = torch.nn.Linear(64, 64, dtype=torch.bfloat16, device="cuda")
        value = self._random(1, 64)
        with torch.inference_mode():
            started: list[float] = []
            for _ in range(REPLAYS):
                torch.cuda.synchronize()
                start = time.perf_counter()
                for _ in range(kernels // 4):  # four operators of a decoder, as a framework calls them
                    value = torch.nn.functional.silu(linear(norm(value))) + value
                torch.cuda.synchronize()
                started.append(time.perf_counter() - start)
        return statistics.median(started) / (kernels // 4 * 4)

    def collective(self, row: Row) -> float:
        """NCCL in one process a GPU; the processes of one group size are started once for all rows of the table."""
        import torch.multiprocessing as processes  # type: ignore[import-not-found, unused-ignore]

        key = (row["op"], row["n_chips"], row["bytes"])
        if key not in self._collectives:
            alike = [other for other in self.rows if other["n_chips"] == row["n_chips"]]
            answers = processes.get_context("spawn").SimpleQueue()
            processes.spawn(_collective_rank, (alike, answers), nprocs=row["n_chips"])
            self._collectives |= answers.get()
        return self._collectives[key]

    def _attention_library(self) -> str:
        from importlib.util import find_spec

        return "flash_attn" if find_spec("flash_attn") else "torch.scaled_dot_product_attention"

    def _random(self, *shape: int) -> Any:
        return self.torch.randn(*shape, dtype=self.torch.bfloat16, device="cuda") / 8

    def _graph(self, call: Callable[[int], object], calls: int = CALLS) -> float:
        """Seconds a call, replayed in a graph of ``calls``."""
        torch = self.torch
        with torch.inference_mode():
            warm = torch.cuda.Stream()
            warm.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(warm):
                for number in range(3):
                    call(number)
            torch.cuda.current_stream().wait_stream(warm)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for number in range(calls):
                    call(number)
            graph.replay()
            return statistics.median(self._elapsed(graph.replay) for _ in range(REPLAYS)) / calls

    def _on_stream(self, issue: Callable[[], object]) -> float:
        """Device seconds of what ``issue`` puts on the stream, behind a kernel that lets the host get ahead."""
        return statistics.median(self._elapsed(issue, ahead=True) for _ in range(REPLAYS))

    def _elapsed(self, run: Callable[[], object], ahead: bool = False) -> float:
        torch = self.torch
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        if ahead:
            torch.cuda._sleep(50_000_000)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3


def _collective_rank(rank: int, rows: Sequence[Row], answers: Any) -> None:
    """One rank of the collectives of ``rows``; rank 0 answers with the seconds a call of each."""
    import torch  # type: ignore[import-not-found, unused-ignore]
    import torch.distributed as ranks  # type: ignore[import-not-found, unused-ignore]

    torch.cuda.set_device(rank)
    count = rows[0]["n_chips"]
    ranks.init_process_group("nccl", init_method="tcp://127.0.0.1:29555", rank=rank, world_size=count)
    found: dict[tuple[str, int, int], float] = {}
    for row in rows:
        elements = max(count, row["bytes"] // BF16_BYTES // count * count)
        whole, other = (torch.zeros(elements, dtype=torch.bfloat16, device="cuda") for _ in range(2))
        part = torch.zeros(elements // count, dtype=torch.bfloat16, device="cuda")
        call: dict[str, Callable[[], object]] = {
            "all_reduce": partial(ranks.all_reduce, whole),
            "all_gather": partial(ranks.all_gather_into_tensor, whole, part),
            "reduce_scatter": partial(ranks.reduce_scatter_tensor, part, whole),
            "alltoall": partial(ranks.all_to_all_single, other, whole),
        }
        seconds = []
        for _ in range(REPLAYS + 1):  # the first warms up
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            ranks.barrier()
            start.record()
            for _ in range(CALLS):
                call[row["op"]]()
            end.record()
            torch.cuda.synchronize()
            seconds.append(float(start.elapsed_time(end)) * 1e-3 / CALLS)
        found[row["op"], count, row["bytes"]] = statistics.median(seconds[1:])
    if rank == 0:
        answers.put(found)
    ranks.destroy_process_group()
