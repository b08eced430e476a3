"""`parakeetd transcribe --cluster`: files by the thousand, recognised by other machines.

`plan` says which files are left and where results go, `patience` what to do after a failure; `run` does it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from parakeetd.cli.bulk.plan import gather
from parakeetd.cli.bulk.run import Bulk, Service
from parakeetd.cli.output import SUFFIX
from parakeetd.cli.progress import work_bar
from parakeetd.errors import InputError, ParakeetError


def transcribe_elsewhere(
    service: Service, sources: Sequence[Path], output: Path | None, form: str, *, again: bool
) -> None:
    """Have all that is left recognised, and say what became of it.

    Raises:
        InputError: there is nothing to do, or no place for results.
        CallEnded: no address answers.
        Exit: with 1, after a list of what failed; with 130, interrupted.
    """
    if output is None:
        raise InputError("--cluster needs --output: each file's result is written to a file of its own")
    if Path("-") in sources:
        raise InputError("-: stdin does not go with --cluster; name files or folders")
    _make(output)
    found = gather(sources, output, SUFFIX[form], again=again)
    total = found.done + len(found.left)
    if not found.left:
        _say(found.unread, f"{total} files: all had their results before", "--force does them again")
        return
    with work_bar(f"{total} files") as bar:
        bulk = Bulk(service, service.model(), form, lambda count: bar(found.done + count, total))
        bar(found.done, total)
        try:
            asyncio.run(bulk.over(found.left))
        except KeyboardInterrupt:
            click.echo(f"parakeetd: {_summary(found.done, bulk, total)}; the same command goes on", err=True)
            raise click.exceptions.Exit(130) from None
    problems = [*found.unread, *map(str, bulk.failed)]
    if bulk.ended is not None:
        problems.append(f"stopped: {bulk.ended}")
    _say(problems, _summary(found.done, bulk, total), "the same command tries them again")


def _summary(done: int, bulk: Bulk, total: int) -> str:
    """For people: `200 files: 150 done, 48 were done before, 1 failed, 1 left`."""
    left = total - done - bulk.written - len(bulk.failed)
    parts = [f"{bulk.written} done"]
    parts += [f"{done} were done before"] if done else []
    parts += [f"{len(bulk.failed)} failed"] if bulk.failed else []
    parts += [f"{left} left"] if left else []
    parts += [f"{bulk.again} calls were made again"] if bulk.again else []
    return f"{total} files: {', '.join(parts)}"


def _say(problems: Sequence[str], summary: str, hint: str) -> None:
    """The end of a run.

    Raises:
        Exit: with 1, if there are problems.
    """
    for problem in problems:
        # What of a name cannot be printed stands there as its escape.
        click.echo(f"parakeetd: {ParakeetError(problem)}", err=True)
    click.echo(f"parakeetd: {summary}{f'; {hint}' if problems else ''}", err=True)
    if problems:
        raise click.exceptions.Exit(1)


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the output folder {output}: {error.strerror}") from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"cannot write into the output folder {output}: permission denied")
