"""A daemon that other machines may reach: with TLS and a token, under NVIDIA's own client and our own commands; what it
logs of what it heard."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority, Issued
from clips import Clip
from commands import Served, home, run, served

Riva = Callable[..., Any]
Wav = Callable[[Clip], Path]

TOKEN = "b1946ac92492d2347c6235b4d2611184"
OTHER_TOKEN = "591785b794601e212b260e25925636fd"

CLIENT_NAME = "desk.example.org"


@dataclass(frozen=True)
class Guarded:
    daemon: Served
    authority: Authority
    config: Path
    token_file: Path
    client: Issued
    env: dict[str, str]

    @property
    def address(self) -> str:
        return self.daemon.addresses[0]

    @property
    def flags(self) -> list[str]:
        """For NVIDIA's client."""
        return ["--use-ssl", "--ssl-root-cert", str(self.authority.file), *bearer(TOKEN)]

    @property
    def reach(self) -> list[str | Path]:
        """For our own commands."""
        return ["--server", self.address, "--ca", self.authority.file, "--token-file", self.token_file]


def bearer(token: str) -> list[str]:
    return ["--metadata", "authorization", f"Bearer {token}"]


def secret(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    env = home(folder)
    authority = Authority(folder)
    issued = authority.issue("server", "127.0.0.1")
    tokens = secret(folder / "tokens", f"{TOKEN}\n")
    config = folder / "config.toml"
    config.write_text(
        f'[server]\ntoken_file = "{tokens}"\n'
        f'[tls]\ncertificate = "{issued.certificate}"\nkey = "{issued.key}"\n'
    )
    listen = ["--listen", "127.0.0.1:0", "--listen", f"unix:{folder}/p.sock"]
    with served("--config", config, "--model", "demo", *listen, env=env, seconds=900) as daemon:
        client = authority.issue("client", CLIENT_NAME)
        yield Guarded(daemon, authority, config, tokens, client, env)


def test_nvidias_client_streams_over_tls_with_a_token(
    riva: Riva, guarded: Guarded, clips: dict[str, Clip], wav: Wav
) -> None:
    clip = clips["digits"]
    streamed = riva(*guarded.flags, "stream", guarded.address, wav(clip))
    assert "".join(streamed["finals"]).strip() == clip.text
    offline = riva(*guarded.flags, "offline", guarded.address, wav(clip))
    assert "".join(offline["finals"]).strip() == clip.text
    assert riva(*guarded.flags, "models", guarded.address) == {"en-US": ["demo"]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda flags: flags[:3], "UNAUTHENTICATED"),
        (lambda flags: [*flags[:3], *bearer(OTHER_TOKEN)], "UNAUTHENTICATED"),
        (lambda flags: flags[3:], "UNAVAILABLE"),
        (lambda flags: ["--use-ssl", *flags[3:]], "UNAVAILABLE"),
    ],
    ids=["no token", "another token", "no TLS", "another authority"],
)
def test_nvidias_client_is_refused_where_something_is_missing(
    riva_python: Path, guarded: Guarded, change: Callable[[list[str]], list[str]], problem: str
) -> None:
    script = Path(__file__).resolve().parents[1] / "support" / "riva_client.py"
    command = [str(riva_python), str(script), *change(guarded.flags), "models", guarded.address]
    done = subprocess.run(command, env=guarded.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert problem in done.stderr


def test_our_own_command_streams_to_it_and_is_told_what_is_missing(
    guarded: Guarded, clips: dict[str, Clip], tmp_path: Path
) -> None:
    clip = clips["digits"]
    told = run("demo", "--fast", *guarded.reach, clip.path, env=guarded.env)
    assert told.code == 0
    assert f"final    {clip.text}" in told.out
    unix = run("demo", "--fast", "--server", guarded.daemon.addresses[1], clip.path, env=guarded.env)
    assert f"final    {clip.text}" in unix.out
    reach: list[str | Path] = ["--server", guarded.address, "--ca", guarded.authority.file]
    nameless = run("demo", "--fast", *reach, clip.path, env=guarded.env)
    assert nameless.code == 1
    assert "UNAUTHENTICATED: this server wants a token" in nameless.error
    wrong = secret(tmp_path / "wrong", OTHER_TOKEN)
    assert "UNAUTHENTICATED" in run("demo", *reach, "--token-file", wrong, clip.path, env=guarded.env).error
    plain = run(
        "demo", "--server", guarded.address, "--token-file", guarded.token_file, clip.path, env=guarded.env
    )
    assert "UNAVAILABLE" in plain.error
    useless = run("demo", "--token-file", guarded.token_file, env=guarded.env)
    assert (useless.code, "--server" in useless.error) == (2, True)


def findings(guarded: Guarded, config: Path) -> dict[str, tuple[str, str]]:
    told = run("doctor", "--json", "--config", config, env=guarded.env)
    return {check["subject"]: (check["state"], check["finding"]) for check in json.loads(told.out)}


def test_doctor_asks_a_daemon_with_its_own_certificate_and_token(guarded: Guarded, tmp_path: Path) -> None:
    def config(text: str) -> Path:
        file = tmp_path / "config.toml"
        file.write_text(text.replace("[server]\n", f'[server]\nlisten = ["{guarded.address}"]\n'))
        return file

    subject = f"address {guarded.address}"
    right = guarded.config.read_text()
    assert findings(guarded, config(right))[subject] == ("ok", "a speech server runs there and serves demo")
    other = guarded.authority.issue("other", "127.0.0.1")
    renewed = right.replace("server.pem", "other.pem").replace("server-key.pem", "other-key.pem")
    assert str(other.certificate) in renewed
    state, finding = findings(guarded, config(renewed))[subject]
    assert (state, "does not show the certificate" in finding) == ("problem", True)
    wrong = secret(tmp_path / "wrong", OTHER_TOKEN)
    state, finding = findings(guarded, config(right.replace(str(guarded.token_file), str(wrong))))[subject]
    assert (state, "wants another token" in finding) == ("problem", True)
    remote = '[server]\nlisten = ["0.0.0.0:1"]\n'
    (tmp_path / "remote.toml").write_text(remote)
    state, finding = findings(guarded, tmp_path / "remote.toml")["address 0.0.0.0:1"]
    assert (state, "other machines" in finding) == ("problem", True)


def test_nothing_that_was_said_and_no_token_is_logged(
    riva: Riva, clips: dict[str, Clip], wav: Wav, tmp_path: Path
) -> None:
    tokens = secret(tmp_path / "tokens", f"{TOKEN}\n")
    config = tmp_path / "config.toml"
    config.write_text(f'[server]\ntoken_file = "{tokens}"\n')
    said = [clips[name] for name in ("digits", "command")]
    with served(
        "--config", config, "--listen", "127.0.0.1:0", "--model", "demo", env=home(tmp_path)
    ) as daemon:
        for clip in said:
            for way in ("stream", "offline"):
                assert riva(*bearer(TOKEN), way, daemon.addresses[0], wav(clip))["finals"]
            ours = run(
                "demo",
                "--fast",
                "--server",
                daemon.addresses[0],
                "--token-file",
                tokens,
                clip.path,
                env=home(tmp_path),
            )
            assert ours.code == 0
        assert daemon.end() == 0
    log = "\n".join(daemon.said).lower()
    assert "serving model demo" in log
    words = {word for clip in said for word in clip.text.split() if len(word) > 2}
    assert len(words) > 4
    assert [word for word in sorted(words) if f" {word} " in f" {log} "] == []
    assert TOKEN not in log
