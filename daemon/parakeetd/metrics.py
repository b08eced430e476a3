"""What Prometheus can read of a running daemon: every metric, its buckets, and the port. Numbers and names of models,
never audio, text or who speaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from parakeetd.entrance.address import TcpAddress, make_free, parse_address
from parakeetd.errors import ListenError
from parakeetd.rpc.standing import Standing
from parakeetd.session.observer import Ending, Kind, Loss, Observer

log = logging.getLogger(__name__)

SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""A person notices from 0.1 s on; above 2 s something is wrong."""

STREAM_SECONDS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)

FACTORS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Seconds of computing for a second of audio: below 1 a device keeps up with one stream."""

BATCHES: Final = (1, 2, 4, 8, 16, 32)


class Metrics(Observer):
    """Counts what sessions tell, and reads the rest from the daemon when it is asked. Thread-safe."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        """
        Args:
            standing: how the daemon stands now; called from another thread.
        """
        # When a series began is of no use here, and doubles what is read.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._served: tuple[WSGIServer, Thread] | None = None
        self.registry = registry = CollectorRegistry()
        registry.register(_Now(standing))
        ProcessCollector(registry=registry)
        self._streams = Histogram(
            "parakeetd_stream_seconds",
            "How long streams and recordings were open, by how they ended.",
            ("model", "ending"),
            buckets=STREAM_SECONDS,
            registry=registry,
        )
        self._latency = Histogram(
            "parakeetd_final_latency_seconds",
            "From the moment when the end of an utterance is known to its final result.",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self._queued = Histogram(
            "parakeetd_queue_seconds",
            "How long segments waited for a device. Their count is that of segments recognised.",
            ("model", "device", "kind"),
            buckets=SECONDS,
            registry=registry,
        )
        self._computed = Histogram(
            "parakeetd_compute_seconds",
            "How long segments were computed, together with those in the same batch.",
            ("model", "device", "kind"),
            buckets=SECONDS,
            registry=registry,
        )
        self._factor = Histogram(
            "parakeetd_real_time_factor",
            "Seconds of computing for a second of a segment's audio.",
            ("model", "device"),
            buckets=FACTORS,
            registry=registry,
        )
        self._batch = Histogram(
            "parakeetd_batch_segments",
            "Segments that were computed together.",
            ("model", "device"),
            buckets=BATCHES,
            registry=registry,
        )
        self._audio = Counter(
            "parakeetd_audio_seconds",
            "Audio of the segments that were recognised.",
            ("model", "device", "kind"),
            registry=registry,
        )
        self._lost = Counter(
            "parakeetd_segments_lost",
            "Segments without a transcript: interims that were dropped, what a stream did not want any more, failures.",
            ("model", "kind", "why"),
            registry=registry,
        )

    def stream_ended(self, model: str, ending: Ending, seconds: float) -> None:
        self._streams.labels(model, ending).observe(seconds)

    def segment_answered(
        self,
        model: str,
        device: str,
        kind: Kind,
        *,
        audio_seconds: float,
        queued_seconds: float,
        compute_seconds: float,
        batch: int,
    ) -> None:
        self._queued.labels(model, device, kind).observe(queued_seconds)
        self._computed.labels(model, device, kind).observe(compute_seconds)
        self._batch.labels(model, device).observe(batch)
        self._audio.labels(model, device, kind).inc(audio_seconds)
        if audio_seconds:
            self._factor.labels(model, device).observe(compute_seconds / batch / audio_seconds)

    def segment_lost(self, model: str, kind: Kind, why: Loss) -> None:
        self._lost.labels(model, kind, why).inc()

    def final_told(self, model: str, seconds: float) -> None:
        self._latency.labels(model).observe(seconds)

    def serve(self, address: str) -> str:
        """Answer `GET /metrics` there, in a thread, until `close`.

        Returns:
            The address, with the real port where 0 was asked for.

        Raises:
            ListenError: it is no address of this machine alone, or cannot be bound.
        """
        wanted = loopback(address)
        make_free(wanted, "metrics.listen")
        try:
            server, thread = start_http_server(wanted.port, wanted.host, self.registry)
        except OSError as error:
            raise ListenError(f"metrics: cannot listen on {address}: {error.strerror or error}") from error
        self._served = server, thread
        return str(TcpAddress(wanted.host, server.server_port))

    def close(self) -> None:
        """Answer no more."""
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()
            self._served = None


def loopback(address: str) -> TcpAddress:
    """Where metrics may be offered.

    Raises:
        ListenError: it is no address of this machine alone.
    """
    parsed = parse_address(address)
    if not isinstance(parsed, TcpAddress) or not parsed.is_loopback:
        raise ListenError(
            f"metrics.listen must be an address of this machine, such as 127.0.0.1:9464, not {address}: "
            "there is no password to it"
        )
    return parsed


class _Now(Collector):
    """What is read when it is asked for."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing

    def describe(self) -> Iterable[Metric]:
        # Said beforehand, so that the daemon need not be asked before it stands.
        return ()

    def collect(self) -> Iterator[Metric]:
        now = self._standing()
        yield InfoMetricFamily("parakeetd_build", "What runs.", {"version": now.version})
        yield _gauge("parakeetd_ready", "1 when streams are taken.", float(now.state == "serving"))
        yield _gauge("parakeetd_streams", "Streams and recordings that are open.", now.streams)
        yield _gauge("parakeetd_streams_limit", "How many may be.", now.max_streams)
        models = _family("parakeetd_model_streams", "Streams that are open, by model.", "model")
        queued = _family("parakeetd_segments_waiting", "Segments that wait for a device.", "model")
        labels = ("model", "device")
        running = _family("parakeetd_segments_running", "Segments that are being computed.", *labels)
        healthy = _family("parakeetd_device_healthy", "0 for a while after a device failed.", *labels)
        opened = _family("parakeetd_device_open", "1 while a model is open on a device.", *labels)
        failures = CounterMetricFamily(
            "parakeetd_device_failures",
            "How often a device's engine failed, hung or did not open, and was replaced.",
            labels=labels,
        )
        memory = _family("parakeetd_device_memory_bytes", "What a model holds on a GPU.", *labels)
        for model in now.models:
            models.add_metric((model.name,), model.streams)
            queued.add_metric((model.name,), model.queued)
            for device in model.devices:
                values = (model.name, device.device)
                running.add_metric(values, device.running)
                healthy.add_metric(values, device.healthy)
                opened.add_metric(values, device.engine == "open")
                failures.add_metric(values, device.failures)
                if device.device == "cuda":
                    memory.add_metric(values, device.memory_bytes)
        yield from (models, queued, running, healthy, opened, failures, memory)


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _family(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=labels)
