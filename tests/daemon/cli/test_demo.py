"""`parakeetd demo`: the clips through the real server and client."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from clips import shipped_clips
from commands import Command, run


def finals(out: str) -> dict[str, list[str]]:
    """Final lines by the name of the file they follow."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        if line.startswith("  final"):
            found[list(found)[-1]].append(line.removeprefix("  final").strip())
        elif line and not line.startswith((" ", "server at")):
            found[line.split("  (spoken: ")[0]] = []
    return found


def test_each_clip_is_printed_with_the_text_that_is_spoken(env: dict[str, str]) -> None:
    outcome = run("demo", "--fast", env=env)
    assert outcome.code == 0
    expected = {clip.path.name: [spoken.text for spoken in clip.utterances] for clip in shipped_clips()}
    assert finals(outcome.out) == expected
    assert "  interim  " in outcome.out
    lines = outcome.out.splitlines()
    assert not [line for line, after in pairwise(lines) if line == after and line.startswith("  interim")]
    # Nothing of it is left: it serves on a socket of its own.
    assert not list(Path(env["HOME"]).iterdir())


def test_a_file_of_ones_own_can_be_streamed(parakeetd: Command) -> None:
    clip = shipped_clips()[0]
    outcome = parakeetd("demo", "--fast", clip.path)
    assert outcome.code == 0
    assert finals(outcome.out) == {clip.path.name: [clip.text]}


def test_a_file_that_is_not_audio_is_one_line(parakeetd: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("only words\n" * 50)
    outcome = parakeetd("demo", "--fast", tmp_path / "notes.wav")
    assert outcome.code == 2
    assert f"{tmp_path}/notes.wav: not audio" in outcome.error


def test_a_file_that_is_not_there_is_one_line(parakeetd: Command) -> None:
    outcome = parakeetd("demo", "--fast", "no-such-file.wav")
    assert outcome.code == 2
    assert outcome.error == "parakeetd: no-such-file.wav: cannot be read: No such file or directory"
