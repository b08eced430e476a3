"""Text options through NVIDIA's own client: a user's own table of commands and list of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clips import Clip
from commands import run, served

Riva = Callable[..., Any]
Wav = Callable[[Clip], Path]

COMMANDS = """
[en]
"rubout" = "\\n"
"nine two" = "92"
"repeat" = { action = "delete" }
"cents" = { text = "¢", attach = "previous" }
"""
"""Of words that the embedded model knows."""


@pytest.fixture(scope="module")
def own_tables(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Iterator[str]:
    """Where a daemon listens whose user has tables of their own."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "commands.toml").write_text(COMMANDS, encoding="utf-8")
    (folder / "words.txt").write_text("repeat\nrub*\n", encoding="utf-8")
    config = folder / "config.toml"
    config.write_text(
        f'[text]\ncommands = "{folder}/commands.toml"\nprofanity = "{folder}/words.txt"\n', encoding="utf-8"
    )
    arguments = ("--config", config, "--model", "demo", "--listen", "127.0.0.1:0")
    with served(*arguments, env=env, seconds=300) as daemon:
        yield daemon.addresses[0]


def test_a_users_own_commands_are_done_in_a_stream(
    riva: Riva, own_tables: str, clips: dict[str, Clip], wav: Wav
) -> None:
    answer = riva("microphone", own_tables, wav(clips["pauses"]))
    assert answer["finals"] == ["\n92 six", "\b" * 7, "forty five¢"]
    words = [word[0] for word in answer["words"]]
    assert words == ["\n", "92", "six", "\b" * 7, "forty", "five¢"]
    times = [time for word in answer["words"] for time in (word[1], word[2])]
    assert times == sorted(times)


def test_a_client_can_do_without_commands_and_with_the_profanity_filter(
    riva: Riva, own_tables: str, clips: dict[str, Clip], wav: Wav
) -> None:
    answer = riva("microphone", own_tables, wav(clips["pauses"]), "spoken_commands:false", "profanity")
    assert answer["finals"] == ["r***** nine two six ", "r***** ", "forty five cents "]


def test_a_table_that_cannot_be_used_ends_the_daemon_with_a_line_that_names_it(
    tmp_path: Path, env: dict[str, str]
) -> None:
    table, config = tmp_path / "mine.toml", tmp_path / "config.toml"
    table.write_text('[en]\n"comma" = 3\n', encoding="utf-8")
    config.write_text(f'[text]\ncommands = "{table}"\n', encoding="utf-8")
    outcome = run("serve", "--config", config, "--listen", "127.0.0.1:0", env=env)
    assert outcome.code == 2
    assert f"commands {table}: [en] 'comma' must be a text in quotes" in outcome.error


def test_the_client_reads_what_is_done_for_the_model(riva: Riva, address: str, own_tables: str) -> None:
    shipped, own = riva("parameters", address)[0], riva("parameters", own_tables)[0]
    assert (shipped["punctuation"], shipped["max_alternatives"]) == ("none", "1")
    assert (shipped["spoken_commands"], shipped["spoken_commands_default"]) == ("en,de,fr,es", "False")
    assert (own["spoken_commands"], own["spoken_commands_default"]) == ("en", "True")
