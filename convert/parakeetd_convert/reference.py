"""NeMo's own answers to the verification audio, taken before the export changes the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakeetd_convert.clips import Clip, padded
from parakeetd_convert.nemo import has_ctc
from parakeetd_convert.toolchain import quiet

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

JOINT_STEPS = 12
JOINT_BATCHES = (1, 3)


@dataclass(frozen=True)
class Hypothesis:
    """A clip as NeMo's greedy decoding hears it."""

    text: str
    ids: tuple[int, ...]
    frames: tuple[int, ...]
    """Encoder frame at which each token was emitted."""
    durations: tuple[int, ...] | None
    """Frames that each token advanced; None where NeMo's report of them is not reliable."""


@dataclass(frozen=True)
class Heard:
    """A batch at every stage of NeMo's model."""

    clips: list[Clip]
    features: Floats
    """[B, mels, T]."""
    features_lens: Ints
    encoded: Floats
    """[B, D, T']."""
    encoded_lens: Ints
    log_probabilities: Floats | None
    """[B, T', V + 1] of the CTC head."""
    hypotheses: list[Hypothesis]
    ctc_texts: list[str]
    """By greedy decoding of the CTC head; none for a model without."""


@dataclass(frozen=True)
class JointTrace:
    """Steps of prediction network and joint over given tokens and encoder frames."""

    frames: Floats
    """[steps, B, D]."""
    targets: NDArray[np.int32]
    """[steps, B]; the first are blank, the start of a hypothesis."""
    logits: Floats
    """[steps, B, V + 1 + durations]."""


@dataclass(frozen=True)
class Reference:
    batches: list[Heard]
    traces: list[JointTrace]


def listen(model: Any, batches: list[list[Clip]]) -> Reference:
    """What NeMo says at every stage, as its `transcribe` runs it: no dither, no padding of the features."""
    import torch

    features = model.preprocessor.featurizer
    features.dither, features.pad_to = 0.0, 0
    with quiet(), torch.inference_mode():
        heard = [_hear(model, batch) for batch in batches]
        traces = [_trace(model, size) for size in JOINT_BATCHES]
    return Reference(heard, traces)


def _hear(model: Any, batch: list[Clip]) -> Heard:
    import torch

    waveforms, lengths = padded(batch)
    features, features_lens = model.preprocessor(
        input_signal=torch.from_numpy(waveforms), length=torch.from_numpy(lengths)
    )
    encoded, encoded_lens = model.encoder(audio_signal=features, length=features_lens)
    log_probabilities, ctc_texts = None, []
    if has_ctc(model):
        log_probabilities = model.ctc_decoder(encoder_output=encoded)
        by_ctc = model.ctc_decoding.ctc_decoder_predictions_tensor(
            log_probabilities, encoded_lens, return_hypotheses=True
        )
        ctc_texts = [str(best.text) for best in by_ctc]
    decoded = model.decoding.rnnt_decoder_predictions_tensor(encoded, encoded_lens, return_hypotheses=True)
    return Heard(
        clips=batch,
        features=features.numpy(),
        features_lens=features_lens.numpy(),
        encoded=encoded.numpy(),
        encoded_lens=encoded_lens.numpy(),
        log_probabilities=None if log_probabilities is None else log_probabilities.numpy(),
        ctc_texts=ctc_texts,
        hypotheses=[
            Hypothesis(
                text=str(best.text),
                ids=_integers(best.y_sequence),
                frames=_integers(
                    best.timestamp["timestep"] if isinstance(best.timestamp, dict) else best.timestamp
                ),
                # In a batch NeMo's label-looping search reports for a token what the joint said one look
                # later, when another clip was still in blanks. Its own times follow the right durations.
                durations=_integers(best.token_duration) if len(batch) == 1 else None,
            )
            for best in decoded
        ],
    )


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _trace(model: Any, batch: int) -> JointTrace:
    """Random tokens and frames: every output and the carried state are compared, not only likely ones."""
    import torch

    generator = np.random.default_rng(batch)
    blank = int(model.decoder.blank_idx)
    frames = generator.standard_normal((JOINT_STEPS, batch, int(model.joint.encoder_hidden))).astype(
        np.float32
    )
    targets = generator.integers(0, blank, (JOINT_STEPS, batch)).astype(np.int32)
    targets[0] = blank
    # On the CPU NeMo normalises the joint's outputs; the graph gives them as they are. Decoding is the same.
    setting, model.joint.log_softmax = model.joint.log_softmax, False
    logits = []
    state = model.decoder.initialize_state(torch.zeros(batch, 1))
    for frame, target in zip(frames, targets, strict=True):
        predicted, state = model.decoder.predict(
            torch.from_numpy(target.astype(np.int64))[:, None], state, add_sos=False, batch_size=batch
        )[:2]
        logits.append(model.joint.joint(torch.from_numpy(frame)[:, None, :], predicted)[:, 0, 0].numpy())
    model.joint.log_softmax = setting
    return JointTrace(frames, targets, np.stack(logits))
