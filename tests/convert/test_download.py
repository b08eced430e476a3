"""Sources come through the hub's own client, here from a hub on this machine, and are held against its checksum."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parakeetd_convert.catalog import by_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"weights of a model\n" * 5_000

FETCH = """
import sys
import termios
from parakeetd.errors import ParakeetError
from parakeetd_convert.catalog import by_name
from parakeetd_convert.download import fetch
try:
    print(fetch(by_name(sys.argv[1])))
except ParakeetError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Hub(http.server.ThreadingHTTPServer):
    """Answers as the hub does for one file: a redirect with the file's facts, and the file elsewhere."""

    content = CONTENT
    etag = hashlib.sha256(CONTENT).hexdigest()
    status = 302
    cut = 0
    """Bytes of the file that are sent at most before the connection is closed; 0 for all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.served: list[tuple[str, str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        hub = self.server
        hub.served.append((self.command, self.path, self.headers.get("Range", "")))
        if self.path.startswith("/elsewhere/"):
            self._send_file(hub, body=body)
        elif self.path == "/nvidia/parakeet-tdt-0.6b-v3/resolve/main/parakeet-tdt-0.6b-v3.nemo" or (
            self.path == f"/nvidia/parakeet-tdt-0.6b-v3/resolve/{COMMIT}/parakeet-tdt-0.6b-v3.nemo"
        ):
            self.send_response(hub.status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{hub.etag}"')
            self.send_header("X-Linked-Size", str(len(hub.content)))
            self.send_header("Location", f"http://localhost:{hub.server_address[1]}/elsewhere/file")
            self._end(b"")
        else:
            self.send_response(404)
            self._end(b"")

    def _send_file(self, hub: Hub, *, body: bool) -> None:
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        content = hub.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(hub.content) - 1}/{len(hub.content)}")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Disposition", 'attachment; filename="parakeet-tdt-0.6b-v3.nemo";')
        self.end_headers()
        if body:
            self.wfile.write(content[: hub.cut] if hub.cut else content)
        if hub.cut:
            self.close_connection = True

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(
    hub: str, cache: Path, *, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    # A process of its own: the client reads its environment once.
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FETCH, "0.6b-v3"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HF_ENDPOINT": hub,
            "HF_HOME": str(cache),
            "XDG_CACHE_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_source_is_fetched_once_and_its_sum_checked(hub: Hub, tmp_path: Path) -> None:
    first = fetch(hub.url, tmp_path)
    assert first.returncode == 0, first.stderr
    file = Path(first.stdout.strip())
    assert file.name == "parakeet-tdt-0.6b-v3.nemo"
    assert file.read_bytes() == CONTENT
    again = fetch(hub.url, tmp_path)
    assert again.stdout == first.stdout
    assert [row[0] for row in hub.served if row[1] == "/elsewhere/file"].count("GET") == 1


def test_a_fetch_shows_a_progress_bar_on_a_terminal(hub: Hub, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    try:
        assert fetch(hub.url, tmp_path, stderr=theirs).returncode == 0
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "parakeet-tdt-0.6b-v3.nemo" in shown
    assert "100%" in shown


def test_a_file_that_does_not_match_the_hubs_sum_is_refused_and_removed(hub: Hub, tmp_path: Path) -> None:
    hub.etag = hashlib.sha256(b"what the hub meant to send").hexdigest()
    done = fetch(hub.url, tmp_path)
    assert done.returncode == 1
    assert "does not match the hub's SHA-256 sum" in done.stderr.splitlines()[-1]
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == len(CONTENT)
    ]
    hub.etag = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(hub.url, tmp_path).returncode == 0


def test_a_file_that_was_damaged_in_the_cache_is_found(hub: Hub, tmp_path: Path) -> None:
    file = Path(fetch(hub.url, tmp_path).stdout.strip())
    with file.open("r+b") as opened:
        opened.write(b"W")
    done = fetch(hub.url, tmp_path)
    assert done.returncode == 1
    assert "does not match" in done.stderr


def test_a_file_without_a_sum_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.etag = "0123456789abcdef0123456789abcdef01234567"
    done = fetch(hub.url, tmp_path)
    assert done.returncode == 1
    assert "the hub stated no SHA-256 sum" in done.stderr


def test_what_is_in_the_cache_is_used_without_network(hub: Hub, tmp_path: Path) -> None:
    fetched = fetch(hub.url, tmp_path)
    assert fetch(hub.url, tmp_path, HF_HUB_OFFLINE="1").stdout == fetched.stdout


@pytest.mark.parametrize("offline", [True, False], ids=["switched off", "refused"])
def test_without_network_one_line_says_what_to_fetch_and_which_command_takes_it(
    tmp_path: Path, offline: bool
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = fetch(nobody, tmp_path, HF_HUB_OFFLINE="1" if offline else "0")
    assert done.returncode == 1
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    entry = by_name("0.6b-v3")
    assert entry is not None
    assert line.startswith("parakeet-tdt-0.6b-v3.nemo cannot be fetched (")
    assert f"fetch {entry.url} elsewhere and run: " in line
    assert line.endswith("parakeetd-convert parakeet-tdt-0.6b-v3.nemo --name 0.6b-v3")
    assert "Traceback" not in done.stderr


def test_a_hub_that_refuses_is_quoted_with_its_answer(hub: Hub, tmp_path: Path) -> None:
    hub.status = 403
    done = fetch(hub.url, tmp_path)
    assert done.returncode == 1
    assert "403" in done.stderr.splitlines()[-1]


def test_a_connection_that_breaks_is_one_line(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 1_000
    done = fetch(hub.url, tmp_path)
    assert done.returncode == 1
    assert "cannot be fetched (" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
