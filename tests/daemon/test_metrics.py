"""What Prometheus reads, by its own parser, over HTTP."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loud_speech import speech
from parakeetd.audio import Samples
from parakeetd.errors import AudioError, ListenError, Overloaded
from parakeetd.metrics import Metrics
from parakeetd.routing import Router
from parakeetd.routing.fake import FakeEngine
from parakeetd.rpc.standing import DeviceStanding, ModelStanding, Standing
from parakeetd.session import ServedModel, Sessions, SessionSettings
from parakeetd.vad import Segmentation

CUT = Segmentation(end_silence_ms=100, trailing_pad_ms=0, pre_roll_ms=0, max_segment_ms=2_000, overlap_ms=0)
GPU = DeviceStanding("cuda", "open", False, 3, "it fell off the bus", 1.5, 2, 4096, 12)
CPU = DeviceStanding("cpu", "closed")
STANDING = Standing(
    "serving",
    "demo",
    "1.2",
    models=(ModelStanding("demo", Path("/m"), (), True, 4, 5, (CPU, GPU)),),
    streams=6,
    max_streams=7,
)


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(lambda: STANDING)
    yield made
    made.close()


@pytest.fixture
def sessions(metrics: Metrics) -> Iterator[Sessions]:
    router = Router({"cpu": FakeEngine})
    settings = SessionSettings(max_streams=1, detector="off", segmentation=CUT)
    yield Sessions((ServedModel("fake", ("en-US",), router),), settings, metrics)
    router.close(10)


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All samples, by name and values of their labels in the order of the labels' names."""
    address = metrics.serve("127.0.0.1:0")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def said(*chunks: Samples, error: Exception | None = None) -> AsyncIterator[Samples]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


def test_what_the_daemon_does_now_is_read_when_it_is_asked_for(metrics: Metrics) -> None:
    found = scraped(metrics)
    assert found["parakeetd_build_info", "1.2"] == 1
    assert (found["parakeetd_ready",], found["parakeetd_streams",], found["parakeetd_streams_limit",]) == (
        1,
        6,
        7,
    )
    assert found["parakeetd_model_streams", "demo"] == 4
    assert found["parakeetd_segments_waiting", "demo"] == 5
    assert found["parakeetd_segments_running", "cuda", "demo"] == 3
    assert found["parakeetd_device_healthy", "cuda", "demo"] == 0
    assert (
        found["parakeetd_device_open", "cpu", "demo"],
        found["parakeetd_device_open", "cuda", "demo"],
    ) == (0, 1)
    assert found["parakeetd_device_failures_total", "cuda", "demo"] == 2
    assert found["parakeetd_device_memory_bytes", "cuda", "demo"] == 4096
    assert found["process_resident_memory_bytes",] > 0


async def test_streams_and_segments_are_counted_as_they_happen(metrics: Metrics, sessions: Sessions) -> None:
    async with aclosing(sessions.stream(said(speech(4.0)))) as results:
        finals = [result async for result in results]
    with pytest.raises(AudioError):
        async with aclosing(sessions.stream(said(error=AudioError("no audio")))) as results:
            await anext(results)
    found = scraped(metrics)
    count = len(finals)
    assert found["parakeetd_stream_seconds_count", "completed", "fake"] == 1
    assert found["parakeetd_stream_seconds_count", "bad_input", "fake"] == 1
    assert found["parakeetd_queue_seconds_count", "cpu", "final", "fake"] == count
    assert found["parakeetd_compute_seconds_count", "cpu", "final", "fake"] == count
    assert found["parakeetd_final_latency_seconds_count", "fake"] == count
    assert found["parakeetd_audio_seconds_total", "cpu", "final", "fake"] == pytest.approx(4.0)
    assert found["parakeetd_real_time_factor_count", "cpu", "fake"] == count


async def test_a_stream_that_is_refused_is_counted_without_a_model(
    metrics: Metrics, sessions: Sessions
) -> None:
    async with aclosing(sessions.stream(said(speech(4.0)))) as held:
        await anext(held)
        with pytest.raises(Overloaded):
            await anext(sessions.stream(said()))
    found = scraped(metrics)
    assert found["parakeetd_stream_seconds_count", "refused", ""] == 1
    assert found["parakeetd_stream_seconds_count", "cancelled", "fake"] == 1


async def test_what_a_client_calls_a_model_is_no_label(metrics: Metrics, sessions: Sessions) -> None:
    async with aclosing(sessions.stream(said(speech(2.0)), model="a name of its own")) as results:
        assert [result async for result in results]
    assert not any("a name of its own" in sample for sample in scraped(metrics))


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.0.2.1:9464", "unix:/tmp/metrics"])
def test_another_machine_cannot_read_them(metrics: Metrics, address: str) -> None:
    with pytest.raises(ListenError, match=r"metrics\.listen must be an address of this machine"):
        metrics.serve(address)


def test_a_port_that_is_in_use_is_named(metrics: Metrics) -> None:
    address = metrics.serve("127.0.0.1:0")
    with pytest.raises(ListenError, match=f"{address}: it is in use"):
        Metrics(lambda: STANDING).serve(address)
