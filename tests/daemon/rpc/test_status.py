from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from parakeetd import errors
from parakeetd.rpc.status import code_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AudioError("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.ConfigError("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.ModelNotFound("x", Path("/"), []), grpc.StatusCode.NOT_FOUND),
        (errors.BundleError(Path("/"), "x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.DeviceError("cuda", "x"), grpc.StatusCode.UNAVAILABLE),
        (errors.Overloaded("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.IdleTimeout("x"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Closed("x"), grpc.StatusCode.UNAVAILABLE),
        (errors.ParakeetError("x"), grpc.StatusCode.INTERNAL),
        (ValueError("x"), grpc.StatusCode.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_each_error_has_its_code(error: Exception, code: grpc.StatusCode) -> None:
    assert code_of(error) is code
