"""Makes the clips that ship in the package, and NeMo's own answer to each of them.

    .venv-convert/bin/python tests/tools/make_clips.py [FOLDER]

Needs espeak-ng and flite (`apt-get install espeak-ng flite`) and the convert environment. The same versions of both
give the same samples. NeMo hears what `parakeetd.audio` makes of a clip (16 kHz mono), so that the answers compare
what comes after it; it decodes greedily, with TDT and (`ctc`) with the CTC head, one clip at a time, without dither.
Exits with 1 when NeMo's TDT does not hear what was spoken, or hears something else when a part of the silence around
it is cut off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT / "daemon" / "parakeetd" / "embedded" / "clips"
MODEL = ROOT / "tests" / "fixtures" / "demo.nemo"

PEAK = 0.4
ROOM_NOISE = 3e-4
"""Standard deviation, full scale 1.0: digital silence is not what a microphone gives."""
MARGIN_SECONDS = 0.4
PAUSE_SECONDS = 1.5


@dataclass(frozen=True)
class Speech:
    voice: str
    """flite:NAME or espeak-ng:NAME."""
    text: str


@dataclass(frozen=True)
class Clip:
    file: str
    speech: tuple[Speech, ...]
    rate: int = 16_000
    """Hz of the stored file."""
    channels: int = 1
    telephone: bool = False
    """Only the band of a telephone line, 300 to 3400 Hz."""


CATALOG = (
    Clip("digits.flac", (Speech("flite:awb", "five six one zero eight three"),)),
    Clip("command.flac", (Speech("flite:rms", "enter seven two nine five"),)),
    Clip("spelled.flac", (Speech("espeak-ng:en-us", "p i t t s b u r g h"),)),
    Clip("number.flac", (Speech("espeak-ng:en-gb", "nine thousand two hundred thirty one"),)),
    Clip("clock.flac", (Speech("flite:slt", "seven o'clock in the morning"),)),
    Clip(
        "pauses.flac",
        (
            Speech("flite:slt", "rubout nine two six"),
            Speech("espeak-ng:en-gb", "repeat"),
            Speech("flite:rms", "forty five cents"),
        ),
    ),
    Clip(
        "telephone.flac",
        (Speech("espeak-ng:en-us+m3", "eight one five two"),),
        rate=8_000,
        telephone=True,
    ),
    Clip("stereo.flac", (Speech("espeak-ng:en-us+f2", "turn on dictation"),), rate=44_100, channels=2),
)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CLIPS
    folder.mkdir(parents=True, exist_ok=True)
    rows = [make(clip, folder) for clip in CATALOG]
    model = load_nemo()
    unsure = 0
    for row in rows:
        samples = read_audio(folder / row["file"])
        model.change_decoding_strategy(decoder_type="ctc", verbose=False)
        ctc = [hypothesis.text for hypothesis in heard(model, [samples])]
        model.change_decoding_strategy(decoder_type="rnnt", verbose=False)
        row["nemo"] = answers(model, [samples])[0] | {"ctc": ctc[0]}
        texts = {answer["text"] for answer in answers(model, cut(samples))}
        sure = texts == {row["text"]} == {row["nemo"]["text"]}
        unsure += not sure
        print(f"{row['file']:16} {'sure  ' if sure else 'UNSURE'} {sorted(texts)}")
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if unsure else 0


def make(clip: Clip, folder: Path) -> dict[str, Any]:
    """Write the clip; return its row of clips.jsonl, without NeMo's answer."""
    rng = np.random.default_rng(sum(clip.file.encode()))
    parts, utterances, at = [silence(MARGIN_SECONDS, clip.rate)], [], MARGIN_SECONDS
    for index, speech in enumerate(clip.speech):
        if index:
            parts.append(silence(PAUSE_SECONDS, clip.rate))
            at += PAUSE_SECONDS
        samples = spoken(speech, clip)
        parts.append(samples)
        end = at + len(samples) / clip.rate
        utterances.append({"text": speech.text, "start": round(at, 2), "end": round(end, 2)})
        at = end
    voice = np.concatenate([*parts, silence(MARGIN_SECONDS, clip.rate)])
    voice = voice + rng.normal(0, ROOM_NOISE, len(voice)).astype(np.float32)
    frames = np.stack([voice * gain for gain in (1.0, 0.6)[: clip.channels]], axis=1)
    soundfile.write(folder / clip.file, frames, clip.rate, subtype="PCM_16")
    return {
        "file": clip.file,
        "text": " ".join(speech.text for speech in clip.speech),
        "seconds": round(len(voice) / clip.rate, 2),
        "rate": clip.rate,
        "channels": clip.channels,
        "voices": [speech.voice for speech in clip.speech],
        "utterances": utterances,
    }


def spoken(speech: Speech, clip: Clip) -> Samples:
    """The sentence at the clip's rate, shape [n], without the silence around it."""
    engine, name = speech.voice.split(":")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        if engine == "flite":
            command = ["flite", "-voice", name, "-t", speech.text, "-o", str(file)]
        else:
            command = ["espeak-ng", "-v", name, "-s", "140", "-w", str(file), speech.text]
        subprocess.run(command, check=True)
        samples, rate = soundfile.read(file, dtype="float32")
    samples = np.asarray(soxr.resample(samples, rate, clip.rate))
    if clip.telephone:
        samples = telephone_band(samples, clip.rate)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return np.asarray(samples * (PEAK / np.abs(samples).max()), dtype=np.float32)


def telephone_band(samples: Samples, rate: int) -> Samples:
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    return np.asarray(np.fft.irfft(spectrum, len(samples)), dtype=np.float32)


def silence(seconds: float, rate: int) -> Samples:
    return np.zeros(round(seconds * rate), np.float32)


def cut(samples: Samples) -> list[Samples]:
    """The clip with less silence around it, as an endpointer may cut it: the words must not depend on that."""
    starts, ends = np.arange(0, 0.4, 0.05), (0, 0.1, 0.2)
    return [
        samples[round(start * SAMPLE_RATE) : len(samples) - round(end * SAMPLE_RATE)]
        for start in starts
        for end in ends
    ]


def load_nemo() -> Any:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel

    model = EncDecHybridRNNTCTCBPEModel.restore_from(str(MODEL), map_location="cpu").eval()
    model.preprocessor.featurizer.dither = 0.0
    return model


def heard(model: Any, clips: list[Samples]) -> Any:
    """NeMo's hypotheses with the decoder that the model is set to."""
    return model.transcribe(clips, batch_size=1, return_hypotheses=True, verbose=False)


def answers(model: Any, clips: list[Samples]) -> list[dict[str, Any]]:
    """Text, token ids and the encoder frame of each token, from NeMo's greedy TDT decoding."""
    return [
        {
            "text": hypothesis.text,
            "tokens": [int(token) for token in hypothesis.y_sequence],
            "frames": [int(frame) for frame in hypothesis.timestamp],
        }
        for hypothesis in heard(model, clips)
    ]


if __name__ == "__main__":
    sys.exit(main())
