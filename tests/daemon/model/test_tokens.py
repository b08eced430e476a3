from __future__ import annotations

from pathlib import Path

import pytest

from parakeetd.errors import BundleError
from parakeetd.model.tokens import Vocabulary, transcript
from parakeetd.model.transcript import Token, Transcript

VOCABULARY = Vocabulary(("▁", "▁en", "ter", "x", "▁go"))


def tokens(*places: tuple[int, int, int]) -> list[Token]:
    return [Token(token, frame, duration, 0.5) for token, frame, duration in places]


def words(*places: tuple[int, int, int], seconds: float = 10.0) -> list[tuple[str, float, float]]:
    heard = transcript(tokens(*places), VOCABULARY, frame_seconds=0.08, audio_seconds=seconds)
    return [(word.text, word.start, word.end) for word in heard.words]


def test_pieces_join_to_words_and_the_first_space_is_dropped() -> None:
    assert VOCABULARY.text([1, 2, 4]) == "enter go"


def test_a_word_start_without_a_word_before_the_first_word_leaves_no_space() -> None:
    assert VOCABULARY.text([0, 4, 0, 0, 4]) == "go   go"


def test_a_word_lasts_from_its_first_token_to_its_last_tokens_duration() -> None:
    assert words((1, 2, 1), (2, 3, 2), (4, 10, 4)) == [("enter", 0.16, 0.4), ("go", 0.8, 1.12)]


def test_a_word_ends_before_the_next_begins() -> None:
    assert words((1, 0, 4), (4, 2, 1)) == [("en", 0.0, 0.16), ("go", 0.16, 0.24)]


def test_no_word_ends_after_the_audio() -> None:
    assert words((1, 2, 4), seconds=0.2) == [("en", 0.16, 0.2)]


def test_a_word_start_by_itself_belongs_to_the_piece_that_follows() -> None:
    assert words((0, 1, 1), (3, 2, 1)) == [("x", 0.08, 0.24)]


def test_only_word_starts_are_no_text() -> None:
    assert transcript(tokens((0, 1, 1)), VOCABULARY, frame_seconds=0.08, audio_seconds=1.0) == Transcript()


def test_confidence_of_a_word_is_the_geometric_mean_of_its_tokens() -> None:
    heard = transcript(
        [Token(1, 0, 1, 0.9), Token(2, 1, 1, 0.4)], VOCABULARY, frame_seconds=0.08, audio_seconds=1.0
    )
    assert heard.words[0].confidence == pytest.approx(0.6)
    assert heard.confidence == pytest.approx(0.6)


def marked(*places: tuple[int, int, int]) -> Transcript:
    pieces = Vocabulary(("▁", "▁no", "▁don", "'", "t", ".", "▁go", "?", "▁,", "▁¿", "¿", ",", "<unk>"))
    return transcript(tokens(*places), pieces, frame_seconds=0.08, audio_seconds=10.0)


def test_a_mark_belongs_to_the_word_before_it_and_takes_no_time() -> None:
    # The mark is emitted a second after the word, as decoders do at a pause.
    heard = marked((1, 2, 2), (5, 14, 1), (6, 20, 2))
    assert heard.text == "no. go"
    assert [(word.text, word.start, word.end) for word in heard.words] == [
        ("no.", 0.16, 0.32),
        ("go", 1.6, 1.76),
    ]


def test_an_apostrophe_inside_a_word_does_not_end_it() -> None:
    heard = marked((2, 2, 1), (3, 3, 1), (4, 4, 2))
    assert [(word.text, word.start, word.end) for word in heard.words] == [("don't", 0.16, 0.48)]


@pytest.mark.parametrize("mark", [[(0, 10, 1), (7, 11, 1)], [(8, 10, 1)]], ids=["two pieces", "one piece"])
def test_the_space_that_a_mark_is_emitted_with_is_not_written(mark: list[tuple[int, int, int]]) -> None:
    heard = marked((1, 2, 2), *mark, (6, 20, 2))
    assert heard.text == ("no? go" if len(mark) == 2 else "no, go")
    assert " ".join(word.text for word in heard.words) == heard.text
    assert heard.words[0].end == 0.32


@pytest.mark.parametrize("mark", [[(0, 10, 1), (10, 11, 1)], [(9, 10, 1)]], ids=["two pieces", "one piece"])
def test_a_mark_that_opens_belongs_to_what_follows(mark: list[tuple[int, int, int]]) -> None:
    heard = marked((1, 2, 2), *mark, (4, 12, 2))
    assert heard.text == "no ¿t"
    assert [word.text for word in heard.words] == ["no", "¿t"]


def test_a_mark_before_any_word_is_a_word() -> None:
    assert [word.text for word in marked((5, 1, 1), (6, 3, 1)).words] == [".", "go"]


def test_a_vocabulary_says_whether_it_can_end_a_sentence() -> None:
    assert Vocabulary(("▁a", ".")).has_punctuation
    assert not Vocabulary(("▁a", "'", ",", "<.>")).has_punctuation


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a 0\nb 2\n<blk> 2\n", "line 2"),
        ("a 0\nb\n<blk> 2\n", "line 2"),
        ("a 0\nb 1\n", "<blk>"),
        ("", "line 1"),
    ],
)
def test_a_wrong_token_file_is_named_with_its_line(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(BundleError, match=named):
        Vocabulary.read(tmp_path / "tokens.txt")
