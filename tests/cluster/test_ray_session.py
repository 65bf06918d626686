"""Ray that is not there, cannot start or does not answer: one sentence, soon."""

from __future__ import annotations

import socket
from contextlib import closing
from time import sleep
from types import SimpleNamespace

import pytest
import ray

from cluster import ClusterError, ray_session
from cluster.ray_session import session, within


def refusal(address=None):
    """What is said where Ray is to be used at ``address``."""
    with pytest.raises(ClusterError) as refused, session(address, 1):
        pass
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", ["RAY_ADDRESS", None])
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("somewhere", "is no address of a Ray cluster; expected HOST:PORT"),
        ("host:port", "is no address of a Ray cluster"),
        ("ray://127.0.0.1:10001", "is for Ray's client"),
        ("http://127.0.0.1:8265", "is its dashboard's"),
        ("127.0.0.1:9", "(Connection refused)"),
        ("[::1]:9", "No Ray cluster answers at [::1]:9"),
    ],
)
def test_what_is_no_address_is_refused_and_its_source_named(monkeypatch, name, address, words):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if name:
        monkeypatch.setenv(name, address)
    said = refusal(None if name else address)
    assert words in said
    assert ("(RAY_ADDRESS)" in said) == bool(name)


def test_auto_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert "127.0.0.1:9 (RAY_ADDRESS)" in refusal("auto")


def test_auto_without_a_cluster_is_a_sentence(monkeypatch):
    monkeypatch.setattr(ray, "init", raising(ConnectionError("Could not find any running Ray instance.")))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert refusal() == "Ray at auto (RAY_ADDRESS) could not be used: Could not find any running Ray instance."


def raising(error):
    def refuse(*arguments, **options):
        raise error

    return refuse


@pytest.mark.parametrize("error", [Exception("timed out\nduring startup"), SystemExit(1), ValueError("no token")])
def test_whatever_ray_raises_as_it_starts_is_a_sentence(monkeypatch, error):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", raising(error))
    assert refusal() == f"Ray at this machine could not be used: {str(error).splitlines()[0]}"


def test_what_accepts_and_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(ray_session, "CONNECT_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert "(timed out)" in refusal(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_call_that_ray_never_answers_is_given_up():
    with closing(socket.create_server(("127.0.0.1", 0))) as server, pytest.raises(ClusterError) as refused:
        within(0.1, "The Ray cluster", server.accept)
    assert str(refused.value) == "The Ray cluster did not answer within 0.1 s."


def test_a_session_of_this_machine_is_reached_from_nowhere_else():
    with session("local", 1):
        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    assert not ray.is_initialized()


def check_for_a_minute(check):
    for _ in range(1200):
        sleep(0.05)
        check()


def test_a_head_that_no_longer_answers_is_noticed(monkeypatch):
    """By whoever waits, and before Ray ends the whole process for it."""
    monkeypatch.setattr(ray_session, "HEAD_SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        with session(None, 1) as check, pytest.raises(ClusterError) as refused:
            check_for_a_minute(check)
    assert str(refused.value) == f"The head of the Ray cluster at {address} has not answered for 0.2 s."
