"""Who may connect: certificates, addresses that other machines reach, and the group of a socket."""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from certificates import Authority, Issued
from parakeetd.entrance.access import Access
from parakeetd.errors import ConfigError, InputError, ListenError
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import RpcServer
from parakeetd.rpc.reach import Reach, read_reach
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from wire import Daemon, Serving, pcm, speech

ANOTHER_USER = 65_534


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def sessions() -> Sessions:
    router = Router({"cpu": FakeEngine})
    router.close(1)
    return Sessions((ServedModel("fake", (), router),), SessionSettings())


def with_tls(issued: Issued, client_ca: Path | None = None) -> Access:
    return Access(certificate=issued.certificate, key=issued.key, client_ca=client_ca)


async def asked(address: str, reach: Reach) -> grpc.StatusCode:
    """How a call on a connection of its own ends."""
    async with reach.aio_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        return await stub.GetRivaSpeechRecognitionConfig(
            asr.RivaSpeechRecognitionConfigRequest(), timeout=20
        ).code()


async def streamed(daemon: Daemon) -> bool:
    """Whether a stream on the test's own channel is answered."""
    response = await daemon.client.stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=speech(0.5)))
    return bool(response.results[0].alternatives[0].transcript == "500ms")


async def test_with_a_certificate_tcp_is_encrypted_and_nothing_else_gets_in(
    serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    access = with_tls(authority.issue("server", "127.0.0.1"))
    stranger = Authority(_folder(tmp_path / "stranger"))
    async with serving(access=access, reach=read_reach(authority.file, None)) as daemon:
        address = daemon.server.addresses[0]
        assert await streamed(daemon)
        assert await asked(address, Reach()) is grpc.StatusCode.UNAVAILABLE
        assert await asked(address, read_reach(stranger.file, None)) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_name_is_taken_when_the_client_says_so(
    serving: Serving, authority: Authority
) -> None:
    access = with_tls(authority.issue("server", "speech.example.org"))
    reach = read_reach(authority.file, None, "speech.example.org")
    async with serving(access=access, reach=reach) as daemon:
        assert await streamed(daemon)
        assert await asked(daemon.server.addresses[0], read_reach(authority.file, None)) is (
            grpc.StatusCode.UNAVAILABLE
        )


async def test_a_unix_socket_is_not_encrypted(serving: Serving, authority: Authority, tmp_path: Path) -> None:
    access = with_tls(authority.issue("server", "127.0.0.1"))
    async with serving(address=f"unix:{tmp_path}/p.sock", access=access) as daemon:
        assert await daemon.client.text(speech(0.5)) == "500ms"


async def test_where_clients_need_a_certificate_only_those_with_one_get_in(
    serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    access = with_tls(authority.issue("server", "127.0.0.1"), client_ca=authority.file)
    mine = authority.issue("client", "desk.example.org")
    theirs = Authority(_folder(tmp_path / "stranger")).issue("client", "desk.example.org")
    known, unknown = (
        read_reach(authority.file, None, certificate=client.certificate, key=client.key)
        for client in (mine, theirs)
    )
    async with serving(access=access, reach=known) as daemon:
        address = daemon.server.addresses[0]
        assert await streamed(daemon)
        assert await asked(address, read_reach(authority.file, None)) is grpc.StatusCode.UNAVAILABLE
        assert await asked(address, unknown) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_is_renewed_holds_for_the_next_connection(
    serving: Serving, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    issued = authority.issue("server", "old.example.org")
    access = with_tls(issued)
    old, new = (read_reach(authority.file, None, f"{name}.example.org") for name in ("old", "new"))
    with caplog.at_level(logging.INFO, "parakeetd.rpc"):
        async with serving(access=access, reach=old) as daemon:
            address = daemon.server.addresses[0]
            assert await streamed(daemon)
            assert await asked(address, new) is grpc.StatusCode.UNAVAILABLE
            authority.issue("server", "new.example.org")
            assert await asked(address, new) is grpc.StatusCode.OK
            # Half a renewal: a certificate without its key.
            issued.certificate.write_bytes(b"nothing")
            assert await asked(address, new) is grpc.StatusCode.OK
            # The connection that is there goes on.
            assert await streamed(daemon)
    assert "has been read again" in caplog.text
    assert "the certificate of before still holds" in caplog.text


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def refused(sessions: Sessions, access: Access, *addresses: str) -> str:
    """Why a server is not even made."""
    with pytest.raises((ConfigError, ListenError)) as caught:
        RpcServer(sessions, addresses or ("127.0.0.1:0",), access=access)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be_a_certificate_and_its_key_are_named(
    sessions: Sessions, authority: Authority, tmp_path: Path
) -> None:
    good, other = authority.issue("server", "127.0.0.1"), authority.issue("other", "127.0.0.1")
    gone = tmp_path / "gone.pem"
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    nothing.chmod(0o600)
    assert f"tls.key {gone}: cannot be read: No such file" in refused(
        sessions, Access(certificate=good.certificate, key=gone)
    )
    assert f"tls.certificate {gone}: cannot be read" in refused(
        sessions, Access(certificate=gone, key=good.key)
    )
    for certificate, key in (
        (good.certificate, other.key),
        (nothing, good.key),
        (good.certificate, nothing),
    ):
        said = refused(sessions, Access(certificate=certificate, key=key))
        assert f"tls.certificate {certificate} and tls.key {key} cannot be used together" in said
    said = refused(sessions, with_tls(good, client_ca=nothing))
    assert said == f"tls.client_ca {nothing}: holds no certificate in PEM"


def test_a_key_that_others_can_read_is_refused(sessions: Sessions, authority: Authority) -> None:
    issued = authority.issue("server", "127.0.0.1")
    issued.key.chmod(0o644)
    assert f"tls.key {issued.key}: other users can open it" in refused(sessions, with_tls(issued))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    sessions: Sessions, authority: Authority, tmp_path: Path
) -> None:
    issued, locked = authority.issue("server", "127.0.0.1"), tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", issued.key, "-aes256", "-passout", "pass:x", "-out", locked],
        check=True,
        capture_output=True,
    )
    locked.chmod(0o600)
    said = refused(sessions, Access(certificate=issued.certificate, key=locked))
    assert "the key is encrypted" in said


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.168.1.5:50051", "[2001:db8::1]:50051"])
def test_an_address_that_other_machines_reach_needs_a_guard(
    sessions: Sessions, address: str, tmp_path: Path
) -> None:
    said = refused(sessions, Access(), "127.0.0.1:0", address)
    assert f"cannot listen on {address}: other machines could" in said
    for remedy in ("tls.certificate", "server.token_file", "--insecure-remote"):
        assert remedy in said
    # A socket's group and a client CA are none.
    assert "other machines" in refused(sessions, Access(socket_group="root"), address)


async def test_what_other_machines_reach_is_told_to_the_log(
    sessions: Sessions, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token_file = tmp_path / "tokens"
    token_file.write_text("0123456789abcdef")
    token_file.chmod(0o600)
    issued = authority.issue("server", "127.0.0.1")
    said = []
    for access in (
        Access(insecure_remote=True),
        Access(token_file=token_file),
        with_tls(issued),
        Access(certificate=issued.certificate, key=issued.key, token_file=token_file),
    ):
        caplog.clear()
        server = RpcServer(sessions, ("0.0.0.0:0",), access=access)
        await server.start()
        await server.drain(0, 0)
        said.append([record.message for record in caplog.records if record.name.startswith("parakeetd")])
        sessions.draining = False
    assert ["whoever reaches it can use it" in " ".join(lines) for lines in said] == [
        True,
        False,
        True,
        False,
    ]
    assert ["unencrypted" in " ".join(lines) for lines in said] == [True, True, False, False]
    assert said[3] == []


def opened_by_another_user(path: Path, group: int) -> str:
    """What somebody else of this machine is told who connects to a socket."""
    # Root's interpreter may be where nobody else can start it: it becomes the other user when it runs.
    script = (
        "import os, socket; connection = socket.socket(socket.AF_UNIX); "
        f"os.setgroups([]); os.setgid({group}); os.setuid({ANOTHER_USER}); connection.connect({str(path)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else "connected"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter: those of tests are their owner's."""
    with tempfile.TemporaryDirectory(prefix="parakeetd-test-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_cannot_open_the_socket_unless_its_group_may(
    serving: Serving, open_folder: Path
) -> None:
    group = grp.getgrgid(ANOTHER_USER).gr_name
    for access, group_can in ((Access(), False), (Access(socket_group=group), True)):
        path = open_folder / "p.sock"
        async with serving(address=f"unix:{path}", access=access) as daemon:
            outsider = await asyncio.to_thread(opened_by_another_user, path, 1)
            member = await asyncio.to_thread(opened_by_another_user, path, ANOTHER_USER)
            assert await daemon.client.text(speech(0.5)) == "500ms"
        assert "PermissionError" in outsider
        assert (member == "connected") is group_can, member


async def test_a_group_may_open_the_socket_and_enter_the_folder_that_was_made_for_it(
    serving: Serving, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "p.sock"
    group = grp.getgrgid(os.getegid())
    async with serving(address=f"unix:{path}", access=Access(socket_group=group.gr_name)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == group.gr_gid
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o710


async def test_a_group_that_does_not_exist_is_named(sessions: Sessions, tmp_path: Path) -> None:
    server = RpcServer(sessions, (f"unix:{tmp_path}/p.sock",), access=Access(socket_group="nobody-knows"))
    with pytest.raises(ListenError, match=r"there is no group 'nobody-knows' \(server\.socket_group\)"):
        await server.start()


def test_files_of_a_client_that_make_no_sense_are_wrong_usage(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("client", "me")
    with pytest.raises(InputError, match="belong together"):
        read_reach(authority.file, None, certificate=issued.certificate)
    with pytest.raises(InputError, match="without --ca"):
        read_reach(None, None, certificate=issued.certificate, key=issued.key)
    with pytest.raises(InputError, match=r"gone\.pem: cannot be read"):
        read_reach(tmp_path / "gone.pem", None)
    with pytest.raises(ConfigError, match=r"--token-file .*gone: cannot be read"):
        read_reach(None, tmp_path / "gone")
