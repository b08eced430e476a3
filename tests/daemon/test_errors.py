"""What every error that a person meets has in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakeetd.config import Paths, read_config
from parakeetd.errors import ConfigError, ParakeetError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("key a\nb", r"key a\nb"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("file \udcff.wav", r"file \udcff.wav"),
        ("über ▁ 中文 'x'", "über ▁ 中文 'x'"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(message: str, shown: str) -> None:
    assert str(ParakeetError(message)) == shown


def test_a_key_of_two_lines_is_named_in_one(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[vad]\n"a\\nb" = 1\n')
    with pytest.raises(ConfigError) as caught:
        read_config(file, Paths.from_environment({"HOME": str(tmp_path)}))
    assert r"unknown key vad.a\nb" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
