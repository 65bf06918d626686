"""The vocabulary of a Hugging Face folder: ``tokenizer.json``, its stop tokens and its chat template."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from results.text_file import read_json, read_text
from scenarios.errors import ScenarioError
from scenarios.llama.vocabularies.vocabulary import TokenizerVocabulary

MOST_GROWTH = 64


def hugging_face_vocabulary(folder: Path) -> TokenizerVocabulary:
    """The folder's tokenizer. Raises ScenarioError or ReadError where one of its files is missing or damaged."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ScenarioError(f"{folder}: there is no tokenizer.json beside the weights.")
    text = read_text(file)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the package raises nothing more precise
        raise ScenarioError(f"{file}: not a tokenizer: {error}.") from None
    if _growth(json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else {}) > MOST_GROWTH:
        raise ScenarioError(f"{file}: its decoder makes a text more than {MOST_GROWTH} times as long.")
    settings = folder / "tokenizer_config.json"
    template = folder / "chat_template.jinja"
    return TokenizerVocabulary(
        tokenizer,
        stop_tokens=_stop_tokens(folder),
        chat_template=read_text(template) if template.is_file() else _default_template(settings),
        special={name: token for name in ("bos_token", "eos_token") if (token := _special(settings, name)) is not None},
    )


def _stop_tokens(folder: Path) -> frozenset[int]:
    """One token or several; what ends a text when generating overrides what the model's configuration says."""
    for file in (folder / "generation_config.json", folder / "config.json"):
        ends = _read(file).get("eos_token_id")
        if ends is None:
            continue
        tokens = ends if isinstance(ends, list) else [ends]
        if all(type(token) is int for token in tokens):
            return frozenset(tokens)
        raise ScenarioError(f"{file}: key 'eos_token_id' is {ends!r:.80}; expected numbers of tokens.")
    return frozenset()


def _default_template(settings: Path) -> str | None:
    """One template, or a list of named ones."""
    stored = _read(settings).get("chat_template")
    named = stored if isinstance(stored, list) else [{"name": "default", "template": stored}]
    if not all(isinstance(entry, dict) for entry in named):
        raise ScenarioError(f"{settings}: key 'chat_template' is {stored!r:.80}; expected a text, or a list of tables.")
    template = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
    if template is None or isinstance(template, str):
        return template
    raise ScenarioError(f"{settings}: key 'chat_template' is {stored!r:.80}; expected a text, or a list of tables.")


def _special(settings: Path, name: str) -> str | None:
    """A special token's text, which may be inside of a table."""
    stored = _read(settings).get(name)
    text = stored.get("content") if isinstance(stored, dict) else stored
    if stored is None or isinstance(text, str):
        return text
    raise ScenarioError(f"{settings}: key '{name}' is {stored!r:.80}; expected a token's text.")


def _growth(decoder: Any) -> float:
    """How many times as long a decoder's replacements may make a text."""
    if decoder.get("type") == "Sequence":
        return prod(map(_growth, decoder["decoders"]))
    if decoder.get("type") == "Replace":
        replaced = decoder["pattern"].get("String", "")
        return max(1.0, len(decoder["content"]) / max(1, len(replaced)))
    return 1.0


def _read(file: Path) -> dict[str, Any]:
    """The table in a file that may be missing."""
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise ScenarioError(f"{file}: expected a JSON object.")
    return content
