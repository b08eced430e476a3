"""Engines in processes of their own that take turns: one computes, the others wait for their line.

The protocol is one JSON object a line. The engine says first that it is ready (`{"ready": ..., "load_seconds": ...}`),
then answers each line with one line. What its libraries print goes elsewhere: see `peers_engine.py`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from measuring import cpu_seconds, resident_mb


class EngineFailed(Exception):
    """An engine ended, or answered something else than a line of JSON."""


@dataclass
class Idle:
    """What an engine used of the processor while another one computed."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu_seconds / self.wall_seconds if self.wall_seconds else 0.0


class TakesTurns(Protocol):
    """An engine, or what stands for one in a test."""

    @property
    def name(self) -> str: ...

    @property
    def idle(self) -> Idle: ...

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]: ...

    def cpu_seconds(self) -> float: ...


@dataclass
class Engine:
    """A process that speaks the protocol."""

    name: str
    command: Sequence[str]
    log: Path
    """Where its error output goes."""
    environment: Mapping[str, str]
    idle: Idle = field(default_factory=Idle)

    def __post_init__(self) -> None:
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(self.environment),
                text=True,
            )
        try:
            self.ready = self._answer()
        except EngineFailed:
            self.close()
            raise

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            EngineFailed: it ended instead, or said what it could not do.
        """
        if self._process.stdin is None:
            raise EngineFailed(f"{self.name} has no input")
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EngineFailed(f"{self.name} ended; see {self.log}") from None
        return self._answer()

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def resident_mb(self) -> float:
        return resident_mb(self._process.pid)

    def close(self) -> None:
        """End it: it leaves when its input ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise EngineFailed(f"{self.name} ended; see {self.log}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise EngineFailed(f"{self.name} said {line!r} instead of an answer; see {self.log}") from None
        if "error" in answer:
            raise EngineFailed(f"{self.name}: {answer['error']}")
        return answer


def one_round(
    engines: Sequence[TakesTurns], request: Mapping[str, Any], number: int
) -> dict[str, dict[str, Any]]:
    """Ask each engine the same once, beginning with another one each round; their answers by name.

    What every other engine used of the processor in a turn is added to its `idle`.
    """
    answers = {}
    begin = number % len(engines)
    for engine in [*engines[begin:], *engines[:begin]]:
        others = [other for other in engines if other is not engine]
        before = [other.cpu_seconds() for other in others]
        started = time.perf_counter()
        answers[engine.name] = engine.ask(request)
        wall = time.perf_counter() - started
        for other, used in zip(others, before, strict=True):
            other.idle.cpu_seconds += other.cpu_seconds() - used
            other.idle.wall_seconds += wall
        settle(engine)
    return answers


def settle(engine: TakesTurns, *, step_seconds: float = 0.02, patience_seconds: float = 0.5) -> None:
    """Wait until an engine sleeps: ONNX Runtime's threads, as it sets them up, spin for some 50 ms after a run."""
    before = engine.cpu_seconds()
    for _ in range(round(patience_seconds / step_seconds)):
        time.sleep(step_seconds)
        now = engine.cpu_seconds()
        if now - before < 0.05 * step_seconds:
            return
        before = now


def rounds_within(budget_seconds: float, round_seconds: float, *, least: int = 5, most: int = 25) -> int:
    """How many rounds fit into the time, within these limits; an odd number, so that a median is a measurement."""
    fitting = int(budget_seconds / round_seconds) if round_seconds > 0 else most
    rounds = min(max(fitting, least), most)
    return rounds if rounds % 2 else rounds - 1
