"""Whether a graph is of the model that the manifest describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from parakeetd.errors import BundleError
from parakeetd.model.bundle import Architecture, Bundle
from parakeetd.model.sessions import Session

_STATES: Final = (
    ("input_states_1", 0, "prediction_layers"),
    ("input_states_1", 2, "prediction_hidden"),
)
_ENCODED: Final = ("encoder_outputs", 1, "d_model")
_LOGITS: Final = "vocabulary, blank and durations"

AXES: Final[Mapping[str, tuple[tuple[str, int, str], ...]]] = {
    "encoder-model": (("audio_signal", 1, "mels"),),
    "ctc-model": (_ENCODED,),
    "decoder_joint-model": (_ENCODED, *_STATES, ("outputs", 3, _LOGITS)),
    "projection-model": (_ENCODED,),
    "prediction-model": _STATES,
    "joint-model": (("logits", 2, _LOGITS),),
    "greedy-model": (_ENCODED,),
}
"""By graph: tensors, the axis that is looked at, and what it counts."""


def check_fit(bundle: Bundle, graph: str, session: Session) -> None:
    """Hold the manifest's numbers against a graph's tensors.

    Args:
        graph: its name without precision, e.g. `joint-model`.

    Raises:
        BundleError: one differs; the message names it.
    """
    for tensor, axis, what in AXES[graph]:
        stated = _stated(bundle.manifest.architecture, what)
        try:
            found = session.shape(tensor)[axis]
        except (KeyError, IndexError):
            raise BundleError(bundle.path, f"its {graph} graph has no {tensor} with an axis {axis}") from None
        # An axis that the exporter left open says nothing.
        if isinstance(found, int) and found != stated:
            raise BundleError(
                bundle.path, f"its graphs have {found} {what}, the manifest says {stated} ({graph})"
            )


def _stated(architecture: Architecture, what: str) -> int:
    if what == _LOGITS:
        return architecture.vocabulary + 1 + len(architecture.durations)
    stated: int = getattr(architecture, what)
    return stated
