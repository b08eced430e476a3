"""The configuration file and the environment: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakeetd.config import (
    Config,
    DeviceSettings,
    LimitSettings,
    ModelSettings,
    Paths,
    ServerSettings,
    TextSettings,
    TlsSettings,
    VadSettings,
    default_model,
    read_config,
)
from parakeetd.entrance.access import Access
from parakeetd.entrance.limits import CallLimits
from parakeetd.errors import ConfigError
from parakeetd.session import SessionSettings
from parakeetd.vad import Segmentation

EVERYTHING = """
[server]
listen = ["127.0.0.1:7000", "unix:/run/speech/p.sock"]
token_file = "/etc/parakeetd/tokens"
insecure_remote = true
socket_group = "speech"
drain_seconds = 0.5

[tls]
certificate = "~/tls/server.pem"
key = "/etc/parakeetd/key.pem"
client_ca = "/etc/parakeetd/clients.pem"

[limits]
max_streams = 2
max_streams_per_client = 1
max_connections = 10
max_message_mib = 8
max_recording_seconds = 600
max_stream_seconds = 7200
max_queued_seconds = 100
idle_seconds = 5
unread_seconds = 3
upload_seconds = 30

[model]
name = "0.6b-v3"

[device]
choice = "cpu"
threshold_seconds = 2.5
threads = 3

[vad]
detector = "off"
aggressiveness = 0
confirm = "off"
confirm_threshold = 0.4

[segmentation]
pre_roll_ms = 100
onset_ms = 40
onset_window_ms = 100
end_silence_ms = 500
trailing_pad_ms = 200
max_segment_ms = 10000

[text]
punctuation = "always"
commands = "~/commands.toml"
profanity = "/etc/parakeetd/words.txt"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        config_file=tmp_path / "config.toml",
        models=tmp_path / "models",
        calibration=tmp_path / "calibration",
        socket=None,
    )


def refusal(paths: Paths, text: str) -> str:
    """What is said about a configuration file with this text; it names the file."""
    paths.config_file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config(None, paths)
    message = str(caught.value)
    assert message.startswith(f"configuration {paths.config_file}: ")
    assert "\n" not in message
    return message


def test_without_a_file_the_defaults_hold(paths: Paths) -> None:
    assert read_config(None, paths) == Config()


def test_an_empty_file_is_the_defaults(paths: Paths) -> None:
    paths.config_file.touch()
    assert read_config(None, paths) == Config()


def test_the_defaults_are_those_that_the_readme_names() -> None:
    config = Config()
    assert config.server == ServerSettings(
        listen=(), token_file="", insecure_remote=False, socket_group="", drain_seconds=10
    )
    assert config.tls == TlsSettings("", "", "")
    assert config.limits == LimitSettings(
        max_streams=32,
        max_streams_per_client=None,
        max_connections=256,
        max_message_mib=64,
        max_recording_seconds=3600,
        max_stream_seconds=0,
        max_queued_seconds=3600,
        idle_seconds=60,
        unread_seconds=20,
        upload_seconds=300,
    )
    assert config.sessions == SessionSettings()
    assert config.calls == CallLimits()
    assert config.access == Access()
    assert config.device == DeviceSettings(choice="auto", threshold_seconds=None, threads=0)
    assert config.vad == VadSettings(
        detector="webrtc", aggressiveness=2, confirm="silero", confirm_threshold=0.6
    )
    assert (config.segmentation.pre_roll_ms, config.segmentation.end_silence_ms) == (300, 800)
    assert config.segmentation.max_segment_ms == 20_000


def test_every_table_and_key_is_read(paths: Paths) -> None:
    paths.config_file.write_text(EVERYTHING, encoding="utf-8")
    assert read_config(None, paths) == Config(
        server=ServerSettings(
            listen=("127.0.0.1:7000", "unix:/run/speech/p.sock"),
            token_file="/etc/parakeetd/tokens",
            insecure_remote=True,
            socket_group="speech",
            drain_seconds=0.5,
        ),
        tls=TlsSettings("~/tls/server.pem", "/etc/parakeetd/key.pem", "/etc/parakeetd/clients.pem"),
        limits=LimitSettings(
            max_streams=2,
            max_streams_per_client=1,
            max_connections=10,
            max_message_mib=8,
            max_recording_seconds=600.0,
            max_stream_seconds=7200.0,
            max_queued_seconds=100.0,
            idle_seconds=5.0,
            unread_seconds=3.0,
            upload_seconds=30.0,
        ),
        model=ModelSettings(name="0.6b-v3"),
        device=DeviceSettings(choice="cpu", threshold_seconds=2.5, threads=3),
        vad=VadSettings(detector="off", aggressiveness=0, confirm="off", confirm_threshold=0.4),
        segmentation=Segmentation(
            pre_roll_ms=100,
            onset_ms=40,
            onset_window_ms=100,
            end_silence_ms=500,
            trailing_pad_ms=200,
            max_segment_ms=10_000,
        ),
        text=TextSettings("always", "~/commands.toml", "/etc/parakeetd/words.txt"),
    )


def test_files_of_the_text_table_are_found_below_the_users_home(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    paths.config_file.write_text(EVERYTHING, encoding="utf-8")
    text = read_config(None, paths).text
    assert text.commands_file == Path("/home/someone/commands.toml")
    assert text.profanity_file == Path("/etc/parakeetd/words.txt")


@pytest.mark.parametrize(("written", "commands"), [("true", True), ("false", False)])
def test_spoken_commands_can_be_switched_without_a_file(paths: Paths, written: str, commands: bool) -> None:
    paths.config_file.write_text(f"[text]\ncommands = {written}", encoding="utf-8")
    text = read_config(None, paths).text
    assert text.commands is commands
    assert text.commands_file is None
    assert text.profanity_file is None


def test_what_is_read_reaches_the_sessions(paths: Paths) -> None:
    paths.config_file.write_text(EVERYTHING, encoding="utf-8")
    sessions = read_config(None, paths).sessions
    assert (sessions.max_streams, sessions.max_streams_per_client, sessions.idle_seconds) == (2, 1, 5.0)
    assert (sessions.max_recording_seconds, sessions.max_stream_seconds) == (600.0, 7200.0)
    assert sessions.max_queued_seconds == 100.0
    assert (sessions.detector, sessions.aggressiveness) == ("off", 0)
    assert (sessions.confirm, sessions.confirm_threshold) == ("off", 0.4)
    assert sessions.segmentation.end_silence_ms == 500


def test_what_is_read_reaches_the_calls_and_who_may_make_them(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    paths.config_file.write_text(EVERYTHING, encoding="utf-8")
    config = read_config(None, paths)
    assert config.calls == CallLimits(
        max_connections=10, max_message_mib=8, unread_seconds=3.0, upload_seconds=30.0
    )
    assert config.access == Access(
        certificate=Path("/home/someone/tls/server.pem"),
        key=Path("/etc/parakeetd/key.pem"),
        client_ca=Path("/etc/parakeetd/clients.pem"),
        token_file=Path("/etc/parakeetd/tokens"),
        insecure_remote=True,
        socket_group="speech",
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[sever]\nmax_streams = 1", "unknown key sever; the file knows: server, tls, limits, model, device"),
        (
            "[limits]\nmax_stream = 1",
            "unknown key limits.max_stream; table limits knows: max_streams",
        ),
        ("server = 3", "server must be a table"),
        ("[server]\nlisten = '127.0.0.1:1'", "server.listen must be a list"),
        ("[server]\nlisten = [1]", "server.listen must be text in quotes, not 1"),
        ("[limits]\nmax_streams = 1.5", "limits.max_streams must be a whole number, not 1.5"),
        ("[limits]\nmax_streams = true", "limits.max_streams must be a whole number, not True"),
        ("[limits]\nidle_seconds = 'long'", "limits.idle_seconds must be a number, not 'long'"),
        ("[limits]\nidle_seconds = nan", "limits.idle_seconds must be a number, not nan"),
        ("[model]\nname = 6", "model.name must be text in quotes, not 6"),
        ("[text]\ncommands = 1", "text.commands must be true or false or text in quotes, not 1"),
        ("[device]\nthreads = '2'", "device.threads must be a whole number, not '2'"),
    ],
)
def test_an_unknown_key_or_a_wrong_type_is_named(paths: Paths, text: str, named: str) -> None:
    assert named in refusal(paths, text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nlisten = ['example.org:50051']", "server.listen: cannot listen on example.org:50051"),
        ("[server]\ntoken_file = 'tokens'", "server.token_file must be an absolute path or begin with ~/"),
        ("[tls]\ncertificate = '/c.pem'", "tls.certificate and tls.key belong together"),
        ("[tls]\nkey = 'k.pem'", "tls.key must be an absolute path or begin with ~/"),
        ("[tls]\nclient_ca = '/c.pem'", "tls.client_ca needs tls.certificate"),
        ("[limits]\nmax_streams_per_client = 0", "limits.max_streams_per_client must be at least 1, not 0"),
        ("[limits]\nmax_stream_seconds = -1", "limits.max_stream_seconds must be 0 or more, not -1"),
        ("[limits]\nmax_recording_seconds = 0", "limits.max_recording_seconds must be above 0, not 0"),
        ("[limits]\nmax_queued_seconds = 0", "limits.max_queued_seconds must be above 0, not 0"),
        ("[limits]\nmax_connections = 0", "limits.max_connections must be 1 to 100000, not 0"),
        ("[limits]\nmax_message_mib = 2000", "limits.max_message_mib must be 1 to 1024, not 2000"),
        ("[limits]\nunread_seconds = 0", "limits.unread_seconds must be above 0, not 0"),
        ("[limits]\nupload_seconds = 0", "limits.upload_seconds must be above 0, not 0"),
        ("[server]\nlisten = ['unix:here.sock']", "server.listen: cannot listen on unix:here.sock"),
        ("[limits]\nmax_streams = 0", "limits.max_streams must be at least 1, not 0"),
        ("[limits]\nidle_seconds = 0", "limits.idle_seconds must be above 0, not 0"),
        ("[server]\ndrain_seconds = 61", "server.drain_seconds must be 0 to 60, not 61"),
        ("[device]\nchoice = 'gpu'", "device.choice must be one of 'auto', 'cpu', 'cuda', not 'gpu'"),
        ("[device]\nthreads = -1", "device.threads must be 0 or more, not -1"),
        ("[device]\ngpu_idle_seconds = -1", "device.gpu_idle_seconds must be 0 or more, not -1"),
        ("[device]\ncpu_idle_seconds = -0.5", "device.cpu_idle_seconds must be 0 or more, not -0.5"),
        ("[device]\nthreshold_seconds = -1", "device.threshold_seconds must be 0 or more, not -1"),
        ("[vad]\ndetector = 'silent'", "vad.detector must be one of 'webrtc', 'off', not 'silent'"),
        ("[vad]\naggressiveness = 4", "vad.aggressiveness must be 0, 1, 2 or 3, not 4"),
        ("[vad]\nconfirm = 'maybe'", "vad.confirm must be one of 'silero', 'off', not 'maybe'"),
        ("[vad]\nconfirm_threshold = 1", "vad.confirm_threshold must be between 0 and 1, not 1"),
        ("[text]\npunctuation = 'no'", "text.punctuation must be one of 'request', 'always', not 'no'"),
        ("[text]\ncommands = 'c.toml'", "text.commands must be an absolute path or begin with ~/"),
        ("[text]\nprofanity = 'w.txt'", "text.profanity must be an absolute path or begin with ~/"),
        ("[segmentation]\npre_roll_ms = -1", "segmentation.pre_roll_ms must be 0 to 5000 ms, not -1"),
        (
            "[segmentation]\nend_silence_ms = 50",
            "segmentation.end_silence_ms must be 100 to 10000 ms, not 50",
        ),
        (
            "[segmentation]\nmax_segment_ms = 1",
            "segmentation.max_segment_ms must be 2000 to 300000 ms, not 1",
        ),
        ("[segmentation]\nonset_ms = 300", "segmentation.onset_ms must be"),
    ],
)
def test_a_value_out_of_range_is_named(paths: Paths, text: str, named: str) -> None:
    assert named in refusal(paths, text)


def test_what_is_not_toml_is_named_with_its_line(paths: Paths) -> None:
    assert "not valid TOML" in (message := refusal(paths, "[server]\nmax_streams = \n"))
    assert "line 2" in message


def test_a_file_that_is_not_utf8_is_named(paths: Paths) -> None:
    paths.config_file.write_bytes(b'[model]\nname = "\xff"\n')
    with pytest.raises(ConfigError, match=rf"configuration {paths.config_file}: not valid TOML"):
        read_config(None, paths)


def test_a_file_that_was_asked_for_must_exist(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"configuration {tmp_path}/other\.toml: .*No such file"):
        read_config(tmp_path / "other.toml", paths)


def test_a_folder_is_not_a_configuration_file(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"configuration {tmp_path}: .*directory"):
        read_config(tmp_path, paths)


def test_paths_follow_the_xdg_variables() -> None:
    environment = {
        "HOME": "/home/anna",
        "XDG_CONFIG_HOME": "/cfg",
        "XDG_DATA_HOME": "/data",
        "XDG_STATE_HOME": "/state",
        "XDG_RUNTIME_DIR": "/run/user/7",
    }
    assert Paths.from_environment(environment) == Paths(
        config_file=Path("/cfg/parakeetd/config.toml"),
        models=Path("/data/parakeetd/models"),
        calibration=Path("/state/parakeetd/calibration"),
        socket=Path("/run/user/7/parakeetd/parakeetd.sock"),
    )


def test_without_the_xdg_variables_paths_are_in_the_home_folder() -> None:
    paths = Paths.from_environment({"HOME": "/home/anna"})
    assert paths.config_file == Path("/home/anna/.config/parakeetd/config.toml")
    assert paths.models == Path("/home/anna/.local/share/parakeetd/models")
    assert paths.calibration == Path("/home/anna/.local/state/parakeetd/calibration")


def test_the_folder_of_models_has_a_variable_of_its_own() -> None:
    paths = Paths.from_environment(
        {"HOME": "/h", "XDG_DATA_HOME": "/data", "PARAKEETD_MODELS": "/srv/models"}
    )
    assert paths.models == Path("/srv/models")


def test_a_relative_xdg_folder_counts_as_not_set() -> None:
    environment = {"HOME": "/h", "XDG_CONFIG_HOME": "cfg", "XDG_DATA_HOME": "", "XDG_RUNTIME_DIR": "run"}
    assert Paths.from_environment(environment) == Paths.from_environment({"HOME": "/h"})


def test_without_a_runtime_folder_there_is_no_unix_socket() -> None:
    assert Paths.from_environment({"HOME": "/h"}).default_listen == ("127.0.0.1:50051",)


def test_by_default_a_port_and_a_socket_are_listened_on() -> None:
    paths = Paths.from_environment({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/7"})
    assert paths.default_listen == ("127.0.0.1:50051", "unix:/run/user/7/parakeetd/parakeetd.sock")


def test_the_embedded_model_is_the_default_when_nothing_else_is_installed() -> None:
    assert default_model(["demo"]) == "demo"


def test_the_only_full_model_is_the_default() -> None:
    assert default_model(["0.6b-v3", "demo"]) == "0.6b-v3"


def test_among_several_full_models_none_is_guessed() -> None:
    with pytest.raises(ConfigError, match=r"0\.6b-v2, 0\.6b-v3\); name one with --model"):
        default_model(["0.6b-v2", "0.6b-v3", "demo"])
