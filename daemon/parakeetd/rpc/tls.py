"""The server's certificate, for gRPC."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc

from parakeetd.entrance.access import Access, read_secret, stamp_of
from parakeetd.entrance.certificates import read_public, server_context
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
        chain = read_public(self._certificate, "tls.certificate")
        # gRPC says of a wrong pair only that handshakes fail, later and to the client.
        server_context(self._certificate, self._key, self._client_ca)
        roots = None if self._client_ca is None else read_public(self._client_ca, "tls.client_ca")
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)


def certificates(access: Access) -> Certificates | None:
    """What TCP addresses are encrypted with; None: they are not.

    Raises:
        ConfigError: as `Certificates`.
    """
    if access.certificate is None or access.key is None:
        return None
    return Certificates(access.certificate, access.key, access.client_ca)
