"""Which form of the decoder is fastest on this machine's devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from parakeetd.errors import DeviceError, ParakeetError
from parakeetd.measure.speech import speech
from parakeetd.model.bundle import Bundle, Precision
from parakeetd.model.forms import Decoding
from parakeetd.model.sessions import Device
from parakeetd.model.trials import BATCHES, measure_forms

SECONDS = 20.0
"""Of speech that is decoded: the longest segment."""

SHARE = 0.15
"""Of the time for measuring: forms differ by tenths, devices by times."""


def measure_decoding(
    bundle: Bundle,
    devices: Sequence[Device],
    *,
    seconds: float,
    threads: int = 0,
    precision: Precision | None = None,
    tell: Callable[[float, float], None] = lambda done, total: None,
) -> Mapping[str, Mapping[str, Decoding]]:
    """What decodes fastest: device -> batch size -> decoding, as a bundle's manifest has it.

    Args:
        devices: those that work.
        seconds: that measuring may take, about, for all of them; opening the model comes on top.
        threads: of one segment on the CPU; 0 for one per physical core.
        precision: the fastest on each device when not given.
        tell: told how many devices are done, and of how many.

    Raises:
        BundleError, DeviceError: a device cannot run the model.
    """
    patience = seconds / len(devices) / len(BATCHES)
    [piece] = speech(SECONDS)
    record: dict[str, Mapping[str, Decoding]] = {}
    for done, device in enumerate(devices):
        tell(done, len(devices))
        try:
            record[device] = measure_forms(
                bundle, device, piece, precision=precision, threads=threads, patience=patience
            )
        except ParakeetError:
            raise
        # ONNX Runtime raises classes of its own that have no common base but Exception.
        except Exception as error:
            raise DeviceError(device, f"cannot run the model: {error}") from error
    return record
