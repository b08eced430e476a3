"""The Python API: load a model, transcribe files and arrays.

import parakeetd

with parakeetd.load("demo") as model:
    print(model.transcribe("speech.wav").text)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.audio.sources.file import audio_blocks, to_samples
from parakeetd.config import DeviceChoice, DeviceSettings, Paths, PrecisionChoice, default_model
from parakeetd.engines import open_devices
from parakeetd.errors import InputError
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import PRECISIONS, Bundle, find_bundle, installed_names
from parakeetd.model.decoding import DecodeOptions, Decoder, check_decoder, decoders_of, read_decoder
from parakeetd.model.phrases import read_boosts
from parakeetd.routing import Router
from parakeetd.session import Result, SessionSettings, recognize_blocks
from parakeetd.session.offline import MAX_UNDER_WAY
from parakeetd.text import Pen, Style, read_tables, taken_back
from parakeetd.vad import ConfirmerName, DetectorName, Segmentation

BLOCK_SECONDS = 5.0
"""Audio read from a file at a time."""


@dataclass(frozen=True, slots=True)
class Transcription:
    """A recording's text."""

    segments: tuple[Result, ...]
    """Segments with text, in order, times from the beginning of the recording."""
    model: str
    audio_seconds: float
    processing_seconds: float
    """Wall time, reading the file included."""
    between: str = " "
    """What is written between two segments; nothing with spoken commands, whose texts begin with what is due."""

    @property
    def text(self) -> str:
        return self.between.join(segment.text for segment in self.segments)


class Model(AbstractContextManager["Model"]):
    """A loaded model. `transcribe` may be called from several threads."""

    def __init__(self, bundle: Bundle, router: Router, biasing: Biasing) -> None:
        self.bundle = bundle
        self._router = router
        self._biasing = biasing

    @property
    def name(self) -> str:
        return self.bundle.name

    def transcribe(
        self,
        audio: str | PathLike[str] | NDArray[Any],
        sample_rate: int = SAMPLE_RATE,
        *,
        vad: DetectorName = "webrtc",
        confirm: ConfirmerName = "silero",
        decoder: Decoder = "tdt",
        boosts: Iterable[str | tuple[str, float]] = (),
        language: str = "",
        punctuation: bool = True,
        commands: bool | str | PathLike[str] = False,
        profanity_filter: bool | str | PathLike[str] = False,
        segmentation: Segmentation | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Transcription:
        """Recognise a recording.

        Args:
            audio: path of a file that libsndfile reads (WAV, FLAC, OGG, MP3...), or samples: [n] or [n, channels],
                int16, int32 or floating point with full scale 1.0.
            sample_rate: of the samples in Hz; a file says its own.
            vad: `webrtc` cuts the recording at pauses, `off` only where a segment gets too long.
            confirm: `silero` leaves out what the detector hears and Silero VAD does not take for speech.
            decoder: `tdt`, or `ctc` where the model has a CTC head too.
            boosts: phrases that are likely to be said, and with a number how strong: 4 is usual, 20 the most.
            language: BCP-47 tag of the language that is spoken: a multilingual model then writes its script only, and
                spoken commands are those of the language.
            punctuation: the marks that the model writes, and the capitals that come with them; most models write none.
            commands: whether spoken commands such as "comma" and "new line" are done; or the path of a table of them.
            profanity_filter: whether listed words become `s***`; or the path of a list.
            progress: told the seconds of audio read so far.

        Raises:
            AudioError: the audio cannot be decoded; the message names the file.
            InputError: an argument is not one of those above.
            PhraseError: a phrase cannot be boosted.
            DecoderError: the model does not have this decoder.
            DeviceError: no device could recognise a segment.
            Closed: the model has been closed.
            ConfigError: a table of commands or a list of words cannot be used.
        """
        if vad not in get_args(DetectorName):
            raise InputError(f"vad must be {' or '.join(get_args(DetectorName))}, not {vad!r}")
        if confirm not in get_args(ConfirmerName):
            raise InputError(f"confirm must be {' or '.join(get_args(ConfirmerName))}, not {confirm!r}")
        wanted = ((item, 0.0) if isinstance(item, str) else item for item in boosts)
        decode = DecodeOptions(read_decoder(decoder, "decoder"), read_boosts(wanted), language)
        check_decoder(decode.decoder, decoders_of(self.bundle.manifest.architecture), self.name)
        style = self._style(punctuation, commands, profanity_filter, language)
        self._biasing(decode)
        begun = time.monotonic()
        blocks: Iterable[Samples]
        if isinstance(audio, (str, PathLike)):
            blocks = audio_blocks(Path(audio), BLOCK_SECONDS)
        elif not isinstance(audio, np.ndarray):
            raise InputError(f"audio must be a path or a NumPy array, not {type(audio).__name__}")
        else:
            blocks = [to_samples(audio, sample_rate)]
        settings = SessionSettings(detector=vad, confirm=confirm, segmentation=segmentation or Segmentation())
        cutter = settings.cutter()
        heard = tuple(recognize_blocks(_counted(blocks, progress), cutter, self._router, decode))
        pen = Pen(style)
        texts = taken_back(pen.write(segment.transcript, final=True) for segment in heard)
        segments = tuple(
            replace(segment, transcript=text) for segment, text in zip(heard, texts, strict=True) if text.text
        )
        seconds = time.monotonic() - begun
        return Transcription(segments, self.name, cutter.seconds, seconds, "" if pen.spaces else " ")

    def _style(
        self,
        punctuation: bool,
        commands: bool | str | PathLike[str],
        profanity_filter: bool | str | PathLike[str],
        language: str,
    ) -> Style:
        """How a transcription is to be written.

        Raises:
            ConfigError: a file cannot be used.
            InputError: there are no commands of this language.
        """
        if not commands and not profanity_filter:
            return Style(punctuation=punctuation)
        tables = read_tables(_own_file(commands), _own_file(profanity_filter))
        spoken = tables.commands_for(language, self.bundle.manifest.languages)
        if commands and spoken is None:
            wanted = language or ", ".join(self.bundle.manifest.languages)
            raise InputError(
                f"there are no spoken commands for {wanted}, only for {', '.join(tables.commands)}; "
                "add them to a table of your own, or name another language"
            )
        return Style(
            punctuation, spoken if commands else None, tables.profanity if profanity_filter else None
        )

    def close(self) -> None:
        """Free the model's sessions and threads."""
        self._router.close(timeout=10.0)

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(
    name: str | None = None,
    *,
    device: DeviceChoice = "auto",
    models: str | PathLike[str] | None = None,
    threads: int = 0,
    precision: PrecisionChoice = "auto",
) -> Model:
    """Load an installed model.

    Args:
        name: of the bundle; the only installed one, or the embedded demo model, when not given.
        device: `auto` uses a GPU when one works, `cpu` never, `cuda` fails without one.
        models: folder of bundles, when it is not the user's.
        threads: CPU threads of one segment; 0: as many as suit the model.
        precision: `auto` is the fastest that the model has for the device; or fp32, int8, fp16.

    Raises:
        ModelNotFound, BundleError, DeviceError: the message says what is wrong and what to do.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, not {device!r}")
    if precision not in ("auto", *PRECISIONS):
        raise InputError(f"precision must be auto, {', '.join(PRECISIONS)}, not {precision!r}")
    folder = Path(models) if models else Paths.from_environment().models
    bundle = find_bundle(name or default_model(installed_names(folder)), folder)
    settings = DeviceSettings(choice=device, threads=threads, precision=precision)
    # Room for several threads that transcribe at once; each has at most MAX_UNDER_WAY segments under way.
    tables = Paths.from_environment().calibration
    opened = open_devices(bundle, settings, max_queued=64 * MAX_UNDER_WAY, tables=tables)
    return Model(bundle, opened.router, opened.biasing)


def _own_file(given: bool | str | PathLike[str]) -> Path | None:
    return None if isinstance(given, bool) else Path(given)


def _counted(blocks: Iterable[Samples], progress: Callable[[float], None] | None) -> Iterator[Samples]:
    seconds = 0.0
    for block in blocks:
        yield block
        seconds += len(block) / SAMPLE_RATE
        if progress is not None:
            progress(seconds)
