"""What goes over the line between a process and its child."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parakeetd.child import frames
from parakeetd.child.messages import (
    ModelToOpen,
    PhraseLists,
    error_fields,
    error_of,
    transcripts_fields,
    transcripts_of,
)
from parakeetd.errors import AudioError, BundleError, DecoderError, DeviceError, PhraseError
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.phrases import Boost
from parakeetd.model.transcript import Token, Transcript, Word

Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10.0)
    theirs.settimeout(10.0)
    with ours, theirs:
        yield ours, theirs


def test_fields_and_samples_come_out_as_they_went_in(line: Line) -> None:
    ours, theirs = line
    pieces = [np.linspace(-1, 1, 5, dtype=np.float32), np.zeros(0, np.float32), np.ones(3, np.float32)]
    frames.send(ours, {"do": "recognize", "language": "ру"}, pieces)
    frames.send(ours, {"do": "look"})
    frame = frames.receive(theirs)
    assert frame.fields == {"do": "recognize", "language": "ру"}
    assert frame.samples.tolist() == np.concatenate(pieces).tolist()
    assert frames.receive(theirs).fields == {"do": "look"}


def test_audio_that_is_larger_than_the_sockets_buffer_arrives_whole(line: Line) -> None:
    ours, theirs = line
    samples = np.arange(5_000_000, dtype=np.float32)
    sending = threading.Thread(target=frames.send, args=(ours, {}, [samples[::2], samples]))
    sending.start()
    received = frames.receive(theirs).samples
    sending.join(10.0)
    assert np.array_equal(received, np.concatenate([samples[::2], samples]))


def test_a_batch_of_more_pieces_than_one_call_takes_arrives_whole(line: Line) -> None:
    ours, theirs = line
    pieces = [np.full(3, number, np.float32) for number in range(2500)]
    sending = threading.Thread(target=frames.send, args=(ours, {}, pieces))
    sending.start()
    received = frames.receive(theirs).samples
    sending.join(10.0)
    assert np.array_equal(received, np.concatenate(pieces))


@pytest.mark.parametrize("sent", [b"", b"\0\0\0\2", struct.pack("!II", 2, 1) + b"{}\0"])
def test_a_line_that_ends_says_so_wherever_it_was_cut(line: Line, sent: bytes) -> None:
    ours, theirs = line
    ours.sendall(sent)
    ours.close()
    with pytest.raises(frames.Ended):
        frames.receive(theirs)
    with pytest.raises(frames.Ended):
        frames.send(theirs, {}, [np.zeros(1_000_000, np.float32)])


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (struct.pack("!II", 4_000_000_000, 0), "4000000000 bytes"),
        (struct.pack("!II", 3, 0) + b"{,}", "not JSON"),
        (struct.pack("!II", 2, 0) + b"[]", "not an object: list"),
    ],
)
def test_what_is_no_frame_is_refused(line: Line, sent: bytes, problem: str) -> None:
    ours, theirs = line
    ours.sendall(sent)
    with pytest.raises(frames.FrameError, match=problem):
        frames.receive(theirs)


def test_transcripts_keep_every_bit() -> None:
    transcript = Transcript(
        "zwei drei",
        (Word("zwei", 0.08, 1 / 3, 0.1 + 0.2), Word("drei", 1 / 3, 0.56, 1e-9)),
        (Token(3, 1, 2, 0.30000000000000004), Token(191, 7, 0, 1.0)),
        2 / 3,
    )
    carried = json.loads(json.dumps(transcripts_fields([transcript, Transcript()])))
    assert transcripts_of(carried) == [transcript, Transcript()]


@pytest.mark.parametrize(
    "error",
    [
        AudioError("a piece is too long"),
        DecoderError("model demo has no ctc decoder"),
        PhraseError("the phrase 'x' cannot be spelled"),
        BundleError(Path("/models/demo"), "vocab.txt is missing"),
        DeviceError("cuda", "CUDA failure 2: out of memory"),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: Exception) -> None:
    received = error_of(json.loads(json.dumps(error_fields(error))), "cuda")
    assert type(received) is type(error)
    assert str(received) == str(error)


def test_an_error_of_no_known_kind_is_the_devices_and_says_what_it_was() -> None:
    error = error_of(error_fields(RuntimeError("bad_alloc")), "cuda")
    assert isinstance(error, DeviceError)
    assert str(error) == "device cuda: RuntimeError: bad_alloc"
    assert "MemoryError" in str(error_of(error_fields(MemoryError()), "cuda"))


def test_the_model_to_open_arrives() -> None:
    model = ModelToOpen(Path("/models/demo"), "ab" * 32, "cuda", 2, "fp16")
    assert ModelToOpen.of(json.loads(json.dumps(model.fields()))) == model


def test_a_list_of_phrases_crosses_once_and_is_forgotten_when_there_are_too_many() -> None:
    ours, theirs = PhraseLists(most=2), PhraseLists(most=2)
    lists = [(Boost(f"phrase {number}", 4.0 + number),) for number in range(4)]

    def carried(options: list[DecodeOptions]) -> tuple[list[DecodeOptions], int]:
        fields = json.loads(json.dumps(ours.packed(options)))
        return theirs.unpacked(fields), len(fields["phrases"])

    plain = DecodeOptions("ctc", language="de-DE")
    first = [DecodeOptions(boosts=lists[0]), plain, DecodeOptions(boosts=lists[0], language="en")]
    assert carried(first) == (first, 1)
    assert carried(first) == (first, 0)
    for boosts in lists[1:]:
        assert carried([DecodeOptions(boosts=boosts)]) == ([DecodeOptions(boosts=boosts)], 1)
    # The last two are known; the first one is sent again.
    assert carried([DecodeOptions(boosts=lists[3])])[1] == 0
    assert carried(first) == (first, 1)
    # More at once than are kept.
    all_of_them = [DecodeOptions(boosts=boosts) for boosts in lists]
    assert carried(all_of_them)[0] == all_of_them
    assert carried(all_of_them)[0] == all_of_them
