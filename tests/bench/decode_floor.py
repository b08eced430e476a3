"""Hold the time of decoding against its floor: the weights that a search must read, at the rate of this machine.

    python tests/bench/decode_floor.py [BUNDLE] [--precision int8] [--lengths 3,10,20] [--rounds N] [--most X] [--print]

A search is a chain. Each token's prediction needs all weights of the prediction network, each look at the next frames
all of the joint's, and none can begin before the last has ended; so one utterance cannot be decoded in less time than
these bytes take to come from the cache or memory that holds them. The rate is that of numpy's maximum over as many
bytes as one token reads, again and again, in as many threads as a step has.

The speech is the shipped clips, cut as `peers.py` cuts it; the search is the graph `greedy-model`. BUNDLE is the
embedded one unless named. Exit code 1 when decoding takes more than --most times its floor; without --most nothing is
judged. Written to `results/`, unless --print.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np

from measuring import machine, results_file, write_results
from parakeetd.audio import Samples
from parakeetd.model.bundle import EMBEDDED, PRECISIONS, Bundle, Precision, graph_file
from parakeetd.model.decoding import DecodeOptions
from parakeetd.model.forms import Decoding
from parakeetd.model.opening import threads_for
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import open_session
from parakeetd.model.transducers import STEP_THREADS
from spread import cut, recordings

PIECES = 3

ITEM_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Weights:
    """What a search reads, in bytes."""

    token: int
    """For the prediction network, once for each token."""
    look: int
    """For the joint, once for each look at the frames ahead."""


@dataclass(frozen=True)
class Searched:
    """One piece of speech; times in seconds."""

    seconds: float
    tokens: int
    looks: int
    before: float
    """Features and encoder."""
    decoding: float
    floor: float

    @property
    def row(self) -> str:
        """Markdown."""
        shares = (f"{100 * part / (self.before + part):.1f} %" for part in (self.decoding, self.floor))
        cells = (
            f"{self.seconds:.0f} s",
            f"{self.tokens / self.seconds:.1f}",
            str(self.looks),
            *(f"{1e3 * part:.1f} ms" for part in (self.before, self.decoding, self.floor)),
            f"{self.decoding / self.floor:.2f} x",
            *shares,
        )
        return f"| {' | '.join(cells)} |"


HEADS = (
    "speech",
    "tokens/s",
    "looks",
    "features and encoder",
    "decoding",
    "floor",
    "of the floor",
    "share",
    "floor's",
)


def weights_of(bundle: Bundle, precision: Precision) -> Weights:
    """Matrices only: of tables a row is read, and biases are small. What the first layer's gates get from a token comes
    from a table."""
    [path] = bundle.checked([graph_file("joint-model", precision)])
    width = open_session(path, "cpu", threads=1).shape("prediction")[-1]
    if not isinstance(width, int):
        raise ValueError(f"{path}: the joint's width is {width!r}, not a number")
    architecture = bundle.manifest.architecture
    hidden, layers = architecture.prediction_hidden, architecture.prediction_layers
    gates = 4 * hidden * (hidden + (layers - 1) * 2 * hidden)
    outputs = architecture.vocabulary + 1 + len(architecture.durations)
    return Weights(
        token=ITEM_BYTES[precision] * (gates + hidden * width), look=ITEM_BYTES[precision] * width * outputs
    )


def reading_rate(size: int, threads: int, seconds: float = 1.0) -> float:
    """Bytes a second at which threads read `size` bytes of memory again and again, each its own part; the median of
    five tries."""
    parts = np.array_split(np.arange(size // 8, dtype=np.int64), threads)
    times = 1 + int(seconds / 5 * 10e9 / size)

    def read(part: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        for _ in range(times):
            part.max()

    with ThreadPoolExecutor(threads) as pool:
        rates = []
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(read, parts))
            rates.append(times * size / (time.perf_counter() - began))
    return statistics.median(rates)


class Searches:
    """Decodes pieces with the search in a graph."""

    def __init__(self, bundle: Bundle, precision: Precision, rounds: int) -> None:
        self._recognizer = Recognizer.open(
            bundle, device="cpu", precision=precision, decoding=Decoding("loop")
        )
        [path] = bundle.checked([graph_file("greedy-model", precision)])
        self._graph = open_session(path, "cpu", threads=1)
        self._rounds = rounds

    def __call__(self, samples: Samples, seconds: float, weights: Weights, rate: float) -> Searched:
        recognizer = self._recognizer
        # The first run of a shape is not counted.
        encoded = recognizer.encode(recognizer.features([samples]))
        [tokens] = recognizer.decoders(encoded, [DecodeOptions()])
        inputs = {"encoder_outputs": encoded.outputs, "encoded_lengths": encoded.lengths}
        [found] = self._graph.run_on_device(inputs, ["tokens"])
        looks = len(found.numpy())
        before, decoding = [], []
        for _ in range(self._rounds):
            began = time.perf_counter()
            encoded = recognizer.encode(recognizer.features([samples]))
            then = time.perf_counter()
            recognizer.decoders(encoded, [DecodeOptions()])
            before.append(then - began)
            decoding.append(time.perf_counter() - then)
        return Searched(
            seconds,
            len(tokens),
            looks,
            statistics.median(before),
            statistics.median(decoding),
            # The network runs before the first token too, and not after the last where no frame is left.
            floor=(len(tokens) * weights.token + looks * weights.look) / rate,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="?", default=EMBEDDED, metavar="BUNDLE")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: the bundle's on a CPU")
    parser.add_argument("--lengths", default="3,10,20", help="of the speech, in seconds")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--most", type=float, metavar="X", help="times the floor that decoding may take")
    parser.add_argument("--print", action="store_true", help="write no results")
    options = parser.parse_args()
    bundle, where = Bundle.read(options.bundle), machine()
    precision = bundle.precision_for("cpu", options.precision)
    threads = min(STEP_THREADS, threads_for(bundle.manifest.architecture))
    weights = weights_of(bundle, precision)
    rate = reading_rate(weights.token + weights.look, threads)
    print(
        f"{bundle.name}, {precision}: {weights.token / 1e6:.2f} MB a token and {weights.look / 1e6:.2f} MB a look, "
        f"{1e6 * (weights.token + weights.look) / rate:.0f} us for both at {rate / 1e9:.1f} GB/s, threads: {threads}"
    )
    searches = Searches(bundle, precision, options.rounds)
    spoken = recordings(None)
    rows = []
    print(f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}", sep="\n")
    for length in options.lengths.split(","):
        for piece in cut(spoken, float(length), PIECES):
            rows.append(searches(piece, float(length), weights, rate))
            print(rows[-1].row, flush=True)
    if not options.print:
        results = {
            "machine": where,
            "model": bundle.name,
            "precision": precision,
            "weights": asdict(weights),
            "threads": threads,
            "bytes_per_second": rate,
            "searched": [asdict(row) for row in rows],
        }
        kind = f"decode-floor-{bundle.name}"
        print(write_results(results_file(kind, where, datetime.date.today()), results))
    over = [row for row in rows if options.most and row.decoding > options.most * row.floor]
    for row in over:
        print(f"MISSED: {row.seconds:.0f} s: {row.decoding / row.floor:.2f} times the floor")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
