from __future__ import annotations

import pytest

from parakeetd.audio.sources.client import Encoding
from parakeetd.errors import InputError
from parakeetd.model.transcript import Transcript, Word
from parakeetd.rpc import wire
from parakeetd.session import Result
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_audio_pb2 as audio
from parakeetd_proto import riva_common_pb2 as common

HELLO = Transcript(
    "hello world", (Word("hello", 0.5, 0.9, 0.75), Word("world", 1.0, 1.2345, 0.5)), confidence=0.6
)


def result(text: Transcript = HELLO, *, final: bool = True) -> Result:
    return Result(0.5, 1.5, text, "cpu", final, 1.0 if final else 0.1, 2.5)


def options(**fields: object) -> wire.Options:
    return wire.read_config(asr.RecognitionConfig(**fields))  # type: ignore[arg-type]


def test_every_encoding_of_riva_is_known() -> None:
    read = {
        value.name: options(encoding=value.number).encoding for value in audio.AudioEncoding.DESCRIPTOR.values
    }
    assert read == {
        "ENCODING_UNSPECIFIED": Encoding.UNSPECIFIED,
        "LINEAR_PCM": Encoding.LINEAR_PCM,
        "FLAC": Encoding.FLAC,
        "MULAW": Encoding.MULAW,
        "OGGOPUS": Encoding.OGG,
        "ALAW": Encoding.ALAW,
    }


def test_an_unknown_encoding_is_named_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"encoding 99 is not known.*LINEAR_PCM \(1\).*ALAW \(20\)"):
        options(encoding=99)


@pytest.mark.parametrize(
    ("asked", "used"), [(None, None), (0, None), (-5, None), (320, 320), (20, 100), (60_000, 10_000)]
)
def test_stop_history_is_the_silence_that_ends_an_utterance_within_what_can_be_set(
    asked: int | None, used: int | None
) -> None:
    read = options(endpointing_config=asr.EndpointingConfig(stop_history=asked))
    applied = read.endpointing.applied(Segmentation(), first_pass=False)
    assert applied == (Segmentation() if used is None else Segmentation(end_silence_ms=used))


def test_all_of_a_clients_endpointing_is_applied() -> None:
    config = asr.EndpointingConfig(
        start_history=300,
        start_threshold=0.5,
        stop_history=600,
        stop_threshold=0.9,
        stop_history_eou=240,
        stop_threshold_eou=0.8,
    )
    read = options(endpointing_config=config, custom_configuration={"early_end_ms": "400"}).endpointing
    applied = read.applied(Segmentation(), first_pass=True)
    assert (applied.onset_window_ms, applied.onset_ms) == (300, 150)
    assert (applied.end_silence_ms, applied.eou_silence_ms) == (600, 240)
    assert [applied.end_threshold, applied.eou_threshold] == pytest.approx([0.9, 0.8])
    assert applied.early_end_ms == 400
    assert read.applied(Segmentation(), first_pass=False).eou_silence_ms == 0


def test_a_first_pass_or_an_early_end_that_would_come_no_sooner_than_the_end_is_none() -> None:
    config = asr.EndpointingConfig(stop_history=300, stop_history_eou=300)
    read = options(endpointing_config=config, custom_configuration={"early_end_ms": "2000"}).endpointing
    applied = read.applied(Segmentation(), first_pass=True)
    assert (applied.eou_silence_ms, applied.early_end_ms) == (0, 0)


@pytest.mark.parametrize("wrong", ["soon", "-5", "1.5", "99999", "9" * 5000], ids=lambda wrong: wrong[:5])
def test_an_early_end_that_is_no_time_is_an_error_that_names_it(wrong: str) -> None:
    with pytest.raises(InputError, match="early_end_ms.*" + wrong):
        options(custom_configuration={"early_end_ms": wrong})


def test_any_thresholds_of_a_client_give_settings_that_can_be_used() -> None:
    for value in (-1.0, 0.0, 1e-6, 0.5, 1.0, 7.0):
        for history in (-1, 1, 19, 250, 10**6):
            config = asr.EndpointingConfig(
                start_history=history,
                start_threshold=value,
                stop_history=history,
                stop_threshold=value,
                stop_history_eou=history,
                stop_threshold_eou=value,
            )
            options(endpointing_config=config).endpointing.applied(Segmentation(), first_pass=True)


def test_the_first_message_must_be_the_configuration() -> None:
    with pytest.raises(InputError, match="must carry streaming_config, not audio_content"):
        wire.read_first(asr.StreamingRecognizeRequest(audio_content=b"x"))
    with pytest.raises(InputError, match="must carry streaming_config; it is empty"):
        wire.read_first(asr.StreamingRecognizeRequest())


def test_a_later_message_without_audio_is_no_audio_and_a_configuration_is_refused() -> None:
    assert wire.read_audio(asr.StreamingRecognizeRequest(runtime_config={"a": "b"})) == b""
    with pytest.raises(InputError, match="a second time"):
        wire.read_audio(asr.StreamingRecognizeRequest(streaming_config=asr.StreamingRecognitionConfig()))


def test_transcripts_of_a_recording_make_up_its_text_when_they_are_joined_as_they_are() -> None:
    response = wire.offline_response([result(), result(), result()], options(), "", None)
    joined = "".join(item.alternatives[0].transcript for item in response.results)
    assert joined == "hello world hello world hello world"


def test_a_final_of_a_stream_ends_in_a_space_and_an_interim_does_not() -> None:
    final = wire.streaming_response(result(), options(), "", None).results[0]
    interim = wire.streaming_response(result(final=False), options(), "", None).results[0]
    assert (final.alternatives[0].transcript, final.is_final, final.stability) == ("hello world ", True, 1.0)
    assert (interim.alternatives[0].transcript, interim.is_final) == ("hello world", False)
    assert interim.stability == pytest.approx(0.1)


def test_words_come_in_milliseconds_and_only_when_asked_for() -> None:
    asked = wire.streaming_response(result(), options(enable_word_time_offsets=True), "en-US", None)
    words = asked.results[0].alternatives[0].words
    assert [(word.word, word.start_time, word.end_time) for word in words] == [
        ("hello", 500, 900),
        ("world", 1000, 1234),
    ]
    assert [word.confidence for word in words] == [0.75, 0.5]
    assert not wire.streaming_response(result(), options(), "", None).results[0].alternatives[0].words


def test_text_that_brings_its_own_spaces_is_sent_as_it_is() -> None:
    final = wire.streaming_response(result(), options(), "", None, spaced=False)
    recording = wire.offline_response([result(), result()], options(), "", None, spaced=False)
    assert final.results[0].alternatives[0].transcript == "hello world"
    assert [item.alternatives[0].transcript for item in recording.results] == ["hello world"] * 2


def test_what_a_client_says_of_text_is_read() -> None:
    plain = options()
    assert (plain.punctuation, plain.profanity_filter, plain.spoken_commands) == (False, False, None)
    read = options(enable_automatic_punctuation=True, profanity_filter=True, verbatim_transcripts=False)
    assert (read.punctuation, read.profanity_filter) == (True, True)
    for said, commands in (("true", True), ("True", True), ("false", False), ("False", False)):
        assert options(custom_configuration={"spoken_commands": said}).spoken_commands is commands


def test_a_wrong_value_for_spoken_commands_is_named() -> None:
    with pytest.raises(
        InputError, match=r"custom_configuration\[\"spoken_commands\"\] must be true or false, not 'yes'"
    ):
        options(custom_configuration={"spoken_commands": "yes"})


def test_a_result_says_how_much_audio_it_covers_and_whose_request_it_answers() -> None:
    request_id = common.RequestId(value="call 7")
    streamed = wire.streaming_response(result(), options(), "en-US", request_id)
    offline = wire.offline_response([result()], options(), "en-US", request_id)
    assert streamed.id.value == offline.id.value == "call 7"
    for item in (streamed.results[0], offline.results[0]):
        assert item.audio_processed == 2.5
        assert item.channel_tag == 1
        assert item.alternatives[0].confidence == pytest.approx(0.6)
        assert list(item.alternatives[0].language_code) == ["en-US"]
