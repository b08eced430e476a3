"""Which addresses adapters may have, and what is said where they cannot be had."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import home, run
from parakeetd.adapters import Adapters, check_adapters
from parakeetd.entrance.access import Access
from parakeetd.errors import ListenError
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables

REMOTE = "0.0.0.0:0"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return home(tmp_path)


def test_wyoming_is_for_this_machine_alone_even_where_there_are_tokens(tmp_path: Path) -> None:
    guarded = Access(token_file=tmp_path / "tokens", certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with pytest.raises(ListenError, match="knows neither passwords nor encryption"):
        check_adapters(REMOTE, "", guarded)
    check_adapters(REMOTE, "", Access(insecure_remote=True))
    check_adapters("127.0.0.1:10300", "", Access())
    check_adapters("tcp://[::1]:10300", "", Access())
    check_adapters("unix:///run/wyoming.sock", "", Access())


def test_openai_is_for_other_machines_under_the_conditions_of_grpc(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"server\.token_file"):
        check_adapters("", REMOTE, Access())
    check_adapters("", REMOTE, Access(token_file=tmp_path / "tokens"))
    check_adapters("", "127.0.0.1:8000", Access())


@pytest.mark.parametrize("key", ["wyoming", "openai"])
def test_an_address_that_is_none_is_told_with_its_key(key: str) -> None:
    with pytest.raises(ListenError, match=rf"^adapters\.{key}: cannot listen on 'nowhere'"):
        check_adapters(**{"wyoming": "", "openai": "", key: "nowhere"}, access=Access())


async def test_where_one_address_is_in_use_nothing_listens(served: Callable[..., ServedModel]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as other:
            free = other.getsockname()[1]
        sessions = Sessions((served(),), SessionSettings())
        adapters = Adapters(
            sessions, HouseStyle(read_tables()), wyoming=f"127.0.0.1:{free}", openai=f"127.0.0.1:{port}"
        )
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: it is in use.*adapters\.openai"):
            await adapters.start()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free)).close()


async def test_without_an_address_there_is_nothing(served: Callable[..., ServedModel]) -> None:
    adapters = Adapters(Sessions((served(),), SessionSettings()), HouseStyle(read_tables()))
    await adapters.start()
    assert adapters.addresses == ()
    await adapters.close()


@pytest.mark.parametrize(("key", "library"), [("wyoming", "wyoming"), ("openai", "aiohttp")])
def test_where_its_library_is_missing_an_adapter_says_what_to_install(
    env: dict[str, str], key: str, library: str
) -> None:
    # None in sys.modules makes an import fail, as where the extra is not installed.
    script = f"import sys; sys.modules[{library!r}] = None; from parakeetd.cli import main; main()"
    command = [sys.executable, "-c", script, "serve", "--listen", "127.0.0.1:0", f"--{key}", "127.0.0.1:0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"parakeetd: adapters.{key} needs the library {library}; install it with: pip install 'parakeetd[adapters]'\n"
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--wyoming", "0.0.0.0:0"), "the Wyoming protocol knows neither passwords nor encryption"),
        (("--openai", "0.0.0.0:0"), "without a password"),
        (("--openai", "somewhere"), "adapters.openai: cannot listen on 'somewhere'"),
    ],
)
def test_an_address_that_will_not_do_is_told_before_a_model_is_loaded(
    env: dict[str, str], flags: tuple[str, str], told: str
) -> None:
    outcome = run("serve", "--listen", "127.0.0.1:0", *flags, env=env)
    assert outcome.code == 2
    assert told in outcome.error


def test_doctor_looks_at_the_addresses_of_adapters(env: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            f'[server]\nlisten = ["127.0.0.1:0"]\n'
            f'[adapters]\nwyoming = "unix:{tmp_path}/wyoming.sock"\nopenai = "127.0.0.1:{port}"\n'
        )
        rows = json.loads(run("doctor", "--json", "--config", config, env=env).out)
    found = {row["subject"]: (row["state"], row["finding"]) for row in rows}
    assert found[f"adapter wyoming unix:{tmp_path}/wyoming.sock"] == ("ok", "free")
    state, finding = found[f"adapter openai 127.0.0.1:{port}"]
    assert state == "note"
    assert finding.startswith("something listens there")
