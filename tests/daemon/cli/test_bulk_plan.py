"""Which files of a folder are left, and what their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.cli.bulk.plan import gather, is_audio, result_names
from parakeetd.errors import InputError

NAMES = st.text(alphabet="ab.", min_size=1, max_size=3)
SUFFIXES = st.sampled_from([".wav", ".flac", ".WAV", ".txt", ".wav.txt", ""])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def results(items: object, output: Path) -> list[str]:
    assert isinstance(items, list)
    return sorted(item.target.relative_to(output).as_posix() for item in items)


def test_a_result_is_named_as_its_file() -> None:
    assert result_names(["talk.wav", "call.mp3"], ".txt") == {"talk.wav": "talk.txt", "call.mp3": "call.txt"}


def test_two_files_that_differ_by_their_kind_alone_keep_their_whole_names() -> None:
    assert result_names(["talk.wav", "talk.flac", "call.mp3"], ".srt") == {
        "talk.wav": "talk.wav.srt",
        "talk.flac": "talk.flac.srt",
        "call.mp3": "call.srt",
    }


def test_a_whole_name_that_is_taken_moves_whoever_took_it() -> None:
    found = result_names(["a.wav", "a.flac", "a.wav.mp3"], ".txt")
    assert found == {"a.wav": "a.wav.txt", "a.flac": "a.flac.txt", "a.wav.mp3": "a.wav.mp3.txt"}


@given(st.sets(st.builds(str.__add__, NAMES, SUFFIXES), max_size=12), st.sampled_from([".txt", ".json"]))
def test_no_two_files_of_a_folder_share_a_result(names: set[str], suffix: str) -> None:
    found = result_names(sorted(names), suffix)
    assert found.keys() == names
    assert len(set(found.values())) == len(names)
    assert all(result.endswith(suffix) for result in found.values())
    # Whatever order the folder is read in.
    assert result_names(sorted(names, reverse=True), suffix) == found


@pytest.mark.parametrize(
    ("name", "taken"),
    [("a.wav", True), ("A.FLAC", True), ("a.txt", False), (".a.wav", False), ("wav", False), ("a.", False)],
)
def test_audio_is_told_by_its_name_and_what_is_hidden_is_left(name: str, taken: bool) -> None:
    assert is_audio(name) is taken


def test_folders_are_searched_to_their_depth_and_results_lie_as_deep(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.wav", "x/b.mp3", "x/y/c.flac", "x/notes.txt", ".cache/d.wav", "x/.e.wav")
    found = gather([tmp_path / "in"], tmp_path / "out", ".txt")
    assert results(found.left, tmp_path / "out") == ["a.txt", "x/b.txt", "x/y/c.txt"]
    assert (found.done, found.unread) == (0, [])


def test_a_link_to_a_folder_above_leads_nowhere(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.wav")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in", target_is_directory=True)
    assert len(gather([tmp_path / "in"], tmp_path / "out", ".txt").left) == 1


def test_what_has_a_result_is_done_and_done_again_when_asked(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.wav", "b.wav")
    touch(tmp_path / "out", "a.txt", "b.json")
    found = gather([tmp_path / "in"], tmp_path / "out", ".txt")
    assert (results(found.left, tmp_path / "out"), found.done) == (["b.txt"], 1)
    assert len(gather([tmp_path / "in"], tmp_path / "out", ".txt", again=True).left) == 2


def test_a_file_that_is_named_may_be_called_anything_and_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "recording", "b.wav", "b.flac")
    named = [tmp_path / name for name in ("recording", "b.wav", "b.flac", "b.wav")]
    found = gather(named, tmp_path / "out", ".txt")
    assert results(found.left, tmp_path / "out") == ["b.flac.txt", "b.wav.txt", "recording.txt"]


def test_a_file_that_is_named_and_in_a_folder_is_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.wav", "b.wav")
    found = gather([tmp_path / "in", tmp_path / "in" / "a.wav"], tmp_path / "out", ".txt")
    assert results(found.left, tmp_path / "out") == ["a.txt", "b.txt"]


def test_two_folders_with_a_file_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.wav", "two/a.flac")
    with pytest.raises(InputError) as caught:
        gather([tmp_path / "one", tmp_path / "two"], tmp_path / "out", ".txt")
    assert str(tmp_path / "one" / "a.wav") in str(caught.value)
    assert str(tmp_path / "two" / "a.flac") in str(caught.value)


def test_a_folder_without_audio_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "in", "notes.txt")
    with pytest.raises(InputError, match=r"/in: no audio; looked for aif, "):
        gather([tmp_path / "in"], tmp_path / "out", ".txt")
    with pytest.raises(InputError, match="/gone: no such file or folder"):
        gather([tmp_path / "gone"], tmp_path / "out", ".txt")
