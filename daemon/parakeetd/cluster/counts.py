"""What a replica counts, for Ray's own metrics: Ray offers them on each machine, with the replica's name, and adds
nothing up; Prometheus does. Names and buckets are those of the daemon's metrics; Ray puts `ray_` before them."""

from __future__ import annotations

from collections import Counter

from ray.serve import metrics

from parakeetd.metrics import SECONDS, STREAM_SECONDS
from parakeetd.rpc.standing import Standing
from parakeetd.session.observer import Ending, Kind, Loss, Observer


class Counts(Observer):
    """Thread-safe, as Ray's metrics are."""

    def __init__(self) -> None:
        self.ended: Counter[Ending] = Counter()
        """Streams, by how."""
        self._stream = metrics.Histogram(
            "parakeetd_stream_seconds",
            "How long streams and recordings were open, by how they ended.",
            boundaries=list(STREAM_SECONDS),
            tag_keys=("model", "ending"),
        )
        self._latency = metrics.Histogram(
            "parakeetd_final_latency_seconds",
            "From the moment when the end of an utterance is known to its final result.",
            boundaries=list(SECONDS),
            tag_keys=("model",),
        )
        self._queued = self._of_segments(
            "parakeetd_queue_seconds",
            "How long segments waited for a device. Their count is that of segments.",
        )
        self._computed = self._of_segments(
            "parakeetd_compute_seconds",
            "How long segments were computed, together with those in the same batch.",
        )
        self._audio = metrics.Counter(
            "parakeetd_audio_seconds",
            "Audio of the segments that were recognised.",
            tag_keys=("model", "device", "kind"),
        )
        self._lost = metrics.Counter(
            "parakeetd_segments_lost", "Segments without a transcript.", tag_keys=("model", "kind", "why")
        )
        self._streams = metrics.Gauge("parakeetd_streams", "Streams and recordings that are open.")
        self._limit = metrics.Gauge("parakeetd_streams_limit", "How many may be.")

    @property
    def taken(self) -> int:
        """Streams that have ended and had a place."""
        return sum(count for ending, count in self.ended.items() if ending != "refused")

    def stands(self, standing: Standing) -> None:
        """What is open now."""
        self._streams.set(standing.streams)
        self._limit.set(standing.max_streams)

    def stream_ended(self, model: str, ending: Ending, seconds: float) -> None:
        self.ended[ending] += 1
        self._stream.observe(seconds, {"model": model, "ending": ending})

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
        tags = {"model": model, "device": device, "kind": kind}
        self._queued.observe(queued_seconds, tags)
        self._computed.observe(compute_seconds, tags)
        if audio_seconds > 0:
            self._audio.inc(audio_seconds, tags)

    def segment_lost(self, model: str, kind: Kind, why: Loss) -> None:
        self._lost.inc(1, {"model": model, "kind": kind, "why": why})

    def final_told(self, model: str, seconds: float) -> None:
        self._latency.observe(seconds, {"model": model})

    @staticmethod
    def _of_segments(name: str, description: str) -> metrics.Histogram:
        return metrics.Histogram(
            name, description, boundaries=list(SECONDS), tag_keys=("model", "device", "kind")
        )
