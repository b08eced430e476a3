"""The service on a Ray cluster of three nodes on this machine: text, spread, a lost node, draining, and what it costs.

    make test-cluster
    .venv-cluster/bin/python tests/bench/cluster.py [--parts text,spread,...] [--streams 30] [--results]

Parts: `text`: NVIDIA's own client, unmodified, gets the same from the cluster as from a single daemon. `spread`: where
streams go. `lost`: a node is killed under load. `bulk`: the same under 200 files, and a recording of an hour, which
nobody may hold as a whole. `drain`: replicas are replaced under load, and one whose time is over. `cost`: latency and
processor time, the cluster and a single daemon in turns, and what follows for 10,000 streams.

The nodes are Ray's own (`ray.cluster_utils`): processes of this machine that are told they have a core each. Exit code
1 when something that was promised did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np
import soundfile

import steady_load
from clips import CLIPS
from clock_load import Load, Timed, stream
from cluster_cost import STREAMS, estimate, summed
from commands import PARAKEETD
from many_files import judged as judged_files
from many_files import many_files
from measuring import ROOT, cpu_seconds, machine, results_file, write_results
from ray_cluster import Nodes, memory, nodes, used, used_since
from speech_load import RATE
from steady_load import Talk, judged
from watching import watched

REPLICAS: Final = 3

NEW_STREAMS_SECONDS: Final = 10.0
"""After a node was killed, new streams succeed by then."""

STREAM_LIMIT: Final = 32

BULK_FILES: Final = 200
BULK_JOBS: Final = 8
BULK_SECONDS: Final = 300.0
LONG_SECONDS: Final = 3600

COST_STREAMS: Final = 8
COST_SECONDS: Final = 25.0


def config(**cluster: object) -> str:
    """Three replicas, one a node, and the proxy at the head alone: the nodes share an address."""
    wanted = {"proxies": "head", "cpus": 0.9, "min_replicas": REPLICAS, "max_replicas": REPLICAS} | cluster
    keys = "\n".join(f"{key} = {json.dumps(value)}" for key, value in wanted.items())
    return f"limits.max_streams = {STREAM_LIMIT}\n[cluster]\n{keys}"


class Bench:
    """The parts, their figures, and what did not hold."""

    def __init__(self, cluster: Nodes, streams: int, client: Path) -> None:
        self.cluster = cluster
        self.streams = streams
        self.client = client
        self.problems: list[str] = []

    def text(self) -> dict[str, Any]:
        """The unmodified client's text, streamed and in one message."""
        files = sorted(CLIPS.glob("*.flac"))
        heard: dict[str, list[Any]] = {}
        with watched() as daemon:
            for name, address in (("daemon", daemon.address), ("cluster", self.cluster.proxy)):
                heard[name] = [
                    self._asked(way, address, file) for file in files for way in ("stream", "offline")
                ]
        same = sum(one == other for one, other in zip(heard["daemon"], heard["cluster"], strict=True))
        calls = len(files) * 2
        self._promise(same == calls, f"{calls - same} of {calls} answers are not those of the single daemon")
        print(f"text: {same} of {calls} answers of {len(files)} recordings are those of the single daemon")
        return {"calls": calls, "same": same}

    def _asked(self, way: str, address: str, file: Path) -> Any:
        command = [str(self.client), str(ROOT / "tests/support/riva_client.py"), way, address, str(file)]
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=60, env={"PATH": os.environ["PATH"]}
        )
        told = json.loads(done.stdout)
        return told["finals"], told["words"]

    async def spread(self) -> dict[str, Any]:
        """Where streams go."""
        load = Load(self.cluster.proxy, self.streams, 25.0)
        await asyncio.sleep(15)
        held = await asyncio.to_thread(self.counts)
        made = await load.ended()
        self._judge("spread", made)
        self._promise(
            sum(held.values()) == self.streams,
            f"{sum(held.values())} streams are counted, not {self.streams}",
        )
        self._promise(
            len(held) == REPLICAS and min(held.values()) > 0, f"a replica has no streams: {dict(held)}"
        )
        shares = ", ".join(f"{count} at {replica}" for replica, count in sorted(held.items()))
        print(f"spread: {self.streams} streams: {shares}")
        return {"streams": self.streams, "by_replica": dict(held)}

    def counts(self) -> Counter[str]:
        """Streams by replica, now."""
        return Counter(
            {one["replica"]: one["standing"]["streams"] for one in self.cluster.status()["replicas"]}
        )

    async def lost(self) -> dict[str, Any]:
        """A node is killed under load."""
        load = Load(self.cluster.proxy, self.streams, 40.0)
        await asyncio.sleep(12)
        before = await asyncio.to_thread(self.cluster.status)
        victim = next(one for one in before["replicas"] if one["node_id"] != self.cluster.head)
        had = victim["standing"]["streams"]
        killed = time.monotonic()
        await asyncio.to_thread(self.cluster.lose, victim["node_id"])
        probes = await asyncio.gather(*(self._probe(killed + after) for after in range(14)))
        made = await load.ended()
        ended = [one for one in made if one.code == "UNAVAILABLE"]
        others = [one for one in made if one.code != "UNAVAILABLE"]
        self._judge("lost: elsewhere", others)
        self._promise(
            len(ended) == had, f"{len(ended)} streams ended with UNAVAILABLE; the replica had {had}"
        )
        self._promise(not any(one.repeated() for one in ended), "a lost stream was told something twice")
        # When the first began after which all succeeded.
        good = 0.0
        for after, one in enumerate(probes):
            if one.code != "OK" or judged([one]):
                good = after + 1.0
        self._promise(good <= NEW_STREAMS_SECONDS, f"new streams fail until {good:.0f} s after the loss")
        after_it = await asyncio.to_thread(self.cluster.status)
        remain = {one["replica"]: one for one in before["replicas"] if one is not victim}
        taken = sum(
            one["taken"] - remain[one["replica"]]["taken"]
            for one in after_it["replicas"]
            if one["replica"] in remain
        )
        served = sum(one.code == "OK" for one in probes)
        self._promise(
            taken == served, f"the others took {taken} streams after the loss, {served} new ones were served"
        )
        notice = [round(one.ended - killed, 2) for one in ended]
        refused = Counter(one.code for one in probes if one.code != "OK")
        print(
            f"lost: a node with {had} streams was killed: {len(ended)} ended with UNAVAILABLE, "
            f"{min(notice, default=0):.1f} to {max(notice, default=0):.1f} s later; {len(others)} others went on; "
            f"{len(probes)} new streams, one a second: all succeed from {good:.0f} s on "
            f"({dict(refused) or 'none failed'}); the replicas left took {taken} streams, none of the lost"
        )
        added = time.monotonic()
        # Ray wants the main thread; nothing else goes on.
        self.cluster.add()
        await asyncio.to_thread(self.cluster.until, REPLICAS, 90.0)
        back = time.monotonic() - added
        print(f"lost: {back:.0f} s after a new node had joined there were {REPLICAS} replicas again")
        return {
            "streams": self.streams,
            "lost": had,
            "unavailable": len(ended),
            "noticed_seconds": notice,
            "new_streams_succeed_from_seconds": good,
            "new_streams_failed": dict(refused),
            "others_undisturbed": len(others),
            "replaced_seconds": round(back, 1),
        }

    async def _probe(self, at: float) -> Timed:
        await asyncio.sleep(at - time.monotonic())
        [one] = Load(self.cluster.proxy, 1, 6.0).streams
        await stream(self.cluster.proxy, one, asyncio.get_running_loop().time())
        return one

    def bulk(self) -> dict[str, Any]:
        """Files, of which none is lost or doubled though a node is killed; and a recording of an hour."""
        told: dict[str, Any] = {"files": BULK_FILES, "jobs": BULK_JOBS}
        with tempfile.TemporaryDirectory(prefix="parakeetd-bulk-") as folder:
            work = Path(folder)
            many = many_files(work / "in", BULK_FILES)
            victim = next(
                one for one in self.cluster.status()["replicas"] if one["node_id"] != self.cluster.head
            )
            begun = time.monotonic()
            with self._transcribing(many.folder, work / "out") as command:
                while (made := sum(1 for _ in (work / "out").rglob("*.json"))) < BULK_FILES * 0.3:
                    if command.poll() is not None:
                        raise RuntimeError(f"transcribe --cluster ended after {made} results")
                    time.sleep(0.05)
                self.cluster.lose(victim["node_id"])
                code = command.wait(BULK_SECONDS)
            told["seconds"] = round(time.monotonic() - begun, 1)
            told["results_when_killed"] = made
            wrong = judged_files(many, work / "out")
            self.problems += [f"bulk: {problem}" for problem in wrong]
            self._promise(code == 0, f"bulk: the command ended with {code}")
            print(
                f"bulk: {BULK_FILES} files in {told['seconds']} s, a node killed after {made} results: "
                f"exit code {code}, {len(wrong)} lost, doubled or with another text"
            )
            self.cluster.add()
            self.cluster.until(REPLICAS, 90.0)
            told["long"] = self._long(work)
        return told

    def _long(self, work: Path) -> dict[str, Any]:
        file = work / "long" / "hour.wav"
        file.parent.mkdir()
        talk = np.concatenate(
            [soundfile.read(CLIPS / "pauses.flac", dtype="int16")[0], np.zeros(RATE, "<i2")]
        )
        with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16") as into:
            while into.frames < LONG_SECONDS * RATE:
                into.write(talk)
        before, peak = memory(), dict[str, float]()
        with self._transcribing(file.parent, work / "long_out") as command:
            while command.poll() is None:
                for kind, mb in memory().items():
                    peak[kind] = max(peak.get(kind, 0.0), mb)
                time.sleep(0.2)
        grown = {kind: round(peak[kind] - before.get(kind, 0.0), 1) for kind in ("proxies", "replicas")}
        audio_mb = LONG_SECONDS * RATE * 2 / 1e6
        self._promise(command.returncode == 0, f"bulk: the long file ended with {command.returncode}")
        print(
            f"bulk: a recording of {LONG_SECONDS} s, {audio_mb:.0f} MB of samples; memory grew by {grown} MB"
        )
        for kind, mb in grown.items():
            self._promise(mb < audio_mb / 2, f"bulk: {kind} hold a long recording: {mb} MB")
        return {"seconds_of_audio": LONG_SECONDS, "audio_mb": round(audio_mb), "grown_mb": grown}

    def _transcribing(self, folder: Path, output: Path) -> subprocess.Popen[bytes]:
        options = ["--cluster", self.cluster.proxy, "--format", "json", "--jobs", str(BULK_JOBS)]
        return subprocess.Popen([*PARAKEETD, "transcribe", *options, "--output", str(output), str(folder)])

    async def drain(self) -> dict[str, Any]:
        """Replicas are replaced under load: with time enough, and with too little."""
        told: dict[str, Any] = {}
        for name, drain_seconds, codes in (("in_time", 60.0, {"OK"}), ("too_late", 4.0, {"UNAVAILABLE"})):
            # What holds is the time of the deployment that goes.
            await asyncio.to_thread(self.cluster.deploy, config(drain_seconds=drain_seconds))
            load = Load(self.cluster.proxy, 9, 25.0)
            await asyncio.sleep(5)
            before = set(await asyncio.to_thread(self.counts))
            again = config(drain_seconds=drain_seconds).replace(
                "limits.", "limits.idle_seconds = 59\nlimits."
            )
            if name == "too_late":
                again = again.replace("= 59", "= 58")
            deploying = asyncio.create_task(asyncio.to_thread(self.cluster.deploy, again))
            made = await load.ended()
            await deploying
            await asyncio.to_thread(self.cluster.until, REPLICAS, 60.0)
            after = set(await asyncio.to_thread(self.counts))
            found = Counter(one.code for one in made)
            self._promise(not before & after, f"drain, {name}: replicas are still the same")
            self._promise(set(found) == codes, f"drain, {name}: streams ended with {dict(found)}")
            if name == "in_time":
                self._judge("drain", made)
            print(
                f"drain: {drain_seconds:.0f} s for streams of 25 s while all replicas are replaced: {dict(found)}"
            )
            told[name] = {"drain_seconds": drain_seconds, "codes": dict(found)}
        return told

    async def cost(self) -> dict[str, Any]:
        """Latency and processor time, in turns."""
        told: dict[str, Any] = {}
        for chunk in (0.1, 0.02):
            steady_load.CHUNK = chunk
            rounds = [await self._turn() for _ in range(2)]
            told[f"{chunk * 1000:.0f}_ms"] = part = summed(rounds, COST_STREAMS * COST_SECONDS)
            print(
                f"cost: messages of {chunk * 1000:.0f} ms, {COST_STREAMS} streams: final after the end of speech, "
                f"daemon P50 {part['daemon']['p50']:.0f} P95 {part['daemon']['p95']:.0f} ms, "
                f"cluster P50 {part['cluster']['p50']:.0f} P95 {part['cluster']['p95']:.0f} ms; "
                f"processor time for a second of a stream: daemon {part['daemon']['cpu_ms']['daemon']:.1f} ms, cluster "
                + ", ".join(f"{kind} {ms:.1f} ms" for kind, ms in sorted(part["cluster"]["cpu_ms"].items()))
            )
        steady_load.CHUNK = 0.1
        before = used()
        await asyncio.sleep(10)
        told["idle_cores"] = {kind: round(spent / 10, 4) for kind, spent in used_since(before).items()}
        told["memory_mb"] = {kind: round(mb) for kind, mb in memory().items()}
        print(f"cost: with nothing to do, cores: {told['idle_cores']}; memory, MB: {told['memory_mb']}")
        for name in ("100_ms", "20_ms"):
            told[name]["estimate"] = estimate(
                told[name]["cluster"]["cpu_ms"], told["idle_cores"], COST_STREAMS
            )
            print(
                f"estimate for {STREAMS} streams, messages of {name.replace('_', ' ')}: {told[name]['estimate']}"
            )
        return told

    async def _turn(self) -> dict[str, Any]:
        with watched(config=f"[limits]\nmax_streams = {STREAM_LIMIT}\n") as daemon:

            def spent() -> Callable[[], dict[str, float]]:
                before = cpu_seconds(daemon.pid)
                return lambda: {"daemon": cpu_seconds(daemon.pid) - before}

            plain = await self._loaded(daemon.address, spent)

        def spent_there() -> Callable[[], dict[str, float]]:
            before = used()
            return lambda: used_since(before)

        return {"daemon": plain, "cluster": await self._loaded(self.cluster.proxy, spent_there)}

    async def _loaded(
        self, address: str, begin: Callable[[], Callable[[], dict[str, float]]]
    ) -> dict[str, Any]:
        await Load(address, 3, 5.0).ended()
        spent = begin()
        made = await Load(address, COST_STREAMS, COST_SECONDS).ended()
        cpu = spent()
        self._judge("cost", made)
        return {"cpu": cpu, "latency": [seconds for one in made for seconds in one.latencies()]}

    def _judge(self, part: str, made: Sequence[Talk]) -> None:
        self.problems += [f"{part}: {problem}" for problem in judged(made)]
        for one in made:
            self._promise(one.code == "OK", f"{part}: a stream ended with {one.code}: {one.details}")

    def _promise(self, held: bool, problem: str) -> None:
        if not held:
            self.problems.append(problem)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="text,spread,lost,bulk,drain,cost")
    parser.add_argument("--streams", type=int, default=30)
    parser.add_argument(
        "--client", type=Path, default=ROOT / ".venv-riva/bin/python", help="that has the client"
    )
    parser.add_argument("--results", action="store_true", help="write the figures to tests/bench/results")
    options = parser.parse_args()
    where = machine()
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    report: dict[str, Any] = {"machine": where, "nodes": REPLICAS}
    with (
        tempfile.TemporaryDirectory(prefix="parakeetd-cluster-") as home,
        nodes(REPLICAS, Path(home)) as cluster,
    ):
        cluster.deploy(config())
        cluster.until(REPLICAS, 60.0)
        bench = Bench(cluster, options.streams, options.client)
        for part in options.parts.split(","):
            made = getattr(bench, part)()
            report[part] = asyncio.run(made) if asyncio.iscoroutine(made) else made
        cluster.remove()
    report["problems"] = bench.problems
    report["load_at_the_end"] = f"{os.getloadavg()[0]:.1f}"
    for problem in bench.problems[:40]:
        print(f"PROBLEM: {problem}")
    if options.results:
        today = datetime.datetime.now(datetime.UTC).date()
        print(write_results(results_file("cluster", where, today), report))
    return int(bool(bench.problems))


if __name__ == "__main__":
    sys.exit(main())
