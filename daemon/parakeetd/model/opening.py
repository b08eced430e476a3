"""Opens the graphs of a bundle on a device: which files, in which precision, with how many threads."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from parakeetd.errors import BundleError
from parakeetd.model.buckets import padded
from parakeetd.model.bundle import LOG_MEL_GRAPH, TOKENS, Architecture, Bundle, Precision, graph_file
from parakeetd.model.decoders import Decoders
from parakeetd.model.features import LogMel
from parakeetd.model.fit import check_fit
from parakeetd.model.forms import Choice, Decoding
from parakeetd.model.sessions import Device, Session, open_session, physical_cores
from parakeetd.model.tokens import Vocabulary
from parakeetd.model.transducers import open_transducer

log = logging.getLogger(__name__)

SMALL_ENCODER = 16_000_000
"""Weights below which an encoder runs on one thread. Its operators are so short that a second thread mostly waits: with
4 million weights it took two to three times the processor time and more time, with 100 million it helps."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a recognizer is made of."""

    vocabulary: Vocabulary
    log_mel: LogMel
    encoder: Session
    decoders: Decoders
    lanes: int
    """Groups of a batch that these can compute side by side."""


def open_parts(
    bundle: Bundle, *, device: Device, threads: int, precision: Precision | None, decoding: Decoding | None
) -> Parts:
    """Check the files that are needed and open them; arguments and errors are those of `Recognizer.open`."""
    architecture = bundle.manifest.architecture
    lanes = lanes_for(architecture, threads) if device == "cpu" else 1
    threads = threads_for(architecture, threads)
    chosen = bundle.precision_for(device, precision)
    if precision not in (None, chosen):
        log.warning(
            "%s on the GPU: %s has no fast products there, %s is used", bundle.name, precision, chosen
        )
    tokens, log_mel = bundle.checked([TOKENS, LOG_MEL_GRAPH])
    vocabulary = Vocabulary.read(tokens)
    if vocabulary.blank != architecture.vocabulary:
        raise BundleError(
            bundle.path,
            f"{TOKENS} has {vocabulary.blank} tokens, the manifest says {architecture.vocabulary}",
        )
    choice = Choice({1: decoding}) if decoding else bundle.choice(device, chosen)
    log.debug("%s on %s: %s, decoded by %s", bundle.name, device, chosen, ", ".join(choice.forms))
    return Parts(
        vocabulary,
        LogMel(
            open_session(log_mel, device, threads=threads, at_once=lanes),
            # On a CPU a shape costs nothing, and padding does.
            partial(padded, most=architecture.max_samples) if device == "cuda" else int,
        ),
        _open(bundle, "encoder-model", chosen, device, threads, lanes),
        Decoders(
            {
                form: open_transducer(bundle, form, device=device, precision=chosen, threads=threads)
                for form in choice.forms
            },
            choice,
            blank=architecture.vocabulary,
            # A single matrix: always float32.
            ctc_head=_open(bundle, "ctc-model", "fp32", device, 1) if architecture.ctc else None,
        ),
        lanes,
    )


def threads_for(architecture: Architecture, threads: int = 0) -> int:
    """Threads inside one operator on the CPU: as many as asked for; for 0 one per physical core, or one for all of a
    small encoder."""
    return threads or (1 if is_small(architecture) else physical_cores())


def lanes_for(architecture: Architecture, threads: int = 0) -> int:
    """Groups of a batch that are computed side by side on the CPU: one per physical core for a small encoder, one where
    threads are asked for or share each operator."""
    return physical_cores() if not threads and is_small(architecture) else 1


def is_small(architecture: Architecture) -> bool:
    """Whether the encoder's operators are so short that beginning each of them takes about as long as computing it."""
    # 25 products of d x d for each layer and frame: four in attention, its positions, 16 in the feed-forward halves,
    # and the convolution's.
    return 25 * architecture.layers * architecture.d_model**2 < SMALL_ENCODER


def _open(
    bundle: Bundle, graph: str, precision: Precision, device: Device, threads: int, at_once: int = 1
) -> Session:
    [path] = bundle.checked([graph_file(graph, precision)])
    session = open_session(path, device, threads=threads, at_once=at_once)
    check_fit(bundle, graph, session)
    return session
