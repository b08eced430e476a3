"""Whether the daemon could listen where it is told to, and who listens there already."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parakeetd.diagnosis.check import Check
from parakeetd.entrance.access import Access, check_exposure, exposed
from parakeetd.entrance.address import Address, TcpAddress, make_free, parse_address
from parakeetd.entrance.token import read_token
from parakeetd.errors import ConfigError, ListenError, ParakeetError
from parakeetd.rpc.reach import Reach
from parakeetd.rpc.tls import certificates
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

PROBE_SECONDS = 2.0

NOBODY_ELSE = Access()


def address_check(text: str, access: Access = NOBODY_ELSE) -> Check:
    """Look at one address; nothing is changed, a stale socket file included.

    Args:
        access: who may connect, as configured; a daemon that runs there is asked with its own certificate and token.
    """
    subject = f"address {text}"
    try:
        address = parse_address(text)
        check_exposure([address], access)
        if accepts(address):
            return _neighbour(subject, address, access)
        if isinstance(address, TcpAddress):
            make_free(address)
            certificates(access)
            if access.token_file is not None:
                read_token(access.token_file)
    except (ListenError, ConfigError) as error:
        return Check(subject, "problem", str(error))
    if not isinstance(address, TcpAddress):
        folder = _existing(address.path.parent)
        if not os.access(folder, os.W_OK | os.X_OK):
            return Check(subject, "problem", f"no permission to write in {folder}")
    if warnings := " ".join(exposed([address], access)):
        return Check(subject, "note", f"free; {warnings}")
    return Check(subject, "ok", "free")


def _connected(address: Address) -> socket.socket:
    """
    Raises:
        OSError: nobody listens.
    """
    target: str | tuple[str, int]
    if isinstance(address, TcpAddress):
        here = address.from_here
        family, target = (
            socket.AF_INET6 if ":" in here.host else socket.AF_INET,
            (here.host, here.port),
        )
    else:
        family, target = socket.AF_UNIX, str(address.path)
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(PROBE_SECONDS)
        connection.connect(target)
    except OSError:
        connection.close()
        raise
    return connection


def accepts(address: Address) -> bool:
    """Whether a connection to this address is taken."""
    try:
        _connected(address).close()
    except OSError:
        return False
    return True


def _neighbour(subject: str, address: Address, access: Access) -> Check:
    """Who listens there: a daemon like this one, or something that is in the way."""
    reach = Reach()
    if isinstance(address, TcpAddress):
        try:
            reach = _own_reach(address, access)
        except ParakeetError as error:
            return Check(subject, "problem", str(error))
        except OSError:
            finding = (
                "what listens there does not show the certificate in tls.certificate; stop it, or restart it"
            )
            return Check(subject, "problem", finding)
        if access.client_ca is not None:
            finding = "a server with our certificate runs there; it asks for a client's, so that no more can be told"
            return Check(subject, "ok", finding)
    target = address.from_here.target if isinstance(address, TcpAddress) else address.target
    with reach.channel(target) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        request = asr.RivaSpeechRecognitionConfigRequest()
        try:
            answer = stub.GetRivaSpeechRecognitionConfig(
                request, timeout=PROBE_SECONDS, metadata=reach.metadata or None
            )
        except grpc.RpcError as error:
            # What is raised is the call as well, which its annotations do not know.
            if cast("grpc.Call", error).code() is grpc.StatusCode.UNAUTHENTICATED:
                finding = "a server runs there that wants another token than the one in server.token_file"
                return Check(subject, "problem", finding)
            finding = (
                "something that is no speech server listens there; stop it, or choose another with --listen"
            )
            return Check(subject, "problem", finding)
        if not _takes_streams(channel, reach):
            return Check(subject, "note", "a speech server runs there and takes no streams: it loads or ends")
    # Once for each way in which it can be asked: streamed, or whole recordings.
    models = ", ".join(dict.fromkeys(model.model_name for model in answer.model_config))
    return Check(subject, "ok", f"a speech server runs there and serves {models}")


def _takes_streams(channel: grpc.Channel, reach: Reach) -> bool:
    """Whether its health says so; a server without health has answered already."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        told = stub.Check(
            health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS, metadata=reach.metadata or None
        )
    except grpc.RpcError:
        return True
    return bool(told.status != health_pb2.HealthCheckResponse.NOT_SERVING)


def _own_reach(address: TcpAddress, access: Access) -> Reach:
    """What lets us into a daemon with this configuration.

    Raises:
        ConfigError: a file of the configuration cannot be read.
        OSError: the certificate of what listens there is not ours.
    """
    token = read_token(access.token_file) if access.token_file else ""
    if access.certificate is None:
        return Reach(token=token)
    return Reach(access.certificate.read_bytes(), token, _name_in_certificate(address, access.certificate))


def _name_in_certificate(address: TcpAddress, certificate: Path) -> str:
    """A name that our certificate, shown by whoever listens there, is made for.

    Raises:
        OSError: it is not shown, or cannot be read.
    """
    context = ssl.create_default_context(cafile=str(certificate))
    # Ours is trusted whoever signed it, and for whichever name.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    with _connected(address) as connection, context.wrap_socket(connection) as encrypted:
        shown: Mapping[str, Any] = encrypted.getpeercert() or {}
    names = [str(name) for kind, name in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return names[0] if names else ""


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
