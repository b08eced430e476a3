"""The server's certificate, for gRPC."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import grpc

from parakeetd.entrance.access import Access, read_secret, stamp_of
from parakeetd.errors import ConfigError

_log = logging.getLogger(__name__)


class Certificates:
    """Certificate, key and what clients' certificates are checked with. Read again when a file changes: certificates
    are renewed every few weeks."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """
        Raises:
            ConfigError: a file cannot be read or used; the message names it.
        """
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._stamps = self._stamped()
        self._read = self._configuration()

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`."""
        return grpc.dynamic_ssl_server_credentials(
            self._read, self._renewed, require_client_authentication=self._client_ca is not None
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration:
        """Called by gRPC for each new connection, in threads of its own."""
        if (stamps := self._stamped()) != self._stamps:
            self._stamps = stamps
            try:
                self._read = self._configuration()
            except ConfigError as error:
                _log.warning("%s; the certificate of before still holds", error)
            else:
                _log.info("the certificate has been read again from %s", self._certificate)
        return self._read

    def _stamped(self) -> tuple[object, ...]:
        files = (self._certificate, self._key, self._client_ca)
        return tuple(stamp_of(file) for file in files if file is not None)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key = read_secret(self._key, "tls.key")
        chain = _public(self._certificate, "tls.certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # gRPC says of a wrong pair only that handshakes fail, later and to the client.
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", "") or error
            raise ConfigError(
                f"tls.certificate {self._certificate} and tls.key {self._key} cannot be used together: {reason}"
            ) from error
        roots = None
        if self._client_ca is not None:
            roots = _public(self._client_ca, "tls.client_ca")
            try:
                context.load_verify_locations(self._client_ca)
            except OSError as error:
                raise ConfigError(f"tls.client_ca {self._client_ca}: holds no certificate in PEM") from error
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)


def certificates(access: Access) -> Certificates | None:
    """What TCP addresses are encrypted with; None: they are not.

    Raises:
        ConfigError: as `Certificates`.
    """
    if access.certificate is None or access.key is None:
        return None
    return Certificates(access.certificate, access.key, access.client_ca)


def _public(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {path}: cannot be read: {error.strerror or error}") from error


def _no_password() -> str:
    # Without this OpenSSL asks at the terminal.
    raise ValueError("the key is encrypted, and nobody is there to type its password")
