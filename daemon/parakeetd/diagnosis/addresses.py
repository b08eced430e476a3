"""Whether the daemon could listen where it is told to, and who listens there already."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import grpc

from parakeetd.diagnosis.check import Check
from parakeetd.errors import ListenError
from parakeetd.rpc.address import Address, TcpAddress, make_free, parse_address
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc

PROBE_SECONDS = 2.0


def address_check(text: str) -> Check:
    """Look at one address; nothing is changed, a stale socket file included."""
    subject = f"address {text}"
    try:
        address = parse_address(text)
        if _accepts(address):
            return _neighbour(subject, address)
        if isinstance(address, TcpAddress):
            make_free(address)
    except ListenError as error:
        return Check(subject, "problem", str(error))
    if not isinstance(address, TcpAddress):
        folder = _existing(address.path.parent)
        if not os.access(folder, os.W_OK | os.X_OK):
            return Check(subject, "problem", f"no permission to write in {folder}")
    return Check(subject, "ok", "free")


def _accepts(address: Address) -> bool:
    """Whether a connection to this address is taken."""
    target: str | tuple[str, int]
    if isinstance(address, TcpAddress):
        family, target = (
            socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            (address.host, address.port),
        )
    else:
        family, target = socket.AF_UNIX, str(address.path)
    with socket.socket(family, socket.SOCK_STREAM) as probing:
        probing.settimeout(PROBE_SECONDS)
        try:
            probing.connect(target)
        except OSError:
            return False
    return True


def _neighbour(subject: str, address: Address) -> Check:
    """Who listens there: a daemon like this one, or something that is in the way."""
    # A proxy for the web is no way to this machine.
    with grpc.insecure_channel(address.target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).GetRivaSpeechRecognitionConfig(
                asr.RivaSpeechRecognitionConfigRequest(), timeout=PROBE_SECONDS
            )
        except grpc.RpcError:
            finding = (
                "something that is no speech server listens there; stop it, or choose another with --listen"
            )
            return Check(subject, "problem", finding)
    # Once for each way in which it can be asked: streamed, or whole recordings.
    models = ", ".join(dict.fromkeys(model.model_name for model in answer.model_config))
    return Check(subject, "ok", f"a speech server runs there and serves {models}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
