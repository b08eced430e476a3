"""`parakeetd demo`: the whole way once, with what ships in the package."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import click

from parakeetd.app import Daemon
from parakeetd.cli import options
from parakeetd.config import Config, ModelSettings, Paths, ServerSettings
from parakeetd.errors import InputError
from parakeetd.model.bundle import EMBEDDED
from parakeetd.rpc.client import NO_GUARD, stream_file
from parakeetd.rpc.reach import Reach, read_reach

CLIPS = EMBEDDED.parent / "clips"


@click.command("demo")
@click.argument("files", nargs=-1, type=options.PATH, metavar="[FILE...]")
@click.option("--fast", is_flag=True, help="Send the clips as fast as possible instead of in real time.")
@options.server
def command(
    files: tuple[Path, ...],
    fast: bool,
    server: str | None,
    ca: Path | None,
    token_file: Path | None,
    server_name: str,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Start the server with the embedded model, stream clips to it as a microphone would, print what comes back.

    With --server, stream them to one that runs, here or elsewhere, instead.

    Without FILE, the clips that ship with parakeetd are used. The embedded model knows letters, digits, numbers and
    short commands, not open English. A daemon that runs already is left alone.

    \b
    Examples:
      parakeetd demo
      parakeetd demo --fast my-digits.wav
      parakeetd demo --server speech.example.org:50051 --ca ca.pem --token-file token
    """
    chosen = [(file, "") for file in files] or shipped_clips()
    reach = read_reach(ca, token_file, server_name, certificate, key)
    if server is None:
        if reach != NO_GUARD:
            raise InputError(
                "--ca, --token-file and --certificate are for a server that runs: name it with --server"
            )
        asyncio.run(_demo(chosen, real_time=not fast))
    else:
        asyncio.run(_stream_all(server, chosen, real_time=not fast, reach=reach))


def shipped_clips() -> list[tuple[Path, str]]:
    """The clips in the package and what is said in them."""
    lines = (CLIPS / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(CLIPS / row["file"], row["text"]) for row in rows]


async def _demo(files: list[tuple[Path, str]], *, real_time: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="parakeetd-demo-") as folder:
        # An own socket and no installed model: the demo runs beside a daemon that is at work.
        address = f"unix:{folder}/demo.sock"
        config = Config(
            server=ServerSettings(listen=(address,), drain_seconds=1.0),
            model=ModelSettings(name=EMBEDDED.name),
        )
        paths = replace(Paths.from_environment(), models=Path(folder))
        async with Daemon(config, paths):
            click.secho(f"server at {address}, model {EMBEDDED.name}", dim=True)
            await _stream_all(address, files, real_time=real_time, reach=NO_GUARD)


async def _stream_all(address: str, files: list[tuple[Path, str]], *, real_time: bool, reach: Reach) -> None:
    for file, said in files:
        await _show(address, file, said, real_time=real_time, reach=reach)


async def _show(address: str, file: Path, said: str, *, real_time: bool, reach: Reach) -> None:
    click.secho(f"\n{file.name}", bold=True, nl=False)
    click.echo(f"  (spoken: {said})" if said else "")
    finals, shown = 0, ""
    async with aclosing(stream_file(address, file, real_time=real_time, reach=reach)) as lines:
        async for line in lines:
            finals += line.is_final
            if line.is_final:
                click.secho(f"  final    {line.text}", fg="green")
            elif line.text != shown:
                # One with the same text says that more of it is stable.
                click.secho(f"  interim  {line.text}", dim=True)
            shown = line.text
    if not finals:
        click.secho("  nothing was recognised", fg="yellow")
