"""Runs the tools of the desktop."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import Final

from parakeetd.errors import TypingError

TOOL_SECONDS: Final = 20.0
"""A tool that has not ended by then hangs. Long texts take their time."""


async def run(*command: str, stdin: str | None = None) -> str:
    """What a tool prints.

    Raises:
        TypingError: it is missing, hangs, or says that it did not work.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL if stdin is None else PIPE, stdout=PIPE, stderr=PIPE
        )
    except FileNotFoundError:
        raise TypingError(f"{command[0]} is not installed") from None
    except OSError as error:
        raise TypingError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(TOOL_SECONDS):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    except TimeoutError:
        raise TypingError(f"{command[0]} hangs") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = " ".join(err.decode(errors="replace").split())
        raise TypingError(f"{command[0]}: {said or f'exit code {process.returncode}'}")
    return out.decode(errors="replace")


async def hand_over(*command: str, stdin: str) -> None:
    """Give a text to a tool that goes on in the background, and with it our pipes.

    Raises:
        TypingError: as `run`.
    """
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)
    except FileNotFoundError:
        raise TypingError(f"{command[0]} is not installed") from None
    try:
        async with asyncio.timeout(TOOL_SECONDS):
            await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        raise TypingError(f"{command[0]} hangs") from None
    if process.returncode:
        raise TypingError(f"{command[0]}: exit code {process.returncode}")
