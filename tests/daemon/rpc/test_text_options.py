"""What clients choose of the text, and what they are told of it, through the real server."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from parakeetd.audio import SAMPLE_RATE, Samples
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.transcript import Transcript, Word
from parakeetd.rpc.endpointing import described, read_endpointing
from parakeetd.text import HouseStyle, read_tables
from parakeetd.vad import Segmentation
from parakeetd_proto import riva_asr_pb2 as asr
from wire import RIVA_LOG, Serving, chunks, opening, pcm, silence, speech, told_of

COMMANDS = {"spoken_commands": "true"}


class Heard:
    """An engine that hears the first text in one second of noise, the second in two, and so on."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def recognize(
        self, audio: Sequence[Samples], options: Sequence[DecodeOptions] = (), /
    ) -> list[Transcript]:
        return [self._said(samples) for samples in audio]

    def _said(self, samples: Samples) -> Transcript:
        seconds = round(np.count_nonzero(samples) / SAMPLE_RATE)
        text = self._texts[min(max(seconds, 1), len(self._texts)) - 1]
        words = tuple(Word(word, i / 10, (i + 1) / 10, 0.9) for i, word in enumerate(text.split()))
        return Transcript(text, words, confidence=0.9)


def utterances(count: int) -> bytes:
    """Noise of one second, of two and so on, with pauses after each."""
    return b"".join(speech(seconds + 1) + silence(1.5) for seconds in range(count))


async def finals(
    serving: Serving, *texts: str, house: HouseStyle | None = None, **fields: object
) -> list[asr.SpeechRecognitionAlternative]:
    async with serving(Heard(*texts), house=house) as daemon:
        config = pcm(enable_word_time_offsets=True, **fields)
        results = await daemon.client.answers(opening(config), *chunks(utterances(len(texts))))
    return [item.alternatives[0] for item in results if item.is_final]


def transcripts(alternatives: Sequence[asr.SpeechRecognitionAlternative]) -> list[str]:
    return [alternative.transcript for alternative in alternatives]


async def test_spoken_commands_are_done_over_all_finals_of_a_stream(serving: Serving) -> None:
    answered = await finals(serving, "hello full stop", "new line good bye", custom_configuration=COMMANDS)
    assert transcripts(answered) == ["hello.", "\nGood bye"]
    assert [word.word for word in answered[1].words] == ["\n", "Good", "bye"]


async def test_without_asking_commands_are_words(serving: Serving) -> None:
    answered = await finals(serving, "hello full stop", "new line good bye")
    assert transcripts(answered) == ["hello full stop ", "new line good bye "]


async def test_the_configuration_switches_commands_on_and_a_client_off(
    serving: Serving, tmp_path: Path
) -> None:
    table = tmp_path / "mine.toml"
    table.write_text('[en]\nhello = { text = "Dear all,\\n", attach = "none" }\n')
    house = HouseStyle(read_tables(table), commands=True)
    assert transcripts(await finals(serving, "hello", "comma", house=house)) == ["Dear all,\n", " Comma"]
    off = {"spoken_commands": "false"}
    assert transcripts(await finals(serving, "hello", house=house, custom_configuration=off)) == ["hello "]


async def test_a_final_that_is_taken_back_is_answered_with_backspaces(serving: Serving) -> None:
    answered = await finals(serving, "hello", "my world", "delete that", custom_configuration=COMMANDS)
    assert transcripts(answered) == ["hello", " my world", "\b" * 9]


async def test_punctuation_comes_only_when_asked_for_unless_configured(serving: Serving) -> None:
    said = "Hello, Anna. How are you?"
    always = HouseStyle(read_tables(), always_punctuation=True)
    assert transcripts(await finals(serving, said)) == ["hello Anna how are you "]
    assert transcripts(await finals(serving, said, enable_automatic_punctuation=True)) == [f"{said} "]
    assert transcripts(await finals(serving, said, house=always)) == [f"{said} "]


async def test_profanity_is_starred_when_asked_for(serving: Serving) -> None:
    [answer] = await finals(serving, "oh shit man", profanity_filter=True)
    assert answer.transcript == "oh s*** man "
    assert [word.word for word in answer.words] == ["oh", "s***", "man"]
    assert transcripts(await finals(serving, "oh shit man")) == ["oh shit man "]


@pytest.mark.parametrize("verbatim", [True, False])
async def test_numbers_are_written_as_they_are_spoken_either_way(serving: Serving, verbatim: bool) -> None:
    answered = await finals(serving, "forty five cents", verbatim_transcripts=verbatim)
    assert transcripts(answered) == ["forty five cents "]


async def test_a_recording_is_written_like_a_stream(serving: Serving) -> None:
    async with serving(Heard("hello full stop", "new line good bye")) as daemon:
        request = asr.RecognizeRequest(config=pcm(custom_configuration=COMMANDS), audio=utterances(2))
        response = await daemon.client.stub.Recognize(request)
    written = "".join(result.alternatives[0].transcript for result in response.results)
    assert written == "hello.\nGood bye"


async def test_what_a_command_takes_back_is_not_in_the_answer_for_a_recording(serving: Serving) -> None:
    async with serving(Heard("hello", "my world", "delete that")) as daemon:
        request = asr.RecognizeRequest(config=pcm(custom_configuration=COMMANDS), audio=utterances(3))
        response = await daemon.client.stub.Recognize(request)
    assert [result.alternatives[0].transcript for result in response.results] == ["hello"]


async def test_the_configuration_answer_says_what_is_done_for_a_model(serving: Serving) -> None:
    async with serving(decoders=("tdt", "ctc")) as daemon:
        answer = await daemon.client.stub.GetRivaSpeechRecognitionConfig(
            asr.RivaSpeechRecognitionConfigRequest()
        )
    parameters = dict(answer.model_config[0].parameters)
    expected = {
        "punctuation": "none",
        "punctuation_default": "False",
        "inverse_text_normalization": "none",
        "profanity_filter": "True",
        "spoken_commands": "en,de,fr,es",
        "spoken_commands_default": "False",
        "max_alternatives": "1",
        "word_time_offsets": "True",
        "confidence": "token_geometric_mean",
        "speaker_diarization": "none",
        "channels": "mixed",
        "custom_configuration": "decoder,spoken_commands,early_end_ms",
    }
    assert {key: parameters.get(key) for key in expected} == expected


async def test_the_configuration_answer_says_how_utterances_may_be_ended_and_what_holds_by_default(
    serving: Serving,
) -> None:
    async with serving() as daemon:
        answer = await daemon.client.stub.GetRivaSpeechRecognitionConfig(
            asr.RivaSpeechRecognitionConfigRequest()
        )
    online, offline = (dict(config.parameters) for config in answer.model_config)
    fields = online["endpointing"].split(",")
    assert fields == [field.name for field in asr.EndpointingConfig.DESCRIPTOR.fields]
    house = Segmentation()
    expected = {
        "start_history_range": "20-2000",
        "start_history_default": str(house.onset_window_ms),
        "start_threshold_range": "0-1",
        "start_threshold_default": "0.3",
        "stop_history_range": "100-10000",
        "stop_history_default": str(house.end_silence_ms),
        "stop_threshold_default": "1",
        "stop_history_eou_default": "0",
        "early_end_ms_range": "0-10000",
        "early_end_ms_default": "0",
    }
    assert {key: online.get(key) for key in expected} == expected
    # A recording has no interim results, so no first pass.
    assert offline["endpointing"] == "start_history,start_threshold,stop_history,stop_threshold"
    assert not any("eou" in key for key in offline)


@pytest.mark.parametrize("field", ["start_history", "stop_history", "stop_history_eou"])
def test_a_range_that_the_configuration_answer_names_is_the_one_that_values_are_brought_into(
    field: str,
) -> None:
    low, high = described(Segmentation(), first_pass=True)[f"{field}_range"].split("-")
    for asked, got in ((1, low), (1_000_000, high)):
        read = read_endpointing(asr.EndpointingConfig(**{field: asked}), {})
        assert getattr(read, field) == int(got)


async def test_the_configuration_answer_says_that_a_model_punctuates(serving: Serving) -> None:
    house = HouseStyle(read_tables(), commands=True, always_punctuation=True)
    async with serving(writes_punctuation=True, house=house) as daemon:
        answer = await daemon.client.stub.GetRivaSpeechRecognitionConfig(
            asr.RivaSpeechRecognitionConfigRequest()
        )
    for config in answer.model_config:
        assert config.parameters["punctuation"] == "model"
        assert config.parameters["punctuation_default"] == "True"
        assert config.parameters["spoken_commands_default"] == "True"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"max_alternatives": 3}, "max_alternatives 3: greedy decoding has one hypothesis"),
        ({"enable_automatic_punctuation": True}, "enable_automatic_punctuation: fake writes no punctuation"),
        (
            {"diarization_config": asr.SpeakerDiarizationConfig(enable_speaker_diarization=True)},
            "diarization_config: speakers are not told apart",
        ),
        (
            {"enable_separate_recognition_per_channel": True, "audio_channel_count": 2},
            "enable_separate_recognition_per_channel: channels are mixed",
        ),
        (
            {"custom_configuration": COMMANDS, "language_code": "pl-PL"},
            "spoken_commands: there is no table for 'pl-PL'",
        ),
        (
            {"custom_configuration": {"vad": "neural", "decoder": "tdt"}},
            "custom_configuration 'vad': known are decoder, spoken_commands, early_end_ms",
        ),
        (
            {
                "custom_configuration": {
                    "a\nforged line": "1",
                    "b" * 50: "2",
                    **{f"c{i}": "" for i in range(9)},
                }
            },
            "custom_configuration 'a\\nforged line', "
            + repr("b" * 40)
            + ", 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', ...:"
            " known are decoder, spoken_commands, early_end_ms",
        ),
    ],
)
async def test_what_a_client_asks_for_in_vain_is_in_the_log_once_for_each_stream(
    serving: Serving, caplog: pytest.LogCaptureFixture, fields: dict[str, object], told: str
) -> None:
    async with serving(languages=("en-US", "pl-PL")) as daemon:
        with caplog.at_level(logging.INFO, RIVA_LOG):
            for _ in range(2):
                await daemon.client.answers(opening(pcm(**fields), interim=True), *chunks(speech(2.0)))
    lines = told_of(caplog)
    assert len(lines) == 2
    assert all(line.endswith(f" asks for what it does not get: {told}") for line in lines)


async def test_a_configured_table_without_the_clients_language_is_in_the_log(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    house = HouseStyle(read_tables(), commands=True)
    async with serving(languages=("pl-PL",), house=house) as daemon:
        with caplog.at_level(logging.INFO, RIVA_LOG):
            await daemon.client.answers(opening(), *chunks(speech(1.0)))
    [line] = told_of(caplog)
    assert line.endswith("spoken_commands: there is no table for 'pl-PL'")


async def test_what_a_client_gets_is_not_worth_a_line(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    asked = pcm(
        max_alternatives=1,
        enable_automatic_punctuation=True,
        profanity_filter=True,
        enable_word_time_offsets=True,
        verbatim_transcripts=True,
        custom_configuration=COMMANDS | {"early_end_ms": "0"},
    )
    async with serving(writes_punctuation=True) as daemon:
        with caplog.at_level(logging.INFO, RIVA_LOG):
            await daemon.client.answers(opening(asked), *chunks(speech(0.5)))
    assert not told_of(caplog)
