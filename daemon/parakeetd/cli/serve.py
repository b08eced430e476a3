"""`parakeetd serve`: the daemon in the foreground, as systemd wants it."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import click

from parakeetd import app, logs, memory
from parakeetd.adapters import check_adapters
from parakeetd.cli import options
from parakeetd.config import Config, DeviceChoice, Paths, read_config
from parakeetd.entrance.access import Access, check_exposure
from parakeetd.entrance.address import parse_address
from parakeetd.errors import InputError, ListenError

log = logging.getLogger(__name__)


@click.command("serve")
@options.CONFIG
@options.MODEL
@options.MODELS
@options.DEVICE
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDR",
    help="HOST:PORT or unix:PATH; may be repeated; port 0 takes a free one. What other machines reach needs TLS "
    "or a token. Default: 127.0.0.1:50051 and unix:$XDG_RUNTIME_DIR/parakeetd/parakeetd.sock.",
)
@click.option(
    "--wyoming",
    metavar="ADDR",
    help="Also serve Home Assistant's Wyoming protocol there, such as 127.0.0.1:10300. Needs parakeetd[adapters].",
)
@click.option(
    "--openai",
    metavar="ADDR",
    help="Also serve OpenAI's transcriptions there, such as 127.0.0.1:8000. Needs parakeetd[adapters].",
)
@click.option(
    "--insecure-remote",
    is_flag=True,
    help="Let other machines connect without TLS and without a token: whoever reaches the port can use it.",
)
def command(
    config_file: Path | None,
    model: str | None,
    models: Path | None,
    device: str | None,
    listen: tuple[str, ...],
    wyoming: str | None,
    openai: str | None,
    insecure_remote: bool,
) -> None:
    """Serve speech recognition over gRPC until SIGTERM or Ctrl-C. SIGHUP reads the configuration again.

    NVIDIA Riva clients work against it unmodified. A flag overrides the configuration file. When it says
    "ready" on stderr, it is; the lines before say where it listens and what it serves.

    \b
    Examples:
      parakeetd serve
      parakeetd serve --model 0.6b-v3 --device cpu
      parakeetd serve --listen 127.0.0.1:0 --listen unix:/run/user/1000/speech.sock
    """
    # Where it hangs, systemd ends it by SIGABRT: then it says what each thread was doing.
    faulthandler.enable()
    memory.share_arenas()
    # A daemon says what it serves and on what; the other commands only what went wrong.
    logging.getLogger().setLevel(min(logging.INFO, logging.getLogger().level))
    paths = Paths.from_environment()
    if models:
        paths = replace(paths, models=models)

    def read() -> Config:
        config = _overridden(read_config(config_file, paths), model, device, listen, insecure_remote)
        if wyoming or openai:
            adapters = config.adapters
            adapters = replace(
                adapters, wyoming=wyoming or adapters.wyoming, openai=openai or adapters.openai
            )
            config = replace(config, adapters=adapters)
        _check_addresses(config.server.listen, config.access)
        try:
            check_adapters(config.adapters.wyoming, config.adapters.openai, config.access)
        except ListenError as error:
            raise InputError(str(error)) from error
        return config

    config = read()
    logs.use(config.log.format, debug=logging.getLogger().level <= logging.DEBUG)
    # A program that reads objects wants no other lines between them.
    say = log.info if config.log.format == "json" else _say
    file = config_file or paths.config_file
    with logs.in_background():
        asyncio.run(
            app.run(
                config,
                paths,
                read=read,
                configuration=file.absolute() if file.exists() else None,
                say=say,
            )
        )


def _say(line: str) -> None:
    if logs.would_wait(2):
        # Its reader has stopped: that is no reason to stop with it.
        return
    # What was logged before stands before it.
    for handler in logging.getLogger().handlers:
        handler.flush()
    try:
        click.echo(line, err=True)
    except BrokenPipeError:
        # Whoever read the first lines may have left; that is no reason to stop serving.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _overridden(
    config: Config, model: str | None, device: str | None, listen: tuple[str, ...], insecure_remote: bool
) -> Config:
    if model:
        config = replace(config, model=replace(config.model, name=model))
    if device:
        config = replace(config, device=replace(config.device, choice=cast(DeviceChoice, device)))
    server = config.server
    if insecure_remote:
        server = replace(server, insecure_remote=True)
    if listen:
        _check_addresses(listen, None)
        server = replace(server, listen=listen)
    return replace(config, server=server)


def _check_addresses(listen: tuple[str, ...], access: Access | None) -> None:
    """Before a model is loaded for nothing."""
    try:
        addresses = [parse_address(address) for address in listen]
        if access is not None:
            check_exposure(addresses, access)
    except ListenError as error:
        raise InputError(str(error)) from error
