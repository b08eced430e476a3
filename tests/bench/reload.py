"""Models are switched under streams: no final may be missing, twice, out of order or another one, and the memory of
what was replaced must come back.

    python tests/bench/reload.py [--rounds 20] [--streams 4] [--other FOLDER] [--json FILE]

The daemon serves a copy of the embedded model, `one`. While streams are recognised it is reloaded to another copy,
`two`, and back: both write the same text, so that every stream must be what it is without a reload. In between it is
reloaded to a bundle that is damaged, which has to be refused. At the end, with no stream open, it is reloaded to the
model in FOLDER (a bundle of another size; without it, again to `two`) and back, with its memory printed at each step.

Exits with 1 when a stream differs, a reload fails or succeeds that should not, or when more than `MOST_GROWTH` of the
memory at the beginning is still there at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import grpc

from commands import Served, served
from live_load import listen
from measuring import machine, write_results
from parakeetd.errors import CallFailed
from parakeetd.measure.machine import resident_memory
from parakeetd.model.bundle import EMBEDDED, MANIFEST, Bundle
from parakeetd.rpc.remote_control import RemoteControl
from speech_load import Track, make_track, shipped_pieces

MOST_GROWTH = 0.10
"""Of the resident memory, from after the first streams and switches, when allocators have made their arenas, to the
end."""

CLOSED = "model {}, which was replaced or unloaded, is closed"
"""In the log."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="switches under load")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--pace", type=float, default=2.0, help="times the speed of speech")
    parser.add_argument("--other", type=Path, help="a bundle of another size")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parakeetd-reload-") as folder:
        figures = run(Path(folder), options)
    failed = bool(figures["wrong"]) or figures["growth"] > MOST_GROWTH
    for line in figures["wrong"][:10]:
        print(f"  {line}")
    if options.json:
        print(
            write_results(options.json, {"date": f"{datetime.date.today()}", "machine": machine()} | figures)
        )
    print("missed" if failed else "held")
    return int(failed)


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    models = folder / "models"
    for name in ("one", "two", "broken"):
        copy(EMBEDDED, models / name)
    (models / "broken" / "encoder-model.onnx").write_bytes(b"half")
    largest = "two"
    if options.other:
        largest = Bundle.read(options.other).name
        copy(options.other, models / largest)
    address = f"unix:{folder}/p.sock"
    environment = dict(os.environ) | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    # Who stops this whole machine for a minute is not what is measured.
    config = folder / "config.toml"
    config.write_text("[limits]\nidle_seconds = 600\n")
    arguments = (
        "--config",
        config,
        "--model",
        "one",
        "--models",
        models,
        "--device",
        "cpu",
        "--listen",
        address,
    )
    with served(*arguments, env=environment, seconds=3600) as daemon:
        control = RemoteControl(address)
        figures = asyncio.run(under_load(daemon, control, address, options))
        memory = [("with one, after all that", resident_memory(daemon.process.pid))]
        for name in (largest, "one"):
            switch(daemon, control, name)
            memory.append((f"with {name} instead", resident_memory(daemon.process.pid)))
        if daemon.end() != 0:
            figures["wrong"].append("it did not end well")
    figures["wrong"] += [line for line in daemon.said if "Traceback" in line]
    first = figures["resident_first"]
    figures["growth"] = round(memory[-1][1] / first - 1, 3)
    for what, size in (("with one, after the first streams and switches", first), *memory):
        print(f"{size / 1e6:7.0f} MB {what}")
    figures["memory"] = memory
    print(f"{figures['growth']:+.1%} from the first to the last, of {MOST_GROWTH:.0%} that are allowed")
    return figures


async def under_load(
    daemon: Served, control: RemoteControl, address: str, options: argparse.Namespace
) -> dict[str, Any]:
    track = make_track(shipped_pieces(EMBEDDED.parent / "clips"), 20.0, (0.8, 1.2))
    expected = await finals(address, track, options.pace)
    if not expected:
        raise SystemExit("nothing was recognised without a reload")
    print(f"without a reload: {len(expected)} finals", flush=True)
    for name in ("two", "one"):
        await asyncio.gather(*(finals(address, track, options.pace) for _ in range(options.streams)))
        await asyncio.to_thread(switch, daemon, control, name)
    first = resident_memory(daemon.process.pid)
    wrong: list[str] = []
    counted = [0]
    done = asyncio.Event()

    async def stream(number: int) -> None:
        while not done.is_set():
            # Not all at the same place.
            await asyncio.sleep(random.random())
            try:
                got = await finals(address, track, options.pace, interim=number % 2 == 0)
            except grpc.aio.AioRpcError as error:
                wrong.append(f"stream {number}: {error.code().name}: {error.details()}")
                continue
            counted[0] += len(got)
            if got != expected:
                wrong.append(f"stream {number}: {got} instead of {expected}")

    took: list[float] = []
    async with asyncio.TaskGroup() as group:
        for number in range(options.streams):
            group.create_task(stream(number))
        for number in range(options.rounds):
            await asyncio.sleep(random.uniform(0.1, 1.5))
            begun = time.monotonic()
            name, before = ("one", "two") if number % 2 else ("two", "one")
            await asyncio.to_thread(control.reload, name)
            took.append(time.monotonic() - begun)
            await asyncio.to_thread(daemon.wait_for, CLOSED.format(before))
            if number % 4 == 0:
                try:
                    await asyncio.to_thread(control.reload, "broken")
                except CallFailed:
                    continue
                wrong.append("a damaged bundle was taken")
        done.set()
    if options.rounds % 2:
        await asyncio.to_thread(switch, daemon, control, "one")
    print(
        f"{options.rounds} switches under {options.streams} streams, each within {max(took):.2f} s: "
        f"{counted[0]} finals, {len(wrong)} streams differ",
        flush=True,
    )
    return {
        "rounds": options.rounds,
        "streams": options.streams,
        "finals": counted[0],
        "slowest_reload_seconds": round(max(took), 3),
        "resident_first": first,
        "wrong": wrong,
    }


async def finals(
    address: str, track: Track, pace: float, *, interim: bool = False
) -> list[tuple[str, float]]:
    heard = await listen(address, track, interim=interim, pace=pace, chunk_seconds=0.1)
    return [(said.text, said.audio) for said in heard.results if said.final]


def switch(daemon: Served, control: RemoteControl, name: str) -> None:
    """Reload to a model and wait until the one before has left."""
    before = control.status().models[0].name
    control.reload(name)
    if before != name:
        daemon.wait_for(CLOSED.format(before))


def copy(bundle: Path, to: Path) -> None:
    """A bundle under another name."""
    shutil.copytree(bundle, to)
    file = to / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"name": to.name}))


if __name__ == "__main__":
    sys.exit(main())
