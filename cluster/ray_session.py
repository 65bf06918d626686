"""A session of Ray for the while: the one of this process, a cluster's, or one made on this machine.

Ray waits for ever for what does not answer, and raises all kinds of errors where it cannot start. Here every wait has
a limit (``within``), and whatever goes wrong is one sentence.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker

from cluster.errors import ClusterError

Answer = TypeVar("Answer")
Answers: TypeAlias = SimpleQueue[tuple[Answer | None, BaseException | None]]
MODULES = ("chips", "cluster", "collectives", "results", "scenarios", "loopline")
CONNECT_SECONDS = 10.0  # for the head node to accept a connection, and to answer
JOIN_SECONDS = 90.0  # for a cluster to take this process in
START_SECONDS = 180.0  # for Ray to come up on this machine
END_SECONDS = 15.0  # for it to let go
HEAD_SECONDS = 20.0  # for the head of a cluster to answer again
LOOPBACK = "127.0.0.1"  # whoever reaches a port of Ray can have code run, so nobody else does
# Ray's head speaks gRPC, whose servers answer any client's first bytes with the settings of a connection (RFC 9113).
HTTP2_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HTTP2_SETTINGS
EXPECTED = "expected HOST:PORT of a Ray cluster's head, as in 127.0.0.1:6379, or auto or local"


class Place(NamedTuple):
    """Where Ray is to be: what Ray is given (``local``, ``auto`` or HOST:PORT), and what errors call it."""

    address: str
    named: str


@contextmanager
def session(address: str | None, count: int) -> Iterator[Callable[[], None]]:
    """Connected to Ray: as this process is already, to the cluster at ``address``, or to one made for the while.

    ``address``: as ``ray.init`` takes it (HOST:PORT, auto or local), None for that of RAY_ADDRESS, else local.
    ``count``: CPUs that one made here has at least. Gives what raises ClusterError once the head of the cluster has not
    answered for long: whoever waits calls it. Raises ClusterError in one sentence.
    """
    if ray.is_initialized():
        with _head_watched() as head:
            yield head.check
        return
    place = _place(address)
    came: Answers[None] = SimpleQueue()
    over = Event()

    def hold() -> None:  # what Ray starts here ends with the thread that started it
        _answer(came, partial(_start, place, count))
        over.wait()
        ray.shutdown()

    holder = Thread(target=hold, daemon=True)
    holder.start()
    try:
        _taken(came, START_SECONDS if place.address == "local" else JOIN_SECONDS, f"Ray {place.named}")
    except BaseException:
        over.set()
        raise
    with _head_watched() as head:
        try:
            yield head.check
        finally:
            if not head.hangs:
                over.set()
                holder.join(END_SECONDS)
            if holder.is_alive():  # it would not end at the end of this process either
                atexit.unregister(ray.shutdown)


class _Head:
    """The head of the cluster, asked now and then whether it still answers. ``hangs``: it is there, and does not.

    Ray itself ends this process, without a word of where and why, when it has not reached the head for a minute.
    """

    def __init__(self) -> None:
        self.lost, self.over = Event(), Event()
        self.hangs = False
        self._address = ray.get_runtime_context().gcs_address

    def watch(self) -> None:
        """Ask until ``over``, or ``lost``."""
        answered = time.monotonic()
        while not self.over.wait(HEAD_SECONDS / 4) and not self.lost.is_set():
            try:
                _first_bytes(*_host_and_port(self._address), HEAD_SECONDS / 4)
                answered, self.hangs = time.monotonic(), False
            except OSError as error:
                self.hangs = isinstance(error, TimeoutError)
            if time.monotonic() - answered > HEAD_SECONDS:
                self.lost.set()

    def check(self) -> None:
        """Raise ClusterError where the head is lost."""
        if self.lost.is_set():
            raise ClusterError(
                f"The head of the Ray cluster at {self._address} has not answered for {HEAD_SECONDS:g} s."
            )


@contextmanager
def _head_watched() -> Iterator[_Head]:
    head = _Head()
    Thread(target=head.watch, daemon=True).start()
    try:
        yield head
    finally:
        head.over.set()


def within(seconds: float, who: str, call: Callable[[], Answer]) -> Answer:
    """What ``call`` returns. Raises ClusterError about ``who`` where it raises or takes longer than ``seconds``.

    A call that takes longer goes on in its thread: nothing can end it but the end of this process.
    """
    answers: Answers[Answer] = SimpleQueue()
    Thread(target=_answer, args=(answers, call), daemon=True).start()
    return _taken(answers, seconds, who)


def _answer(answers: Answers[Answer], call: Callable[[], Answer]) -> None:
    try:
        answers.put((call(), None))
    except BaseException as error:
        answers.put((None, error))


def _taken(answers: Answers[Answer], seconds: float, who: str) -> Answer:
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise ClusterError(f"{who} did not answer within {seconds:g} s.") from None
    if error is not None:
        raise ClusterError(f"{who} could not be used: {first_line(error)}") from None
    return cast(Answer, answer)


def first_line(error: BaseException) -> str:
    """What an error of Ray says, without what it lists after that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _start(place: Place, count: int) -> None:
    """Let Ray come up, quietly."""
    # Ray tells of a lost worker on standard output, where only results belong; it is told here, in a sentence.
    ray_worker.print_to_stdstream = lambda *message, **options: None
    logging.getLogger("ray").setLevel(logging.ERROR)
    quietly = partial(ray.init, place.address, configure_logging=False, log_to_driver=False)
    if place.address != "local":
        quietly(runtime_env={"py_modules": _module_paths()})
        return
    reachable, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:  # Ray takes the loopback for another name of an outer address, but where it is told that there is no cluster
        quietly(num_cpus=max(count, os.cpu_count() or 1), include_dashboard=False, _node_ip_address=LOOPBACK)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = reachable


def _place(address: str | None) -> Place:
    """Where Ray is to be, checked as far as can be before Ray is asked."""
    given, source = (address, "") if address else (os.environ.get("RAY_ADDRESS") or "local", " (RAY_ADDRESS)")
    if given == "auto" and os.environ.get("RAY_ADDRESS", "auto") != "auto":  # which Ray asks then
        given, source = os.environ["RAY_ADDRESS"], " (RAY_ADDRESS)"
    if given == "local":
        return Place(given, "at this machine")
    named = f"at {given}{source}"
    if given != "auto":
        _check_reachable(given, source)
    return Place(given, named)


def _check_reachable(address: str, source: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes."""
    if "://" in address:
        scheme = address.partition("://")[0]
        why = {"ray": " is for Ray's client, which has no actors that meet", "http": " is its dashboard's"}
        raise ClusterError(f"'{address}'{source}{why.get(scheme, ' is no address of a Ray cluster')}; {EXPECTED}.")
    host, port = _host_and_port(address)
    if not host or not port:
        raise ClusterError(f"'{address}'{source} is no address of a Ray cluster; {EXPECTED}.")
    try:
        answer = _first_bytes(host, port, CONNECT_SECONDS)
    except OSError as error:
        why_not = error.strerror or error
        raise ClusterError(
            f"No Ray cluster answers at {address}{source} ({why_not}); `ray start --head` starts one."
        ) from None
    if answer[3:4] != HTTP2_SETTINGS[3:4] and "RAY_USE_TLS" not in os.environ:
        raise ClusterError(f"What answers at {address}{source} is no head of a Ray cluster; {EXPECTED}.")


def _host_and_port(address: str) -> tuple[str, int]:
    """The two of HOST:PORT; empty and 0 where it is nothing of the kind."""
    try:
        parts = urlsplit(f"//{address}")
        return ("" if parts.path else parts.hostname or ""), parts.port or 0
    except ValueError:
        return "", 0


def _first_bytes(host: str, port: int, seconds: float) -> bytes:
    """What answers a client of gRPC at first. Raises OSError where nothing does."""
    with socket.create_connection((host, port), seconds) as connection:
        connection.sendall(HTTP2_HELLO)
        return connection.recv(len(HTTP2_SETTINGS))


def _module_paths() -> list[str]:
    """Where this project's packages and its front door lie, for Ray to ship to every node."""
    found = [(spec, Path(spec.origin)) for spec in map(find_spec, MODULES) if spec is not None and spec.origin]
    return [str(path.parent if spec.submodule_search_locations else path) for spec, path in found]
