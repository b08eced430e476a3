"""What is opened on a GPU, with sessions on the CPU in its place: the same graphs, shapes and bindings."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import BundleError
from parakeetd.model import buckets, opening, transducers
from parakeetd.model.bundle import EMBEDDED, Bundle, Precision
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Device, Session, open_session


@pytest.fixture
def waveforms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Lets a session on the CPU stand in for each on a GPU; the shapes of the waveforms that came in."""
    shapes: list[tuple[int, ...]] = []

    def stand_in(graph: Path | bytes, device: Device, **asked: int) -> Session:
        assert device == "cpu" or asked.get("at_once", 1) == 1
        session = open_session(graph, "cpu", threads=1)
        if isinstance(graph, Path) and graph.name == "preprocessor.onnx":
            run = session.run_on_device

            def watched(inputs, *rest, **settings):  # type: ignore[no-untyped-def]
                shapes.append(inputs["waveforms"].shape)
                return run(inputs, *rest, **settings)

            monkeypatch.setattr(session, "run_on_device", watched)
        return session

    monkeypatch.setattr(opening, "open_session", stand_in)
    monkeypatch.setattr(transducers, "open_session", stand_in)
    return shapes


@pytest.fixture
def warmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warming up, where it is not what is tested."""
    monkeypatch.setattr(buckets, "usual_buckets", lambda: [buckets.STEP])


def test_a_gpu_meets_every_usual_length_before_any_speech(waveforms: list[tuple[int, ...]]) -> None:
    Recognizer.open(Bundle.read(EMBEDDED), device="cuda")
    assert waveforms == [(1, samples) for samples in buckets.usual_buckets()]


@pytest.mark.usefixtures("warmed")
def test_batches_on_a_gpu_have_the_length_of_a_bucket_and_nemos_text(
    waveforms: list[tuple[int, ...]], clips: dict[str, Clip]
) -> None:
    opened = Recognizer.open(Bundle.read(EMBEDDED), device="cuda")
    assert opened.decoders.choice.forms == ("loop",)
    pieces = [read_audio(clip.path) for clip in clips.values()]
    transcripts = opened.recognize(pieces)
    assert [transcript.text for transcript in transcripts] == [clip.nemo_text for clip in clips.values()]
    longest = max(len(piece) for piece in pieces)
    assert waveforms[-1] == (len(pieces), buckets.bucket(longest)) != (len(pieces), longest)


@pytest.mark.usefixtures("warmed")
def test_both_decoders_share_a_batch_on_a_gpu(
    waveforms: list[tuple[int, ...]], clips: dict[str, Clip]
) -> None:
    clip = clips["clock"]
    opened = Recognizer.open(Bundle.read(EMBEDDED), device="cuda")
    ways = [DecodeOptions("tdt"), DecodeOptions("ctc"), DecodeOptions("tdt")]
    texts = [t.text for t in opened.recognize([read_audio(clip.path)] * 3, ways)]
    assert texts == [clip.nemo_text, clip.nemo_ctc_text, clip.nemo_text]


def test_a_cpu_is_not_given_padding(clips: dict[str, Clip]) -> None:
    opened = Recognizer.open(Bundle.read(EMBEDDED), threads=1)
    samples = read_audio(clips["digits"].path)
    hop = opened.architecture.hop_samples
    assert opened.features([samples]).values.shape()[2] == len(samples) // hop + 1


def test_warming_up_stops_at_what_the_model_takes() -> None:
    bundle = Bundle.read(EMBEDDED)
    short = replace(bundle.manifest.architecture, max_encoder_frames=10)
    opened = Recognizer.open(Bundle(EMBEDDED, replace(bundle.manifest, architecture=short)), threads=1)
    opened.warm_up([opened.max_samples + 1])


def with_precisions(*precisions: Precision) -> Bundle:
    bundle = Bundle.read(EMBEDDED)
    return Bundle(EMBEDDED, replace(bundle.manifest, precisions=precisions))


def test_int8_is_for_the_cpu_and_a_gpu_that_it_is_wanted_for_takes_the_next_best() -> None:
    everything = with_precisions("fp32", "int8", "fp16")
    assert everything.precision_for("cpu", "int8") == "int8"
    assert everything.precision_for("cuda", "int8") == "fp16"
    assert with_precisions("fp32", "int8").precision_for("cuda", "int8") == "fp32"
    with pytest.raises(BundleError, match="it has no int8 graphs, only fp32"):
        with_precisions("fp32").precision_for("cuda", "int8")


@pytest.mark.usefixtures("warmed", "waveforms")
def test_the_log_says_that_a_gpu_runs_another_precision_than_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Recognizer.open(with_precisions("fp32", "int8"), device="cuda", precision="int8")
    assert [record.getMessage() for record in caplog.records] == [
        "demo on the GPU: int8 has no fast products there, fp32 is used"
    ]


@pytest.mark.usefixtures("warmed", "waveforms")
def test_the_log_says_nothing_where_a_device_runs_what_was_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        Recognizer.open(Bundle.read(EMBEDDED), device="cuda", precision="fp32")
        Recognizer.open(Bundle.read(EMBEDDED), device="cpu")
    assert not caplog.records


def test_silence_of_any_length_gives_no_text_on_a_gpus_path(
    waveforms: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "usual_buckets", list)
    opened = Recognizer.open(Bundle.read(EMBEDDED), device="cuda")
    pieces = [np.zeros(n, np.float32) for n in (1, 5_000, 0, 20_000)]
    assert [t.text for t in opened.recognize(pieces)] == [""] * 4
    assert waveforms == [(3, buckets.bucket(20_000))]


def test_no_session_has_more_threads_than_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(graph: Path | bytes, device: Device, *, threads: int = 0, **others: int) -> Session:
        asked.append(threads)
        return open_session(graph, device, threads=threads, **others)

    monkeypatch.setattr(opening, "open_session", counted)
    monkeypatch.setattr(transducers, "open_session", counted)
    Recognizer.open(Bundle.read(EMBEDDED), device="cpu", threads=1)
    assert set(asked) == {1}


@pytest.mark.parametrize(
    ("layers", "width", "asked", "threads"),
    [(6, 160, 0, 1), (6, 160, 3, 3), (17, 512, 0, 4), (24, 1024, 2, 2)],
)
def test_a_small_encoder_runs_on_one_thread_unless_more_are_asked_for(
    layers: int, width: int, asked: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "physical_cores", lambda: 4)
    architecture = replace(Bundle.read(EMBEDDED).manifest.architecture, layers=layers, d_model=width)
    assert opening.threads_for(architecture, asked) == threads
