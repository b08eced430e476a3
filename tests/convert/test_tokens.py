"""The vocabulary in all the forms that NeMo's tokenizers give it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parakeetd.model.bundle import Bundle
from parakeetd.model.tokens import Vocabulary
from parakeetd_convert.errors import UnsupportedModel
from parakeetd_convert.nemo import Loaded
from parakeetd_convert.tokens import ordered, read_vocabulary, token_lines, write_tokens

TOKENS = ["<unk>", "▁a", "b", "▁", "c"]


@pytest.mark.parametrize(
    "vocabulary",
    [
        TOKENS,
        tuple(TOKENS),
        {token: index for index, token in enumerate(TOKENS)},
        dict(reversed([(token, index) for index, token in enumerate(TOKENS)])),
        dict(enumerate(TOKENS)),
    ],
    ids=["list", "tuple", "token to id", "token to id, unordered", "id to token"],
)
def test_every_form_of_a_vocabulary_gives_the_same_tokens(vocabulary: Any) -> None:
    assert ordered(vocabulary) == TOKENS


@pytest.mark.parametrize(
    ("vocabulary", "named"),
    [
        ({"a": 0, "b": 2}, "does not number them 0 to 1"),
        ({"a": 0, "b": 0}, "does not number them 0 to 1"),
        (["a", "b c"], "'b c'"),
        (["a", ""], "token 1"),
        (["a", "x\n"], "token 1"),
        (["a", "<blk>"], "blank"),
    ],
)
def test_a_vocabulary_that_cannot_be_written_is_refused(vocabulary: Any, named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        ordered(vocabulary)


def test_a_vocabulary_that_does_not_fit_the_joint_network_is_refused() -> None:
    model = SimpleNamespace(tokenizer=SimpleNamespace(vocab=TOKENS), decoder=SimpleNamespace(blank_idx=4))
    with pytest.raises(UnsupportedModel, match="has 5 tokens, its joint network 4"):
        read_vocabulary(model)


def test_lines_end_in_the_blank() -> None:
    assert token_lines(["▁a", "b"]) == "▁a 0\nb 1\n<blk> 2\n"


def test_a_dict_from_the_tokenizer_writes_the_same_files_as_a_list(
    demo: Loaded, bundle: Bundle, tmp_path: Path
) -> None:
    tokenizer = SimpleNamespace(
        vocab={token: index for index, token in enumerate(demo.model.tokenizer.vocab)},
        tokenizer=demo.model.tokenizer.tokenizer,
    )
    write_tokens(SimpleNamespace(tokenizer=tokenizer, decoder=demo.model.decoder), tmp_path)
    for name in ("tokens.txt", "vocab.txt", "tokenizer.model"):
        assert (tmp_path / name).read_bytes() == (bundle.path / name).read_bytes()


def test_the_daemon_reads_the_tokens_and_spells_as_sentencepiece_does(demo: Loaded, bundle: Bundle) -> None:
    vocabulary = Vocabulary.read(bundle.path / "tokens.txt")
    assert vocabulary.blank == 192
    for text in ("enter seven two nine five", "p i t t s b u r g h", "seven o'clock in the morning"):
        ids = demo.model.tokenizer.text_to_ids(text)
        assert vocabulary.text(ids) == demo.model.tokenizer.ids_to_text(ids) == text
