"""NVIDIA's own Riva client as a load, in its environment: `python riva_load_client.py ADDRESS STREAMS SECONDS FILE...`.

So many threads stream these WAV files at the pace at which they were spoken, each over a connection of its own, one
after the other, until the time is over; at least one, and to its end when it has begun. Prints JSON: for each file that
was streamed its name, the finals and their words, how many interims came, and the error if there was one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import riva.client  # type: ignore[import-not-found]  # in the client's environment only

CHUNK_FRAMES = 1600
"""What `transcribe_file.py` sends at a time."""


def stream(address: str, file: str) -> dict[str, Any]:
    """As `transcribe_file.py --simulate-realtime`: the bytes of the file, header and all, with nothing declared."""
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(max_alternatives=1, enable_word_time_offsets=True),
        interim_results=True,
    )
    finals, words, interims, error = [], [], 0, ""
    begun = time.monotonic()
    try:
        service = riva.client.ASRService(riva.client.Auth(uri=address))
        with riva.client.AudioChunkFileIterator(file, CHUNK_FRAMES, riva.client.sleep_audio_length) as chunks:
            for response in service.streaming_response_generator(chunks, config):
                for result in response.results:
                    if result.is_final:
                        said = result.alternatives[0]
                        finals.append(said.transcript)
                        words += [[word.word, word.start_time, word.end_time] for word in said.words]
                    else:
                        interims += 1
    except Exception as problem:  # whatever the client meets is what is counted
        error = f"{type(problem).__name__}: {problem}"
    return {
        "file": Path(file).name,
        "finals": finals,
        "words": words,
        "interims": interims,
        "error": error,
        "seconds": time.monotonic() - begun,
    }


def main(address: str, streams: int, seconds: float, files: list[str]) -> list[dict[str, Any]]:
    until = time.monotonic() + seconds
    done: list[dict[str, Any]] = []

    def work(number: int) -> None:
        # Not all at once, as people do not.
        time.sleep(4.0 * number / streams)
        turn = number
        while True:
            done.append(stream(address, files[turn % len(files)]))
            turn += 7
            if time.monotonic() >= until:
                break

    threads = [threading.Thread(target=work, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


if __name__ == "__main__":
    where, count, lasts, *wavs = sys.argv[1:]
    json.dump(main(where, int(count), float(lasts), wavs), sys.stdout)
