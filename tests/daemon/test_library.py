"""The Python API: what it takes, what it answers, and that several threads may use it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import parakeetd
from clips import Clip
from noises import KINDS
from parakeetd.errors import (
    AudioError,
    BundleError,
    Closed,
    ConfigError,
    DeviceError,
    InputError,
    ModelNotFound,
)
from parakeetd.model.sessions import probe


@pytest.fixture(scope="module")
def model() -> Iterator[parakeetd.Model]:
    with parakeetd.load("demo", device="cpu", threads=1) as loaded:
        yield loaded


def samples_of(clip: Clip) -> NDArray[np.float32]:
    samples, _ = soundfile.read(clip.path, dtype="float32")
    return np.asarray(samples)


def why_there_is_no_cuda() -> str:
    """The reason; empty when CUDA works here."""
    try:
        probe("cuda")
    except DeviceError as error:
        return error.reason
    return ""


def test_the_import_alone_loads_no_runtime() -> None:
    code = (
        "import sys, parakeetd; parakeetd.__version__; "
        "print([m for m in ('onnxruntime', 'numpy', 'grpc', 'torch', 'nemo', 'onnx') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_transcribing_loads_neither_grpc_nor_the_conversion(clips: dict[str, Clip]) -> None:
    code = (
        "import sys, parakeetd\n"
        "with parakeetd.load('demo', device='cpu', threads=1) as model: model.transcribe(sys.argv[1])\n"
        "print([m for m in ('grpc', 'google.protobuf', 'torch', 'nemo', 'onnx') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(clips["digits"].path)]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def test_recognising_leaves_no_trace_in_the_users_home(clips: dict[str, Clip], tmp_path: Path) -> None:
    # ONNX Runtime's own reporting, unless it is switched off, begins with an identifier and a store in there.
    code = (
        "import sys, parakeetd\n"
        "with parakeetd.load('demo', threads=1) as model: print(model.transcribe(sys.argv[1]).text)"
    )
    command = [sys.executable, "-c", code, str(clips["digits"].path)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    text = subprocess.check_output(command, text=True, env=env | {"HOME": str(tmp_path)})
    assert text.strip() == clips["digits"].nemo_text
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        _ = parakeetd.lood


def test_a_file_gives_what_nemo_says(model: parakeetd.Model, clip: Clip) -> None:
    transcription = model.transcribe(clip.path, vad="off")
    assert transcription.text == clip.nemo_text
    assert transcription.model == "demo"
    assert transcription.audio_seconds == pytest.approx(clip.seconds, abs=0.01)
    assert transcription.processing_seconds > 0


def test_a_path_may_be_text(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    assert model.transcribe(str(clips["digits"].path)).text == clips["digits"].nemo_text


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, np.float64])
def test_arrays_of_each_type_give_the_same_text(
    model: parakeetd.Model, clips: dict[str, Clip], kind: type[Any]
) -> None:
    samples = samples_of(clips["digits"])
    if np.issubdtype(kind, np.integer):
        samples = samples * np.iinfo(kind).max
    assert model.transcribe(samples.astype(kind)).text == clips["digits"].nemo_text


def test_arrays_of_another_rate_are_resampled(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    telephone = clips["telephone"]
    assert telephone.rate == 8000
    transcription = model.transcribe(samples_of(telephone), 8000)
    assert transcription.text == telephone.nemo_text
    assert transcription.audio_seconds == pytest.approx(telephone.seconds, abs=0.01)


def test_the_channels_of_an_array_are_mixed(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    stereo = clips["stereo"]
    samples = samples_of(stereo)
    assert samples.shape[1] == 2
    assert model.transcribe(samples, stereo.rate).text == stereo.nemo_text


def test_progress_grows_to_the_length_of_the_recording(
    model: parakeetd.Model, clips: dict[str, Clip]
) -> None:
    clip = clips["pauses"]
    told: list[float] = []
    model.transcribe(clip.path, progress=told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == pytest.approx(clip.seconds, abs=0.01)


def test_pauses_cut_a_recording_and_without_detection_it_is_one_segment(
    model: parakeetd.Model, clips: dict[str, Clip]
) -> None:
    clip = clips["pauses"]
    whole = model.transcribe(clip.path, vad="off")
    cut = model.transcribe(clip.path)
    assert len(whole.segments) == 1
    assert [segment.text for segment in cut.segments] == [spoken.text for spoken in clip.utterances]
    for segment, spoken in zip(cut.segments, clip.utterances, strict=True):
        assert segment.start <= spoken.start
        assert segment.end >= spoken.end
        words = segment.transcript.words
        # An encoder frame is 80 ms; a word may be heard two of them before its first sample is loud.
        assert words[0].start == pytest.approx(spoken.start, abs=0.25)
        assert words[-1].end == pytest.approx(spoken.end, abs=0.25)


def test_silence_has_no_text(model: parakeetd.Model) -> None:
    transcription = model.transcribe(np.zeros(32_000, np.float32))
    assert transcription.text == ""
    assert transcription.segments == ()
    assert transcription.audio_seconds == 2.0


def test_several_threads_get_their_own_words(model: parakeetd.Model, clips: dict[str, Clip]) -> None:
    wanted = [clip for clip in clips.values() for _ in range(3)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda clip: model.transcribe(clip.path, vad="off").text, wanted)
        assert list(answers) == [clip.nemo_text for clip in wanted]


def test_a_closed_model_leaves_no_thread_behind(clips: dict[str, Clip]) -> None:
    before = set(threading.enumerate())
    with parakeetd.load("demo", device="cpu", threads=1) as loaded:
        loaded.transcribe(clips["digits"].path)
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before


def test_an_unknown_model_is_named_with_those_installed(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=rf"'0\.9b' is not installed in {tmp_path} \(installed: demo\)"):
        parakeetd.load("0.9b", models=tmp_path)


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match=rf"{tmp_path}/mine: manifest\.json"):
        parakeetd.load(models=tmp_path)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(InputError, match="auto, cpu or cuda, not 'gpu'"):
        parakeetd.load("demo", device="gpu")  # type: ignore[arg-type]


def test_a_missing_gpu_that_was_asked_for_is_an_error_with_its_reason() -> None:
    if not (reason := why_there_is_no_cuda()):
        pytest.skip("CUDA works here")
    with pytest.raises(DeviceError) as caught:
        parakeetd.load("demo", device="cuda")
    assert caught.value.device == "cuda"
    assert caught.value.reason == reason
    assert len(reason) > 10


def test_a_missing_gpu_leaves_the_work_to_the_cpu(clips: dict[str, Clip]) -> None:
    if not why_there_is_no_cuda():
        pytest.skip("CUDA works here")
    with parakeetd.load("demo", device="auto", threads=1) as loaded:
        segments = loaded.transcribe(clips["digits"].path).segments
    assert [segment.device for segment in segments] == ["cpu"]


@pytest.mark.parametrize("confirm", ["web", None])
def test_an_unknown_confirmation_is_named(model: parakeetd.Model, confirm: Any) -> None:
    with pytest.raises(InputError, match=f"confirm must be silero or off, not {confirm!r}"):
        model.transcribe(np.zeros(16_000, np.float32), confirm=confirm)


def test_text_out_of_music_is_refused(model: parakeetd.Model) -> None:
    """Tones like music: the small model hears words in them, which the confirmation keeps out."""
    music = KINDS["music"](60.0, np.random.default_rng(1))
    assert model.transcribe(music, confirm="off").text != ""
    assert model.transcribe(music).text == ""


@pytest.mark.parametrize("detector", ["web", None])
def test_an_unknown_detector_is_named(model: parakeetd.Model, detector: Any) -> None:
    with pytest.raises(InputError, match=f"vad must be webrtc or off, not {detector!r}"):
        model.transcribe(np.zeros(16_000, np.float32), vad=detector)


def test_a_missing_file_is_named_and_the_model_goes_on(
    model: parakeetd.Model, clips: dict[str, Clip], tmp_path: Path
) -> None:
    with pytest.raises(AudioError, match=rf"{tmp_path}/none\.wav: .*No such file"):
        model.transcribe(tmp_path / "none.wav")
    assert model.transcribe(clips["digits"].path).text == clips["digits"].nemo_text


def test_what_is_neither_a_path_nor_samples_is_refused_by_its_type(model: parakeetd.Model) -> None:
    with pytest.raises(InputError, match="a path or a NumPy array, not list"):
        model.transcribe([0.0, 0.1])  # type: ignore[arg-type]


def test_a_closed_model_says_so(clips: dict[str, Clip]) -> None:
    loaded = parakeetd.load("demo", device="cpu", threads=1)
    loaded.close()
    with pytest.raises(Closed):
        loaded.transcribe(clips["digits"].path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Commands made of words that the clips have."""
    file = tmp_path / "commands.toml"
    file.write_text(
        '[en]\n"rubout" = { text = "Dear all,\\n", attach = "none" }\n"forty five" = "45"\n'
        '"repeat" = { action = "delete" }\n',
        encoding="utf-8",
    )
    return file


def test_spoken_commands_are_done_over_all_segments_and_only_when_asked_for(
    model: parakeetd.Model, clips: dict[str, Clip], table: Path
) -> None:
    clip = clips["pauses"]
    assert model.transcribe(clip.path).text == "rubout nine two six repeat forty five cents"
    # "repeat" takes back the utterance before it.
    done = model.transcribe(clip.path, commands=table)
    assert done.text == "45 cents"
    assert [segment.text for segment in done.segments] == ["45 cents"]
    assert [word.text for word in done.segments[0].transcript.words] == ["45", "cents"]


def test_the_shipped_commands_leave_a_text_without_them_as_it_is(
    model: parakeetd.Model, clips: dict[str, Clip]
) -> None:
    clip = clips["digits"]
    assert model.transcribe(clip.path, commands=True, profanity_filter=True).text == clip.nemo_text


def test_listed_words_are_starred(model: parakeetd.Model, clips: dict[str, Clip], tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("nine\ncent*\n", encoding="utf-8")
    written = model.transcribe(clips["pauses"].path, profanity_filter=words)
    assert written.text == "rubout n*** two six repeat forty five c****"


def test_commands_of_a_language_that_has_none_are_refused_by_name(
    model: parakeetd.Model, clips: dict[str, Clip]
) -> None:
    with pytest.raises(InputError, match="no spoken commands for fi-FI, only for en, de, fr, es"):
        model.transcribe(clips["digits"].path, commands=True, language="fi-FI")


def test_a_table_that_is_not_there_is_named(
    model: parakeetd.Model, clips: dict[str, Clip], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml: cannot be read"):
        model.transcribe(clips["digits"].path, commands=tmp_path / "mine.toml")
