"""Which requests are taken for those of a web page, or of a name that was rebound."""

from __future__ import annotations

import pytest

from parakeetd.adapters.visitors import Foreign, check_host, check_page

OURS = (
    "localhost localhost:8000 LOCALHOST:8000 localhost. asr.localhost:8000 127.0.0.1 127.0.0.1:8000 [::1]:8000 [::1] "
    "::1 192.168.1.7:8000 study study:8000 study.local."
)

REBOUND = (
    "evil.example evil.example:8000 localhost.evil.example 127.0.0.1.evil.example:8000 127.0.0.1@evil.example "
    "notlocalhost study.evil.example localhost:8000.evil.example :8000"
)


@pytest.mark.parametrize("host", OURS.split())
def test_addresses_and_names_of_this_machine_are_its_own(host: str) -> None:
    check_host(host, {"study", "study.local"})


@pytest.mark.parametrize("host", REBOUND.split())
def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    with pytest.raises(Foreign):
        check_host(host, {"study"})


def test_a_request_that_names_no_host_is_refused() -> None:
    with pytest.raises(Foreign):
        check_host(None, set())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_a_browser_sends_for_a_page_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Foreign):
        check_page(headers)


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}, {"Authorization": "Bearer x"}])
def test_what_programs_send_and_what_a_person_types_into_a_browser_passes(headers: dict[str, str]) -> None:
    check_page(headers)
