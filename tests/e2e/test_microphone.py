"""The microphone of a real daemon with the embedded model: a real sound server has one that we can speak into."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Clip
from commands import PARAKEETD, home, run, served
from live_load import listen
from microphone_watch import PATIENCE_SECONDS, TRIES, Watch, played, silence, spoken, watching
from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import read_audio
from parakeetd.dictation import Loudness
from parakeetd.library import load
from speech_load import Track
from virtual_sound import FORM, VirtualSound

LEAD_SECONDS = 0.11
"""From the start to the first word, at most: a tenth, and what a sound server may round up. And"""
LEAST_SECONDS = 0.07
"""what is less than that: a start that a slow machine gave too late proves nothing."""


async def test_shipped_clips_that_are_spoken_are_recognised_as_transcribe_does(
    sound: VirtualSound, socket: str, clips: dict[str, Clip], transcribed: dict[str, Any]
) -> None:
    """One of them is heard in two ways by the model, by where its samples lie in a frame, which is chance at a
    microphone. Of that one both are right, and what they are a stream of the same samples tells."""
    chosen: dict[str, set[str]] = {}
    for name, clip in clips.items():
        chosen[name] = await _heard_when_moved(socket, await asyncio.to_thread(read_audio, clip.path))
        assert transcribed[name]["text"] in chosen[name], name
    assert sum(len(texts) == 1 for texts in chosen.values()) >= len(clips) - 1, chosen
    async with watching(socket) as watch:
        for name, clip in clips.items():
            samples = await asyncio.to_thread(read_audio, clip.path)
            assert await spoken(watch, sound, samples) in chosen[name], name
        assert any(
            isinstance(event, Loudness) and -60 < event.level.rms < 0 < event.level.peak + 60
            for _, event in watch.events
        )


async def _heard_when_moved(address: str, samples: Samples) -> set[str]:
    """What the daemon says of these samples in a stream, whichever of 80 ms the speech begins in."""
    texts = set()
    for by in range(0, 80, 2):
        moved = np.concatenate([silence(0.5 + by / 1000), samples, silence(0.3)])
        heard = await listen(address, Track(moved, ()), interim=False, chunk_seconds=0.1, pace=0)
        texts.add(" ".join(said.text for said in heard.results if said.final).strip())
    return texts


async def test_the_first_word_is_whole_when_speech_begins_right_after_the_start(
    sound: VirtualSound, socket: str, clips: dict[str, Clip], transcribed: dict[str, Any]
) -> None:
    clip = clips["digits"]
    samples = await asyncio.to_thread(read_audio, clip.path)
    speech = samples[round(clip.utterances[0].start * SAMPLE_RATE) :]
    async with watching(socket) as watch:
        leads: list[float] = []
        while not any(LEAST_SECONDS <= lead <= LEAD_SECONDS for lead in leads):
            assert len(leads) < TRIES, (
                f"the machine is too slow: speech began so long after the start: {leads}"
            )
            begin = len(watch.events)
            leads.append(await _start_before(watch, sound, speech))
            await watch.microphone.stop()
            await watch.phase("idle", begin)
            if leads[-1] >= LEAST_SECONDS:
                assert watch.text(begin) == transcribed["digits"]["text"], leads


async def _start_before(watch: Watch, sound: VirtualSound, speech: Samples) -> float:
    """Start, and speak at most `LEAD_SECONDS` later, if the machine is quick enough; how much later it was.

    A click, far too soft to be heard, comes before the speech. A second recorder waits for it to give the sign.
    """
    before = 0.09
    track = np.concatenate(
        [silence(0.5), np.full(16, 2 / 32767, np.float32), silence(before), speech, silence(0.3)]
    )
    recorder = await asyncio.create_subprocess_exec(
        "parec", *FORM, "--latency-msec=10", "--device=mic",
        env=sound.env, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert recorder.stdout is not None
    await recorder.stdout.read(320)
    playing = asyncio.create_task(played(sound, track))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(await recorder.stdout.read(320)):
                pass
            began = time.monotonic()
            starting = asyncio.create_task(watch.microphone.start())
            while np.abs(np.frombuffer(await recorder.stdout.readexactly(320), "<i2")).max() <= 2:
                pass
            lead = time.monotonic() - began
            await starting
            await playing
    finally:
        recorder.kill()
        await recorder.wait()
    return lead


async def test_recordings_that_are_spoken_are_recognised_as_transcribe_does(
    sound: VirtualSound, socket: str, speech: Path
) -> None:
    """Where the samples of a recording lie in those of the microphone is chance. Recordings whose text changes when
    they are moved by less than a frame say nothing here, and are left out."""
    files = sorted((speech / "an4" / "test").glob("*.flac"))[:12]
    if not files:
        pytest.skip(f"no recordings in {speech}/an4/test")
    wanted: dict[Path, str] = {}
    with load("demo") as model:
        for file in files:
            samples = await asyncio.to_thread(read_audio, file)
            moved = [np.concatenate([silence(0.3), np.zeros(by, np.float32), samples, silence(0.3)])
                     for by in range(0, 320, 40)]  # fmt: skip
            texts = {(await asyncio.to_thread(model.transcribe, one, SAMPLE_RATE)).text for one in moved}
            if len(texts) == 1:
                wanted[file] = texts.pop()
    assert len(wanted) >= len(files) / 2
    async with watching(socket) as watch:
        for file, text in wanted.items():
            assert await spoken(watch, sound, await asyncio.to_thread(read_audio, file)) == text, file


async def test_the_commands_switch_the_microphone_and_say_how_it_stands(
    sound: VirtualSound, socket: str, tmp_path: Path
) -> None:
    env = home(tmp_path) | sound.env

    async def said(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(run, *arguments, "--socket", socket, env=env)
        return done.code, (done.out + done.err).strip()

    assert await said("start", "--device", "mic-for") == (0, "listening: mic-for-tests")
    assert await said("toggle") == (0, "closed")
    assert await said("toggle") == (0, "listening: mic-for-tests")
    assert await said("cancel") == (0, "closed")
    assert await said("stop") == (0, "closed")
    assert await said("start", "--device", "studio") == (
        1,
        "parakeetd: microphone 'studio' is not plugged in; there is: mic",
    )


async def test_listen_in_a_pipe_prints_each_utterance_and_ends_with_the_last_at_ctrl_c(
    sound: VirtualSound, socket: str, clips: dict[str, Clip], transcribed: dict[str, Any], tmp_path: Path
) -> None:
    env = home(tmp_path) | sound.env
    samples = await asyncio.to_thread(read_audio, clips["pauses"].path)
    async with watching(socket) as watch:
        listening = await asyncio.create_subprocess_exec(
            *PARAKEETD, "listen", "--socket", socket, env=env, stdout=asyncio.subprocess.PIPE
        )
        try:
            await watch.phase("listening", 0)
            # The last utterance is still open when the key is pressed.
            await played(sound, np.concatenate([silence(0.3), samples]))
            listening.send_signal(signal.SIGINT)
            out, _ = await asyncio.wait_for(listening.communicate(), PATIENCE_SECONDS)
        finally:
            if listening.returncode is None:
                listening.kill()
        await watch.phase("idle", len(watch.events) - 1)
    assert listening.returncode == 0
    assert out.decode().splitlines() == [segment["text"] for segment in transcribed["pauses"]["segments"]]


async def test_a_daemon_that_is_told_to_end_tells_the_last_words_first(
    sound: VirtualSound, clips: dict[str, Clip], transcribed: dict[str, Any], tmp_path: Path
) -> None:
    samples = await asyncio.to_thread(read_audio, clips["digits"].path)
    address, env = f"unix:{sound.folder}/other.sock", home(tmp_path) | sound.env
    with served("--model", "demo", "--listen", address, env=env) as daemon:
        async with watching(address) as watch:
            begin = len(watch.events)
            await watch.microphone.start()
            await played(sound, np.concatenate([silence(0.3), samples]))
            code = await asyncio.to_thread(daemon.end)
            assert (code, watch.text(begin)) == (0, transcribed["digits"]["text"])
    assert sound.control("list", "short", "source-outputs").count("protocol-native") == 0
