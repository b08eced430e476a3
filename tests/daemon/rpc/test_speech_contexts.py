"""Phrases and languages on their way from Riva's clients to the decoder."""

from __future__ import annotations

import grpc
import pytest

from clips import Clip
from parakeetd.audio.sources.file import read_audio
from parakeetd.errors import PhraseError
from parakeetd.model.biasing import Biasing
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.phrases import LONGEST_PHRASE, MOST_PHRASES, USUAL_BOOST, Boost
from parakeetd.model.recognizer import Recognizer
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc import wire
from parakeetd_proto import riva_asr_pb2 as asr
from wire import Serving, chunks, opening, pcm, speech


@pytest.fixture(scope="module")
def biasing() -> Biasing:
    return Biasing.of(Bundle.read(EMBEDDED))


def contexts(*given: tuple[list[str], float], **fields: str) -> asr.RecognitionConfig:
    return pcm(
        speech_contexts=[asr.SpeechContext(phrases=phrases, boost=boost) for phrases, boost in given],
        **fields,
    )


def test_phrases_of_all_contexts_are_read_with_their_boosts() -> None:
    config = contexts((["w o o d", "vanessa"], 0.0), (["vanessa", ""], 12.0), language_code="en-US")
    options = wire.read_config(config).decode
    assert options.boosts == (Boost("w o o d", USUAL_BOOST), Boost("vanessa", 12.0))
    assert options.language == "en-US"


def test_without_phrases_and_language_nothing_is_changed() -> None:
    options = wire.read_config(pcm()).decode
    assert options.boosts == ()
    assert Biasing.of(Bundle.read(EMBEDDED))(options) is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (contexts((["a" * (LONGEST_PHRASE + 1)], 1.0)), f"the most is {LONGEST_PHRASE}"),
        (contexts(([f"p{i}" for i in range(MOST_PHRASES + 1)], 1.0)), f"than the {MOST_PHRASES} that"),
        (contexts((["vanessa"], -4.0)), "boost of phrase 'vanessa' is -4; it must be a number from 0 to 20"),
    ],
)
def test_what_cannot_be_boosted_is_refused_when_it_is_read(config: asr.RecognitionConfig, said: str) -> None:
    with pytest.raises(PhraseError, match=said):
        wire.read_config(config)


async def test_a_stream_keeps_its_phrases_for_every_segment(serving: Serving, biasing: Biasing) -> None:
    engine = FakeEngine()
    config = contexts((["vanessa"], 3.0), language_code="en-US")
    async with serving(engine, biasing=biasing) as daemon:
        await daemon.client.answers(opening(config), *chunks(speech(45.0)))
        await daemon.client.stub.Recognize(asr.RecognizeRequest(config=config, audio=speech(0.5)))
        await daemon.client.answers(opening(), *chunks(speech(0.5)))
    *boosted, plain = engine.options
    assert len(boosted) > 2
    assert {options.boosts for options in boosted} == {(Boost("vanessa", 3.0),)}
    assert plain.boosts == ()


async def test_a_phrase_that_the_model_cannot_spell_ends_the_stream_at_once(
    serving: Serving, biasing: Biasing
) -> None:
    engine = FakeEngine()
    async with serving(engine, biasing=biasing) as daemon:
        refused = opening(contexts((["vanessa", "straße"], 4.0)))
        code, message = await daemon.client.refusal(refused, *chunks(speech(0.5)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert message == "the phrase 'straße' cannot be boosted: model demo has no token for 'ß'"
        assert engine.options == []
        assert await daemon.client.answers(opening(), *chunks(speech(0.5)))


async def test_a_language_of_another_script_is_served_all_the_same(
    serving: Serving, biasing: Biasing
) -> None:
    async with serving(biasing=biasing) as daemon:
        assert await daemon.client.answers(opening(pcm(language_code="el-GR")), *chunks(speech(0.5)))


async def test_the_configuration_answer_says_what_can_be_asked_for(
    serving: Serving, biasing: Biasing
) -> None:
    request = asr.RivaSpeechRecognitionConfigRequest()
    async with serving(biasing=biasing) as daemon:
        answer = await daemon.client.stub.GetRivaSpeechRecognitionConfig(request)
    parameters = answer.model_config[0].parameters
    assert parameters["speech_contexts"] == "phrases"
    assert parameters["speech_contexts_most_phrases"] == str(MOST_PHRASES)
    assert parameters["language_lock"] == "script"


async def test_real_speech_hears_a_boosted_word_through_the_server(
    serving: Serving, biasing: Biasing, clips: dict[str, Clip]
) -> None:
    """Far beyond what is usual, so that it shows on a clip that is recognised rightly."""
    clip, other = clips["command"], "seventy"
    assert clip.nemo_text == "enter seven two nine five"
    samples = read_audio(clip.path)
    audio = chunks(bytes((samples * 32767).astype("<i2").tobytes()))
    recognizer = Recognizer.open(Bundle.read(EMBEDDED), threads=1, biasing=biasing)
    async with serving(recognizer, biasing=biasing) as daemon:
        plain = await daemon.client.answers(opening(), *audio)
        boosted = await daemon.client.answers(opening(contexts(([other], 20.0))), *audio)
    texts = [
        " ".join(result.alternatives[0].transcript.strip() for result in some) for some in (plain, boosted)
    ]
    assert other not in texts[0].split()
    assert other in texts[1].split()
