"""Whatever a user's files and options say, the answer is a result or one sentence: no traceback, no nonsense.

Inputs are drawn around those that are right: a key more, another type, a number at the edge. The suite tries a few;
``LOOPLINE_ANY_INPUT=5000`` tries so many of each kind and stops at whatever lasts longer than ten seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_examples import LargeRandomWeights, tiny_config, write_folder, write_gguf
from pydantic import BaseModel

from chips.spec import load_chip
from results.errors import LooplineError
from scenarios.commands.main import main
from scenarios.inputs import INPUTS
from scenarios.llama import open_vocabulary, open_weights

MANY = int(os.environ.get("LOOPLINE_ANY_INPUT", "0"))
LONGEST_SECONDS = 10  # where many are tried by hand
few = settings(
    max_examples=MANY or 12,
    database=None,
    derandomize=not MANY,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SMALL_NUMBERS, EDGES = (0, 1, 2, 3, 7, 8, 64, 128, 4096), (24, 31, 40, 62, 63, 64, 130)
NUMBERS = st.sampled_from([*SMALL_NUMBERS, -1, *(2**power for power in EDGES), 2**31 - 1, -(2**63), 10**19])
REALS = st.sampled_from([0.0, 0.5, 1.0, 1e-320, 1e-300, 1e-12, 1e-3, 1e6, 1e12, 1e18, 1e300, -1.0, math.inf, math.nan])
ODD = ("", "x", "$x_{$", "[/nope]", "\x1b[31m", "a\nb", "../x", "x" * 3000, "é", "none.toml", "straggler=1e300@0")
KNOWN = ("h100", "sn40l", "llama-3.2-1b", "decode", "train", "ring", "clock=0.02", "tensor=2", "tensor=2,pipeline=4")
WORDS = st.sampled_from(ODD + KNOWN)
PLAIN = NUMBERS | REALS | WORDS | st.booleans()
RANGES = st.dictionaries(st.sampled_from(["from", "to", "step", "times"]), NUMBERS)
VALUES = PLAIN | st.lists(PLAIN, max_size=4) | RANGES
JSON_VALUES = VALUES | st.none() | st.just([[1]]) | st.dictionaries(WORDS, PLAIN, max_size=2)


def _too_long(number: int, frame: object) -> None:
    raise AssertionError(f"It takes longer than {LONGEST_SECONDS} s.")


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """An example's time, where many are tried."""
    if MANY:
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def answered(*arguments: str) -> str:
    """What ``loopline`` prints; its answer is checked to be a result or one sentence."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code or 0
    assert code in (0, 1, 2), (arguments, code)
    said = [line for line in err.getvalue().splitlines() if line.startswith("loopline: ")]
    assert code == 0 or (len(said) == 1 and err.getvalue().count("\n") == len(err.getvalue().splitlines())), err
    assert "Traceback" not in err.getvalue()
    return out.getvalue()


def sensible(printed: str) -> None:
    """No number of a printed JSON is negative, or none at all."""
    for record in json.loads(printed) if printed else []:
        for name, value in record.items():
            assert not isinstance(value, float) or (math.isfinite(value) and value >= 0), (name, value)


def within(work: Callable[[], object]) -> None:
    """``work`` as it is used, which ends or raises one sentence."""
    refusal = "none"
    try:
        with in_time():
            work()
    except LooplineError as refused:
        refusal = str(refused)
    assert refusal
    assert "\n" not in refusal


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own for each example, in which commands run."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)


def keys_of(model: BaseModel, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The keys of a datasheet's tables."""
    found = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        found += keys_of(value, (*at, name)) if isinstance(value, BaseModel) else [(*at, name)]
    return found


CHIPS = ("h100", "a100", "sn40l", "tpu-v1")
CHIP_KEYS = {name: keys_of(load_chip(name)) for name in CHIPS}
PHASES = st.sampled_from(["decode", "prefill", "request", "train"])
KEYS = [row.key for row in INPUTS if row.name not in ("model", "chip")]


@st.composite
def chips(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """A chip that inherits one of the catalog, and states a few things otherwise."""
    parent = draw(st.sampled_from(CHIPS))
    table: dict[str, Any] = {"inherits": parent, "name": draw(WORDS), "title": "t"}
    for key in draw(st.lists(st.sampled_from(CHIP_KEYS[parent]), min_size=1, max_size=3, unique=True)):
        at = table
        for part in key[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                break
        else:
            at[key[-1]] = draw(REALS | NUMBERS | VALUES)
    return table


def toml(table: dict[str, Any]) -> str:
    """Written as a user's editor would have it."""
    return tomlkit.dumps(table)


@few
@given(chips(), PHASES, st.sampled_from(["1", "2", "8"]))
def test_any_datasheet_of_a_chip(table: dict[str, Any], phase: str, count: str) -> None:
    with folder():
        Path("c.toml").write_text(toml(table), encoding="utf-8")
        more = ["--count", count, "--phase", phase, "--context", "128"]
        sensible(answered("compare", "llama-3.2-1b", "--chips", "c.toml", *more, "--json", "-q"))
        answered("chips", "c.toml", "-q")


@few
@given(st.dictionaries(st.sampled_from([*KEYS, "together", "sample", "extra"]), VALUES, max_size=4))
def test_any_scenario(table: dict[str, Any]) -> None:
    with folder():
        whole = {"question": "q", "model": "llama-3.2-1b", "chips": "h100"} | table
        Path("s.toml").write_text(toml(whole), encoding="utf-8")
        sensible(answered("run", "s.toml", "--json", "-q"))


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "rope_theta": 1e4,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "attention_bias": False,
    "sliding_window": None,
    "hidden_act": "silu",
}


@few
@given(st.dictionaries(st.sampled_from([*CONFIG]), JSON_VALUES, min_size=1, max_size=3), PHASES)
def test_any_config(changes: dict[str, Any], phase: str) -> None:
    with folder():
        Path("config.json").write_text(json.dumps(CONFIG | changes), encoding="utf-8")
        answered("models", "config.json", "-q")
        more = ["--phase", phase, "--context", "64", "--count", "2", "--json", "-q"]
        sensible(answered("compare", "config.json", "--chips", "h100", *more))


def used(path: Path) -> None:
    """Weights and their vocabulary, as far as a file can be wrong."""
    open_weights.cache_clear()
    source = open_weights(str(path))
    vocabulary = open_vocabulary(source)
    vocabulary.encode("hello")
    assert source.config.model.layers > 0
    source.tensor("embedding", None, slice(0, 2))
    source.tensor("query", 0, slice(None))


with tempfile.TemporaryDirectory() as made:
    SMALL = LargeRandomWeights(tiny_config(vocabulary=256))
    write_gguf(Path(made) / "a.gguf", SMALL)
    GGUF = (Path(made) / "a.gguf").read_bytes()
    write_folder(Path(made), SMALL)
    FOLDER = {path.name: path.read_bytes() for path in Path(made).iterdir() if path.suffix != ".gguf"}
HEADER_BYTES = 2**13


@few
@given(st.lists(st.tuples(st.integers(0, HEADER_BYTES), st.binary(min_size=1, max_size=9)), max_size=4), st.data())
def test_any_gguf(changes: list[tuple[int, bytes]], data: st.DataObject) -> None:
    content = bytearray(GGUF)
    for place, changed in changes:
        content[place : place + len(changed)] = changed
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    with folder() as here:
        (here / "a.gguf").write_bytes(content)
        within(lambda: used(here / "a.gguf"))


@st.composite
def changed_json(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """A JSON with one of its values changed, wherever that is."""
    whole = json.loads(content)
    at, key = whole, None
    while isinstance(at, dict | list) and at and draw(st.integers(0, 4)):
        holder, key = at, draw(st.sampled_from([*at] if isinstance(at, dict) else [*range(len(at))]))
        at = holder[key]
    if key is not None:
        holder[key] = draw(JSON_VALUES)
    return json.dumps(whole).encode()


@few
@given(st.sampled_from(["tokenizer.json", "config.json"]), st.data())
def test_any_folder_of_weights(name: str, data: st.DataObject) -> None:
    with folder() as here:
        for file, content in FOLDER.items():
            (here / file).write_bytes(content)
        (here / name).write_bytes(data.draw(changed_json(FOLDER[name])))
        settings_ = data.draw(st.dictionaries(st.sampled_from(["bos_token", "chat_template"]), JSON_VALUES))
        (here / "tokenizer_config.json").write_text(json.dumps(settings_), encoding="utf-8")
        within(lambda: used(here))


OPTIONS = {
    "compare llama-3.2-1b": ("--chips", "--count", "--phase", "--batch", "--context", "--strategy", "--launch"),
    "compare llama-3.2-1b --chips h100": ("--count", "--variation", "--parallel", "--precision", "--framework"),
    "serve llama-3.2-1b --chips h100": ("--count", "--concurrency", "--input-tokens", "--output-tokens"),
    "training llama-3.2-1b --chip h100": ("--count", "--batch", "--context", "--parallel"),
    "allreduce --chip h100": ("--count", "--bytes", "--algorithm", "--library", "--mode"),
    "schedule ring": ("--count", "--bytes", "--topology", "--bandwidth", "--latency", "--late", "--oversubscription"),
    "systolic": ("--shape", "--dataflow"),
    "fit": ("--chip", "--hidden", "--kernels"),
    "tiles gemm": ("--chip", "--set"),
    "bandwidth llama-3.2-1b --chip sn40l": ("--count", "--context"),
    "roofline llama-3.2-1b --chips h100": ("--count", "--batch"),
    "plot none.parquet": ("--kind", "--where"),
    "models": (),
    "chips": (),
}


@few
@given(st.sampled_from([*OPTIONS]), st.data())
def test_any_options(command: str, data: st.DataObject) -> None:
    arguments = command.split()
    words = st.one_of(NUMBERS, REALS, WORDS, st.sampled_from(["1e9", "2x2", "torus:4x4", "mesh:9999x9999", "64KiB"]))
    for option in data.draw(st.lists(st.sampled_from([*OPTIONS[command], "--json", "-q"]), max_size=3)):
        arguments += [option] if option in ("--json", "-q") else [option, str(data.draw(words))]
    with folder():
        answered(*arguments)
