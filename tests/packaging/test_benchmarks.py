"""The parts of the benchmarks that decide something: a wrong figure looks like any other."""

from __future__ import annotations

import asyncio
import datetime
import math
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from measuring import cpu_seconds, percentile, results_file
from speech_load import (
    Final,
    Latencies,
    Spoken,
    Track,
    make_track,
    most_streams,
    pair,
    sent_with,
)
from spread import bisect, cut
from standings import Measured, bars, gpu_bars
from streamed_words import Bar
from turns import Engine, EngineFailed, Idle, one_round, rounds_within
from websocket import BINARY, CLOSE, TEXT, WebSocket, WebSocketFailed, frame

SCRIPT = """
import json, sys
print(json.dumps({"ready": "echo"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["say"] == "leave":
        break
    if request["say"] == "chatter":
        print("progress: 10 %", flush=True)
    if request["say"] == "fail":
        print(json.dumps({"error": "no such file"}), flush=True)
    print(json.dumps({"said": request["say"]}), flush=True)
"""


class Clock:
    """An engine that uses a second of the processor when asked, and as much as it is told to when another is."""

    def __init__(self, name: str, order: list[str], while_idle: float = 0.0) -> None:
        self.name = name
        self.idle = Idle()
        self._order = order
        self._while_idle = while_idle
        self._used = 0.0

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._order.append(self.name)
        return {"of": self.name, **request}

    def cpu_seconds(self) -> float:
        self._used += self._while_idle
        return self._used


def measured(
    engine: str,
    precision: str,
    seconds: dict[str, list[float]],
    stages: dict[str, dict[str, list[float]]] | None = None,
) -> Measured:
    return Measured(
        engine, precision, engine not in ("ours", "shown"), 0.0, {}, seconds=seconds, stages=stages or {}
    )


def test_a_percentile_is_one_of_the_values_and_not_exceeded_by_so_many() -> None:
    values = [float(value) for value in range(1, 21)]
    random.Random(1).shuffle(values)
    assert [percentile(values, percent) for percent in (5, 50, 95, 99, 100)] == [1, 10, 19, 20, 20]
    assert percentile([3.0], 50) == 3.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_that_does_not_exist_is_an_error(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, percent)


def test_the_clock_of_a_process_counts_its_own_work() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) - before < 0.001:
        sum(range(1000))
    assert cpu_seconds(os.getpid()) < 1e6


def test_results_are_named_after_day_and_machine() -> None:
    where = {"processor": "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", "cores": "4"}
    file = results_file("peers-0.6b", where, datetime.date(2026, 3, 1))
    assert file.name == "2026-03-01-intel-core-i5-8250u-4-cores-peers-0.6b.json"


@pytest.mark.parametrize("start", [-50.0, 0.0, 8.0, 50.0])
def test_bisection_finds_a_bias_from_wherever_it_begins(start: float) -> None:
    tried: list[float] = []

    def tokens(bias: float) -> float:
        tried.append(bias)
        return 12.5 / (1 + math.exp(bias - 3))

    found = bisect(tokens, 4.5, start=start, step=1.0, tolerance=0.05)
    assert abs(tokens(found) - 4.5) <= 0.05
    assert len(tried) == len(set(tried[:-1])) + 1  # nothing is decoded twice


def test_bisection_with_steps_in_the_function_gives_the_nearest() -> None:
    assert round(bisect(lambda x: float(-round(x)), -7.4, start=0.0, step=1.0, tolerance=0.01)) == 7


def test_bisection_says_when_a_goal_cannot_be_reached() -> None:
    with pytest.raises(ValueError, match=r"4\.5 was not reached: 2\.0"):
        bisect(lambda _: 2.0, 4.5, start=0.0, step=1.0, tolerance=0.1)


def test_pieces_have_the_length_asked_for_and_go_around() -> None:
    speech = [np.arange(16_000, dtype=np.float32), np.arange(16_000, 24_000, dtype=np.float32)]
    pieces = cut(speech, 1.0, 3)
    assert [len(piece) for piece in pieces] == [16_000] * 3
    assert [int(piece[0]) for piece in pieces] == [0, 8_000, 16_000]
    assert pieces[2][8_000] == 0  # the end is followed by the beginning


@pytest.mark.parametrize(
    ("budget", "each", "rounds"),
    [(60, 10, 5), (60, 6, 9), (60, 1e-3, 25), (60, 0, 25), (1, 10, 5)],
)
def test_rounds_fit_the_time_within_limits_and_are_odd(budget: float, each: float, rounds: int) -> None:
    assert rounds_within(budget, each) == rounds


def test_every_engine_has_its_turn_and_another_one_begins_each_round() -> None:
    order: list[str] = []
    engines = [Clock(name, order) for name in "abc"]
    for number in range(3):
        answers = one_round(engines, {"file": "x"}, number)
        assert {name: answer["of"] for name, answer in answers.items()} == {"a": "a", "b": "b", "c": "c"}
    assert "".join(order) == "abcbcacab"


def test_what_an_engine_uses_while_others_compute_is_counted_as_idle() -> None:
    order: list[str] = []
    quiet, restless = Clock("quiet", order), Clock("restless", order, while_idle=0.5)
    one_round([quiet, restless], {}, 0)
    assert quiet.idle.cpu_seconds == 0
    assert restless.idle.cpu_seconds == 0.5  # in the other's turn; in its own it is not looked at
    assert restless.idle.share > 1


def test_an_engine_answers_line_by_line_and_its_end_is_said(tmp_path: Path) -> None:
    engine = Engine("echo", [sys.executable, "-c", SCRIPT], tmp_path / "log", {})
    assert engine.ready == {"ready": "echo"}
    assert engine.ask({"say": "one"}) == {"said": "one"}
    assert engine.cpu_seconds() > 0
    assert engine.resident_mb() > 1
    with pytest.raises(EngineFailed, match=r"echo ended; see .*log"):
        engine.ask({"say": "leave"})
    engine.close()


@pytest.mark.parametrize(("say", "problem"), [("chatter", "said 'progress: 10 %"), ("fail", "no such file")])
def test_an_answer_that_is_none_stops_the_run(say: str, problem: str, tmp_path: Path) -> None:
    engine = Engine("echo", [sys.executable, "-c", SCRIPT], tmp_path / "log", {})
    with pytest.raises(EngineFailed, match=problem):
        engine.ask({"say": say})
    engine.close()


def test_an_engine_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="broken ended"):
        Engine("broken", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log", {})


def test_bars_hold_against_the_fastest_peer_of_the_same_precision() -> None:
    rows = [
        measured("ours", "int8", {"3": [0.10], "10": [0.30]}),
        measured("slow", "int8", {"3": [0.50], "10": [0.46]}),
        measured("fast", "int8", {"3": [0.14], "10": [0.90]}),
        measured("shown", "int8", {"3": [0.01], "10": [0.01]}),
        measured("ours", "fp32", {"10": [1.0, 1.0, 9.0]}),
        measured("fast", "fp32", {"10": [1.2, 1.2, 0.1]}),
    ]
    found = [(bar.text.split(":")[0], "slow" in bar.text, bar.held) for bar in bars(rows)]
    assert found == [("int8, 3 s", False, True), ("int8, 10 s", True, False), ("fp32, 10 s", False, True)]


def test_bars_hold_the_shares_of_our_int8_time() -> None:
    stages = {"features": [0.02, 0.02], "encoder": [0.9, 0.88], "decode": [0.09, 0.09]}
    rows = [
        measured("ours", "int8", {"10": [1.0, 1.0]}, {"10": stages}),
        measured("ours", "fp32", {"10": [1.0]}, {"10": stages}),
    ]
    assert [(bar.text.split(",")[1], bar.held) for bar in bars(rows)] == [
        (" 10 s: decode 9.0 % of the time", False),
        (" 10 s: features 2.0 % of the time", True),
    ]


def test_bars_of_a_gpu_hold_what_was_measured_on_one() -> None:
    figures = {
        "peer": {"cuda": {"1": {"ratio": 3.1}, "32": {"ratio": 9.9}}, "cpu": {"1": {"ratio": 0.1}}},
        "rtfx": {
            "cpu int8": {"8": 9000.0},
            "cuda fp32": {"8": 1500.0},
            "cuda fp16": {"8": 2000.0, "64": 3100.0},
        },
    }
    assert [bar.held for bar in gpu_bars(figures, 32)] == [True, False, True]
    assert gpu_bars({"rtfx": {"cpu int8": {"8": 100.0}}}, 32) == []


def test_a_final_belongs_to_the_utterance_whose_words_it_has() -> None:
    spoken = [Spoken("one", 1.0, 2.0), Spoken("two", 4.0, 5.0), Spoken("three", 8.0, 9.0)]
    finals = [
        Final(9.0, 4.6, 5.1, "b"),  # late, and the second half
        Final(6.0, 4.0, 4.5, "a"),
        Final(3.0, 0.9, 2.1, "one"),
        Final(20.0, 30.0, 31.0, "nobody said this"),
    ]
    assert [[final.text for final in found] for found in pair(spoken, finals)] == [["one"], ["a", "b"], []]
    assert pair([], finals) == []


@pytest.mark.parametrize(
    ("seconds", "leaves"), [(0.0, 0.1), (0.05, 0.1), (0.1, 0.2), (0.3, 0.4), (0.7, 0.8), (1.23, 1.3)]
)
def test_a_sample_leaves_at_the_end_of_its_chunk(seconds: float, leaves: float) -> None:
    assert sent_with(seconds, 0.1) == pytest.approx(leaves)


def test_a_window_of_a_track_has_the_utterances_that_are_whole_in_it() -> None:
    track = make_track(
        [("a", np.ones(16_000, np.float32)), ("b", np.ones(8_000, np.float32))], 20.0, (1.0, 2.0)
    )
    for item in track.spoken:
        inside = track.samples[round(item.start * 16_000) : round(item.end * 16_000)]
        assert inside.min() > 0.5
    window = track.window(1, 6.0)
    assert len(window.samples) == 6 * 16_000
    assert window.spoken[0].text == "b"
    assert window.spoken[0].start == pytest.approx(0.5, abs=1e-3)
    assert all(item.end <= 6.0 for item in window.spoken)
    first = window.spoken[0]
    assert window.samples[round((first.start + 0.01) * 16_000)] > 0.5
    with pytest.raises(ValueError, match="too early"):
        track.window(len(track.spoken) - 1, 60.0)


def test_a_window_begins_no_earlier_than_the_track() -> None:
    track = Track(np.zeros(32_000, np.float32), (Spoken("a", 0.2, 1.0),))
    assert track.window(0, 1.5).spoken == (Spoken("a", 0.2, 1.0),)


def test_latencies_without_any_final_are_infinite_and_lost() -> None:
    nothing = Latencies.of([], lost=7, other_words=0)
    assert (nothing.p95, nothing.finals, nothing.lost) == (math.inf, 0, 7)
    assert Latencies.of([0.3, 0.1, 0.2], lost=0, other_words=0).p50 == 0.2


@pytest.mark.parametrize("most", [0, 1, 2, 7, 64, 100, 333])
def test_the_search_comes_within_a_tenth_of_the_most_streams(most: int) -> None:
    held: list[tuple[int, bool]] = []
    while (streams := most_streams(held)) is not None:
        held.append((streams, streams <= most))
        assert len(held) < 30
    found = max((n for n, ok in held if ok), default=0)
    assert found <= most <= found + max(1, found // 10)


def test_a_client_frame_is_that_of_the_standards_example() -> None:
    # RFC 6455, section 5.7: a single-frame masked text message.
    assert frame(b"Hello", TEXT, bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_messages_of_any_length_arrive_as_sent(size: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        _, second = await reader.readexactly(2)
        length = second & 0x7F
        assert second & 0x80
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
        # Back in two parts with a ping between them, then the end.
        half = length // 2
        for first, part in ((BINARY, plain[:half]), (0x89, b"?"), (0x80, plain[half:])):
            head = bytes([first, 127]) + len(part).to_bytes(8)
            writer.write(head + part)
        writer.write(bytes([0x80 | CLOSE, 5]) + b"\x03\xe8bye")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        socket = await WebSocket.open("127.0.0.1", server.sockets[0].getsockname()[1])
        payload = bytes(index % 251 for index in range(size))
        await socket.send(payload)
        assert await socket.receive() == payload
        with pytest.raises(WebSocketFailed, match="closed: bye"):
            await socket.receive()
        await socket.close()


@pytest.mark.parametrize(
    ("whole", "streamed", "held"),
    [(10.44, 9.40, True), (1.80, 2.10, True), (1.80, 2.11, False), (None, 2.0, False), (2.0, None, False)],
)
def test_streaming_may_be_a_little_worse_than_the_whole_and_any_amount_better(
    whole: float | None, streamed: float | None, held: bool
) -> None:
    assert Bar("digits", whole, streamed).held == held
