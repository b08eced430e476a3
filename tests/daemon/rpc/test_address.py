from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from parakeetd.entrance.address import parse_address
from parakeetd.errors import ListenError
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.session import ServedModel, Sessions, SessionSettings
from wire import Serving, speech


@pytest.fixture
def sessions() -> Sessions:
    router = Router({"cpu": FakeEngine})
    router.close(1)
    return Sessions((ServedModel("fake", (), router),), SessionSettings())


async def refusal(sessions: Sessions, *addresses: str) -> str:
    with pytest.raises(ListenError) as caught:
        await RpcServer(sessions, addresses).start()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("127.1.2.3:1", "127.1.2.3:1"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::1]:50051", "[::1]:50051"),
        ("0.0.0.0:50051", "0.0.0.0:50051"),
        ("192.168.1.5:50051", "192.168.1.5:50051"),
        ("unix:/run/user/1000/p.sock", "unix:/run/user/1000/p.sock"),
        ("unix:///run/p.sock", "unix:/run/p.sock"),
        ("unix:/run/with space%.sock", "unix:/run/with%20space%25.sock"),
    ],
)
def test_addresses_are_read(text: str, target: str) -> None:
    assert parse_address(text).target == target


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("example.org:50051", "IP address"),
        (":50051", "HOST:PORT"),
        ("50051", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
        ("127.0.0.1:http", "HOST:PORT"),
        ("unix:run/p.sock", "whole path"),
        ("unix:", "whole path"),
        ("unix-abstract:p", "abstract"),
        (f"unix:/{'x' * 107}", "107 bytes"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(text: str, reason: str) -> None:
    with pytest.raises(ListenError) as caught:
        parse_address(text)
    assert text in str(caught.value)
    assert reason in str(caught.value)


async def test_a_port_in_use_is_named(serving: Serving, sessions: Sessions) -> None:
    async with serving() as daemon:
        taken = daemon.server.addresses[0]
        assert f"cannot listen on {taken}: it is in use" in await refusal(sessions, taken)
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_when_one_address_is_taken_the_others_are_given_back(
    serving: Serving, sessions: Sessions
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with serving() as daemon:
        await refusal(sessions, address, daemon.server.addresses[0])
    async with serving(address=address) as daemon:
        assert daemon.server.addresses == (address,)


async def test_a_socket_is_its_owners_alone_and_serves(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.sock"
    async with serving(address=f"unix:{path}") as daemon:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert await daemon.client.text(speech(0.5)) == "500ms"
    assert not path.exists()


async def test_the_socket_of_a_living_daemon_is_left_to_it(
    serving: Serving, sessions: Sessions, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path / 'p.sock'}"
    async with serving(address=address) as daemon:
        assert f"cannot listen on {address}: it is in use" in await refusal(sessions, address)
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_the_socket_of_a_dead_daemon_is_replaced(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    async with serving(address=f"unix:{path}") as daemon:
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_a_file_in_the_sockets_place_is_left_alone(sessions: Sessions, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    assert "not a socket" in await refusal(sessions, f"unix:{path}")
    assert path.read_text() == "precious"


async def test_a_missing_folder_is_named(sessions: Sessions, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "p.sock"
    assert f"the folder {tmp_path / 'a'} does not exist" in await refusal(sessions, f"unix:{path}")
