"""What a client sees of a live stream: utterances with known ends go in at the pace of speech, figures come out."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np

import speech_servers
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio
from speech_load import RATE, Floats, Spoken, Track, sent_with, shipped_pieces
from speech_servers import until

FRAME = RATE // 100
VOICED_DB = 35.0
"""What is within this of a recording's loudest 10 ms is speech."""


def voiced(samples: Floats) -> Floats:
    """A recording from its first sound to its last one, by energy alone."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12)
    loud = np.flatnonzero(level > max(level.max() - VOICED_DB, np.percentile(level, 5) + 8))
    return samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def utterances(speech: Path, clips: Path) -> list[tuple[str, Floats]]:
    """Utterances cut to their first and last sound: the recordings of commands and digits when they are there, the
    shipped clips otherwise."""
    from parakeetd.audio.sources.file import read_audio

    manifest = speech / "manifest.jsonl"
    lines = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
    rows = [row for row in map(json.loads, lines) if row["file"].startswith(("an4/test/", "digits/"))]
    if rows:
        # Mixed, so that any part of them has both kinds and all speakers.
        order = np.random.default_rng(2).permutation(len(rows))
        chosen = [rows[i] for i in order]
        return [(row["transcript"].lower(), voiced(read_audio(speech / row["file"]))) for row in chosen]
    return [(text, voiced(samples)) for text, samples in shipped_pieces(clips)]


@dataclass(frozen=True)
class Said:
    """One result, as it was received."""

    at: float
    """Seconds since the first sample was spoken."""
    text: str
    final: bool
    stability: float
    audio: float
    """Seconds of audio that it was made of."""


@dataclass
class Heard:
    results: list[Said] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """Seconds by which each message left too late."""


@contextmanager
def daemon(*options: str) -> Iterator[tuple[str, int]]:
    """`parakeetd serve` on a free port with a home of its own: its address and process."""
    with (
        tempfile.TemporaryDirectory(prefix="parakeetd-live-") as home,
        speech_servers.daemon(sys.executable, options, home) as served,
    ):
        yield served


async def listen(
    address: str,
    track: Track,
    *,
    interim: bool,
    stop_history: int | None = None,
    chunk_seconds: float = 0.02,
    pace: float = 1.0,
) -> Heard:
    """Stream a track and hear all that the daemon says to it.

    Args:
        pace: times the speed of speech; 0 for as fast as it is taken.
    """
    clock = asyncio.get_running_loop()
    heard = Heard()
    begin = clock.time() + 0.2
    endpointing = asr.EndpointingConfig(stop_history=stop_history) if stop_history else None
    config = asr.StreamingRecognitionConfig(
        config=asr.RecognitionConfig(
            encoding=audio.LINEAR_PCM,
            sample_rate_hertz=RATE,
            audio_channel_count=1,
            enable_word_time_offsets=True,
            endpointing_config=endpointing,
        ),
        interim_results=interim,
    )

    async def requests() -> AsyncIterator[asr.StreamingRecognizeRequest]:
        yield asr.StreamingRecognizeRequest(streaming_config=config)
        size = round(chunk_seconds * RATE)
        for at in range(0, len(track.samples), size):
            pcm = np.round(np.clip(track.samples[at : at + size], -1, 1) * 32767).astype("<i2").tobytes()
            if pace:
                heard.late.append(await until(begin + (at + size) / RATE / pace))
            yield asr.StreamingRecognizeRequest(audio_content=pcm)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        call = stub.StreamingRecognize(requests())
        async for response in call:
            for item in response.results:
                heard.results.append(
                    Said(
                        clock.time() - begin,
                        item.alternatives[0].transcript.strip(),
                        item.is_final,
                        item.stability,
                        item.audio_processed,
                    )
                )
    return heard


def after_the_end(spoken: Sequence[Spoken], results: Sequence[Said], chunk_seconds: float) -> list[float]:
    """For each utterance with a final the seconds from its last sound, when that is sent, to its last final."""
    found = []
    for i, item in enumerate(spoken):
        until_next = spoken[i + 1].start if i + 1 < len(spoken) else float("inf")
        finals = [said.at for said in results if said.final and item.end <= said.at < until_next]
        if finals:
            found.append(finals[-1] - sent_with(item.end, chunk_seconds))
    return found


def after_the_onset(spoken: Sequence[Spoken], results: Sequence[Said], chunk_seconds: float) -> list[float]:
    """For each utterance with text the seconds from its first sound to the first text."""
    found = []
    for i, item in enumerate(spoken):
        until_next = spoken[i + 1].start if i + 1 < len(spoken) else float("inf")
        first = next((said.at for said in results if item.start <= said.at < until_next), None)
        if first is not None:
            found.append(first - sent_with(item.start, chunk_seconds))
    return found


def between_interims(spoken: Sequence[Spoken], results: Sequence[Said]) -> list[float]:
    """Seconds of new audio from one interim to the next, within the same utterance."""
    found = []
    for item in spoken:
        inside = [said.audio for said in results if not said.final and item.start <= said.audio <= item.end]
        found += [later - earlier for earlier, later in pairwise(inside)]
    return found


@dataclass(frozen=True)
class Stable:
    """Words that were told as stable, and what became of them."""

    told: int
    taken_back: int
    """By a later interim of the same utterance."""
    changed: int
    """In the final."""


def stable_words(results: Sequence[Said]) -> Stable:
    """Interims up to a final are of its segment; their stability is the stable share of their words."""
    told = taken_back = changed = 0
    stable: list[str] = []
    for said in results:
        words = said.text.split()
        if said.final:
            blocks = SequenceMatcher(None, stable, words, autojunk=False).get_matching_blocks()
            told += len(stable)
            changed += len(stable) - sum(block.size for block in blocks)
            stable = []
        elif said.stability < 1:
            taken_back += sum(a != b for a, b in zip(stable, words, strict=False))
            taken_back += max(0, len(stable) - len(words))
            stable = max(stable, words[: round(said.stability * len(words))], key=len)
    return Stable(told, taken_back, changed)
