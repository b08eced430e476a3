"""Recordings of the user's own: which files are read, how they are cut, and what is said of those that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clips import Clip as Shipped
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import InputError
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd_convert import cli
from parakeetd_convert.clips import Clip, folder_clips, recordings_in
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.recordings import HeardPiece, check_recordings

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo.nemo"


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def heard(*pairs: tuple[Shipped, str | None, str]) -> list[HeardPiece]:
    """Clips with their transcripts and what NeMo is said to have heard."""
    return [
        HeardPiece(Clip(clip.path.name, read_audio(clip.path), transcript), text)
        for clip, transcript, text in pairs
    ]


def test_all_audio_files_below_the_folder_are_read_at_the_models_rate(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    soundfile.write(tmp_path / "b.wav", tone(1, 44_100, 2), 44_100)
    soundfile.write(tmp_path / "deep" / "a.flac", tone(0.5, 8_000), 8_000)
    (tmp_path / "notes.txt").write_text("not audio")
    clips = folder_clips(tmp_path, 16_000)
    assert [(clip.name, clip.samples.shape, clip.transcript) for clip in clips] == [
        ("b.wav", (16_000,), None),
        ("deep/a.flac", (8_000,), None),
    ]
    # The tone is still there after resampling: 440 cycles in a second.
    assert np.abs(np.fft.rfft(clips[0].samples)).argmax() == 440


def test_a_manifest_chooses_the_files_and_gives_their_transcripts(tmp_path: Path) -> None:
    for name in ("one.wav", "two.wav", "unlisted.wav"):
        soundfile.write(tmp_path / name, tone(1, 16_000), 16_000)
    (tmp_path / "manifest.jsonl").write_text(
        '{"file": "two.wav", "transcript": "TWO", "seconds": 1}\n\n{"file": "one.wav"}\n'
    )
    clips = folder_clips(tmp_path, 16_000)
    assert [(clip.name, clip.transcript) for clip in clips] == [("two.wav", "TWO"), ("one.wav", None)]


def test_a_long_recording_is_cut_into_pieces_of_twenty_seconds_without_a_gap(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(45, 16_000), 16_000, subtype="FLOAT")
    (tmp_path / "manifest.jsonl").write_text('{"file": "long.wav", "transcript": "many words"}\n')
    clips = folder_clips(tmp_path, 16_000)
    assert [clip.name for clip in clips] == ["long.wav at 0 s", "long.wav at 20 s", "long.wav at 40 s"]
    # Where in the transcript a piece begins is not known.
    assert [clip.transcript for clip in clips] == [None, None, None]
    whole = np.concatenate([clip.samples for clip in clips])
    np.testing.assert_allclose(whole, tone(45, 16_000)[:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("{", r"manifest\.jsonl line 1 is not JSON"),
        ('"x.wav"', r"manifest\.jsonl line 1 is not an object"),
        ('{"file": 5}', r"manifest\.jsonl line 1 is not an object"),
        ('{"file": "x.wav", "transcript": 5}', r"manifest\.jsonl line 1 is not an object"),
        ('{"file": "gone.wav"}', r"line 1: there is no file .*gone\.wav"),
        ("\n", "there is no recording in it"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, manifest: str, said: str
) -> None:
    soundfile.write(tmp_path / "x.wav", tone(1, 16_000), 16_000)
    (tmp_path / "manifest.jsonl").write_text(manifest)
    with pytest.raises(InputError, match=said):
        recordings_in(tmp_path)


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone: there is no such folder"):
        recordings_in(tmp_path / "gone")
    with pytest.raises(InputError, match="there is no recording in it"):
        recordings_in(tmp_path)


@pytest.mark.parametrize("content", [b"not audio", b""])
def test_a_file_that_is_not_audio_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.wav cannot be read as audio"):
        folder_clips(tmp_path, 16_000)


def test_a_recording_without_samples_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16_000)
    with pytest.raises(InputError, match=r"silent\.wav holds no audio"):
        folder_clips(tmp_path, 16_000)


def test_texts_that_are_nemos_pass_with_their_word_errors(clips: dict[str, Shipped]) -> None:
    pieces = heard(*((clip, clip.text, clip.nemo_text) for clip in clips.values()))
    measured = check_recordings(Bundle.read(EMBEDDED), "fp32", pieces)
    assert measured == {
        "pieces": 8,
        "texts_that_differ": 0,
        "words": sum(len(clip.text.split()) for clip in clips.values()),
        "words_changed": 0,
        "wer": 0.0,
        "wer_nemo": 0.0,
    }


def test_a_text_that_is_not_nemos_is_named_with_both_and_nothing_is_published(
    clips: dict[str, Shipped],
) -> None:
    clip = clips["digits"]
    with pytest.raises(
        VerificationFailed,
        match=rf"digits\.flac in fp32: the text is '{clip.nemo_text}', NeMo's is 'five six'; 1 of 1 texts",
    ):
        check_recordings(Bundle.read(EMBEDDED), "fp32", heard((clip, None, "five six")))


def test_word_errors_are_counted_where_the_transcript_is_known(clips: dict[str, Shipped]) -> None:
    digits, command = clips["digits"], clips["command"]
    pieces = heard(
        (digits, digits.text.upper().replace("FIVE", "NINE"), digits.nemo_text),
        (command, None, command.nemo_text),
    )
    measured = check_recordings(Bundle.read(EMBEDDED), "fp32", pieces)
    assert measured["wer"] == measured["wer_nemo"] == pytest.approx(100 / 6, abs=0.01)


def test_the_command_names_a_folder_that_is_missing_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models, gone = tmp_path / "models", tmp_path / "gone"
    arguments = [str(DEMO), "--models", str(models), "--verify-audio", str(gone)]
    monkeypatch.setattr(sys, "argv", ["parakeetd-convert", *arguments])
    monkeypatch.setattr("parakeetd_convert.pipeline.load_toolchain", lambda **_: pytest.fail("it began"))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert f"{gone}: there is no such folder of recordings" in capsys.readouterr().err
    assert not models.exists()
