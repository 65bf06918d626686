"""Work that comes with somebody's weights, a chat template or a tokenizer, done where it can do no harm.

A process of its own does it, with limits of time and memory, and hands back a value or why there is none: templates
loop and tokenizers let text grow without end, and neither library can be told to stop.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from scenarios.errors import ScenarioError

Result = TypeVar("Result", str, list[int])

CPU_SECONDS = 1
WAIT_SECONDS = 60.0  # for those, on a busy machine
MORE_BYTES = 2**28  # beside what this process holds
MOST_ANSWER_BYTES = 2**26


def bounded(work: Callable[[], Result], failed: str) -> Result:
    """What ``work`` returns. Raises ScenarioError, which begins with ``failed``, where it fails or exceeds a limit."""
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe(duplex=False)
    process = forking.Process(target=_work, args=(work, theirs), daemon=True)
    process.start()
    answer: dict[str, Any]
    theirs.close()
    try:
        answer = json.loads(ours.recv_bytes(MOST_ANSWER_BYTES)) if ours.poll(WAIT_SECONDS) else {"why": TOO_LONG}
    except EOFError:
        process.join()
        answer = {"why": TOO_LONG if process.exitcode in TIMED_OUT else TOO_MUCH}
    except OSError:
        answer = {"why": f"its answer has more than {MOST_ANSWER_BYTES:,} bytes"}
    finally:
        process.kill()
        process.join()
        ours.close()
    if "why" in answer:
        raise ScenarioError(f"{failed}: {answer['why']}.")
    found: Result = answer["value"]
    return found


TOO_LONG = f"it takes more than {CPU_SECONDS} s"
TOO_MUCH = f"it takes more than {MORE_BYTES // 2**20} MiB of memory"
TIMED_OUT = (-signal.SIGXCPU, -signal.SIGKILL)


def _work(work: Callable[[], object], pipe: Connection) -> None:
    """The other end, whose own words nobody sees."""
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_AS, _address_space() + MORE_BYTES)
    answer: dict[str, object]
    try:
        answer = {"value": work()}
    except MemoryError:
        answer = {"why": TOO_MUCH}
    except RecursionError:
        answer = {"why": "it lies too deeply in itself"}
    except BaseException as error:  # a panic of a library in Rust is no Exception
        answer = {"why": " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__}
    pipe.send_bytes(json.dumps(answer).encode())


def _limit(kind: int, most: int) -> None:
    _, allowed = resource.getrlimit(kind)
    least = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(kind, (least, allowed))


def _address_space() -> int:
    """Bytes that this process has mapped; more than there are where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text(encoding="ascii").split()[0]) * resource.getpagesize() if pages.exists() else 2**62
