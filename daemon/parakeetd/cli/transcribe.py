"""`parakeetd transcribe`: files to text, here or (`bulk`) elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import click

from parakeetd.cli import options
from parakeetd.cli.output import FORMATS, SUFFIX, write_atomically
from parakeetd.cli.progress import progress_bar
from parakeetd.config import DeviceChoice, Paths, TextSettings, read_config
from parakeetd.errors import ConfigError, InputError, ParakeetError, PhraseError
from parakeetd.library import load
from parakeetd.model.decoding import DECODERS, DecodeOptions, Decoder
from parakeetd.model.phrases import parse_boost, read_boost_file, read_boosts
from parakeetd.vad import ConfirmerName, DetectorName

log = logging.getLogger(__name__)

STDIN = Path("-")

_CLUSTER_ONLY = frozenset(
    ("jobs", "force", "retry_seconds", "ca", "token_file", "server_name", "certificate", "key")
)
_HERE_ONLY = frozenset(("models", "device", "vad", "confirm", "config_file"))
"""There it is as the servers are configured."""


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
@click.option(
    "--cluster",
    multiple=True,
    metavar="ADDRESS",
    help="Have the files recognised elsewhere: HOST:PORT or unix:PATH of a daemon, of several behind one address, or "
    "of anything that speaks Riva's gRPC. May be given several times. FILE may then be a folder.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    metavar="N",
    help="With --cluster: files under way at once.",
)
@click.option("--force", is_flag=True, help="With --cluster: also files that have a result.")
@click.option(
    "--retry-seconds",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    metavar="N",
    help="With --cluster: try a file again for this long while nobody is there, or has room for it.",
)
@options.reach
@click.pass_context
def command(
    ctx: click.Context,
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
    cluster: Sequence[str],
    jobs: int,
    force: bool,
    retry_seconds: float,
    ca: Path | None,
    token_file: Path | None,
    server_name: str,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Recognise the speech in audio files: WAV, FLAC, OGG, MP3, AIFF; any rate; up to 8 channels. - is stdin.

    Results come in the order of the files. A file that cannot be read is reported and the others are still
    transcribed; the exit code is then 2.

    With --cluster other machines do the work: folders are searched for audio, and the result of each file is written to
    --output as soon as it is whole. The same command goes on where the last one stopped. What failed is listed at the
    end; the exit code is then 1.

    \b
    Examples:
      parakeetd transcribe talk.flac
      parakeetd transcribe --format srt --output subtitles/ *.mp3
      parakeetd transcribe --format json call.wav | jq .text
      parakeetd transcribe --commands --language en letter.wav
      parakeetd transcribe --cluster speech.example.org:50051 --jobs 32 recordings/ --output texts/
      ffmpeg -i film.mkv -f wav - | parakeetd transcribe -
    """
    if given := _given(ctx, _HERE_ONLY if cluster else _CLUSTER_ONLY):
        raise InputError(f"{given} {'does not go with' if cluster else 'needs'} --cluster")
    phrases = [*map(parse_boost, boosts), *(read_boost_file(boost_file) if boost_file else ())]
    if cluster:
        from parakeetd.cli.bulk import transcribe_elsewhere
        from parakeetd.cli.bulk.run import Service
        from parakeetd.rpc.offload import Wishes
        from parakeetd.rpc.reach import read_reach

        decode = DecodeOptions(cast(Decoder, decoder), read_boosts(phrases), language)
        service = Service(
            cluster,
            read_reach(ca, token_file, server_name, certificate, key),
            Wishes(model or "", decode, punctuation, profanity_filter, commands),
            jobs,
            retry_seconds,
        )
        transcribe_elsewhere(service, files, output, form, again=force)
        return
    if STDIN in files and sys.stdin.isatty():
        raise InputError("-: stdin is a terminal; pipe audio into it, or name a file")
    targets = _targets(files, output, SUFFIX[form])
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


def _given(ctx: click.Context, names: Collection[str]) -> str:
    """The first of these parameters that is on the command line, as it is written there; empty for none."""
    for parameter in ctx.command.params:
        named = parameter.name in names
        if named and ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE:
            return parameter.opts[0]
    return ""


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
