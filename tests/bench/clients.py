"""Clients that are too many, killed, stopped, or may not come in: `python tests/bench/clients.py`. See README.md.

The real server with an engine that a row can stall, in this process; the clients are processes of their own. Prints a
line for each row; exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import grpc
from grpc_health.v1 import health_pb2

from measuring import machine
from parakeetd.audio import SAMPLE_RATE
from parakeetd.measure.machine import resident_memory
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.session import ServedModel, SessionSettings
from parakeetd.vad import Segmentation
from wire import Client, Daemon, WatchedSessions, chunks, opening, speech

SUPPORT = Path(__file__).resolve().parents[1] / "support"

FREED_SECONDS = 1.0
"""After a client is killed."""
UNREAD_SECONDS = 2.0
"""Of audio, for each stream of a stalled engine."""
IDLE_SECONDS = 3.0
MARGIN_SECONDS = 1.0
"""Beyond the idle limit: what the limit counts from is up to a message earlier than what this clock counts from."""
MAX_STREAMS = 20
FLOOD = 1000
FLOOD_MB = 20.0
"""Memory that a flood of connections may take."""
ANOTHER_USER = 65_534


@dataclass(frozen=True)
class Row:
    name: str
    figure: float
    bound: float
    unit: str
    held: bool
    """Beside the bound, everything else that the row says."""
    told: str = ""

    @property
    def ok(self) -> bool:
        return self.held and self.figure <= self.bound


@asynccontextmanager
async def serving(folder: str, engine: FakeEngine, settings: SessionSettings) -> AsyncIterator[Daemon]:
    router = Router({"cpu": lambda: engine})
    sessions = WatchedSessions((ServedModel("fake", ("en-US",), router),), settings)
    server = RpcServer(sessions, ("127.0.0.1:0", f"unix:{folder}/p.sock"))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses[1]) as channel:
            with contextlib.closing(Client(server.addresses[0], channel)) as client:
                yield Daemon(server, sessions, client)
    finally:
        if engine.gate is not None:
            engine.gate.set()
        await server.drain(0.1, 5)
        await asyncio.to_thread(router.close, 5)


async def healthy(daemon: Daemon) -> bool:
    check: Any = daemon.client.channel.unary_unary("/grpc.health.v1.Health/Check")
    answer = health_pb2.HealthCheckResponse.FromString(await check(b"", timeout=10))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def streaming(address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client process that streams speech until it is ended."""
    path = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        SUPPORT / "endless_client.py",
        address,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        if process.stdout is None or await process.stdout.readline() != b"streaming\n":
            raise SystemExit("the client did not start")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def one_too_many(folder: str, _rounds: int) -> Row:
    async with serving(folder, FakeEngine(), SessionSettings(max_streams=MAX_STREAMS)) as daemon:
        calls = [daemon.client.stream() for _ in range(MAX_STREAMS)]
        for call in calls:
            for request in (opening(), *chunks(speech(0.5))):
                await call.write(request)
        await daemon.sessions.until(lambda: daemon.sessions.active == MAX_STREAMS)
        begun = time.perf_counter()
        code, message = await daemon.client.refusal(opening())
        seconds = time.perf_counter() - begun
        refused = code is grpc.StatusCode.RESOURCE_EXHAUSTED and "limits.max_streams" in message
        held = refused and await healthy(daemon)
        for call in calls:
            call.done_writing()
        ends = await asyncio.gather(*(call.ending() for call in calls))
        held = held and all(end.code is grpc.StatusCode.OK and end.texts for end in ends)
    return Row("one stream more than the limit: refused after", seconds, 5.0, "s", held, message)


async def stalled_engine(folder: str, _rounds: int) -> Row:
    settings = SessionSettings(
        detector="off", segmentation=Segmentation(max_segment_ms=2_000, overlap_ms=0), idle_seconds=600.0
    )
    async with serving(folder, FakeEngine(gate=threading.Event()), settings) as daemon:

        async def send() -> float:
            """Seconds of audio that the server takes of a client that sends as fast as it can."""
            call, sent = daemon.client.stream(), 0.0
            await call.write(opening())
            with contextlib.suppress(TimeoutError):
                for request in chunks(speech(120.0)):
                    async with asyncio.timeout(3.0):
                        await call.write(request)
                    sent += 0.02
            return sent

        sent = await asyncio.gather(*(send() for _ in range(5)))
        unread = (sum(sent) - daemon.sessions.heard_samples / SAMPLE_RATE) / len(sent)
    return Row("stalled engine: unread audio of a stream", unread, UNREAD_SECONDS, "s", unread > 0)


async def killed(folder: str, rounds: int) -> Row:
    worst, engine, held = 0.0, FakeEngine(), True
    async with serving(folder, engine, SessionSettings()) as daemon:
        for _ in range(rounds):
            async with streaming(daemon.server.addresses[0]) as client:
                await daemon.sessions.until(lambda: daemon.sessions.active == 1)
                before = len(engine.pieces)
                begun = time.perf_counter()
                client.kill()
                await daemon.sessions.until(lambda: daemon.sessions.active == 0)
                worst = max(worst, time.perf_counter() - begun)
                # A final of what it had said would have been asked for by now.
                held = held and len(engine.pieces) == before and daemon.sessions.queued_seconds == 0
        held = held and await healthy(daemon)
    return Row(f"client SIGKILLed, {rounds} times: freed within", worst, FREED_SECONDS, "s", held, "no final")


async def stopped(folder: str, rounds: int) -> Row:
    worst = 0.0
    async with serving(folder, FakeEngine(), SessionSettings(idle_seconds=IDLE_SECONDS)) as daemon:
        for _ in range(max(1, rounds // 5)):
            async with streaming(daemon.server.addresses[0]) as client:
                await daemon.sessions.until(lambda: daemon.sessions.active == 1)
                begun = time.perf_counter()
                client.send_signal(signal.SIGSTOP)
                await daemon.sessions.until(lambda: daemon.sessions.active == 0)
                worst = max(worst, time.perf_counter() - begun)
        held = await healthy(daemon)
    bound = IDLE_SECONDS + MARGIN_SECONDS
    return Row(f"client SIGSTOPped, idle limit {IDLE_SECONDS:g} s: ended within", worst, bound, "s", held)


async def flooded(folder: str, _rounds: int) -> Row:
    async with serving(folder, FakeEngine(), SessionSettings()) as daemon:
        host, port = daemon.server.addresses[0].split(":")
        await healthy(daemon)
        before = resident_memory()
        with contextlib.ExitStack() as stack:
            for _ in range(FLOOD):
                stack.enter_context(await asyncio.to_thread(socket.create_connection, (host, int(port)), 10))
            held = await healthy(daemon)
            megabytes = (resident_memory() - before) / 1e6
        held = held and await daemon.client.text(speech(0.5)) == "500ms"
    return Row(f"{FLOOD} connections of one peer: memory", megabytes, FLOOD_MB, "MB", held, "health answers")


async def another_user(folder: str, _rounds: int) -> Row:
    if os.geteuid() != 0:
        return Row("another uid opens the socket: not tried, only root can", 0, 0, "", True)
    Path(folder).chmod(0o755)  # noqa: ASYNC240  (a moment, before anything is measured)
    async with serving(folder, FakeEngine(), SessionSettings()):
        script = (
            f"import os, socket; s = socket.socket(socket.AF_UNIX); os.setgroups([]); os.setgid({ANOTHER_USER}); "
            f"os.setuid({ANOTHER_USER}); s.connect({folder + '/p.sock'!r})"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stderr=subprocess.PIPE)
        _, said = await process.communicate()
    refused = process.returncode != 0 and b"PermissionError" in said
    return Row("another uid opens the socket", 0 if refused else 1, 0, "times", refused)


async def remote_without_guard(_folder: str, _rounds: int) -> Row:
    command = [sys.executable, "-m", "parakeetd.cli", "serve", "--listen", "0.0.0.0:0"]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    held = done.returncode == 2 and "other machines" in done.stderr
    return Row("TCP for other machines without a guard: starts", 0 if held else 1, 0, "times", held)


ROWS: tuple[Callable[[str, int], Awaitable[Row]], ...] = (
    one_too_many,
    stalled_engine,
    killed,
    stopped,
    flooded,
    another_user,
    remote_without_guard,
)


async def measured(rounds: int) -> list[Row]:
    rows = []
    for row in ROWS:
        with tempfile.TemporaryDirectory(prefix="parakeetd-clients-") as folder:
            found = await row(folder, rounds)
        rows.append(found)
        bound = f"bound {found.bound:g} {found.unit}".rstrip()
        print(
            f"{found.name:56} {found.figure:7.2f} {found.unit:5} {bound}  {found.told}"
            f"{'' if found.ok else '  MISSED'}".rstrip()
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="clients that are killed; a fifth is stopped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    rows = asyncio.run(measured(arguments.rounds))
    if arguments.json:
        figures = {"machine": machine(), "rows": [asdict(row) | {"ok": row.ok} for row in rows]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
