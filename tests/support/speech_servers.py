"""The servers of the stream benchmark: how each is started, and how a client of it sends a track at its own pace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np

from measuring import ROOT
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from parakeetd_proto import riva_audio_pb2 as audio
from speech_load import RATE, Final, Floats, Spoken, Track, sent_with
from websocket import WebSocket

PRE_ROLL, TRAILING_PAD = 0.3, 0.6
"""Seconds around an utterance that sherpa-onnx gets with it: as much as the daemon gives its own model."""


@dataclass(frozen=True)
class Options:
    """Of a run; times in seconds."""

    seconds: float
    """That each stream lasts."""
    chunk: float
    """Of audio in a message."""
    end_silence: float
    """That ends an utterance."""
    silent_seconds: float
    max_streams: int
    interim: bool
    precision: str
    python: Path
    sherpa: Path
    sherpa_options: Sequence[str]
    cpu_process: bool = False
    """The daemon computes in a process of its own."""
    detection: Detection | None = None
    """For a second run of sherpa-onnx's server, with its detectors beside it."""


SHERPA_OPTIONS = "--num-work-threads=2 --num-threads=1 --max-batch-size=5"
"""Of sherpa-onnx's server, for two cores."""


@dataclass
class Stream:
    """What one client got."""

    finals: list[Final]
    late: list[float]
    """Seconds by which each message left too late."""
    failure: str = ""


@dataclass
class Helper:
    """A process whose work is the server's."""

    pid: int
    late_p99: float = 0.0
    """Seconds by which it fell behind; known when it has ended."""


class Server(Protocol):
    """A running server, and a client of it."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def helpers(self, streams: int, track: Track) -> AbstractContextManager[list[Helper]]:
        """What runs beside the server for so many streams."""
        ...

    async def stream(self, track: Track, begin: float, chunk_seconds: float) -> Stream:
        """Send a track from the moment `begin` of the loop's clock, and hear all that it says to it."""
        ...


def children(pid: int) -> list[int]:
    """The processes that a process has begun and that run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in Path(task, "children").read_text().split()]


async def until(moment: float) -> float:
    """Sleep until a moment of the loop's clock; by how much it is past when this returns."""
    clock = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, moment - clock.time()))
    return clock.time() - moment


@dataclass
class Parakeetd:
    """The daemon, by Riva's protocol."""

    address: str
    pid: int
    interim: bool = False
    end_silence: float = 0.8
    name: str = "parakeetd"

    @contextmanager
    def helpers(self, _streams: int, _track: Track) -> Iterator[list[Helper]]:
        """The processes in which it computes; it detects speech itself."""
        yield [Helper(pid) for pid in children(self.pid)]

    async def stream(self, track: Track, begin: float, chunk_seconds: float) -> Stream:
        clock = asyncio.get_running_loop()
        got = Stream([], [])
        # A client's connection is its own: channels of one process share one otherwise.
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
            call = stub.StreamingRecognize(self._requests(track, begin, chunk_seconds, got.late))
            try:
                async for response in call:
                    now = clock.time()
                    for result in response.results:
                        said = result.alternatives[0]
                        if result.is_final and said.words:
                            start, end = said.words[0].start_time / 1e3, said.words[-1].end_time / 1e3
                            got.finals.append(Final(now, start, end, said.transcript.strip()))
            except grpc.aio.AioRpcError as error:
                got.failure = f"{error.code().name}: {error.details()}"
        return got

    async def _requests(
        self, track: Track, begin: float, chunk_seconds: float, late: list[float]
    ) -> AsyncIterator[asr.StreamingRecognizeRequest]:
        yield asr.StreamingRecognizeRequest(
            streaming_config=asr.StreamingRecognitionConfig(config=CONFIG, interim_results=self.interim)
        )
        size = round(chunk_seconds * RATE)
        for at in range(0, len(track.samples), size):
            chunk = track.samples[at : at + size]
            message = asr.StreamingRecognizeRequest(audio_content=pcm(chunk))
            late.append(await until(begin + (at + size) / RATE))
            yield message


@dataclass
class ParakeetdUtterances(Parakeetd):
    """The daemon under the conditions of sherpa-onnx's server: its client says what an utterance is."""

    name: str = "parakeetd, utterances"

    async def stream(self, track: Track, begin: float, chunk_seconds: float) -> Stream:
        clock = asyncio.get_running_loop()
        got = Stream([], [])

        async def ask(spoken: Spoken) -> None:
            request = asr.RecognizeRequest(config=CONFIG, audio=pcm(with_silence(track, spoken)))
            try:
                response = await stub.Recognize(request)
            except grpc.aio.AioRpcError as error:
                got.failure = f"{error.code().name}: {error.details()}"
                return
            said = " ".join(result.alternatives[0].transcript.strip() for result in response.results)
            got.finals.append(Final(clock.time(), spoken.start, spoken.end, said))

        options = (("grpc.use_local_subchannel_pool", 1),)
        async with (
            grpc.aio.insecure_channel(self.address, options=options) as channel,
            asyncio.TaskGroup() as tasks,
        ):
            stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
            for spoken in track.spoken:
                end_known = begin + sent_with(spoken.end + self.end_silence, chunk_seconds)
                got.late.append(await until(end_known))
                tasks.create_task(ask(spoken))
        return got


CONFIG = asr.RecognitionConfig(
    encoding=audio.LINEAR_PCM, sample_rate_hertz=RATE, audio_channel_count=1, enable_word_time_offsets=True
)


def pcm(samples: Floats) -> bytes:
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def with_silence(track: Track, spoken: Spoken) -> Floats:
    """An utterance with what comes before and after it."""
    first = max(0, round((spoken.start - PRE_ROLL) * RATE))
    return track.samples[first : round((spoken.end + TRAILING_PAD) * RATE)]


@dataclass(frozen=True)
class Detection:
    """sherpa-onnx's voice-activity detection."""

    python: Path
    """Of its environment."""
    script: Path
    model: Path
    chunk_seconds: float

    def start(self, track: Path, streams: int) -> subprocess.Popen[str]:
        arguments = [str(self.model), str(track), str(streams), str(self.chunk_seconds)]
        command = [str(self.python), str(self.script), *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def detection(sherpa: Path, model: Path, chunk_seconds: float) -> Detection:
    """By the library beside this server, with Silero's model."""
    script = ROOT / "tests/bench/streams_vad.py"
    return Detection(sherpa.with_name("python"), script, model.resolve(), chunk_seconds)


@dataclass
class Sherpa:
    """sherpa-onnx's offline server: a message is an utterance."""

    port: int
    pid: int
    end_silence: float
    detection: Detection | None = None
    name: str = "sherpa-onnx"

    @contextmanager
    def helpers(self, streams: int, track: Track) -> Iterator[list[Helper]]:
        """Its voice-activity detectors, up to a hundred in a process."""
        if self.detection is None:
            yield []
            return
        with tempfile.TemporaryDirectory(prefix="parakeetd-streams-") as folder:
            file = Path(folder, "track.npy")
            np.save(file, track.samples)
            count = math.ceil(streams / 100)
            shares = [streams // count + (number < streams % count) for number in range(count)]
            processes = [self.detection.start(file, share) for share in shares]
            helpers = [Helper(process.pid) for process in processes]
            for process in processes:
                if process.stdin is None or process.stdout is None or process.stdout.readline() != "ready\n":
                    raise SystemExit(f"sherpa-onnx cannot detect speech with {self.detection.model}")
            for process in processes:
                if process.stdin is not None:
                    process.stdin.write("begin\n")
                    process.stdin.flush()
            yield helpers
            for process, helper in zip(processes, helpers, strict=True):
                said, _ = process.communicate()
                helper.late_p99 = float(said)

    async def stream(self, track: Track, begin: float, chunk_seconds: float) -> Stream:
        clock = asyncio.get_running_loop()
        got = Stream([], [])
        connection = await WebSocket.open("127.0.0.1", self.port)

        async def receive() -> None:
            for spoken in track.spoken:
                said = json.loads(await connection.receive())
                got.finals.append(Final(clock.time(), spoken.start, spoken.end, said["text"].strip()))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receive())
            for spoken in track.spoken:
                samples = with_silence(track, spoken)
                header = np.array([RATE, 4 * len(samples)], "<i4").tobytes()
                late = await until(begin + sent_with(spoken.end + self.end_silence, chunk_seconds))
                got.late.append(late)
                await connection.send(header + samples.astype("<f4").tobytes())
        await connection.close()
        return got


@contextmanager
def parakeetd(
    folder: Path, options: Options, *, made: type[Parakeetd] = Parakeetd, detector: str = "webrtc"
) -> Iterator[Parakeetd]:
    """The daemon with a model of `folder`, on a free port; ends with the block."""
    with tempfile.TemporaryDirectory(prefix="parakeetd-streams-") as home:
        config = Path(home, "config.toml")
        config.write_text(
            f"[limits]\nmax_streams = {options.max_streams}\nmax_connections = {options.max_streams}\n"
            f'[device]\nchoice = "cpu"\nprecision = "{options.precision}"\n'
            f"cpu_process = {str(options.cpu_process).lower()}\n"
            f'[vad]\ndetector = "{detector}"\n'
            f"[segmentation]\nend_silence_ms = {round(1000 * options.end_silence)}\n"
        )
        arguments = ["--config", str(config), "--models", str(folder / "models"), "--model", "peer"]
        with daemon(options.python, arguments, home) as (address, pid):
            yield made(address, pid, options.interim, options.end_silence)


@contextmanager
def parakeetd_utterances(folder: Path, options: Options) -> Iterator[Parakeetd]:
    """The same for a client that says what an utterance is: nothing is detected."""
    with parakeetd(folder, options, made=ParakeetdUtterances, detector="off") as server:
        yield server


@contextmanager
def daemon(python: str | Path, arguments: Sequence[str], home: str) -> Iterator[tuple[str, int]]:
    """`parakeetd serve` on a free port with this home: its address and process; ends with the block."""
    command = [str(python), "-m", "parakeetd.cli", "serve", *arguments, "--listen", "127.0.0.1:0"]
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment = inherited | {"HOME": home}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = ""
            for line in process.stderr or ():
                if line.startswith("listening on "):
                    address = line.removeprefix("listening on ").strip()
                if line.strip() == "ready":
                    break
            else:
                raise SystemExit("parakeetd did not start")
            # Its log must be read, or it blocks in writing.
            threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
            yield address, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def sherpa_with_detection(folder: Path, options: Options) -> Iterator[Sherpa]:
    """The same, and for each stream a detector of sherpa-onnx's, as a server for live streams needs."""
    with sherpa(folder, options) as server:
        server.detection, server.name = options.detection, "sherpa-onnx, VAD"
        yield server


@contextmanager
def sherpa(folder: Path, options: Options) -> Iterator[Sherpa]:
    """sherpa-onnx's server with the same model, on a free port; ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = folder / "sherpa"
    suffix = "" if options.precision == "fp32" else f".{options.precision}"
    parts = [f"--{name}={files / name}{suffix}.onnx" for name in ("encoder", "decoder", "joiner")]
    with tempfile.TemporaryDirectory(prefix="parakeetd-streams-") as home:
        command = [str(options.sherpa), *parts, f"--tokens={files / 'tokens.txt'}", f"--port={port}"]
        command += ["--model-type=nemo_transducer", f"--log-file={home}/log.txt", *options.sherpa_options]
        with (
            Path(home, "output.txt").open("w") as output,
            subprocess.Popen(command, stdout=output, stderr=output, cwd=home) as process,
        ):
            try:
                for _ in range(300):
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                        break
                    if process.poll() is not None:
                        raise SystemExit(f"sherpa-onnx: {Path(home, 'output.txt').read_text()[-500:]}")
                    time.sleep(0.1)
                yield Sherpa(port, process.pid, options.end_silence)
            finally:
                process.terminate()
                process.wait()
