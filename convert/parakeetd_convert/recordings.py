"""Recordings of the user's own as a further verification: a folder, NeMo's text of each piece, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import Bundle, Precision
from parakeetd.model.recognizer import Recognizer
from parakeetd_convert.checked import THREADS
from parakeetd_convert.clips import Clip
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.toolchain import quiet
from parakeetd_convert.verify_precision import KNOWS_THE_CLIPS, MOST_CHANGED, word_errors

MOST_DIFFERENT: Final = 0.01
"""Share of the texts in float32 that may differ from NeMo's: where two tokens are equally likely, rounding decides.
Measured: none of 291."""


@dataclass(frozen=True)
class HeardPiece:
    clip: Clip
    text: str
    """NeMo's, by greedy decoding."""


def listen_to(model: Any, clips: Sequence[Clip]) -> list[HeardPiece]:
    """NeMo's text of each clip alone; to be called after `reference.listen`, which sets the model up.

    Nothing but the text is kept, so that hours of recordings fit.
    """
    import torch

    heard = []
    with quiet(), torch.inference_mode():
        for clip in clips:
            length = torch.tensor([clip.samples.size])
            features, frames = model.preprocessor(
                input_signal=torch.from_numpy(clip.samples)[None], length=length
            )
            encoded, encoded_frames = model.encoder(audio_signal=features, length=frames)
            [best] = model.decoding.rnnt_decoder_predictions_tensor(
                encoded, encoded_frames, return_hypotheses=True
            )
            heard.append(HeardPiece(clip, str(best.text)))
    return heard


def check_recordings(bundle: Bundle, precision: Precision, heard: Sequence[HeardPiece]) -> dict[str, Any]:
    """Compare a precision's text of each piece with NeMo's.

    Returns:
        `pieces`, `texts_that_differ`, `words` of NeMo's and `words_changed`; `wer` and `wer_nemo` in percent over the
        pieces whose transcript is known, where there are such.

    Raises:
        VerificationFailed: too many texts differ in float32; in another precision too many words changed in the pieces
            whose transcript is known, and NeMo understood those. The message names a piece with both texts.
    """
    try:
        recognizer = Recognizer.open(bundle, device="cpu", threads=THREADS, precision=precision)
        ours = [recognizer.recognize([piece.clip.samples])[0].text for piece in heard]
    except ParakeetError as error:
        raise VerificationFailed(f"{bundle.name} in {precision}", str(error)) from error
    nemo = [piece.text for piece in heard]
    different = [i for i, (mine, theirs) in enumerate(zip(ours, nemo, strict=True)) if mine != theirs]
    changed = word_errors(nemo, ours)
    known = [i for i, piece in enumerate(heard) if piece.clip.transcript is not None]
    said = [str(heard[i].clip.transcript) for i in known]
    by_nemo, by_us = (word_errors(said, [texts[i] for i in known]) for texts in (nemo, ours))
    if precision == "fp32":
        failed = len(different) > MOST_DIFFERENT * len(heard)
    else:
        among_known = word_errors([nemo[i] for i in known], [ours[i] for i in known])
        failed = by_nemo.rate <= KNOWS_THE_CLIPS and among_known.rate > MOST_CHANGED
    if failed:
        first = different[0]
        raise VerificationFailed(
            f"{heard[first].clip.name} in {precision}",
            f"the text is {ours[first]!r}, NeMo's is {nemo[first]!r}; "
            f"{len(different)} of {len(heard)} texts differ, {changed.errors} of {changed.words} words",
        )
    return {
        "pieces": len(heard),
        "texts_that_differ": len(different),
        "words": changed.words,
        "words_changed": changed.errors,
        **({"wer": round(100 * by_us.rate, 2), "wer_nemo": round(100 * by_nemo.rate, 2)} if known else {}),
    }
