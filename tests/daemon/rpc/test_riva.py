from __future__ import annotations

import asyncio
import io
import logging
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile

from parakeetd.errors import CallFailed
from parakeetd.logs import StreamNoted
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc.client import stream_file
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_common_pb2 as common
from wire import ASKED_LOG, Serving, chunks, opening, pcm, silence, speech, told_of

# The fake engine answers each segment with its length in milliseconds: what is tested here is that the right audio
# comes through and that answers come back in the right shape.


def milliseconds(text: str) -> int:
    return int(text.strip().removesuffix("ms"))


async def test_a_final_is_sent_at_each_endpoint_while_the_stream_stays_open(serving: Serving) -> None:
    async with serving() as daemon, asyncio.timeout(20):
        call = daemon.client.stream()
        for request in (opening(), *chunks(speech(1.0) + silence(1.5))):
            await call.write(request)
        first = await call.read()
        assert first.results[0].is_final
        # The second utterance is sent after the first one's text has come.
        for request in chunks(speech(2.0) + silence(1.5)):
            await call.write(request)
        second = await call.read()
        assert milliseconds(second.results[0].alternatives[0].transcript) > milliseconds(
            first.results[0].alternatives[0].transcript
        )
        call.done_writing()
        assert await call.read() is None


async def test_the_last_words_are_answered_when_the_client_has_finished(serving: Serving) -> None:
    async with serving() as daemon:
        results = await daemon.client.answers(opening(), *chunks(speech(1.0)))
    assert [item.is_final for item in results] == [True]
    assert milliseconds(results[0].alternatives[0].transcript) == pytest.approx(1000, abs=60)
    assert results[0].audio_processed == pytest.approx(1.0, abs=0.05)


async def test_interims_come_only_when_asked_for(serving: Serving) -> None:
    async with serving() as daemon:
        plain = await daemon.client.answers(opening(), *chunks(speech(3.0)))
        call = daemon.client.stream()
        await call.write(opening(interim=True))
        for request in chunks(speech(3.0)):
            await call.write(request)
            await asyncio.sleep(0.002)
        call.done_writing()
        with_interims = [item async for response in call for item in response.results]
    assert [item.is_final for item in plain] == [True]
    assert len(with_interims) > 1
    assert [item.is_final for item in with_interims[:-1]] == [False] * (len(with_interims) - 1)
    assert with_interims[-1].is_final
    assert all(item.stability < 1 for item in with_interims[:-1])


async def test_stop_history_decides_how_much_silence_ends_an_utterance(serving: Serving) -> None:
    spoken = chunks(speech(1.0) + silence(0.6) + speech(1.0))
    short = pcm(endpointing_config=asr.EndpointingConfig(stop_history=320))
    async with serving() as daemon:
        assert len(await daemon.client.answers(opening(), *spoken)) == 1
        assert len(await daemon.client.answers(opening(short), *spoken)) == 2


async def test_a_first_pass_comes_with_the_whole_text_and_stability_one(serving: Serving) -> None:
    asked = pcm(endpointing_config=asr.EndpointingConfig(stop_history=1_000, stop_history_eou=400))
    async with serving() as daemon:
        spoken = chunks(speech(1.0) + silence(1.5))
        results = await daemon.client.answers(opening(asked, interim=True), *spoken)
    first = next(item for item in results if item.stability == 1)
    assert not first.is_final
    assert results[-1].is_final
    assert first.alternatives[0].transcript == results[-1].alternatives[0].transcript.strip()


@pytest.mark.parametrize("chunk_bytes", [7, 3200, 1 << 20])
async def test_a_wav_file_with_its_header_needs_neither_encoding_nor_rate(
    serving: Serving, chunk_bytes: int
) -> None:
    samples = np.frombuffer(speech(0.5), "<i2")
    file = io.BytesIO()
    soundfile.write(file, np.repeat(samples, 3), 48_000, format="WAV")
    async with serving() as daemon:
        results = await daemon.client.answers(
            opening(asr.RecognitionConfig()), *chunks(file.getvalue(), chunk_bytes)
        )
    assert milliseconds(results[0].alternatives[0].transcript) == pytest.approx(500, abs=60)


async def test_a_recording_in_one_message_gives_one_result_for_each_utterance(serving: Serving) -> None:
    data = speech(1.0) + silence(1.5) + speech(2.0)
    request = asr.RecognizeRequest(
        config=pcm(enable_word_time_offsets=True), audio=data, id=common.RequestId(value="r")
    )
    async with serving() as daemon:
        response = await daemon.client.stub.Recognize(request)
    texts = [item.alternatives[0].transcript for item in response.results]
    assert len(texts) == 2
    assert milliseconds(texts[0]) < milliseconds(texts[1])
    assert texts[0].endswith(" ")
    assert not texts[1].endswith(" ")
    second = response.results[1].alternatives[0].words[0]
    # The second utterance begins at 2.5 s, with a pre-roll of 300 ms.
    assert second.start_time == pytest.approx(2200, abs=60)
    assert response.id.value == "r"


async def test_silence_is_no_error_and_has_no_result(serving: Serving) -> None:
    async with serving() as daemon:
        assert await daemon.client.answers(opening(), *chunks(silence(1.0))) == []
        response = await daemon.client.stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=silence(1.0)))
    assert not response.results


async def test_the_list_of_models_has_each_for_streams_and_for_recordings(serving: Serving) -> None:
    async with serving(languages=("en-US", "de-DE"), decoders=("tdt", "ctc")) as daemon:
        response = await daemon.client.stub.GetRivaSpeechRecognitionConfig(
            asr.RivaSpeechRecognitionConfigRequest()
        )
    listed = [
        (config.model_name, config.parameters["type"], config.parameters["language_code"])
        for config in response.model_config
    ]
    assert listed == [("fake", "online", "en-US,de-DE"), ("fake", "offline", "en-US,de-DE")]
    assert {config.parameters["sample_rate"] for config in response.model_config} == {"16000"}
    assert {config.parameters["decoders"] for config in response.model_config} == {"tdt,ctc"}


async def test_an_unknown_model_or_language_is_served_by_the_default_model_and_logged_once(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    config = pcm(model="parakeet-1.1b-en-US-asr-streaming", language_code="xx-XX")
    with caplog.at_level(logging.INFO, ASKED_LOG):
        async with serving() as daemon:
            for _ in range(2):
                assert await daemon.client.answers(opening(config), *chunks(speech(1.0)))
    assert told_of(caplog) == [
        "a client asked for model 'parakeet-1.1b-en-US-asr-streaming', which is not served: fake answers",
        "a client asked for language 'xx-XX', which fake was not trained on: it answers all the same",
    ]


async def test_the_models_own_name_and_language_are_not_worth_a_log_line(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, ASKED_LOG):
        async with serving() as daemon:
            await daemon.client.answers(
                opening(pcm(model="fake", language_code="en-us")), *chunks(speech(0.5))
            )
            await daemon.client.answers(opening(), *chunks(speech(0.5)))
    assert not told_of(caplog)


async def test_each_stream_and_recording_has_a_line_in_the_log_when_it_ends_and_a_name_of_its_own(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(StreamNoted())
    with caplog.at_level(logging.INFO, "parakeetd.rpc"):
        async with serving() as daemon:
            await daemon.client.answers(opening(), *chunks(speech(0.5)))
            await daemon.client.stub.Recognize(asr.RecognizeRequest(config=pcm(), audio=speech(0.5)))
            assert (await daemon.client.refusal(*chunks(speech(0.5))))[0] is grpc.StatusCode.INVALID_ARGUMENT
    ends = [record.getMessage() for record in caplog.records]
    assert [end.split()[0] for end in ends] == ["StreamingRecognize", "Recognize", "StreamingRecognize"]
    assert [("answered after" in end, "INVALID_ARGUMENT" in end) for end in ends] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert len({getattr(record, "stream", "") for record in caplog.records} - {""}) == 3


async def test_clients_at_the_same_time_get_their_own_answers(serving: Serving) -> None:
    lengths = [0.5, 1.0, 1.5, 2.0]
    async with serving() as daemon:
        texts = await asyncio.gather(*(daemon.client.text(speech(seconds)) for seconds in lengths))
    assert [milliseconds(text) for text in texts] == pytest.approx([500, 1000, 1500, 2000], abs=60)


async def test_our_own_client_streams_a_file_as_a_microphone_would(serving: Serving, tmp_path: Path) -> None:
    file = tmp_path / "said.flac"
    soundfile.write(file, np.frombuffer(speech(1.0), "<i2"), 16_000)
    async with serving() as daemon:
        address = daemon.server.addresses[0]
        lines = [line async for line in stream_file(address, file, real_time=False)]
    assert lines[-1].is_final
    assert milliseconds(lines[-1].text) == pytest.approx(1000, abs=60)
    with pytest.raises(CallFailed, match=f"server {address}: UNAVAILABLE"):
        [line async for line in stream_file(address, file)]


async def test_a_client_chooses_the_decoder_of_a_stream_and_of_a_recording(serving: Serving) -> None:
    engine = FakeEngine()
    by_ctc = pcm(custom_configuration={"decoder": "ctc", "of_another_server": "1"})
    async with serving(engine, decoders=("tdt", "ctc")) as daemon:
        await daemon.client.answers(opening(by_ctc), *chunks(speech(0.5)))
        await daemon.client.stub.Recognize(asr.RecognizeRequest(config=by_ctc, audio=speech(0.5)))
        await daemon.client.answers(opening(), *chunks(speech(0.5)))
    assert [options.decoder for options in engine.options] == ["ctc", "ctc", "tdt"]


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("beam", "custom_configuration[\"decoder\"] must be tdt or ctc, not 'beam'"),
        ("", "custom_configuration[\"decoder\"] must be tdt or ctc, not ''"),
        ("ctc", "model fake has no ctc decoder, only tdt"),
    ],
)
async def test_a_decoder_that_is_not_there_is_named(serving: Serving, decoder: str, said: str) -> None:
    config = pcm(custom_configuration={"decoder": decoder})
    async with serving() as daemon:
        code, message = await daemon.client.refusal(opening(config), *chunks(speech(0.5)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert said in message
        assert await daemon.client.answers(opening(), *chunks(speech(0.5)))
