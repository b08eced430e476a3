"""The server's certificate and its key, checked."""

from __future__ import annotations

import ssl
from pathlib import Path

from parakeetd.entrance.access import read_secret
from parakeetd.errors import ConfigError


def server_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """What a server shows, and what it wants to be shown.

    Args:
        client_ca: clients must show a certificate that one of these signed; None: they need not show one.

    Raises:
        ConfigError: a file cannot be read or used; the message names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, certificate, key)
    if client_ca is not None:
        read_public(client_ca, "tls.client_ca")
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise ConfigError(f"tls.client_ca {client_ca}: holds no certificate in PEM") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show this certificate to whoever connects from now on.

    Raises:
        ConfigError: a file cannot be read, or others can open the key, or the two do not belong together.
    """
    read_secret(key, "tls.key")
    read_public(certificate, "tls.certificate")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", "") or error
        raise ConfigError(
            f"tls.certificate {certificate} and tls.key {key} cannot be used together: {reason}"
        ) from error


def read_public(path: Path, what: str) -> bytes:
    """A file that everybody may read.

    Raises:
        ConfigError: it cannot be read; the message begins with `what`.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read: {error.strerror or error}") from error


def _no_password() -> str:
    # Without this OpenSSL asks at the terminal.
    raise ValueError("the key is encrypted, and nobody is there to type its password")
