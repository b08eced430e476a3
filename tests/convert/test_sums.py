"""A remembered sum is used only while nothing of the file has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from parakeetd_convert import sums
from parakeetd_convert.sums import file_sha256


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.nemo"
    path.write_bytes(b"one")
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sums.json"


def test_a_file_that_has_not_changed_is_not_read_again(
    file: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file_sha256(file, memory) == digest(b"one")

    def reading(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(sums, "sha256", reading)
    assert file_sha256(file, memory) == digest(b"one")


def test_a_changed_file_of_the_same_size_and_time_is_read_again(file: Path, memory: Path) -> None:
    before = file.stat()
    assert file_sha256(file, memory) == digest(b"one")
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(file, memory) == digest(b"two")


def test_another_file_under_the_same_name_is_read(file: Path, memory: Path) -> None:
    assert file_sha256(file, memory) == digest(b"one")
    other = file.with_name("other")
    other.write_bytes(b"two")
    other.replace(file)
    assert file_sha256(file, memory) == digest(b"two")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}'])
def test_a_broken_memory_does_no_harm(file: Path, memory: Path, content: str) -> None:
    memory.parent.mkdir()
    memory.write_text(content.replace("x", str(file)))
    assert file_sha256(file, memory) == digest(b"one")


def test_a_memory_that_cannot_be_written_does_no_harm(file: Path) -> None:
    assert file_sha256(file, file / "no folder" / "sums.json") == digest(b"one")


def test_only_so_many_files_are_remembered(
    file: Path, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_MOST", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())
        file_sha256(tmp_path / name, memory)
    assert "/a" not in memory.read_text()
    assert "/c" in memory.read_text()
