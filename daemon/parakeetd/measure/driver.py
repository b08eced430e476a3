"""NVIDIA's driver, asked through its library, which comes with the driver and needs no CUDA installation."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVIDIA's driver library answers."""

    cuda: tuple[int, int]
    """Newest CUDA version that it serves."""
    gpus: tuple[str, ...]
    """Names of the GPUs that this process may use."""
    failure: str = ""
    """The driver's own words when it finds none."""


def installed_driver() -> Driver | None:
    """Ask the driver; None where its library is not installed."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    count = ctypes.c_int(0)
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
        code = cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetName(name, 256, device)
        if code == 0:
            names.append(name.value.decode(errors="replace"))
    if names:
        return Driver(version, tuple(names))
    reason = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(reason))
    return Driver(version, (), (reason.value or b"no device").decode(errors="replace"))
