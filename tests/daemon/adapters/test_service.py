"""Which addresses adapters may have, and what is said where they cannot be had."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from parakeetd.adapters import Adapters, check_adapters
from parakeetd.entrance.access import Access
from parakeetd.errors import ListenError
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.text import HouseStyle, read_tables

REMOTE = "0.0.0.0:0"


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
