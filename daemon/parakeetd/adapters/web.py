"""HTTP as the OpenAI adapter needs it, on aiohttp: who is let in, how errors are written, patience that has an end."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from parakeetd.adapters.journal import UNEXPECTED, note_error
from parakeetd.adapters.listener import GOODBYE_SECONDS, IDLE_SECONDS, Listener, client_of
from parakeetd.adapters.visitors import Foreign, check_host, check_page
from parakeetd.entrance.access import Access, stamp_of
from parakeetd.entrance.address import Address, TcpAddress
from parakeetd.entrance.certificates import load_pair, server_context
from parakeetd.entrance.limits import CallLimits
from parakeetd.entrance.token import METADATA_KEY, Tokens
from parakeetd.errors import (
    Closed,
    ConfigError,
    DeviceError,
    IdleTimeout,
    InputError,
    Overloaded,
    ParakeetError,
    Refused,
    TimeLimit,
    TooLong,
)
from parakeetd.session import HERE, Client

_log = logging.getLogger(__name__)

_SILENT_SECONDS: Final = 10.0
"""A connection whose first request has not begun by then is closed, as for gRPC."""

_STATUSES: Final[dict[type[BaseException], tuple[int, str, str | None]]] = {
    InputError: (400, "invalid_request_error", None),
    TooLong: (413, "invalid_request_error", "too_long"),
    Refused: (401, "invalid_request_error", "invalid_api_key"),
    Foreign: (403, "invalid_request_error", "foreign_origin"),
    IdleTimeout: (408, "invalid_request_error", "timeout"),
    TimeLimit: (408, "invalid_request_error", "timeout"),
    Overloaded: (429, "rate_limit_error", "overloaded"),
    Closed: (503, "server_error", "unavailable"),
    DeviceError: (503, "server_error", "unavailable"),
}
"""HTTP's status, and type and code as OpenAI's clients read them."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """Serves HTTP at one address."""

    def __init__(
        self,
        routes: Sequence[web.RouteDef],
        address: Address,
        option: str,
        access: Access,
        limits: CallLimits,
    ) -> None:
        """
        Args:
            option: that named the address, for messages.

        Raises:
            ConfigError: a file of tokens or certificates cannot be used.
        """
        self._limits = limits
        self._listener = Listener(address, option, socket_group=access.socket_group)
        is_tcp = isinstance(address, TcpAddress)
        # The mode of a socket's file has decided who comes that far.
        self._tokens = Tokens(access.token_file) if is_tcp and access.token_file else None
        self._tls = _Tls(access.certificate, access.key, access.client_ca) if is_tcp else None
        own_names = _names_here() if isinstance(address, TcpAddress) and not address.is_loopback else set()
        # Who knows a token, or a certificate for that name, is no page that has rebound its name.
        names_matter = is_tcp and self._tokens is None and access.certificate is None
        self._own_names = own_names if names_matter else None
        app = web.Application(middlewares=[self._pass], client_max_size=limits.max_message_mib << 20)
        app.add_routes(routes)
        self._runner = web.AppRunner(
            app,
            # Who leaves is not worked for.
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=GOODBYE_SECONDS,
        )
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    async def start(self) -> str:
        """Listen; returns the URL, or the address of the socket.

        Raises:
            ListenError: the address cannot be bound.
        """
        await self._runner.setup()
        server = self._runner.server
        if server is None:
            raise RuntimeError("aiohttp has made no server")

        def protocol() -> asyncio.BaseProtocol:
            if self._tls is not None:
                self._tls.look_again()
            handler = server()
            later = asyncio.get_running_loop().call_later
            self._silent[handler] = later(_SILENT_SECONDS, self._close_silent, handler)
            return handler

        context = None if self._tls is None else self._tls.context
        await self._listener.open(
            protocol, lambda: len(server.connections) >= self._limits.max_connections, tls=context
        )
        address = self._listener.address
        if not isinstance(address, TcpAddress):
            return str(address)
        return f"{'http' if context is None else 'https'}://{address}"

    async def close(self) -> None:
        """Take no more connections, and end those there are once their answers have left."""
        self._listener.close()
        await self._runner.cleanup()
        for timer in self._silent.values():
            timer.cancel()

    async def send(self, request: web.Request, response: web.StreamResponse, data: bytes = b"") -> None:
        """Begin an answer if it has not begun, and go on with it.

        Raises:
            TimeLimit: it is not read, and the client is cut off.
        """
        await self._patiently(request, response, response.write(data) if data else None)

    async def finish(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Send what is left of an answer.

        Raises:
            TimeLimit: it is not read, and the client is cut off.
        """
        await self._patiently(request, response, None)
        await self._patiently(request, response, response.write_eof())
        return response

    async def _patiently(
        self, request: web.Request, response: web.StreamResponse, step: Awaitable[None] | None
    ) -> None:
        seconds = self._limits.unread_seconds
        try:
            async with asyncio.timeout(seconds):
                if not response.prepared:
                    await response.prepare(request)
                if step is not None:
                    await step
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise TimeLimit(f"results were not read for {seconds:g} s (limits.unread_seconds)") from None

    @web.middleware
    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request passes."""
        if (timer := self._silent.pop(request.protocol, None)) is not None:
            timer.cancel()
        try:
            self._let_in(request)
            return await handler(request)
        except web.HTTPException as error:
            answer = error_answer(error.status, f"{request.method} {request.path}: {error.reason}")
            if allow := error.headers.get("Allow"):
                answer.headers["Allow"] = allow
        except ParakeetError as error:
            if isinstance(error, Refused):
                _log.debug("%s from %s: %s", request.path, whose(request).name, error)
            answer = answer_of(error)
        except ConnectionError:
            _log.debug("a client left while it was being answered")
            raise
        except Exception:
            _log.exception("%s from %s failed", request.path, whose(request).name)
            answer = error_answer(500, UNEXPECTED, "server_error")
        if request.transport is None or request.transport.is_closing():
            # It has left, or was cut off.
            return answer
        try:
            return await self.finish(request, answer)
        except TimeLimit as error:
            note_error(request.path, whose(request), error)
            return answer

    def _let_in(self, request: web.Request) -> None:
        """
        Raises:
            Refused: it carries no token, or comes for a web page.
        """
        check_page(request.headers)
        if self._own_names is not None:
            check_host(request.headers.get("Host"), self._own_names)
        if self._tokens is not None:
            carried = request.headers.get("Authorization", "")
            if not self._tokens.admit([(METADATA_KEY, carried)]):
                raise Refused(
                    "this server wants one of its tokens as the API key: Authorization: Bearer TOKEN"
                )

    def _close_silent(self, handler: Any) -> None:
        self._silent.pop(handler, None)
        handler.force_close()


class _Tls:
    """What a TCP address is encrypted with. Read again when a file changes, for the connections after."""

    def __init__(self, certificate: Path | None, key: Path | None, client_ca: Path | None) -> None:
        self.context: ssl.SSLContext | None = None
        """None: it is not encrypted."""
        self._pair: tuple[Path, Path] | None = None
        if certificate is not None and key is not None:
            self._pair = certificate, key
            self.context = server_context(certificate, key, client_ca)
        self._stamps = self._stamped()

    def look_again(self) -> None:
        if self.context is None or self._pair is None or (stamps := self._stamped()) == self._stamps:
            return
        self._stamps = stamps
        try:
            load_pair(self.context, *self._pair)
        except ConfigError as error:
            _log.warning("%s; the certificate of before still holds", error)

    def _stamped(self) -> tuple[object, ...]:
        return tuple(map(stamp_of, self._pair or ()))


def whose(request: web.Request) -> Client:
    """Who asks."""
    return HERE if request.transport is None else client_of(request.transport)


def answer_of(error: ParakeetError) -> web.Response:
    """An error as OpenAI's clients read it."""
    status, kind, code = next(
        (_STATUSES[base] for base in type(error).__mro__ if base in _STATUSES), (500, "server_error", None)
    )
    return error_answer(status, str(error), kind, code)


def error_answer(
    status: int, message: str, kind: str = "invalid_request_error", code: str | None = None
) -> web.Response:
    """An error in OpenAI's form."""
    answer = web.Response(
        status=status,
        body=json.dumps(error_body(message, kind, code)).encode(),
        content_type="application/json",
    )
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def error_body(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _names_here() -> set[str]:
    """What this machine calls itself."""
    name = socket.gethostname().lower()
    return {name, f"{name}.local"}
