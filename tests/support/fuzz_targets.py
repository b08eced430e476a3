"""What is fed with damaged input, and what each may raise: anything else is a mistake of the program.

A target takes bytes, so that a coverage-guided fuzzer can drive it as well. Its changes keep to the format of its input
where that leads deeper.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from mutations import mutated, mutated_tree
from parakeetd.audio import SAMPLE_RATE
from parakeetd.audio.sources.client import ClientAudio, Encoding
from parakeetd.audio.sources.file import read_audio
from parakeetd.config import Paths, read_config
from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import EMBEDDED, MANIFEST, Bundle, find_bundle, installed_names
from parakeetd.model.external import external_locations
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.tokens import Vocabulary
from parakeetd.routing.calibration import Calibration, DeviceIdentity, Identity, Point
from parakeetd.routing.calibration_file import read_calibration, write_calibration
from parakeetd.rpc import wire
from parakeetd.text import read_tables
from parakeetd.text.tables import SHIPPED_COMMANDS, SHIPPED_PROFANITY
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_audio_pb2 as audio
from wavs import chunk, extensible, fmt, wav


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    """Good input."""
    run: Callable[[bytes], None]
    allowed: tuple[type[Exception], ...] = (ParakeetError,)
    """What it says of input that is not good."""
    change: Callable[[bytes, Sequence[bytes], Random], bytes] = mutated

    def case(self, number: int, seed: int) -> bytes:
        """Damaged input, the same for the same number and seed."""
        random = Random(f"{seed} {self.name} {number}")
        seeds = self.seeds()
        return self.change(random.choice(seeds), seeds, random)

    def holds(self, data: bytes) -> bool:
        """Feed it; whether the input was taken. Raises what must not be raised."""
        try:
            self.run(data)
        except self.allowed as error:
            if isinstance(error, ParakeetError) and len(str(error).splitlines()) != 1:
                raise AssertionError(f"the error is not one line: {str(error)!r}") from error
            return False
        return True


_FOLDER = tempfile.TemporaryDirectory(prefix="parakeetd-fuzz-")
"""Where targets that read files put them; goes with the process."""


def _file(name: str, data: bytes) -> Path:
    path = Path(_FOLDER.name, name)
    path.write_bytes(data)
    return path


def _some_audio(seconds: float = 0.1) -> np.ndarray[Any, np.dtype[np.float64]]:
    return 0.3 * np.sin(np.arange(round(seconds * SAMPLE_RATE)) / 7)


def _encoded(kind: str, subtype: str | None = None, *, rate: int = SAMPLE_RATE, channels: int = 1) -> bytes:
    made = io.BytesIO()
    samples = np.stack([_some_audio()] * channels, axis=1)
    soundfile.write(made, samples, rate, format=kind, subtype=subtype)
    return made.getvalue()


def audio_files() -> list[bytes]:
    """Short files of every kind that can be streamed."""
    pcm = (_some_audio() * 32767).astype("<i2").tobytes()
    made = [
        _encoded("WAV", kind)
        for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    ]
    made += [
        _encoded("WAV", "PCM_16", rate=44_100, channels=2),
        _encoded("WAV", "IMA_ADPCM"),
        _encoded("RF64"),
    ]
    made += [_encoded("FLAC", kind) for kind in ("PCM_S8", "PCM_16", "PCM_24")]
    made += [
        _encoded("FLAC", "PCM_16", rate=48_000, channels=2),
        _encoded("OGG", "VORBIS"),
        _encoded("OGG", "OPUS"),
    ]
    made += [_encoded("MP3"), _encoded("AIFF")]
    made += [
        wav(chunk(b"LIST", b"x" * 21), fmt(1, 1, 16_000, 16), chunk(b"data", pcm, size=0xFFFFFFFF)),
        wav(fmt(1, 1, 16_000, 16, order=">"), chunk(b"data", pcm, order=">"), magic=b"RIFX"),
        wav(extensible(1, 6, 48_000, 32, 24), chunk(b"data", pcm)),
    ]
    return made


def _files() -> list[bytes]:
    return [*audio_files(), _encoded("AU"), _encoded("CAF")]


# What is declared of a stream: encoding, rate, channels, and the size of its pieces.
_DECLARED = struct.Struct("<BIbH")


def _streams() -> list[bytes]:
    pcm = (_some_audio() * 32767).astype("<i2").tobytes()
    encodings = list(Encoding)
    raw = [
        _DECLARED.pack(encodings.index(encoding), rate, channels, 640) + pcm
        for encoding in (Encoding.LINEAR_PCM, Encoding.FLOAT32, Encoding.MULAW, Encoding.ALAW)
        for rate, channels in ((16_000, 1), (44_100, 2), (8_000, 8))
    ]
    return raw + [_DECLARED.pack(0, 0, 0, 3200) + file for file in audio_files()]


def _run_stream(data: bytes) -> None:
    """A stream of what is declared in the first bytes and sent in the others."""
    data = data.ljust(_DECLARED.size, b"\0")
    encoding, rate, channels, size = _DECLARED.unpack_from(data)
    client = ClientAudio(
        list(Encoding)[encoding % len(Encoding)],
        rate,
        channels,
        max_container_seconds=60,
        max_container_bytes=1 << 20,
    )
    sent = data[_DECLARED.size :]
    heard = 0
    for at in range(0, len(sent), max(1, size)):
        samples = client.feed(sent[at : at + max(1, size)])
        heard += len(samples)
        _check_samples(samples)
    tail = client.finish()
    _check_samples(tail)
    if not heard + len(tail):
        raise AssertionError("a stream without a sample was taken")


def _check_samples(samples: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    if samples.dtype != np.float32 or samples.ndim != 1 or not np.isfinite(samples).all():
        raise AssertionError(f"not mono float32 samples: {samples.dtype} {samples.shape}")


def _run_file(data: bytes) -> None:
    _check_samples(read_audio(_file("audio", data)))


_PATHS = Paths(Path("/none/config.toml"), Path("/none/models"), Path("/none/calibration"), None)


def _run_config(data: bytes) -> None:
    read = read_config(_file("config.toml", data), _PATHS)
    # What was accepted can be used.
    read.sessions.cutter()


def _toml(value: Any) -> str:
    """A value as TOML writes it; what has no form there becomes a text."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml(str(key))} = {_toml(item)}' for key, item in value.items())}}}"
        case _:
            return '"none"'


def _config_tree() -> dict[str, Any]:
    """Every setting with its default, or a number where that is none."""
    from parakeetd.config import Config

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return 1 if value is None else value

    tree: dict[str, Any] = plain(Config())
    tree["server"]["listen"] = ["127.0.0.1:50051", "unix:/run/parakeetd.sock"]
    return tree


def _configs() -> list[bytes]:
    tree = _config_tree()
    whole = "\n".join(f"{table} = {_toml(values)}" for table, values in tree.items())
    lines = [
        line
        for table, values in tree.items()
        for line in (f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items()))
    ]
    return [
        whole.encode(),
        "\n".join(lines).encode(),
        b"[limits]\nmax_streams = 4\n[text]\ncommands = true\n",
        b"",
    ]


def _change_config(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    if random.random() < 0.4:
        return mutated(data, others, random)
    tree = mutated_tree(_config_tree(), random)
    if not isinstance(tree, dict):
        return _toml(tree).encode()
    return "\n".join(f"{_toml(key)} = {_toml(value)}" for key, value in tree.items()).encode()


def _run_commands(data: bytes) -> None:
    read_tables(commands=_file("commands.toml", data))


def _run_profanity(data: bytes) -> None:
    read_tables(profanity=_file("profanity.txt", data)).profanity.starred("seven!")


def _calibrations() -> list[bytes]:
    devices = (DeviceIdentity("cpu", "fp32", 2), DeviceIdentity("cuda", "fp16", hardware="a card"))
    identity = Identity("a processor", 2, 8, "1.31.1", "0.1.0", "demo", "0" * 64, devices)
    points = (
        Point("cpu", 1.0, 1, 0.1),
        Point("cpu", 4.0, 1, 0.3),
        Point("cuda", 1.0, 1, 0.2),
        Point("cuda", 4.0, 2, 0.2),
    )
    made = Calibration(identity, points, "2026-01-01T00:00:00+00:00")
    path = Path(_FOLDER.name, "calibration.json")
    write_calibration(path, made)
    return [path.read_bytes()]


def _run_calibration(data: bytes) -> None:
    table = read_calibration(_file("calibration.json", data))
    if table is not None:
        for device in table.devices:
            predicted = [table.predict(device, seconds) for seconds in (0.01, 2.0, 1000.0)]
            if not np.isfinite(predicted).all():
                raise AssertionError(f"a table predicts {predicted}")
        table.crossover()


def _change_json(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    if random.random() < 0.3:
        return mutated(data, others, random)
    return json.dumps(mutated_tree(json.loads(data), random)).encode()


def _bundle_folder() -> Path:
    """A bundle whose manifest may be replaced; its files are the embedded model's."""
    folder = Path(_FOLDER.name, "models", "mine")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for file in EMBEDDED.iterdir():
            if file.name != MANIFEST:
                shutil.copy(file, folder / file.name)
    return folder


def _manifests() -> list[bytes]:
    return [(EMBEDDED / MANIFEST).read_bytes()]


def _run_manifest(data: bytes) -> None:
    """All that is done with a manifest before graphs are opened."""
    folder = _bundle_folder()
    (folder / MANIFEST).write_bytes(data)
    installed_names(folder.parent)
    bundle = find_bundle(folder.name, folder.parent)
    for device in ("cpu", "cuda"):
        bundle.choice(device, bundle.precision_for(device))
    _ = bundle.bytes_on_disk, bundle.manifest.architecture.frame_seconds


def _run_bundle(data: bytes) -> None:
    """Open a bundle with this manifest and recognise with it."""
    folder = _bundle_folder()
    (folder / MANIFEST).write_bytes(data)
    recognizer = Recognizer.open(Bundle.read(folder), threads=1)
    recognizer.recognize([_some_audio(0.5).astype(np.float32)])


def _run_graph(data: bytes) -> None:
    external_locations(_file("graph.onnx", data))


def _graphs() -> list[bytes]:
    # Small ones, the last with graphs inside graphs. All keep their weights in another file.
    names = ("joint-model.onnx", "projection-model.onnx", "prediction-model.onnx", "greedy-model.onnx")
    return [(EMBEDDED / name).read_bytes() for name in names]


def _tokens() -> list[bytes]:
    return [(EMBEDDED / "tokens.txt").read_bytes()]


def _run_tokens(data: bytes) -> None:
    vocabulary = Vocabulary.read(_file("tokens.txt", data))
    vocabulary.text(range(vocabulary.blank))
    _ = vocabulary.has_punctuation


def full_config() -> asr.RecognitionConfig:
    """A configuration with every field set."""
    config = asr.RecognitionConfig(
        encoding=audio.LINEAR_PCM,
        sample_rate_hertz=16_000,
        language_code="en-US",
        max_alternatives=3,
        profanity_filter=True,
        model="demo",
        audio_channel_count=1,
        enable_word_time_offsets=True,
        enable_automatic_punctuation=True,
        verbatim_transcripts=True,
        endpointing_config=asr.EndpointingConfig(
            start_history=200, start_threshold=0.5, stop_history=500, stop_threshold=0.9, stop_history_eou=240
        ),
        speech_contexts=[asr.SpeechContext(phrases=["seven", "erase", "o h"], boost=4.0)],
    )
    config.custom_configuration.update({"decoder": "ctc", "early_end_ms": "300", "spoken_commands": "true"})
    return config


def messages() -> list[bytes]:
    """First messages of a stream."""
    whole = asr.StreamingRecognitionConfig(config=full_config(), interim_results=True)
    plain = asr.StreamingRecognitionConfig(
        config=asr.RecognitionConfig(
            encoding=audio.LINEAR_PCM, sample_rate_hertz=16_000, audio_channel_count=1
        )
    )
    return [
        asr.StreamingRecognizeRequest(streaming_config=config).SerializeToString()
        for config in (whole, plain)
    ]


def _run_message(data: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        request = asr.StreamingRecognizeRequest.FromString(data)
    except DecodeError:
        return
    options = wire.read_first(request)
    ClientAudio(options.encoding, options.sample_rate, options.channels)
    options.endpointing.applied(Segmentation(), first_pass=options.interim)


TARGETS = (
    Target("streams", _streams, _run_stream),
    Target("files", _files, _run_file),
    Target("configs", _configs, _run_config, change=_change_config),
    Target("commands", lambda: [SHIPPED_COMMANDS.read_bytes()], _run_commands),
    Target("profanity", lambda: [SHIPPED_PROFANITY.read_bytes()[:2000]], _run_profanity),
    Target("calibrations", _calibrations, _run_calibration, change=_change_json),
    Target("manifests", _manifests, _run_manifest, change=_change_json),
    Target("graphs", _graphs, _run_graph, allowed=(ValueError,)),
    Target("tokens", _tokens, _run_tokens),
    Target("messages", messages, _run_message),
    Target("bundles", _manifests, _run_bundle, change=_change_json),
)
"""By how deep they lie; the last one opens a model for each input."""


def target(name: str) -> Target:
    return next(found for found in TARGETS if found.name == name)
