"""sherpa-onnx's voice-activity detectors at work, in its environment: one for each of N real-time streams.

    python streams_vad.py MODEL.onnx TRACK.npy N CHUNK_SECONDS

Says `ready` when its detectors are loaded, begins at the first line of input, ends with the input. Then prints by how
much the chunks were late, in seconds (P99). What is detected is not used: the benchmark knows the ends; what counts is
the work that a server of sherpa-onnx for live streams has besides recognising.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import sherpa_onnx  # type: ignore[import-not-found]  # in the engine's environment only

RATE = 16_000


def main(model: str, file: str, streams: str, chunk_seconds: str) -> None:
    config = sherpa_onnx.VadModelConfig()
    config.silero_vad.model, config.sample_rate, config.num_threads = model, RATE, 1
    detectors = [
        sherpa_onnx.VoiceActivityDetector(config, buffer_size_in_seconds=30) for _ in range(int(streams))
    ]
    track, chunk = np.load(file), float(chunk_seconds)
    size = round(chunk * RATE)
    print("ready", flush=True)
    sys.stdin.readline()
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    begun, late, count = time.monotonic(), [], 0
    while not ended.is_set():
        for number, detector in enumerate(detectors):
            moment = begun + (count + number / len(detectors)) * chunk
            wait = moment - time.monotonic()
            if wait > 0.001:
                time.sleep(wait)
            late.append(max(0.0, -wait))
            at = (number * 7 * RATE + count * size) % (len(track) - size)
            detector.accept_waveform(track[at : at + size])
            while not detector.empty():
                detector.pop()
        count += 1
    print(float(np.percentile(late, 99)) if late else 0.0, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
