"""The forms of the shipped model's decoder against each other, and against NeMo's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import BundleError
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.forms import FORMS, Decoding, Form
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import on_host
from parakeetd.model.transcript import Token
from parakeetd.model.transducers import Encoded, SplitNetworks, Transducer, open_transducer, rows_of

BUNDLE = Bundle.read(EMBEDDED)
WIDTH = BUNDLE.manifest.architecture.d_model

Hypotheses = list[tuple[Token, ...]]


@pytest.fixture(scope="module")
def transducers() -> Mapping[Form, Transducer]:
    return {form: open_transducer(BUNDLE, form, device="cpu", precision="fp32") for form in FORMS}


@pytest.fixture(scope="module")
def speech_like(clips: dict[str, Clip]) -> NDArray[np.float32]:
    """Encoder output [frames, d_model] of all clips: what a random mixture is drawn from."""
    recognizer = Recognizer.open(BUNDLE, threads=1)
    encoded = [recognizer.encode(recognizer.features([read_audio(clip.path)])) for clip in clips.values()]
    return np.concatenate([on_host(e.outputs)[0].T for e in encoded])


def places(hypotheses: Hypotheses) -> list[list[tuple[int, int, int]]]:
    return [[(token.id, token.frame, token.duration) for token in tokens] for tokens in hypotheses]


def confidences(hypotheses: Hypotheses) -> list[float]:
    return [token.confidence for tokens in hypotheses for token in tokens]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 3, 8]),
    most=st.integers(1, 60),
    look_ahead=st.sampled_from([1, 2, 4, 8]),
)
def test_all_forms_give_the_same_tokens_at_the_same_frames(
    transducers: Mapping[Form, Transducer],
    speech_like: NDArray[np.float32],
    seed: int,
    rows: int,
    most: int,
    look_ahead: int,
) -> None:
    """Encoder frames of speech in a random order: many tokens, all durations, and rows of different lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, most + 1, rows)
    # The encoder has one frame at least; where a row has none, what is there is padding.
    outputs = speech_like[random.integers(0, len(speech_like), (rows, max(1, lengths.max())))]
    encoded = Encoded(np.ascontiguousarray(outputs.transpose(0, 2, 1)), lengths)
    expected = transducers["fused"](encoded, look_ahead=1)
    for form in ("steps", "loop"):
        found = transducers[form](encoded, look_ahead=look_ahead)
        assert places(found) == places(expected), form
        # Measured: 2e-6; two graphs add the same products in another order.
        assert confidences(found) == pytest.approx(confidences(expected), abs=1e-4), form


def test_batches_of_different_lengths_are_joined_row_by_row() -> None:
    random = np.random.default_rng(0)
    parts = [
        Encoded(random.standard_normal((rows, 3, frames)).astype(np.float32), np.full(rows, frames))
        for rows, frames in ((2, 4), (1, 7), (3, 5))
    ]
    joined = Encoded.joined(parts)
    assert joined.lengths.tolist() == [4, 4, 7, 5, 5, 5]
    outputs = on_host(joined.outputs)
    assert outputs.shape == (6, 3, 7)
    rows = [row for part in parts for row in on_host(part.outputs)]
    for found, row in zip(outputs, rows, strict=True):
        np.testing.assert_array_equal(found[:, : row.shape[1]], row)
        assert not found[:, row.shape[1] :].any()
    assert Encoded.joined(parts[:1]) is parts[0]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_nemos_tokens_for_a_batch_of_the_shipped_clips(
    form: Form, clips: dict[str, Clip]
) -> None:
    recognizer = Recognizer.open(BUNDLE, threads=1, decoding=Decoding(form, look_ahead=4))
    assert recognizer.decoders.choice.forms == (form,)
    transcripts = recognizer.recognize([read_audio(clip.path) for clip in clips.values()])
    for clip, transcript in zip(clips.values(), transcripts, strict=True):
        assert transcript.text == clip.nemo_text
        assert tuple(token.id for token in transcript.tokens) == clip.nemo_tokens
        assert tuple(token.frame for token in transcript.tokens) == clip.nemo_frames


def test_a_row_of_a_batch_may_be_written_on_without_changing_the_start_of_the_next(
    clips: dict[str, Clip],
) -> None:
    recognizer = Recognizer.open(BUNDLE, threads=1, decoding=Decoding("steps", look_ahead=2))
    pieces = [read_audio(clip.path) for clip in clips.values()]
    first = recognizer.recognize(pieces)
    assert recognizer.recognize(pieces) == first


def test_the_start_of_the_sentence_is_the_same_for_each_row() -> None:
    transducer = open_transducer(BUNDLE, "steps", device="cpu", precision="fp32")
    networks: SplitNetworks = transducer._networks  # type: ignore[attr-defined]
    prediction, (hidden, cell) = networks.start(3)
    assert np.ptp(prediction, axis=0).max() == np.ptp(hidden, axis=1).max() == np.ptp(cell, axis=1).max() == 0
    assert np.abs(hidden).max() > 0


def test_what_a_loop_gave_each_row_is_taken_apart() -> None:
    tokens = np.array([[4, -1], [-1, -1], [7, 5]])
    frames = np.array([[0, 0], [2, 1], [3, 6]])
    durations = np.array([[2, 1], [1, 4], [0, 3]])
    confidence = np.array([[0.5, 0.1], [0.1, 0.1], [0.25, 1.0]], np.float32)
    assert rows_of(tokens, frames, durations, confidence) == [
        (Token(4, 0, 2, 0.5), Token(7, 3, 0, 0.25)),
        (Token(5, 6, 3, 1.0),),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_another_shape_is_refused_with_the_number_that_differs(form: Form) -> None:
    manifest = replace(BUNDLE.manifest, architecture=replace(BUNDLE.manifest.architecture, d_model=512))
    with pytest.raises(BundleError, match="its graphs have 160 d_model, the manifest says 512"):
        open_transducer(Bundle(EMBEDDED, manifest), form, device="cpu", precision="fp32")


def test_a_bundle_of_before_the_split_graphs_is_decoded_by_nemos_own() -> None:
    old = {name: entry for name, entry in BUNDLE.manifest.files.items() if "decoder_joint" in name}
    bundle = Bundle(EMBEDDED, replace(BUNDLE.manifest, files=old))
    for device in ("cpu", "cuda"):
        assert bundle.choice(device, "fp32").forms == ("fused",)
