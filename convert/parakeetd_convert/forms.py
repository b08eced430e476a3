"""Which form of the decoder is fastest on this machine's devices: measured once, written into the manifest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import Bundle
from parakeetd.model.forms import Decoding
from parakeetd.model.trials import measure_forms, usable_devices
from parakeetd_convert.clips import shipped_speech
from parakeetd_convert.errors import VerificationFailed
from parakeetd_convert.steps import Step

SECONDS = 20
"""Of speech that is decoded: the longest segment, and most of the shipped clips."""


def measure(bundle: Bundle, step: Step) -> Mapping[str, Mapping[str, Decoding]]:
    """The manifest's `decoding` for a bundle whose graphs have been verified.

    A GPU that does not run the model is left out, and said so: the bundle is of use on the CPU and on other machines.

    Raises:
        VerificationFailed: the decoder does not run on the CPU.
    """
    rate = bundle.manifest.architecture.sample_rate
    speech = np.concatenate([clip.samples for clip in shipped_speech(rate)])
    measured: dict[str, Mapping[str, Decoding]] = {}
    for device in usable_devices():
        try:
            with step(f"Measuring the decoder on {device}"):
                measured[device] = measure_forms(bundle, device, np.resize(speech, SECONDS * rate))
        # ONNX Runtime raises classes of its own that have no common base but Exception.
        except Exception as error:
            if device == "cpu":
                raise VerificationFailed(bundle.name, f"its decoder does not run: {error}") from error
            reason = str(error) if isinstance(error, ParakeetError) else type(error).__name__
            with step(f"Leaving {device} unmeasured: {reason}"):
                pass
    return measured
