"""The script lock, with a multilingual tokenizer that is trained here and networks of random weights."""

from __future__ import annotations

import io
import logging
import random
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parakeetd.model import ctc, scripts, tdt_batch
from parakeetd.model.biasing import Biasing
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.phrases import Boost
from parakeetd.model.scripts import CYRILLIC, GREEK, LATIN
from parakeetd.model.tdt import Floats
from parakeetd.model.tdt_batch import Integers, States
from parakeetd.model.tokens import Vocabulary, is_special

SENTENCES = (
    "The weather in the north is colder than in the south, said 25 people.",
    "Größe, façade, señor, żółć, Þórður and naïve are words of 7 languages.",
    "Погода на севере холоднее, чем на юге, сказали 25 человек.",
    "Їжак біжить швидко. Є ще ґудзик і п'ять щоденників.",
    "Ο καιρός στον βορρά είναι πιο κρύος από τον νότο, είπαν 25 άνθρωποι.",
    "Η θάλασσα είναι ήρεμη σήμερα και ο ήλιος λάμπει.",
)

NAMES = {"en-US": "LATIN", "de": "LATIN", "ru-RU": "CYRILLIC", "uk": "CYRILLIC", "el-GR": "GREEK"}
DURATIONS = (0, 1, 2, 3, 4)
WIDTH = 16


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of three scripts, as in NeMo's tokenizers, special ones among them."""
    words = [word for sentence in SENTENCES for word in sentence.split()]
    mixed = random.Random(1)
    lines = [*SENTENCES, *(" ".join(mixed.choices(words, k=8)) for _ in range(300))]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=300,
        model_type="bpe",
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        user_defined_symbols=["<|nospeech|>"],
        minloglevel=2,
    )
    file = tmp_path_factory.mktemp("multilingual") / "tokenizer.model"
    file.write_bytes(model.getvalue())
    return file


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Path) -> Vocabulary:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    return Vocabulary(tuple(processor.id_to_piece(token) for token in range(processor.get_piece_size())))


@pytest.fixture(scope="module")
def biasing(tokenizer: Path, vocabulary: Vocabulary) -> Biasing:
    return Biasing("multilingual", vocabulary, tokenizer)


class Babble:
    """Networks of random weights: they say anything, in all scripts."""

    def __init__(self, seed: int, tokens: int) -> None:
        generator = np.random.default_rng(seed)
        self.embedding = generator.normal(0, 1, (tokens + 1, WIDTH)).astype(np.float32)
        self.output = generator.normal(0, 1, (WIDTH, tokens + 1 + len(DURATIONS))).astype(np.float32)
        self.blank = tokens

    def start(self, rows: int) -> tuple[Floats, States]:
        zeros = np.zeros((1, rows, WIDTH), np.float32)
        return self.predict(np.full(rows, self.blank), (zeros, zeros))

    def predict(self, tokens: Integers, states: States) -> tuple[Floats, States]:
        hidden = np.tanh(self.embedding[tokens] + 0.5 * states[0][0])[None]
        return hidden[0].copy(), (hidden, states[1])

    def joint(self, frames: Floats, prediction: Floats) -> Floats:
        logits: Floats = np.tanh(frames + prediction[:, None]) @ self.output
        return logits


def letters_of(text: str) -> set[str]:
    """Scripts of a text's letters, from their Unicode blocks: another way than by their names."""
    blocks = {"CYRILLIC": range(0x400, 0x530), "GREEK": range(0x370, 0x400)}
    found = set()
    for letter in filter(str.isalpha, text):
        script = next((name for name, block in blocks.items() if ord(letter) in block), None)
        script = script or ("GREEK" if 0x1F00 <= ord(letter) < 0x2000 else "LATIN")
        found.add(script)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    languages=st.lists(st.sampled_from([*NAMES, "", "multi"]), min_size=1, max_size=5),
    boosted=st.booleans(),
)
def test_no_token_of_another_script_comes_out(
    biasing: Biasing, vocabulary: Vocabulary, seed: int, languages: list[str], boosted: bool
) -> None:
    phrases = (Boost("weather", 8), Boost("Погода", 8), Boost("θάλασσα", 8)) if boosted else ()
    biases = [biasing(DecodeOptions(boosts=phrases, language=language)) for language in languages]
    frames = np.random.default_rng(seed).normal(0, 1, (len(languages), 30, WIDTH)).astype(np.float32)
    networks = Babble(seed, vocabulary.blank)
    rows = tdt_batch.greedy(
        frames,
        [30] * len(languages),
        networks,
        blank=vocabulary.blank,
        durations=DURATIONS,
        max_symbols=10,
        look_ahead=2,
        biases=biases,
    )
    scores = networks.joint(frames, np.zeros((len(languages), WIDTH), np.float32))[
        ..., : vocabulary.blank + 1
    ]
    log_probabilities = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    for i, language in enumerate(languages):
        by_ctc = ctc.greedy(log_probabilities[i], blank=vocabulary.blank, bias=biases[i])
        for tokens in (rows[i], by_ctc):
            text = vocabulary.text(
                token.id for token in tokens if not is_special(vocabulary.pieces[token.id])
            )
            if language in NAMES:
                assert letters_of(text) <= {NAMES[language]}
            assert all(np.isfinite(token.confidence) for token in tokens)


def test_babble_without_a_lock_is_in_all_scripts(vocabulary: Vocabulary) -> None:
    frames = np.random.default_rng(3).normal(0, 1, (1, 100, WIDTH)).astype(np.float32)
    networks = Babble(3, vocabulary.blank)
    [row] = tdt_batch.greedy(
        frames, [100], networks, blank=vocabulary.blank, durations=DURATIONS, max_symbols=10
    )
    assert letters_of("".join(vocabulary.pieces[token.id] for token in row)) == {"LATIN", "CYRILLIC", "GREEK"}


@pytest.mark.parametrize("language", NAMES)
def test_every_word_of_a_language_can_still_be_written(
    tokenizer: Path, vocabulary: Vocabulary, biasing: Biasing, language: str
) -> None:
    bias = biasing(DecodeOptions(language=language))
    assert bias is not None
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    for sentence in SENTENCES:
        possible = letters_of(sentence) <= {NAMES[language]}
        assert bias.allows(processor.encode(sentence)) == possible, sentence


def test_digits_marks_spaces_special_tokens_and_blank_are_always_allowed(
    biasing: Biasing, vocabulary: Vocabulary
) -> None:
    bias = biasing(DecodeOptions(language="el"))
    assert bias is not None
    tokens = [vocabulary.pieces.index(piece) for piece in ("<unk>", "<|nospeech|>", "▁", "2", ".", ",")]
    assert bias.allows([*tokens, vocabulary.blank])


@pytest.mark.parametrize("language", ["", "multi", "MULTI", " "])
def test_no_language_leaves_all_scripts_open(biasing: Biasing, language: str) -> None:
    assert biasing(DecodeOptions(language=language)) is None


def test_a_language_of_unknown_script_leaves_all_open_and_is_logged_once(
    tokenizer: Path, vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    biasing = Biasing("multilingual", vocabulary, tokenizer)
    with caplog.at_level(logging.INFO, "parakeetd"):
        assert [biasing(DecodeOptions(language="tlh-QO")) for _ in range(3)] == [None] * 3
    [record] = caplog.records
    assert "the script of language 'tlh-QO' is not known" in record.getMessage()


def test_a_script_that_the_model_cannot_write_leaves_all_open() -> None:
    latin = Vocabulary(("<unk>", "▁a", "b", "1"))
    assert Biasing("latin", latin, None)(DecodeOptions(language="ru")) is None


def test_a_model_of_one_script_is_not_held_back() -> None:
    latin = Vocabulary(("<unk>", "▁a", "b", "1"))
    assert Biasing("latin", latin, None)(DecodeOptions(language="en-US")) is None


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en-US", {LATIN}),
        ("EN_us", {LATIN}),
        ("bg", {CYRILLIC}),
        ("el-GR", {GREEK}),
        ("sr", {LATIN, CYRILLIC}),
        ("sr-Latn-RS", {LATIN}),
        ("uz-Cyrl", {CYRILLIC}),
        ("x-klingon", set()),
        ("ja-JP", set()),
    ],
)
def test_a_tag_says_its_scripts(language: str, expected: set[str]) -> None:
    assert scripts.scripts_of(language) == expected


EUROPEAN = "bg hr cs da nl en et fi fr de el hu it lv lt mt pl pt ro sk sl es sv ru uk"


def test_the_25_languages_of_the_multilingual_model_have_a_script() -> None:
    assert all(scripts.scripts_of(language) for language in EUROPEAN.split())


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("▁łódź", {LATIN}),
        ("ﬁ", {LATIN}),
        ("щ", {CYRILLIC}),
        ("ΐ", {GREEK}),
        ("aж", {LATIN, CYRILLIC}),
        ("▁42%", set()),
        ("µ", set()),
        ("<|en|>", set()),
        ("<0x41>", set()),
        ("<0xD0>", {"UNKNOWN"}),
        ("語", {"CJK UNIFIED"}),
    ],
)
def test_a_piece_belongs_to_the_scripts_of_its_letters(piece: str, expected: set[str]) -> None:
    assert scripts.scripts_in(piece) == expected
