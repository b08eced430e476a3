"""A Ray cluster of several nodes on this machine, by Ray's own utilities, with our commands against it.

Only in the environment that has the extra `[cluster]`. The nodes are processes: each has a raylet, workers and memory
of its own, and as many cores as we say; they share the real ones, and the address.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Before Ray is imported, for all that it starts.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

from ray.cluster_utils import Cluster

from measuring import cpu_seconds, resident_mb

NODE: Final = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}

COMMAND_SECONDS: Final = 180.0

KINDS: Final = {"ServeReplica": "replicas", "ProxyActor": "proxies", "ServeController": "controller"}
"""What Ray calls its processes, and what we do; all others are Ray's own."""


@dataclass
class Nodes:
    """A running cluster and the commands against it."""

    cluster: Cluster
    home: Path
    port: int

    @property
    def proxy(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def deploy(self, config: str) -> None:
        """`parakeetd cluster deploy`; the port and what a test machine allows are added."""
        file = self.home / "config.toml"
        file.write_text(f"server.insecure_remote = true\n{config}\nport = {self.port}\n")
        self._command("deploy", "--config", str(file))

    def status(self) -> dict[str, Any]:
        """`parakeetd cluster status --json`."""
        told: dict[str, Any] = json.loads(self._command("status", "--json", codes=(0, 1)))
        return told

    def until(self, running: int, seconds: float) -> dict[str, Any]:
        """The status once so many replicas have told of themselves.

        Raises:
            RuntimeError: they did not in time.
        """
        patience = time.monotonic() + seconds
        while len((told := self.status())["replicas"]) != running or told["state"] != "RUNNING":
            if time.monotonic() > patience:
                raise RuntimeError(f"there are not {running} replicas after {seconds:.0f} s: {told}")
        return told

    def remove(self) -> None:
        """`parakeetd cluster remove`."""
        self._command("remove")

    def lose(self, node_id: str) -> None:
        """Kill a node at once, with all that runs on it; not the head."""
        [node] = [node for node in self.cluster.worker_nodes if node.node_id == node_id]
        self.cluster.remove_node(node, allow_graceful=False)

    def add(self) -> None:
        """One more node."""
        self.cluster.add_node(**NODE)

    @property
    def head(self) -> str:
        """The head's name."""
        return str(self.cluster.head_node.node_id)

    def _command(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        command = [
            sys.executable,
            "-m",
            "parakeetd.cli",
            "cluster",
            words[0],
            "--address",
            self.cluster.address,
        ]
        done = subprocess.run(
            [*command, *words[1:]], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if done.returncode not in codes:
            raise RuntimeError(f"cluster {words[0]} failed: {done.stderr[-2000:]}")
        return done.stdout


@contextmanager
def nodes(count: int, home: Path) -> Iterator[Nodes]:
    """A cluster of so many nodes, the head among them; gone in the end."""
    os.environ["HOME"] = str(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE)
        yield Nodes(cluster, home, port)
    finally:
        cluster.shutdown()


def processes() -> dict[int, str]:
    """All processes below this one, by what they are: `replicas`, `proxies`, `controller` or `ray`."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(folder.name)
            stat = (folder / "stat").read_text()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            names[pid] = (folder / "cmdline").read_text().replace("\0", " ")
    found = {}
    for pid in parents:
        above = pid
        while (above := parents.get(above, 0)) > 1:
            if above == os.getpid():
                found[pid] = _kind(names[pid])
                break
    return found


def _kind(name: str) -> str:
    called = re.match(r"ray::(\w+)", name)
    return KINDS.get(called[1], "ray") if called else "ray"


def used() -> dict[int, tuple[str, float]]:
    """Processor time of each process of the cluster."""
    told = {}
    for pid, kind in processes().items():
        with suppress(OSError):
            told[pid] = kind, cpu_seconds(pid)
    return told


def used_since(before: dict[int, tuple[str, float]]) -> dict[str, float]:
    """Processor time since then, by kind."""
    spent: dict[str, float] = defaultdict(float)
    for pid, (kind, seconds) in used().items():
        spent[kind] += seconds - before.get(pid, (kind, 0.0))[1]
    return dict(spent)


def memory() -> dict[str, float]:
    """Resident memory by kind, MB; pages that processes share count for each."""
    sums: dict[str, float] = defaultdict(float)
    for pid, kind in processes().items():
        with suppress(OSError, RuntimeError):
            sums[kind] += resident_mb(pid)
    return dict(sums)
