"""The parts of the endurance benchmarks that decide: what they look for must be found where it is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

from fuzz_targets import Target
from mutations import mutated, mutated_tree
from parakeetd.errors import AudioError
from riva_judged import Load, _hold
from speech_load import Final, Spoken, Track
from steady_load import Talk, judged
from terminated import Terminated, _judge
from watching import POOL_THREADS, Alive

BENCH = Path(__file__).resolve().parents[1] / "bench"

WORKER = """
import json, struct, sys, time
name, first, last, seed, progress = sys.argv[1:]
for number in range(int(first), int(last)):
    with open(progress, "r+b") as file:
        file.write(struct.pack("<q", number))
    if number == 3:
        sys.exit("Timeout (0:01:00)!" if seed == "1" else 11)
json.dump({"cases": int(last) - int(first), "taken": 0, "errors": [[5, "ValueError: x"]],
           "mb_before": 100.0, "mb_after": 110.0}, sys.stdout)
"""

TRACK = Track(np.zeros(160_000, np.float32), (Spoken("one", 1.0, 2.0), Spoken("two", 5.0, 6.0)))
ONE, TWO = Final(3.0, 1.0, 1.9, "one"), Final(7.0, 5.0, 5.9, "two")


@pytest.fixture
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", BENCH / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


def test_changes_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    data = bytes(range(200))
    some = [mutated(data, [data], Random(seed)) for seed in range(50)]
    assert some == [mutated(data, [data], Random(seed)) for seed in range(50)]
    assert len(set(some)) > 40
    assert sum(changed == data for changed in some) < 5


def test_a_tree_is_changed_and_the_one_that_was_given_is_not() -> None:
    tree = {"a": {"b": [1, 2, {"c": "text"}]}, "d": 0.5}
    changed = [mutated_tree(tree, Random(seed)) for seed in range(50)]
    assert tree == {"a": {"b": [1, 2, {"c": "text"}]}, "d": 0.5}
    assert sum(repr(one) != repr(tree) for one in changed) > 40


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), RecursionError()])
def test_what_a_reader_must_not_raise_comes_out_of_it(error: Exception) -> None:
    def run(_data: bytes) -> None:
        raise error

    with pytest.raises(type(error)):
        Target("x", lambda: [b""], run).holds(b"")


def test_an_error_of_two_lines_is_one_too_many() -> None:
    class TwoLines(AudioError):
        def __str__(self) -> str:
            return "one\ntwo"

    def run(_data: bytes) -> None:
        raise TwoLines("")

    with pytest.raises(AssertionError, match="not one line"):
        Target("x", lambda: [b""], run).holds(b"")


@pytest.mark.parametrize(("seed", "what"), [(1, "hung"), (2, "ended the process with 11")])
def test_a_case_that_ends_the_process_is_known_by_its_number_and_the_others_follow(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, what: str
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(fuzz, "WORKER", script)
    outcome = fuzz.feed("streams", 0, 8, seed)
    assert outcome.cases == 8
    assert f"case 3 {what}" in outcome.problems[0]
    assert outcome.problems[1:] == ["case 5: ValueError: x", "memory went from 100 to 110 MB"]


def test_all_cases_are_shared_out(fuzz: ModuleType) -> None:
    assert sum(cases for _, cases in fuzz.shares(20_000, None)) == 20_000
    assert list(fuzz.shares(7, "configs")) == [("configs", 7)]


def alive(*, tasks: int = 1, threads: int = 5, files: int = 3) -> Alive:
    return Alive({"serve": tasks}, {"python": threads}, {"socket": files}, 1.0, {})


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (alive(), []),
        (alive(threads=5 + POOL_THREADS), []),
        (alive(tasks=2), ["1 more of tasks: serve"]),
        (alive(files=5), ["2 more of files: socket"]),
        (alive(threads=6 + POOL_THREADS), [f"{1 + POOL_THREADS} more of threads: python"]),
        (alive(tasks=0, files=1), []),
    ],
)
def test_what_is_left_over_is_told(after: Alive, left: list[str]) -> None:
    assert after.left_over(alive()) == left


@pytest.mark.parametrize(
    ("finals", "sent", "problems"),
    [
        ([ONE, TWO], 10.0, []),
        ([ONE], 10.0, ["stream 0 lost 'two' at 5.0 s"]),
        ([ONE], 5.5, []),
        ([ONE, ONE, TWO], 10.0, ["stream 0 was told 'one' again or out of order"]),
        ([TWO, ONE], 10.0, ["stream 0 was told 'one' again or out of order"]),
    ],
)
def test_lost_and_repeated_finals_of_a_stream_are_told(
    finals: list[Final], sent: float, problems: list[str]
) -> None:
    assert judged([Talk(TRACK, sent=sent, finals=finals)]) == problems


@pytest.mark.parametrize(
    ("finals", "code", "problems"),
    [
        ([ONE], "UNAVAILABLE", []),
        ([], "UNAVAILABLE", ["stream 0 lost 'one' at 1.0 s"]),
        ([ONE], "INTERNAL", ["stream 0 ended with INTERNAL: "]),
    ],
)
def test_what_had_ended_before_the_signal_must_be_answered(
    finals: list[Final], code: str, problems: list[str]
) -> None:
    made = Terminated(after=5.5)
    _judge([Talk(TRACK, sent=5.5, finals=finals, code=code)], made)
    assert (made.utterances, made.problems) == (1, problems)


@pytest.mark.parametrize(
    ("finals", "error", "found"),
    [
        (["one ", "two "], "", (0, 0, 0)),
        (["one "], "", (0, 1, 1)),
        (["one ", "to "], "", (0, 0, 1)),
        (["one ", "two "], "RpcError: gone", (1, 0, 0)),
    ],
)
def test_errors_lost_and_other_finals_of_a_client_are_counted(
    finals: Sequence[str], error: str, found: tuple[int, int, int]
) -> None:
    times = [(1000, 1900), (5000, 5900)]
    words = [[text.strip(), *time] for text, time in zip(finals, times, strict=False)]
    answer = {
        "file": "a.wav",
        "finals": finals,
        "words": words,
        "interims": 1,
        "error": error,
        "seconds": 10.2,
    }
    made = Load()
    _hold(made, answer, TRACK, ["one", "two"])
    assert (len(made.errors), len(made.lost), len(made.other)) == found
