"""Certificates for tests, made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Issued:
    """PEM files of one certificate."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, and puts them into a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, file_name: str, *names: str) -> Issued:
        """A certificate for these host names or IP addresses; replaces one of the same file name."""
        made = self._ca.issue_cert(*names)
        issued = Issued(self._folder / f"{file_name}.pem", self._folder / f"{file_name}-key.pem")
        issued.certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        issued.key.write_bytes(made.private_key_pem.bytes())
        issued.key.chmod(0o600)
        return issued
