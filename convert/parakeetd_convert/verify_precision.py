"""int8 and float16 against NeMo: how far off, and whether the words survive.

They are not NeMo's numbers and cannot be; what must not happen is an empty, broken or slower-witted model. So each is
measured, the measurement goes into the manifest, and bounds stop what no user should get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jiwer
import numpy as np

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import Bundle, Precision, graph_file
from parakeetd.model.recognizer import Recognizer
from parakeetd.model.sessions import Session, open_session
from parakeetd_convert.checked import THREADS, CheckedGraph
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.precisions import DECODER_GRAPHS
from parakeetd_convert.reference import Heard, Reference
from parakeetd_convert.verify_decoder import Steps, has_decoder_graphs, run_greedy

ENCODER_TOLERANCE: Final[Mapping[Precision, float]] = {"int8": 0.08, "fp16": 0.01}
"""Largest relative error of the encoder's output, |ours - NeMo's| / |NeMo's| over the frames of a clip. Measured:
int8 0.015 with 6 layers, 0.029 with 24 and 0.035 with 42, fp16 0.0007 to 0.0021; a wrong scale or axis gives 0.3 or
more."""

STEPS_TOLERANCE: Final[Mapping[Precision, float]] = {"int8": 0.05, "fp16": 0.005}
"""Largest difference of a logit, relative to the largest logit. Measured: int8 0.008 to 0.011, fp16 0.0001 to
0.0003."""

MOST_CHANGED: Final = 0.1
"""Share of NeMo's words that may change over all clips."""

KNOWS_THE_CLIPS: Final = 0.5
"""NeMo's own word error rate on the clips above which the words are not judged: of speech that it was not trained for a
model says anything, and any rounding changes that."""


def check_precision(bundle: Bundle, precision: Precision, reference: Reference) -> dict[str, Any]:
    """Measure one precision of a bundle.

    Returns:
        `bytes` of its graphs; `encoder_error` and `decoder_steps_error`, the largest relative ones; `tokens_changed` by
        the decoder's loop alone, on NeMo's own encoder output; `words` that NeMo found; `words_changed`, the
        word errors against NeMo's text; `wer` and `wer_nemo` in percent, where the words are known.

    Raises:
        VerificationFailed: it does not open or run, or a measurement is out of bounds; the message names the graph.
    """
    graph = graph_file("encoder-model", precision)
    try:
        # One after the other: both hold the encoder, which on a CPU becomes float32 again when it is float16.
        error = _worst_error(bundle, graph, reference)
        recognizer = Recognizer.open(bundle, device="cpu", threads=THREADS, precision=precision)
        alone = [heard for heard in reference.batches if len(heard.clips) == 1]
        texts = [recognizer.recognize([heard.clips[0].samples])[0].text for heard in alone]
    except ParakeetError as problem:
        raise VerificationFailed(graph, str(problem)) from problem
    if not error <= ENCODER_TOLERANCE[precision]:
        raise VerificationFailed(
            f"outputs of {graph}",
            f"differ from NeMo's by {error:.3g} of their size, at most {ENCODER_TOLERANCE[precision]:g} is allowed",
        )
    nemo = [heard.hypotheses[0].text for heard in alone]
    measured = word_errors(nemo, texts)
    spoken = [i for i, heard in enumerate(alone) if heard.clips[0].transcript]
    said = [str(alone[i].clips[0].transcript) for i in spoken]
    by_nemo, by_us = (word_errors(said, [answers[i] for i in spoken]) for answers in (nemo, texts))
    judged = by_nemo.rate <= KNOWS_THE_CLIPS
    own = has_decoder_graphs(bundle, precision)
    decoder = _check_decoder(bundle, precision, reference, judged=judged) if own else {}
    if judged and measured.rate > MOST_CHANGED:
        raise VerificationFailed(
            f"the words of {precision}",
            f"{measured.errors} of NeMo's {measured.words} words changed, at most {MOST_CHANGED:.0%} may",
        )
    names = ("encoder-model", "decoder_joint-model", "decoder-model", *DECODER_GRAPHS)
    files = [graph_file(name, precision) for name in names]
    return {
        "bytes": sum(
            entry.bytes
            for name, entry in bundle.manifest.files.items()
            if name.removesuffix(".data") in files
        ),
        "encoder_error": error,
        **decoder,
        "words": measured.words,
        "words_changed": measured.errors,
        "wer": round(100 * by_us.rate, 2),
        "wer_nemo": round(100 * by_nemo.rate, 2),
    }


def _check_decoder(
    bundle: Bundle, precision: Precision, reference: Reference, *, judged: bool
) -> dict[str, Any]:
    """Measure the decoder graphs of our own.

    Args:
        judged: the model knows the clips, so that its tokens must survive.

    Raises:
        VerificationFailed: the logits of a step or the tokens of the loop are out of bounds.
    """
    steps = Steps(bundle, precision)
    error = max(steps.error(trace, STEPS_TOLERANCE[precision]) for trace in reference.traces)
    loop = CheckedGraph(bundle, graph_file("greedy-model", precision))
    nemo, ours = [], []
    for heard in reference.batches:
        nemo += [" ".join(map(str, hypothesis.ids)) for hypothesis in heard.hypotheses]
        ours += [" ".join(map(str, found.ids)) for found in run_greedy(loop, heard)]
    tokens = word_errors(nemo, ours)
    if judged and tokens.rate > MOST_CHANGED:
        raise VerificationFailed(
            f"the tokens of {loop.file}",
            f"{tokens.errors} of NeMo's {tokens.words} changed on NeMo's own encoder output, "
            f"at most {MOST_CHANGED:.0%} may",
        )
    return {"decoder_steps_error": error, "tokens_changed": tokens.errors}


@dataclass(frozen=True)
class WordErrors:
    errors: int
    words: int
    """Of the reference."""

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.words)


def word_errors(references: list[str], hypotheses: list[str]) -> WordErrors:
    """Substitutions, deletions and insertions over all pairs, regardless of case."""
    errors = words = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said = reference.lower().split()
        words += len(said)
        if said:
            found = jiwer.process_words(" ".join(said), hypothesis.lower())
            errors += found.substitutions + found.deletions + found.insertions
        else:
            errors += len(hypothesis.split())
    return WordErrors(errors, words)


def _worst_error(bundle: Bundle, graph: str, reference: Reference) -> float:
    [path] = bundle.checked([graph])
    encoder = open_session(path, "cpu", threads=THREADS)
    # NumPy's maximum is NaN when one of them is; Python's depends on their order.
    return float(np.max([_encoder_error(encoder, graph, heard) for heard in reference.batches]))


def _encoder_error(encoder: Session, graph: str, heard: Heard) -> float:
    encoded, frames = encoder.run(
        {"audio_signal": heard.features, "length": heard.features_lens}, ["outputs", "encoded_lengths"]
    )
    if encoded.shape != heard.encoded.shape or frames.tolist() != heard.encoded_lens.tolist():
        shapes = f"{list(encoded.shape)} of {frames.tolist()} frames"
        raise VerificationFailed(
            f"outputs of {graph}", f"have shape {shapes}, NeMo's {list(heard.encoded.shape)}"
        )
    errors = []
    for ours, nemo, count in zip(encoded, heard.encoded, frames, strict=True):
        size = float(np.linalg.norm(nemo[:, :count]))
        errors.append(float(np.linalg.norm(ours[:, :count] - nemo[:, :count])) / max(size, 1e-6))
    return float(np.max(errors))
