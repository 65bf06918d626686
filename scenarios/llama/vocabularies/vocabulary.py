"""Text to tokens and back: the model's own tokenizer, or bytes where a model has none."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from scenarios.errors import ScenarioError
from scenarios.llama.vocabularies.bounded import bounded

BYTES = 256
CHAT_FAILED = "--chat: the weights' chat template cannot be rendered"


class Vocabulary(Protocol):
    """What turns a prompt into tokens and generated tokens into text."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end a text."""
        ...

    def encode(self, prompt: str, *, chat: bool = False) -> list[int]:
        """The tokens of a prompt; with ``chat``, as a user's message in the model's chat template."""
        ...

    def decoder(self) -> Callable[[int], str]:
        """A function from each next token to the text that it completes, which may be empty."""
        ...


@dataclass(frozen=True)
class TokenizerVocabulary:
    """A tokenizer of the ``tokenizers`` package, with the model's conventions around it.

    ``first_tokens``: put before every prompt that is not a chat. ``special``: texts of special tokens by the names
    that chat templates use (``bos_token``).
    """

    tokenizer: Tokenizer
    stop_tokens: frozenset[int]
    first_tokens: tuple[int, ...] = ()
    chat_template: str | None = None
    special: Mapping[str, str] = field(default_factory=dict)

    def encode(self, prompt: str, *, chat: bool = False) -> list[int]:
        if chat and self.chat_template is None:
            raise ScenarioError("--chat: these weights come without a chat template; leave it out.")
        text = bounded(partial(self._chat, prompt), CHAT_FAILED) if chat else prompt
        cut = partial(self.tokenizer.encode, text, add_special_tokens=not chat)
        tokens = bounded(lambda: cut().ids, "the weights' tokenizer cannot cut the prompt")
        return tokens if chat else [*self.first_tokens, *tokens]

    def decoder(self) -> Callable[[int], str]:
        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: stream.step(self.tokenizer, token) or ""

    def _chat(self, prompt: str) -> str:
        """Rendered as Hugging Face transformers does (``apply_chat_template``); the template comes with the weights,
        from anywhere, so it runs in jinja2's sandbox, and in bounds."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        assert self.chat_template is not None
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse_template
        messages = [{"role": "user", "content": prompt}]
        template = environment.from_string(self.chat_template)
        return template.render(messages=messages, add_generation_prompt=True, **self.special)


class ByteVocabulary:
    """For random weights: tokens 0 to 255 are the bytes of UTF-8; the others mean nothing and print as ``<300>``."""

    stop_tokens: frozenset[int] = frozenset()

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def encode(self, prompt: str, *, chat: bool = False) -> list[int]:
        if chat:
            raise ScenarioError("--chat: random weights have no chat template; leave it out.")
        tokens = list(prompt.encode())
        if self.vocabulary < BYTES:
            raise ScenarioError(f"a vocabulary of {self.vocabulary} tokens cannot hold the {BYTES} bytes of a prompt.")
        return tokens

    def decoder(self) -> Callable[[int], str]:
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda token: utf8.decode(bytes([token])) if token < BYTES else f"<{token}>"


def _refuse_template(message: str) -> None:
    raise ValueError(message)
