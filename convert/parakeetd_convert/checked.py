"""A graph of a bundle, run and compared; what fails names the graph and the tensor."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from parakeetd.errors import ParakeetError
from parakeetd.model.bundle import Bundle
from parakeetd.model.sessions import Session, open_session
from parakeetd_convert.errors import VerificationFailed

THREADS: Final = 2


class CheckedGraph:
    """A graph of the bundle, whose failures name it."""

    def __init__(self, bundle: Bundle, file: str) -> None:
        self.file = file
        self.architecture = bundle.manifest.architecture
        try:
            [path] = bundle.checked([file])
            self._session: Session = open_session(path, "cpu", threads=THREADS)
        except ParakeetError as error:
            raise VerificationFailed(file, str(error)) from error

    def run(self, inputs: dict[str, NDArray[Any]], outputs: list[str]) -> list[NDArray[Any]]:
        try:
            return self._session.run(inputs, outputs)
        # ONNX Runtime raises classes of its own that have no common base but Exception.
        except Exception as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
            raise VerificationFailed(
                self.file, f"cannot run with {shapes}: {str(error).splitlines()[0]}"
            ) from error

    def compare(
        self,
        tensor: str,
        ours: NDArray[Any],
        nemo: NDArray[Any],
        tolerance: float,
        where: str,
        *,
        scale: float = 1.0,
    ) -> float:
        """Largest difference divided by `scale`.

        Raises:
            VerificationFailed: it is above the tolerance, or the shapes differ.
        """
        subject = f"{tensor} of {self.file} on {where}"
        if ours.shape != nemo.shape:
            raise VerificationFailed(subject, f"has shape {list(ours.shape)}, NeMo's is {list(nemo.shape)}")
        error = float(np.abs(ours.astype(np.float64) - nemo).max(initial=0.0)) / scale
        # Written so that NaN fails.
        if not error <= tolerance:
            raise VerificationFailed(
                subject, f"differs from NeMo's by {error:.3g}, at most {tolerance:g} is allowed"
            )
        return error
