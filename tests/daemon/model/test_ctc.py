"""Greedy CTC decoding: the rule by itself, and the text of the shipped head against NeMo's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import parakeetd
from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import DecoderError, InputError
from parakeetd.model import ctc
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.recognizer import Recognizer
from recordings import nemo_answers

BLANK = 3


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.open(Bundle.read(EMBEDDED), threads=1)


def frames(*labels: int, probability: float = 0.7) -> NDArray[np.float32]:
    """Log-probabilities [T', 4] that favour one label a frame."""
    rest = (1 - probability) / BLANK
    table = np.full((len(labels), BLANK + 1), rest)
    table[np.arange(len(labels)), list(labels)] = probability
    return np.log(table).astype(np.float32).reshape(-1, BLANK + 1)


def test_repeats_collapse_and_a_blank_between_them_makes_two_tokens() -> None:
    tokens = ctc.greedy(frames(3, 1, 1, 3, 1, 2, 2, 2), blank=BLANK)
    assert [(token.id, token.frame, token.duration) for token in tokens] == [(1, 1, 2), (1, 4, 1), (2, 5, 3)]


@pytest.mark.parametrize("labels", [(), (3,), (3, 3, 3)])
def test_nothing_but_blanks_is_no_token(labels: tuple[int, ...]) -> None:
    assert ctc.greedy(frames(*labels), blank=BLANK) == ()


def test_the_confidence_is_the_highest_probability_in_the_run() -> None:
    log_probabilities = np.concatenate([frames(1, probability=0.5), frames(1, probability=0.9), frames(3)])
    [token] = ctc.greedy(log_probabilities, blank=BLANK)
    assert token.confidence == pytest.approx(0.9, abs=1e-6)


@given(st.lists(st.integers(0, BLANK), max_size=40))
def test_runs_lie_in_order_without_overlap_and_hold_their_label(labels: list[int]) -> None:
    tokens = ctc.greedy(frames(*labels), blank=BLANK)
    assert sum(token.duration for token in tokens) == sum(label != BLANK for label in labels)
    for token in tokens:
        assert set(labels[token.frame : token.frame + token.duration]) == {token.id}
    for token, following in pairwise(tokens):
        assert following.frame >= token.frame + token.duration


def test_a_shipped_clip_gives_nemos_ctc_text(recognizer: Recognizer, clip: Clip) -> None:
    [transcript] = recognizer.recognize([read_audio(clip.path)], [DecodeOptions("ctc")])
    assert transcript.text == clip.nemo_ctc_text
    assert " ".join(word.text for word in transcript.words) == transcript.text
    assert all(0 < token.confidence <= 1 for token in transcript.tokens)


def test_each_piece_of_a_batch_is_decoded_its_own_way(recognizer: Recognizer, clips: dict[str, Clip]) -> None:
    clip = clips["clock"]  # where NeMo's two heads differ
    assert clip.nemo_text != clip.nemo_ctc_text
    samples = read_audio(clip.path)
    ways = [DecodeOptions("ctc"), DecodeOptions("tdt"), DecodeOptions("ctc")]
    texts = [heard.text for heard in recognizer.recognize([samples] * 3, ways)]
    assert texts == [clip.nemo_ctc_text, clip.nemo_text, clip.nemo_ctc_text]


def test_words_of_both_decoders_lie_at_the_same_place(recognizer: Recognizer, clips: dict[str, Clip]) -> None:
    samples = read_audio(clips["digits"].path)
    tdt, by_ctc = recognizer.recognize([samples] * 2, [DecodeOptions("tdt"), DecodeOptions("ctc")])
    # The heads were trained apart and may place a token some frames of 80 ms from each other.
    assert [word.start for word in by_ctc.words] == pytest.approx(
        [word.start for word in tdt.words], abs=0.25
    )


def test_a_model_without_the_head_says_so() -> None:
    bundle = Bundle.read(EMBEDDED)
    opened = Recognizer.open(bundle, threads=1)
    plain = Recognizer(
        replace(bundle.manifest.architecture, ctc=False),
        opened._vocabulary,
        log_mel=opened._log_mel,
        encoder=opened._encoder,
        decoders=opened.decoders,
        device="cpu",
    )
    silence = np.zeros(16_000, np.float32)
    with pytest.raises(DecoderError, match="has no ctc decoder, only tdt"):
        plain.recognize([silence], [DecodeOptions("ctc")])


def test_the_library_takes_the_decoder_and_names_one_that_is_not_known(clips: dict[str, Clip]) -> None:
    clip = clips["clock"]
    with parakeetd.load("demo", device="cpu", threads=1) as model:
        assert model.transcribe(clip.path, vad="off", decoder="ctc").text == clip.nemo_ctc_text
        assert model.transcribe(clip.path, vad="off").text == clip.nemo_text
        with pytest.raises(InputError, match="decoder must be tdt or ctc, not 'beam'"):
            model.transcribe(clip.path, decoder="beam")  # type: ignore[arg-type]


def test_real_recordings_give_nemos_ctc_text(speech: Path) -> None:
    answers = nemo_answers(speech)
    with parakeetd.load("demo", device="cpu", threads=2) as model:
        different = [
            (answer.file.name, text, answer.ctc)
            for answer in answers
            if (text := model.transcribe(answer.file, vad="off", decoder="ctc").text) != answer.ctc
        ]
    assert not different
