"""Phrases that are asked for: what is taken, how they are spelled, and what the shipped model makes of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

import parakeetd
from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import BundleError, PhraseError
from parakeetd.model.biasing import MOST_KEPT, Biasing
from parakeetd.model.bundle import EMBEDDED, TOKENIZER, TOKENS, Bundle
from parakeetd.model.context_tree import ContextTree, token_bonus
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.forms import FORMS, Decoding, Form
from parakeetd.model.phrases import (
    LONGEST_PHRASE,
    MOST_PHRASES,
    STRONGEST_BOOST,
    USUAL_BOOST,
    Boost,
    Speller,
    parse_boost,
    read_boost_file,
    read_boosts,
)
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.tokens import Vocabulary
from recordings import nemo_answers


def test_the_usual_boost_has_the_weights_that_are_nemos_defaults() -> None:
    from_zero, usual = read_boosts([("a", 0.0)]) + read_boosts([("a", USUAL_BOOST)])
    assert from_zero == usual
    # NeMo: context_score 1, depth_scaling 2, and the logarithm of the position counted from 1.
    assert [token_bonus(i, usual.weight) for i in range(3)] == pytest.approx([1.0, 2.693147, 3.098612])


def test_equal_phrases_are_one_with_the_strongest_boost_and_empty_ones_none() -> None:
    assert read_boosts([("a  b", 1), (" a b ", 9), ("", 3), (" ", 3)]) == (Boost("a b", 9),)


def test_a_boost_beyond_the_scale_is_its_end() -> None:
    assert read_boosts([("a", 100)]) == (Boost("a", STRONGEST_BOOST),)


@pytest.mark.parametrize("boost", [-1.0, float("nan"), float("inf")])
def test_a_boost_that_is_none_is_refused_with_its_phrase(boost: float) -> None:
    with pytest.raises(PhraseError, match=r"boost of phrase 'ab' is .*; it must be a number from 0 to 20"):
        read_boosts([("ab", boost)])


def test_too_many_phrases_are_refused_with_the_limit() -> None:
    phrases = [(f"p{i}", 1.0) for i in range(MOST_PHRASES + 1)]
    assert len(read_boosts(phrases[:-1])) == MOST_PHRASES
    with pytest.raises(PhraseError, match=str(MOST_PHRASES)):
        read_boosts(phrases)


def test_a_phrase_that_is_too_long_is_refused_with_the_limit() -> None:
    read_boosts([("a" * LONGEST_PHRASE, 1)])
    with pytest.raises(PhraseError, match=f"has 101 characters; the most is {LONGEST_PHRASE}"):
        read_boosts([("a" * (LONGEST_PHRASE + 1), 1)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("new york", ("new york", 0.0)),
        ("new york:7.5", ("new york", 7.5)),
        ("ratio 3:2", ("ratio 3", 2.0)),
        ("note: this", ("note: this", 0.0)),
        (":4", (":4", 0.0)),
    ],
)
def test_a_phrase_may_carry_its_boost(text: str, expected: tuple[str, float]) -> None:
    assert parse_boost(text) == expected


def test_a_file_of_phrases_has_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# names\nvanessa\n\n  w o o d:8\n", encoding="utf-8")
    assert read_boost_file(file) == [("vanessa", 0.0), ("w o o d", 8.0)]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_a_file_of_phrases_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "names.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PhraseError, match=r"names\.txt cannot be read"):
        read_boost_file(file)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.read(EMBEDDED / TOKENS)


def test_a_phrase_is_spelled_as_the_tokenizer_does(vocabulary: Vocabulary) -> None:
    speller = Speller(EMBEDDED / "tokenizer.model", vocabulary, "demo")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(EMBEDDED / "tokenizer.model"))
    for phrase in ("seventy two thousand", "o'clock", "w o o d"):
        assert speller.spell(phrase) == (tuple(processor.encode(phrase)),)


def test_a_model_without_capitals_takes_names_with_them(vocabulary: Vocabulary) -> None:
    speller = Speller(EMBEDDED / "tokenizer.model", vocabulary, "demo")
    assert speller.spell("Vanessa") == speller.spell("vanessa")


def test_a_phrase_that_no_tokens_spell_is_named_with_the_character(vocabulary: Vocabulary) -> None:
    speller = Speller(EMBEDDED / "tokenizer.model", vocabulary, "demo")
    with pytest.raises(PhraseError) as caught:
        speller.spell("the K8s cluster")
    assert str(caught.value) == (
        "the phrase 'the K8s cluster' cannot be boosted: model demo has no token for '8'"
    )


def test_a_model_with_capitals_hears_a_phrase_at_the_beginning_of_a_sentence_too(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["The red fox in the net saw the Red Fox. It ran."] * 20),
        model_writer=model,
        vocab_size=30,
        model_type="bpe",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    file = tmp_path / "tokenizer.model"
    file.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
    cased = Vocabulary(tuple(processor.id_to_piece(token) for token in range(processor.get_piece_size())))
    speller = Speller(file, cased, "cased")
    assert speller.spell("red fox") == (
        tuple(processor.encode("red fox")),
        tuple(processor.encode("Red fox")),
    )
    assert speller.spell("Red Fox") == (tuple(processor.encode("Red Fox")),)
    # No token has a capital N.
    assert speller.spell("net") == (tuple(processor.encode("net")),)


def test_a_model_without_a_tokenizer_says_that_it_cannot(vocabulary: Vocabulary) -> None:
    biasing = Biasing("plain", vocabulary, None)
    assert biasing(DecodeOptions()) is None
    with pytest.raises(
        PhraseError, match=r"model plain cannot boost phrases: it came without tokenizer\.model"
    ):
        biasing(DecodeOptions(boosts=(Boost("six"),)))


def test_a_tokenizer_that_was_tampered_with_is_not_used(tmp_path: Path) -> None:
    bundle = Bundle.read(EMBEDDED)
    for name in (TOKENS, TOKENIZER):
        (tmp_path / name).write_bytes((EMBEDDED / name).read_bytes())
    content = bytearray((tmp_path / "tokenizer.model").read_bytes())
    content[100] ^= 1
    (tmp_path / "tokenizer.model").write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"tokenizer\.model"):
        Biasing.of(Bundle(tmp_path, bundle.manifest))


def test_a_list_is_compiled_once_for_a_stream_and_for_streams_with_the_same(vocabulary: Vocabulary) -> None:
    biasing = Biasing("demo", vocabulary, EMBEDDED / "tokenizer.model")
    options = DecodeOptions(boosts=read_boosts([("six", 1), ("seven", 2)]))
    again = DecodeOptions(boosts=read_boosts([("six", 1), ("seven", 2)]))
    first, second, third = (tree_of(biasing, wanted) for wanted in (options, options, again))
    assert first is second is third
    for i in range(2 * MOST_KEPT):
        biasing(DecodeOptions(boosts=read_boosts([("six", 1 + i / 100)])))
    assert len(tree_of(biasing, options)) == len(first)


def tree_of(biasing: Biasing, options: DecodeOptions) -> ContextTree:
    bias = biasing(options)
    assert bias is not None
    assert bias.tree is not None
    return bias.tree


@pytest.fixture(scope="module")
def recognizers() -> dict[Form, Recognizer]:
    bundle = Bundle.read(EMBEDDED)
    return {form: Recognizer.open(bundle, threads=1, decoding=Decoding(form)) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_phrases_count_in_every_form_and_leave_the_rest_of_the_batch_alone(
    recognizers: dict[Form, Recognizer], clips: dict[str, Clip], form: Form
) -> None:
    """A boost far beyond what is usual, so that it shows on a clip that is recognised rightly."""
    recognizer = recognizers[form]
    names = list(clips)[:3]
    audio = [read_audio(clips[name].path) for name in names]
    [first, *others] = recognizer.recognize(audio)
    word = first.text.split()[0]
    other = "six" if word != "six" else "nine"
    boosted = DecodeOptions(
        boosts=(Boost(f"{other} {other}", STRONGEST_BOOST), Boost(other, STRONGEST_BOOST))
    )
    [changed, *same] = recognizer.recognize(
        audio, [boosted, DecodeOptions(), DecodeOptions(language="en-US")]
    )
    assert other in changed.text.split()
    assert [transcript.text for transcript in same] == [transcript.text for transcript in others]
    [by_steps, *_] = recognizers["steps"].recognize(audio[:1], [boosted])
    assert changed.text == by_steps.text


def test_phrases_that_are_not_said_change_nothing(recognizers: dict[Form, Recognizer], clip: Clip) -> None:
    boosts = read_boosts([("brunhilde", 0), ("k o w a l s k i", 0), ("quickstep", 0)])
    [transcript] = recognizers["steps"].recognize([read_audio(clip.path)], [DecodeOptions(boosts=boosts)])
    assert transcript.text == clip.nemo_text


def test_a_name_that_real_speech_got_wrong_is_right(
    recognizers: dict[Form, Recognizer], speech: Path
) -> None:
    wrong = [
        answer
        for answer in nemo_answers(speech, "an4_test")
        if answer.said != answer.tdt and all(len(word) == 1 for word in answer.said.split())
    ]
    boosts = read_boosts((answer.said, 0) for answer in wrong)
    audio = [read_audio(answer.file) for answer in wrong]
    heard = recognizers["steps"].recognize(audio, [DecodeOptions(boosts=boosts)] * len(audio))
    right = sum(transcript.text == answer.said for transcript, answer in zip(heard, wrong, strict=True))
    # Names spelled out; without phrases none of them is right.
    assert right >= len(wrong) / 3


def test_the_library_takes_phrases_and_names_one_that_cannot_be(clips: dict[str, Clip]) -> None:
    clip = clips["digits"]
    with parakeetd.load("demo", device="cpu", threads=1) as model:
        assert model.transcribe(clip.path, boosts=["brunhilde", ("x y", 2.0)]).text == clip.nemo_text
        assert model.transcribe(clip.path, language="en-GB").text == clip.nemo_text
        with pytest.raises(PhraseError, match="no token for 'ß'"):
            model.transcribe(clip.path, boosts=["Straße"])
