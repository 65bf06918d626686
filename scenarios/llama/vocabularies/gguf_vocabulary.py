"""The vocabulary inside a GGUF file as a tokenizer: byte-level BPE (GPT-2, Llama 3) or SentencePiece BPE (Llama 2)."""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer

from scenarios.errors import ScenarioError
from scenarios.llama.checkpoints.gguf_weights import GgufWeights
from scenarios.llama.vocabularies.vocabulary import TokenizerVocabulary

# Kinds of token in tokenizer.ggml.token_type (gguf.constants.TokenType).
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
SPACE = "▁"  # SentencePiece's visible blank
LONGEST_PIECE = 256  # SentencePiece makes them of at most 16 characters, some models of more blanks

# How text is cut before merging, by the names of llama.cpp (llama-vocab.cpp). None: GPT-2's own expression.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
EXPRESSIONS = {"llama-bpe": LLAMA_3, "llama3": LLAMA_3, "gpt-2": None, "default": None, "smollm": None}
SINGLE_DIGITS = {"smollm"}
# Llama 3 takes a whole word that is a token as it is, before any merge; and it begins every text with its first token.
WHOLE_WORDS = {"llama-bpe", "llama3"}


def gguf_vocabulary(file: GgufWeights) -> TokenizerVocabulary:
    """The tokenizer that llama.cpp would use. Raises ScenarioError for a kind that is not known here."""
    tokens = file.texts("tokenizer.ggml.tokens")
    model = file.text("tokenizer.ggml.model", "none")
    before = file.text("tokenizer.ggml.pre", "default")
    if model not in ("gpt2", "llama") or not tokens:
        raise ScenarioError(f"{file.path}: vocabulary of type '{model}' is not read here; expected gpt2 or llama.")
    if model == "gpt2" and before not in EXPRESSIONS:
        raise ScenarioError(
            f"{file.path}: pre-tokenizer '{before}' is not known here; expected one of {', '.join(EXPRESSIONS)}."
        )
    tokenizer = _byte_level(file, tokens, before) if model == "gpt2" else _sentence_piece(file, tokens)
    kinds = file.numbers("tokenizer.ggml.token_type")
    for kind in (CONTROL, USER_DEFINED):
        added = [
            AddedToken(token, special=kind == CONTROL, normalized=False)
            for token, its_kind in zip(tokens, kinds, strict=False)
            if its_kind == kind
        ]
        tokenizer.add_special_tokens(added) if kind == CONTROL else tokenizer.add_tokens(added)
    first = file.whole("tokenizer.ggml.bos_token_id", -1)
    begins = file.truth("tokenizer.ggml.add_bos_token", model == "llama" or before in WHOLE_WORDS)
    ends = {file.whole(f"tokenizer.ggml.{name}_token_id", -1) for name in ("eos", "eot", "eom")} - {-1}
    last = file.whole("tokenizer.ggml.eos_token_id", -1)
    return TokenizerVocabulary(
        tokenizer,
        stop_tokens=frozenset(ends),
        first_tokens=(first,) if begins and first >= 0 else (),
        chat_template=file.text("tokenizer.chat_template", "") or None,
        special={
            name: tokens[token]
            for name, token in (("bos_token", first), ("eos_token", last))
            if 0 <= token < len(tokens)
        },
    )


def _byte_level(file: GgufWeights, tokens: list[str], before: str) -> Tokenizer:
    merges = [_pair(merge) for merge in file.texts("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(_merging(file, _ids(tokens), merges, ignore_merges=before in WHOLE_WORDS))
    expression = EXPRESSIONS[before]
    cuts: list[PreTokenizer] = [pre_tokenizers.Digits(individual_digits=True)] if before in SINGLE_DIGITS else []
    if expression is not None:
        cuts.append(pre_tokenizers.Split(Regex(expression), behavior="isolated"))
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=expression is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(file: GgufWeights, tokens: list[str]) -> Tokenizer:
    """SentencePiece stores scores, not merges: each way to cut a token in two tokens is one, the best score first."""
    ids, scores = _ids(tokens), file.numbers("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise ScenarioError(f"{file.path}: its vocabulary has {len(tokens):,} tokens and {len(scores):,} scores.")
    if max(map(len, tokens)) > LONGEST_PIECE:
        raise ScenarioError(f"{file.path}: a token has more than {LONGEST_PIECE} characters.")
    merges = [
        (-score, ids[token[:cut]], ids[token[cut:]])
        for token, score in zip(tokens, scores, strict=True)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    kinds = file.numbers("tokenizer.ggml.token_type")
    unknown = next((token for token, kind in zip(tokens, kinds, strict=False) if kind == UNKNOWN), None)
    pairs = [(tokens[left], tokens[right]) for _, left, right in sorted(merges)]
    tokenizer = Tokenizer(_merging(file, ids, pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    blanks = normalizers.Replace(" ", SPACE)
    prefixed = file.truth("tokenizer.ggml.add_space_prefix", True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), blanks] if prefixed else [blanks])
    pieces = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*pieces, decoders.Strip(" ", 1, 0)] if prefixed else pieces)
    return tokenizer


def _merging(file: GgufWeights, ids: dict[str, int], merges: list[tuple[str, str]], **settings: object) -> BPE:
    try:
        return BPE(ids, merges, **settings)
    except Exception as error:  # the package raises nothing more precise
        raise ScenarioError(f"{file.path}: its vocabulary is none: {error}.") from None


def _ids(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
