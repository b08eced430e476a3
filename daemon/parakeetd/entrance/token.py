"""Tokens: what a call must carry, as `authorization: Bearer TOKEN`."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from parakeetd.entrance.access import read_secret, stamp_of
from parakeetd.errors import ConfigError

_log = logging.getLogger(__name__)

METADATA_KEY: Final = "authorization"
_SCHEME: Final = "bearer"

SHORTEST_TOKEN: Final = 16
"""Characters. Shorter ones can be guessed."""


class Tokens:
    """The tokens in a file, one a line. Read again when the file changes, so that one can be withdrawn at once."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConfigError: the file cannot be read, or by other users, or holds no usable token; it names the line.
        """
        self._path = path
        self._stamp = stamp_of(path)
        self._digests = _digests(path)

    def admit(self, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
        """Whether the metadata of a call carries one of the tokens. Takes the same time whatever is presented."""
        self._look_again()
        presented = [_presented(value) for key, value in metadata if key == METADATA_KEY]
        found = False
        for token in presented[:1]:
            digest = hashlib.sha256(token).digest()
            for known in self._digests:
                found |= hmac.compare_digest(digest, known)
        return found

    def _look_again(self) -> None:
        if (stamp := stamp_of(self._path)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = _digests(self._path)
        except ConfigError as error:
            _log.warning("%s; the tokens of before still hold", error)
        else:
            _log.info("tokens have been read again from %s", self._path)


def read_token(path: Path) -> str:
    """The first token in a file, for a client.

    Raises:
        ConfigError: as for `Tokens`.
    """
    return _tokens(path, "--token-file")[0]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that a client sends with each call."""
    return ((METADATA_KEY, f"Bearer {token}"),)


def _presented(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    scheme, _, token = raw.partition(b" ")
    return token.strip() if scheme.lower() == _SCHEME.encode() else b""


def _digests(path: Path) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(token.encode()).digest() for token in _tokens(path, "server.token_file"))


def _tokens(path: Path, what: str) -> list[str]:
    tokens = []
    for number, line in enumerate(read_secret(path, what).split(b"\n"), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if len(token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"{what} {path}: the token in line {number} has under {SHORTEST_TOKEN} characters; make one with: "
                "openssl rand -hex 32"
            )
        # As gRPC carries metadata: visible ASCII.
        if not all(0x21 <= byte <= 0x7E for byte in token):
            raise ConfigError(f"{what} {path}: line {number} has characters that a token cannot have")
        tokens.append(token.decode("ascii"))
    if not tokens:
        raise ConfigError(f"{what} {path}: no token in it; make one with: openssl rand -hex 32 > {path}")
    return tokens
