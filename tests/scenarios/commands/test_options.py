"""One rule for each option in every command, and a sentence that helps where a user expects another."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from scenarios.commands.registry import COMMANDS as REGISTERED
from scenarios.commands.registry import load_command

COMMANDS: dict[str, Any] = {name: load_command(name) for name in REGISTERED}
WIDTH_OF_A_TERMINAL = 80
MARGIN = 2  # that the help leaves


def options_of(command: Any) -> dict[str, Any]:
    return {
        name: parameter
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def takes_a_path(parameter: Any) -> bool:
    return hasattr(parameter, "type_descriptor") and parameter.type_descriptor.annotation is Path


def examples() -> list[tuple[str, str]]:
    return [
        (name, line.strip())
        for name, command in COMMANDS.items()
        for line in (command.help or "").splitlines()
        if line.strip().startswith("loopline ")
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    assert REGISTERED[name].help == COMMANDS[name].help.partition("\n")[0]


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_list_of_commands_imports_none_of_them(argument: str) -> None:
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        f"from scenarios.commands.main import main; main(['{argument}'])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numpy", "pandas", "pydantic"} | {known.module for known in REGISTERED.values()}
    assert not heavy & set(ran.stdout.splitlines()[-1].split())


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version")[:2] == (0, f"loopline {version('loopline')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_chips_are_named_either_way_and_may_be_changed(name: str) -> None:
    options = options_of(COMMANDS[name])
    assert len({"--chip", "--chips", "--set"} & set(options)) in (0, 3) or name in ("run", "sweep")
    assert options.get("--chip") is options.get("--chips")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compare llama-3.1-8b --chip h100 sn40l --json", '"chip": "sn40l"'),
        ("bandwidth llama-3.1-8b --chips h100 --set h100.memory.bandwidth=6.7e12", "h100{memory.bandwidth=6.7e12}"),
        ("roofline llama-3.1-8b --chips h100{compute.clock_hz=1e9..2e9*2} --json", "h100{compute.clock_hz=2e9}"),
    ],
)
def test_one_rule_for_chips(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run(capsys, *line.split())
    assert not ended.code
    assert expected in ended.out


@pytest.mark.parametrize("name", COMMANDS)
def test_files_are_named_by_the_same_options(name: str) -> None:
    """A result goes to -o, a picture beside a printed result to --plot, a trace to --trace."""
    options = options_of(COMMANDS[name])
    files = {option for option, parameter in options.items() if takes_a_path(parameter)}
    assert files <= {"--output", "-o", "--plot", "--trace", "--data", "--spreads"}
    assert ("-o" in options) == ("--output" in options)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches_with_examples(name: str) -> None:
    assert [line for command, line in examples() if command == name]


@pytest.mark.parametrize(("name", "line"), examples())
def test_an_example_can_be_copied_from_a_terminal_of_usual_width(name: str, line: str) -> None:
    assert len(line) <= WIDTH_OF_A_TERMINAL - MARGIN
    words = shlex.split(line, comments=True)
    assert words[0] == "loopline"
    options = {option for known in (name, words[1]) if known in COMMANDS for option in options_of(COMMANDS[known])}
    assert all(word in options for word in words if word.startswith("-"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("bandwidth llama-3.1-8b --chip h100 sn40l", "'sn40l' is one too many: --chip takes one value."),
        ("bandwidth llama-3.1-8b --chips h100 sn40l", "'sn40l' is one too many: --chips takes one value."),
        ("bandwidth llama-3.1-8b --chip h100 --count 1 8", "'8' is one too many: --count takes one value."),
        ("boundary llama-3.1-8b --chip h100{power_watts=300..700*3}", "stands for 3 chips here, and one is meant."),
        ("compare llama-3.1-8b --chips h100 --set h200.power_watts=1", "no chip of that name is asked about"),
        ("compare llama-3.1-8b --chips h100 --set power=1", "expected CHIP.KEY=VALUE"),
        ("compare llama-3.1-8b --chips sn40l --framework vllm", "--framework belongs to GPUs"),
        ("boundary llama-3.1-8b --chip sn40l --framework vllm", "--framework belongs to GPUs"),
        ("run half-the-bandwidth --set chips=sn40l framework=vllm", "--framework belongs to GPUs"),
        ("chips h100 sn40l", "'sn40l' is one word too many"),
        ("roofline llama-3.1-8b --chips h100 -o roof.svg", "--plot FILE draws it"),
        ("compare llama-3.1-8b --chips h100 --contxt 8", "did you mean --context?"),
        ("compare llama-3.1-8b --chips h100 --zoom", "`loopline compare --help`"),
        ("compare --chips h100 llama-3.1-8b", "right after `loopline compare`"),
        ("compar llama-3.1-8b", "Did you mean 'compare'?"),
        ("compare llama-3.1-8b --chips h100 -o rows.txt", ".parquet, .csv, .json"),
        ("run training -o nowhere/rows.csv", "the folder 'nowhere' does not exist"),
    ],
)
def test_a_wrong_option_is_answered_with_the_right_one(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run(capsys, *shlex.split(arguments))
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("compare llama-3.1-8b --chips h100 --count 0", "--count"),
        ("roofline llama-3.1-8b --chips h100 --count 0", "--count"),
        ("bandwidth llama-3.1-8b --chip h100 --batch 0", "--batch"),
        ("allreduce --ranks 0", "--count"),
        ("schedule --ranks 0", "--count"),
        ("fit --count 0", "--count"),
        ("fit --batch 0", "--batch"),
        ("fit llama-2-7b --context 0", "--context"),
        ("generate --prompt x --weights llama-3.2-1b --count 0", "--count"),
        ("generate --prompt x --weights llama-3.2-1b --tokens 0", "--tokens"),
        ("sweep training -o folder --workers 0", "--workers"),
    ],
)
def test_what_is_counted_is_at_least_1_in_the_same_words(
    arguments: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run(capsys, *shlex.split(arguments))
    assert (ended.code, ended.err) == (2, f"loopline: {option} is 0; it must be at least 1.\n")


@pytest.mark.parametrize("command", ["allreduce", "schedule"])
def test_nothing_to_send_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run(capsys, command, "--bytes", "0")
    assert ended.code == 2
    assert "at least 1 byte" in ended.err
