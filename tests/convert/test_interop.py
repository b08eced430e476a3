"""Two engines that are not ours read what conversion writes, each in an environment of its own, and give NeMo's text.

onnx-asr computes NeMo's features and decodes as NeMo does: its text is NeMo's. sherpa-onnx decodes TDT alike up to its
limit of 5 tokens a frame where NeMo's is 10 (no recording here reaches it), but its log-mel features are other than
those the model was trained on: mel filters end at 7600 Hz instead of 8000, the window is Povey's instead of Hann's, and
frames are centred half a hop (5 ms) later. On clear speech that changes nothing; on words between two of the model's
answers it tips them. SHERPA_DIFFERS lists those one by one, and the tests show for each that the features are the
cause: with the three settings as the model has them, the same library's features give NeMo's text.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import jiwer
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import engines
from clips import Clip
from parakeetd.model import tdt
from parakeetd.model.bundle import PRECISIONS, Bundle, Precision
from parakeetd.model.fused import FusedSteps
from parakeetd.model.sessions import open_session
from parakeetd.model.tokens import Vocabulary
from parakeetd_convert import sherpa
from parakeetd_convert.clips import Clip as Piece
from parakeetd_convert.errors import UnsupportedModel, VerificationFailed
from parakeetd_convert.pipeline import Job, convert
from parakeetd_convert.recordings import HeardPiece, check_recordings
from parakeetd_convert.reference import Reference
from recordings import Answer, nemo_answers

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"

SHERPA_DIFFERS = {
    "cen1-fcaw-b.flac": "w l i d -> w o r d: 8000 Hz and centred frames give NeMo's text back",
    "an420-fjlp-b.flac": "k -> a: any one of the three settings",
    "an430-fvap-b.flac": "eighty three -> three: all three together",
    "cen1-fvap-b.flac": "p o w e l l -> t o w e l l: centred frames",
    "cen2-fvap-b.flac": "d a n d s o k -> b a m e s o k: 8000 Hz, or Hann's window",
    "cen7-fvap-b.flac": "one -> four: centred frames",
    "an432-marh-b.flac": "f -> s: any one of the three settings",
    "an434-marh-b.flac": "five -> r: centred frames",
    "cen1-mdms2-b.flac": "s a m p l e r -> s a n d l e r: 8000 Hz and centred frames",
    "cen2-mdms2-b.flac": "d a v i d -> b a c k d: 8000 Hz",
    "an399-miry-b.flac": "p -> t: centred frames",
    "cen6-mjwl-b.flac": "eight added: 8000 Hz, or centred frames",
    "cen8-mjwl-b.flac": "seven lost: all three together",
}
"""Recordings of an4/test with another text in sherpa-onnx, what differs, and which settings undo it by themselves."""

ROUNDING = 2
"""Texts that may come out otherwise on another processor, where two answers are equally likely."""

MOST_ADDED_WER = 2.0
"""Points of word error rate that sherpa-onnx's features may cost on an4/test. Measured: none, 10.4 % both."""

Floats = NDArray[np.float32]
Decode = Callable[[Floats, int], str]


@pytest.fixture(scope="module")
def bundle(torch: ModuleType, tmp_path_factory: pytest.TempPathFactory, clips: dict[str, Clip]) -> Bundle:
    """The fixture model for all engines, verified on the shipped clips as recordings of a user's own too."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = [{"file": clip.path.name, "transcript": clip.text} for clip in clips.values()]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for clip in clips.values():
        shutil.copy(clip.path, folder)
    job = Job(
        DEMO,
        "demo",
        tmp_path_factory.mktemp("models"),
        ("en-US",),
        sherpa=True,
        verify_audio=folder,
    )
    return Bundle.read(convert(job, nullcontext))


@pytest.fixture(scope="module")
def answers(speech: Path) -> list[Answer]:
    return nemo_answers(speech, "an4_test")


@pytest.fixture(scope="module")
def an4(answers: list[Answer], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The recordings of an4/test as files of samples."""
    return engines.written([engines.mono(answer.file) for answer in answers], tmp_path_factory.mktemp("an4"))


@pytest.fixture(scope="module")
def decode(bundle: Bundle) -> Decode:
    """Our decoder on features [T, mels] that somebody else computed, with at most so many tokens a frame."""
    architecture = bundle.manifest.architecture
    encoder = open_session(bundle.path / "encoder-model.onnx", "cpu", threads=2)
    joint = open_session(bundle.path / "decoder_joint-model.onnx", "cpu", threads=1)
    vocabulary = Vocabulary.read(bundle.path / "tokens.txt")

    def text(features: Floats, max_symbols: int) -> str:
        encoded, frames = encoder.run(
            {"audio_signal": features.T[None], "length": np.array([len(features)], np.int64)},
            ["outputs", "encoded_lengths"],
        )
        tokens = tdt.greedy(
            int(frames[0]),
            FusedSteps(joint, encoded[0], architecture),
            blank=vocabulary.blank,
            durations=architecture.durations,
            max_symbols=max_symbols,
        )
        return vocabulary.text(token.id for token in tokens)

    return text


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("engine", ["onnx-asr", "sherpa"])
def test_shipped_clips_give_nemos_text(
    engine: str, precision: Precision, bundle: Bundle, clips: dict[str, Clip], tmp_path: Path
) -> None:
    files = engines.written([engines.mono(clip.path) for clip in clips.values()], tmp_path)
    heard = engines.texts(engine, bundle.path, precision, files)
    assert dict(zip(clips, heard, strict=True)) == {name: clip.nemo_text for name, clip in clips.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_onnx_asr_gives_nemos_text_of_real_recordings(
    precision: Precision, bundle: Bundle, answers: list[Answer], an4: list[Path]
) -> None:
    heard = engines.texts("onnx-asr", bundle.path, precision, an4)
    different = [
        (answer.file.name, text) for answer, text in zip(answers, heard, strict=True) if text != answer.tdt
    ]
    # int8 and float16 are not NeMo's arithmetic: a text may tip. Measured: none of 65 in any precision.
    assert len(different) <= (0 if precision == "fp32" else ROUNDING), different


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sherpa_differs_only_where_it_is_known_to(
    precision: Precision, bundle: Bundle, answers: list[Answer], an4: list[Path]
) -> None:
    heard = engines.texts("sherpa", bundle.path, precision, an4)
    different = {answer.file.name for answer, text in zip(answers, heard, strict=True) if text != answer.tdt}
    assert len(different - set(SHERPA_DIFFERS)) <= ROUNDING, different - set(SHERPA_DIFFERS)
    said = [answer.said.lower() for answer in answers]
    rate, nemos = jiwer.wer(said, heard), jiwer.wer(said, [answer.tdt for answer in answers])
    assert 100 * (rate - nemos) <= MOST_ADDED_WER


def test_each_difference_of_sherpa_comes_from_its_features(
    bundle: Bundle, answers: list[Answer], an4: list[Path], decode: Decode
) -> None:
    heard = engines.texts("sherpa", bundle.path, "fp32", an4)
    features = engines.sherpa_features(an4)
    of_its_own = [decode(sherpas, 10) for sherpas, _ in features]
    # On its features our decoder says what it says, so that neither its graphs nor its decoding is the cause ...
    assert sum(ours != theirs for ours, theirs in zip(of_its_own, heard, strict=True)) <= ROUNDING
    # ... nor its limit of 5 tokens a frame ...
    assert [decode(sherpas, 5) for sherpas, _ in features] == of_its_own
    # ... and with the model's settings the same library gives NeMo's text of each of them.
    unexplained = [
        answer.file.name
        for answer, text, (_, models) in zip(answers, heard, features, strict=True)
        if text != answer.tdt and decode(models, 10) != answer.tdt
    ]
    assert not unexplained


def test_the_folder_for_sherpa_is_in_the_manifest_and_holds_the_encoders_weights_once(bundle: Bundle) -> None:
    names = {name for name in bundle.manifest.files if name.startswith("sherpa/")}
    assert names >= {
        *(
            "sherpa/encoder.onnx",
            "sherpa/encoder.int8.onnx",
            "sherpa/encoder.fp16.onnx",
            "sherpa/decoder.onnx",
            "sherpa/joiner.onnx",
        ),
        "sherpa/tokens.txt",
    }
    data = [name for name in names if name.endswith(".data")]
    assert data
    for name in data:
        assert (bundle.path / name).samefile(bundle.path / Path(name).name)


def test_the_encoders_metadata_is_the_models(bundle: Bundle) -> None:
    graph = onnx.load(bundle.path / sherpa.encoder_file("fp32"), load_external_data=False)
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert "tdt" in about["url"]  # what makes it a TDT for sherpa-onnx
    assert {key: about[key] for key in ("vocab_size", "feat_dim", "pred_rnn_layers", "pred_hidden")} == {
        "vocab_size": "192",
        "feat_dim": "80",
        "pred_rnn_layers": "1",
        "pred_hidden": "160",
    }
    assert (about["subsampling_factor"], about["normalize_type"]) == ("8", "per_feature")


def test_what_sherpa_reads_is_verified_against_nemo(
    bundle: Bundle, demo_reference: Reference, tmp_path: Path
) -> None:
    architecture = bundle.manifest.architecture
    assert bundle.manifest.verification["sherpa_joint_error"] <= sherpa.TOLERANCE
    shutil.copytree(bundle.path / "sherpa", tmp_path / "sherpa")
    joiner = onnx.load(tmp_path / sherpa.JOINER)
    largest = max(joiner.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    weights = onnx.numpy_helper.to_array(largest) * np.float32(1.01)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights, largest.name))
    onnx.save(joiner, tmp_path / sherpa.JOINER)
    with pytest.raises(VerificationFailed, match=r"outputs of sherpa/joiner\.onnx"):
        sherpa.check(tmp_path, architecture, demo_reference.traces)


def test_durations_that_sherpa_would_take_for_others_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    gaps = replace(bundle.manifest.architecture, durations=(0, 1, 2, 4, 8))
    with pytest.raises(UnsupportedModel, match=r"\[0, 1, 2, 4, 8\].*without --sherpa"):
        sherpa.write_sherpa(None, gaps, tmp_path, "x.nemo")
    assert list(tmp_path.iterdir()) == []


def test_the_recordings_it_was_verified_on_are_measured_in_each_precision(bundle: Bundle) -> None:
    measured = bundle.manifest.verification["recordings"]
    assert "/" not in measured["folder"]  # a bundle does not tell where its maker keeps recordings
    for precision in PRECISIONS:
        assert measured[precision]["pieces"] == 8
        assert measured[precision]["texts_that_differ"] == 0
        assert (measured[precision]["wer"], measured[precision]["wer_nemo"]) == (0.0, 0.0)


def test_too_many_changed_words_of_a_precision_stop_it(bundle: Bundle, clips: dict[str, Clip]) -> None:
    # As if NeMo had understood other words than int8 says, and these were spoken.
    pieces = [
        HeardPiece(Piece(clip.path.name, engines.mono(clip.path), "something else"), "something else")
        for clip in clips.values()
    ]
    with pytest.raises(VerificationFailed, match=r"digits\.flac in int8: .*8 of 8 texts differ"):
        check_recordings(bundle, "int8", pieces)
    # Where nobody knows what was said, other words may be as good.
    unknown = [replace(piece, clip=replace(piece.clip, transcript=None)) for piece in pieces]
    assert check_recordings(bundle, "int8", unknown)["texts_that_differ"] == 8
