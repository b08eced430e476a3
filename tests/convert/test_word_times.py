"""Words and their times against NeMo's own functions, for vocabularies that have punctuation: the embedded model's does
not. Whole recordings are compared by tests/bench/word_times.py."""

from __future__ import annotations

from types import ModuleType

from hypothesis import given, settings
from hypothesis import strategies as st

from parakeetd.model.tokens import Vocabulary, transcript
from parakeetd.model.transcript import Token

PIECES = ("▁we", "▁do", "n", "'", "t", "▁know", ".", ",", "▁It", "?", "▁3", "-", "▁U", "S", "%")
VOCABULARY = Vocabulary(PIECES)
FRAME_SECONDS = 0.08


def nemos_words(tokens: list[Token]) -> list[tuple[str, int, int]]:
    """Text, first and last frame of each word, as NeMo makes them of a TDT hypothesis."""
    from nemo.collections.asr.parts.submodules.rnnt_decoding import AbstractRNNTDecoding
    from nemo.collections.asr.parts.utils.timestamp_utils import get_words_offsets
    from nemo.collections.asr.parts.utils.tokenizer_utils import extract_punctuation_from_vocab

    marks = extract_punctuation_from_vocab(list(PIECES))
    places = [{"start_offset": token.frame, "end_offset": token.frame + token.duration} for token in tokens]
    pieces = [{"char": [PIECES[token.id]], **place} for token, place in zip(tokens, places, strict=True)]
    texts = [
        {"char": [PIECES[token.id].removeprefix("▁")], **place}
        for token, place in zip(tokens, places, strict=True)
    ]
    pieces, texts = AbstractRNNTDecoding._refine_timestamps_tdt(pieces, texts, marks)
    words = get_words_offsets(
        char_offsets=texts,
        encoded_char_offsets=pieces,
        decode_tokens_to_str=lambda word: "".join(word).replace("▁", " ").strip(),
        supported_punctuation=marks,
    )
    return [(word["word"], word["start_offset"], word["end_offset"]) for word in words]


def hypothesis_of(steps: list[tuple[int, int, int]]) -> list[Token]:
    """Tokens from (piece, duration, blanks after it)."""
    tokens, frame = [], 0
    for piece, duration, blanks in steps:
        tokens.append(Token(piece, frame, duration, 0.5))
        frame += duration + blanks
    return tokens


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(PIECES) - 1), st.integers(0, 4), st.integers(0, 20)),
        min_size=1,
        max_size=12,
    )
)
def test_words_with_punctuation_are_nemos_words_at_nemos_times(
    torch: ModuleType, steps: list[tuple[int, int, int]]
) -> None:
    # A hypothesis that begins with a mark is left out: NeMo then gives its time to the word after it.
    tokens = hypothesis_of([(0, 1, 0), *steps])
    heard = transcript(tokens, VOCABULARY, frame_seconds=FRAME_SECONDS, audio_seconds=1000.0)
    ours = [
        (word.text, round(word.start / FRAME_SECONDS), round(word.end / FRAME_SECONDS))
        for word in heard.words
    ]
    nemos = nemos_words(tokens)
    assert [word for word, _, _ in ours] == [word for word, _, _ in nemos]
    for (_, start, end), (_, nemos_start, nemos_end) in zip(ours, nemos, strict=True):
        assert start == nemos_start
        # A word that NeMo gives no time lasts one frame, the only difference.
        assert 0 <= end - nemos_end <= 1
