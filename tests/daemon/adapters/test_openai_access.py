"""Whom the OpenAI adapter lets in, over a fake engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certificates import Authority
from openai_calls import TALK, client_of, form
from parakeetd.adapters import web as adapters_web
from parakeetd.entrance.access import Access
from parakeetd.entrance.limits import CallLimits

TOKEN = "0123456789abcdef"


async def test_no_page_of_a_browser_gets_in_or_is_told_that_it_may(adapting: Any) -> None:
    async with adapting() as running, client_of(running.openai) as client:
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
        ):
            for method, path in (
                ("GET", "models"),
                ("POST", "audio/transcriptions"),
                ("OPTIONS", "audio/transcriptions"),
                ("GET", "nowhere"),
            ):
                data = form(TALK) if method == "POST" else None
                async with client.session.request(
                    method, f"{running.openai}/{path}", headers=headers, data=data
                ) as answer:
                    assert answer.status == 403
                    assert (await answer.json())["error"]["code"] == "foreign_origin"
                    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_paths_and_methods_that_are_not_served_are_answered_in_openais_form(adapting: Any) -> None:
    async with adapting() as running, client_of(running.openai) as client:
        for method, path, status in (
            ("GET", "chat", 404),
            ("DELETE", "models", 405),
            ("GET", "models/other", 404),
        ):
            async with client.session.request(method, f"{running.openai}/{path}") as answer:
                assert answer.status == status
                assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_by_tcp_a_token_is_wanted_and_by_the_unix_socket_none(adapting: Any, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    access = Access(token_file=tokens)
    async with adapting(access=access) as running, client_of(running.openai) as client:
        for header in (
            None,
            "Bearer",
            "Bearer ",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
        ):
            headers = {} if header is None else {"Authorization": header}
            status, error = await client.refusal(form(TALK), headers=headers)
            assert (status, error["code"]) == (401, "invalid_api_key")
        async with client.post(form(TALK), headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        # A proxy before it may have a name of its own: the token is what counts.
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "speech.example"}
        async with client.session.get(f"{running.openai}/models", headers=headers) as answer:
            assert answer.status == 200
    path = tmp_path / "openai.sock"
    async with (
        adapting(access=access, openai=f"unix:{path}"),
        client_of("http://localhost/v1", connector=aiohttp.UnixConnector(str(path))) as client,
    ):
        assert json.loads(await client.text(TALK))["text"]


async def test_with_a_certificate_it_is_https_and_a_renewed_one_is_shown(
    adapting: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("server", "127.0.0.1")
    context = ssl.create_default_context(cafile=str(authority.file))

    async def shown(url: str) -> bytes | None:
        host, port = url.removeprefix("https://").removesuffix("/v1").split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        encrypted: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = encrypted.getpeercert(binary_form=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return certificate

    access = Access(certificate=issued.certificate, key=issued.key)
    async with adapting(access=access) as running, client_of(running.openai) as client:
        assert running.openai.startswith("https://")
        async with client.post(form(TALK), ssl=context) as answer:
            assert answer.status == 200
        before = await shown(running.openai)
        authority.issue("server", "127.0.0.1")
        assert await shown(running.openai) != before


async def test_a_connection_too_many_and_one_that_says_nothing_are_closed(
    adapting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(url: str) -> bytes:
        reader, writer = await asyncio.open_connection(
            *url.removeprefix("http://").removesuffix("/v1").split(":")
        )
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async with adapting(limits=CallLimits(max_connections=1)) as running, client_of(running.openai) as client:
        assert await client.text(TALK)
        # The client keeps its connection.
        assert await ended(running.openai) == b""
        assert await client.text(TALK)
    monkeypatch.setattr(adapters_web, "_SILENT_SECONDS", 0.1)
    async with adapting() as running:
        assert await ended(running.openai) == b""
