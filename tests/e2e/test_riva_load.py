"""Several of NVIDIA's own clients at the pace of speech: every utterance gets its final, as `transcribe` has it.

`tests/bench/riva_load.py` is the long form.
"""

from __future__ import annotations

from pathlib import Path

from riva_judged import load, write_files


def test_streams_of_the_client_get_the_finals_of_transcribe(
    riva_python: Path, address: str, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 3, 14.0)
    made = load(address, riva_python, tmp_path, files, streams=4, seconds=0.0)
    assert (made.errors, made.lost, made.other) == ([], [], [])
    assert made.streamed >= 4
    assert made.utterances > 4
    assert made.interims
