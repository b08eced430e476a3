"""A server under real-time streams of utterances: one trial, and how it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from measuring import ROOT, cpu_seconds, percentile, resident_mb
from speech_load import RATE, Latencies, Track, pair, sent_with
from speech_servers import Helper, Options, Server, children

CLIPS = ROOT / "daemon/parakeetd/embedded/clips"
PAUSES = (1.5, 4.0)
"""Shortest and longest pause between utterances, seconds."""
FLUSH_SECONDS = 5.0
"""After the last utterance that counts a stream goes on for this long, so that none ends with it."""
LATE_SECONDS = 0.1
"""A load generator that sends later than this (P99) measures itself; its run is marked."""


@dataclass(frozen=True)
class Trial:
    """One server under one load."""

    server: str
    streams: int
    latencies: Latencies
    server_cores: float
    """Processor time over time."""
    client_cores: float
    resident_mb: float
    late_p99: float
    """By how much the load was sent too late, seconds."""
    failures: str = ""
    """How many streams ended with an error, and one of the errors."""

    @property
    def valid(self) -> bool:
        return self.late_p99 <= LATE_SECONDS


def tried(
    server: Server, streams: int, track: Track, options: Options, tell: Callable[[str], object]
) -> Trial:
    """A trial, and another one when its load was not sent in time: a machine can stand still for other reasons.

    Args:
        tell: is given a row of a table for each.
    """
    made = once(server, streams, track, options)
    if not made.valid:
        tell(row(made))
        made = once(server, streams, track, options)
    tell(row(made))
    return made


def once(server: Server, streams: int, track: Track, options: Options) -> Trial:
    with server.helpers(streams, track) as helpers:
        made = asyncio.run(trial(server, streams, track, options, helpers))
    return replace(made, late_p99=max(made.late_p99, *(helper.late_p99 for helper in helpers), 0.0))


async def trial(
    server: Server, streams: int, track: Track, options: Options, helpers: Sequence[Helper]
) -> Trial:
    """Run so many streams at once for `options.seconds` and hold what came back against what was said."""
    clock = asyncio.get_running_loop()
    seconds = options.seconds + FLUSH_SECONDS
    starts = [item.start for item in track.spoken]
    usable = sum(start + seconds + 1 < len(track.samples) / RATE for start in starts)
    windows = [track.window(7 * number % usable, seconds) for number in range(streams)]
    counted = [[item for item in window.spoken if item.end < options.seconds] for window in windows]
    # Evenly over four seconds: people do not begin to speak at once.
    begun = clock.time() + 0.5
    begins = [begun + 4.0 * number / streams for number in range(streams)]
    client_before = time.process_time()
    before = {pid: cpu_seconds(pid) for pid in (server.pid, *(helper.pid for helper in helpers))}
    answers = await asyncio.gather(
        *(server.stream(window, begin, options.chunk) for window, begin in zip(windows, begins, strict=True))
    )
    wall = clock.time() - begun
    used = sum(cpu_seconds(pid) - at_first for pid, at_first in before.items())
    latencies, lost, other = [], 0, 0
    for answer, spoken, begin in zip(answers, counted, begins, strict=True):
        for item, finals in zip(spoken, pair(spoken, answer.finals), strict=True):
            if not finals:
                lost += 1
                continue
            known = begin + sent_with(item.end + options.end_silence, options.chunk)
            latencies.append(finals[-1].received - known)
            other += " ".join(final.text for final in finals) != item.text
    failures = [answer.failure for answer in answers if answer.failure]
    late = [value for answer in answers for value in answer.late]
    return Trial(
        server.name,
        streams,
        Latencies.of(latencies, lost=lost, other_words=other),
        used / wall,
        (time.process_time() - client_before) / wall,
        sum(resident_mb(pid) for pid in (server.pid, *children(server.pid))),
        percentile(late, 99),
        f"{len(failures)} streams ended with an error, such as {failures[0]}" if failures else "",
    )


HEAD = (
    "| server | streams | P50 | P95 | P99 | finals | lost | other words | server | client | memory | sent late |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(made: Trial) -> str:
    took = made.latencies
    times = " | ".join(f"{1e3 * value:.0f} ms" for value in (took.p50, took.p95, took.p99))
    return (
        f"| {made.server} | {made.streams} | {times} | {took.finals} | {took.lost} | {took.other_words} "
        f"| {made.server_cores:.2f} cores | {made.client_cores:.2f} cores | {made.resident_mb:.0f} MB "
        f"| {1e3 * made.late_p99:.0f} ms{'' if made.valid else ', too late'} |{made.failures and ' ' + made.failures}"
    )
