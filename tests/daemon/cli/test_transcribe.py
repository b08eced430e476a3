"""`parakeetd transcribe`: texts in order, files in a folder, and each bad file by its name."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from clips import Clip
from commands import Command, run
from parakeetd.cli import output
from wavs import chunk, fmt, wav

THREE = ("digits", "telephone", "stereo")


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be transcribed, by what is wrong with them."""
    contents = {
        "text": b"Not audio, only words.\n" * 20,
        "empty": b"",
        "truncated": wav(fmt(1, 1, 16_000, 16))[:30],
        "no-sample": wav(fmt(1, 1, 16_000, 16), chunk(b"data", b"")),
        "zero-hertz": wav(fmt(1, 1, 0, 16), chunk(b"data", bytes(3200))),
        "many-channels": wav(fmt(1, 9, 16_000, 16), chunk(b"data", bytes(9 * 3200))),
    }
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    (folder / "folder.wav").mkdir()
    return {name: folder / f"{name}.wav" for name in (*contents, "folder", "missing")}


def paths(clips: dict[str, Clip]) -> list[Path]:
    return [clips[name].path for name in THREE]


def test_texts_come_in_the_order_of_the_files(parakeetd: Command, clips: dict[str, Clip]) -> None:
    outcome = parakeetd("transcribe", *paths(clips))
    assert outcome.code == 0
    assert outcome.out.splitlines() == [clips[name].nemo_text for name in THREE]
    assert outcome.err == ""


def test_json_is_one_object_a_file_with_all_that_is_promised(
    parakeetd: Command, clips: dict[str, Clip]
) -> None:
    outcome = parakeetd("transcribe", "--format", "json", clips["pauses"].path, clips["digits"].path)
    assert outcome.code == 0
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["file"] for row in rows] == [str(clips["pauses"].path), str(clips["digits"].path)]
    for row, clip in zip(rows, (clips["pauses"], clips["digits"]), strict=True):
        assert list(row) == ["file", "text", "model", "audio_seconds", "processing_seconds", "segments"]
        assert row["text"] == clip.nemo_text
        assert row["model"] == "demo"
        assert row["audio_seconds"] == pytest.approx(clip.seconds, abs=0.01)
        assert row["processing_seconds"] > 0
        assert len(row["segments"]) == len(clip.utterances)
        for segment in row["segments"]:
            assert list(segment) == ["start", "end", "text", "confidence", "device", "words"]
            assert 0 <= segment["start"] < segment["end"] <= row["audio_seconds"] + 0.001
            assert 0 < segment["confidence"] <= 1
            assert segment["device"] in ("cpu", "cuda")
            assert " ".join(word["word"] for word in segment["words"]) == segment["text"]
            for word in segment["words"]:
                assert list(word) == ["word", "start", "end", "confidence"]
                assert segment["start"] <= word["start"] <= word["end"] <= segment["end"] + 0.001
                assert 0 < word["confidence"] <= 1


def test_without_detection_a_file_is_one_segment(parakeetd: Command, clips: dict[str, Clip]) -> None:
    outcome = parakeetd("transcribe", "--vad", "off", "--format", "json", clips["pauses"].path)
    [segment] = json.loads(outcome.out)["segments"]
    assert segment["text"] == clips["pauses"].nemo_text
    assert segment["start"] == 0


def test_without_detection_a_long_file_is_cut_at_twenty_seconds(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    samples, rate = soundfile.read(clips["digits"].path, dtype="int16")
    times = -(-45 * rate // len(samples))
    soundfile.write(tmp_path / "long.wav", [*samples] * times, rate, subtype="PCM_16")
    outcome = parakeetd("transcribe", "--vad", "off", "--format", "json", tmp_path / "long.wav")
    row = json.loads(outcome.out)
    assert max(segment["end"] - segment["start"] for segment in row["segments"]) <= 20
    # Cut in pauses, so that no word is lost.
    assert row["text"] == " ".join([clips["digits"].nemo_text] * times)


def test_stdin_is_a_file_called_dash(env: dict[str, str], clips: dict[str, Clip]) -> None:
    content = clips["digits"].path.read_bytes()
    outcome = run("transcribe", "--format", "json", "-", env=env, stdin=content)
    assert outcome.code == 0
    row = json.loads(outcome.out)
    assert (row["file"], row["text"]) == ("-", clips["digits"].nemo_text)


def test_a_folder_gets_one_file_for_each_input(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "texts"
    outcome = parakeetd("transcribe", "--output", folder, *paths(clips))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert texts == {f"{name}.txt": clips[name].nemo_text + "\n" for name in THREE}


@pytest.mark.parametrize("form", ["json", "srt", "vtt"])
def test_files_are_named_for_their_format(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path, form: str
) -> None:
    parakeetd("transcribe", "--format", form, "--output", tmp_path / "out", clips["digits"].path)
    [file] = (tmp_path / "out").iterdir()
    assert file.name == f"digits.{form}"
    assert "five six one zero eight three" in file.read_text(encoding="utf-8")


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_new_file_has_the_mode_that_the_user_wants(tmp_path: Path, umask: int) -> None:
    output.write_atomically(tmp_path / "talk.txt", "hello\n")
    assert stat.S_IMODE((tmp_path / "talk.txt").stat().st_mode) == 0o666 & ~umask


def test_a_file_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "talk.txt"
    target.write_text("old and longer\n")
    with target.open() as reader:
        output.write_atomically(target, "new\n")
        # Whoever had it open goes on reading the old one: it was replaced, not written over.
        assert reader.read() == "old and longer\n"
    assert target.read_text() == "new\n"
    assert [file.name for file in tmp_path.iterdir()] == ["talk.txt"]


def test_a_result_that_cannot_be_written_is_named_and_the_others_are_written(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    (tmp_path / "digits.txt").mkdir()
    outcome = parakeetd("transcribe", "--output", tmp_path, *paths(clips))
    assert outcome.code == 2
    assert f"parakeetd: cannot write {tmp_path}/digits.txt: " in outcome.err
    assert (tmp_path / "telephone.txt").is_file()
    assert (tmp_path / "stereo.txt").is_file()
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_two_files_of_one_name_are_refused_before_any_work(parakeetd: Command, tmp_path: Path) -> None:
    outcome = parakeetd("transcribe", "--output", tmp_path / "out", "monday/talk.wav", "friday/talk.mp3")
    assert outcome.code == 2
    for named in ("monday/talk.wav", "friday/talk.mp3", "out/talk.txt"):
        assert named in outcome.error
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_may_be_printed(parakeetd: Command, clips: dict[str, Clip]) -> None:
    outcome = parakeetd("transcribe", clips["digits"].path, clips["digits"].path)
    assert outcome.out.splitlines() == [clips["digits"].nemo_text] * 2


def test_an_output_folder_that_cannot_be_made_is_named(parakeetd: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = parakeetd("transcribe", "--output", tmp_path / "file" / "out", "x.wav")
    assert outcome.code == 2
    assert f"output folder {tmp_path}/file/out" in outcome.error


def test_bad_files_among_good_ones_are_named_once_and_the_good_ones_written(
    parakeetd: Command, clips: dict[str, Clip], bad: dict[str, Path], tmp_path: Path
) -> None:
    good = paths(clips)
    mixed = [good[0], *list(bad.values())[:4], good[1], *list(bad.values())[4:], good[2]]
    outcome = parakeetd("transcribe", "--output", tmp_path / "out", *mixed)
    assert outcome.code == 2
    assert sorted(file.stem for file in (tmp_path / "out").iterdir()) == sorted(THREE)
    *errors, last = outcome.err.splitlines()
    assert len(errors) == len(bad)
    for line, path in zip(errors, bad.values(), strict=True):
        assert line.startswith(f"parakeetd: {path}: ")
        assert line.count(str(path)) == 1
    assert last == f"parakeetd: {len(bad)} of {len(mixed)} files failed"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "not audio"),
        ("empty", "empty"),
        ("truncated", "header"),
        ("no-sample", "empty"),
        ("zero-hertz", "0 Hz"),
        ("many-channels", "9 channels"),
        ("folder", "Is a directory"),
        ("missing", "No such file"),
    ],
)
def test_a_bad_file_alone_is_one_line_with_the_reason(
    parakeetd: Command, bad: dict[str, Path], kind: str, reason: str
) -> None:
    outcome = parakeetd("transcribe", bad[kind])
    assert outcome.code == 2
    assert outcome.out == ""
    assert str(bad[kind]) in outcome.error
    assert reason in outcome.error


def test_an_unknown_model_is_named_with_what_to_do(parakeetd: Command, tmp_path: Path) -> None:
    outcome = parakeetd("transcribe", "--model", "0.9b", "--models", tmp_path, "x.wav")
    assert outcome.code == 2
    assert f"'0.9b' is not installed in {tmp_path} (installed: demo)" in outcome.error
    assert "parakeetd-convert 0.9b" in outcome.error


def test_several_models_ask_for_a_choice(parakeetd: Command, models: Path) -> None:
    (models / "mine").rename(models / "first")
    (models / "second").symlink_to(models / "first")
    outcome = parakeetd("transcribe", "--models", models, "x.wav")
    assert outcome.code == 2
    assert "(first, second); name one with --model" in outcome.error


def test_a_model_in_a_folder_of_ones_own_is_used(
    parakeetd: Command, models: Path, clips: dict[str, Clip]
) -> None:
    outcome = parakeetd("transcribe", "--models", models, clips["digits"].path)
    assert outcome.out.strip() == clips["digits"].nemo_text


def test_a_bundle_with_a_missing_file_is_named(parakeetd: Command, models: Path) -> None:
    (models / "mine" / "encoder-model.onnx").unlink()
    outcome = parakeetd("transcribe", "--models", models, "x.wav")
    assert outcome.code == 2
    assert f"{models}/mine: encoder-model.onnx is missing" in outcome.error


def test_a_bundle_with_a_changed_byte_is_named(parakeetd: Command, models: Path) -> None:
    with (models / "mine" / "joint-model.onnx").open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    outcome = parakeetd("transcribe", "--models", models, "x.wav")
    assert outcome.code == 2
    assert f"{models}/mine: joint-model.onnx does not match" in outcome.error


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 99}', b'{"format": 1}', b"\xff\xfe"])
def test_a_bundle_with_a_wrong_manifest_is_named(parakeetd: Command, models: Path, content: bytes) -> None:
    (models / "mine" / "manifest.json").write_bytes(content)
    outcome = parakeetd("transcribe", "--models", models, "x.wav")
    assert outcome.code == 2
    assert f"{models}/mine: manifest.json" in outcome.error


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("prediction_hidden", 641, "prediction_hidden, the manifest says 641"),
        ("prediction_layers", 7, "prediction_layers, the manifest says 7"),
        ("mels", 128, "80 mels, the manifest says 128"),
        ("d_model", 512, "d_model, the manifest says 512"),
        ("durations", [0, 1], "durations, the manifest says"),
    ],
)
def test_a_manifest_that_does_not_fit_its_graphs_is_named(
    parakeetd: Command, models: Path, field: str, value: object, named: str
) -> None:
    manifest = json.loads((models / "mine" / "manifest.json").read_text())
    manifest["architecture"][field] = value
    (models / "mine" / "manifest.json").write_text(json.dumps(manifest))
    outcome = parakeetd("transcribe", "--models", models, "x.wav")
    assert outcome.code == 2
    assert f"{models}/mine: its graphs have " in outcome.error
    assert named in outcome.error


def test_the_decoder_can_be_chosen(parakeetd: Command, clips: dict[str, Clip]) -> None:
    outcome = parakeetd("transcribe", "--vad", "off", "--decoder", "ctc", clips["clock"].path)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [clips["clock"].nemo_ctc_text]
    refused = parakeetd("transcribe", "--decoder", "beam", clips["clock"].path)
    assert refused.code == 2
    assert "'beam' is not one of 'tdt', 'ctc'" in refused.err


def test_phrases_are_boosted_from_the_command_line_and_from_a_file(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    clip = clips["command"]
    listed = tmp_path / "names.txt"
    listed.write_text("# as in a list of names\nSeventy:20\nbrunhilde\n", encoding="utf-8")
    plain = parakeetd("transcribe", clip.path)
    assert plain.out.split() == clip.nemo_text.split()
    for flags in (["--boost", "brunhilde", "--boost", "seventy:20"], ["--boost-file", str(listed)]):
        assert "seventy" in parakeetd("transcribe", *flags, clip.path).out.split()


def test_a_phrase_that_cannot_be_boosted_is_told_once_for_all_files(
    parakeetd: Command, clips: dict[str, Clip]
) -> None:
    files = [clips[name].path for name in THREE]
    outcome = parakeetd("transcribe", "--boost", "K8s", *files)
    assert outcome.code == 2
    assert outcome.error == "parakeetd: the phrase 'K8s' cannot be boosted: model demo has no token for '8'"
    assert "boost of phrase 'six' is -2" in parakeetd("transcribe", "--boost", "six:-2", *files).error


def test_the_language_may_be_said(parakeetd: Command, clips: dict[str, Clip]) -> None:
    outcome = parakeetd("transcribe", "--vad", "off", "--language", "en-GB", clips["clock"].path)
    assert outcome.out.splitlines() == [clips["clock"].nemo_text]


def test_commands_and_listed_words_are_those_of_the_configuration(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    table, words = tmp_path / "commands.toml", tmp_path / "words.txt"
    table.write_text('[en]\n"rubout" = "Dear all,"\n"repeat" = "\\n"\n', encoding="utf-8")
    words.write_text("cents\n", encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(f'[text]\ncommands = "{table}"\nprofanity = "{words}"\n', encoding="utf-8")
    clip = clips["pauses"].path
    outcome = parakeetd("transcribe", "--config", config, clip)
    assert outcome.out == "rubout nine two six repeat forty five cents\n"
    outcome = parakeetd("transcribe", "--config", config, "--commands", "--profanity-filter", clip)
    assert outcome.err == ""
    assert outcome.out == "Dear all, nine two six\nForty five c****\n"


def test_a_spoken_new_line_does_not_end_a_subtitle(
    parakeetd: Command, clips: dict[str, Clip], tmp_path: Path
) -> None:
    table, config = tmp_path / "commands.toml", tmp_path / "config.toml"
    table.write_text('[en]\n"two" = "\\n\\n"\n', encoding="utf-8")
    config.write_text(f'[text]\ncommands = "{table}"\n', encoding="utf-8")
    clip = clips["pauses"].path
    outcome = parakeetd("transcribe", "--format", "srt", "--config", config, "--commands", clip)
    assert "\nrubout nine Six\n" in outcome.out
    assert outcome.out.split("\n\n")[1].startswith("2\n")


def test_commands_of_a_language_without_a_table_are_reported(
    parakeetd: Command, clips: dict[str, Clip]
) -> None:
    outcome = parakeetd("transcribe", "--commands", "--language", "fi", clips["digits"].path)
    assert outcome.code == 2
    assert "no spoken commands for fi" in outcome.err
