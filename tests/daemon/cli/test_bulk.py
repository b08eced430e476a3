"""`parakeetd transcribe --cluster`: over real daemons, and over servers that fail as real ones do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from clips import Clip
from commands import PARAKEETD, PATIENCE_SECONDS, Command, heeding_ctrl_c, run, served
from many_files import judged, many_files
from parakeetd.rpc import offload
from riva_stand_in import Talk, stand_in
from wavs import chunk, fmt, wav


def recordings(folder: Path, count: int) -> list[str]:
    """Short files that a stand-in answers; returns their names without the suffix."""
    folder.mkdir()
    names = [f"talk-{number:02}" for number in range(count)]
    for number, name in enumerate(names):
        # Each of another length, so that a stand-in knows them apart.
        samples = bytes(2 * (1600 + number))
        (folder / f"{name}.wav").write_bytes(wav(fmt(1, 1, 16_000, 16), chunk(b"data", samples)))
    return names


def number_of(talk: Talk) -> int:
    """Which of `recordings` is streamed."""
    return len(talk.pcm()) // 2 - 1600


def answered(talk: Talk) -> Iterator[str]:
    yield f"this is {number_of(talk)}"


def refused(code: grpc.StatusCode, details: str = "") -> Callable[[Talk], Iterator[str]]:
    def answer(talk: Talk) -> Iterator[str]:
        talk.context.abort(code, details)
        yield ""

    return answer


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_results_are_those_of_transcribe_here(
    env: dict[str, str], clips: dict[str, Clip], tmp_path: Path, form: str
) -> None:
    paths = [clip.path for clip in clips.values()]
    here = run("transcribe", "--format", form, "--output", tmp_path / "here", *paths, env=env)
    with served("--listen", "127.0.0.1:0", env=env) as daemon:
        there = run(
            *("transcribe", "--cluster", daemon.addresses[0], "--format", form, "--output"),
            *(tmp_path / "there", *paths),
            env=env,
        )
    assert (here.code, there.code) == (0, 0)
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(files(tmp_path / "here")) == len(paths)


def test_what_is_asked_of_the_recognition_goes_along(
    env: dict[str, str], clips: dict[str, Clip], tmp_path: Path
) -> None:
    wishes = ("--decoder", "ctc", "--commands", "--language", "en-US", "--format", "json")
    sources = [clips[name].path for name in ("command", "pauses", "digits")]
    here = run("transcribe", *wishes, *sources, env=env)
    with served("--listen", f"unix:{tmp_path}/s.sock", env=env) as daemon:
        cluster = ("--cluster", daemon.addresses[0], "--output", str(tmp_path / "out"))
        there = run("transcribe", *cluster, *wishes, *sources, env=env)
    assert (here.code, there.code) == (0, 0), there.err
    for line in here.out.splitlines():
        wanted = json.loads(line)
        told = json.loads((tmp_path / "out" / f"{Path(wanted['file']).stem}.json").read_text())
        assert list(told) == list(wanted)
        assert [told[key] for key in ("file", "text", "model")] == [
            wanted[key] for key in ("file", "text", "model")
        ]
        assert told["audio_seconds"] == pytest.approx(wanted["audio_seconds"], abs=0.01)
        for segment, local in zip(told["segments"], wanted["segments"], strict=True):
            assert segment["device"] == "remote"
            assert segment["text"] == local["text"]
            assert [word["word"] for word in segment["words"]] == [word["word"] for word in local["words"]]
            assert local["start"] - 0.001 <= segment["start"] <= segment["end"] <= local["end"] + 0.001


def test_a_daemon_that_is_killed_under_way_and_comes_back_costs_no_file(
    env: dict[str, str], tmp_path: Path
) -> None:
    many = many_files(tmp_path / "in", 100)
    output = tmp_path / "out"
    with ExitStack() as stack:
        two = [stack.enter_context(served("--listen", "127.0.0.1:0", env=env)) for _ in range(2)]
        addresses = [daemon.addresses[0] for daemon in two]
        process = subprocess.Popen(
            [
                *(*PARAKEETD, "transcribe", "--cluster", addresses[0], "--cluster", addresses[1]),
                *("--format", "json", "--output", str(output), str(many.folder)),
            ],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.kill)
        some = threading.Event()
        while not some.wait(0.05) and len(list(output.rglob("*.json"))) < 20 and process.poll() is None:
            pass
        two[0].end(signal.SIGKILL)
        stack.enter_context(served("--listen", addresses[0], env=env))
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert judged(many, output) == []
    assert (process.returncode, told.startswith("parakeetd: 100 files: 100 done")) == (0, True), told


def test_what_fails_is_listed_at_the_end_and_the_rest_is_done(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    names = recordings(folder, 3)
    (folder / "words.wav").write_text("no audio, only words\n" * 20)
    (folder / "cut.flac").write_bytes(clips["digits"].path.read_bytes()[:3000])
    (folder / "gone.wav").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.wav")
    with stand_in(answered) as server:
        outcome = parakeetd("transcribe", "--cluster", server.address, "--output", tmp_path / "out", folder)
    assert outcome.code == 1
    *problems, summary = outcome.err.splitlines()
    failed = sorted(line.split(": ")[1] for line in problems)
    # Of a file that is cut short its beginning is heard, with a warning, as everywhere.
    assert failed == [str(folder / name) for name in ("gone.wav", "pipe.wav", "words.wav")]
    assert summary == "parakeetd: 7 files: 4 done, 3 failed; the same command tries them again"
    assert files(tmp_path / "out").keys() == {f"{name}.txt" for name in (*names, "cut")}


def test_what_is_done_is_not_asked_for_again_unless_forced(parakeetd: Command, tmp_path: Path) -> None:
    names = recordings(tmp_path / "in", 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{names[2]}.txt").write_text("mine\n")
    with stand_in(answered) as server:
        command = ("transcribe", "--cluster", server.address, "--output", tmp_path / "out", tmp_path / "in")
        first = parakeetd(*command)
        assert first.error == "parakeetd: 4 files: 3 done, 1 were done before"
        assert files(tmp_path / "out")[f"{names[2]}.txt"] == "mine\n"
        second = parakeetd(*command)
        assert second.error == "parakeetd: 4 files: all had their results before"
        assert (first.code, second.code, len(server.talks)) == (0, 0, 3)
        assert parakeetd(*command, "--force").code == 0
    assert files(tmp_path / "out") == {f"{name}.txt": f"this is {i}\n" for i, name in enumerate(names)}


def test_a_stream_that_breaks_is_begun_anew_and_nothing_of_it_is_left(
    parakeetd: Command, tmp_path: Path
) -> None:
    names = recordings(tmp_path / "in", 6)

    def broken(talk: Talk) -> Iterator[str]:
        number = number_of(talk)
        yield f"this is {number}"
        if talk.number < 4:
            talk.context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    with stand_in(broken) as server:
        outcome = parakeetd(
            "transcribe", "--cluster", server.address, "--output", tmp_path / "out", tmp_path / "in"
        )
    assert (outcome.code, len(server.talks)) == (0, 10), outcome.err
    assert files(tmp_path / "out") == {f"{name}.txt": f"this is {i}\n" for i, name in enumerate(names)}


def test_no_more_files_are_under_way_than_asked_for(parakeetd: Command, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 12)
    met = threading.Barrier(3)

    def answer(talk: Talk) -> Iterator[str]:
        # Nobody is answered before three are there: the bound is reached.
        met.wait(PATIENCE_SECONDS)
        yield from answered(talk)

    with stand_in(answer) as server:
        outcome = parakeetd(
            *("transcribe", "--cluster", server.address, "--jobs", "3"),
            *("--output", tmp_path / "out", tmp_path / "in"),
        )
    assert (outcome.code, server.most_open) == (0, 3)


def test_an_interrupted_run_keeps_what_it_has_and_the_next_one_goes_on(
    env: dict[str, str], tmp_path: Path
) -> None:
    names = recordings(tmp_path / "in", 9)
    held = threading.Semaphore(0)

    def answer(talk: Talk) -> Iterator[str]:
        if 5 <= talk.number < 7:
            held.release()
            talk.gone.wait()
        yield from answered(talk)

    with stand_in(answer) as server:
        command = (
            "transcribe",
            "--cluster",
            server.address,
            "--jobs",
            "2",
            "--output",
            str(tmp_path / "out"),
        )
        with heeding_ctrl_c():
            process = subprocess.Popen(
                [*PARAKEETD, *command, str(tmp_path / "in")], env=env, stderr=subprocess.PIPE, text=True
            )
        with process:
            try:
                for _ in range(2):
                    assert held.acquire(timeout=PATIENCE_SECONDS)
                process.send_signal(signal.SIGINT)
                _, told = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
        assert (process.returncode, told) == (
            130,
            "parakeetd: 9 files: 5 done, 4 left; the same command goes on\n",
        )
        assert len(files(tmp_path / "out")) == 5
        assert run(*command, tmp_path / "in", env=env).code == 0
        assert len(server.talks) == 7 + 4
    assert files(tmp_path / "out") == {f"{name}.txt": f"this is {i}\n" for i, name in enumerate(names)}


def test_a_service_without_room_is_asked_until_patience_ends(parakeetd: Command, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 5)
    with stand_in(refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no place")) as server:
        outcome = parakeetd(
            *("transcribe", "--cluster", server.address, "--jobs", "2", "--retry-seconds", "0.1"),
            *("--output", tmp_path / "out", tmp_path / "in"),
        )
        # One was asked for more than once, and a third was never begun.
        assert 1 < len(server.talks) <= 4
    assert outcome.code == 1
    problem, summary = outcome.err.splitlines()
    assert problem == f"parakeetd: stopped: {server.address}: RESOURCE_EXHAUSTED: no place"
    assert summary.startswith("parakeetd: 5 files: 0 done, 5 left")


def test_a_wrong_token_ends_the_run_and_a_right_one_goes_along(parakeetd: Command, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 3)
    token = tmp_path / "token"
    token.write_text("sesame-sesame-sesame-sesame-sesame\n")
    token.chmod(0o600)
    with stand_in(refused(grpc.StatusCode.UNAUTHENTICATED, "no such token")) as server:
        outcome = parakeetd(
            *("transcribe", "--cluster", server.address, "--jobs", "1", "--token-file", token),
            *("--output", tmp_path / "out", tmp_path / "in"),
        )
    assert (outcome.code, server.tokens) == (1, ["Bearer sesame-sesame-sesame-sesame-sesame"]), outcome.err
    assert outcome.err.splitlines()[0].endswith("UNAUTHENTICATED: no such token")


def test_a_server_that_neither_reads_nor_answers_is_not_waited_for_without_end(
    parakeetd: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(tmp_path / "in", 1)
    monkeypatch.setattr(offload, "STALLED_SECONDS", 0.5)

    def answer(talk: Talk) -> Iterator[str]:
        if talk.number == 0:
            talk.gone.wait()
        yield from answered(talk)

    with stand_in(answer) as server:
        outcome = parakeetd(
            "transcribe", "--cluster", server.address, "--output", tmp_path / "out", tmp_path / "in"
        )
        # More than two where this machine is so slow that an answer takes as long.
        assert len(server.talks) >= 2
    assert outcome.code == 0
    assert outcome.error.startswith("parakeetd: 1 files: 1 done, ")


def test_names_that_are_no_text_are_written_and_told(env: dict[str, str], tmp_path: Path) -> None:
    recordings(tmp_path / "in", 1)
    folder = os.fsencode(tmp_path / "in")
    (tmp_path / "in" / "talk-00.wav").rename(os.fsdecode(folder + b"/caf\xe9\n[red].wav"))
    Path(os.fsdecode(folder + b"/b\xe4d.wav")).write_text("words " * 20)
    with stand_in(answered) as server:
        outcome = run(
            *("transcribe", "--cluster", server.address, "--format", "json"),
            *("--output", tmp_path / "out", tmp_path / "in"),
            env=env,
        )
    assert outcome.code == 1
    assert outcome.err.splitlines()[0].startswith(f"parakeetd: {tmp_path}/in/b\\udce4d.wav: not audio")
    [result] = (tmp_path / "out").iterdir()
    assert os.fsencode(result.name) == b"caf\xe9\n[red].json"
    told = json.loads(result.read_text())
    assert told["file"] == f"{tmp_path}/in/caf\\xe9\n[red].wav"


def test_nobody_there_is_said_at_once(parakeetd: Command, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 1)
    outcome = parakeetd(
        "transcribe", "--cluster", f"unix:{tmp_path}/none", "--output", tmp_path / "out", tmp_path / "in"
    )
    assert outcome.code == 1
    assert outcome.error.startswith(f"parakeetd: unix:{tmp_path}/none: UNAVAILABLE")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--cluster", "h:1"), "--cluster needs --output"),
        (("--cluster", "h:1", "--output", "out", "--device", "cpu"), "--device does not go with --cluster"),
        (("--cluster", "h:1", "--output", "out", "--vad", "webrtc"), "--vad does not go with --cluster"),
        (("--jobs", "3"), "--jobs needs --cluster"),
        (("--force",), "--force needs --cluster"),
        (("--token-file", "token"), "--token-file needs --cluster"),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    outcome = parakeetd("transcribe", *flags, clips["digits"].path)
    assert outcome.code == 2
    assert outcome.error.startswith(f"parakeetd: {message}")
    assert not Path("out").exists()
