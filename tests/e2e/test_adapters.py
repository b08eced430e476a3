"""The `wyoming` and `openai` packages, unmodified, against a real daemon: its text is what `transcribe` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clips import Clip
from commands import Served, run, served

Client = Callable[..., Any]
Wav = Callable[[Clip], Path]

MILLISECOND = 0.001

MODULE_SECONDS = 600.0
"""The daemon of all tests here is killed then."""

TOKEN = "a-token-of-the-team"


def at(daemon: Served, name: str) -> str:
    """Where the daemon says that it listens for a protocol."""
    [said] = [line for line in daemon.said if line.startswith(f"listening for {name} at ")]
    return said.removeprefix(f"listening for {name} at ")


@pytest.fixture(scope="module")
def adapted(env: dict[str, str]) -> Iterator[Served]:
    with served(
        *(
            "--model",
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--wyoming",
            "127.0.0.1:0",
            "--openai",
            "127.0.0.1:0",
        ),
        env=env,
        seconds=MODULE_SECONDS,
    ) as daemon:
        yield daemon


def test_home_assistant_learns_which_models_and_languages_there_are(adapted: Served, wyoming: Client) -> None:
    [program] = wyoming("info", at(adapted, "Wyoming"))["asr"]
    assert program["installed"]
    assert program["supports_transcript_streaming"]
    assert [(model["name"], model["languages"]) for model in program["models"]] == [("demo", ["en-US"])]


def test_wyoming_gives_the_text_of_transcribe_for_every_clip_at_one_connection(
    adapted: Served, wyoming: Client, clips: dict[str, Clip], wav: Wav, transcribed: dict[str, Any]
) -> None:
    answers = wyoming("transcripts", at(adapted, "Wyoming"), *(wav(clip) for clip in clips.values()))
    assert [answer["text"] for answer in answers] == [[transcribed[name]["text"]] for name in clips]
    assert ["".join(answer["pieces"]) for answer in answers] == [clip.text for clip in clips.values()]
    for answer in answers:
        first, *pieces, last, stop = answer["events"]
        assert [first, last, stop] == ["transcript-start", "transcript", "transcript-stop"]
        assert set(pieces) == {"transcript-chunk"}


def test_wyoming_tells_a_piece_while_more_is_to_be_said(
    adapted: Served, wyoming: Client, clips: dict[str, Clip], wav: Wav
) -> None:
    clip = clips["pauses"]
    # The client sends nothing more until it has the first piece.
    answer = wyoming("halves", at(adapted, "Wyoming"), wav(clip), str(clip.utterances[1].start))
    assert answer["early"] == ["transcript-start", "transcript-chunk"]
    assert answer["pieces"][0] == clip.utterances[0].text
    assert answer["text"] == [clip.text]


def test_both_protocols_come_by_a_unix_socket_that_is_its_owners_alone(
    env: dict[str, str], tmp_path: Path, wyoming: Client, clips: dict[str, Clip], wav: Wav
) -> None:
    path, other = tmp_path / "wyoming.sock", tmp_path / "openai.sock"
    clip = clips["digits"]
    arguments = (
        "--listen",
        f"unix:{tmp_path}/grpc.sock",
        "--wyoming",
        f"unix://{path}",
        "--openai",
        f"unix:{other}",
    )
    with served("--model", "demo", *arguments, env=env) as daemon:
        assert [oct(socket.stat().st_mode & 0o777) for socket in (path, other)] == ["0o600", "0o600"]
        [answer] = wyoming("transcripts", at(daemon, "Wyoming"), wav(clip))
        assert answer["text"] == [clip.text]
        assert f"Wyoming at unix://{path}" in run("status", "--socket", f"{tmp_path}/grpc.sock", env=env).out
        assert daemon.end() == 0
    assert not path.exists()
    assert not other.exists()


def test_openai_gives_the_text_of_transcribe(
    adapted: Served, openai: Client, clip: Clip, transcribed: dict[str, Any]
) -> None:
    answer = openai("transcription", at(adapted, "OpenAI"), clip.path, "json")
    assert answer["text"] == transcribed[clip.path.stem]["text"] == clip.text


def test_openai_gives_segments_and_words_with_the_times_of_transcribe(
    adapted: Served, openai: Client, clips: dict[str, Clip], transcribed: dict[str, Any]
) -> None:
    expected = transcribed["pauses"]
    url, file = at(adapted, "OpenAI"), clips["pauses"].path
    answer = openai("transcription", url, file, "verbose_json", "word", "segment")
    words = [word for segment in expected["segments"] for word in segment["words"]]
    assert [word["word"] for word in answer["words"]] == [word["word"] for word in words]
    for edge in ("start", "end"):
        assert [word[edge] for word in answer["words"]] == pytest.approx(
            [word[edge] for word in words], abs=MILLISECOND
        )
    assert [segment["text"] for segment in answer["segments"]] == [
        segment["text"] for segment in expected["segments"]
    ]
    assert answer["duration"] == pytest.approx(expected["audio_seconds"], abs=MILLISECOND)
    assert answer["text"] == expected["text"]
    assert openai("transcription", url, file, "verbose_json")["words"] is None


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_openai_gives_what_transcribe_writes(
    adapted: Served, openai: Client, clips: dict[str, Clip], env: dict[str, str], form: str
) -> None:
    clip = clips["pauses"]
    outcome = run("transcribe", "--model", "demo", "--format", form, clip.path, env=env)
    assert openai("transcription", at(adapted, "OpenAI"), clip.path, form) == outcome.out


def test_openai_streams_an_utterance_at_a_time(
    adapted: Served, openai: Client, clips: dict[str, Clip], transcribed: dict[str, Any]
) -> None:
    clip = clips["pauses"]
    *deltas, done = openai("streamed", at(adapted, "OpenAI"), clip.path)
    assert [delta["delta"].strip() for delta in deltas] == [utterance.text for utterance in clip.utterances]
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == transcribed["pauses"]["text"]
    assert done["type"] == "transcript.text.done"


def test_openai_lists_what_is_served(adapted: Served, openai: Client) -> None:
    assert openai("models", at(adapted, "OpenAI")) == ["demo"]


def test_openais_client_raises_the_error_of_what_is_no_audio(
    adapted: Served, openai: Client, tmp_path: Path
) -> None:
    file = tmp_path / "letter.wav"
    file.write_text("To whom it may concern")
    answer = openai("transcription", at(adapted, "OpenAI"), file, "json")
    assert (answer["error"], answer["status"]) == ("BadRequestError", 400)
    assert "no audio file that is known" in answer["body"]["message"]


def test_openais_api_key_is_a_token_of_the_file(env: dict[str, str], tmp_path: Path, openai: Client) -> None:
    tokens, config = tmp_path / "tokens", tmp_path / "config.toml"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\ntoken_file = "{tokens}"\n[adapters]\nopenai = "127.0.0.1:0"\n'
    )
    with served("--model", "demo", "--config", config, env=env) as daemon:
        url = at(daemon, "OpenAI")
        assert openai("models", url, TOKEN) == ["demo"]
        answer = openai("models", url, "another-token-of-a-team")
    assert (answer["error"], answer["status"]) == ("AuthenticationError", 401)
    assert answer["body"]["code"] == "invalid_api_key"
