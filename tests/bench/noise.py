"""Nothing from nothing: what is recognised in noise without and with the confirmation of speech, and in noisy speech.

    python tests/bench/noise.py [--minutes 10] [--seed 1] [--clips 60] [--speech DIR] [--only KIND,KIND] [--no-server]

Makes minutes of silence, white and pink noise, mains hum, a keyboard, tones like music and a fan from a seed; adds the
recordings of noise in DIR/noise and DIR/noise_made, one after another; cuts and recognises each without and with the
confirmation. Then each goes through the real server as a stream, with interim results. Then clips of speech
are mixed with each noise at 20, 10 and 5 dB, with two seconds of noise around them: word error rates without and with.

Exit code 1 when a character came from noise with the confirmation, or when it costs noisy speech words: a word error
rate over all mixtures more than half a point above that without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import parakeetd
from commands import home, served
from noises import KINDS
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.vad import ConfirmerName
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio
from utterances import SPEECH, Utterance, mixed, recorded, word_errors

SNRS_DB = (20, 10, 5)
AROUND_SECONDS = 2.0
MAX_WORSE = 0.5
"""Points of word error rate over all mixtures."""
CONFIRMERS: tuple[ConfirmerName, ConfirmerName] = ("off", "silero")


def recorded_noise(folder: Path) -> Samples | None:
    """The recordings in which nobody speaks, each five times with a second of silence after it."""
    if not (folder / "manifest.jsonl").is_file():
        return None
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    files = [row["file"] for row in rows if row["file"].startswith("noise") and row["transcript"] == ""]
    pause = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([part for file in files for part in 5 * [read_audio(folder / file), pause]])


def from_noise(model: parakeetd.Model, noises: dict[str, Samples]) -> int:
    """Print what each noise gives; the characters that came although they were to be confirmed."""
    print(
        f"\n{'noise':12} {'minutes':>8} {'characters':>11} {'confirmed':>10} {'cut+recognise':>14}",
        flush=True,
    )
    total = 0
    for name, samples in noises.items():
        begun = time.monotonic()
        texts = [model.transcribe(samples, confirm=confirm).text for confirm in CONFIRMERS]
        minutes = len(samples) / SAMPLE_RATE / 60
        print(
            f"{name:12} {minutes:8.1f} {len(texts[0]):11} {len(texts[1]):10} {time.monotonic() - begun:12.1f} s"
            + (f"   {texts[1]!r}" if texts[1] else ""),
            flush=True,
        )
        total += len(texts[1])
    return total


def through_the_server(noises: dict[str, Samples]) -> int:
    """Characters of all results, interim ones too, of the real daemon as it is by default."""

    def requests(samples: Samples) -> Iterator[asr.StreamingRecognizeRequest]:
        pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        config = asr.RecognitionConfig(encoding=audio.LINEAR_PCM, sample_rate_hertz=SAMPLE_RATE)
        yield asr.StreamingRecognizeRequest(
            streaming_config=asr.StreamingRecognitionConfig(config=config, interim_results=True)
        )
        for at in range(0, len(pcm), 3200):
            yield asr.StreamingRecognizeRequest(audio_content=pcm[at : at + 3200])

    with (
        tempfile.TemporaryDirectory(prefix="parakeetd-noise-") as folder,
        served("--listen", "127.0.0.1:0", "--model", "demo", env=home(Path(folder)), seconds=900) as daemon,
        grpc.insecure_channel(daemon.addresses[0]) as channel,
    ):
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        texts = [
            result.alternatives[0].transcript
            for samples in noises.values()
            for answer in stub.StreamingRecognize(requests(samples))
            for result in answer.results
        ]
    return sum(len(text.strip()) for text in texts)


def noisy_speech(
    model: parakeetd.Model, utterances: list[Utterance], noises: dict[str, Samples], seed: int
) -> float:
    """Print word error rates; by how many points the confirmation is worse over all."""
    said: list[str] = []
    heard: dict[ConfirmerName, list[str]] = {confirm: [] for confirm in CONFIRMERS}
    print(f"\n{len(utterances)} clips\n{'noise':12} {'dB':>3} {'WER':>7} {'confirmed':>10}", flush=True)
    for name, noise in noises.items():
        rng = np.random.default_rng(seed)
        for snr in SNRS_DB if noise.any() else (99,):
            streams = []
            for utterance in utterances:
                wanted = len(utterance.samples) + round(2 * AROUND_SECONDS * SAMPLE_RATE)
                first = int(rng.integers(0, len(noise) - wanted))
                streams.append(mixed(utterance.samples, noise[first : first + wanted], snr))
            texts = [utterance.text for utterance in utterances]
            row = {
                confirm: [model.transcribe(stream, confirm=confirm).text for stream in streams]
                for confirm in CONFIRMERS
            }
            rates = [word_errors(texts, row[confirm]) for confirm in CONFIRMERS]
            print(f"{name:12} {snr:3} {rates[0]:7.2f} {rates[1]:10.2f}", flush=True)
            said += texts
            for confirm in CONFIRMERS:
                heard[confirm] += row[confirm]
    without, confirmed = (word_errors(said, heard[confirm]) for confirm in CONFIRMERS)
    print(f"{'all':12}     {without:7.2f} {confirmed:10.2f}")
    return confirmed - without


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each made noise (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--clips", type=int, default=60, help="of speech, evenly chosen (default: 60; 0: none)"
    )
    parser.add_argument("--only", default="", metavar="KIND,KIND", help=f"of {', '.join(KINDS)}, recorded")
    parser.add_argument("--speech", type=Path, default=SPEECH, metavar="DIR", help="recordings, when present")
    parser.add_argument("--model", default="demo", help="installed bundle (default: demo)")
    parser.add_argument("--no-server", action="store_true", help="leave the real server out")
    arguments = parser.parse_args()

    wanted = arguments.only.split(",") if arguments.only else [*KINDS, "recorded"]
    noises = {
        name: make(60 * arguments.minutes, np.random.default_rng([arguments.seed, number]))
        for number, (name, make) in enumerate(KINDS.items())
        if name in wanted
    }
    if "recorded" in wanted and (real := recorded_noise(arguments.speech)) is not None:
        noises["recorded"] = real
    with parakeetd.load(arguments.model, device="cpu") as model:
        characters = from_noise(model, noises)
        worse = 0.0
        if arguments.clips:
            utterances = recorded(arguments.speech, "an4/test", "digits")
            utterances = utterances[:: max(1, len(utterances) // arguments.clips)]
            worse = noisy_speech(model, utterances, noises, arguments.seed)
    if not arguments.no_server:
        served_characters = through_the_server(noises)
        minutes = sum(map(len, noises.values())) / SAMPLE_RATE / 60
        print(
            f"\nthrough the server with interim results, {minutes:.1f} minutes: {served_characters} characters"
        )
        characters += served_characters
    print(f"\ncharacters from noise, confirmed: {characters} (bar: 0)")
    print(f"noisy speech, confirmed: {worse:+.2f} points of word error rate (bar: at most +{MAX_WORSE})")
    return int(characters > 0 or worse > MAX_WORSE)


if __name__ == "__main__":
    sys.exit(main())
