"""The vocabulary in the forms that the daemon and other engines read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parakeetd_convert.errors import UnsupportedModel

BLANK = "<blk>"


def ordered(vocabulary: Sequence[str] | Mapping[Any, Any]) -> list[str]:
    """Tokens by id, from a list or from a dict of either direction (token to id, id to token).

    Raises:
        UnsupportedModel: ids are missing or taken twice, or a token cannot stand in a line of its own.
    """
    if isinstance(vocabulary, Mapping):
        by_id = (
            {int(k): str(v) for k, v in vocabulary.items()}
            if _keyed_by_id(vocabulary)
            else {int(v): str(k) for k, v in vocabulary.items()}
        )
        if sorted(by_id) != list(range(len(vocabulary))):
            raise UnsupportedModel(
                f"its vocabulary of {len(vocabulary)} tokens does not number them 0 to {len(vocabulary) - 1}"
            )
        tokens = [by_id[index] for index in range(len(by_id))]
    else:
        tokens = [str(token) for token in vocabulary]
    for index, token in enumerate(tokens):
        if not token or token.split() != [token]:
            raise UnsupportedModel(f"its token {index} is {token!r}: empty or with a space in it")
        if token == BLANK:
            raise UnsupportedModel(f"its token {index} is {BLANK!r}, which stands for the blank")
    return tokens


def _keyed_by_id(vocabulary: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, int) for key in vocabulary)


def read_vocabulary(model: Any) -> list[str]:
    """The tokens of a loaded model by id, without blank.

    Raises:
        UnsupportedModel: there are not as many as the joint network has outputs for.
    """
    tokens = ordered(model.tokenizer.vocab)
    if len(tokens) != model.decoder.blank_idx:
        raise UnsupportedModel(
            f"its tokenizer has {len(tokens)} tokens, its joint network {model.decoder.blank_idx}"
        )
    return tokens


def token_lines(tokens: Sequence[str]) -> str:
    """`token id` a line, ending in the blank: what `tokens.txt` and `vocab.txt` hold."""
    return "".join(f"{token} {index}\n" for index, token in enumerate([*tokens, BLANK]))


def write_tokens(model: Any, folder: Path) -> None:
    """Write `tokens.txt`, `vocab.txt` and, where the tokenizer is SentencePiece, `tokenizer.model`."""
    lines = token_lines(read_vocabulary(model))
    for name in ("tokens.txt", "vocab.txt"):
        (folder / name).write_text(lines, encoding="utf-8")
    pieces = getattr(model.tokenizer, "tokenizer", object())
    if hasattr(pieces, "serialized_model_proto"):
        (folder / "tokenizer.model").write_bytes(pieces.serialized_model_proto())
