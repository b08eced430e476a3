"""One value of a configuration file that a person wrote."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakeetd.errors import ConfigError
from parakeetd.setup.settings import with_setting

WRITTEN = """\
# mine
[server]
listen = ["127.0.0.1:50051"]   # only here

[model]   # which
# name = "0.6b-v2"
name = "110m"  # small

[device]
name = "not this one"
"""


def test_only_the_value_changes() -> None:
    changed = with_setting(WRITTEN, "model", "name", "0.6b-v3")
    assert changed == WRITTEN.replace('name = "110m"  # small', 'name = "0.6b-v3"  # small')


def test_a_value_that_is_right_leaves_the_text_as_it_is() -> None:
    assert with_setting(WRITTEN, "model", "name", "110m") is WRITTEN


def test_a_value_that_is_missing_is_added_to_its_table() -> None:
    changed = with_setting(WRITTEN, "server", "socket_group", "speech")
    assert '[server]\nsocket_group = "speech"\nlisten' in changed


@pytest.mark.parametrize("text", ["", "# nothing\n", "[server]\ndrain_seconds = 1.0"])
def test_a_table_that_is_missing_is_added_at_the_end(text: str) -> None:
    changed = with_setting(text, "model", "name", "demo")
    assert changed.startswith(text)
    assert changed.endswith('[model]\nname = "demo"\n')


@pytest.mark.parametrize(
    "text",
    [
        'model.name = "110m"',
        'model = { name = "110m" }',
        '[model]\nname = """\n110m"""',
    ],
)
def test_what_only_a_person_can_change_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r'\[model\] name = "demo"'):
        with_setting(text, "model", "name", "demo")


@pytest.mark.parametrize("text", ["[[model]]", "model = 3"])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="model is no table"):
        with_setting(text, "model", "name", "demo")


def test_a_text_that_is_not_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        with_setting("[model", "model", "name", "demo")


def test_a_text_in_a_string_is_not_taken_for_a_table() -> None:
    text = 'note = """\n[model]\nname = "x"\n"""\n'
    changed = tomllib.loads(with_setting(text, "model", "name", "demo"))
    assert changed == {"note": '[model]\nname = "x"\n', "model": {"name": "demo"}}


@given(st.text(alphabet=st.characters(exclude_categories=["C"]), max_size=20))
def test_any_printable_value_reads_back_as_it_is(value: str) -> None:
    assert tomllib.loads(with_setting(WRITTEN, "model", "name", value))["model"]["name"] == value
