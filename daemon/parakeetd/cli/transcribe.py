"""`parakeetd transcribe`: files to text."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import click

from parakeetd.cli import options
from parakeetd.cli.output import FORMATS
from parakeetd.cli.progress import progress_bar
from parakeetd.config import DeviceChoice, Paths, TextSettings, read_config
from parakeetd.errors import ConfigError, InputError, ParakeetError, PhraseError
from parakeetd.library import load
from parakeetd.model.decoding import DECODERS, Decoder
from parakeetd.model.phrases import parse_boost, read_boost_file
from parakeetd.vad import ConfirmerName, DetectorName

log = logging.getLogger(__name__)

SUFFIX = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}

STDIN = Path("-")


@click.command("transcribe")
@click.argument("files", nargs=-1, required=True, type=options.PATH, metavar="FILE...")
@options.MODEL
@options.MODELS
@options.DEVICE
@click.option(
    "--vad",
    type=click.Choice(["webrtc", "off"]),
    default="webrtc",
    show_default=True,
    help="Where to cut the audio: at pauses, or (off) only where a segment passes 20 s.",
)
@click.option(
    "--confirm",
    type=click.Choice(["silero", "off"]),
    default="silero",
    show_default=True,
    help="What must agree that a piece between pauses is speech; off recognises whatever is loud. "
    "Nothing with --vad off.",
)
@click.option(
    "--decoder",
    type=click.Choice(DECODERS),
    default="tdt",
    show_default=True,
    help="The transducer, or (ctc) the second head of a hybrid model: faster, a little less right.",
)
@click.option(
    "--boost",
    "boosts",
    multiple=True,
    metavar="PHRASE[:N]",
    help="A name or phrase that is likely to be said; may be given several times. N says how likely: 4 is usual, 20 "
    "the most.",
)
@click.option(
    "--boost-file",
    metavar="FILE",
    type=options.PATH,
    help="Phrases to boost, PHRASE or PHRASE:N a line.",
)
@click.option(
    "--language",
    default="",
    metavar="TAG",
    help="Language that is spoken, such as el or uk-UA: a multilingual model then writes no other script.",
)
@click.option(
    "--punctuation/--no-punctuation",
    default=True,
    show_default=True,
    help="The marks that the model writes, and the capitals that come with them; most models write none.",
)
@click.option(
    "--commands",
    is_flag=True,
    help='Do spoken commands such as "comma" and "new line". They are those of the configuration, or else the '
    "shipped ones, for --language or the model's.",
)
@click.option(
    "--profanity-filter",
    is_flag=True,
    help="Write listed words as s***. The list is the configuration's, or else the shipped one.",
)
@options.CONFIG
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="text: a line a file; json: an object a file, with the times and confidences of words; "
    "srt, vtt: subtitles.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=options.PATH,
    help="Write DIR/talk.txt (.json, .srt, .vtt) for talk.flac, instead of printing.",
)
def command(
    files: Sequence[Path],
    model: str | None,
    models: Path | None,
    device: str | None,
    vad: str,
    confirm: str,
    decoder: str,
    boosts: Sequence[str],
    boost_file: Path | None,
    language: str,
    punctuation: bool,
    commands: bool,
    profanity_filter: bool,
    config_file: Path | None,
    form: str,
    output: Path | None,
) -> None:
    """Recognise the speech in audio files: WAV, FLAC, OGG, MP3, AIFF; any rate; up to 8 channels. - is stdin.

    Results come in the order of the files. A file that cannot be read is reported and the others are still
    transcribed; the exit code is then 2.

    \b
    Examples:
      parakeetd transcribe talk.flac
      parakeetd transcribe --format srt --output subtitles/ *.mp3
      parakeetd transcribe --format json call.wav | jq .text
      parakeetd transcribe --commands --language en letter.wav
      ffmpeg -i film.mkv -f wav - | parakeetd transcribe -
    """
    if STDIN in files and sys.stdin.isatty():
        raise InputError("-: stdin is a terminal; pipe audio into it, or name a file")
    targets = _targets(files, output, SUFFIX[form])
    phrases = [*map(parse_boost, boosts), *(read_boost_file(boost_file) if boost_file else ())]
    # Nothing else of the configuration matters here: a mistake in it must not keep files from being read.
    tables = _text_tables(config_file) if config_file or commands or profanity_filter else TextSettings()
    sources = [Path("/dev/stdin") if file == STDIN else file for file in files]
    render = FORMATS[form]
    failed: list[ParakeetError] = []
    with (
        load(model, device=cast(DeviceChoice, device or "auto"), models=models) as loaded,
        progress_bar(sources) as bar,
    ):
        for number, (file, source, target) in enumerate(zip(files, sources, targets, strict=True)):
            try:
                transcription = loaded.transcribe(
                    source,
                    vad=cast(DetectorName, vad),
                    confirm=cast(ConfirmerName, confirm),
                    decoder=cast(Decoder, decoder),
                    boosts=phrases,
                    language=language,
                    punctuation=punctuation,
                    commands=commands and (tables.commands_file or True),
                    profanity_filter=profanity_filter and (tables.profanity_file or True),
                    progress=partial(bar.advance, number),
                )
                text = render(str(file), transcription)
                if target is not None:
                    write_atomically(target, text)
                    continue
            except (PhraseError, ConfigError):
                # Of the command, not of a file.
                raise
            except ParakeetError as error:
                failed.append(error)
                log.debug("%s failed", file, exc_info=True)
                with bar.aside():
                    click.echo(f"parakeetd: {error}", err=True)
                continue
            with bar.aside():
                sys.stdout.write(text)
                sys.stdout.flush()
    if failed:
        if len(files) > 1:
            click.echo(f"parakeetd: {len(failed)} of {len(files)} files failed", err=True)
        raise click.exceptions.Exit(max(error.exit_code for error in failed))


def _text_tables(config_file: Path | None) -> TextSettings:
    """Where the configuration says that commands and listed words are."""
    return read_config(config_file, Paths.from_environment()).text


def _targets(files: Sequence[Path], output: Path | None, suffix: str) -> list[Path | None]:
    """Where each result goes: inputs of the same name would overwrite each other's, which is refused at once."""
    if output is None:
        return [None] * len(files)
    targets = [output / f"{'stdin' if file == STDIN else file.stem}{suffix}" for file in files]
    for i, target in enumerate(targets):
        if target in targets[:i]:
            other = files[targets.index(target)]
            raise InputError(f"{other} and {files[i]} would both be written to {target}; rename one")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the output folder {output}: {error.strerror}") from error
    return list(targets)


def write_atomically(target: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        InputError: it cannot be written; the message names it.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".parakeetd-", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                # The temporary file is private to the user; the result gets what any new file gets.
                os.umask(mask := os.umask(0))
                os.fchmod(file.fileno(), 0o666 & ~mask)
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
