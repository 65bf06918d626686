"""The vocabulary of a Hugging Face folder: ``tokenizer.json``, its stop tokens and its chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from scenarios.errors import ScenarioError
from scenarios.llama.vocabularies.vocabulary import TokenizerVocabulary, token_ids


def hugging_face_vocabulary(folder: Path) -> TokenizerVocabulary:
    """The folder's tokenizer. Raises ScenarioError where ``tokenizer.json`` is missing or damaged."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ScenarioError(f"{folder}: there is no tokenizer.json beside the weights.")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing more precise
        raise ScenarioError(f"{file}: not a tokenizer: {error}.") from None
    settings = _read(folder / "tokenizer_config.json")
    template = folder / "chat_template.jinja"
    # What ends a text when generating overrides what the model's configuration says.
    ends = _read(folder / "generation_config.json").get(
        "eos_token_id", _read(folder / "config.json").get("eos_token_id")
    )
    return TokenizerVocabulary(
        tokenizer,
        stop_tokens=token_ids(ends),
        chat_template=template.read_text() if template.is_file() else _default_template(settings.get("chat_template")),
        special={name: _text(settings[name]) for name in ("bos_token", "eos_token") if settings.get(name) is not None},
    )


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ScenarioError(f"{file}: not valid JSON: {error}.") from None
    return content if isinstance(content, dict) else {}


def _default_template(stored: object) -> str | None:
    """One template, or a list of named ones."""
    if isinstance(stored, list):
        return next((entry["template"] for entry in stored if entry.get("name") == "default"), None)
    return stored if isinstance(stored, str) else None


def _text(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])
