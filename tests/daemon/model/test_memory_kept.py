"""What a recognizer on the CPU keeps of the memory that its batches took."""

from __future__ import annotations

import subprocess
import sys

MEASURE = """
import numpy as np
from parakeetd import memory
from parakeetd.measure.machine import resident_memory
from parakeetd.model.bundle import EMBEDDED, Bundle
from parakeetd.model.recognizer import Recognizer

def megabytes():
    memory.give_back()
    return resident_memory() / 1e6

def recognize(pieces, samples):
    recognizer.recognize([np.zeros(samples, np.float32)] * pieces)

memory.share_arenas()
recognizer = Recognizer.open(Bundle.read(EMBEDDED), device="cpu")
"""


def megabytes(program: str) -> list[float]:
    """What the program prints, in a process that has no other memory."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE + program],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [float(word) for word in run.stdout.split()]


def test_no_length_of_a_segment_leaves_memory_behind() -> None:
    # Memory that is planned for each shape comes to 14 KB and more for each: 9 MB here.
    before, after = megabytes(
        "recognize(1, 32_000); recognize(1, 80_000); print(megabytes())\n"
        "for samples in range(8_000, 72_000, 100): recognize(1, samples)\n"
        "print(megabytes())"
    )
    assert after - before < 5


def test_a_batch_of_long_utterances_gives_its_memory_back() -> None:
    # How much a device takes and keeps depends on its processor. Here a batch that gives nothing back leaves 225 MB,
    # one that does 13 to 42: what holds the first results while the others are computed.
    batch = "recognize(1, 32_000); print(megabytes()); recognize(8, 320_000); print(megabytes())"
    before, after = megabytes(batch)
    never, kept = megabytes(
        f"from parakeetd.model import buckets; buckets.MOST_KEPT = {{'cpu': 10**12}}\n{batch}"
    )
    assert after - before < (kept - never) / 2
