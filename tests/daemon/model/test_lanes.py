"""A batch in groups side by side: each piece is answered as it is alone, at its place."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import AudioError
from parakeetd.model import opening
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.lanes import LEAST, Lanes, groups
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.transcript import Transcript

WAIT_SECONDS = 30.0


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 8))
def test_each_piece_is_in_one_group_and_groups_are_even_large_enough_and_of_like_lengths(
    lengths: list[int], lanes: int
) -> None:
    made = groups(lengths, lanes)
    assert sorted(i for group in made for i in group) == list(range(len(lengths)))
    assert 1 <= len(made) <= lanes
    sizes = [len(group) for group in made]
    assert max(sizes) - min(sizes) <= 1
    assert len(made) == 1 or min(sizes) >= LEAST
    for shorter, longer in pairwise(made):
        assert max(lengths[i] for i in shorter) <= min(lengths[i] for i in longer)


def test_groups_are_computed_at_the_same_time_and_told_with_their_pieces() -> None:
    together = threading.Barrier(2)

    def compute(pieces: Sequence[int]) -> list[str]:
        together.wait(WAIT_SECONDS)
        return [f"{piece}" for piece in pieces]

    assert Lanes(2).map(compute, [30, 10, 40, 20], [30, 10, 40, 20]) == [
        ([1, 3], ["10", "20"]),
        ([0, 2], ["30", "40"]),
    ]


@pytest.mark.parametrize(("pieces", "lanes"), [(0, 4), (1, 4), (2, 4), (3, 4), (9, 1)])
def test_what_is_too_little_for_two_groups_is_computed_by_the_caller(pieces: int, lanes: int) -> None:
    threads = []

    def compute(given: Sequence[int]) -> Sequence[int]:
        threads.append(threading.current_thread())
        return given

    numbers = list(range(pieces))
    assert Lanes(lanes).map(compute, numbers, [1] * pieces) == ([(numbers, numbers)] if pieces else [])
    assert threads == [threading.current_thread()] * bool(pieces)


def test_threads_end_when_nobody_has_the_lanes_any_more() -> None:
    used: list[threading.Thread] = []

    def compute(pieces: Sequence[int]) -> Sequence[int]:
        used.append(threading.current_thread())
        return pieces

    lanes = Lanes(2)
    lanes.map(compute, [1, 2, 3, 4], [1] * 4)
    assert all(thread.is_alive() for thread in used)
    del lanes
    for thread in used:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def test_a_lane_that_hangs_does_not_keep_the_program_from_ending() -> None:
    script = """
import threading
from parakeetd.model.lanes import Lanes
begun = threading.Semaphore(0)
def hang(pieces):
    begun.release()
    threading.Event().wait()
threading.Thread(target=lambda: Lanes(2).map(hang, [1, 2, 3, 4], [1] * 4), daemon=True).start()
begun.acquire(), begun.acquire()
"""
    subprocess.run([sys.executable, "-c", script], timeout=WAIT_SECONDS, check=True)


@pytest.fixture
def recognizer(monkeypatch: pytest.MonkeyPatch) -> Recognizer:
    """The shipped model on a machine of three cores."""
    monkeypatch.setattr(opening, "physical_cores", lambda: 3)
    return Recognizer.open(Bundle.read(EMBEDDED))


def test_the_shipped_clips_side_by_side_give_nemos_tokens_at_nemos_frames(
    recognizer: Recognizer, clips: dict[str, Clip]
) -> None:
    pieces = [read_audio(clip.path) for clip in clips.values()]
    answers = recognizer.recognize([*pieces, np.empty(0, np.float32)])
    assert len(pieces) >= 3 * LEAST
    for clip, answer in zip(clips.values(), answers[:-1], strict=True):
        assert answer.text == clip.nemo_text
        assert tuple(token.id for token in answer.tokens) == clip.nemo_tokens
        assert tuple(token.frame for token in answer.tokens) == clip.nemo_frames
    assert answers[-1] == Transcript()


def test_options_stay_with_their_pieces(recognizer: Recognizer, clips: dict[str, Clip]) -> None:
    digits = read_audio(clips["digits"].path)
    options = [DecodeOptions(decoder) for decoder in ("tdt", "ctc", "ctc", "tdt", "ctc", "tdt")]
    alone = {option.decoder: recognizer.recognize([digits], [option])[0] for option in options[:2]}
    assert recognizer.recognize([digits] * 6, options) == [alone[option.decoder] for option in options]


def test_a_piece_at_fault_is_told_and_the_next_batch_is_answered(
    recognizer: Recognizer, clips: dict[str, Clip]
) -> None:
    digits = read_audio(clips["digits"].path)
    endless = np.zeros(recognizer.max_samples + 1, np.float32)
    with pytest.raises(AudioError, match="longer than"):
        recognizer.recognize([digits] * 5 + [endless])
    assert {answer.text for answer in recognizer.recognize([digits] * 6)} == {clips["digits"].nemo_text}


@pytest.mark.parametrize(
    ("layers", "width", "asked", "lanes"), [(6, 160, 0, 4), (6, 160, 1, 1), (17, 512, 0, 1), (24, 1024, 0, 1)]
)
def test_small_encoders_have_a_lane_for_each_core_unless_threads_are_asked_for(
    layers: int, width: int, asked: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "physical_cores", lambda: 4)
    architecture = replace(Bundle.read(EMBEDDED).manifest.architecture, layers=layers, d_model=width)
    assert opening.lanes_for(architecture, asked) == lanes
